"""Being told to end: SIGTERM and SIGHUP clean up as Ctrl-C does, whatever Python is at when they come."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

_AGAIN_AFTER = 0.05
"""Seconds until a signal that was lost is sent again: longer than a finalizer usually takes."""


class Ended(SystemExit):
    """A signal asked this process to end."""


def clean_up_when_ended() -> None:
    """Make SIGTERM and SIGHUP raise `Ended` in the main thread, unless they are handled or ignored already.

    What is raised in a finalizer, or in a weak reference's callback as import locks have them, Python prints and
    forgets: the command would go on. A signal that met one, Ctrl-C too, is sent again.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    sys.unraisablehook = _send_again


def _end(number: int, _: FrameType | None) -> None:
    raise Ended(128 + number)


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    if isinstance(lost.exc_value, Ended) and isinstance(lost.exc_value.code, int):
        number = lost.exc_value.code - 128
    elif isinstance(lost.exc_value, KeyboardInterrupt):
        number = signal.SIGINT
    else:
        sys.__unraisablehook__(lost)
        return
    import threading

    # To the main thread, so that a system call that it waits in is interrupted.
    target = threading.main_thread().ident
    again = threading.Timer(_AGAIN_AFTER, signal.pthread_kill, (target, number))
    again.daemon = True
    again.start()

"""One thread that stops calls whose time is over; it starts with the first call that has a deadline.

A thread or timer for each call would cost more than a small model's run.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_changed = threading.Condition(threading.Lock())
_watched: dict[object, tuple[float, Callable[[], None]]] = {}
_wakes = math.inf
"""When the thread looks again, by `time.monotonic`."""
_thread: threading.Thread | None = None


def watch(call: object, deadline: float, stop: Callable[[], None]) -> None:
    """Call ``stop``, from another thread, when the time has come.

    Args:
        call: what `forget` is given.
        deadline: by `time.monotonic`, in seconds.
        stop: returns at once and does not raise.
    """
    global _thread  # noqa: PLW0603 - one for the whole process
    with _changed:
        _watched[call] = (deadline, stop)
        if _thread is None:
            _thread = threading.Thread(target=_look, name="ortolan-deadlines", daemon=True)
            _thread.start()
        elif deadline < _wakes:
            # It mostly is not: of calls with the same timeout the next one's deadline is later, so it costs no switch.
            _changed.notify()


def forget(call: object) -> None:
    """The call has ended."""
    with _changed:
        _watched.pop(call, None)


def _look() -> None:
    global _wakes  # noqa: PLW0603 - one for the whole process
    with _changed:
        while True:
            now = time.monotonic()
            for call, (deadline, stop) in list(_watched.items()):
                if deadline <= now:
                    stop()
                    del _watched[call]
            _wakes = min((deadline for deadline, _ in _watched.values()), default=math.inf)
            _changed.wait(None if _wakes == math.inf else _wakes - time.monotonic())


def _in_a_child() -> None:
    """A forked process has none of its parent's threads, and of the calls only the one that forked, if any."""
    global _changed, _thread, _wakes
    _changed, _thread, _wakes = threading.Condition(threading.Lock()), None, math.inf
    _watched.clear()


os.register_at_fork(after_in_child=_in_a_child)

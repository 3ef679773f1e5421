"""Several models in one process share its processors instead of each starting a thread for every one of them.

A session with n intra-op threads runs on the calling thread and starts n - 1 of its own, which live as long as it does
and sleep while it does not run. The first session for which no number was asked gets what the process may use; a
further one what the sessions alive have left over, but at least half: models that are used in turn, such as a detector
and a recogniser, must not run on one processor while the others sleep, and two that run at once are served nearly as
well by one thread and a half for each processor as by one.

onnxruntime (1.23 and newer) can share one pool between sessions, but that is for whole applications: once it is set
every session of the process has to use it, also those that other libraries open, or fails; it can be set only before
the first session, and in one size; and its idle threads spin, which `SessionConfig.spinning` is off for.
"""

from __future__ import annotations

import threading


class _Count:
    """What all sessions of the process have in common.

    Its lock is taken twice by one thread where the garbage collector comes upon a share while another is counted.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.started = 0
        """Threads of the sessions alive, without those that call them."""


_count = _Count()


class Share:
    """The threads of one session; given back with `release`, or when nothing refers to it any more.

    Args:
        threads: that one run uses.
    """

    __slots__ = ("_count", "_own", "threads")

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._own = threads - 1
        # When the interpreter ends, a module's names may be gone before its last objects are.
        self._count = _count

    def release(self) -> None:
        """Give the threads back; a second time does nothing."""
        with self._count.lock:
            self._count.started -= self._own
            self._own = 0

    def __del__(self) -> None:
        self.release()


def take(usual: int, *, asked: bool) -> Share:
    """The threads for a new session.

    Args:
        usual: what was asked for, or what the process may use.
        asked: whether it was asked for, and so is given whatever others have.
    """
    with _count.lock:
        share = Share(usual if asked else max(1, usual // 2, usual - _count.started))
        _count.started += share.threads - 1
    return share

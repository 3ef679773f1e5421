"""Deadline and cancellation of one call."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ortolan.errors import Cancelled, DeadlineExceeded, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RunControl:
    """Deadline and cancellation of one call: ``model.run(feeds, RunControl(timeout=0.1))``.

    A call is stopped between two nodes of its graph: a single long node is finished first. The call then raises
    `DeadlineExceeded` or `Cancelled`, also if its answer came just too late, and the model can be used on. A control
    may serve several calls, at once or in turn; the timeout counts anew for each, a cancellation is for all of them.

    Args:
        timeout: seconds a call may take; None for as long as it takes.

    Raises:
        UsageError: a timeout that is not a positive number.
    """

    def __init__(self, timeout: float | None = None) -> None:
        is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if timeout is not None and not (is_number and 0 < timeout <= threading.TIMEOUT_MAX):
            raise UsageError(f"expected a timeout in seconds that is greater than 0, got {timeout!r}")
        self.timeout = timeout
        self._lock = threading.Lock()
        self._cancelled = False
        self._stops: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Ask the calls that use this control to stop, and those to come; from any thread."""
        with self._lock:
            self._cancelled = True
            stops = list(self._stops)
        for stop in stops:
            stop()

    @contextmanager
    def guard(self, stop: Callable[[], None]) -> Iterator[None]:
        """Run one call inside: ``stop`` is called from another thread when the call has to end.

        Raises:
            Cancelled: before the call if it was cancelled already, or after it, whatever it raised.
            DeadlineExceeded: after the call, whatever it raised, when it ran past the timeout.
        """
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            stop()

        timer = None if self.timeout is None else threading.Timer(self.timeout, expire)
        with self._lock:
            if self._cancelled:
                raise Cancelled("the call was cancelled before it began")
            self._stops.append(stop)
        try:
            if timer is not None:
                timer.daemon = True
                timer.start()
            yield
        except Exception as error:
            # Whatever a stopped call raises, the reason is that it was stopped.
            self._raise_if_stopped(expired, error)
            raise
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._stops.remove(stop)
        self._raise_if_stopped(expired, None)

    def _raise_if_stopped(self, expired: threading.Event, cause: Exception | None) -> None:
        if self._cancelled:
            raise Cancelled("the call was cancelled") from cause
        if expired.is_set():
            raise DeadlineExceeded(f"the call ran past its deadline of {self.timeout:g} s") from cause

"""Deadline and cancellation of one call."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ortolan.engine import watchdog
from ortolan.engine.installation import onnxruntime
from ortolan.errors import Cancelled, DeadlineExceeded, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RunControl:
    """Deadline and cancellation of one call: ``model.run(feeds, RunControl(timeout=0.1))``.

    A call is stopped between two nodes of its graph: a single long node is finished first. The call then raises
    `DeadlineExceeded` or `Cancelled`, also if its answer came just too late, and the model can be used on. A control
    may serve several calls, at once or in turn; the timeout counts anew for each, a cancellation is for all of them.

    Where one call runs the model several times (``predict_batch``, ``Stream.push``) the timeout is for all of them
    together. What Python does before and after them, such as decoding an image, is not interrupted but counts.

    Python calls handlers of signals only between two runs of the main thread: a handler that cancels a long run needs
    the run to be in another thread, or a timeout.

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
        self._deadline: float | None = None
        self._calls = _Calls()

    def cancel(self) -> None:
        """Ask the calls that use this control to stop, and those to come; from any thread."""
        self._calls.cancelled = True
        for stop in list(self._calls.stops.values()):
            stop()

    def from_now(self) -> RunControl:
        """The same control for several runs whose time counts together, from now on."""
        if self.timeout is None or self._deadline is not None:
            return self
        joint = RunControl(self.timeout)
        joint._deadline, joint._calls = self._end(), self._calls
        return joint

    @contextmanager
    def guard(self) -> Iterator[Any]:
        """Run the model once inside, with these ``onnxruntime.RunOptions``.

        Raises:
            Cancelled: before the run if it was cancelled already, or after it, whatever it raised.
            DeadlineExceeded: likewise, when the timeout is over.
        """
        options = onnxruntime().RunOptions()

        def stop() -> None:
            options.terminate = True

        deadline = self._end()
        self._calls.stops[options] = stop
        try:
            self._raise_if_over(deadline)
            if deadline is not None:
                watchdog.watch(options, deadline, stop)
            yield options
        except (Cancelled, DeadlineExceeded):
            raise
        except Exception as error:
            # Whatever a stopped run raises, the reason is that it was stopped.
            self._raise_if_over(deadline, error)
            raise
        finally:
            if deadline is not None:
                watchdog.forget(options)
            del self._calls.stops[options]
        self._raise_if_over(deadline)

    def _end(self) -> float | None:
        """When the time is over of a run that begins now, by `time.monotonic`."""
        if self._deadline is None and self.timeout is not None:
            return time.monotonic() + self.timeout
        return self._deadline

    def _raise_if_over(self, deadline: float | None, cause: Exception | None = None) -> None:
        if self._calls.cancelled:
            raise Cancelled("the call was cancelled") from cause
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlineExceeded(f"the call ran past its deadline of {self.timeout:g} s") from cause


class _Calls:
    """The calls of one control, and whether they are to end.

    Used without a lock, so that the handler of a signal may cancel: a call enters itself first and then looks whether
    it was cancelled, `RunControl.cancel` does it the other way round.
    """

    __slots__ = ("cancelled", "stops")

    def __init__(self) -> None:
        self.cancelled = False
        self.stops: dict[object, Callable[[], None]] = {}


def begun(control: object) -> RunControl:
    """The control of a call that begins now: its timeout counts from now on, over all runs of the model.

    Raises:
        UsageError: no RunControl.
    """
    if not isinstance(control, RunControl):
        raise UsageError(f"expected control to be an ortolan.RunControl, got {type(control).__name__}")
    return control.from_now()

"""A stream: sound that arrives in pieces, a model's state between them, and an answer for each whole chunk."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ortolan.engine.control import begun
from ortolan.errors import BundleError, UsageError
from ortolan.inputs.audio import checked_samples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ortolan import types
    from ortolan.inputs.audio import Samples
    from ortolan.tasks.stream_config import StreamConfig
    from ortolan.types import Array, BoundSession

_TWO_THREADS = "two threads use one Stream at the same time; give each thread its own: model.stream()"
_LOST = "the stream lost its place when a call failed in the middle of a chunk; call reset()"


class ChunkAnswer(NamedTuple):
    """The answer to one chunk. (A tuple, as it is made every few milliseconds and a dataclass takes 7 times as long.)

    Args:
        start: seconds from the stream's beginning to the chunk's.
        end: seconds to its end.
        score: the number that the bundle declares as the answer; with labels the largest one; None if it declares none.
        label: label of that number; None without labels.
        outputs: all outputs of the model but its states.
    """

    start: float
    end: float
    score: float | None
    label: str | None
    outputs: Mapping[str, Array]


class Stream:
    """Sound that arrives in pieces of any length, and the model's state between them. For one thread at a time.

    The model is shared; a stream only owns its buffers, so an application may have many. After an error in the middle
    of a chunk the stream has lost its place and needs `reset`.

    Args:
        config: chunks, states and answers.
        bound: inputs and outputs of the model, filled with what ``config.start`` has.
        require_open: raises ClosedError if the model is closed.

    Raises:
        BundleError: the model's outputs do not fit the configuration.
    """

    __slots__ = (
        "_answers",
        "_bound",
        "_chunk",
        "_config",
        "_context",
        "_done",
        "_filled",
        "_fresh",
        "_from_int16",
        "_full_scale",
        "_keeps_context",
        "_labels",
        "_lock",
        "_lost",
        "_require_open",
        "_scores",
        "_seconds",
        "_states",
        "_tail",
        "_to_start",
        "_window",
    )

    def __init__(self, config: StreamConfig, bound: BoundSession, require_open: Callable[[], None]) -> None:
        self._config = config
        self._bound = bound
        self._require_open = require_open
        self._lock = threading.Lock()
        # A chunk is asked for its answer every few milliseconds: what the loop needs is at hand.
        self._chunk, self._labels = config.chunk, config.labels
        self._full_scale = None if config.full_scale == 1.0 else np.float32(config.full_scale)
        self._from_int16 = np.float32(config.full_scale / 32768)
        self._seconds = config.chunk / config.sample_rate
        self._keeps_context = config.context > 0
        self._window: NDArray[Any] = bound.inputs[config.input].reshape(-1)
        self._context = self._window[: config.context]
        self._tail = self._window[len(self._window) - config.context :]
        self._fresh = self._window[config.context :]
        self._states: list[tuple[Array, Array]] = []
        for name, output in config.states:
            before, after = bound.inputs[name], bound.outputs[output]
            if before.shape != after.shape:
                raise BundleError(
                    f"model: state {name!r} is {list(before.shape)}, but {output!r} is {list(after.shape)}; a state "
                    "must keep its shape"
                )
            self._states.append((before.reshape(-1), after.reshape(-1)))  # copying along one axis is quicker
        self._answers = [(name, bound.outputs[name]) for name in config.answers]
        self._scores = None if config.answer is None else bound.outputs[config.answer].reshape(-1)
        wanted = 1 if config.labels is None else len(config.labels)
        if self._scores is not None and len(self._scores) != wanted:
            raise BundleError(
                f"model: expected output {config.answer!r} to have a number for each of {wanted} labels, "
                f"found {len(self._scores)}"
            )
        self._to_start = [(bound.inputs[name], value) for name, value in config.start.items()]
        self._filled = self._done = 0
        self._lost = False

    @property
    def position(self) -> float:
        """Seconds of sound that were pushed since the beginning, those of an incomplete chunk included."""
        return (self._done * self._chunk + self._filled) / self._config.sample_rate

    def push(self, samples: Samples, control: types.RunControl | None = None) -> list[ChunkAnswer]:
        """Add sound; the answers to the chunks that are complete now, none or several.

        Args:
            samples: int16, or float32 from -1 to 1, of one channel at the model's rate; of any length and byte order.
            control: deadline and cancellation of this call, all its chunks together.

        Raises:
            InputTypeError: no array of int16 or float32; the stream goes on as if it had not come.
            InputError: several axes, NaN or infinity; the same.
            SessionError: the model failed.
            DeadlineExceeded, Cancelled: by ``control``.
            UsageError: another thread is in a call, or an error before this call needs a `reset`.
            ClosedError: the model was closed.
        """
        sound = checked_samples(samples)
        call = None if control is None else begun(control)
        if not self._lock.acquire(False):
            raise UsageError(_TWO_THREADS)
        try:
            if self._lost:
                raise UsageError(_LOST)
            count = len(sound)
            if count < self._chunk - self._filled:
                self._require_open()
                self._write(sound)
                return []
            # An error from here on leaves the sound half taken.
            self._lost = True
            # Sound that comes in whole chunks has the shortest way: the interpreter's time adds to a small model's.
            if count == self._chunk and not self._filled:
                self._write(sound)
                answers = [self._run(call)]
            else:
                answers = self._complete(sound, call)
            self._lost = False
            return answers
        finally:
            self._lock.release()

    def flush(self, control: types.RunControl | None = None) -> list[ChunkAnswer]:
        """End the sound: answer an incomplete chunk, filled up with silence if the bundle says so, and begin anew.

        Args:
            control: deadline and cancellation of this call.

        Raises:
            SessionError, DeadlineExceeded, Cancelled, UsageError, ClosedError: as `push`.
        """
        call = None if control is None else begun(control)
        if not self._lock.acquire(False):
            raise UsageError(_TWO_THREADS)
        try:
            if self._lost:
                raise UsageError(_LOST)
            self._require_open()
            answers = []
            if self._filled and self._config.last == "pad":
                self._lost = True
                answers = self._complete(np.zeros(self._chunk - self._filled, np.float32), call)
            self._rewind()
            return answers
        finally:
            self._lock.release()

    def reset(self) -> None:
        """Forget everything and begin anew.

        Raises:
            UsageError: another thread is in a call.
            ClosedError: the model was closed.
        """
        if not self._lock.acquire(False):
            raise UsageError(_TWO_THREADS)
        try:
            self._require_open()
            self._rewind()
        finally:
            self._lock.release()

    def _complete(self, samples: Samples, control: types.RunControl | None) -> list[ChunkAnswer]:
        """Take samples that complete a chunk at least."""
        answers: list[ChunkAnswer] = []
        taken = 0
        while len(samples) - taken >= (need := self._chunk - self._filled):
            self._write(samples[taken : taken + need])
            taken += need
            answers.append(self._run(control))
        self._write(samples[taken:])
        return answers

    def _write(self, samples: Samples) -> None:
        count = len(samples)
        place = self._fresh if count == self._chunk else self._fresh[self._filled : self._filled + count]
        if samples.dtype.kind == "i":
            np.multiply(samples, self._from_int16, out=place)
        elif self._full_scale is None:
            place[...] = samples
        else:
            np.multiply(samples, self._full_scale, out=place)
        self._filled += count

    def _run(self, control: types.RunControl | None) -> ChunkAnswer:
        """Run the full window, carry the states over, and keep the end of the window as context."""
        self._bound(control)
        for before, after in self._states:
            before[...] = after
        if self._keeps_context:
            self._context[...] = self._tail
        self._filled = 0
        start = self._done * self._seconds
        self._done += 1
        end = self._done * self._seconds
        outputs = {}
        for name, array in self._answers:
            outputs[name] = array.copy()
        scores, labels = self._scores, self._labels
        if scores is None:
            return ChunkAnswer(start, end, None, None, outputs)
        if labels is None:
            return ChunkAnswer(start, end, scores.item(), None, outputs)
        best = int(scores.argmax())
        return ChunkAnswer(start, end, scores.item(best), labels[best], outputs)

    def _rewind(self) -> None:
        for array, value in self._to_start:
            array[...] = value
        self._filled = self._done = 0
        self._lost = False

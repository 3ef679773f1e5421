"""Task ``audio-stream``: sound, chunk by chunk, through a model that hands its state from one chunk to the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from ortolan.engine.control import begun
from ortolan.errors import InputError, UsageError
from ortolan.inputs.audio import Recording, checked_samples, one_channel, read_wav
from ortolan.inputs.resample import resampled
from ortolan.tasks.stream import Stream
from ortolan.tasks.stream_config import parse_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan import types
    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.audio import Samples, Source
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.tasks.stream import ChunkAnswer
    from ortolan.tasks.stream_config import StreamConfig
    from ortolan.types import Array, Session

    Sound = Samples | Source | Recording
    """Samples at the model's rate, a WAV file, or what `read_wav` made of one."""


class AudioStreamRunner:
    """Sound -> chunks -> recurrent model -> one answer per chunk."""

    metric: Metric = "tensor"

    def __init__(self, session: Session, config: StreamConfig) -> None:
        """Args:
        session: the model.
        config: chunks, states and answers.
        """
        self.session = session
        self.config = config
        self._idle: list[Stream] = []

    @classmethod
    def open(
        cls,
        task: TaskSpec,
        sessions: Mapping[str, Session],
        read_asset: ReadAsset,  # noqa: ARG003 - the signature that open_task calls
    ) -> AudioStreamRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        session = sessions["model"]
        return cls(session, parse_stream(task.config, session.inputs, session.outputs))

    def stream(self, require_open: Callable[[], None] = lambda: None) -> Stream:
        """A new stream at its beginning.

        Args:
            require_open: raises ClosedError if the model is closed.

        Raises:
            BundleError: the model's outputs do not fit the configuration.
            SessionError: the model failed.
        """
        return Stream(self.config, self.session.bind(self.config.start), require_open)

    def encode(self, xs: Sequence[Sound]) -> Iterator[Encoded]:
        """Not for streams: a chunk needs the state that the one before it leaves.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{len(xs)} recordings cannot be encoded ahead of running; use predict or stream")

    def examples(self, count: int) -> list[dict[str, Array]]:
        """What ``count`` chunks of quiet noise feed the model, with the states that the chunks before left."""
        random = np.random.default_rng(0)
        feeds = dict(self.config.start)
        made = []
        for _ in range(count):
            sound = feeds[self.config.input]
            noise = random.normal(0, 0.1 * self.config.full_scale, sound.shape)
            feeds = {**feeds, self.config.input: noise.astype(np.float32)}
            made.append(feeds)
            outputs = self.session.run(feeds)
            feeds = {**feeds, **{name: outputs[output] for name, output in self.config.states}}
        return made

    def decode(
        self,
        outputs: Mapping[str, Array],
        encoded: Encoded,  # noqa: ARG002 - part of Runner
    ) -> list[Mapping[str, Array]]:
        """The outputs of one run as they are."""
        return [outputs]

    def decide(self, row: Mapping[str, Array]) -> None:
        """What a chunk's answer means is for the application, which sees the ones before and after."""

    def warm_up(self) -> None:
        """Make the first stream, which runs the model once."""
        self._idle.append(self.stream())

    def answer(self, x: Sound, control: types.RunControl | None = None) -> list[ChunkAnswer]:
        """The answers to a whole recording, the same as chunk by chunk.

        Raises:
            InputTypeError: neither samples nor a WAV file.
            InputError: another rate, several channels that may not be mixed, a damaged file, NaN.
            StorageError: the file cannot be read.
            SessionError: the model failed.
            DeadlineExceeded, Cancelled: by ``control``.
        """
        call = None if control is None else begun(control)
        samples = self._samples(x)
        try:
            stream = self._idle.pop()
        except IndexError:
            stream = self.stream()
        answers = stream.push(samples, call)
        answers += stream.flush(call)
        self._idle.append(stream)
        return answers

    def _samples(self, x: Sound) -> Samples:
        """One channel at the model's rate."""
        if isinstance(x, np.ndarray):
            return checked_samples(x)
        where = os.fspath(x) if isinstance(x, str | os.PathLike) else "the recording"
        recording = x if isinstance(x, Recording) else read_wav(x)
        samples = one_channel(recording, self.config.channels, where)
        rate = self.config.sample_rate
        if recording.rate == rate:
            return samples
        if not self.config.resample:
            raise InputError(
                f"{where}: expected {rate} Hz, found {recording.rate} Hz; the bundle does not allow resampling "
                f"(resample: false): convert it, e.g. ffmpeg -i IN.wav -ar {rate} OUT.wav"
            )
        return resampled(samples, recording.rate, rate)

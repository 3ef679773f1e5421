"""The objects an application holds: a loaded model, and one thin class per kind of answer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ortolan.errors import ClosedError, InputTypeError, UsageError
from ortolan.types import Memory

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from ortolan.bundle.directory import Bundle
    from ortolan.inputs.columns import Row
    from ortolan.inputs.image_source import ImageLike
    from ortolan.tasks.audio_stream import Sound
    from ortolan.tasks.clustering import Cluster
    from ortolan.tasks.embedding import Vectors
    from ortolan.tasks.image_classification import ImageClassification
    from ortolan.tasks.image_to_text import RecognizedText
    from ortolan.tasks.object_detection import Detections
    from ortolan.tasks.runner import Runner
    from ortolan.tasks.stream import ChunkAnswer, Stream
    from ortolan.tasks.tabular import Regression
    from ortolan.tasks.text_classification import Classification
    from ortolan.tasks.token_classification import TokenClassification
    from ortolan.types import Array, BoundSession, Fidelity, Plan, RunControl, Session, TensorSpec

InputT = TypeVar("InputT")
"""What a model is asked."""
AnswerT = TypeVar("AnswerT")
"""What a model answers with."""


class Model:
    """A loaded model: tensors in, tensors out. Made by `ortolan.load`; one may be used from many threads.

    Args:
        sessions: what runs it, by component of the bundle; `run` and `bind` use the one named ``"model"``.
        runner: turns inputs into tensors and tensors into answers; None for tensors alone.
        plan: how it runs, and why.
        task: name of its task, e.g. ``"text-classification"``.
        predicted_peak: bytes, upper end of the prediction made before loading; None if unknown.
        bundle: where it came from; None for a bare ``.onnx`` file.
    """

    tasks: ClassVar[tuple[str, ...]] = ()
    """Names of the tasks that this class answers; empty for all."""
    fixed_shapes: ClassVar[bool] = False
    """Whether every run of the model has inputs of the same shapes."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        runner: Runner | None,
        *,
        plan: Plan,
        task: str = "tensor",
        predicted_peak: int | None = None,
        bundle: Bundle | None = None,
    ) -> None:
        self._sessions = sessions
        self._session = sessions["model"]
        self._runner = runner
        self._closed = False
        self._predicted_peak = predicted_peak
        self._bundle = bundle
        self.plan = plan
        self.task = task

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Name, dtype and shape of the input tensors."""
        return self._session.inputs

    @property
    def outputs(self) -> Sequence[TensorSpec]:
        """Name, dtype and shape of the output tensors."""
        return self._session.outputs

    @property
    def memory(self) -> Memory:
        """Predicted and measured peak of resident memory, in bytes; the measured one is the whole process's."""
        return Memory(self._predicted_peak, _peak_resident_bytes())

    def run(self, feeds: Mapping[str, Array], control: RunControl | None = None) -> dict[str, Array]:
        """All outputs by name, as new arrays.

        Args:
            feeds: a numpy array for every input, of exactly its dtype and in native byte order.
            control: deadline and cancellation of this call: ``ortolan.RunControl(timeout=0.1)``.

        Raises:
            InputTypeError: a value that is no array of the right element type and byte order.
            InputError: a missing or unknown name, a wrong rank or size.
            SessionError: onnxruntime failed.
            DeadlineExceeded: it took longer than ``control`` allows.
            Cancelled: ``control`` was cancelled.
            ClosedError: after `close`.
        """
        return self._session.run(feeds, control)

    def bind(self, feeds: Mapping[str, Array]) -> BoundSession:
        """Preallocate inputs and outputs of the shapes that ``feeds`` gives: no allocation and no copy per call.

        Write ``bound.inputs[name][...] = value``, call ``bound()``, read ``bound.outputs[name]``. For one thread.

        Raises:
            InputError, SessionError, ClosedError: as `run`.
        """
        return self._session.bind(feeds)

    def check(self) -> Fidelity:
        """Compare with the source's answers on the bundle's golden samples, on this device and provider.

        `ortolan.tasks.golden.agrees` tells whether that is within what the bundle promises of the variant.

        Raises:
            UsageError: a bare ``.onnx`` file, which has no golden samples.
            ClosedError: after `close`.
        """
        self._require_open()
        if self._bundle is None or self._runner is None:
            raise UsageError("a bare .onnx file has no golden samples; `ortolan convert` makes a bundle that has them")
        from ortolan.tasks.golden import compare, read_golden

        return compare(self._runner, self._session, read_golden(self._bundle), self._promised(self._bundle))

    def close(self) -> None:
        """Release the model; further calls raise ClosedError, further ``close`` do nothing."""
        self._closed = True
        for session in self._sessions.values():
            session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else self.plan.chosen.name
        return f"<{type(self).__name__} {self.task}: {state}>"

    def _promised(self, bundle: Bundle) -> Fidelity:
        """The fidelity of the variant that is loaded; of several the one furthest from the source."""
        variants = [bundle.manifest.variant(name, component) for component, name in self.plan.chosen.variants]
        return max((variant.info.fidelity for variant in variants), key=lambda fidelity: fidelity.worst)

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the model is closed; load it again to use it")


class AnsweringModel(Model, Generic[InputT, AnswerT]):
    """What the models have in common that answer inputs one by one."""

    def predict(self, x: InputT, control: RunControl | None = None) -> AnswerT:
        """The answer to one input.

        Args:
            x: the input. For texts any str will do: empty, emoji, NUL; lone surrogates for n-grams, not for tokens.
            control: deadline and cancellation of this call.

        Raises:
            InputTypeError: an input of the wrong type.
            InputError: an input of the wrong shape or content.
            SessionError: onnxruntime failed.
            DeadlineExceeded, Cancelled: as `run`.
            ClosedError: after `close`.
        """
        answer: AnswerT = self._answerer.answer(x, _begun(control))
        return answer

    def predict_batch(self, xs: Iterable[InputT], control: RunControl | None = None) -> list[AnswerT]:
        """The answers to several inputs, in their order; faster than one by one.

        Args:
            xs: the inputs.
            control: deadline and cancellation of this call, all inputs together.

        Raises:
            InputTypeError: not several inputs, or one of the wrong type.
            InputError: an input of the wrong shape or content.
            SessionError: onnxruntime failed.
            DeadlineExceeded, Cancelled: as `run`.
            ClosedError: after `close`.
        """
        self._require_open()
        call = _begun(control)
        items = _several(xs)
        answers: dict[int, AnswerT] = {}
        for encoded in self._answerer.encode(items):
            decoded = self._answerer.decode(self._session.run(encoded.feeds, call), encoded)
            answers.update(zip(encoded.rows, decoded, strict=True))
        return [answers[position] for position in range(len(items))]

    @property
    def _answerer(self) -> Runner:
        if self._runner is None:
            raise UsageError("a bare .onnx file answers nothing but tensors; load a bundle")
        return self._runner


if TYPE_CHECKING:
    _Classifying = AnsweringModel[str, Classification]
    _TokenClassifying = AnsweringModel[str, TokenClassification]
    _Clustering = AnsweringModel[str | Row, Cluster]
    _Embedding = AnsweringModel[str, Vectors]
    _TabularClassifying = AnsweringModel[Row, Classification]
    _TabularRegressing = AnsweringModel[Row, Regression]
    _Streaming = AnsweringModel[Sound, list[ChunkAnswer]]
    _ImageClassifying = AnsweringModel[ImageLike, ImageClassification]
    _Detecting = AnsweringModel[ImageLike, Detections]
    _Reading = AnsweringModel[ImageLike, RecognizedText]
else:  # the answers' modules are imported by the task that is loaded, and only that one
    _Classifying = _TokenClassifying = _Clustering = _Embedding = AnsweringModel
    _TabularClassifying = _TabularRegressing = _Streaming = AnsweringModel
    _ImageClassifying = _Detecting = _Reading = AnsweringModel


class TextClassifier(_Classifying):
    """Gives a text one of the labels it was trained on."""

    tasks = ("text-classification",)


class TokenClassifier(_TokenClassifying):
    """Finds the stretches of a text that have a label, such as names of persons and places, with their positions."""

    tasks = ("token-classification",)


class _ReadsTables(Model):
    """What the models have in common that answer rows of a table."""

    def read_table(self, path: str | os.PathLike[str]) -> list[dict[str, Any]]:
        """The rows of a .csv or .tsv file, for ``predict_batch``; its first line names the features, in any order.

        An empty cell is a missing value; a column named ``label`` that is no feature is left out.

        Raises:
            StorageError: the file cannot be read.
            InputError: it is no such file, has no rows or other columns, or has text where a number is due.
            UsageError: a clustering of texts.
        """
        from ortolan.inputs.table_file import read_table

        columns = getattr(self._runner, "columns", None)
        if columns is None:
            raise UsageError("this model takes texts, no rows of a table")
        return read_table(Path(path), columns)


class Clusterer(_Clustering, _ReadsTables):
    """Gives a text, or a row of a table, the nearest of the clusters it was trained on."""

    tasks = ("clustering",)

    @property
    def takes_rows(self) -> bool:
        """Whether its inputs are rows of a table rather than texts."""
        return hasattr(self._runner, "columns")


class TabularClassifier(_TabularClassifying, _ReadsTables):
    """Gives a row of a table one of the labels it was trained on."""

    tasks = ("tabular-classification",)


class TabularRegressor(_TabularRegressing, _ReadsTables):
    """Gives a row of a table the numbers it was trained on."""

    tasks = ("tabular-regression",)


class Streamer(_Streaming):
    """Answers sound chunk by chunk; ``predict`` takes a whole recording, `stream` what arrives in pieces."""

    tasks = ("audio-stream",)
    fixed_shapes = True

    def stream(self) -> Stream:
        """A new stream: ``push`` sound as it arrives. One model may have many, each for one thread at a time.

        Raises:
            BundleError: the model's outputs do not fit the bundle's description of its states.
            SessionError: onnxruntime failed.
            ClosedError: after `close`.
        """
        self._require_open()
        runner: Any = self._answerer
        opened: Stream = runner.stream(self._require_open)
        return opened

    def predict_batch(self, xs: Iterable[Sound], control: RunControl | None = None) -> list[list[ChunkAnswer]]:
        """The answers to several recordings, one after the other; arguments and errors as for every model."""
        self._require_open()
        if isinstance(xs, (str, bytes)):
            raise InputTypeError(f"expected a list of recordings, found a single {type(xs).__name__}; use predict")
        items, call = _several(xs), _begun(control)
        return [self.predict(x, call) for x in items]


class Embedder(_Embedding):
    """Turns texts into vectors whose directions are close where the meanings are."""

    tasks = ("embedding",)

    def embed(self, text: str, control: RunControl | None = None) -> Vectors:
        """float32 [d], the vector of a text.

        Args:
            text: any text, also an empty one; a lone surrogate is an error, as it is no character.
            control: deadline and cancellation of this call.

        Raises:
            InputError, SessionError, DeadlineExceeded, Cancelled, ClosedError: as `predict`.
        """
        return self.predict(text, control)

    def embed_batch(self, texts: Iterable[str], control: RunControl | None = None) -> Vectors:
        """float32 [n, d], the vectors of several texts in their order. Texts of similar length are run together.

        Args:
            texts: the texts.
            control: deadline and cancellation of this call, all texts together.

        Raises:
            InputError, SessionError, DeadlineExceeded, Cancelled, ClosedError: as `predict_batch`.
        """
        import numpy as np

        vectors = self.predict_batch(texts, control)
        dimensions = getattr(self._runner, "dimensions", None) or 0
        return np.stack(vectors) if vectors else np.zeros((0, dimensions), np.float32)


class ImageClassifier(_ImageClassifying):
    """Gives an image the likeliest of the classes it was trained on.

    An image is a path, the bytes of an image file, a Pillow image, or a uint8 array [height, width, channels] or
    [height, width] in the order of channels that the bundle declares (`ImageArray` gives another one).
    """

    tasks = ("image-classification",)


class ObjectDetector(_Detecting):
    """Finds objects in an image, in the coordinates of the image itself; images are those of `ImageClassifier`."""

    tasks = ("object-detection",)


class TextRecognizer(_Reading):
    """Reads the image of a line of text; images are those of `ImageClassifier`."""

    tasks = ("image-to-text",)


def _begun(control: RunControl | None) -> RunControl | None:
    """The control of a call that begins now."""
    if control is None:
        return None
    from ortolan.engine.control import begun

    return begun(control)


def _several(xs: Iterable[Any]) -> Any:
    """The inputs of a batch as a sequence."""
    if not isinstance(xs, Iterable):
        raise InputTypeError(f"expected a list of inputs, found {type(xs).__name__}")
    # A single str is passed on as it is: the runner says what is wrong with it. So is an array of several axes.
    whole = isinstance(xs, (str, bytes, list, tuple)) or getattr(xs, "ndim", 1) > 1
    return xs if whole else list(xs)


def _peak_resident_bytes() -> int | None:
    """VmHWM of this process; None where the system hides it."""
    try:
        with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - no Path is at hand, and it is asked often
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        return None
    return None

"""Every use of the public interface, with the types an application sees. Checked, never run; see test_typing.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import ortolan
from ortolan import errors
from ortolan.types import Array, BoundSession, Fidelity, Memory, Plan, TensorSpec


def loading(path: Path) -> None:
    assert_type(ortolan.load(path), ortolan.Model)
    assert_type(ortolan.load(str(path), ortolan.TextClassifier), ortolan.TextClassifier)
    assert_type(ortolan.load(path, as_=ortolan.Embedder), ortolan.Embedder)
    with ortolan.load(
        path,
        ortolan.Streamer,
        variant="int8",
        provider="cuda-or-cpu",
        threads=2,
        max_memory="200MB",
        low_memory=True,
        verify="full",
    ) as model:
        assert_type(model, ortolan.Streamer)
    ortolan.load(path, max_memory=200_000_000).close()


def narrowing(model: ortolan.Model, text: str) -> None:
    if isinstance(model, ortolan.TextClassifier):
        assert_type(model.predict(text), ortolan.Classification)
    elif isinstance(model, ortolan.Clusterer):
        assert_type(model.predict(text), ortolan.Cluster)


def tensors(model: ortolan.Model, feeds: dict[str, Array]) -> None:
    control = ortolan.RunControl(timeout=0.5)
    assert_type(model.run(feeds), dict[str, Array])
    assert_type(model.run(feeds, control), dict[str, Array])
    control.cancel()
    bound = model.bind(feeds)
    assert_type(bound, BoundSession)
    bound.inputs["x"][...] = np.zeros(3, np.float32)
    bound()
    bound(control.from_now())
    assert_type(bound.outputs["y"], Array)
    assert_type(model.inputs, Sequence[TensorSpec])
    assert_type(model.outputs[0].name, str)
    assert_type(model.check(), Fidelity)
    assert_type(model.plan, Plan)
    assert_type(model.plan.notes, tuple[str, ...])
    assert_type(model.memory, Memory)
    assert_type(model.memory.measured_peak, int | None)
    assert_type(model.task, str)


def texts(classifier: ortolan.TextClassifier, clusterer: ortolan.Clusterer, embedder: ortolan.Embedder) -> None:
    answer = classifier.predict("好", ortolan.RunControl())
    assert_type(answer.label, str | int | float | bool)
    assert_type(answer.score, float)
    assert_type(answer.probabilities, Mapping[str | int | float | bool, float] | None)
    assert_type(classifier.predict_batch(iter(["a", "b"])), list[ortolan.Classification])
    assert_type(classifier.predict_batch(["a"], ortolan.RunControl(1)), list[ortolan.Classification])
    assert_type(clusterer.predict("a").label, int)
    assert_type(clusterer.predict_batch({"a": 1}), list[ortolan.Cluster])
    assert_type(embedder.embed("a"), NDArray[np.float32])
    assert_type(embedder.embed_batch(["a"], control=ortolan.RunControl()), NDArray[np.float32])


def spans(classifier: ortolan.TokenClassifier) -> None:
    answer = classifier.predict("Ada in London")
    assert_type(answer, ortolan.TokenClassification)
    assert_type(answer.spans, tuple[ortolan.Span, ...])
    assert_type(answer.tokens[0], ortolan.TokenLabel)
    assert_type(answer.spans[0].start, int)
    assert_type(answer.truncated, bool)
    assert_type(classifier.predict_batch(["a"]), list[ortolan.TokenClassification])


def tables(
    classifier: ortolan.TabularClassifier, regressor: ortolan.TabularRegressor, grid: NDArray[np.float64]
) -> None:
    assert_type(classifier.predict({"age": 41, "city": "Graz"}), ortolan.Classification)
    assert_type(classifier.predict([41, "Graz", None]), ortolan.Classification)
    assert_type(classifier.predict((1.5, 2)), ortolan.Classification)
    assert_type(classifier.predict_batch(grid), list[ortolan.Classification])
    assert_type(classifier.predict_batch([{"age": 41}, {"age": 42}]), list[ortolan.Classification])
    assert_type(classifier.read_table("rows.csv"), list[dict[str, Any]])
    assert_type(regressor.predict(grid[0]), ortolan.Regression)
    assert_type(regressor.predict_batch(regressor.read_table(Path("rows.csv"))), list[ortolan.Regression])
    assert_type(regressor.predict([1]).value, float)
    assert_type(regressor.predict([1]).values, Mapping[str, float])


def sound(streamer: ortolan.Streamer, samples: NDArray[np.int16]) -> None:
    stream = streamer.stream()
    assert_type(stream, ortolan.Stream)
    assert_type(stream.push(samples), list[ortolan.ChunkAnswer])
    assert_type(stream.push(samples.astype(np.float32), ortolan.RunControl(1.0)), list[ortolan.ChunkAnswer])
    assert_type(stream.flush(ortolan.RunControl(0.5)), list[ortolan.ChunkAnswer])
    stream.reset()
    assert_type(stream.position, float)
    for answer in streamer.predict("speech.wav"):
        assert_type(answer.start, float)
        assert_type(answer.score, float | None)
        assert_type(answer.label, str | None)
        assert_type(answer.outputs["output"], Array)
    assert_type(streamer.predict(b"RIFF"), list[ortolan.ChunkAnswer])
    assert_type(streamer.predict_batch([samples, Path("speech.wav")]), list[list[ortolan.ChunkAnswer]])


def images(
    classifier: ortolan.ImageClassifier,
    detector: ortolan.ObjectDetector,
    reader: ortolan.TextRecognizer,
    frame: NDArray[np.uint8],
) -> None:
    assert_type(classifier.predict(frame), ortolan.ImageClassification)
    assert_type(classifier.predict("cat.jpg").label, str | int)
    assert_type(classifier.predict_batch([Path("cat.jpg"), b"...", frame]), list[ortolan.ImageClassification])
    found = detector.predict(ortolan.ImageArray(frame, "bgr"))
    assert_type(found, ortolan.Detections)
    for one in found.objects:
        assert_type(one, ortolan.Detection)
        assert_type(one.box, tuple[float, float, float, float])
    assert_type(reader.predict(frame), ortolan.RecognizedText)
    assert_type(reader.predict(frame).text, str)


def failures(model: ortolan.TextClassifier) -> int:
    try:
        model.predict("a")
    except errors.DeadlineExceeded as error:
        assert_type(error, errors.DeadlineExceeded)
    except (errors.InputError, errors.ClosedError, errors.MemoryBudgetError):
        return 1
    except ortolan.OrtolanError as error:
        return error.exit_status
    return 0


class Own(ortolan.TextClassifier):
    """An application's own class keeps its type."""

    def positive(self, text: str) -> bool:
        return self.predict(text).label == "pos"


def own(path: Path) -> None:
    assert_type(ortolan.load(path, Own).positive("a"), bool)

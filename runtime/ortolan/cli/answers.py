"""What ``ortolan predict`` asks and prints: a row per kind of task."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan.model import Model, TabularClassifier, TabularRegressor
    from ortolan.tasks.stream import ChunkAnswer
    from ortolan.types import Array

    Answers = tuple[list[dict[str, Any]], list[str]]
    """The answers as JSON, and the lines that people read."""


def ask(model: Model, inputs: Sequence[str]) -> Answers:
    """The answers of a model to what stands on the command line.

    Raises:
        InputError: an input that is not what the model's task takes.
        StorageError: a file that cannot be read.
        SessionError: onnxruntime failed.
    """
    answers, lines = _ASKED.get(model.task, _tensors)(model, inputs)
    return [_named(answer) for answer in answers], lines


def _labels(model: Any, inputs: Sequence[str]) -> Answers:
    answers = [asdict(answer) for answer in model.predict_batch(list(_texts(inputs)))]
    return answers, [str(answer["label"]) for answer in answers]


def _spans(model: Any, inputs: Sequence[str]) -> Answers:
    """One line per text with its spans: label, text, and the positions of its first and after its last character."""
    answers = [asdict(answer) for answer in model.predict_batch(list(_texts(inputs)))]
    return answers, ["  ".join(map(_span, answer["spans"])) for answer in answers]


def _span(found: Mapping[str, Any]) -> str:
    return f"{found['label']} {found['text']!r} {found['start']}-{found['end']}"


def _vectors(model: Any, inputs: Sequence[str]) -> Answers:
    vectors = [vector.tolist() for vector in model.predict_batch(list(_texts(inputs)))]
    return [{"vector": vector} for vector in vectors], [" ".join(f"{x:.6g}" for x in vector) for vector in vectors]


def _table(model: Any, inputs: Sequence[str]) -> Answers:
    answers = [asdict(answer) for answer in model.predict_batch(_rows(model, inputs))]
    return answers, [str(answer.get("label", answer.get("value"))) for answer in answers]


def _clusters(model: Any, inputs: Sequence[str]) -> Answers:
    return (_table if model.takes_rows else _labels)(model, inputs)


def _recordings(model: Any, inputs: Sequence[str]) -> Answers:
    answers = [_chunks(model.predict(path)) for path in inputs]
    return answers, [_chunk_line(chunk) for answer in answers for chunk in answer["chunks"]]


def _images(model: Any, inputs: Sequence[str]) -> Answers:
    answers = [asdict(answer) for answer in model.predict_batch(list(inputs))]
    return answers, [str(answer["text"] if "text" in answer else answer["label"]) for answer in answers]


def _objects(model: Any, inputs: Sequence[str]) -> Answers:
    """One line per object: label, score, and the left, top, right and bottom of its box."""
    answers = [asdict(answer) for answer in model.predict_batch(list(inputs))]
    lines = [
        f"{found['label']}  {found['score']:.4f}  {' '.join(f'{x:.1f}' for x in found['box'])}"
        for answer in answers
        for found in answer["objects"]
    ]
    return answers, lines


def _tensors(model: Model, inputs: Sequence[str]) -> Answers:
    found = [model.run(_arrays(model, Path(path))) for path in inputs]
    answers = [{name: array.tolist() for name, array in outputs.items()} for outputs in found]
    return answers, [_described(outputs) for outputs in found]


_ASKED: dict[str, Callable[[Any, Sequence[str]], Answers]] = {
    "audio-stream": _recordings,
    "clustering": _clusters,
    "embedding": _vectors,
    "image-classification": _images,
    "image-to-text": _images,
    "object-detection": _objects,
    "tabular-classification": _table,
    "tabular-regression": _table,
    "text-classification": _labels,
    "token-classification": _spans,
}
"""Task -> what asks it; every other task takes tensors."""


def _texts(inputs: Sequence[str]) -> Iterator[str]:
    for text in inputs:
        if text == "-":
            yield from (line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in sys.stdin.buffer)
        else:
            yield text


def _rows(model: TabularClassifier | TabularRegressor, inputs: Sequence[str]) -> list[Any]:
    """The rows of all inputs: JSON, or files of rows."""
    from ortolan.inputs.table_file import SUFFIXES

    rows: list[Any] = []
    for text in inputs:
        if Path(text).suffix.lower() in SUFFIXES:
            rows += model.read_table(text)
            continue
        try:
            rows.append(json.loads(text))
        except (ValueError, RecursionError):
            expected = f"a row as JSON, or a file of rows ({', '.join(SUFFIXES)})"
            raise InputError(f"expected {expected}, found {text[:40]!r}") from None
    return rows


def _chunks(answers: Sequence[ChunkAnswer]) -> dict[str, Any]:
    """What `ortolan.predict/1` has of a recording; times are in seconds."""
    return {
        "chunks": [
            {
                "start_s": one.start,
                "end_s": one.end,
                "score": one.score,
                "label": one.label,
                "outputs": {name: array.tolist() for name, array in one.outputs.items()},
            }
            for one in answers
        ]
    }


def _chunk_line(chunk: Mapping[str, Any]) -> str:
    parts = [f"{chunk['start_s']:9.3f} {chunk['end_s']:9.3f}"]
    if chunk["score"] is None:
        parts.append(json.dumps(chunk["outputs"]))
    else:
        parts.append(f"{chunk['score']:.4f}")
    return "  ".join([*parts, chunk["label"] or ""]).rstrip()


def _arrays(model: Model, path: Path) -> Mapping[str, Array]:
    from ortolan.inputs.datafile import read_arrays

    arrays = read_arrays(path)
    if list(arrays) != [""]:
        return arrays
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InputError(f"{path}: the model has {len(model.inputs)} inputs; give an .npz file with {names}")
    return {model.inputs[0].name: arrays[""]}


def _described(outputs: Mapping[str, Array]) -> str:
    import numpy as np

    return "\n".join(
        f"{name}: {array.dtype}{list(array.shape)}\n{np.array2string(array, threshold=64, precision=6)}"
        for name, array in outputs.items()
    )


def _named(answer: Mapping[str, Any]) -> dict[str, Any]:
    """JSON needs text as keys; labels may be numbers."""
    return {
        name: {str(key): number for key, number in value.items()} if isinstance(value, dict) else value
        for name, value in answer.items()
    }

"""What a model over tables and its source are asked: the user's samples, and rows made up of what the model knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, InputError, UnsupportedError
from ortolan.inputs.datafile import label_text
from ortolan_convert.parity import Answers
from ortolan_convert.tables.parity import compare_rows
from ortolan_convert.tables.rows import made_up_rows, taken
from ortolan_convert.tables.samples import read_samples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan_convert.parity import Comparison
    from ortolan_convert.request import Request
    from ortolan_convert.tables.source import Rows, TableSource

FEWEST_ROWS = 16
"""Samples that are worth a check by themselves; made-up rows complete fewer."""
MOST_UNDECIDED = 0.5
"""Share of the rows that rounding may decide: where it is nearly all, nothing was compared."""
MOST_REFUSED = 0.5
"""Share of the made-up rows that a source may refuse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What the model and its source are asked.

    Args:
        rows: the samples, then made-up rows.
        count: how many are samples.
        labels: true labels of the samples as text, if known.
        origin: ``"samples"`` of the user, or ``"generated"``.
        answers: the source's.
        refused: how many made-up rows the source refused; they are not among the rows.
    """

    rows: Rows
    count: int
    labels: tuple[str, ...] | None
    origin: str
    answers: Answers
    refused: int = 0

    @property
    def undecided(self) -> int:
        """How many rows the source's own rounding decides, so that there is no answer to compare."""
        return 0 if self.answers.slack is None else int(np.isinf(self.answers.slack).sum())


def exam_of(source: TableSource, request: Request) -> Exam:
    """The rows to compare on, and the source's answers.

    Raises:
        InputError, StorageError: the samples are not what the model takes.
        ConversionError: the source refuses the samples, or most of the made-up rows.
    """
    made_up = made_up_rows(source.columns)
    count = length(made_up)
    if request.samples is None:
        rows, answers = _answered(source, made_up)
        kept = length(rows)
        return Exam(rows=rows, count=kept, labels=None, origin="generated", answers=answers, refused=count - kept)
    samples = read_samples(request.samples, source.columns, source.assets)
    _check_labels(request, source, samples.labels)
    own = source.ask(samples.rows)
    rows, answers = _answered(source, made_up)
    return Exam(
        rows={name: np.concatenate([values, rows[name]]) for name, values in samples.rows.items()},
        count=length(samples.rows),
        labels=samples.labels,
        origin="samples",
        answers=_both(own, answers),
        refused=count - length(rows),
    )


def check_decided(exam: Exam) -> None:
    """Refuse a model whose answers are mostly rounding.

    Raises:
        UnsupportedError: more than half of the rows have no answer to compare.
    """
    count = length(exam.rows)
    if exam.undecided > MOST_UNDECIDED * count:
        raise UnsupportedError(
            f"on {exam.undecided} of {count} rows several neighbours are equally near, and rounding decides which "
            f"count: there is nothing to compare a bundle with; give the model features of finer steps, or another "
            f"kind of model"
        )


def _answered(source: TableSource, rows: Rows) -> tuple[Rows, Answers]:
    """The rows that the source answers, and its answers.

    Raises:
        ConversionError: it refuses most of them.
    """
    kept: list[NDArray[Any]] = []
    found: list[Answers] = []
    refusal: ConversionError | None = None
    waiting = [np.arange(length(rows))]
    refused = 0
    while waiting:
        places = waiting.pop()
        try:
            found.append(source.ask(taken(rows, places)))
            kept.append(places)
        except ConversionError as error:
            refusal = error
            if len(places) > 1:
                waiting += np.array_split(places, 2)[::-1]
                continue
            refused += 1
            if refused > MOST_REFUSED * length(rows):
                raise
    if not found:
        raise refusal or ConversionError("no rows to ask")
    answers = found[0]
    for other in found[1:]:
        answers = _both(answers, other)
    return taken(rows, np.concatenate(kept)), answers


def _both(first: Answers, second: Answers) -> Answers:
    slacks = [np.zeros(len(one.labels)) if one.slack is None else one.slack for one in (first, second)]
    return Answers(
        labels=np.concatenate([first.labels, second.labels]),
        numbers={name: np.concatenate([values, second.numbers[name]]) for name, values in first.numbers.items()},
        decided_by=first.decided_by,
        slack=None if first.slack is None and second.slack is None else np.concatenate(slacks),
    )


def compared(source: TableSource, answers: Answers, outputs: Mapping[str, NDArray[Any]]) -> Comparison:
    """What the model's outputs differ by from the source's answers."""
    return compare_rows(answers, outputs, _decided(source, answers, outputs))


def _decided(source: TableSource, answers: Answers, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """int64 [n]: the labels, decided as the runtime does it."""
    if source.task == "tabular-regression":
        return np.zeros(len(answers.labels), np.int64)
    if "distances" in outputs:
        nearest: NDArray[Any] = outputs["label"] if "label" in outputs else outputs["distances"].argmin(axis=1)
        return nearest.astype(np.int64)
    if "label" in outputs:
        position = {label: index for index, label in enumerate(source.labels)}
        return np.array([position[label] for label in outputs["label"].tolist()], np.int64)
    deciding = outputs["probabilities"] if "probabilities" in outputs else outputs["scores"]
    best: NDArray[Any] = deciding.argmax(axis=1)
    return best


def length(rows: Rows) -> int:
    """How many rows."""
    return len(next(iter(rows.values())))


def accuracy(source: TableSource, labels: NDArray[Any], exam: Exam) -> float | None:
    """Share of the samples whose label is the true one; None if the true ones are not known."""
    if exam.labels is None or not source.labels:
        return None
    texts = [label_text(name) for name in source.labels]
    hits = sum(texts[found] == true for found, true in zip(labels.tolist(), exam.labels, strict=False))
    return float(hits / exam.count)


def _check_labels(request: Request, source: TableSource, labels: tuple[str, ...] | None) -> None:
    """Labels of samples that are none of the model's are a mistake: another column, or another model."""
    if labels is None or not source.labels:
        return
    known = {label_text(name) for name in source.labels}
    if not known.intersection(labels):
        listed = ", ".join(sorted(known)[:8])
        raise InputError(
            f"{request.samples}: column 'label': expected labels of the model ({listed}), found {labels[0]!r}"
        )

"""How far answers are from the source's, and which samples go into a bundle to check it later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ParityError
from ortolan.tasks import golden

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.types import Fidelity

TOLERANCE = 1e-5
"""Largest difference of a probability (or relative one of a score) between the source and the reference."""
TIE = 1e-6
"""Two classes whose scores differ by less than this, relative to the largest, are equal."""
GOLDEN = 24
"""How many samples go into a bundle."""
GOLDEN_LENGTH = 2500
"""Longest text among them, in characters: a device checks them often."""
SHOWN = 5
"""How many disagreeing inputs an error lists."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A classifier's or clusterer's answers to n inputs.

    Args:
        labels: int64 [n], index of the class or cluster.
        numbers: float64 [n, C] by name: ``scores``, ``probabilities``, ``distances``.
        decided_by: the name of those that the label follows from.
        slack: float64 [n], how much a probability moves when the features are rounded otherwise; None for not at all,
            infinite where rounding decides the label.
            An isotonic calibration has steps so steep that a sample on one has no exact answer.
    """

    labels: NDArray[Any]
    numbers: Mapping[str, NDArray[Any]]
    decided_by: str
    slack: NDArray[Any] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a model's answers differ by.

    Args:
        changed: bool [n], another label, ties aside.
        difference: float64 [n], largest difference of a number, as ``Fidelity.worst`` defines it.
        labels: int64 [n], the model's.
        numbers: the model's.
    """

    changed: NDArray[Any]
    difference: NDArray[Any]
    labels: NDArray[Any]
    numbers: Mapping[str, NDArray[Any]]


def compare(source: Answers, outputs: Mapping[str, NDArray[Any]]) -> Comparison:
    """Compare a model's outputs with the source's answers.

    Args:
        source: the answers to reach.
        outputs: the model's, [n, C] by name; ``label`` [n] where they do not decide.
    """
    deciding = outputs[source.decided_by]
    if "label" in outputs:
        labels = outputs["label"].astype(np.int64)
    else:
        labels = deciding.argmin(axis=1) if source.decided_by == "distances" else deciding.argmax(axis=1)
    rows = np.arange(len(labels))
    changed = labels != source.labels
    if source.decided_by in source.numbers:
        numbers = source.numbers[source.decided_by]
        gap = np.abs(numbers[rows, labels] - numbers[rows, source.labels])
        tie = TIE * np.maximum(1.0, np.abs(numbers).max(axis=1, initial=0.0))
        changed &= gap > (tie if source.slack is None else np.maximum(tie, 2 * source.slack))
    difference = differences(source.numbers, outputs)
    if source.slack is not None:
        difference[np.isinf(source.slack)] = 0.0
    return Comparison(changed, difference, labels, outputs)


def differences(expected: Mapping[str, NDArray[Any]], found: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """float64 [n]: of probabilities where there are any, otherwise relative to the larger of 1 and the largest."""
    if "probabilities" in expected:
        gap = np.abs(found["probabilities"] - expected["probabilities"])
    else:
        name = next(iter(expected))
        gap = np.abs(found[name] - expected[name])
        gap /= np.maximum(1.0, np.abs(expected[name]).max(axis=1, keepdims=True, initial=0.0))
    worst: NDArray[Any] = gap.max(axis=1, initial=0.0)
    return worst


def disagreements(source: Answers, comparison: Comparison) -> NDArray[Any]:
    """Bool [n]: whose label differs, or a number by more than 1e-5."""
    allowed = TOLERANCE if source.slack is None else TOLERANCE + source.slack
    bad: NDArray[Any] = comparison.changed | ~(comparison.difference <= allowed)
    return bad


def gate(source: Answers, comparison: Comparison, inputs: Sequence[object], names: Sequence[object]) -> None:
    """Accept the reference.

    Args:
        source: the answers to reach.
        comparison: of the reference with them.
        inputs: what was asked.
        names: of the labels.

    Raises:
        ParityError: a label differs, or a number by more than 1e-5; the message shows up to five such inputs.
    """
    bad = disagreements(source, comparison)
    if not bad.any():
        return
    worst_first = np.argsort(
        -np.nan_to_num(comparison.difference + 1e3 * comparison.changed, nan=np.inf), kind="stable"
    )
    shown = [index for index in worst_first.tolist() if bad[index]][:SHOWN]
    lines = "; ".join(
        f"{_shortened(inputs[i])}: source {names[source.labels[i]]!r}, converted {names[comparison.labels[i]]!r}, "
        f"difference {comparison.difference[i]:.2g}"
        for i in shown
    )
    raise ParityError(
        f"the converted model disagrees with its source on {int(bad.sum())} of {len(bad)} inputs "
        f"(labels must be equal and numbers within {TOLERANCE:g}): {lines}"
    )


def _shortened(value: object) -> str:
    text = ascii(value) if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1]}"


def fidelity(comparison: Comparison, *, count: int, metric: str, inputs: str) -> Fidelity:
    """Fidelity of a variant.

    Args:
        comparison: of its answers with the source's.
        count: how many of the first inputs are samples; the rest are edge cases, which count for ``worst`` alone.
        metric: ``"label"`` or ``"cluster"``.
        inputs: ``"samples"`` or ``"generated"``.
    """
    changed = int(comparison.changed[:count].sum())
    return golden.fidelity(metric, count, changed, float(comparison.difference.max(initial=0.0)), inputs)


def choose_golden(texts: Sequence[str], count: int, source: Answers) -> list[int]:
    """Positions of the samples to ship, at least 16 if there are as many different ones.

    The least certain, one of each label, lengths from shortest to longest, two edge cases; then evenly spread ones.

    Args:
        texts: the samples, then edge cases.
        count: how many are samples.
        source: the answers to all of them.
    """
    # Where rounding decides (an infinite slack) there is no answer to ship.
    decided = np.ones(len(texts), bool) if source.slack is None else np.isfinite(source.slack)
    short = np.array([i for i, text in enumerate(texts) if len(text) <= GOLDEN_LENGTH and decided[i]], np.int64)
    own = short[short < count] if (short < count).any() else short
    lengths = np.array([len(texts[index]) for index in own.tolist()])
    labels = source.labels[own]
    margin = _margins(source)[own]
    last = len(own) - 1
    picks = [
        *own[margin.argsort(kind="stable")[:6]].tolist(),
        *(int(own[np.flatnonzero(labels == label)[0]]) for label in np.unique(labels)[:8]),
        *own[lengths.argsort(kind="stable")[np.linspace(0, last, 6).astype(int)]].tolist(),
        *short[short >= count][:2].tolist(),
        *own[np.linspace(0, last, 4 * GOLDEN).astype(int)].tolist(),
        *short.tolist(),
    ]
    unique: dict[str, int] = {}
    for pick in picks:
        if len(unique) < GOLDEN:
            unique.setdefault(texts[pick], pick)
    return sorted(unique.values())


def _margins(source: Answers) -> NDArray[Any]:
    """float64 [n]: distance between the two best classes, 0 if there is but one."""
    numbers = next(iter(source.numbers.values()))
    if numbers.shape[1] < 2:
        return np.zeros(len(numbers))
    ordered = np.sort(-numbers if source.decided_by == "distances" else numbers, axis=1)
    margin: NDArray[Any] = ordered[:, -1] - ordered[:, -2]
    return margin

"""How far the answers to rows of a table are from the source's: labels are equal, numbers within a millionth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ParityError
from ortolan_convert.parity import SHOWN, TIE, Comparison

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.parity import Answers

TOLERANCE = 1e-6
"""Largest difference of a number, relative to the source's; of probabilities absolute."""
VALUES = "values"
"""Name of a regression's numbers, which decide nothing."""


def compare_rows(source: Answers, outputs: Mapping[str, NDArray[Any]], labels: NDArray[Any]) -> Comparison:
    """Compare a model's outputs with the source's answers.

    Args:
        source: the answers to reach.
        outputs: the model's, [n, C] by name.
        labels: int64 [n], the model's.
    """
    changed = np.zeros(len(labels), bool)
    if VALUES not in source.numbers:
        deciding = source.numbers.get(source.decided_by)
        changed = labels != source.labels
        if deciding is not None:
            rows = np.arange(len(labels))
            gap = np.abs(deciding[rows, labels] - deciding[rows, source.labels])
            changed &= ~(gap <= TIE * np.maximum(1.0, np.abs(deciding).max(axis=1, initial=0.0)))
    gaps = [_relative(expected, outputs[name], 1.0) for name, expected in source.numbers.items()]
    worst = np.max(gaps, axis=0) if gaps else np.zeros(len(labels))
    if source.slack is not None:
        undecided = np.isinf(source.slack)
        changed &= ~undecided
        worst = np.where(undecided, 0.0, worst)
    return Comparison(changed, worst, labels, outputs)


def too_far(source: Answers, comparison: Comparison) -> NDArray[Any]:
    """Bool [n]: whose label differs, or a number by more than :data:`TOLERANCE`.

    A number is compared relative to the source's own, or to what is usual of it where that is smaller: where terms of
    a sum cancel, what is left of them holds their rounding.
    """
    bad: NDArray[Any] = comparison.changed.copy()
    slack = 0.0 if source.slack is None else source.slack
    for name, expected in source.numbers.items():
        if name == "probabilities":
            usual: Any = 1.0
        else:
            finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
            usual = np.median(finite, axis=0, keepdims=True)
        bad |= ~(_relative(expected, comparison.numbers[name], usual) <= TOLERANCE + slack)
    return bad


def gate_rows(source: Answers, comparison: Comparison, rows: Sequence[object], names: Sequence[object]) -> None:
    """Accept the reference.

    Args:
        source: the answers to reach.
        comparison: of the reference with them.
        rows: what was asked.
        names: of the labels; empty where there are none.

    Raises:
        ParityError: it differs; the message shows up to five such rows.
    """
    bad = too_far(source, comparison)
    if not bad.any():
        return
    order = np.argsort(-np.nan_to_num(comparison.difference + 1e3 * comparison.changed, nan=np.inf), kind="stable")
    shown = [index for index in order.tolist() if bad[index]][:SHOWN]
    raise ParityError(
        f"the converted model disagrees with its source on {int(bad.sum())} of {len(bad)} rows "
        f"(labels must be equal and numbers within {TOLERANCE:g}): "
        + "; ".join(_shown(rows[i], i, source, comparison, names) for i in shown)
    )


def _shown(row: object, index: int, source: Answers, comparison: Comparison, names: Sequence[object]) -> str:
    text = repr(row)
    text = text if len(text) <= 120 else f"{text[:117]}…]"
    decided = (
        f"source {names[source.labels[index]]!r}, converted {names[comparison.labels[index]]!r}, " if names else ""
    )
    return f"{text}: {decided}difference {comparison.difference[index]:.2g}"


def _relative(expected: NDArray[Any], found: NDArray[Any], usual: Any) -> NDArray[Any]:
    """float64 [n]: largest difference of each row, relative to the larger of ``usual`` and the row's own numbers."""
    with np.errstate(invalid="ignore"):
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        gap = np.where(same, 0.0, np.abs(expected - found))
    scale = np.maximum(usual, np.where(np.isfinite(expected), np.abs(expected), 0.0).max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(gap == 0, 0.0, gap / scale)
    worst: NDArray[Any] = np.nan_to_num(ratio, nan=np.inf).max(axis=1, initial=0.0)
    return worst


def choose_rows(source: Answers, count: int, wanted: int) -> list[int]:
    """Positions of the rows to ship: of every label, evenly spread, none that rounding could decide otherwise.

    Args:
        source: the answers to all rows.
        count: how many of the first rows may be chosen.
        wanted: how many to choose.
    """
    margin = _margins(source)[:count]
    firm = np.flatnonzero(margin > FIRM)
    if len(firm) < min(wanted, count):
        firm = np.sort(np.argsort(-margin, kind="stable")[: max(wanted, len(firm))])
    labels = source.labels[firm]
    picks = [
        *(int(firm[np.flatnonzero(labels == label)[0]]) for label in np.unique(labels)[: wanted // 2]),
        *firm[np.linspace(0, len(firm) - 1, 2 * wanted).astype(int)].tolist(),
    ]
    return sorted(list(dict.fromkeys(picks))[:wanted])


FIRM = 1e-3
"""Two classes whose numbers are nearer than this, relative to the largest, may change places on another processor."""


def _margins(source: Answers) -> NDArray[Any]:
    """float64 [n]: distance between the two best classes relative to the best; infinite where nothing is decided."""
    numbers = source.numbers.get(source.decided_by)
    undecided = np.zeros(len(source.labels), bool) if source.slack is None else source.slack > 0
    if VALUES in source.numbers or numbers is None or numbers.shape[1] < 2:
        return np.where(undecided, 0.0, np.inf)
    ordered = np.sort(-numbers if source.decided_by == "distances" else numbers, axis=1)
    with np.errstate(invalid="ignore"):
        margin = (ordered[:, -1] - ordered[:, -2]) / np.maximum(1.0, np.abs(ordered).max(axis=1))
    known: NDArray[Any] = np.where(undecided, 0.0, np.nan_to_num(margin, nan=0.0))
    return known

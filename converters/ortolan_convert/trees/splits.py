"""Splits as libraries make them, as thresholds of the one kind that :mod:`ortolan_convert.trees.ensemble` has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def at_most_in_float32(thresholds: NDArray[Any]) -> NDArray[Any]:
    """For ``float32(x) <= t``: the largest float64 ``x`` for which it holds.

    Between two neighbours in float32, numbers go to the nearer one, and from the middle to the one whose last bit is 0.

    Args:
        thresholds: float64 or float32 [n], not NaN.
    """
    thresholds = np.asarray(thresholds, np.float64)
    with np.errstate(over="ignore"):
        below = thresholds.astype(np.float32)
        below = np.where(below.astype(np.float64) > thresholds, np.nextafter(below, np.float32(-np.inf)), below)
        above = np.nextafter(below, np.float32(np.inf))
    low, high = below.astype(np.float64), above.astype(np.float64)
    # What comes after the largest float32 rounds as if float32 went on.
    high = np.where(np.isposinf(high), 2.0**128, high)
    low_for_middle = np.where(np.isneginf(low), -(2.0**128), low)
    with np.errstate(invalid="ignore"):  # infinities, which are put right below
        middle = low_for_middle + (high - low_for_middle) / 2
    even = (np.ascontiguousarray(below).view(np.uint32) & 1) == 0
    found = np.where(even, middle, np.nextafter(middle, -np.inf))
    return np.where(np.isposinf(low), np.inf, found)


def less_in_float32(thresholds: NDArray[Any]) -> NDArray[Any]:
    """For ``float32(x) < t`` with a float32 ``t``: the largest float64 ``x`` for which it holds."""
    with np.errstate(over="ignore"):
        smaller = np.nextafter(np.asarray(thresholds, np.float32), np.float32(-np.inf))
    return at_most_in_float32(smaller)


@dataclass(frozen=True, slots=True)
class Steps:
    """Which side a number goes to, as a function with steps.

    Args:
        ends: float64 [n], ascending: the last number of each stretch but the last one.
        sides: bool [n + 1], whether a stretch goes left; neighbours differ.
        missing_left: whether NaN goes left.
    """

    ends: NDArray[Any]
    sides: NDArray[Any]
    missing_left: bool


def categories_go_left(
    codes: NDArray[Any], *, missing_left: bool, rest_left: bool = False, in_float32: bool = False
) -> Steps:
    """Steps for a set of categories, which are whole numbers that columns hold as floats.

    Numbers are cut off to whole ones: 2.9 is category 2, and -0.5 is category 0, but for XGBoost it is none.

    Args:
        codes: int64 from 0, the categories that go left; right if ``rest_left``.
        missing_left: whether NaN goes left.
        rest_left: whether all other numbers go left.
        in_float32: whether numbers are rounded to float32 before they are cut off.
    """
    codes = np.unique(np.asarray(codes, np.int64))
    if len(codes) == 0:
        return Steps(np.zeros(0), np.array([rest_left]), missing_left)
    gap = np.flatnonzero(np.diff(codes) > 1)
    first, last = codes[np.concatenate([[0], gap + 1])], codes[np.concatenate([gap, [len(codes) - 1]])]
    ends = np.stack([first, last + 1], axis=1).ravel().astype(np.float64)
    if in_float32:
        ends = less_in_float32(ends)
    else:
        ends = np.where(ends == 0, -1.0, np.nextafter(ends, -np.inf))
    sides = np.arange(len(ends) + 1) % 2 == 1
    return Steps(ends, sides ^ rest_left, missing_left)


def values_go_left(known: NDArray[Any], left: NDArray[Any], *, missing_left: bool) -> Steps:
    """Steps for single numbers; all others, and NaN, go one way.

    Args:
        known: float64 [n], the numbers.
        left: bool [n], which of them go left.
        missing_left: whether all others go left.
    """
    different = np.unique(known[left != missing_left])
    ends = np.stack([np.nextafter(different, -np.inf), different], axis=1).ravel()
    # Neighbouring numbers of float64 leave nothing between them.
    twice = np.flatnonzero(ends[1:] == ends[:-1])
    ends = np.delete(ends, np.concatenate([twice, twice + 1]))
    sides = np.arange(len(ends) + 1) % 2 == 1
    return Steps(ends, sides ^ missing_left, missing_left)

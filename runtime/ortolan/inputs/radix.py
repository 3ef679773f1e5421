"""Sorting and counting integers, fast for few and for many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MANY = 2048
"""From this many values on, a radix sort by 16-bit digits beats numpy's sort (measured: 140k values in a third)."""


def order_of(values: NDArray[Any]) -> NDArray[np.int64]:
    """The stable order that sorts non-negative integers: numpy sorts 16-bit ones by radix, so digit by digit."""
    order: NDArray[np.int64] | None = None
    for shift in range(0, max(int(values.max(initial=0)).bit_length(), 1), 16):
        digits = (values >> values.dtype.type(shift)).astype(np.uint16)
        if order is None:
            order = digits.argsort(kind="stable")
        else:
            order = order.take(digits.take(order).argsort(kind="stable"))
    return np.empty(0, np.int64) if order is None else order


def distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct values, ascending, and how often each occurs; values are not negative. May sort them in place."""
    if len(values) < MANY:
        values.sort()
    else:
        values = values.take(order_of(values))
    at = _firsts(values)
    return values.take(at[:-1]), at[1:] - at[:-1]


def distinct_sums(values: NDArray[np.int64], amounts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct values, ascending, and the sum of the amounts of each; values are not negative."""
    order = order_of(values)
    values = values.take(order)
    at = _firsts(values)
    sums = np.concatenate((np.zeros(1, np.int64), amounts.take(order).cumsum()))
    return values.take(at[:-1]), np.diff(sums.take(at))


def search(keys: NDArray[Any], queries: NDArray[Any]) -> NDArray[np.int64]:
    """``keys.searchsorted(queries)``; many queries go in order of their values, which spares the cache."""
    if len(queries) < MANY:
        return keys.searchsorted(queries)
    order = order_of(queries)
    found = np.empty(len(queries), np.int64)
    found[order] = keys.searchsorted(queries.take(order))
    return found


def _firsts(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each run of equal values begins, and the end."""
    if not len(ascending):
        return np.zeros(1, np.int64)
    first = np.empty(len(ascending) + 1, bool)
    first[0] = first[-1] = True
    np.not_equal(ascending[1:], ascending[:-1], out=first[1:-1])
    return first.nonzero()[0]

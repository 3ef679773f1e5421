"""Sorting and counting integers."""

from __future__ import annotations

import numpy as np
import pytest

from ortolan.inputs.radix import MANY, distinct, distinct_sums, order_of, search


@pytest.mark.parametrize("largest", [1, 300, 2**16 - 1, 2**16, 2**33, 2**62])
@pytest.mark.parametrize("count", [0, 1, MANY - 1, MANY, 3 * MANY])
def test_same_as_numpys_own_sort(largest, count):
    """Few and many, small and large values."""
    values = np.random.default_rng(count).integers(0, largest, count, endpoint=True)
    assert (order_of(values) == values.argsort(kind="stable")).all()
    found, counts = distinct(values.copy())
    wanted, wanted_counts = np.unique(values, return_counts=True)
    assert found.tolist() == wanted.tolist()
    assert counts.tolist() == wanted_counts.tolist()
    keys = np.unique(values[::3]).astype(np.uint64)
    assert (search(keys, values.astype(np.uint64)) == keys.searchsorted(values.astype(np.uint64))).all()


def test_sums_of_equal_values():
    """Amounts of equal values are added."""
    found, sums = distinct_sums(np.array([5, 1, 5, 0, 1]), np.array([1, 2, 3, 4, 5]))
    assert (found.tolist(), sums.tolist()) == ([0, 1, 5], [4, 7, 4])

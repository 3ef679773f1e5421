"""Coefficients in int8 with one scale per column, arithmetic as in the reference: a quarter of the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.text.weights import Weights, largest_magnitudes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.text.weights import Compute

LEVELS = 127
"""Largest integer used: symmetric, so that zero is exact."""


def int8(coefficients: NDArray[Any], compute: Compute) -> Weights:
    """Round to int8; the largest coefficient of each column becomes 127 or -127.

    Args:
        coefficients: float64 [columns, features].
        compute: the reference's arithmetic.
    """
    scale = largest_magnitudes(coefficients) / LEVELS
    stored = np.ascontiguousarray(np.rint(coefficients / scale[:, None]).T).astype(np.int8)
    return Weights(precision="int8", stored=stored, scale=scale, compute=compute)

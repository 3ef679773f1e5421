"""Coefficients in float16, arithmetic as in the reference: half the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.text.weights import Weights, largest_magnitudes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.text.weights import Compute


def float16(coefficients: NDArray[Any], compute: Compute) -> Weights:
    """Round to float16, each column scaled by a power of two so that its largest lies just below 1.

    The scale costs nothing in exactness and keeps large coefficients finite and small ones out of the subnormals.

    Args:
        coefficients: float64 [columns, features].
        compute: the reference's arithmetic.
    """
    scale = np.exp2(np.ceil(np.log2(largest_magnitudes(coefficients))))
    stored = np.ascontiguousarray((coefficients / scale[:, None]).T).astype(np.float16)
    return Weights(precision="fp16", stored=stored, scale=None if (scale == 1).all() else scale, compute=compute)

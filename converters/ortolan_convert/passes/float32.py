"""The reference: coefficients in float32, and what to try when that is not exact enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.text.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def references(coefficients: NDArray[Any], *, wide: bool) -> Iterator[Weights]:
    """Reference weights, the cheapest first: the first that passes the parity gate is taken.

    Long texts under naive Bayes add up to log likelihoods of many thousands, whose differences decide; float32 sums
    lose them, float64 sums of float32 coefficients rarely do.

    Args:
        coefficients: float64 [columns, features].
        wide: begin with float64 arithmetic (distances, which cancel).
    """
    columns = np.ascontiguousarray(coefficients.T)
    single = columns.astype(np.float32)
    if np.isfinite(single).all():
        if not wide:
            yield Weights(precision="fp32", stored=single)
        yield Weights(precision="fp32", stored=single, compute="float64")
    yield Weights(precision="fp64", stored=columns, compute="float64")

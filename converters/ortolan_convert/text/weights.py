"""Coefficients as a variant stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Compute = Literal["float32", "float64"]
"""The type that arithmetic is done in."""

_SMALLEST = 256 * float(np.finfo(np.float32).tiny)
"""Scales down to a 256th of this are normal float32 numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Coefficients as a variant stores them.

    Args:
        precision: the variant's name for it, e.g. ``"int8"``.
        stored: [features, columns] in the storage type.
        scale: float64 [columns] that ``stored`` is multiplied by; None for 1.
        compute: the type that the arithmetic is done in.
    """

    precision: str
    stored: NDArray[Any]
    scale: NDArray[Any] | None = None
    compute: Compute = "float32"

    @property
    def decoded(self) -> NDArray[Any]:
        """float64 [columns, features]: what the stored numbers mean."""
        values: NDArray[Any] = self.stored.astype(np.float64).T
        return values if self.scale is None else values * self.scale[:, None]


def largest_magnitudes(coefficients: NDArray[Any]) -> NDArray[Any]:
    """Largest absolute value of each row, to scale it by; 1 for rows that float32 could not tell from zero.

    Args:
        coefficients: float64 [columns, features].
    """
    largest: NDArray[Any] = np.abs(coefficients).max(axis=1, initial=0.0)
    # The scale is a float32 in the graph, and a subnormal one would be flushed to zero.
    return np.where(largest > _SMALLEST, largest, 1.0)

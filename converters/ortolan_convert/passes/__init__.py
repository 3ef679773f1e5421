"""One file per pass that makes a variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan_convert.passes.float16 import float16
from ortolan_convert.passes.int8 import int8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ortolan_convert.weights import Compute, Weights

LINEAR_PASSES: Mapping[str, Callable[[NDArray[Any], Compute], Weights]] = {"fp16": float16, "int8": int8}
"""Passes over the coefficients of a linear model, by the name of the variant they make, largest first."""

"""One file per pass that makes a variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan_convert.passes import network_float16, network_int8
from ortolan_convert.passes.float16 import float16
from ortolan_convert.passes.int8 import int8

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx
    from numpy.typing import NDArray

    from ortolan_convert.passes.network_int8 import Activations
    from ortolan_convert.text.weights import Compute, Weights

    Pass = Callable[[onnx.ModelProto, Activations], onnx.ModelProto]
    """A network's graph, constants as initializers, and samples of what its weights meet -> the variant's graph."""

LINEAR_PASSES: Mapping[str, Callable[[NDArray[Any], Compute], Weights]] = {"fp16": float16, "int8": int8}
"""Passes over the coefficients of a linear model, by the name of the variant they make, largest first."""

NETWORK_PASSES: Mapping[str, tuple[Pass, ...]] = {
    "fp16": (network_float16.float16,),
    "int8": (network_int8.dynamic, network_int8.weights_alone),
}
"""Passes over a network's graph, by the name of the variant they make, largest first; of several the first that changes
few enough answers is taken."""

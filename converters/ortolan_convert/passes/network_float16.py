"""A pass over a network's graph: large weights in float16, arithmetic in float32.

The CPU provider computes in float32 whatever the graph says, and writes conversions around every node of a graph of
float16; so weights alone are stored in it, and widened when the model is loaded, table rows when they are looked up.
Inputs, outputs and activations keep their types and ranges, so nothing can overflow, on no provider.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ortolan_convert.passes.network_rewriter import Rewriter, stored
from ortolan_convert.passes.quantizing import weight_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.passes.network_int8 import Activations
    from ortolan_convert.passes.quantizing import Use

LARGEST = float(np.finfo(np.float16).max)
SMALLEST_PEAK = float(np.finfo(np.float16).tiny) * 2**10
"""Weights whose largest number is below this would lose bits: numbers a thousandth of it become subnormal."""


def float16(model: onnx.ModelProto, activations: Activations) -> onnx.ModelProto:  # noqa: ARG001 - as int8
    """Weights whose range float16 holds are stored in it; others stay as they are.

    Args:
        model: in float32, its constants as initializers; left as it is.
        activations: not needed.
    """
    rewriter = Rewriter(model)
    for node, weights in rewriter.walk():
        if node.op_type == "Gather" and _fits(weights):
            table = rewriter.constant(f"{weight_of(node)}_fp16", weights.astype(np.float16))
            rows = rewriter.add("Gather", [table, node.input[1]])
            rewriter.add("Cast", [rows], node.output[0], to=TensorProto.FLOAT)
        else:
            rewriter.keep(node)
    result = rewriter.finished()
    stored(result.graph, _narrow)
    return result


def _fits(weights: NDArray[np.float32]) -> bool:
    largest = float(np.abs(weights).max())
    return largest == 0 or SMALLEST_PEAK <= largest <= LARGEST


def _narrow(
    name: str,
    weights: NDArray[np.float32],
    users: Sequence[Use],  # noqa: ARG001 - as int8's
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    if not _fits(weights):
        return [], []
    narrow = numpy_helper.from_array(weights.astype(np.float16), f"{name}_fp16")
    return [helper.make_node("Cast", [f"{name}_fp16"], [name], to=TensorProto.FLOAT)], [narrow]

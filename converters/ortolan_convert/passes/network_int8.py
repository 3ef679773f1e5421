"""Passes over a network's graph that make its large weights int8, the rest as it is.

Two forms are tried in turn; the first that stays within the allowed drop is the variant:

- `dynamic`: products of a matrix of weights are done in integers. The other factor is evened out
  (`ortolan_convert.passes.smoothing`) where samples of it are known, and quantized when the model runs, to uint8 with
  a scale for each run (DynamicQuantizeLinear). Attention and normalization stay in float32.
- `weights_alone`: all arithmetic stays in float32.

In both, tables of which rows are looked up keep a scale for each row and are widened row by row; convolutions and
recurrent layers compute in float32 with weights that are stored in int8, a scale for each output channel, and widened
once when the model is loaded. ONNX's operators alone are used, so every execution provider can take them; onnxruntime
merges the integer products into operators of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ortolan_convert.passes.network_rewriter import Rewriter, stored
from ortolan_convert.passes.quantizing import attribute, per_column, per_row, quantized, steps, weight_of
from ortolan_convert.passes.smoothing import smoothed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.passes.quantizing import Use

    Activations = Mapping[str, NDArray[np.float32]]
    """Sample rows of the tensors that `ortolan_convert.passes.smoothing.inputs_of_products` names."""


def dynamic(model: onnx.ModelProto, activations: Activations) -> onnx.ModelProto:
    """Dynamic int8: products of matrices in integers, with a scale for each column.

    Args:
        model: in float32, its constants as initializers; left as it is.
        activations: of it.
    """
    return _int8(smoothed(model, activations) if activations else model, products=True)


def weights_alone(model: onnx.ModelProto, activations: Activations) -> onnx.ModelProto:  # noqa: ARG001 - as `dynamic`
    """Weights in int8, arithmetic in float32."""
    return _int8(model, products=False)


def _int8(model: onnx.ModelProto, *, products: bool) -> onnx.ModelProto:
    rewriter = _Integers(model)
    for node, weights in rewriter.walk():
        if node.op_type == "Gather":
            rewriter.rows(node, weights)
        elif products and weights.ndim == 2 and (node.op_type == "MatMul" or _is_plain(node)):
            rewriter.product(node, weights)
        else:
            rewriter.keep(node)
    result = rewriter.finished()
    stored(result.graph, _narrow)
    return result


def _is_plain(gemm: onnx.NodeProto) -> bool:
    """Whether a Gemm is a product and a sum, with nothing scaled and the first factor as it is."""
    scales = attribute(gemm, "alpha", 1.0), attribute(gemm, "beta", 1.0)
    return scales == (1.0, 1.0) and not attribute(gemm, "transA", 0)


def _narrow(
    name: str, weights: NDArray[np.float32], users: Sequence[Use]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Weights as int8 times the scale of each channel."""
    scale = steps(weights, users[0].channels)
    constants = [
        numpy_helper.from_array(quantized(weights, scale), f"{name}_int8"),
        numpy_helper.from_array(scale, f"{name}_scale"),
    ]
    made = [
        helper.make_node("Cast", [f"{name}_int8"], [f"{name}_wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name]),
    ]
    return made, constants


class _Integers(Rewriter):
    """Writes lookups and products in integers."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(model)
        self._quantized: dict[str, tuple[str, str, str]] = {}

    def rows(self, node: onnx.NodeProto, weights: NDArray[np.float32]) -> None:
        """Rows of int8, times their scales."""
        scale = per_row(weights)
        ids, name = node.input[1], weight_of(node)
        stored_rows = self.constant(f"{name}_rows", quantized(weights, scale))
        # The row's axes stay: with ids [a, b] and rows [n, c] the scales are [a, b, 1].
        scales = self.constant(f"{name}_rows_scale", scale)
        wide = self.add("Cast", [self.add("Gather", [stored_rows, ids])], to=TensorProto.FLOAT)
        self.add("Mul", [wide, self.add("Gather", [scales, ids])], node.output[0])

    def product(self, node: onnx.NodeProto, weights: NDArray[np.float32]) -> None:
        """An integer product, times the scales of both factors; of a Gemm plus its last term."""
        name = weight_of(node)
        if node.op_type == "Gemm" and attribute(node, "transB", 0):
            weights, name = weights.T, f"{name}_transposed"
        scale = per_column(weights)
        stored_weights = self.constant(f"{name}_columns", quantized(weights, scale))
        scales = self.constant(f"{name}_columns_scale", scale[0])
        zero = self.constant(f"{name}_columns_zero", np.zeros(weights.shape[1], np.int8))
        factor, factor_scale, factor_zero = self._factor(node.input[0])
        integers = self.add("MatMulInteger", [factor, stored_weights, factor_zero, zero])
        both = self.add("Mul", [factor_scale, scales])
        term = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
        result = node.output[0]
        numbers = self.add(
            "Mul", [self.add("Cast", [integers], to=TensorProto.FLOAT), both], f"{result}_product" if term else result
        )
        if term:
            self.add("Add", [numbers, term], result)

    def _factor(self, name: str) -> tuple[str, str, str]:
        """The quantized form of a tensor, its scale and zero point; several products share it."""
        if name not in self._quantized:
            names = (f"{name}_uint8", f"{name}_uint8_scale", f"{name}_uint8_zero")
            self.add_node(helper.make_node("DynamicQuantizeLinear", [name], list(names)))
            self._quantized[name] = names
        return self._quantized[name]

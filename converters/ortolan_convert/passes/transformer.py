"""Passes over a transformer's graph: its large weights in int8 or float16, the rest as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ortolan_convert.passes.quantizing import is_large, per_column, per_row, rounded, weight_of
from ortolan_convert.passes.smoothing import smoothed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    Activations = Mapping[str, NDArray[np.float32]]
    """Sample rows of the tensors that `ortolan_convert.passes.smoothing.inputs_of_products` names."""


def int8(model: onnx.ModelProto, activations: Activations) -> onnx.ModelProto:
    """Dynamic int8: products of a matrix of weights in integers, with a scale for each column.

    The other factor is evened out (`smoothed`) and quantized when the model runs, to uint8 with a scale for each run
    (DynamicQuantizeLinear). Embedding tables are stored with a scale for each row. Attention and normalization stay in
    float32. onnxruntime merges the operators written here into one of its own.
    """
    rewriter = _Rewriter(smoothed(model, activations))
    for node, weights in rewriter.walk():
        if node.op_type == "Gather":
            rewriter.gather_int8(node, weights)
        else:
            rewriter.matmul_int8(node, weights)
    return rewriter.finished()


def float16(model: onnx.ModelProto, activations: Activations) -> onnx.ModelProto:  # noqa: ARG001 - as `int8`
    """Large weights stored in float16 and converted when they are read; arithmetic as before."""
    rewriter = _Rewriter(model)
    for node, weights in rewriter.walk():
        stored = rewriter.constant(f"{weight_of(node)}_fp16", weights.astype(np.float16))
        if node.op_type == "Gather":
            rows = rewriter.add("Gather", [stored, node.input[1]])
            rewriter.add("Cast", [rows], node.output[0], to=TensorProto.FLOAT)
        else:
            wide = rewriter.add("Cast", [stored], f"{weight_of(node)}_fp32", to=TensorProto.FLOAT)
            rewriter.add("MatMul", [node.input[0], wide], node.output[0])
    return rewriter.finished()


TRANSFORMER_PASSES: Mapping[str, Callable[[onnx.ModelProto, Activations], onnx.ModelProto]] = {
    "fp16": float16,
    "int8": int8,
}
"""Passes over a transformer, by the name of the variant they make, largest first."""


class _Rewriter:
    """Replaces nodes that read large float32 weights."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer if is_large(tensor)}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._quantized: dict[str, tuple[str, str, str]] = {}

    def walk(self) -> Iterator[tuple[onnx.NodeProto, NDArray[np.float32]]]:
        """The nodes to replace, with their weights; all others are kept."""
        for node in self._model.graph.node:
            if weight_of(node) in self._weights:
                yield node, numpy_helper.to_array(self._weights[weight_of(node)])
            else:
                self._nodes.append(node)

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """A new node with one output, and that output's name."""
        name = output or f"{inputs[0]}_{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """A new initializer, made once for each name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def gather_int8(self, node: onnx.NodeProto, weights: NDArray[np.float32]) -> None:
        """Rows of int8, times their scales."""
        scale = per_row(weights)
        ids = node.input[1]
        stored = self.constant(f"{weight_of(node)}_int8", rounded(weights / scale))
        scales = self.constant(f"{weight_of(node)}_scale", scale)
        rows = self.add("Cast", [self.add("Gather", [stored, ids])], to=TensorProto.FLOAT)
        self.add("Mul", [rows, self.add("Gather", [scales, ids])], node.output[0])

    def matmul_int8(self, node: onnx.NodeProto, weights: NDArray[np.float32]) -> None:
        """An integer product, times the scales of both factors."""
        scale = per_column(weights)
        stored = self.constant(f"{weight_of(node)}_int8", rounded(weights / scale))
        scales = self.constant(f"{weight_of(node)}_scale", scale[0])
        zero = self.constant(f"{weight_of(node)}_zero", np.zeros(weights.shape[1], np.int8))
        factor, factor_scale, factor_zero = self._factor(node.input[0])
        product = self.add("MatMulInteger", [factor, stored, factor_zero, zero])
        both = self.add("Mul", [factor_scale, scales])
        self.add("Mul", [self.add("Cast", [product], to=TensorProto.FLOAT), both], node.output[0])

    def finished(self) -> onnx.ModelProto:
        """The new model; the old one is left as it is."""
        result = onnx.ModelProto()
        result.CopyFrom(onnx.ModelProto(ir_version=self._model.ir_version))
        result.opset_import.extend(self._model.opset_import)
        result.producer_name, result.producer_version = self._model.producer_name, self._model.producer_version
        graph = result.graph
        graph.name = self._model.graph.name
        graph.input.extend(self._model.graph.input)
        graph.output.extend(self._model.graph.output)
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        graph.initializer.extend(tensor for tensor in self._model.graph.initializer if tensor.name in used)
        graph.initializer.extend(self._constants.values())
        return result

    def _factor(self, name: str) -> tuple[str, str, str]:
        """The quantized form of a tensor, its scale and zero point; several products share it."""
        if name not in self._quantized:
            names = (f"{name}_uint8", f"{name}_uint8_scale", f"{name}_uint8_zero")
            self._nodes.append(helper.make_node("DynamicQuantizeLinear", [name], list(names)))
            self._quantized[name] = names
        return self._quantized[name]

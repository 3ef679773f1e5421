"""Whether a model's weights were made smaller already, by whoever wrote it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from ortolan_convert.passes.quantizing import SMALLEST, graphs, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

OPERATORS = frozenset(
    (
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "MatMulInteger",
        "ConvInteger",
        "DynamicQuantizeMatMul",
        "DynamicQuantizeLSTM",
        "GatherBlockQuantized",
        "MatMulBnb4",
        "MatMulFpQ4",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "QAttention",
        "QEmbedLayerNormalization",
        "QGemm",
        "QMoE",
    )
)
"""Operators that quantize or take quantized tensors, beside those that begin with ``QLinear``."""
INTEGERS = frozenset((TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4))
_NAMES = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16", TensorProto.DOUBLE: "float64"}
_HALF_OF_ALL = 0.5
_SHOWN = 3


def already_smaller(model: onnx.ModelProto) -> str | None:
    """Why a model is not to be quantized again, as the end of a sentence; None if its weights are float32."""
    found = Counter(
        node.op_type for node in nodes(model.graph) if node.op_type in OPERATORS or node.op_type.startswith("QLinear")
    )
    if found:
        names = ", ".join(f"{name} ({count})" for name, count in found.most_common(_SHOWN))
        return f"the model is already quantized, by its operators {names}"
    behind = _integers_behind_casts(model.graph)
    if behind:
        return f"the model is already quantized: {behind} weights are integers behind Cast and Mul"
    sizes: Counter[int] = Counter()
    for tensor in _tensors(model.graph):
        sizes[tensor.data_type] += int(np.prod(tensor.dims))
    floats = {kind: sizes[kind] for kind in (TensorProto.FLOAT, *_NAMES) if sizes[kind]}
    for kind, name in _NAMES.items():
        if floats.get(kind, 0) > _HALF_OF_ALL * sum(floats.values()) and floats[kind] >= SMALLEST:
            return f"most of the model's weights are {name}, and only those of float32 are made smaller"
    return None


def _integers_behind_casts(graph: onnx.GraphProto) -> int:
    """How many large integer tensors are cast and multiplied or shifted: weights and their scales."""
    count = 0
    for one in graphs(graph):
        large = {
            tensor.name
            for tensor in _own_tensors(one)
            if tensor.data_type in INTEGERS and int(np.prod(tensor.dims)) >= SMALLEST
        }
        if not large:
            continue
        # A table's rows are looked up before they are cast.
        derived = dict.fromkeys(large, "")
        scaled: set[str] = set()
        for node in one.node:
            first = node.input[0] if node.input else ""
            if node.op_type in {"Cast", "Gather", "Reshape", "Transpose", "Sub", "Identity"} and first in derived:
                derived[node.output[0]] = derived[first] or first
            elif node.op_type in {"Mul", "Div"}:
                scaled.update(derived[name] for name in node.input if derived.get(name))
        count += len(scaled)
    return count


def _own_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant":
            for one in node.attribute:
                if one.name == "value":
                    named = TensorProto(name=node.output[0], data_type=one.t.data_type, dims=one.t.dims)
                    yield named


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for one in graphs(graph):
        yield from _own_tensors(one)

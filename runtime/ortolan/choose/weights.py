"""What a model's weights take in memory, from its graph: how they are stored, and what onnxruntime makes of them.

Measured with onnxruntime 1.32 on x86-64 (benchmarks/peers/peak_memory.py checks the sum):

- A tensor inside the .onnx file is in memory once while the model lives, and the largest one twice for a moment.
- External data is mapped from its file: pages are read when they are touched, and can be given back at any time.
- Matrix products and recurrent layers repack their weights for the processor ("prepacking"). The original goes, page by
  page if it was mapped.
- Weights of convolutions are stored anew in blocks of channels ("NCHWc"); at the worst moment there are two copies.
- Nodes that have nothing but constants as inputs are computed at load, whatever comes of it: ``Cast`` and ``Mul`` of
  8-bit weights give float weights of four times the size, twice.
- Graphs within nodes are copied with the weights in them.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ortolan.bundle.description import WeightMemory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.bundle.onnxgraph import Node, Tensor

REPACKED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("MatMul", "FusedMatMul", "Gemm", "FusedGemm", "MatMulInteger", "DynamicQuantizeMatMul"), (1,)),
    **dict.fromkeys(("MatMulIntegerToFloat", "Attention", "QAttention"), (1,)),
    **dict.fromkeys(("QLinearMatMul", "QGemm"), (3,)),
    **dict.fromkeys(("LSTM", "GRU", "DynamicQuantizeLSTM", "MatMulNBits"), (1, 2)),
}
"""Operator -> which of its inputs it repacks."""
REORDERED: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("Conv", "FusedConv", "ConvTranspose", "ConvInteger"), (1,)),
    "QLinearConv": (3,),
}
"""Operator -> which of its inputs it stores in another layout."""
GATHERS: Mapping[str, tuple[int, ...]] = {
    "Gather": (0,),
    "GatherND": (0,),
    "EmbedLayerNormalization": (2, 3, 4),
    "GatherBlockQuantized": (0, 2, 3),
}
"""Operator -> the inputs it takes rows of."""
NOT_DERIVED = frozenset(("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial"))
"""Operators that are not computed at load, whatever their inputs."""
VIEWS = frozenset(("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"))
"""Operators that are removed rather than computed."""
SMALL = frozenset(("Shape", "Size"))
"""Operators whose result has a few bytes, whatever their inputs."""
WIDENED = {"float16": 2, "bfloat16": 2}
"""Element type that the CPU provider computes in float32 -> how many times larger that is."""
TAKES_HALVES = frozenset(
    ("Cast", "Concat", "DequantizeLinear", "Expand", "Shape", "Slice", "Transpose", *VIEWS, *GATHERS)
)
"""Operators for which it takes these types as they are."""
CAST_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""TensorProto.DataType -> bytes of an element, for Cast."""


TREES = frozenset(f"ai.onnx.ml::TreeEnsemble{kind}" for kind in ("", "Classifier", "Regressor"))
"""Operators that read what was learned from their attributes."""


def weight_memory(model: OnnxModel) -> WeightMemory:
    """Of a model that was read without its weights."""
    # Tensors in the attributes of trees become tables of nodes, as their lists do: they are part of the graph.
    of_trees = any(operator in TREES for operator in model.operators)
    stored = [tensor for tensor in model.tensors if tensor.external is None]
    inside = [tensor.bytes for tensor in stored if tensor.role == "initializer" or not of_trees]
    # Name -> number of elements and bytes of one: of stored tensors, then of what is computed from them alone.
    known = {tensor.name: _extent(tensor) for tensor in model.tensors if tensor.role == "initializer"}
    derived = float(_widened(model))
    for node in model.nodes:
        if node.constant is not None:
            known.update(dict.fromkeys(node.outputs, _extent(node.constant)))
        elif _is_derived(node, known):
            result = _result(node, known)
            derived += 0 if node.operator in VIEWS else result[0] * result[1]
            known.update(dict.fromkeys(node.outputs, result))
    return WeightMemory(
        inside=sum(inside),
        largest=max(inside, default=0),
        mapped=sum(tensor.bytes for tensor in model.tensors if tensor.external is not None),
        repacked=_used(model, REPACKED, known),
        reordered=_used(model, REORDERED, known),
        derived=int(derived),
        nested=sum(tensor.bytes for tensor in model.tensors if tensor.nested),
        gathered=_gathered(model),
    )


def _widened(model: OnnxModel) -> int:
    """Bytes of the float32 copies of weights of half precision that are used in arithmetic."""
    used = {name for node in model.nodes if node.operator not in TAKES_HALVES for name in node.inputs}
    return sum(WIDENED.get(tensor.dtype, 0) * tensor.bytes for tensor in model.tensors if tensor.name in used)


def _gathered(model: OnnxModel) -> int:
    """Bytes of the mapped tensors that are read by rows and in no other way."""
    rows: set[str] = set()
    other: set[str] = set()
    for node in model.nodes:
        table = GATHERS.get(node.operator, ())
        for position, name in enumerate(node.inputs):
            (rows if position in table else other).add(name)
    return sum(tensor.bytes for tensor in model.tensors if tensor.external is not None and tensor.name in rows - other)


def _extent(tensor: Tensor) -> tuple[int, float]:
    elements = prod(tensor.dims)
    return elements, tensor.bytes / (elements or 1)


def _is_derived(node: Node, known: Mapping[str, tuple[int, float]]) -> bool:
    return bool(node.inputs) and node.operator not in NOT_DERIVED and all(name in known for name in node.inputs if name)


def _result(node: Node, known: Mapping[str, tuple[int, float]]) -> tuple[int, float]:
    """Elements of the result and bytes of one: as many as the largest input has, which is true of what is folded."""
    if node.operator in SMALL:
        return 8, 8.0
    given = [known[name] for name in node.inputs if name]
    elements = max(count for count, _ in given)
    if node.operator in {"Concat", "Expand", "Tile"}:
        elements = sum(count for count, _ in given)
    if node.operator == "Cast":
        return elements, float(CAST_BYTES.get(node.numbers.get("to", 1), 4))
    if node.operator == "DequantizeLinear":
        return elements, 4.0
    return elements, max(given)[1]


def _used(model: OnnxModel, positions: Mapping[str, tuple[int, ...]], known: Mapping[str, tuple[int, float]]) -> int:
    """Bytes of the constants at these inputs; of one that several nodes use once."""
    names = {
        node.inputs[position]
        for node in model.nodes
        for position in positions.get(node.operator, ())
        if position < len(node.inputs) and node.inputs[position] in known
    }
    return int(sum(known[name][0] * known[name][1] for name in names))

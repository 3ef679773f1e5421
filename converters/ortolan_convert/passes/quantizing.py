"""What the passes over networks share: which constants are weights, and how numbers become integers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

SMALLEST = 4096
"""Weights with fewer numbers than this stay as they are."""
LEVELS = 127
"""Largest integer used: symmetric, so that zero is exact."""
_BLOCK = 1 << 24
"""Numbers that are quantized at a time."""
OLDEST_IR = 4
"""The first version of the file format in which an initializer need not be an input."""

CHANNELS: Mapping[str, Mapping[int, tuple[int, ...]]] = {
    "MatMul": {1: (-1,)},
    "Gemm": {1: (1,)},
    "Conv": {1: (0,)},
    "ConvTranspose": {1: (1,)},
    "Gather": {0: (0,)},
    "LSTM": {1: (0, 1), 2: (0, 1)},
    "GRU": {1: (0, 1), 2: (0, 1)},
    "RNN": {1: (0, 1), 2: (0, 1)},
}
"""Operator -> which of its inputs are weights, and the axes along which each channel has a scale of its own."""


@dataclass(frozen=True, slots=True)
class Use:
    """A node that reads a tensor as its weights, and the axes of that tensor's channels."""

    node: onnx.NodeProto
    channels: tuple[int, ...]


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor of float32 is worth to be made smaller."""
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1 and int(np.prod(tensor.dims)) >= SMALLEST


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Value of a node's attribute."""
    return next((onnx.helper.get_attribute_value(one) for one in node.attribute if one.name == name), default)


def weight_of(node: onnx.NodeProto) -> str:
    """Name of the matrix that a node multiplies with or looks rows up in; empty for other nodes."""
    if node.op_type in {"MatMul", "Gemm"} and not node.domain:
        return str(node.input[1])
    plain = node.op_type == "Gather" and not node.domain and attribute(node, "axis", 0) == 0
    return str(node.input[0]) if plain else ""


def channels_of(node: onnx.NodeProto, position: int) -> tuple[int, ...] | None:
    """The axes of the channels of the tensor at a node's input; None if it is no weight there."""
    if node.domain:
        return None
    if node.op_type == "Gather" and position == 0:
        return (int(attribute(node, "axis", 0)),)
    if node.op_type == "Gemm" and position == 1:
        return (0,) if attribute(node, "transB", 0) else (1,)
    return CHANNELS.get(node.op_type, {}).get(position)


def uses(graph: onnx.GraphProto) -> dict[str, list[Use | None]]:
    """The readers of each tensor in a graph and the graphs within its nodes; None for one that takes it as no weight.

    A name that a graph within a node gives to something else is counted too, which keeps a weight as it is at worst.
    """
    found: dict[str, list[Use | None]] = {}
    for node in nodes(graph):
        for position, name in enumerate(node.input):
            channels = channels_of(node, position)
            found.setdefault(name, []).append(None if channels is None else Use(node, channels))
    for one in graphs(graph):
        for output in one.output:
            found.setdefault(output.name, []).append(None)
    return found


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all the graphs within its nodes."""
    yield graph
    for node in graph.node:
        for one in node.attribute:
            for inner in [one.g] if one.HasField("g") else one.graphs:
                yield from graphs(inner)


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of all the graphs within them."""
    for one in graphs(graph):
        yield from one.node


def per_column(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [1, columns]: the value of one step, such that the largest number of a column becomes `LEVELS`."""
    return steps(weights, (1,))


def per_row(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [rows, 1, …]: as `per_column`."""
    return steps(weights, (0,))


def steps(weights: NDArray[np.float32], channels: tuple[int, ...]) -> NDArray[np.float32]:
    """The value of one step of each channel, as a tensor that the weights can be divided by."""
    kept = {axis % weights.ndim for axis in channels}
    others = tuple(axis for axis in range(weights.ndim) if axis not in kept)
    largest = np.maximum(weights.max(axis=others, keepdims=True), -weights.min(axis=others, keepdims=True))
    return np.where(largest > 0, largest / LEVELS, 1).astype(np.float32)


def quantized(weights: NDArray[np.float32], scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Weights in steps of a scale that they can be divided by; block by block, since weights may fill the memory."""
    made = np.empty(weights.shape, np.int8)
    rows = max(1, _BLOCK // max(weights[0].size, 1))
    for start in range(0, len(weights), rows):
        block = slice(start, start + rows)
        made[block] = rounded(weights[block] / (scale[block] if len(scale) > 1 else scale))
    return made


def rounded(numbers: NDArray[Any]) -> NDArray[np.int8]:
    """The nearest integers of -`LEVELS` to `LEVELS`."""
    integers: NDArray[np.int8] = np.clip(np.rint(numbers), -LEVELS, LEVELS).astype(np.int8)
    return integers


def with_initializers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every constant of a graph is an initializer, and no other name for one.

    Exporters write weights as Constant nodes, too, or give the same one out under several names by Identity.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    lift_constants(result)
    return result


def lift_constants(result: onnx.ModelProto) -> None:
    """As `with_initializers`, in place."""
    for graph in graphs(result.graph):
        _lift(graph)
    constant = {tensor.name for tensor in result.graph.initializer}
    free = [value for value in result.graph.input if value.name not in constant]
    if len(free) < len(result.graph.input):
        # Older files declare their weights as inputs, too: then nothing may be computed from them ahead.
        copies = [onnx.ValueInfoProto.FromString(value.SerializeToString()) for value in free]
        del result.graph.input[:]
        result.graph.input.extend(copies)
    result.ir_version = max(result.ir_version, OLDEST_IR)


def _lift(graph: onnx.GraphProto) -> None:
    known = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    renamed: dict[str, str] = {}
    kept: list[onnx.NodeProto] = []
    for node in graph.node:
        name = node.output[0] if node.output else ""
        if name not in outputs and node.op_type == "Constant" and not node.domain:
            tensor = attribute(node, "value", None)
            if isinstance(tensor, TensorProto):
                graph.initializer.add().CopyFrom(tensor)
                graph.initializer[-1].name = name
                known.add(name)
                continue
        if name not in outputs and node.op_type == "Identity" and node.input[0] in known:
            renamed[name] = node.input[0]
            continue
        if renamed and node.op_type == "Identity" and node.input[0] in renamed and name not in outputs:
            renamed[name] = renamed[node.input[0]]
            continue
        kept.append(node)
    if len(kept) == len(graph.node):
        return
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(copies)
    for node in nodes(graph):
        for position, name in enumerate(node.input):
            if name in renamed:
                node.input[position] = renamed[name]


def array(tensor: onnx.TensorProto) -> NDArray[np.float32]:
    """The numbers of an initializer."""
    numbers: NDArray[np.float32] = numpy_helper.to_array(tensor)
    return numbers

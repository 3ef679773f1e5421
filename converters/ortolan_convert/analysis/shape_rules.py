"""What each ONNX operator makes of the shapes (and, of shape arithmetic, the contents) of its inputs.

Sources: https://onnx.ai/onnx/operators and onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from ortolan_convert.analysis.arrangement_rules import ARRANGEMENTS
from ortolan_convert.analysis.layer_rules import LAYERS
from ortolan_convert.analysis.operator_kinds import ELEMENTWISE, FOUR_BYTES, ONE_BYTE, REDUCTIONS, SAME
from ortolan_convert.analysis.shapes import (
    MOST_TRACKED,
    GivesUpError,
    Node,
    Shape,
    Value,
    broadcast,
    constant,
    contents,
)
from ortolan_convert.analysis.sizes import Size, larger, number, product
from ortolan_convert.analysis.window_rules import WINDOWS, window_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def outputs_of(node: Node) -> list[Value]:
    """The values a node gives.

    Raises:
        GivesUpError: they cannot be told.
    """
    operator = node.proto.op_type
    if operator in RULES:
        return RULES[operator](node)
    if operator in SAME:
        return _same(node)
    if operator in ELEMENTWISE:
        return _elementwise(node)
    if operator in REDUCTIONS:
        return _reduced(node)
    if operator in WINDOWS:
        bytes_each = 4 if operator in FOUR_BYTES else node.value(0).bytes
        shape = window_shape(node)
        return [Value(bytes_each, shape)] + [Value(8, shape)] * (len(node.proto.output) - 1)
    raise GivesUpError


def _same(node: Node) -> list[Value]:
    first = node.value(0)
    size = _result_bytes(node, first.bytes)
    keeps = node.proto.op_type in {"Identity", "Cast"}
    content, array = (first.content, first.array) if keeps else (None, None)
    if node.proto.op_type == "Cast" and array is not None and contents(array) is None:
        content, array = contents(array.astype(np.int64)) if np.all(array == np.floor(array)) else None, None
    rest = [_statistic(node, index) for index in range(1, len(node.proto.output))]
    return [Value(size, first.shape, content, array=array), *rest]


def _statistic(node: Node, index: int) -> Value:
    """A further output: of the skip variants the sum, of the normalizations means, which are never larger."""
    shape = node.value(0).shape
    sums = node.proto.op_type.startswith("Skip") and index == 3
    kept = shape if sums or shape is None or len(shape) < 2 else (*shape[:-1], number(1))
    return Value(1 if node.proto.op_type == "Dropout" else 4, kept)


def _result_bytes(node: Node, given: int) -> int:
    operator = node.proto.op_type
    if operator == "Cast":
        return _bytes_of(node.attribute("to", 1))
    if operator == "CastLike":
        return node.value(1).bytes
    if operator == "DequantizeLinear":
        return node.value(1).bytes
    if operator == "QuantizeLinear":
        return node.value(2).bytes if node.has(2) else 1
    return 1 if operator in ONE_BYTE else given


def _bytes_of(data_type: int) -> int:
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _elementwise(node: Node) -> list[Value]:
    operator = node.proto.op_type
    inputs = range(len(node.proto.input))
    if operator.startswith("QLinear"):
        inputs = range(0, 4, 3)  # a, its scale and zero point, b
    shape = broadcast([node.shape(index) for index in inputs])
    first = node.value(1 if operator == "Where" else 0)
    return [Value(1 if operator in ONE_BYTE else first.bytes, shape, _computed(node, shape))]


def _computed(node: Node, shape: Shape) -> tuple[Size, ...] | None:
    """Content of an elementwise result of small tensors of whole numbers."""
    count = product(shape).value
    given = [node.value(index).content for index in range(len(node.proto.input))]
    combine = _COMBINE.get(node.proto.op_type)
    if combine is None or count is None or count > MOST_TRACKED or not all(content is not None for content in given):
        return None
    sizes = [size.value or 0 for size in shape]
    columns = [_spread(content, node.shape(index), sizes) for index, content in enumerate(given) if content is not None]
    results = [combine(row) for row in zip(*columns, strict=True)]
    return tuple(result for result in results if result is not None) if None not in results else None


def _spread(content: Sequence[Size], shape: Shape, sizes: Sequence[int]) -> list[Size]:
    places = np.arange(len(content)).reshape([size.value or 0 for size in shape])
    return [content[place] for place in np.broadcast_to(places, sizes).reshape(-1).tolist()]


def _quotient(row: Sequence[Size]) -> Size | None:
    exact = row[0].divided(row[1])
    if exact is not None:
        return exact
    by = row[1].value
    return row[0].over(by) if by else None


def _decided(row: Sequence[Size]) -> Size | None:
    """Whether two are equal: a size is never a negative number, which exporters compare it with."""
    one, other = row
    if one == other:
        return number(1)
    if one.value is not None and other.value is not None:
        return number(0)
    fixed, free = (one, other) if one.value is not None else (other, one)
    negative = fixed.value is not None and fixed.value < 0
    return number(0) if negative and all(factor > 0 for factor in free.terms.values()) else None


def _chosen(row: Sequence[Size]) -> Size | None:
    return None if row[0].value is None else row[1] if row[0].value else row[2]


_COMBINE: dict[str, Callable[[Sequence[Size]], Size | None]] = {
    "Add": lambda row: row[0] + row[1],
    "Sub": lambda row: row[0] - row[1],
    "Mul": lambda row: row[0] * row[1],
    "Div": _quotient,
    "Max": lambda row: larger(row[0], row[1]) if len(row) == 2 else None,
    "Equal": _decided,
    "Where": _chosen,
}
"""Shape arithmetic: elements of the inputs -> element of the result; None if it cannot be told."""


def _reduced(node: Node) -> list[Value]:
    shape = node.shape(0)
    keep = bool(node.attribute("keepdims", 1))
    if node.proto.op_type.startswith("Arg"):
        axes, size = [node.attribute("axis", 0)], 8
    else:
        every = [] if node.attribute("noop_with_empty_axes", 0) else range(len(shape))
        axes, size = node.axes(1, list(every)), node.value(0).bytes
        axes = axes or list(every)
    left = {axis % len(shape) for axis in axes}
    kept = tuple(number(1) if axis in left else dim for axis, dim in enumerate(shape) if keep or axis not in left)
    content = node.value(0).content
    if node.proto.op_type == "ReduceProd" and content is not None and len(shape) == 1:
        return [Value(size, kept, (product(content),))]
    return [Value(size, kept)]


def _matmul(node: Node) -> list[Value]:
    one, other = node.shape(0), node.shape(_second(node))
    if node.attribute("transA", 0):
        one = (*one[:-2], one[-1], one[-2])
    if node.attribute("transB", 0):
        other = (*other[:-2], other[-1], other[-2])
    size = 4 if node.proto.op_type in FOUR_BYTES else node.value(0).bytes
    if node.proto.op_type in {"MatMulNBits", "QMoE"}:
        return [Value(size, (*one[:-1], number(node.attribute("N"))))]
    batch = broadcast([one[:-2], other[:-2]])
    rows = one[-2:-1]
    return [Value(size, (*batch, *rows, *other[-1:]) if len(other) > 1 else (*batch, *rows))]


def _second(node: Node) -> int:
    """Position of the second factor: quantized forms have scale and zero point of the first before it."""
    return 3 if node.proto.op_type in {"QLinearMatMul", "QGemm"} else 1


def _gemm(node: Node) -> list[Value]:
    one, other = node.shape(0), node.shape(_second(node))
    rows = one[1] if node.attribute("transA", 0) else one[0]
    columns = other[0] if node.attribute("transB", 0) else other[1]
    return [Value(node.value(0).bytes, (rows, columns))]


def _shape_of(node: Node) -> list[Value]:
    shape = node.shape(0)
    part = shape[slice(node.attribute("start", 0), node.attribute("end"))]
    return [Value(8, (number(len(part)),), part)]


def _size_of(node: Node) -> list[Value]:
    return [Value(8, (), (product(node.shape(0)),))]


def _constant(node: Node) -> list[Value]:
    for name in ("value", "value_int", "value_ints", "value_float", "value_floats"):
        given = node.attribute(name)
        if isinstance(given, onnx.TensorProto):
            return [constant(given)]
        if given is not None:
            array = np.asarray(given, np.float32 if "float" in name else np.int64)
            shape = tuple(number(dim) for dim in array.shape)
            return [Value(array.itemsize, shape, contents(array), constant=True, array=array)]
    raise GivesUpError


def _filled(node: Node) -> list[Value]:
    shape = node.content(0)
    given = node.attribute("value")
    value = constant(given) if given is not None else Value(4)
    count = product(shape).value
    content = None
    if value.content is not None and count is not None and count <= MOST_TRACKED:
        content = value.content * count
    return [Value(value.bytes, shape, content)]


def _range(node: Node) -> list[Value]:
    start, limit, step = (_whole(node, index) for index in range(3))
    by = step.value
    if not by:
        raise GivesUpError
    length = limit - start if by > 0 else start - limit
    count = (length + number(abs(by) - 1)).over(abs(by))
    return [Value(node.value(0).bytes, (count,))]


def _whole(node: Node, index: int) -> Size:
    """A single number, which may be stored as float."""
    array = node.value(index).array
    if array is not None and array.size == 1 and float(array.reshape(-1)[0]).is_integer():
        return number(int(array.reshape(-1)[0]))
    return node.content(index)[0]


def _dynamically_quantized(node: Node) -> list[Value]:
    return [Value(1, node.shape(0)), Value(4, ()), Value(1, ())]


RULES: dict[str, Callable[[Node], list[Value]]] = {
    **dict.fromkeys(
        [
            "DynamicQuantizeMatMul",
            "FusedMatMul",
            "MatMul",
            "MatMulInteger",
            "MatMulIntegerToFloat",
            "MatMulNBits",
            "QLinearMatMul",
            "TransposeMatMul",
        ],
        _matmul,
    ),
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **ARRANGEMENTS,
    **LAYERS,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "DynamicQuantizeLinear": _dynamically_quantized,
    "Range": _range,
    "Shape": _shape_of,
    "Size": _size_of,
}
"""Operator -> its rule; the others are in the sets above or in `ortolan_convert.analysis.window_rules`."""

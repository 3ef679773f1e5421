"""What each ONNX operator makes of the shapes (and, of shape arithmetic, the contents) of its inputs.

Sources: https://onnx.ai/onnx/operators and onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ortolan_convert.shapes import (
    MOST_TRACKED,
    GivesUpError,
    Node,
    Shape,
    Value,
    broadcast,
    constant,
    contents,
    key_of,
)
from ortolan_convert.sizes import Size, larger, number, product
from ortolan_convert.window_rules import WINDOWS, window_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Rule = "Callable[[Node], list[Value]]"

SAME = frozenset(
    [
        "Abs",
        "Acos",
        "Acosh",
        "Asin",
        "Asinh",
        "Atan",
        "Atanh",
        "BatchNormalization",
        "BiasGelu",
        "BitwiseNot",
        "Cast",
        "CastLike",
        "Ceil",
        "Celu",
        "Clip",
        "Cos",
        "Cosh",
        "CumSum",
        "DequantizeLinear",
        "Dropout",
        "Elu",
        "Erf",
        "Exp",
        "FastGelu",
        "Floor",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
        "Hardmax",
        "Identity",
        "InstanceNormalization",
        "GroupNormalization",
        "IsInf",
        "IsNaN",
        "LRN",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "LogSoftmax",
        "LpNormalization",
        "MeanVarianceNormalization",
        "Mish",
        "Neg",
        "Not",
        "PRelu",
        "QuantizeLinear",
        "QuickGelu",
        "RMSNormalization",
        "RandomNormalLike",
        "RandomUniformLike",
        "Reciprocal",
        "Relu",
        "ReverseSequence",
        "Round",
        "RotaryEmbedding",
        "ScatterElements",
        "ScatterND",
        "Selu",
        "Shrink",
        "Sigmoid",
        "Sign",
        "SimplifiedLayerNormalization",
        "Sin",
        "Sinh",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
        "Softmax",
        "Softplus",
        "Softsign",
        "Sqrt",
        "Swish",
        "Tan",
        "Tanh",
        "ThresholdedRelu",
        "Trilu",
    ]
)
"""Operators whose first output has the shape of the first input."""
ELEMENTWISE = frozenset(
    [
        "Add",
        "And",
        "BitShift",
        "BitwiseAnd",
        "BitwiseOr",
        "BitwiseXor",
        "Div",
        "Equal",
        "FusedMul",
        "Greater",
        "GreaterOrEqual",
        "Less",
        "LessOrEqual",
        "Max",
        "Mean",
        "Min",
        "Mod",
        "Mul",
        "Or",
        "Pow",
        "Sub",
        "Sum",
        "Where",
        "Xor",
        "QLinearAdd",
        "QLinearMul",
    ]
)
ONE_BYTE = frozenset(
    ["And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor"]
)
"""Operators whose result is bool."""
REDUCTIONS = frozenset(
    [
        "ArgMax",
        "ArgMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "ReduceSumSquare",
    ]
)
FOUR_BYTES = frozenset(["MatMulInteger", "ConvInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulNBits"])
"""Operators whose result is int32 or float32 whatever they are given."""


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


def _rearranged(value: Value, move: Callable[[Any], Any]) -> tuple[Size, ...] | None:
    """Content of a small tensor after its elements were moved or left out: ``move`` does it to an array of places."""
    if value.content is None or value.shape is None:
        return None
    places = np.arange(len(value.content)).reshape([size.value or 0 for size in value.shape])
    return tuple(value.content[place] for place in move(places).reshape(-1).tolist())


def _reshape(node: Node) -> list[Value]:
    given = node.attribute("shape")
    wanted = [number(size) for size in given] if given is not None else list(node.content(1))
    source = node.value(0)
    shape = source.shape
    if not node.attribute("allowzero", 0):
        wanted = [
            shape[axis] if size.value == 0 and shape is not None and axis < len(shape) else size
            for axis, size in enumerate(wanted)
        ]
    open_axes = [axis for axis, size in enumerate(wanted) if size.value == -1]
    if open_axes:
        if shape is None or len(open_axes) > 1:
            raise GivesUpError
        wanted[open_axes[0]] = _rest(list(shape), [size for size in wanted if size.value != -1])
    return [replace(source, shape=tuple(wanted), constant=False)]


def _rest(have: list[Size], wanted: list[Size]) -> Size:
    """Elements of ``have`` for each of ``wanted``: common factors cancel before anything is multiplied."""
    for size in list(wanted):
        if size in have:
            have.remove(size)
            wanted.remove(size)
    exact = product(have).divided(product(wanted))
    if exact is not None:
        return exact
    total, by = product(have), product(wanted).value
    if by is None or not by:
        raise GivesUpError
    return total.over(by)


def _transposed(node: Node) -> list[Value]:
    shape = node.shape(0)
    order = node.attribute("perm", list(range(len(shape)))[::-1])
    content = _rearranged(node.value(0), lambda places: places.transpose(order))
    return [Value(node.value(0).bytes, tuple(shape[axis] for axis in order), content)]


def _flatten(node: Node) -> list[Value]:
    shape = node.shape(0)
    axis = node.attribute("axis", 1)
    axis += len(shape) if axis < 0 else 0
    return [Value(node.value(0).bytes, (product(shape[:axis]), product(shape[axis:])))]


def _squeezed(node: Node) -> list[Value]:
    source, shape = node.value(0), node.shape(0)
    ones = [axis for axis, size in enumerate(shape) if size.value == 1]
    left = {axis % len(shape) for axis in node.axes(1, ones)} if shape else set()
    return [replace(source, shape=tuple(size for axis, size in enumerate(shape) if axis not in left), constant=False)]


def _unsqueezed(node: Node) -> list[Value]:
    source, shape = node.value(0), list(node.shape(0))
    axes = node.axes(1)
    rank = len(shape) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        shape.insert(axis, number(1))
    return [replace(source, shape=tuple(shape), constant=False)]


def _concat(node: Node) -> list[Value]:
    count = len(node.proto.input)
    shapes = [node.shape(index) for index in range(count)]
    axis = node.attribute("axis", 0) % len(shapes[0])
    total = number(0)
    for shape in shapes:
        total = total + shape[axis]
    parts = [node.value(index).content for index in range(count)]
    content = None
    if len(shapes[0]) == 1 and all(part is not None for part in parts):
        content = tuple(size for part in parts if part is not None for size in part)
    # The other axes are equal in all; the one that says most is a number.
    rest = [
        next((s[place] for s in shapes if s[place].value is not None), size) for place, size in enumerate(shapes[0])
    ]
    rest[axis] = total
    return [Value(node.value(0).bytes, tuple(rest), content)]


def _split(node: Node) -> list[Value]:
    shape = node.shape(0)
    axis = node.attribute("axis", 0) % len(shape)
    count = len(node.proto.output)
    given = node.attribute("split")
    if given is not None:
        sizes = [number(size) for size in given]
    elif node.has(1):
        sizes = list(node.content(1))
    else:
        sizes = [(shape[axis] + number(count - 1)).over(count)] * count
    return [Value(node.value(0).bytes, (*shape[:axis], size, *shape[axis + 1 :])) for size in sizes]


def _gather(node: Node) -> list[Value]:
    data, indices = node.shape(0), node.shape(1)
    axis = node.attribute("axis", 0) % len(data)
    content, places = node.value(0).content, node.value(1).content
    found = None
    if content is not None and len(data) == 1 and places is not None:
        wanted = [place.value for place in places]
        if all(place is not None for place in wanted):
            found = tuple(content[place] for place in wanted if place is not None)
    return [Value(node.value(0).bytes, (*data[:axis], *indices, *data[axis + 1 :]), found)]


def _gather_nd(node: Node) -> list[Value]:
    data, indices = node.shape(0), node.shape(1)
    batch, depth = node.attribute("batch_dims", 0), indices[-1].value
    if depth is None:
        raise GivesUpError
    return [Value(node.value(0).bytes, (*indices[:-1], *data[batch + depth :]))]


def _like_second(node: Node) -> list[Value]:
    return [Value(node.value(0).bytes, node.shape(1))]


def _sliced(node: Node) -> list[Value]:
    shape, source = list(node.shape(0)), node.value(0)
    starts, ends = _bounds(node, "starts", 1), _bounds(node, "ends", 2)
    axes = node.attribute("axes") or (node.numbers(3) if node.has(3) else list(range(len(starts))))
    steps = node.numbers(4) if node.has(4) else [1] * len(starts)
    content = source.content
    cuts: list[slice] = [slice(None)] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        shape[axis] = _slice_size(shape[axis], start, end, step)
        if start.value is None or end.value is None:
            content = None
        else:
            cuts[axis] = slice(start.value, None if end.value <= -FAR else end.value, step)
    if content is not None:
        content = _rearranged(source, lambda places: places[tuple(cuts)])
        places = np.empty([size.value or 0 for size in source.shape or ()])
        shape = [number(size) for size in places[tuple(cuts)].shape]
    return [Value(source.bytes, tuple(shape), content)]


def _bounds(node: Node, name: str, index: int) -> list[Size]:
    given = node.attribute(name)
    return [number(value) for value in given] if given is not None else list(node.content(index))


FAR = 2**24
"""Exporters write a slice's open end as a huge number."""


def _slice_size(size: Size, start: Size, end: Size, step: int) -> Size:
    """Of one axis, at most: which end comes first, and whether it lies within, is not known of free dimensions."""
    if step < 0:
        return (size + number(-step - 1)).over(-step)  # backwards over all of it, or less
    length = _place(end, size) - _place(start, size)
    if length.value is not None and size.value is not None:
        length = number(min(max(length.value, 0), size.value))
    return length if step == 1 else (length + number(step - 1)).over(step)


def _place(place: Size, size: Size) -> Size:
    """A slice's bound from the front: negative ones count from the end, huge ones mean the end."""
    value = place.value
    if value is None:
        return place
    if abs(value) >= FAR:
        return size if value > 0 else number(0)
    if value < 0:
        return number(max(size.value + value, 0)) if size.value is not None else size + place
    return number(min(value, size.value)) if size.value is not None else place


def _padded(node: Node) -> list[Value]:
    shape = node.shape(0)
    given = node.attribute("pads")
    pads = [number(size) for size in given] if given is not None else list(node.content(1))
    axes = [axis % len(shape) for axis in node.numbers(3)] if node.has(3) else list(range(len(shape)))
    sizes = list(shape)
    for place, axis in enumerate(axes):
        sizes[axis] = sizes[axis] + pads[place] + pads[place + len(axes)]
    return [Value(node.value(0).bytes, tuple(sizes))]


def _resized(node: Node) -> list[Value]:
    shape = node.shape(0)
    scales, sizes = (1, None) if node.proto.op_type == "Upsample" or node.scope.opset < 11 else (2, 3)
    if sizes is not None and node.has(sizes) and node.attribute("axes") is None:
        return [Value(node.value(0).bytes, node.content(sizes))]
    array = node.value(scales).array
    given = node.attribute("scales") if array is None else array.reshape(-1).tolist()
    if given is None or len(given) != len(shape):
        raise GivesUpError
    return [Value(node.value(0).bytes, tuple(_scaled(size, scale) for size, scale in zip(shape, given, strict=True)))]


def _scaled(size: Size, scale: float) -> Size:
    up, down = float(scale).as_integer_ratio()
    return (size * number(up)).over(down)


def _expanded(node: Node) -> list[Value]:
    return [Value(node.value(0).bytes, broadcast([node.shape(0), node.content(1)]))]


def _tiled(node: Node) -> list[Value]:
    pairs = zip(node.shape(0), node.content(1), strict=True)
    return [Value(node.value(0).bytes, tuple(size * by for size, by in pairs))]


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


def _top_k(node: Node) -> list[Value]:
    shape = list(node.shape(0))
    axis = node.attribute("axis", -1) % len(shape)
    shape[axis] = number(node.attribute("k")) if node.attribute("k") is not None else node.content(1)[0]
    return [Value(node.value(0).bytes, tuple(shape)), Value(8, tuple(shape))]


def _non_zero(node: Node) -> list[Value]:
    shape = node.shape(0)
    return [Value(8, (number(len(shape)), product(shape)))]  # as many as there are elements, at most


def _one_hot(node: Node) -> list[Value]:
    indices, depth = list(node.shape(0)), node.content(1)[0]
    axis = node.attribute("axis", -1)
    indices.insert(axis + len(indices) + 1 if axis < 0 else axis, depth)
    return [Value(node.value(2).bytes, tuple(indices))]


def _dynamically_quantized(node: Node) -> list[Value]:
    return [Value(1, node.shape(0)), Value(4, ()), Value(1, ())]


def _recurrent(node: Node) -> list[Value]:
    given, weights = node.shape(0), node.shape(2)
    length, batch = (given[1], given[0]) if node.attribute("layout", 0) else (given[0], given[1])
    ways, hidden = weights[0], weights[2]
    size = node.value(0).bytes
    state = Value(size, (ways, batch, hidden))
    return [Value(size, (length, ways, batch, hidden)), state, state]


def _attention(node: Node) -> list[Value]:
    shape = node.shape(0)
    if node.proto.op_type == "Attention":  # of com.microsoft: input, weights, bias
        hidden = node.shape(1)[-1].over(3)
        return [Value(node.value(0).bytes, (*shape[:-1], hidden))]
    # MultiHeadAttention: query, key, value; the value's width is the result's.
    value = node.value(2).shape
    return [
        Value(node.value(0).bytes, (*shape[:-1], value[-1] if value is not None and len(value) == 3 else shape[-1]))
    ]


def _embedded(node: Node) -> list[Value]:
    """EmbedLayerNormalization: ids, segment ids, word, position and segment tables."""
    ids, width = node.shape(0), node.shape(2)[-1]
    return [Value(4, (*ids, width)), Value(4, ids[:1]), Value(4, (*ids, width))]


def _einsum(node: Node) -> list[Value]:
    inputs, arrow, result = node.attribute("equation").decode().replace(" ", "").partition("->")
    if not arrow or "." in inputs:
        raise GivesUpError
    sizes: dict[str, Size] = {}
    for index, letters in enumerate(inputs.split(",")):
        sizes.update(zip(letters, node.shape(index), strict=True))
    return [Value(node.value(0).bytes, tuple(sizes[letter] for letter in result))]


def _branches(node: Node) -> list[Value]:
    """If: the larger of what the branches give."""
    scopes = node.scope.inner[key_of(node.proto)]
    bodies = {attribute.name: attribute.g for attribute in node.proto.attribute if attribute.HasField("g")}
    values = []
    for index in range(len(node.proto.output)):
        found = [scopes[name][body.output[index].name] for name, body in bodies.items()]
        shapes = [value.shape for value in found if value.shape is not None]
        shape = None
        if len(shapes) == len(found) and len({len(one) for one in shapes}) == 1:
            shape = shapes[0]
            for other in shapes[1:]:
                shape = tuple(larger(one, two) for one, two in zip(shape, other, strict=True))
        values.append(Value(max(value.bytes for value in found), shape))
    return values


def _loop(node: Node) -> list[Value]:
    """Loop: carried values of unchanging shape, and outputs that are stacked once per trip."""
    body = node.attribute("body")
    scope = node.scope.inner[key_of(node.proto)]["body"]
    carried = len(node.proto.input) - 2
    trips = node.value(0).content if node.has(0) else None
    values = []
    for index, name in enumerate(value.name for value in body.output[1:]):
        value = scope[name]
        if index < carried:
            same = value.shape is not None and value.shape == node.value(index + 2).shape
            values.append(Value(value.bytes, value.shape if same else None))
        else:
            known = trips is not None and value.shape is not None
            values.append(
                Value(value.bytes, (trips[0], *value.shape) if known and trips and value.shape is not None else None)
            )
    return values


def _stft(node: Node) -> list[Value]:
    signal, step = node.shape(0), node.numbers(1)[0]
    length = node.numbers(3)[0] if node.has(3) else (node.shape(2)[0].value if node.has(2) else None)
    if length is None:
        raise GivesUpError
    frames = (signal[1] - number(length)).over(step) + number(1)
    bins = length // 2 + 1 if node.attribute("onesided", 1) else length
    return [Value(node.value(0).bytes, (signal[0], frames, number(bins), number(2)))]


def _to_depth(node: Node) -> list[Value]:
    block = node.attribute("blocksize")
    batch, channels, high, wide = node.shape(0)
    area = number(block * block)
    if node.proto.op_type == "DepthToSpace":
        shape: Shape = (batch, channels.over(block * block), high * number(block), wide * number(block))
    else:
        shape = (batch, channels * area, high.over(block), wide.over(block))
    return [Value(node.value(0).bytes, shape)]


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
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _to_depth),
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "DynamicQuantizeLinear": _dynamically_quantized,
    "Einsum": _einsum,
    "EmbedLayerNormalization": _embedded,
    "Expand": _expanded,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _like_second,
    "GatherND": _gather_nd,
    "If": _branches,
    "Loop": _loop,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "Pad": _padded,
    "Range": _range,
    "Reshape": _reshape,
    "Resize": _resized,
    "STFT": _stft,
    "Shape": _shape_of,
    "Size": _size_of,
    "Slice": _sliced,
    "Split": _split,
    "Squeeze": _squeezed,
    "Tile": _tiled,
    "TopK": _top_k,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Upsample": _resized,
}
"""Operator -> its rule; the others are in the sets above or in `ortolan_convert.window_rules`."""

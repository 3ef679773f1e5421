"""Shapes, and contents of small tensors, after operators that move, select, repeat or join elements.

Source: https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.analysis.shapes import (
    GivesUpError,
    Node,
    Value,
    broadcast,
)
from ortolan_convert.analysis.sizes import Size, number, product

if TYPE_CHECKING:
    from collections.abc import Callable


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


ARRANGEMENTS: dict[str, Callable[[Node], list[Value]]] = {
    "Concat": _concat,
    "Expand": _expanded,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _like_second,
    "GatherND": _gather_nd,
    "NonZero": _non_zero,
    "OneHot": _one_hot,
    "Pad": _padded,
    "Reshape": _reshape,
    "Resize": _resized,
    "Slice": _sliced,
    "Split": _split,
    "Squeeze": _squeezed,
    "Tile": _tiled,
    "TopK": _top_k,
    "Transpose": _transposed,
    "Unsqueeze": _unsqueezed,
    "Upsample": _resized,
}
"""Operator -> its rule."""

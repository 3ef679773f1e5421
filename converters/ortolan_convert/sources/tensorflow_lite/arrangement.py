"""TensorFlow Lite's operators that move numbers without changing them, and those on shapes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.sources.tensorflow_lite.graph import CHANNELS_FIRST_AXIS
from ortolan_convert.sources.tensorflow_lite.layers import gather_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan_convert.sources.tensorflow_lite.elementwise import Convert
    from ortolan_convert.sources.tensorflow_lite.file import Operator
    from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph

END = np.iinfo(np.int64).max
"""Of a slice: to the end, however long."""
REFLECT = 0
"""Of the schema's ``MirrorPadMode``; 1 is SYMMETRIC."""


def _axis(graph: LiteGraph, operator: Operator, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise graph.refuse(operator, f"axis {axis} of {rank}")
    return axis % rank


def _reshape(graph: LiteGraph, operator: Operator) -> None:
    if len(operator.inputs) > 1 and operator.inputs[1] >= 0:
        shape = graph.ints(operator.inputs[1])
    else:
        shape = graph.constant(np.asarray(operator.options.newShape).reshape(-1), "int64")
    graph.set(operator.outputs[0], graph.node("Reshape", graph.value(operator.inputs[0]), shape, allowzero=1))


def _squeeze(graph: LiteGraph, operator: Operator) -> None:
    axes = operator.options.squeezeDims
    x = graph.value(operator.inputs[0])
    if axes is None or not len(axes):
        axes = [axis for axis, size in enumerate(graph.tensor(operator.inputs[0]).shape) if size == 1]
    graph.set(operator.outputs[0], graph.node("Squeeze", x, graph.constant(list(axes), "int64")))


def _expand_dims(graph: LiteGraph, operator: Operator) -> None:
    axis = graph.constant(graph.need(operator, 1).reshape(-1), "int64")
    graph.set(operator.outputs[0], graph.node("Unsqueeze", graph.value(operator.inputs[0]), axis))


def _transpose(graph: LiteGraph, operator: Operator) -> None:
    order = [int(axis) for axis in graph.need(operator, 1).reshape(-1)]
    graph.set(operator.outputs[0], graph.node("Transpose", graph.value(operator.inputs[0]), perm=order))


def _concatenation(graph: LiteGraph, operator: Operator) -> None:
    inputs = operator.inputs
    rank = graph.rank(operator.outputs[0])
    axis = _axis(graph, operator, operator.options.axis, rank)
    if rank == 4 and all(graph.is_first(number) for number in inputs):
        names = [graph.channels_first(number) for number in inputs]
        graph.set_first(operator.outputs[0], graph.node("Concat", *names, axis=CHANNELS_FIRST_AXIS[axis]))
        return
    names = [graph.value(number) for number in inputs]
    result = graph.node("Concat", *names, axis=axis)
    code = operator.options.fusedActivationFunction
    graph.set(operator.outputs[0], graph.activated(result, code, operator))


def _pads(graph: LiteGraph, operator: Operator) -> str:
    pads = graph.known(operator.inputs[1])
    if pads is not None:
        return graph.constant(pads.T.reshape(-1), "int64")
    turned = graph.node("Transpose", graph.ints(operator.inputs[1]), perm=[1, 0])
    return graph.node("Reshape", turned, graph.constant([-1], "int64"))


def _pad(graph: LiteGraph, operator: Operator) -> None:
    source, pads = operator.inputs[0], graph.known(operator.inputs[1])
    value = [graph.value(operator.inputs[2])] if operator.name == "PADV2" else []
    if graph.is_first(source) and pads is not None and pads.shape == (4, 2):
        begins_ends = pads[[0, 3, 1, 2]].T.reshape(-1)
        result = graph.node("Pad", graph.channels_first(source), graph.constant(begins_ends, "int64"), *value)
        graph.set_first(operator.outputs[0], result)
        return
    graph.set(operator.outputs[0], graph.node("Pad", graph.value(source), _pads(graph, operator), *value))


def _mirror_pad(graph: LiteGraph, operator: Operator) -> None:
    if operator.options.mode != REFLECT:
        raise graph.refuse(operator, "symmetric padding has no counterpart in ONNX")
    x = graph.value(operator.inputs[0])
    graph.set(operator.outputs[0], graph.node("Pad", x, _pads(graph, operator), mode="reflect"))


def _slice(graph: LiteGraph, operator: Operator) -> None:
    source, begin, size = operator.inputs
    axes = graph.constant(list(range(graph.rank(source))), "int64")
    begins, sizes = graph.known(begin), graph.known(size)
    if begins is not None and sizes is not None:
        ends = np.where(sizes == -1, END, begins.astype(np.int64) + sizes.astype(np.int64))
        limits = graph.constant(begins, "int64"), graph.constant(ends, "int64")
    else:
        starts, lengths = graph.ints(begin), graph.ints(size)
        to_the_end = graph.node("Equal", lengths, graph.constant(-1, "int64"))
        limits = (
            starts,
            graph.node("Where", to_the_end, graph.constant(END, "int64"), graph.node("Add", starts, lengths)),
        )
    graph.set(operator.outputs[0], graph.node("Slice", graph.value(source), *limits, axes))


def _strided_slice(graph: LiteGraph, operator: Operator) -> None:
    options = operator.options
    if options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False):
        raise graph.refuse(operator, "an ellipsis, a new axis or an offset in the slice")
    source, begin, end = operator.inputs[:3]
    strides = graph.need(operator, 3).astype(np.int64).reshape(-1)
    axes = range(len(strides))
    single = [axis for axis in axes if options.shrinkAxisMask >> axis & 1]
    open_begin = np.array([bool(options.beginMask >> axis & 1) and axis not in single for axis in axes])
    open_end = np.array([bool(options.endMask >> axis & 1) and axis not in single for axis in axes])
    backwards = strides < 0
    from_edge, to_edge = np.where(backwards, END, 0), np.where(backwards, -END, END)
    one = np.isin(np.arange(len(strides)), single)
    begins, ends = graph.known(begin), graph.known(end)
    if begins is not None and (ends is not None or one.all()):
        starts = np.where(open_begin, from_edge, begins.astype(np.int64))
        stops = np.where(open_end, to_edge, starts if ends is None else ends.astype(np.int64))
        stops = np.where(one, np.where(starts == -1, END, starts + 1), stops)
        limits = graph.constant(starts), graph.constant(stops)
    else:
        where = partial(graph.node, "Where")
        start = where(graph.constant(open_begin), graph.constant(from_edge, "int64"), graph.ints(begin))
        after = graph.node("Add", start, graph.constant(1, "int64"))
        last = graph.node("Equal", start, graph.constant(-1, "int64"))
        after = where(last, graph.constant(END, "int64"), after)
        stop = where(graph.constant(open_end), graph.constant(to_edge, "int64"), graph.ints(end))
        limits = start, where(graph.constant(one), after, stop)
    strides = np.where(one, 1, strides)
    x = graph.node("Slice", graph.value(source), *limits, graph.constant(list(axes), "int64"), graph.constant(strides))
    graph.set(operator.outputs[0], graph.node("Squeeze", x, graph.constant(single, "int64")) if single else x)


def _split(graph: LiteGraph, operator: Operator) -> None:
    if operator.name == "SPLIT":
        axis, source = int(graph.need(operator, 0).reshape(-1)[0]), operator.inputs[1]
        sizes: dict[str, Any] = {"num_outputs": len(operator.outputs)}
        lengths = []
    else:
        axis, source = int(graph.need(operator, 2).reshape(-1)[0]), operator.inputs[0]
        sizes, lengths = {}, [graph.ints(operator.inputs[1])]
    axis = _axis(graph, operator, axis, graph.rank(source))
    count = len(operator.outputs)
    names = graph.several("Split", graph.value(source), *lengths, outputs=count, axis=axis, **sizes)
    for number, name in zip(operator.outputs, names, strict=True):
        graph.set(number, name)


def _pack(graph: LiteGraph, operator: Operator) -> None:
    axis = _axis(graph, operator, operator.options.axis, graph.rank(operator.outputs[0]))
    at = graph.constant([axis], "int64")
    names = [graph.node("Unsqueeze", graph.value(number), at) for number in operator.inputs]
    graph.set(operator.outputs[0], graph.node("Concat", *names, axis=axis))


def _unpack(graph: LiteGraph, operator: Operator) -> None:
    source, count = operator.inputs[0], len(operator.outputs)
    axis = _axis(graph, operator, operator.options.axis, graph.rank(source))
    names = graph.several("Split", graph.value(source), outputs=count, axis=axis, num_outputs=count)
    for number, name in zip(operator.outputs, names, strict=True):
        graph.set(number, graph.node("Squeeze", name, graph.constant([axis], "int64")))


def _gather(graph: LiteGraph, operator: Operator) -> None:
    options, (source, indices) = operator.options, operator.inputs
    if options is not None and options.batchDims:
        raise graph.refuse(operator, "rows of each batch of their own (batch_dims)")
    axis = _axis(graph, operator, 0 if options is None else options.axis, graph.rank(source))
    if axis == 0:
        gather_rows(graph, operator, source, indices)
    else:
        result = graph.node("Gather", graph.value(source), graph.ints(indices), axis=axis)
        graph.set(operator.outputs[0], result)


def _gather_nd(graph: LiteGraph, operator: Operator) -> None:
    source, indices = operator.inputs
    graph.set(operator.outputs[0], graph.node("GatherND", graph.value(source), graph.ints(indices)))


def _shape(graph: LiteGraph, operator: Operator) -> None:
    sizes = graph.node("Shape", graph.value(operator.inputs[0]))
    graph.set(operator.outputs[0], graph.cast(sizes, graph.tensor(operator.outputs[0]).dtype))


def _rank(graph: LiteGraph, operator: Operator) -> None:
    graph.set(operator.outputs[0], graph.constant(graph.rank(operator.inputs[0]), "int32"))


def _fill(graph: LiteGraph, operator: Operator) -> None:
    shape, value = operator.inputs
    graph.set(operator.outputs[0], graph.node("Expand", graph.value(value), graph.ints(shape)))


def _broadcast_to(graph: LiteGraph, operator: Operator) -> None:
    source, shape = operator.inputs
    graph.set(operator.outputs[0], graph.node("Expand", graph.value(source), graph.ints(shape)))


def _tile(graph: LiteGraph, operator: Operator) -> None:
    source, times = operator.inputs
    graph.set(operator.outputs[0], graph.node("Tile", graph.value(source), graph.ints(times)))


def _range(graph: LiteGraph, operator: Operator) -> None:
    graph.set(operator.outputs[0], graph.node("Range", *(graph.value(number) for number in operator.inputs)))


def _one_hot(graph: LiteGraph, operator: Operator) -> None:
    indices, depth, on, off = operator.inputs
    values = graph.node(
        "Concat", *(graph.node("Reshape", graph.value(one), graph.constant([1], "int64")) for one in (off, on)), axis=0
    )
    result = graph.node("OneHot", graph.ints(indices), graph.ints(depth), values, axis=operator.options.axis)
    graph.set(operator.outputs[0], result)


def _where(graph: LiteGraph, operator: Operator) -> None:
    places = graph.node("Transpose", graph.node("NonZero", graph.value(operator.inputs[0])), perm=[1, 0])
    graph.set(operator.outputs[0], graph.cast(places, graph.tensor(operator.outputs[0]).dtype))


def _reverse(graph: LiteGraph, operator: Operator) -> None:
    axes = graph.need(operator, 1).reshape(-1).astype(np.int64)
    whole = [graph.constant(np.full(len(axes), number), "int64") for number in (END, -END)]
    backwards = graph.constant(np.full(len(axes), -1), "int64")
    x = graph.node("Slice", graph.value(operator.inputs[0]), *whole, graph.constant(axes), backwards)
    graph.set(operator.outputs[0], x)


OPERATORS: Mapping[str, Convert] = {
    "RESHAPE": _reshape,
    "SQUEEZE": _squeeze,
    "EXPAND_DIMS": _expand_dims,
    "TRANSPOSE": _transpose,
    "CONCATENATION": _concatenation,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _mirror_pad,
    "SLICE": _slice,
    "STRIDED_SLICE": _strided_slice,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "PACK": _pack,
    "UNPACK": _unpack,
    "GATHER": _gather,
    "GATHER_ND": _gather_nd,
    "SHAPE": _shape,
    "RANK": _rank,
    "FILL": _fill,
    "BROADCAST_TO": _broadcast_to,
    "TILE": _tile,
    "RANGE": _range,
    "ONE_HOT": _one_hot,
    "WHERE": _where,
    "REVERSE_V2": _reverse,
}
"""By TensorFlow Lite's names."""

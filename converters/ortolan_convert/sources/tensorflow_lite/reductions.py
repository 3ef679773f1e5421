"""TensorFlow Lite's operators over axes: sums, extremes, places and running sums."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ortolan_convert.sources.tensorflow_lite.graph import CHANNELS_FIRST_AXIS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan_convert.sources.tensorflow_lite.elementwise import Convert
    from ortolan_convert.sources.tensorflow_lite.file import Operator
    from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph


def _reduce(kind: str, graph: LiteGraph, operator: Operator) -> None:
    source, kept = operator.inputs[0], bool(operator.options.keepDims)
    rank = graph.rank(source)
    axes = sorted({int(axis) % max(rank, 1) for axis in graph.need(operator, 1).reshape(-1)})
    if not axes:
        graph.set(operator.outputs[0], graph.node("Identity", graph.value(source)))
        return
    if graph.is_first(source) and (kept or axes == [1, 2]):
        places = graph.constant([CHANNELS_FIRST_AXIS[axis] for axis in axes], "int64")
        result = graph.node(kind, graph.channels_first(source), places, keepdims=int(kept))
        if kept:
            graph.set_first(operator.outputs[0], result)
        else:
            graph.set(operator.outputs[0], result)
        return
    result = graph.node(kind, graph.value(source), graph.constant(axes, "int64"), keepdims=int(kept))
    graph.set(operator.outputs[0], result)


def _truth(kind: str, graph: LiteGraph, operator: Operator) -> None:
    """Whether all or any are true, as the smallest or largest of 0 and 1."""
    rank = graph.rank(operator.inputs[0])
    axes = sorted({int(axis) % max(rank, 1) for axis in graph.need(operator, 1).reshape(-1)})
    numbers = graph.cast(graph.value(operator.inputs[0]), "int32")
    places = graph.constant(axes, "int64")
    result = graph.node(kind, numbers, places, keepdims=int(operator.options.keepDims), noop_with_empty_axes=1)
    graph.set(operator.outputs[0], graph.cast(result, "bool"))


def _place(kind: str, graph: LiteGraph, operator: Operator) -> None:
    axis = int(graph.need(operator, 1).reshape(-1)[0])
    result = graph.node(kind, graph.value(operator.inputs[0]), axis=axis, keepdims=0)
    graph.set(operator.outputs[0], graph.cast(result, graph.tensor(operator.outputs[0]).dtype))


def _top(graph: LiteGraph, operator: Operator) -> None:
    source, count = operator.inputs
    wanted = graph.node("Reshape", graph.ints(count), graph.constant([1], "int64"))
    values, places = graph.several("TopK", graph.value(source), wanted, outputs=2)
    graph.set(operator.outputs[0], values)
    graph.set(operator.outputs[1], graph.cast(places, graph.tensor(operator.outputs[1]).dtype))


def _running_sum(graph: LiteGraph, operator: Operator) -> None:
    options = operator.options
    result = graph.node(
        "CumSum",
        graph.value(operator.inputs[0]),
        graph.constant(graph.need(operator, 1).reshape(()).astype(np.int64)),
        exclusive=int(options.exclusive),
        reverse=int(options.reverse),
    )
    graph.set(operator.outputs[0], result)


OPERATORS: Mapping[str, Convert] = {
    "MEAN": partial(_reduce, "ReduceMean"),
    "SUM": partial(_reduce, "ReduceSum"),
    "REDUCE_MAX": partial(_reduce, "ReduceMax"),
    "REDUCE_MIN": partial(_reduce, "ReduceMin"),
    "REDUCE_PROD": partial(_reduce, "ReduceProd"),
    "REDUCE_ALL": partial(_truth, "ReduceMin"),
    "REDUCE_ANY": partial(_truth, "ReduceMax"),
    "ARG_MAX": partial(_place, "ArgMax"),
    "ARG_MIN": partial(_place, "ArgMin"),
    "TOPK_V2": _top,
    "CUMSUM": _running_sum,
}
"""By TensorFlow Lite's names."""

"""TensorFlow Lite's operators that cut images into blocks, and put them together again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ortolan_convert.sources.tensorflow_lite.arrangement import END

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan_convert.sources.tensorflow_lite.elementwise import Convert
    from ortolan_convert.sources.tensorflow_lite.file import Operator
    from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph


def _blocks(kind: str, attributes: Mapping[str, str], graph: LiteGraph, operator: Operator) -> None:
    x = graph.channels_first(operator.inputs[0])
    graph.set_first(operator.outputs[0], graph.node(kind, x, blocksize=operator.options.blockSize, **attributes))


def _space_to_batch(graph: LiteGraph, operator: Operator) -> None:
    """Cut an image into blocks: the place in a block becomes the slower part of the batch axis.

    [batch, height, width, ...] is padded, seen as [batch, rows, block, columns, block, ...], and the blocks' axes go to
    the front. The same for sequences, of one axis.
    """
    source = operator.inputs[0]
    blocks, pads = _blocks_and_edges(graph, operator)
    rank, count = graph.rank(source), len(blocks)
    around = np.zeros((2, rank), np.int64)
    around[:, 1 : 1 + count] = pads.T
    x = graph.node("Pad", graph.value(source), graph.constant(around.reshape(-1)))
    sizes = graph.node("Shape", x)
    shape = [graph.node("Slice", sizes, *_one_place(graph, 0))]
    for axis, block in enumerate(blocks, 1):
        size = graph.node("Slice", sizes, *_one_place(graph, axis))
        shape += [graph.node("Div", size, graph.constant([block], "int64")), graph.constant([block], "int64")]
    rest = graph.node("Slice", sizes, graph.constant([1 + count], "int64"), graph.constant([END], "int64"))
    x = graph.node("Reshape", x, graph.node("Concat", *shape, rest, axis=0))
    inner = [2 + 2 * axis for axis in range(count)]
    outer = [1 + 2 * axis for axis in range(count)]
    behind = range(1 + 2 * count, rank + count)
    x = graph.node("Transpose", x, perm=[*inner, 0, *outer, *behind])
    kept = [graph.node("Slice", graph.node("Shape", x), *_one_place(graph, 1 + count + axis)) for axis in range(count)]
    result = graph.node("Concat", graph.constant([-1], "int64"), *kept, rest, axis=0)
    graph.set(operator.outputs[0], graph.node("Reshape", x, result))


def _batch_to_space(graph: LiteGraph, operator: Operator) -> None:
    """The way back: blocks from the batch axis into the image, and the edges cut off."""
    source = operator.inputs[0]
    blocks, cut = _blocks_and_edges(graph, operator)
    rank, count = graph.rank(source), len(blocks)
    x = graph.value(source)
    sizes = graph.node("Shape", x)
    rest = graph.node("Slice", sizes, graph.constant([1], "int64"), graph.constant([END], "int64"))
    x = graph.node("Reshape", x, graph.node("Concat", graph.constant([*blocks, -1], "int64"), rest, axis=0))
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    x = graph.node("Transpose", x, perm=[*order, *range(2 * count + 1, rank + count)])
    whole = [
        graph.node("Mul", graph.node("Slice", sizes, *_one_place(graph, axis)), graph.constant([block], "int64"))
        for axis, block in enumerate(blocks, 1)
    ]
    behind = graph.node("Slice", sizes, graph.constant([1 + count], "int64"), graph.constant([END], "int64"))
    x = graph.node("Reshape", x, graph.node("Concat", graph.constant([-1], "int64"), *whole, behind, axis=0))
    ends = np.where(cut[:, 1] == 0, END, -cut[:, 1])
    limits = graph.constant(cut[:, 0]), graph.constant(ends), graph.constant(list(range(1, 1 + count)), "int64")
    graph.set(operator.outputs[0], graph.node("Slice", x, *limits))


def _blocks_and_edges(graph: LiteGraph, operator: Operator) -> tuple[list[int], NDArray[np.int64]]:
    """Size of a block along each axis, and int64 [axes, 2], what is padded or cut off on both sides."""
    blocks = [int(size) for size in graph.need(operator, 1).reshape(-1)]
    edges = graph.need(operator, 2).astype(np.int64).reshape(-1, 2)
    rank = graph.rank(operator.inputs[0])
    if len(edges) != len(blocks) or rank < len(blocks) + 1 or min(blocks, default=0) < 1:
        raise graph.refuse(operator, f"blocks {blocks} of an input of {rank} axes")
    return blocks, edges


def _one_place(graph: LiteGraph, place: int) -> tuple[str, str]:
    return graph.constant([place], "int64"), graph.constant([place + 1], "int64")


OPERATORS: Mapping[str, Convert] = {
    "SPACE_TO_BATCH_ND": _space_to_batch,
    "BATCH_TO_SPACE_ND": _batch_to_space,
    "SPACE_TO_DEPTH": partial(_blocks, "SpaceToDepth", {}),
    "DEPTH_TO_SPACE": partial(_blocks, "DepthToSpace", {"mode": "DCR"}),
}
"""By TensorFlow Lite's names."""

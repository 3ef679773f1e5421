"""Symmetric trees, which ask all nodes of a level the same question: one row answered without walking down.

The answers to a tree's questions are the bits of its leaf's number. All questions of all trees are asked at once, the
bits become numbers by one product, and the leaves' values are looked up and summed: a handful of operators for one
row, where walking through a thousand trees mispredicts every second branch. For many rows the walk is as fast, and
needs less memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value

FEWEST = 2000
"""Questions for which it is worth while: of fewer, walking takes no longer than the operators' overhead."""
MOST_LEAVES = 1 << 24
"""Whole numbers below this are float32, which leaves are numbered in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymmetricTree:
    """One tree.

    Args:
        feature: int64 [levels], column of each question.
        threshold: float64 [levels], the largest number that leaves the question's bit 0; so does NaN.
        values: float64 [2 ** levels, k], what each leaf adds. The first question is the last bit of its number.
    """

    feature: NDArray[Any]
    threshold: NDArray[Any]
    values: NDArray[Any]


def is_worth_while(trees: Sequence[SymmetricTree]) -> bool:
    """Whether :func:`sums_of_one` is faster than walking, and can number the leaves."""
    questions = sum(len(tree.feature) for tree in trees)
    return questions >= FEWEST and sum(len(tree.values) for tree in trees) < MOST_LEAVES


def sums_of_one(graph: GraphBuilder, row: Value, trees: Sequence[SymmetricTree], base: NDArray[Any]) -> Value:
    """Add the nodes for one row.

    Args:
        graph: to add to.
        row: float64 [1, columns].
        trees: whose values are summed.
        base: float64 [k], what the sums begin with.

    Returns:
        float64 [1, k].
    """
    values = np.concatenate([base[None], *(tree.values for tree in trees)])
    sizes = [len(tree.values) for tree in trees]
    first = np.concatenate([[0], 1 + np.cumsum([0, *sizes[:-1]])])
    levels, count, width = max(len(tree.feature) for tree in trees), len(first), len(base)
    # The base is the only leaf of a tree without questions; questions that a tree does not have are always answered 0.
    feature, threshold = np.zeros((levels, count), np.int32), np.full((levels, count), np.inf)
    for i, tree in enumerate(trees, 1):
        feature[: len(tree.feature), i], threshold[: len(tree.feature), i] = tree.feature, tree.threshold
    # Trees ask the same again and again: each question is answered once.
    questions = np.array([feature.ravel(), threshold.ravel()])
    distinct, place = np.unique(questions, axis=1, return_inverse=True)
    columns = graph.constant(distinct[:1].astype(np.int32))
    asked = graph.node("GatherElements", row, columns, shape=columns.shape, axis=1)
    answers = graph.cast(graph.node("Greater", asked, graph.constant(distinct[1:]), dtype="bool"), "float32")
    places = graph.constant(place.reshape(1, -1).astype(np.int32))
    bits = graph.node("GatherElements", answers, places, shape=places.shape, axis=1)
    grid = graph.constant(np.array([levels, count]))
    table = graph.node("Reshape", bits, grid, shape=(levels, count))
    powers = graph.constant(np.exp2(np.arange(levels)).astype(np.float32)[None])
    within = graph.node("MatMul", powers, table, shape=(1, count))
    # An output's leaves lie side by side: onnxruntime picks single numbers faster than it copies a few at a time.
    starts = np.broadcast_to(first.astype(np.float32), (1, width, count))
    number = graph.node("Add", within, graph.constant(starts), shape=starts.shape)
    leaf = graph.cast(number, "int32")
    found = graph.node("GatherElements", graph.constant(values.T[None]), leaf, shape=starts.shape, axis=2)
    return graph.node("ReduceSum", found, graph.constant(np.array([2])), shape=(1, width), keepdims=0)

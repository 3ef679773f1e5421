"""From sums, of trees for one, to probabilities and labels, in as few nodes as can be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder, Value

BOTH_SIDES = np.array([[-1.0, 1.0]])
"""What makes ``[-s, s]`` of a binary classifier's ``s``; see :meth:`ortolan_convert.trees.ensemble.Trees.sums`."""


def logistic(graph: GraphBuilder, both: Value, factor: float = 1.0) -> Value:
    """``[-s, s]`` -> ``[1 - p, p]`` with ``p = 1 / (1 + exp(-factor * s))``.

    It is the softmax of the halves. onnxruntime's Sigmoid is no choice: its float64 kernel is wrong in the fourth
    digit of -30, and its float32 kernel gives 0 from -18 down.
    """
    return graph.node("Softmax", graph.node("Mul", both, graph.number(factor / 2)), axis=1)


def sigmoid(graph: GraphBuilder, z: Value) -> Value:
    """``1 / (1 + exp(-z))`` of each number; see :func:`logistic` for why not by Sigmoid."""
    return graph.node("Reciprocal", graph.node("Add", graph.node("Exp", graph.node("Neg", z)), graph.number(1.0)))


def softmax(graph: GraphBuilder, raw: Value) -> Value:
    """[batch, n] of sums -> probabilities."""
    return graph.node("Softmax", raw, axis=1)


def largest(graph: GraphBuilder, numbers: Value, *, last: bool = False) -> Value:
    """[batch, n] -> int64 [batch]: position of the first of the largest, or of the last."""
    return graph.node(
        "ArgMax", numbers, shape=(numbers.shape[0],), dtype="int64", axis=1, keepdims=0, select_last_index=int(last)
    )

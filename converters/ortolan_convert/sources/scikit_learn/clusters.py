"""Clusterers that predict: distances to centers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def k_means(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Euclidean distances to the centers; the nearest one's number is the label."""
    parts.draw_from(features, fitted.model.cluster_centers_.T)
    return Prediction(distances=euclidean(graph, parts.dense(graph, features), fitted.model.cluster_centers_))


def bisecting_k_means(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Down the tree of centers, at each node to the nearer of its two; that leaf need not have the nearest of all."""
    model = fitted.model
    parts.draw_from(features, model.cluster_centers_.T)
    value = parts.dense(graph, features)
    mean = getattr(model, "_X_mean", 0.0)
    nodes, leaves = _descents(model._bisecting_tree)  # noqa: SLF001 - where scikit-learn keeps it
    distances = euclidean(graph, value, model.cluster_centers_)
    if not nodes:
        return Prediction(distances=distances)
    left, right = (euclidean(graph, value, np.stack([one[side] for one in nodes]) + mean) for side in (0, 1))
    to_left = graph.cast(graph.node("LessOrEqual", left, right, dtype="bool"), "float64")
    # A leaf is reached if each turn on its way is taken: then nothing is missing.
    turns = np.zeros((len(nodes), len(leaves)))
    for leaf, way in leaves.items():
        for node, is_left in way:
            turns[node, leaf] = 1 if is_left else -1
    # A turn to the right that is taken counts 0, one that is not counts -1.
    most = np.array([sum(is_left for _, is_left in leaves[leaf]) for leaf in range(len(leaves))], np.float64)
    shape = (value.shape[0], len(leaves))
    taken = graph.node("MatMul", to_left, graph.constant(turns), shape=shape)
    missing = graph.node("Add", taken, graph.constant(-most))
    label = graph.node("ArgMax", missing, shape=(value.shape[0],), dtype="int64", axis=1, keepdims=0)
    return Prediction(distances=distances, label=label)


def _descents(tree: Any) -> tuple[list[tuple[Any, Any]], dict[int, list[tuple[int, bool]]]]:
    """The pairs of centers of inner nodes, and by label of each leaf the nodes on its way and whether it goes left."""
    nodes: list[tuple[Any, Any]] = []
    leaves: dict[int, list[tuple[int, bool]]] = {}
    waiting: list[tuple[Any, list[tuple[int, bool]]]] = [(tree, [])]
    while waiting:
        node, way = waiting.pop()
        if node.left is None:
            leaves[int(node.label)] = way
            continue
        nodes.append((node.left.center, node.right.center))
        waiting += [(node.left, [*way, (len(nodes) - 1, True)]), (node.right, [*way, (len(nodes) - 1, False)])]
    return nodes, leaves


def euclidean(graph: GraphBuilder, value: Value, centers: NDArray[Any]) -> Value:
    """float64 [batch, centers]: distances, from differences: nothing cancels.

    Args:
        graph: to add to.
        value: float64 [batch, n].
        centers: float64 [centers, n].
    """
    count, width = centers.shape
    wide = graph.node("Unsqueeze", value, graph.constant(np.array([1], np.int64)), shape=(value.shape[0], 1, width))
    centers_value = graph.constant(np.asarray(centers, np.float64)[None])
    gaps = graph.node("Sub", wide, centers_value, shape=(value.shape[0], count, width))
    squares = graph.node("Mul", gaps, gaps)
    axis = graph.constant(np.array([2], np.int64))
    sums = graph.node("ReduceSum", squares, axis, shape=(value.shape[0], count), keepdims=0)
    return graph.node("Sqrt", sums)

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

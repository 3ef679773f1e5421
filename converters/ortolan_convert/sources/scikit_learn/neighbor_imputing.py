"""What KNNImputer puts for missing values: means over the nearest rows of the training data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, columns, compared, joined, reduced, times, where
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.neighbors import MOST_ROWS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted

FAR = 1e300
"""Stands for the distance to a row that has no value in common."""


def filled_columns(graph: GraphBuilder, fitted: Fitted, features: Features) -> Value:
    """float64 [batch, n]: the features without missing values; columns that never had a value are left as they are."""
    model = fitted.model
    known = np.asarray(model._fit_X, np.float64)  # noqa: SLF001 - where it is kept
    if len(known) > MOST_ROWS:
        raise UnsupportedError(f"{fitted.place}: {len(known):,} rows of training data; expected at most {MOST_ROWS:,}")
    holes = np.isnan(known)
    value = parts.dense(graph, features)
    missing = graph.node("IsNaN", value, dtype="bool")
    ranks = _squares(graph, where(graph, missing, 0.0, value), graph.cast(missing, "float64"), known, holes)
    made = []
    for index in range(known.shape[1]):
        own = columns(graph, value, [index])
        donors = np.flatnonzero(~holes[:, index])
        if not len(donors):
            made.append(own)
            continue
        fill = _mean(graph, fitted, columns(graph, ranks, donors), known[donors, index])
        made.append(where(graph, graph.node("IsNaN", own, dtype="bool"), fill, own))
    return joined(graph, made)


def _squares(graph: GraphBuilder, value: Value, missing: Value, known: NDArray[Any], holes: NDArray[Any]) -> Value:
    """float64 [batch, rows]: squared distances over the features that both have, scaled up to all of them."""
    filled, gone = np.where(holes, 0.0, known), holes.astype(np.float64)
    squares = graph.node("Mul", value, value)
    total = binary(graph, "Add", times(graph, value, -2.0 * filled.T), reduced(graph, "ReduceSum", squares))
    total = binary(graph, "Add", total, np.square(filled).sum(axis=1))
    total = binary(graph, "Sub", total, times(graph, squares, gone.T))
    total = binary(graph, "Sub", total, times(graph, missing, np.square(filled).T))
    total = binary(graph, "Max", total, 0.0)
    common = times(graph, binary(graph, "Sub", 1.0, missing), 1.0 - gone.T)
    scaled = binary(graph, "Mul", binary(graph, "Div", total, binary(graph, "Max", common, 1.0)), float(known.shape[1]))
    return where(graph, compared(graph, "Equal", common, 0.0), FAR, scaled)


def _mean(graph: GraphBuilder, fitted: Fitted, ranks: Value, values: NDArray[Any]) -> Value:
    """float64 [batch, 1]: the mean of the nearest donors' values; of all of them if none has anything in common."""
    count = min(int(fitted.model.n_neighbors), len(values))
    nearest, index = graph.top(ranks, count, largest=False)
    found = graph.node("Gather", graph.constant(values), index, shape=index.shape, dtype="float64", axis=0)
    usable = compared(graph, "Less", nearest, FAR / 2)
    if fitted.model.weights == "distance":
        zero = compared(graph, "Equal", nearest, 0.0)
        same = graph.cast(zero, "float64")
        hit = compared(graph, "Greater", reduced(graph, "ReduceMax", same), 0.0)
        shares = binary(graph, "Div", 1.0, graph.node("Sqrt", where(graph, zero, 1.0, nearest)))
        shares = where(graph, hit, same, shares)
    else:
        shares = binary(graph, "Add", binary(graph, "Mul", nearest, 0.0), 1.0)
    weights = where(graph, usable, shares, 0.0)
    total = reduced(graph, "ReduceSum", weights)
    none = compared(graph, "Equal", total, 0.0)
    mean = binary(
        graph, "Div", reduced(graph, "ReduceSum", graph.node("Mul", weights, found)), where(graph, none, 1.0, total)
    )
    return where(graph, none, float(values.mean()), mean)

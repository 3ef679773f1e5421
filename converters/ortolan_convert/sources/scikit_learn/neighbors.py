"""Nearest neighbours and nearest centroids, with distances summed as scikit-learn sums them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, columns, compared, position, reduced, times, where
from ortolan_convert.heads import clipped, normalized
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.bayes import log_ratios
from ortolan_convert.sources.scikit_learn.clusters import euclidean
from ortolan_convert.sources.scikit_learn.steps import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted

MOST_ROWS = 20_000
"""Rows of training data that a bundle may carry along: each answer looks at all of them."""
MOST_NUMBERS = 1 << 25
"""Numbers of these rows together, 256 MB."""


def neighbors_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Shares of the nearest rows' classes; of several largest ones the first.

    Raises:
        UnsupportedError: a metric or weights of one's own, several outputs.
    """
    model = fitted.model
    if model.outputs_2d_:
        raise UnsupportedError(f"{fitted.place}: several outputs at once are not supported")
    index, weights = _nearest(graph, fitted, features)
    classes = np.eye(len(model.classes_))[np.asarray(model._y, np.int64)]  # noqa: SLF001 - where it is kept
    votes = _sum(graph, index, weights, classes)
    return Prediction(probabilities=normalized(graph, votes), label=position(graph, "ArgMax", votes))


def neighbors_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The mean of the nearest rows' values.

    Raises:
        UnsupportedError: a metric or weights of one's own.
    """
    index, weights = _nearest(graph, fitted, features)
    known = np.asarray(fitted.model._y, np.float64)  # noqa: SLF001 - where it is kept
    total = _sum(graph, index, weights, known.reshape(len(known), -1))
    if weights is None:
        return Prediction(values=binary(graph, "Div", total, float(index.shape[1])))
    return Prediction(values=binary(graph, "Div", total, reduced(graph, "ReduceSum", weights)))


def _sum(graph: GraphBuilder, index: Value, weights: Value | None, table: NDArray[Any]) -> Value:
    """float64 [batch, m]: the rows of a table at each index, weighted and added up."""
    batch, count, width = *index.shape, table.shape[1]
    found = graph.node(
        "Gather", graph.constant(np.asarray(table, np.float64)), index, shape=(batch, count, width), axis=0
    )
    if weights is not None:
        axis = graph.constant(np.array([2], np.int64))
        found = binary(graph, "Mul", found, graph.node("Unsqueeze", weights, axis, shape=(batch, count, 1)))
    return reduced(graph, "ReduceSum", found, 1, keep=False)


def _nearest(graph: GraphBuilder, fitted: Fitted, features: Features) -> tuple[Value, Value | None]:
    """int64 [batch, k], rows of the training data; and float64 [batch, k], their weights if these differ."""
    model = fitted.model
    if model.weights not in (None, "uniform", "distance"):
        raise UnsupportedError(f"{fitted.place}, option 'weights': calls a Python function, which cannot be converted")
    rows, width = model._fit_X.shape  # noqa: SLF001 - where the training data is kept
    if rows > MOST_ROWS:
        raise UnsupportedError(f"{fitted.place}: {rows:,} rows of training data; expected at most {MOST_ROWS:,}")
    if rows * width > MOST_NUMBERS:
        raise UnsupportedError(
            f"{fitted.place}: {rows:,} rows of training data of {width:,} features each, zeros included; expected at "
            f"most {MOST_NUMBERS:,} numbers. Reduce the features before it, e.g. by TruncatedSVD"
        )
    known = np.asarray(model._fit_X.toarray() if hasattr(model._fit_X, "toarray") else model._fit_X, np.float64)  # noqa: SLF001
    parts.draw_from(features, known.T)
    value = parts.dense(graph, features)
    ranks = _ranks(graph, fitted, value, known)
    nearest, index = graph.top(ranks, int(model.n_neighbors), largest=False)
    if model.weights != "distance":
        return index, None
    if model.effective_metric_ == "cosine" or _power_of(model) == 1:
        distances = nearest
    elif not _sums_apart(model):
        distances = graph.node("Sqrt", nearest)
    else:
        distances = _exact(graph, value, known, index)
    zero = compared(graph, "Equal", distances, 0.0)
    same = graph.cast(zero, "float64")
    hit = reduced(graph, "ReduceMax", same)
    usual = binary(graph, "Div", 1.0, where(graph, zero, 1.0, distances))
    return index, where(graph, compared(graph, "Greater", hit, 0.0), same, usual)


def _power_of(model: Any) -> int:
    """1 for the sum of absolute differences, 2 for Euclidean distances, 0 for others."""
    metric = model.effective_metric_
    if metric == "minkowski":
        metric = {1: "manhattan", 2: "euclidean"}.get(model.effective_metric_params_.get("p"), "other")
    return {"manhattan": 1, "cityblock": 1, "l1": 1, "euclidean": 2, "l2": 2}.get(metric, 0)


def _sums_apart(model: Any) -> bool:
    """Whether scikit-learn ranks by squares and products summed apart, as it does without a tree."""
    return bool(model._fit_method == "brute" and _power_of(model) == 2)  # noqa: SLF001 - as it was resolved


def _ranks(graph: GraphBuilder, fitted: Fitted, value: Value, known: NDArray[Any]) -> Value:
    """float64 [batch, rows]: what grows with the distance to each row."""
    metric = fitted.model.effective_metric_
    if metric == "cosine":
        return _cosine(graph, value, known)
    power = _power_of(fitted.model)
    if not power:
        raise UnsupportedError(
            f"{fitted.place}, option 'metric': {metric} is not supported; use euclidean, manhattan or cosine"
        )
    if _sums_apart(fitted.model):
        return binary(graph, "Add", times(graph, value, -2.0 * known.T), np.square(known).sum(axis=1))
    total: Value | None = None
    for index in range(known.shape[1]):
        gap = binary(graph, "Sub", columns(graph, value, [index]), np.ascontiguousarray(known[:, index]))
        term = graph.node("Mul", gap, gap) if power == 2 else graph.node("Abs", gap)
        total = term if total is None else graph.node("Add", total, term)
    if total is None:
        raise UnsupportedError(f"{fitted.place}: no features")
    return total


def _cosine(graph: GraphBuilder, value: Value, known: NDArray[Any]) -> Value:
    """float64 [batch, rows]: 1 minus the product of rows of length 1, within 0 and 2 as in `cosine_distances`.

    Rows of zeros stay as they are, so that they are 1 away from all.
    """
    lengths = np.sqrt(np.square(known).sum(axis=1, keepdims=True))
    directions = known / np.where(lengths == 0, 1.0, lengths)
    length = graph.node("Sqrt", reduced(graph, "ReduceSum", graph.node("Mul", value, value)))
    safe = where(graph, compared(graph, "Equal", length, 0.0), 1.0, length)
    products = times(graph, binary(graph, "Div", value, safe), np.ascontiguousarray(directions.T))
    return clipped(graph, binary(graph, "Sub", 1.0, products), 0.0, 2.0)


def _exact(graph: GraphBuilder, value: Value, known: NDArray[Any], index: Value) -> Value:
    """float64 [batch, k]: Euclidean distances to the rows at the indices, from differences."""
    batch, count, width = *index.shape, known.shape[1]
    rows = graph.node("Gather", graph.constant(known), index, shape=(batch, count, width), dtype="float64", axis=0)
    wide = graph.node("Unsqueeze", value, graph.constant(np.array([1], np.int64)), shape=(batch, 1, width))
    gaps = binary(graph, "Sub", rows, wide)
    return graph.node("Sqrt", reduced(graph, "ReduceSum", graph.node("Mul", gaps, gaps), 2, keep=False))


def nearest_centroid(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The class whose centroid is nearest; scores are scikit-learn's discriminants where it has them.

    Raises:
        UnsupportedError: another metric than Euclidean or Manhattan.
    """
    model = fitted.model
    centers = np.asarray(model.centroids_, np.float64)
    parts.draw_from(features, centers.T)
    value = parts.dense(graph, features)
    if model.metric == "euclidean":
        distances = euclidean(graph, value, centers)
    elif model.metric == "manhattan":
        distances = _manhattan(graph, value, centers)
    else:
        raise UnsupportedError(f"{fitted.place}, option 'metric': {model.metric!r} is not supported")
    if not hasattr(model, "within_class_std_dev_") or model.metric != "euclidean":
        scores = graph.node("Neg", distances)
        return Prediction(scores=scores, label=position(graph, "ArgMin", distances), by_scores=True)
    spread = np.where(model.within_class_std_dev_ == 0, 1.0, model.within_class_std_dev_)
    apart = euclidean(graph, binary(graph, "Div", value, spread), centers / spread)
    squares = graph.node("Mul", apart, apart)
    found = log_ratios(
        graph,
        binary(graph, "Add", graph.node("Neg", squares), 2.0 * np.log(model.class_prior_)),
        len(model.classes_),
    )
    uniform = np.isclose(model.class_prior_, 1 / len(model.classes_)).all()
    label = position(graph, "ArgMin", distances) if uniform else found.label
    return Prediction(scores=found.scores, probabilities=found.probabilities, label=label, by_scores=True)


def _manhattan(graph: GraphBuilder, value: Value, centers: NDArray[Any]) -> Value:
    count, width = centers.shape
    wide = graph.node("Unsqueeze", value, graph.constant(np.array([1], np.int64)), shape=(value.shape[0], 1, width))
    gaps = graph.node("Sub", wide, graph.constant(centers[None]), shape=(value.shape[0], count, width))
    return reduced(graph, "ReduceSum", graph.node("Abs", gaps), 2, keep=False)

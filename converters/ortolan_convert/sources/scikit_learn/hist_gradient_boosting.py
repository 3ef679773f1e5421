"""scikit-learn's histogram gradient boosting. It compares in float64; categories are looked up by their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Prediction
from ortolan_convert.sources.scikit_learn.trees import matrix
from ortolan_convert.trees.answers import BOTH_SIDES, logistic, softmax
from ortolan_convert.trees.joining import Tree, joined
from ortolan_convert.trees.splits import values_go_left

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted

_EXPONENTIAL = ("poisson", "gamma")
"""Losses whose predictions are the exponential of what is summed."""


def _raw(graph: GraphBuilder, fitted: Fitted, features: Features, mixed: NDArray[Any] | None = None) -> Value:
    """float64 [batch, outputs]."""
    width = parts.width(features)
    columns, categories = _columns(fitted, width)
    stages = fitted.model._predictors  # noqa: SLF001 - its only name
    trees = [_tree(one, columns, categories) for stage in stages for one in stage]
    base = np.asarray(fitted.model._baseline_prediction, np.float64).reshape(-1)  # noqa: SLF001 - its only name
    outputs = [output for stage in stages for output in range(len(stage))]
    ensemble = joined(trees, outputs, base, fitted.place, features=width)
    return ensemble.sums(graph, matrix(graph, features, ensemble), mixed)


def _columns(fitted: Fitted, width: int) -> tuple[NDArray[Any], Mapping[int, NDArray[Any]]]:
    """Which of the table's columns each of the trees' is; the categories of those that have some, ordered by code.

    The model puts columns of categories before all others and numbers the categories.
    """
    model = fitted.model
    flags = getattr(model, "is_categorical_", None)
    if flags is None or not flags.any():
        return np.arange(width), {}
    preparing = getattr(model, "_preprocessor", None)
    if preparing is None:
        raise UnsupportedError(
            f"{fitted.place}: {type(model).__name__} with categories, of a version of scikit-learn before 1.4; "
            "train it again"
        )
    known = preparing.named_transformers_["encoder"].categories_
    for column, values in zip(np.flatnonzero(flags), known, strict=True):
        if values.dtype.kind not in "fiub":
            raise UnsupportedError(
                f"{fitted.place}: {type(model).__name__} with categories that are strings in column {column}; "
                "put an OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=np.nan) before it"
            )
    order = np.concatenate([np.flatnonzero(flags), np.flatnonzero(~flags)])
    return order, {place: np.asarray(values, np.float64) for place, values in enumerate(known)}


def _tree(predictor: Any, columns: NDArray[Any], categories: Mapping[int, NDArray[Any]]) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    steps = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        known = categories[int(nodes["feature_idx"][node])]
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        codes = np.arange(len(known))
        left = (bits[codes // 32] >> (codes % 32)) & 1 == 1
        # What is missing and what is not known go the same way.
        present = ~np.isnan(known)
        steps[node] = values_go_left(known[present], left[present], missing_left=bool(missing_left[node]))
    return Tree(
        feature=np.where(leaf, -1, columns[np.where(leaf, 0, nodes["feature_idx"])]),
        threshold=np.where(leaf | nodes["is_categorical"].astype(bool), 0.0, nodes["num_threshold"]),
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        values=nodes["value"],
        missing_left=missing_left,
        steps=steps,
    )


def classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """HistGradientBoostingClassifier."""
    if fitted.model.n_trees_per_iteration_ > 1:
        raw = _raw(graph, fitted, features)
        return Prediction(scores=raw, probabilities=softmax(graph, raw))
    both = _raw(graph, fitted, features, BOTH_SIDES)
    return Prediction(scores=both, probabilities=logistic(graph, both))


def regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """HistGradientBoostingRegressor."""
    raw = _raw(graph, fitted, features)
    return Prediction(values=graph.node("Exp", raw) if fitted.model.loss in _EXPONENTIAL else raw)

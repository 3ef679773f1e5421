"""scikit-learn's histogram gradient boosting. It compares in float64; categories are looked up by their codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.encoders import encode
from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction
from ortolan_convert.sources.scikit_learn.trees import matrix
from ortolan_convert.trees.answers import BOTH_SIDES, logistic, softmax
from ortolan_convert.trees.joining import Tree, joined
from ortolan_convert.trees.splits import values_go_left

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features

_EXPONENTIAL = ("poisson", "gamma")
"""Losses whose predictions are the exponential of what is summed."""


def _raw(graph: GraphBuilder, fitted: Fitted, features: Features, mixed: NDArray[Any] | None = None) -> Value:
    """float64 [batch, outputs]."""
    features = _prepared(graph, fitted, features)
    stages = fitted.model._predictors  # noqa: SLF001 - its only name
    trees = [_tree(one) for stage in stages for one in stage]
    base = np.asarray(fitted.model._baseline_prediction, np.float64).reshape(-1)  # noqa: SLF001 - its only name
    outputs = [output for stage in stages for output in range(len(stage))]
    ensemble = joined(trees, outputs, base, fitted.place, features=parts.width(features))
    return ensemble.sums(graph, matrix(graph, features, ensemble), mixed)


def _prepared(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """What the trees see: the codes of categories, NaN for unknown and missing ones, then all other columns."""
    model = fitted.model
    flags = getattr(model, "is_categorical_", None)
    if flags is None or not flags.any():
        return features
    preparing = getattr(model, "_preprocessor", None)
    if preparing is None:
        raise UnsupportedError(
            f"{fitted.place}: {type(model).__name__} with categories, of a version of scikit-learn before 1.4; "
            "train it again"
        )
    coder = Fitted(preparing.named_transformers_["encoder"], fitted.place)
    coded = encode(graph, coder, parts.select(graph, features, np.flatnonzero(flags).tolist()))
    return (*coded, *parts.select(graph, features, np.flatnonzero(~flags).tolist()))


def _tree(predictor: Any) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    steps = {}
    for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~leaf).tolist():
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        codes = np.arange(32 * len(bits))
        left = (bits[codes // 32] >> (codes % 32)) & 1 == 1
        # What is missing and what is not known go the same way.
        steps[node] = values_go_left(codes.astype(np.float64), left, missing_left=bool(missing_left[node]))
    return Tree(
        feature=np.where(leaf, -1, nodes["feature_idx"]).astype(np.int64),
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

"""scikit-learn's trees: single ones, forests, gradient boosting and isolation forests.

They take float32: ``float32(x) <= threshold``, with the threshold in float64. Sums and what follows are float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Prediction
from ortolan_convert.trees.answers import BOTH_SIDES, largest, logistic, softmax
from ortolan_convert.trees.joining import Tree, joined
from ortolan_convert.trees.splits import at_most_in_float32

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted
    from ortolan_convert.trees.ensemble import Trees


MOST_VALUES = 256
"""Most thresholds of a column that made-up rows draw from."""


def matrix(graph: GraphBuilder, features: Features, trees: Trees) -> Value:
    """float64 [batch, width]: all features side by side; made-up rows draw from what the trees compare with."""
    parts.draw_from(features, [known_numbers(trees.thresholds(place)) for place in range(parts.width(features))])
    return parts.dense(graph, features)


def known_numbers(thresholds: NDArray[Any]) -> NDArray[Any]:
    """Some of a column's thresholds, evenly spread."""
    finite: NDArray[Any] = thresholds[np.isfinite(thresholds)]
    if len(finite) > MOST_VALUES:
        finite = finite[np.linspace(0, len(finite) - 1, MOST_VALUES).astype(int)]
    return finite


def grown(tree: Any, values: NDArray[Any], columns: NDArray[Any] | None = None) -> Tree:
    """A fitted ``sklearn.tree._tree.Tree``.

    Args:
        tree: the ``tree_`` of an estimator.
        values: float64 [nodes, k], what its leaves add.
        columns: which columns of the table it was given; None for all.
    """
    leaf = tree.children_left < 0
    feature = np.where(leaf, 0, tree.feature)
    return Tree(
        feature=np.where(leaf, -1, feature if columns is None else np.asarray(columns)[feature]),
        threshold=at_most_in_float32(np.where(leaf, 0.0, tree.threshold)),
        left=tree.children_left,
        right=tree.children_right,
        values=values,
        # Files of older versions do not have it, and no missing values either.
        missing_left=np.asarray(getattr(tree, "missing_go_to_left", np.zeros(len(leaf))), bool),
    )


def _voting(graph: GraphBuilder, fitted: Fitted, features: Features, trees: Sequence[Any]) -> Value:
    """float64 [batch, n]: the mean of what the trees answer: shares of the classes, or targets."""
    ensemble = _together(fitted, trees, parts.width(features))
    total = ensemble.sums(graph, matrix(graph, features, ensemble))
    return total if len(trees) == 1 else graph.node("Div", total, graph.number(float(len(trees))))


def _together(fitted: Fitted, trees: Sequence[Any], width: int) -> Trees:
    classifies = hasattr(fitted.model, "classes_")
    found = []
    for one in trees:
        values = one.tree_.value
        if classifies:
            values = values[:, 0, :]
            # As predict_proba of versions before 1.3 did: leaves held counts.
            total = values.sum(axis=1, keepdims=True)
            values = np.divide(values, total, out=np.zeros_like(values), where=total > 0)
        else:
            values = values[:, :, 0]
        found.append(grown(one.tree_, values))
    base = np.zeros(found[0].values.shape[1])
    return joined(found, [0] * len(found), base, fitted.place, features=width)


def _single_output(fitted: Fitted) -> None:
    if fitted.model.n_outputs_ > 1:
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} with {fitted.model.n_outputs_} outputs of classes; "
            "a classifier answers with one label: train one for each output"
        )


def tree_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """DecisionTreeClassifier, ExtraTreeClassifier."""
    _single_output(fitted)
    shares = _voting(graph, fitted, features, [fitted.model])
    return Prediction(probabilities=shares)


def forest_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """RandomForestClassifier, ExtraTreesClassifier."""
    _single_output(fitted)
    shares = _voting(graph, fitted, features, fitted.model.estimators_)
    return Prediction(probabilities=shares)


def tree_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """DecisionTreeRegressor, ExtraTreeRegressor."""
    return Prediction(values=_voting(graph, fitted, features, [fitted.model]))


def forest_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """RandomForestRegressor, ExtraTreesRegressor."""
    return Prediction(values=_voting(graph, fitted, features, fitted.model.estimators_))


def _boosted(graph: GraphBuilder, fitted: Fitted, features: Features, mixed: NDArray[Any] | None = None) -> Value:
    """float64 [batch, outputs]: the raw predictions of gradient boosting."""
    model = fitted.model
    width = parts.width(features)
    stages = model.estimators_
    trees = [
        grown(one.tree_, model.learning_rate * one.tree_.value[:, :, 0]) for stage in stages for one in stage.tolist()
    ]
    outputs = list(range(stages.shape[1])) * len(stages)
    ensemble = joined(trees, outputs, _beginning(fitted, width), fitted.place, features=width)
    return ensemble.sums(graph, matrix(graph, features, ensemble), mixed)


def _beginning(fitted: Fitted, width: int) -> NDArray[Any]:
    """float64 [outputs]: what boosting begins with, the same for all rows."""
    model = fitted.model
    if not (isinstance(model.init_, str) or type(model.init_).__name__ in {"DummyClassifier", "DummyRegressor"}):
        raise UnsupportedError(
            f"{fitted.place}: {type(model).__name__} begins with the predictions of its option init, a "
            f"{type(model.init_).__name__}; leave init out"
        )
    base: NDArray[Any] = model._raw_predict_init(np.zeros((1, width), np.float32))[0]  # noqa: SLF001 - its only name
    return base


def boosting_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """GradientBoostingClassifier."""
    if fitted.model.estimators_.shape[1] > 1:
        raw = _boosted(graph, fitted, features)
        return Prediction(scores=raw, probabilities=softmax(graph, raw))
    both = _boosted(graph, fitted, features, BOTH_SIDES)
    factor = 2.0 if fitted.model.loss == "exponential" else 1.0
    # A score of 0 is the second class.
    return Prediction(scores=both, probabilities=logistic(graph, both, factor), label=largest(graph, both, last=True))


def boosting_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """GradientBoostingRegressor."""
    return Prediction(values=_boosted(graph, fitted, features))


def isolation_forest(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """IsolationForest: labels -1 (outlier) and 1, scores of its decision function.

    ``decision = -2 ** (-depth / (trees * average_path_length(max_samples))) - offset``, where depth is summed over the
    trees, with the average path of the samples that a leaf holds. An inlier is from 0 up.
    """
    from sklearn.ensemble._iforest import _average_path_length

    model = fitted.model
    trees = []
    for one, columns in zip(model.estimators_, model.estimators_features_, strict=True):
        depth = _levels(one.tree_) + _average_path_length(one.tree_.n_node_samples) - 1.0
        trees.append(grown(one.tree_, depth, columns))
    ensemble = joined(trees, [0] * len(trees), [0.0], fitted.place, features=parts.width(features))
    most = len(trees) * float(_average_path_length([model.max_samples_])[0])
    depths = ensemble.sums(graph, matrix(graph, features, ensemble))
    # Of a single sample every path has no length: scikit-learn divides by 1 then.
    power = graph.node("Div", depths, graph.number(-most)) if most else graph.node("Neg", depths)
    score = graph.node("Neg", graph.node("Pow", graph.number(2.0), power, shape=power.shape))
    decision = graph.node("Sub", score, graph.number(float(model.offset_)))
    both = graph.node("MatMul", decision, graph.constant(BOTH_SIDES), shape=(decision.shape[0], 2))
    # A score of 0 is no outlier.
    return Prediction(scores=both, label=largest(graph, both, last=True), by_scores=True)


def _levels(tree: Any) -> NDArray[Any]:
    """float64 [nodes]: how many nodes a path to each has, itself included."""
    levels = np.ones(tree.node_count)
    for node in range(tree.node_count):
        if tree.children_left[node] >= 0:
            levels[[tree.children_left[node], tree.children_right[node]]] = levels[node] + 1
    return levels

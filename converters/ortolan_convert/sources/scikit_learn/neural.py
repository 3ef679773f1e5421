"""Multi-layer perceptrons."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, times
from ortolan_convert.heads import both_sides
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Prediction
from ortolan_convert.trees.answers import logistic, sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted

_ACTIVATIONS: Mapping[str, Callable[[GraphBuilder, Value], Value]] = {
    "relu": lambda graph, value: graph.node("Relu", value),
    "tanh": lambda graph, value: graph.node("Tanh", value),
    "logistic": sigmoid,
}


def perceptron_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """MLPClassifier: a sigmoid for two classes, a softmax for more.

    Raises:
        UnsupportedError: several labels at once.
    """
    model = fitted.model
    if model._label_binarizer.y_type_.startswith("multilabel"):  # noqa: SLF001 - the only place that says it
        raise UnsupportedError(f"{fitted.place}: several labels at once are not supported")
    value = _layers(graph, fitted, features)
    if model.out_activation_ == "softmax":
        return Prediction(probabilities=graph.node("Softmax", value, axis=1))
    return Prediction(probabilities=logistic(graph, both_sides(graph, value)))


def perceptron_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """MLPRegressor."""
    value = _layers(graph, fitted, features)
    if fitted.model.out_activation_ != "identity":
        value = graph.node("Exp", value)
    return Prediction(values=value)


def _layers(graph: GraphBuilder, fitted: Fitted, features: Features) -> Value:
    """float64 [batch, outputs]: the last layer's sums."""
    model = fitted.model
    value: Value | None = None
    last = len(model.coefs_) - 1
    for index, (weights, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        matrix = np.asarray(weights, np.float64)
        product = parts.product(graph, features, matrix) if value is None else times(graph, value, matrix)
        value = binary(graph, "Add", product, np.asarray(bias, np.float64))
        if index < last and model.activation in _ACTIVATIONS:
            value = _ACTIVATIONS[model.activation](graph, value)
    if value is None:
        raise UnsupportedError(f"{fitted.place}: it has no layers")
    return value

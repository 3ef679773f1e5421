"""Naive Bayes, quadratic discriminants and mixtures of normal distributions: log likelihoods and their softmax."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, columns, compared, joined, position, reduced, times
from ortolan_convert.heads import both_sides
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.linear_models import decision
from ortolan_convert.sources.scikit_learn.steps import Prediction
from ortolan_convert.trees.answers import logistic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def gaussian(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A normal distribution for each feature and class."""
    model = fitted.model
    parts.draw_from(features, [*_spread(model.theta_, model.var_)])
    value = parts.dense(graph, features)
    fixed = np.log(model.class_prior_) - 0.5 * np.log(2.0 * np.pi * model.var_).sum(axis=1)
    sums = []
    for center, variance in zip(model.theta_, model.var_, strict=True):
        gap = binary(graph, "Sub", value, center)
        squares = binary(graph, "Div", graph.node("Mul", gap, gap), variance)
        sums.append(reduced(graph, "ReduceSum", squares))
    return _likely(graph, _with(graph, joined(graph, sums), fixed))


def multinomial(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Counts of features under each class."""
    model = fitted.model
    return _likely(graph, decision(graph, features, model.feature_log_prob_, model.class_log_prior_))


def complement(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Counts of features under all other classes (Rennie 2003)."""
    model = fitted.model
    prior = model.class_log_prior_ if len(model.classes_) == 1 else np.zeros(len(model.classes_))
    return _likely(graph, decision(graph, features, model.feature_log_prob_, prior))


def bernoulli(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Whether each feature is above a threshold, under each class."""
    model = fitted.model
    if model.binarize is not None:
        threshold = float(model.binarize)
        parts.draw_from(features, [(threshold, threshold + 1)] * parts.width(features))
        above = compared(graph, "Greater", parts.dense(graph, features), threshold)
        features = (parts.Dense(graph.cast(above, "float64")),)
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    bias = model.class_log_prior_ + absent.sum(axis=1)
    return _likely(graph, decision(graph, features, model.feature_log_prob_ - absent, bias))


def quadratic_discriminants(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A normal distribution for each class, along its principal axes.

    Raises:
        UnsupportedError: a solver that keeps none.
    """
    model = fitted.model
    if not hasattr(model, "rotations_"):
        raise UnsupportedError(f"{fitted.place}: the solver {model.solver!r} is not supported; use 'svd'")
    parts.draw_from(features, np.asarray(model.means_).T)
    value = parts.dense(graph, features)
    sums = []
    for center, rotation, scaling in zip(model.means_, model.rotations_, model.scalings_, strict=True):
        turned = times(graph, binary(graph, "Sub", value, center), rotation * scaling**-0.5)
        sums.append(reduced(graph, "ReduceSum", graph.node("Mul", turned, turned)))
    fixed = np.log(model.priors_) - 0.5 * np.array([np.log(scaling).sum() for scaling in model.scalings_])
    likelihoods = _with(graph, joined(graph, sums), fixed)
    return log_ratios(graph, likelihoods, len(model.classes_))


def log_ratios(graph: GraphBuilder, likelihoods: Value, classes: int) -> Prediction:
    """What `DiscriminantAnalysisPredictionMixin` makes of log likelihoods: for two classes their difference."""
    if classes > 2:
        return Prediction(scores=likelihoods, probabilities=graph.node("Softmax", likelihoods, axis=1), by_scores=True)
    ratio = graph.node("Sub", columns(graph, likelihoods, [1]), columns(graph, likelihoods, [0]))
    scores, label = both_sides(graph, ratio), position(graph, "ArgMax", likelihoods)
    return Prediction(scores=scores, probabilities=logistic(graph, scores), label=label, by_scores=True)


def mixture(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A mixture of normal distributions: which component a row belongs to."""
    model = fitted.model
    parts.draw_from(features, np.asarray(model.means_).T)
    value = parts.dense(graph, features)
    width = int(model.means_.shape[1])
    sums, logs = [], []
    for center, factor in zip(model.means_, _factors(model), strict=True):
        moved = binary(graph, "Sub", times(graph, value, factor), center @ factor)
        sums.append(reduced(graph, "ReduceSum", graph.node("Mul", moved, moved)))
        logs.append(np.log(np.diag(factor)).sum())
    fixed = np.log(model.weights_) + np.array(logs) - 0.5 * width * math.log(2 * math.pi)
    return _likely(graph, _with(graph, joined(graph, sums), fixed))


def _factors(model: Any) -> Sequence[NDArray[Any]]:
    """The triangular factor of each component's precision."""
    stored, (count, width) = model.precisions_cholesky_, model.means_.shape
    if model.covariance_type == "full":
        return list(stored)
    if model.covariance_type == "tied":
        return [stored] * count
    if model.covariance_type == "diag":
        return [np.diag(row) for row in stored]
    return [np.eye(width) * number for number in stored]


def _likely(graph: GraphBuilder, likelihoods: Value) -> Prediction:
    """Probabilities of joint log likelihoods; the largest of these decides, not of their rounded softmax."""
    probabilities = graph.node("Softmax", likelihoods, axis=1)
    return Prediction(probabilities=probabilities, label=position(graph, "ArgMax", likelihoods))


def _with(graph: GraphBuilder, squares: Value, fixed: NDArray[Any]) -> Value:
    """``fixed - squares / 2``."""
    return binary(graph, "Add", binary(graph, "Mul", squares, -0.5), fixed)


def _spread(centers: NDArray[Any], variances: NDArray[Any]) -> Sequence[NDArray[Any]]:
    spread = 2 * np.sqrt(variances)
    return list(np.concatenate([centers - spread, centers, centers + spread]).T)

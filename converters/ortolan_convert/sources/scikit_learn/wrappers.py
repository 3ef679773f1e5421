"""Models around a model: calibrated probabilities, transformed targets, frozen estimators; and models of nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary
from ortolan_convert.graph import Value
from ortolan_convert.heads import Answer, LinearPart
from ortolan_convert.sources.scikit_learn import compose
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.ensembles import decision_of, values_of
from ortolan_convert.sources.scikit_learn.registry import key_of
from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction
from ortolan_convert.sources.scikit_learn.text_calibrated import calibrated_part, unwrapped
from ortolan_convert.text.calibration import Averaged

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder
    from ortolan_convert.sources.scikit_learn.steps import Features


@dataclass(frozen=True, slots=True)
class _Member:
    """An inner classifier as calibrators see it."""

    fitted: Fitted
    features: Features

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:  # noqa: ARG002 - part of Member
        """Add the classifier's nodes."""
        found = compose.predicted(graph, self.fitted, self.features)
        decision = None if found.scores is None else decision_of(graph, found, self.fitted)
        scores = found.scores if found.scores is not None else found.probabilities
        if scores is None:
            raise UnsupportedError(f"{self.fitted.place}: expected a classifier")
        return Answer(scores, found.probabilities, decision)


def calibrated_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The mean of calibrated inner classifiers."""
    model = fitted.model
    members = []
    for index, one in enumerate(model.calibrated_classifiers_):
        inner = unwrapped(one.estimator)
        member: Any = _Member(Fitted(inner, f"{fitted.place}, inner classifier {index}"), features)
        members.append(calibrated_part(one, inner, member, list(model.classes_), fitted.place))
    # The members add their own nodes and look at nothing else; of what they share only the batch is asked for.
    nothing = Value("", "float64", ("batch", 0))
    answer = Averaged(tuple(members)).build(graph, LinearPart(nothing, nothing, np.zeros((0, 0))))
    return Prediction(probabilities=answer.probabilities)


def frozen_model(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """What it holds."""
    return compose.predicted(graph, Fitted(fitted.model.estimator, f"{fitted.place}, estimator"), features)


def frozen_transformer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """What it holds."""
    return compose.transformed(graph, Fitted(fitted.model.estimator, f"{fitted.place}, estimator"), features)


def transformed_target(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A regression whose values are scaled back.

    Raises:
        UnsupportedError: by another transformer than a scaler, or a function of one's own.
    """
    model = fitted.model
    inner = Fitted(model.regressor_, f"{fitted.place}, regressor")
    value = values_of(compose.predicted(graph, inner, features), inner)
    return Prediction(values=_scaled_back(graph, fitted, value))


_INVERSES = {np.exp: "Exp", np.sqrt: "Sqrt", np.log: "Log"}


def _scaled_back(graph: GraphBuilder, fitted: Fitted, value: Value) -> Value:
    scaler = fitted.model.transformer_
    kind = key_of(scaler)
    if kind == "FunctionTransformer":
        function = scaler.inverse_func
        if function is None:
            return value
        if function is np.expm1:
            from ortolan_convert.arithmetic import expm1

            return expm1(graph, value)
        if function in _INVERSES:
            return graph.node(_INVERSES[function], value)
        name = getattr(function, "__qualname__", type(function).__name__)
        raise UnsupportedError(
            f"{fitted.place}, option 'inverse_func': calls a Python function ({name}), which cannot be converted; "
            f"use numpy's expm1, exp, sqrt or log themselves, or a scaler"
        )
    if kind == "StandardScaler":
        value = binary(graph, "Mul", value, scaler.scale_) if scaler.with_std else value
        return binary(graph, "Add", value, scaler.mean_) if scaler.with_mean else value
    if kind == "RobustScaler":
        value = binary(graph, "Mul", value, scaler.scale_) if scaler.with_scaling else value
        return binary(graph, "Add", value, scaler.center_) if scaler.with_centering else value
    if kind == "MinMaxScaler" and not scaler.clip:
        return binary(graph, "Div", binary(graph, "Sub", value, scaler.min_), scaler.scale_)
    if kind == "MaxAbsScaler":
        return binary(graph, "Mul", value, scaler.scale_)
    raise UnsupportedError(f"{fitted.place}: targets transformed by {type(scaler).__name__} are not supported")


def constant_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """What stands inside multi-class models for a class that all or none of the training data had."""
    constant = float(np.asarray(fitted.model.y_).reshape(-1)[0])
    return Prediction(
        scores=_same(graph, features, np.array([[-constant, constant]])),
        probabilities=_same(graph, features, np.array([[1 - constant, constant]])),
        by_scores=True,
    )


def dummy_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The same answer to every row.

    Raises:
        UnsupportedError: random answers.
    """
    model = fitted.model
    if model.strategy in ("stratified", "uniform"):
        raise UnsupportedError(f"{fitted.place}, option 'strategy': {model.strategy!r} answers at random")
    shares = np.asarray(model.predict_proba(np.zeros((1, model.n_features_in_))), np.float64)
    return Prediction(probabilities=_same(graph, features, shares))


def dummy_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The same values for every row."""
    return Prediction(values=_same(graph, features, np.asarray(fitted.model.constant_, np.float64).reshape(1, -1)))


def _same(graph: GraphBuilder, features: Features, row: Any) -> Value:
    """float64 [batch, n]: a row as often as there are rows, whatever they hold."""
    value = parts.dense(graph, parts.select(graph, features, [0]))
    sized = graph.node("Shape", value, shape=(2,), dtype="int64")
    start, stop = (graph.constant(np.array([end], np.int64)) for end in (0, 1))
    rows = graph.node("Slice", sized, start, stop, shape=(1,))
    shape = graph.node("Concat", rows, graph.constant(np.array([row.shape[1]], np.int64)), shape=(2,), axis=0)
    return graph.node("Expand", graph.constant(row), shape, shape=(value.shape[0], row.shape[1]))

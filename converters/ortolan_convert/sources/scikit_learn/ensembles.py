"""Models made of models: votes, means, stacks, boosted and bagged ones, one against the rest or against another."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import (
    binary,
    column,
    columns,
    compared,
    flat,
    joined,
    position,
    reduced,
    row_of,
    times,
    where,
)
from ortolan_convert.heads import both_sides
from ortolan_convert.sources.scikit_learn import compose
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction
from ortolan_convert.sources.scikit_learn.vector_machines import pair_sums, pair_votes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features


def label_of(graph: GraphBuilder, found: Prediction) -> Value:
    """int64 [batch]: position of the class that a model decides for."""
    if found.label is not None:
        return found.label
    deciding = found.scores if found.by_scores or found.probabilities is None else found.probabilities
    if deciding is None:
        raise UnsupportedError("a classifier is expected among the inner models")
    return position(graph, "ArgMax", deciding)


def probabilities_of(found: Prediction, fitted: Fitted) -> Value:
    """float64 [batch, classes].

    Raises:
        UnsupportedError: the model has none.
    """
    if found.probabilities is None:
        raise UnsupportedError(f"{fitted.place}: {type(fitted.model).__name__} has no probabilities")
    return found.probabilities


def values_of(found: Prediction, fitted: Fitted) -> Value:
    """float64 [batch, targets].

    Raises:
        UnsupportedError: the model is no regression.
    """
    if found.values is None:
        raise UnsupportedError(f"{fitted.place}: {type(fitted.model).__name__} is no regression")
    return found.values


def decision_of(graph: GraphBuilder, found: Prediction, fitted: Fitted) -> Value:
    """float64 [batch, 1] for two classes, else [batch, classes]: the decision function.

    Raises:
        UnsupportedError: the model has none.
    """
    if found.scores is None:
        raise UnsupportedError(f"{fitted.place}: {type(fitted.model).__name__} has no decision function")
    return columns(graph, found.scores, [1]) if found.scores.shape[1] == 2 else found.scores


def voting_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The mean of the probabilities, or the class that most models decide for."""
    model = fitted.model
    inner = _inner(fitted, model.estimators_)
    weights = _weights(model, len(inner))
    found = [compose.predicted(graph, one, features) for one in inner]
    if model.voting == "soft":
        shares = [probabilities_of(answer, one) for answer, one in zip(found, inner, strict=True)]
        return Prediction(probabilities=_mean(graph, shares, weights))
    classes = np.arange(len(model.classes_))
    votes: Value | None = None
    for answer, weight in zip(found, weights, strict=True):
        chosen = graph.cast(compared_labels(graph, label_of(graph, answer), classes), "float64")
        weighted = binary(graph, "Mul", chosen, float(weight))
        votes = weighted if votes is None else graph.node("Add", votes, weighted)
    if votes is None:
        raise UnsupportedError(f"{fitted.place}: it has no models")
    return Prediction(scores=votes, label=position(graph, "ArgMax", votes), by_scores=True)


def voting_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The mean of the values."""
    inner = _inner(fitted, fitted.model.estimators_)
    values = [values_of(compose.predicted(graph, one, features), one) for one in inner]
    return Prediction(values=_mean(graph, values, _weights(fitted.model, len(inner))))


def stacking_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A model over the answers of models."""
    return compose.predicted(graph, _final(fitted), _stacked(graph, fitted, features))


def stacking_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A regression over the answers of models."""
    return compose.predicted(graph, _final(fitted), _stacked(graph, fitted, features))


def _final(fitted: Fitted) -> Fitted:
    return Fitted(fitted.model.final_estimator_, f"{fitted.place}, final estimator")


def _stacked(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    model = fitted.model
    made: list[Value] = []
    for one, method in zip(_inner(fitted, model.estimators_), model.stack_method_, strict=True):
        found = compose.predicted(graph, one, features)
        if method == "predict_proba":
            shares = probabilities_of(found, one)
            made.append(columns(graph, shares, [1]) if shares.shape[1] == 2 else shares)
        elif method == "decision_function":
            made.append(decision_of(graph, found, one))
        elif found.values is not None:
            made.append(found.values)
        else:
            classes = np.asarray(one.model.classes_, np.float64)
            made.append(column(graph, row_of(graph, classes, label_of(graph, found))))
    answers: Features = (parts.Dense(joined(graph, made)),)
    return (*answers, *features) if model.passthrough else answers


def bagging_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The mean of the probabilities, or of the decisions of models that have none."""
    model = fitted.model
    count = len(model.classes_)
    total: Value | None = None
    for one, kept in zip(_inner(fitted, model.estimators_), model.estimators_features_, strict=True):
        found = compose.predicted(graph, one, parts.select(graph, features, np.asarray(kept).tolist()))
        if found.probabilities is not None:
            shares = _spread(graph, found.probabilities, [int(label) for label in one.model.classes_], count)
        else:
            own = np.asarray(one.model.classes_, np.int64)
            label = row_of(graph, own, label_of(graph, found))
            shares = graph.cast(compared_labels(graph, label, np.arange(count)), "float64")
        total = shares if total is None else graph.node("Add", total, shares)
    if total is None:
        raise UnsupportedError(f"{fitted.place}: it has no models")
    return Prediction(probabilities=binary(graph, "Div", total, float(model.n_estimators)))


def bagging_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The mean of the values."""
    model = fitted.model
    values = []
    for one, kept in zip(_inner(fitted, model.estimators_), model.estimators_features_, strict=True):
        found = compose.predicted(graph, one, parts.select(graph, features, np.asarray(kept).tolist()))
        values.append(values_of(found, one))
    return Prediction(values=_mean(graph, values, np.ones(len(values))))


def boosted_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """AdaBoost (SAMME): weighted decisions, added in scikit-learn's order."""
    model = fitted.model
    classes, count = list(model.classes_), len(model.classes_)
    if getattr(model, "algorithm", "SAMME") not in ("SAMME", "deprecated"):
        raise UnsupportedError(f"{fitted.place}, option 'algorithm': {model.algorithm!r} is gone from scikit-learn")
    total: Value | None = None
    for one, weight in zip(_inner(fitted, model.estimators_), model.estimator_weights_, strict=False):
        label = label_of(graph, compose.predicted(graph, one, features))
        own = [classes.index(name) for name in one.model.classes_]
        if own != list(range(count)):
            label = row_of(graph, np.array(own, np.int64), label)
        chosen = compared_labels(graph, label, np.arange(count))
        vote = where(graph, chosen, float(weight), float(-1 / (count - 1) * weight))
        total = vote if total is None else graph.node("Add", total, vote)
    if total is None:
        raise UnsupportedError(f"{fitted.place}: it has no models")
    total = binary(graph, "Div", total, float(model.estimator_weights_.sum()))
    if count == 2:
        decision = graph.node("Sub", columns(graph, total, [1]), columns(graph, total, [0]), shape=(total.shape[0], 1))
        scores = both_sides(graph, decision)
        halved = binary(graph, "Div", scores, 2.0)
        return Prediction(scores=scores, probabilities=graph.node("Softmax", halved, axis=1), by_scores=True)
    scaled = binary(graph, "Div", total, float(count - 1))
    return Prediction(scores=total, probabilities=graph.node("Softmax", scaled, axis=1), by_scores=True)


def boosted_regressor(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """AdaBoost: the weighted median of the values."""
    inner = _inner(fitted, fitted.model.estimators_)
    weights = np.asarray(fitted.model.estimator_weights_, np.float64)[: len(inner)]
    values = joined(graph, [values_of(compose.predicted(graph, one, features), one) for one in inner])
    ordered, index = graph.top(values, len(inner), largest=False)
    own = graph.node("Gather", graph.constant(weights), index, shape=index.shape, dtype="float64", axis=0)
    sums = graph.node("CumSum", own, graph.constant(np.array(1, np.int64)))
    half = binary(graph, "Mul", columns(graph, sums, [len(inner) - 1]), 0.5)
    reached = graph.cast(compared(graph, "GreaterOrEqual", sums, half), "int64")
    middle = column(graph, position(graph, "ArgMax", reached))
    return Prediction(values=graph.node("GatherElements", ordered, middle, shape=(values.shape[0], 1), axis=1))


def one_vs_rest(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A binary model for each class; the largest decision value, or else probability, decides.

    Raises:
        UnsupportedError: several labels at once.
    """
    model = fitted.model
    if model.multilabel_:
        raise UnsupportedError(f"{fitted.place}: several labels at once are not supported")
    inner = _inner(fitted, model.estimators_)
    found = [compose.predicted(graph, one, features) for one in inner]
    if len(inner) == 1:
        return found[0]
    by_decision = hasattr(inner[0].model, "decision_function")
    shares = [answer.probabilities for answer in found if answer.probabilities is not None]
    positive = joined(graph, [columns(graph, one, [1]) for one in shares]) if len(shares) == len(found) else None
    probabilities = None
    if positive is not None:
        total = reduced(graph, "ReduceSum", positive)
        safe = where(graph, compared(graph, "Equal", total, 0.0), 1.0, total)
        probabilities = binary(graph, "Div", positive, safe)
    if by_decision:
        pairs = zip(found, inner, strict=True)
        scores = joined(graph, [decision_of(graph, answer, one) for answer, one in pairs])
        return Prediction(scores=scores, probabilities=probabilities, by_scores=True)
    if positive is None:
        raise UnsupportedError(f"{fitted.place}: its models have neither decision functions nor probabilities")
    return Prediction(probabilities=probabilities, label=position(graph, "ArgMax", positive))


def one_vs_one(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A binary model for each pair of classes: votes, and sums of their confidences where votes are equal."""
    model = fitted.model
    if model.pairwise_indices_ is not None:
        raise UnsupportedError(f"{fitted.place}: models over kernels that were computed before are not supported")
    count = len(model.classes_)
    pairs = list(combinations(range(count), 2))
    wins, confidences = [], []
    for one in _inner(fitted, model.estimators_):
        found = compose.predicted(graph, one, features)
        label = graph.cast(column(graph, label_of(graph, found)), "float64")
        wins.append(binary(graph, "Sub", 1.0, label))
        if hasattr(one.model, "decision_function"):
            confidences.append(graph.node("Neg", decision_of(graph, found, one)))
        else:
            confidences.append(graph.node("Neg", columns(graph, probabilities_of(found, one), [1])))
    votes = pair_votes(graph, joined(graph, wins), pairs, count)
    sums = pair_sums(graph, joined(graph, confidences), pairs, count)
    shrunk = binary(graph, "Div", sums, binary(graph, "Mul", binary(graph, "Add", graph.node("Abs", sums), 1.0), 3.0))
    scores = graph.node("Add", votes, shrunk)
    if count == 2:
        # Of two classes the decision function is the second one's. Votes of models without one end at a half.
        second = columns(graph, scores, [1])
        threshold = 0.0 if hasattr(model.estimators_[0], "decision_function") else 0.5
        label = flat(graph, graph.cast(compared(graph, "Greater", second, threshold), "int64"))
        return Prediction(scores=both_sides(graph, second), label=label, by_scores=True)
    return Prediction(scores=scores, by_scores=True)


def output_code(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A bit for each model: the class whose code is nearest."""
    from ortolan_convert.sources.scikit_learn.clusters import euclidean

    made = []
    for one in _inner(fitted, fitted.model.estimators_):
        found = compose.predicted(graph, one, features)
        by_decision = hasattr(one.model, "decision_function")
        made.append(
            decision_of(graph, found, one) if by_decision else columns(graph, probabilities_of(found, one), [1])
        )
    distances = euclidean(graph, joined(graph, made), np.asarray(fitted.model.code_book_, np.float64))
    return Prediction(scores=graph.node("Neg", distances), label=position(graph, "ArgMin", distances), by_scores=True)


def several_regressions(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A regression for each target."""
    inner = _inner(fitted, fitted.model.estimators_)
    return Prediction(values=joined(graph, [values_of(compose.predicted(graph, one, features), one) for one in inner]))


def compared_labels(graph: GraphBuilder, label: Value, classes: Any) -> Value:
    """bool [batch, classes]: which class a label int64 [batch] is."""
    return compared(graph, "Equal", column(graph, label), graph.constant(np.asarray(classes, np.int64)))


def _inner(fitted: Fitted, estimators: Any) -> list[Fitted]:
    return [Fitted(one, f"{fitted.place}, model {index}") for index, one in enumerate(estimators)]


def _weights(model: Any, count: int) -> Any:
    weights = model._weights_not_none  # noqa: SLF001 - those of models that were not dropped
    return np.ones(count) if weights is None else np.asarray(weights, np.float64)


def _mean(graph: GraphBuilder, values: Sequence[Value], weights: Any) -> Value:
    total: Value | None = None
    for value, weight in zip(values, weights, strict=True):
        weighted = value if weight == 1 else binary(graph, "Mul", value, float(weight))
        total = weighted if total is None else graph.node("Add", total, weighted)
    if total is None:
        raise UnsupportedError("a mean of no models")
    return binary(graph, "Div", total, float(np.sum(weights)))


def _spread(graph: GraphBuilder, shares: Value, places: Sequence[int], count: int) -> Value:
    """The columns of a model that knows some of the classes, at their places among all."""
    if list(places) == list(range(count)):
        return shares
    matrix = np.zeros((len(places), count))
    matrix[np.arange(len(places)), list(places)] = 1.0
    return times(graph, shares, matrix)

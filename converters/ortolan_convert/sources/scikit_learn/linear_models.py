"""Linear models over a table's features: products and what links them to answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.arithmetic import binary
from ortolan_convert.heads import Decision, LinearPart
from ortolan_convert.sources.scikit_learn import compose
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.older import is_former_binary_softmax, is_former_one_vs_rest
from ortolan_convert.sources.scikit_learn.steps import Fitted, Prediction

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.heads import Link
    from ortolan_convert.sources.scikit_learn.steps import Features


def linear_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """``x coef + intercept``, a column for each target."""
    return Prediction(values=decision(graph, features, fitted.model.coef_, fitted.model.intercept_))


def generalized_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """A linear regression's exponential or itself, by the link.

    Raises:
        UnsupportedError: another link.
    """
    value = decision(graph, features, fitted.model.coef_, fitted.model.intercept_)
    link = type(fitted.model._base_loss.link).__name__  # noqa: SLF001 - the only place that says it
    if link == "LogLink":
        return Prediction(values=graph.node("Exp", value))
    if link == "IdentityLink":
        return Prediction(values=value)
    raise UnsupportedError(f"{fitted.place}: the link {link} is not supported")


def partial_least_squares(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """``(x - mean) coef + intercept``."""
    model = fitted.model
    value = binary(graph, "Sub", parts.dense(graph, features), model._x_mean)  # noqa: SLF001 - where it is kept
    return Prediction(values=decision(graph, (parts.Dense(value),), model.coef_, model.intercept_))


def consensus_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """RANSAC's: the estimator that most of the training data agreed with."""
    return compose.predicted(graph, Fitted(fitted.model.estimator_, f"{fitted.place}, estimator"), features)


def logistic_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The decision function, and its sigmoid or softmax."""
    model = fitted.model
    if len(model.classes_) == 2:
        link: Link = "double-sigmoid" if is_former_binary_softmax(model) else "sigmoid"
    else:
        link = "one-vs-rest" if is_former_one_vs_rest(model) else "softmax"
    return classified(graph, decision(graph, features, model.coef_, model.intercept_), link)


def margin_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The decision function alone: LinearSVC, perceptrons, ridge classifiers.

    Raises:
        UnsupportedError: several labels at once.
    """
    model = fitted.model
    binarizer = getattr(model, "_label_binarizer", None)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        raise UnsupportedError(f"{fitted.place}: several labels at once are not supported")
    return classified(graph, decision(graph, features, model.coef_, model.intercept_), None)


def gradient_descent_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """SGDClassifier: probabilities by its loss."""
    model = fitted.model
    links: dict[str, Link] = {
        "log_loss": "sigmoid" if len(model.classes_) == 2 else "one-vs-rest",
        "modified_huber": "modified-huber",
    }
    return classified(graph, decision(graph, features, model.coef_, model.intercept_), links.get(model.loss))


def linear_discriminants(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Linear discriminant analysis as a classifier."""
    model = fitted.model
    link: Link = "sigmoid" if len(model.classes_) == 2 else "softmax"
    return classified(graph, decision(graph, features, model.coef_, model.intercept_), link)


def classified(graph: GraphBuilder, z: Value, link: Link | None) -> Prediction:
    """A linear classifier's answer: the label is that of the largest score, a single one's that of its sign."""
    answer = Decision(link).build(graph, LinearPart(z, z, np.zeros((0, 0))))
    return Prediction(scores=answer.scores, probabilities=answer.probabilities, by_scores=True)


def decision(graph: GraphBuilder, features: Features, coefficients: Any, intercept: Any) -> Value:
    """float64 [batch, columns]: the products with the coefficients, and the intercepts.

    Raises:
        ConversionError: one of them is NaN.
    """
    rows = np.atleast_2d(np.asarray(coefficients.toarray() if hasattr(coefficients, "toarray") else coefficients))
    if np.isnan(rows).any() or np.isnan(intercept).any():
        raise ConversionError(
            "a linear model has coefficients that are not finite (NaN): its training diverged, or the file is damaged"
        )
    z = parts.product(graph, features, rows.astype(np.float64).T)
    bias = np.broadcast_to(np.asarray(intercept, np.float64).reshape(-1), (len(rows),))
    return graph.node("Add", z, graph.vector(bias.copy())) if bias.any() else z

"""Linear models over a table's features: products and what links them to answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.heads import Decision, LinearPart
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.older import is_former_binary_softmax, is_former_one_vs_rest
from ortolan_convert.sources.scikit_learn.steps import Prediction

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.heads import Link
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def linear_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """``x coef + intercept``, a column for each target."""
    return Prediction(values=decision(graph, features, fitted.model.coef_, fitted.model.intercept_))


def logistic_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The decision function, and its sigmoid or softmax."""
    model = fitted.model
    if len(model.classes_) == 2:
        link: Link = "double-sigmoid" if is_former_binary_softmax(model) else "sigmoid"
    else:
        link = "one-vs-rest" if is_former_one_vs_rest(model) else "softmax"
    return classified(graph, decision(graph, features, model.coef_, model.intercept_), link)


def classified(graph: GraphBuilder, z: Value, link: Link | None) -> Prediction:
    """A linear classifier's answer: the label is that of the largest score, a single one's that of its sign."""
    part = LinearPart(z, z, np.zeros((0, 0)))
    answer = Decision(link).build(graph, part)
    return Prediction(scores=answer.scores, probabilities=answer.probabilities, by_scores=True)


def decision(graph: GraphBuilder, features: Features, coefficients: Any, intercept: Any) -> Value:
    """float64 [batch, columns]: the products with the coefficients, and the intercepts."""
    rows = np.atleast_2d(np.asarray(coefficients.toarray() if hasattr(coefficients, "toarray") else coefficients))
    z = parts.product(graph, features, rows.astype(np.float64).T)
    bias = np.broadcast_to(np.asarray(intercept, np.float64).reshape(-1), (len(rows),))
    return graph.node("Add", z, graph.vector(bias.copy())) if bias.any() else z

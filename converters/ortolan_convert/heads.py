"""What follows the linear part: each head turns decision values into scores and probabilities, as scikit-learn does.

A head gets the linear part's output ``z`` [batch, columns]. Binary classifiers have one column and answer with two:
scores ``[-z, z]``, so that the label is always the position of the largest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ortolan_convert.trees.answers import logistic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value

Link = Literal["sigmoid", "double-sigmoid", "softmax", "one-vs-rest", "modified-huber"]
"""How probabilities follow from scores. ``sigmoid`` is of two classes, ``double-sigmoid`` is softmax of ``[-z, z]``."""

EXPIT_ZERO = -709.782712893384
"""Below minus the logarithm of the largest float64, scikit-learn's sigmoid (``scipy.special.expit``) is exactly 0."""
LOG_ZERO = -1e30
"""Stands for the logarithm of 0: far below all others, and finite, so that a softmax over nothing else is uniform."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a head computes, each [batch, n]; None for what the source does not have.

    Args:
        scores: one column per class, the largest is the label if the source decides by scores.
        probabilities: one column per class.
        decision: scikit-learn's ``decision_function``: one column for a binary classifier.
    """

    scores: Value
    probabilities: Value | None = None
    decision: Value | None = None


@dataclass(frozen=True, slots=True)
class LinearPart:
    """What heads can see.

    Args:
        z: [batch, columns] decision values, bias included.
        features: [batch, terms] feature values.
        weights: float64 [columns, features], the coefficients as they are stored, after any rounding.
    """

    z: Value
    features: Value
    weights: NDArray[Any]


class Head(Protocol):
    """Turns the linear part's output into an answer."""

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Add the head's nodes."""


def both_sides(graph: GraphBuilder, z: Value) -> Value:
    """[batch, 1] -> [batch, 2]: ``[-z, z]``."""
    return graph.node("Concat", graph.node("Neg", z), z, shape=(z.shape[0], 2), axis=1)


def row_sum(graph: GraphBuilder, value: Value) -> Value:
    """[batch, n] -> [batch, 1]."""
    axis = graph.constant(np.array([1], np.int64))
    return graph.node("ReduceSum", value, axis, shape=(value.shape[0], 1), keepdims=1)


def normalized(graph: GraphBuilder, value: Value) -> Value:
    """Rows divided by their sums; rows of zeros become uniform, as in scikit-learn."""
    total = row_sum(graph, value)
    zero = graph.node("Equal", total, graph.number(0.0), dtype="bool")
    classes = value.shape[1]
    safe = graph.node("Where", zero, graph.number(1.0), total, dtype=total.dtype, shape=total.shape)
    shares = graph.node("Div", value, safe)
    uniform = graph.number(1.0 / int(classes))
    return graph.node("Where", zero, uniform, shares, dtype=value.dtype, shape=value.shape)


def log_sigmoid(graph: GraphBuilder, z: Value) -> Value:
    """``log(1 / (1 + exp(-z)))``, exact where the sigmoid itself is tiny; :data:`LOG_ZERO` where scikit-learn has 0.

    onnxruntime's float32 Sigmoid is off by 5e-8 and 0 from -18 down, and its Softplus has no float64 kernel.
    """
    near_zero = graph.node("Exp", graph.node("Neg", graph.node("Abs", z)))
    below = graph.node("Min", z, graph.number(0.0))
    logs = graph.node("Sub", below, graph.node("Log", graph.node("Add", near_zero, graph.number(1.0))))
    gone = graph.node("Less", z, graph.number(EXPIT_ZERO), dtype="bool")
    return graph.node("Where", gone, graph.number(LOG_ZERO), logs, dtype=z.dtype, shape=z.shape)


def logarithm(graph: GraphBuilder, value: Value) -> Value:
    """Natural logarithm; :data:`LOG_ZERO` for 0."""
    return graph.node("Max", graph.node("Log", value), graph.number(LOG_ZERO))


def shares(graph: GraphBuilder, logs: Value, *, all_zero: Literal["uniform", "zeros"] = "uniform") -> Value:
    """Rows of numbers divided by their sums, given their logarithms: the softmax.

    Args:
        graph: to add to.
        logs: [batch, n], :data:`LOG_ZERO` for 0.
        all_zero: what scikit-learn's estimator makes of a row of zeros.
    """
    softmax = graph.node("Softmax", logs, axis=1)
    if all_zero == "uniform":
        return softmax
    axis = graph.constant(np.array([1], np.int64))
    largest = graph.node("ReduceMax", logs, axis, shape=(logs.shape[0], 1), keepdims=1)
    gone = graph.node("LessOrEqual", largest, graph.number(LOG_ZERO / 2), dtype="bool")
    return graph.node("Where", gone, graph.number(0.0), softmax, dtype=logs.dtype, shape=logs.shape)


def clipped(graph: GraphBuilder, value: Value, low: float, high: float) -> Value:
    """Values limited to [low, high]."""
    return graph.node("Clip", value, graph.number(low), graph.number(high))


@dataclass(frozen=True, slots=True)
class Decision:
    """A linear classifier: scores are its decision function.

    Args:
        link: how probabilities follow, None if the source has none.
    """

    link: Link | None = None

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Add the scores and, if there is a link, the probabilities."""
        z = part.z
        scores = both_sides(graph, z) if z.shape[1] == 1 else z
        probabilities = None if self.link is None else _LINKS[self.link](graph, scores)
        return Answer(scores, probabilities, z)


def _softmax(graph: GraphBuilder, scores: Value) -> Value:
    return graph.node("Softmax", scores, axis=1)


def _one_vs_rest(graph: GraphBuilder, scores: Value) -> Value:
    return shares(graph, log_sigmoid(graph, scores))


def _modified_huber(graph: GraphBuilder, scores: Value) -> Value:
    shifted = graph.node("Add", clipped(graph, scores, -1.0, 1.0), graph.number(1.0))
    halved = graph.node("Mul", shifted, graph.number(0.5))
    return halved if scores.shape[1] == 2 else normalized(graph, halved)


_LINKS: Mapping[Link, Callable[[GraphBuilder, Value], Value]] = {
    "sigmoid": logistic,
    "double-sigmoid": _softmax,
    "softmax": _softmax,
    "one-vs-rest": _one_vs_rest,
    "modified-huber": _modified_huber,
}


@dataclass(frozen=True, slots=True)
class LogLikelihood:
    """Naive Bayes: ``z`` is the joint log likelihood up to a constant per sample; scores are log probabilities."""

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Add log probabilities and probabilities."""
        scores = graph.node("LogSoftmax", part.z, axis=1)
        return Answer(scores, graph.node("Softmax", part.z, axis=1))


@dataclass(frozen=True, slots=True)
class Distances:
    """Euclidean distances to cluster centers.

    ``z`` is the product of features and centers; ``|x - c|^2 = |x|^2 - 2 x.c + |c|^2``, with the centers as stored,
    so that rounding them moves the centers and cancels nowhere.
    """

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Add the distances as scores."""
        squares = row_sum(graph, graph.node("Mul", part.features, part.features))
        center_squares = graph.vector(np.square(part.weights).sum(axis=1))
        twice = graph.node("Mul", part.z, graph.number(2.0))
        distance = graph.node("Sub", graph.node("Add", squares, center_squares, shape=part.z.shape), twice)
        return Answer(graph.node("Sqrt", graph.node("Max", distance, graph.number(0.0))))


@dataclass(frozen=True, slots=True)
class Member:
    """A classifier inside another: the columns of the linear part that are its own, and its head."""

    start: int
    stop: int
    head: Head

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Cut out the columns and add the head."""
        if (self.start, self.stop) == (0, part.z.shape[1]):
            return self.head.build(graph, part)
        z = column_range(graph, part.z, self.start, self.stop)
        return self.head.build(graph, LinearPart(z, part.features, part.weights[self.start : self.stop]))


def column_range(graph: GraphBuilder, value: Value, start: int, stop: int) -> Value:
    """Columns start to stop of [batch, n]."""
    ends = [graph.constant(np.array([number], np.int64)) for number in (start, stop, 1)]
    return graph.node("Slice", value, *ends, shape=(value.shape[0], stop - start))


@dataclass(frozen=True, slots=True)
class OneVsRest:
    """One binary classifier per class.

    Args:
        members: one per class; a single one for a binary problem.
        by: what the members are compared by: their decision function or their positive probability.
        has_probabilities: whether the source offers probabilities.
    """

    members: tuple[Member, ...]
    by: Literal["decision", "probabilities"]
    has_probabilities: bool

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Add the members side by side."""
        answers = [member.build(graph, part) for member in self.members]
        if len(answers) == 1:
            return answers[0]
        probabilities = None
        if self.has_probabilities:
            pairs = zip(self.members, answers, strict=True)
            logs = [_positive_log(graph, member.head, answer) for member, answer in pairs]
            joined = graph.node("Concat", *logs, shape=(part.z.shape[0], len(answers)), axis=1)
            probabilities = shares(graph, joined, all_zero="zeros")
        if self.by == "probabilities":
            scores = graph.node("Exp", joined)
        else:
            decisions = [answer.decision for answer in answers if answer.decision is not None]
            scores = graph.node("Concat", *decisions, shape=(part.z.shape[0], len(answers)), axis=1)
        return Answer(scores, probabilities, scores if self.by == "decision" else None)


def _positive_log(graph: GraphBuilder, head: Head, answer: Answer) -> Value:
    """[batch, 1]: logarithm of a binary member's positive probability."""
    if isinstance(head, LogLikelihood):
        return column_range(graph, answer.scores, 1, 2)
    if isinstance(head, Decision) and answer.decision is not None and head.link in {"sigmoid", "double-sigmoid"}:
        z = answer.decision
        return log_sigmoid(graph, z if head.link == "sigmoid" else graph.node("Mul", z, graph.number(2.0)))
    if answer.probabilities is None:
        raise TypeError("a member without probabilities cannot be asked for them")
    return logarithm(graph, column_range(graph, answer.probabilities, 1, 2))

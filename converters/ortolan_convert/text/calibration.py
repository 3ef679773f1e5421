"""Heads of ``CalibratedClassifierCV``: calibrators over the decision values of inner classifiers, averaged."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ortolan_convert.heads import (
    LOG_ZERO,
    Answer,
    both_sides,
    clipped,
    column_range,
    log_sigmoid,
    logarithm,
    row_sum,
    shares,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.heads import LinearPart, Member

LOGIT_EPSILON = 1e-12
"""What scikit-learn adds to probabilities before it takes their logarithm (``_convert_to_logits``)."""


class Calibrator(Protocol):
    """Maps one class's decision values to probabilities."""

    def build(self, graph: GraphBuilder, value: Value) -> Value:
        """[batch, 1] -> [batch, 1]."""

    def build_log(self, graph: GraphBuilder, value: Value) -> Value:
        """[batch, 1] -> [batch, 1]: logarithms of what :meth:`build` gives, exact where that is tiny."""


@dataclass(frozen=True, slots=True)
class Platt:
    """``1 / (1 + exp(a * value + b))`` (Platt 2000)."""

    a: float
    b: float

    def build(self, graph: GraphBuilder, value: Value) -> Value:
        """Add the sigmoid; through its logarithm, because others may divide by small ones."""
        return graph.node("Exp", self.build_log(graph, value))

    def build_log(self, graph: GraphBuilder, value: Value) -> Value:
        """Add the logarithm of the sigmoid."""
        scaled = graph.node("Mul", value, graph.number(-self.a))
        return log_sigmoid(graph, graph.node("Add", scaled, graph.number(-self.b)))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """Linear interpolation between thresholds, constant beyond the ends.

    Args:
        x: float64 [n], increasing.
        y: float64 [n].
    """

    x: NDArray[Any]
    y: NDArray[Any]

    def build(self, graph: GraphBuilder, value: Value) -> Value:
        """Add the search for the interval and the interpolation in it."""
        if len(self.x) == 1:
            return graph.node("Add", graph.node("Mul", value, graph.number(0.0)), graph.number(float(self.y[0])))
        inside = clipped(graph, value, float(self.x[0]), float(self.x[-1]))
        # The interval's index is the number of inner thresholds at or below the value.
        if len(self.x) > 2:
            inner = graph.vector(self.x[1:-1])
            beyond = graph.node("GreaterOrEqual", inside, inner, shape=(value.shape[0], len(self.x) - 2), dtype="bool")
            index = row_sum(graph, graph.cast(beyond, "int64"))
        else:
            index = graph.cast(graph.node("Mul", inside, graph.number(0.0)), "int64")
        slopes = np.diff(self.y) / np.diff(self.x)
        x0, y0, slope = (
            graph.node("Gather", graph.vector(table), index, shape=index.shape, axis=0)
            for table in (self.x[:-1], self.y[:-1], slopes)
        )
        rise = graph.node("Mul", graph.node("Sub", inside, x0), slope)
        return graph.node("Add", y0, rise)

    def build_log(self, graph: GraphBuilder, value: Value) -> Value:
        """Add the interpolation and its logarithm; it has exact zeros."""
        return logarithm(graph, self.build(graph, value))


@dataclass(frozen=True, slots=True)
class PerClass:
    """An inner classifier with one calibrator per class.

    Args:
        member: the inner classifier.
        by_decision: calibrate its decision function, otherwise its probabilities.
        calibrators: (class index, calibrator) for each column of what is calibrated.
        classes: number of classes of the whole.
    """

    member: Member
    by_decision: bool
    calibrators: tuple[tuple[int, Calibrator], ...]
    classes: int

    def build(self, graph: GraphBuilder, part: LinearPart) -> Value:
        """Add the calibrators; classes that the inner classifier never saw get zero."""
        values = _responses(graph, self.member.build(graph, part), self.by_decision)
        batch = part.z.shape[0]
        if self.classes == 2:
            positive = self.calibrators[0][1].build(graph, values)
            negative = graph.node("Sub", graph.number(1.0), positive, shape=(batch, 1))
            return graph.node("Concat", negative, positive, shape=(batch, 2), axis=1)
        columns: list[Value | None] = [None] * self.classes
        for position, (index, calibrator) in enumerate(self.calibrators):
            value = values if values.shape[1] == 1 else column_range(graph, values, position, position + 1)
            columns[index] = calibrator.build_log(graph, value)
        known = next(column for column in columns if column is not None)
        zero = graph.number(LOG_ZERO)
        filled = [column or graph.node("Min", known, zero) for column in columns]
        return shares(graph, graph.node("Concat", *filled, shape=(batch, self.classes), axis=1))


@dataclass(frozen=True, slots=True)
class Temperature:
    """An inner classifier with one inverse temperature: ``softmax(beta * logits)``."""

    member: Member
    by_decision: bool
    beta: float

    def build(self, graph: GraphBuilder, part: LinearPart) -> Value:
        """Add logits and softmax."""
        answer = self.member.build(graph, part)
        if self.by_decision and answer.decision is not None:
            logits = both_sides(graph, answer.decision) if answer.decision.shape[1] == 1 else answer.decision
        elif answer.probabilities is not None:
            shifted = graph.node("Add", answer.probabilities, graph.number(LOGIT_EPSILON))
            logits = graph.node("Log", shifted)
        else:
            raise TypeError("a classifier with neither decision function nor probabilities cannot be calibrated")
        return graph.node("Softmax", graph.node("Mul", logits, graph.number(self.beta)), axis=1)


@dataclass(frozen=True, slots=True)
class Averaged:
    """Mean of the probabilities of calibrated classifiers; its scores are these probabilities."""

    members: tuple[PerClass | Temperature, ...]

    def build(self, graph: GraphBuilder, part: LinearPart) -> Answer:
        """Add all members and their mean."""
        values = [member.build(graph, part) for member in self.members]
        total = reduce(lambda left, right: graph.node("Add", left, right), values)
        mean = total if len(values) == 1 else graph.node("Mul", total, graph.number(1.0 / len(values)))
        return Answer(mean, mean)


def has_steps(head: object) -> bool:
    """Whether a head has isotonic calibrators, whose answer may jump with the rounding of its input."""
    members = head.members if isinstance(head, Averaged) else ()
    calibrators = [pair[1] for member in members if isinstance(member, PerClass) for pair in member.calibrators]
    return any(isinstance(calibrator, Isotonic) for calibrator in calibrators)


def _responses(graph: GraphBuilder, answer: Answer, by_decision: bool) -> Value:
    """What scikit-learn calibrates: the decision function, or probabilities (a binary one's positive column)."""
    if by_decision and answer.decision is not None:
        return answer.decision
    if answer.probabilities is None:
        raise TypeError("a classifier with neither decision function nor probabilities cannot be calibrated")
    if answer.probabilities.shape[1] == 2:
        return column_range(graph, answer.probabilities, 1, 2)
    return answer.probabilities

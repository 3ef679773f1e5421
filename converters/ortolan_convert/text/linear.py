"""A linear model over sparse features, and the ONNX graph it becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.graph import GraphBuilder
from ortolan_convert.heads import LinearPart
from ortolan_convert.passes import LINEAR_PASSES
from ortolan_convert.passes.float32 import references

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ortolan_convert.graph import BuiltModel, Value
    from ortolan_convert.heads import Head
    from ortolan_convert.text.weights import Weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """``coefficients @ features + bias``, and what follows.

    Args:
        coefficients: float64 [columns, features].
        bias: float64 [columns].
        head: what turns the result into scores and probabilities.
        threshold: features above it count as 1, all others as 0; None to take them as they are.
        every_feature: whether a feature matters even if all its coefficients are zero.
    """

    coefficients: NDArray[Any]
    bias: NDArray[Any]
    head: Head
    threshold: float | None = None
    every_feature: bool = False

    @property
    def used(self) -> NDArray[Any]:
        """Bool [features]: which of them can change the answer."""
        if self.every_feature:
            return np.ones(self.coefficients.shape[1], bool)
        used: NDArray[Any] = (self.coefficients != 0).any(axis=0)
        return used

    def with_features(self, order: NDArray[Any]) -> Linear:
        """The model over other features: those with the given ids, in that order."""
        return Linear(
            coefficients=self.coefficients[:, order],
            bias=self.bias,
            head=self.head,
            threshold=self.threshold,
            every_feature=self.every_feature,
        )


@dataclass(frozen=True, slots=True)
class LinearVariants:
    """A linear model in its variants; see `ortolan_convert.text.variants.TextModel`."""

    linear: Linear
    shrinks: bool = True

    def references(self) -> Iterator[Weights]:
        """Coefficients in float32, and what to try when that is not exact enough."""
        return references(self.linear.coefficients, wide=self.linear.every_feature)

    def smaller(self, name: str, reference: Weights) -> Weights:
        """Coefficients of another type, arithmetic as in the reference."""
        return LINEAR_PASSES[name](self.linear.coefficients, reference.compute)

    def build(self, stored: Weights, nominal: Mapping[str, int]) -> BuiltModel:
        """The ONNX model."""
        if not len(stored.stored):
            # Padding points at row 0, so there must be one.
            stored = replace(stored, stored=np.zeros((1, stored.stored.shape[1]), stored.stored.dtype))
        return build_linear(self.linear, stored, nominal)


def build_linear(model: Linear, weights: Weights, nominal: Mapping[str, int]) -> BuiltModel:
    """The ONNX model of a linear model.

    Inputs: ``ids`` int64 [batch, terms] and ``values`` float32 [batch, terms], padded with id 0 and value 0. Outputs:
    ``scores`` (or ``distances``) and, where the source has them, ``probabilities``, float32 [batch, classes].

    Args:
        model: what to compute.
        weights: its coefficients as stored.
        nominal: usual sizes of ``batch`` and ``terms``.
    """
    graph = GraphBuilder(weights.compute)
    ids = graph.input("ids", "int64", ("batch", "terms"))
    values = graph.input("values", "float32", ("batch", "terms"))
    features = _features(graph, model, values)
    columns = weights.stored.shape[1]
    table = graph.constant(weights.stored, "coefficients")
    rows = graph.node("Gather", table, ids, shape=("batch", "terms", columns), axis=0)
    rows = graph.cast(rows, weights.compute)
    axis = graph.constant(np.array([1], np.int64))
    row_vector = graph.node("Unsqueeze", features, axis, shape=("batch", 1, "terms"))
    product = graph.node("MatMul", row_vector, rows, shape=("batch", 1, columns))
    z = graph.node("Squeeze", product, axis, shape=("batch", columns))
    if weights.scale is not None:
        z = graph.node("Mul", z, graph.vector(weights.scale))
    if model.bias.any():
        z = graph.node("Add", z, graph.vector(model.bias))
    answer = model.head.build(graph, LinearPart(z, features, weights.decoded))
    if model.every_feature:
        graph.output(answer.scores, "distances")
    else:
        graph.output(answer.scores, "scores")
        if answer.probabilities is not None:
            graph.output(answer.probabilities, "probabilities")
    return graph.build(nominal)


def _features(graph: GraphBuilder, model: Linear, values: Value) -> Value:
    if model.threshold is None:
        return graph.cast(values, graph.compute)
    # The threshold is compared as float32: the values are.
    above = graph.node("Greater", values, graph.constant(np.array(model.threshold, np.float32)), dtype="bool")
    return graph.cast(above, graph.compute)

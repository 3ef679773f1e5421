"""scikit-learn's steps over features of words: vectorizers, and what keeps most features zero or makes few of many.

Each is a :data:`~ortolan_convert.sources.scikit_learn.steps.Transform`. Parts of another kind beside the words, such as
columns of numbers, go through the same arithmetic with their zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn.text_features import text_features
from ortolan_convert.sources.scikit_learn.text_parts import TextColumn, TextPart
from ortolan_convert.sources.scikit_learn.text_pipeline import SELECTORS, VECTORIZERS, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted, Part, Transform


@dataclass(frozen=True, slots=True)
class DensePart:
    value: Value
    width: int

    def dense(self, graph):
        return self.value

    def product(self, graph, weights):
        return graph.node("MatMul", self.value, graph.constant(weights), shape=("batch", weights.shape[1]))

    def select(self, graph, places):
        index = graph.constant(np.asarray(places, np.int64))
        return DensePart(graph.node("Gather", self.value, index, shape=("batch", len(places)), axis=1), len(places))


def vectorize(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """CountVectorizer, TfidfVectorizer, HashingVectorizer: texts to two inputs of the graph, made by the runtime."""
    if len(features) != 1 or not isinstance(features[0], TextColumn):
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} is supported right over one column of texts"
        )
    column = features[0]
    return (column.inputs.add(graph, column.name, text_features(Step(fitted.place, fitted.model)), fitted.place),)


def weigh(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """TfidfTransformer."""
    model = fitted.model
    parts = _words(fitted, features)
    if model.sublinear_tf:
        parts = [part.revalued(_sublinear(graph, part.weighed(graph))) for part in parts]
    if model.use_idf:
        idf = np.asarray(model.idf_, np.float64)
        parts = [part.scaled(own) for part, own in _split(parts, idf)]
    return tuple(parts) if model.norm is None else _normalized(graph, parts, model.norm)


def normalize(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Normalizer: rows of length 1; rows of zeros stay."""
    return _normalized(graph, features, fitted.model.norm)


def scale(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """MaxAbsScaler, StandardScaler and RobustScaler as far as they leave zeros alone."""
    model = fitted.model
    if getattr(model, "with_mean", False) or getattr(model, "with_centering", False):
        return _centered(graph, fitted, features)
    if getattr(model, "clip", False):
        raise UnsupportedError(f"{fitted.place}, option 'clip': is not supported over features of words")
    if getattr(model, "scale_", None) is None:
        return features
    factors = 1.0 / np.asarray(model.scale_, np.float64)
    return tuple(_times(graph, part, own) for part, own in _split(features, factors))


def binarize(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Binarizer."""
    threshold = float(fitted.model.threshold)
    if threshold < 0:
        raise UnsupportedError(f"{fitted.place}, option 'threshold': expected 0 or more, found {threshold:g}")
    made: list[Part] = []
    for part in features:
        values = part.weighed(graph) if isinstance(part, TextPart) else part.dense(graph)
        above = graph.node("Greater", values, graph.number(threshold), dtype="bool")
        made.append(_with_values(part, graph.cast(above, "float64")))
    return tuple(made)


def choose(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Selectors: SelectKBest and its kin, VarianceThreshold, SelectFromModel."""
    mask = np.asarray(fitted.model.get_support(), bool)
    return tuple(part.select(graph, np.flatnonzero(own)) for part, own in _split(features, mask) if own.any())


def reduce_by_svd(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """TruncatedSVD: products with its components."""
    components = np.asarray(fitted.model.components_, np.float64).T
    total = products(graph, features, components)
    return (DensePart(total, components.shape[1]),)


def products(graph: GraphBuilder, features: Features, weights: NDArray[Any]) -> Value:
    """float64 [batch, columns]: all features times float64 [width, columns]."""
    totals = [part.product(graph, own) for part, own in _split(features, weights)]
    total = totals[0]
    for other in totals[1:]:
        total = graph.node("Add", total, other)
    return total


def _words(fitted: Fitted, features: Features) -> list[TextPart]:
    parts = [part for part in features if isinstance(part, TextPart)]
    if len(parts) < len(features):
        raise UnsupportedError(f"{fitted.place}: {type(fitted.model).__name__} is supported over features of words")
    return parts


def _split(features: Sequence[Any], along: NDArray[Any]) -> Iterator[tuple[Any, NDArray[Any]]]:
    """Each part with its own rows of an array over all features."""
    start = 0
    for part in features:
        yield part, along[start : start + part.width]
        start += part.width


def _sublinear(graph: GraphBuilder, values: Value) -> Value:
    """``1 + ln(x)`` of what is not zero."""
    zero = graph.node("Equal", values, graph.number(0.0), dtype="bool")
    logs = graph.node("Log", graph.node("Where", zero, graph.number(1.0), values, dtype="float64", shape=values.shape))
    grown = graph.node("Add", logs, graph.number(1.0))
    return graph.node("Where", zero, graph.number(0.0), grown, dtype="float64", shape=values.shape)


def _normalized(graph: GraphBuilder, features: Sequence[Part], norm: str) -> Features:
    values = [part.weighed(graph) if isinstance(part, TextPart) else part.dense(graph) for part in features]
    axis = graph.constant(np.array([1], np.int64))
    lengths = []
    for value in values:
        single = graph.node("Mul", value, value) if norm == "l2" else graph.node("Abs", value)
        operator = "ReduceMax" if norm == "max" else "ReduceSum"
        lengths.append(graph.node(operator, single, axis, shape=("batch", 1), keepdims=1))
    length = lengths[0]
    for other in lengths[1:]:
        length = graph.node("Max" if norm == "max" else "Add", length, other)
    length = graph.node("Sqrt", length) if norm == "l2" else length
    zero = graph.node("Equal", length, graph.number(0.0), dtype="bool")
    length = graph.node("Where", zero, graph.number(1.0), length, dtype="float64", shape=length.shape)
    return tuple(
        _with_values(part, graph.node("Div", value, length)) for part, value in zip(features, values, strict=True)
    )


def _centered(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Scalers that move zeros: scikit-learn takes these over dense features only, so they are few."""
    model = fitted.model
    centers = getattr(model, "mean_", None) if hasattr(model, "with_mean") else getattr(model, "center_", None)
    made: list[Part] = []
    start = 0
    for part in features:
        value, stop = part.dense(graph), start + part.width
        if centers is not None:
            value = graph.node("Sub", value, graph.vector(np.asarray(centers[start:stop], np.float64)))
        if model.scale_ is not None:
            value = graph.node("Div", value, graph.vector(np.asarray(model.scale_[start:stop], np.float64)))
        made.append(DensePart(value, part.width))
        start = stop
    return tuple(made)


def _times(graph: GraphBuilder, part: Part, factors: NDArray[Any]) -> Part:
    if isinstance(part, TextPart):
        return part.scaled(factors)
    return DensePart(graph.node("Mul", part.dense(graph), graph.vector(factors)), part.width)


def _with_values(part: Part, values: Value) -> Part:
    return part.revalued(values) if isinstance(part, TextPart) else DensePart(values, part.width)


TEXT_STEPS: dict[str, Transform] = {
    **dict.fromkeys(sorted(VECTORIZERS), vectorize),
    **dict.fromkeys(sorted(SELECTORS), choose),
    **dict.fromkeys(("MaxAbsScaler", "RobustScaler", "StandardScaler"), scale),
    "Binarizer": binarize,
    "Normalizer": normalize,
    "TfidfTransformer": weigh,
    "TruncatedSVD": reduce_by_svd,
}
"""Transforms of features some of which are of words, by the name of scikit-learn's class."""

"""scikit-learn's steps over features of words: vectorizers, and what leaves zeros zero.

Each is a :data:`~ortolan_convert.sources.scikit_learn.steps.Transform`. Parts of another kind beside the words, such as
columns of numbers, go through the same arithmetic with their zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.features import RawColumns
from ortolan_convert.sources.scikit_learn.registry import transform_of
from ortolan_convert.sources.scikit_learn.text_features import text_features
from ortolan_convert.sources.scikit_learn.text_parts import TextPart
from ortolan_convert.sources.scikit_learn.text_pipeline import Step
from ortolan_convert.text.questions import questions_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted, Part


def vectorize(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """CountVectorizer, TfidfVectorizer, HashingVectorizer: texts to two inputs of the graph, made by the runtime."""
    column = features[0] if len(features) == 1 else None
    if not isinstance(column, RawColumns) or column.width != 1 or column.table.texts is None:
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} is supported right over one column of texts"
        )
    column.table.use(column.chosen[0], "text", fitted.place)
    words = text_features(Step(fitted.place, fitted.model))
    origin = column.origin(0)
    if column.table.texts.probing:
        hashed = words.spec.hashed is not None
        origin.values += questions_of(None, words.words()[0], words.spec.analyzer, hashed=hashed).texts
        origin.only_utf8 |= hashed
    return (column.table.texts.add(graph, origin.name, words, fitted.place),)


def weigh(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """TfidfTransformer."""
    model = fitted.model
    words = _words(fitted, features)
    if model.sublinear_tf and any(part.is_signed for part in words):
        raise UnsupportedError(
            f"{fitted.place}, option 'sublinear_tf': the logarithm of negative counts is not a number; set "
            f"alternate_sign=False in HashingVectorizer"
        )
    if model.sublinear_tf:
        words = [part.revalued(_sublinear(graph, part.weighed(graph))) for part in words]
    if model.use_idf:
        words = [part.scaled(own) for part, own in _split(words, np.asarray(model.idf_, np.float64))]
    return tuple(words) if model.norm is None else _normalized(graph, words, model.norm)


def normalize(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Normalizer: rows of length 1; rows of zeros stay."""
    return _normalized(graph, features, fitted.model.norm)


def scale(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """MaxAbsScaler, StandardScaler and RobustScaler as far as they leave zeros alone."""
    model = fitted.model
    if getattr(model, "with_mean", False) or getattr(model, "with_centering", False):
        return transform_of(model, fitted.place)(graph, fitted, features)
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


def _words(fitted: Fitted, features: Features) -> list[TextPart]:
    words = [part for part in features if isinstance(part, TextPart)]
    if len(words) < len(features):
        raise UnsupportedError(f"{fitted.place}: {type(fitted.model).__name__} is supported over features of words")
    return words


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


def _times(graph: GraphBuilder, part: Part, factors: NDArray[Any]) -> Part:
    if isinstance(part, TextPart):
        return part.scaled(factors)
    return parts.Dense(graph.node("Mul", part.dense(graph), graph.vector(factors)))


def _with_values(part: Part, values: Value) -> Part:
    return part.revalued(values) if isinstance(part, TextPart) else parts.Dense(values)

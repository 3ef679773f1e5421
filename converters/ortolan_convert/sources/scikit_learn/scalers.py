"""Transformers that work on each number by itself: scalers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn import features as parts

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def standard_scaler(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``(x - mean) / scale``, in this order: the division rounds as scikit-learn's does."""
    model = fitted.model
    if model.mean_ is not None and model.scale_ is not None:
        parts.draw_from(features, [(m - 3 * s, m, m + 3 * s) for m, s in zip(model.mean_, model.scale_, strict=True)])
    value = parts.dense(graph, features)
    if model.with_mean:
        value = graph.node("Sub", value, graph.vector(model.mean_))
    if model.with_std:
        value = graph.node("Div", value, graph.vector(model.scale_))
    return (parts.Dense(value),)


def function_transformer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:  # noqa: ARG001
    """Nothing, where it has no function; a Python function cannot be converted.

    Raises:
        UnsupportedError: it has one.
    """
    if fitted.model.func is not None:
        function = fitted.model.func
        name = f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', type(function).__name__)}"
        raise UnsupportedError(
            f"{fitted.place}, option 'func': calls a Python function ({name}), which cannot be converted; use "
            f"scikit-learn's transformers instead"
        )
    return features

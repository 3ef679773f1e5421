"""Imputers: what stands for missing values, and columns that tell where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import columns, compared, joined, where
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.neighbor_imputing import filled_columns
from ortolan_convert.sources.scikit_learn.steps import Fitted
from ortolan_convert.tables.source import MISSING

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.features import RawColumn
    from ortolan_convert.sources.scikit_learn.steps import Features, Part


def simple_imputer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """A constant, mean, median or the most frequent value of the training data for what is missing."""
    model = fitted.model
    statistics = np.asarray(model.statistics_)
    if _of_strings(model):
        return _strings(graph, fitted, features)
    kept = np.arange(len(statistics))
    if model.strategy != "constant":
        kept = np.flatnonzero(~np.isnan(statistics.astype(np.float64)))
    chosen = parts.select(graph, features, kept.tolist())
    parts.draw_from(chosen, [(value,) for value in statistics[kept].astype(np.float64)])
    value = parts.dense(graph, chosen)
    holes = _holes(graph, value, model.missing_values)
    filled = where(graph, holes, statistics[kept].astype(np.float64), value)
    made: list[Part] = [parts.Dense(filled, tuple(parts.origin(chosen, i) for i in range(len(kept))))]
    if model.add_indicator:
        made += missing_indicator(graph, _inner(fitted), features)
    return tuple(made)


def _of_strings(model: Any) -> bool:
    return any(isinstance(value, str) for value in np.asarray(model.statistics_, object).tolist())


def _strings(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    model = fitted.model
    statistics = np.asarray(model.statistics_, object)
    made: list[Value] = []
    for place, fill in enumerate(statistics.tolist()):
        value = parts.string_column(graph, features, place)
        if value is None:
            raise UnsupportedError(f"{fitted.place}: feature {place} is filled with a string, but numbers reach it")
        if not isinstance(fill, str):
            raise UnsupportedError(f"{fitted.place}: feature {place} had no value when it was fitted")
        column = parts.origin(features, place)
        if column is not None:
            column.values.append(fill)
            if model.missing_values is None:
                column.none = None
        missing = _missing_string(model, column)
        if missing is not None:
            hole = compared(graph, "Equal", value, np.array([missing], object))
            value = where(graph, hole, np.array([fill], object), value)
        made.append(value)
    origins = tuple(parts.origin(features, place) for place in range(len(made)))
    found: Features = (parts.Strings(tuple(made), origins),)
    return (*found, *missing_indicator(graph, _inner(fitted), features)) if model.add_indicator else found


def _missing_string(model: Any, column: RawColumn | None) -> str | None:
    """What of a graph's strings is missing to the imputer.

    None if nothing is: an imputer that looks for NaN passes None on, which the training data had if a later step has it
    among its categories.
    """
    if isinstance(model.missing_values, str):
        return model.missing_values
    passed_on = column is not None and column.none is None and model.missing_values is not None
    return None if passed_on else MISSING


def _inner(fitted: Fitted) -> Fitted:
    return Fitted(fitted.model.indicator_, f"{fitted.place}, indicator")


def missing_indicator(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """1 where a value is missing, else 0, for the features that the indicator is about."""
    model = fitted.model
    made: list[Value] = []
    for place in np.asarray(model.features_).tolist():
        value = parts.string_column(graph, features, place) if _reads_strings(model, features, place) else None
        if value is not None:
            missing = _missing_string(model, parts.origin(features, place))
            hole = compared(graph, "Equal", value, np.array([MISSING if missing is None else missing], object))
            if missing is None:
                hole = graph.node("And", hole, graph.node("Not", hole))
        else:
            hole = _holes(graph, parts.dense(graph, parts.select(graph, features, [place])), model.missing_values)
        made.append(graph.cast(hole, "float64"))
    return (parts.Dense(joined(graph, made)),) if made else ()


def _reads_strings(model: Any, features: Features, place: int) -> bool:
    """Whether a feature is one of strings, as far as the step before it says."""
    column = parts.origin(features, place)
    return isinstance(model.missing_values, str) or (column is not None and column.kind == "string")


def _holes(graph: GraphBuilder, value: Value, missing: Any) -> Value:
    if missing is None or (isinstance(missing, float) and np.isnan(missing)) or type(missing).__name__ == "NAType":
        return graph.node("IsNaN", value, dtype="bool")
    return compared(graph, "Equal", value, float(missing))


def knn_imputer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The mean of the nearest rows of the training data that have a value, by the distance over what both have.

    Raises:
        UnsupportedError: a metric or weights of one's own.
    """
    model = fitted.model
    if model.metric != "nan_euclidean" or model.weights not in ("uniform", "distance"):
        raise UnsupportedError(f"{fitted.place}: metrics and weights of one's own are not supported")
    if not (isinstance(model.missing_values, float) and np.isnan(model.missing_values)):
        raise UnsupportedError(f"{fitted.place}, option 'missing_values': expected NaN")
    valid = np.flatnonzero(model._valid_mask)  # noqa: SLF001 - columns that had any value
    parts.draw_from(features, [column[~np.isnan(column)] for column in model._fit_X.T])  # noqa: SLF001
    made: list[Part] = [parts.Dense(columns(graph, filled_columns(graph, fitted, features), valid.tolist()))]
    if model.add_indicator:
        made += missing_indicator(graph, _inner(fitted), features)
    return tuple(made)

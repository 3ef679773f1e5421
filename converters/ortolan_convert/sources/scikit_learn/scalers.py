"""Transformers that work on each number by itself, or on each row: scalers, powers, bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, columns, compared, expm1, joined, log1p, reduced, row_of, where
from ortolan_convert.heads import clipped
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.normal import normal_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted

EPSILON = float(np.finfo(np.float64).eps)


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


def standard_scaler(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``(x - mean) / scale``, in this order: each rounds as scikit-learn's does."""
    model = fitted.model
    if model.mean_ is not None and model.scale_ is not None:
        parts.draw_from(features, [(m - 3 * s, m, m + 3 * s) for m, s in zip(model.mean_, model.scale_, strict=True)])
    return _scaled(graph, features, model.mean_ if model.with_mean else None, model.scale_ if model.with_std else None)


def robust_scaler(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``(x - center) / scale``."""
    model = fitted.model
    if model.with_centering and model.with_scaling:
        ends = zip(model.center_, model.scale_, strict=True)
        parts.draw_from(features, [(c - 2 * s, c, c + 2 * s) for c, s in ends])
    center = model.center_ if model.with_centering else None
    return _scaled(graph, features, center, model.scale_ if model.with_scaling else None)


def _scaled(graph: GraphBuilder, features: Features, center: Any, scale: Any) -> Features:
    value = parts.dense(graph, features)
    if center is not None:
        value = binary(graph, "Sub", value, center)
    if scale is not None:
        value = binary(graph, "Div", value, scale)
    return (parts.Dense(value),)


def min_max_scaler(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``x * scale + min``, clipped if asked for."""
    model = fitted.model
    parts.draw_from(features, zip(model.data_min_, model.data_max_, strict=True))
    value = binary(graph, "Add", binary(graph, "Mul", parts.dense(graph, features), model.scale_), model.min_)
    if model.clip:
        low, high = model.feature_range
        value = _clipped_or_missing(graph, value, float(low), float(high))
    return (parts.Dense(value),)


def max_abs_scaler(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``x / scale``, clipped to -1 and 1 if asked for."""
    parts.draw_from(features, [(-m, m) for m in fitted.model.max_abs_])
    value = binary(graph, "Div", parts.dense(graph, features), fitted.model.scale_)
    if getattr(fitted.model, "clip", False):
        value = _clipped_or_missing(graph, value, -1.0, 1.0)
    return (parts.Dense(value),)


def normalizer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Rows divided by their norm, those of norm 0 by 1."""
    value = parts.dense(graph, features)
    if fitted.model.norm == "l2":
        norm = graph.node("Sqrt", reduced(graph, "ReduceSum", graph.node("Mul", value, value)))
    else:
        norm = reduced(graph, {"l1": "ReduceSum", "max": "ReduceMax"}[fitted.model.norm], graph.node("Abs", value))
    # Below ten times the rounding of 1, scikit-learn takes a norm for 0 (_handle_zeros_in_scale).
    zero = compared(graph, "Less", norm, 10 * EPSILON)
    return (parts.Dense(binary(graph, "Div", value, where(graph, zero, 1.0, norm))),)


def binarizer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """1 above the threshold, else 0."""
    threshold = float(fitted.model.threshold)
    parts.draw_from(features, [(threshold,)] * parts.width(features))
    above = compared(graph, "Greater", parts.dense(graph, features), threshold)
    return (parts.Dense(graph.cast(above, "float64")),)


def power_transformer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Yeo and Johnson's power transform (Biometrika 87, 2000), then a standard scaler if asked for.

    Raises:
        UnsupportedError: Box and Cox's, which takes positive numbers only.
    """
    model = fitted.model
    if model.method != "yeo-johnson":
        raise UnsupportedError(
            f"{fitted.place}, option 'method': {model.method!r} takes positive numbers only, which a bundle cannot "
            f"promise; use 'yeo-johnson'"
        )
    if model.standardize:
        with np.errstate(all="ignore"):
            usual = model.inverse_transform(np.outer((-2.0, -1.0, 0.0, 1.0, 2.0), np.ones(len(model.lambdas_))))
        parts.draw_from(features, [column[np.isfinite(column)] for column in np.asarray(usual).T])
    value = parts.dense(graph, features)
    powers = np.asarray(model.lambdas_, np.float64)
    positive = compared(graph, "GreaterOrEqual", value, 0.0)
    up = _power(graph, where(graph, positive, value, 0.0), powers)
    down = graph.node("Neg", _power(graph, graph.node("Neg", where(graph, positive, 0.0, value)), 2 - powers))
    value = where(graph, positive, up, down)
    if model.standardize:
        scaler = model._scaler  # noqa: SLF001 - where it is kept
        value = binary(graph, "Div", binary(graph, "Sub", value, scaler.mean_), scaler.scale_)
    return (parts.Dense(value),)


def _power(graph: GraphBuilder, value: Value, powers: NDArray[Any]) -> Value:
    """``((1 + x) ** power - 1) / power`` of x >= 0, whose limit for power 0 is ``log(1 + x)``."""
    logs = log1p(graph, value)
    flat = np.abs(powers) < EPSILON
    safe = np.where(flat, 1.0, powers)
    raised = binary(graph, "Div", expm1(graph, binary(graph, "Mul", logs, safe)), safe)
    return where(graph, graph.constant(flat), logs, raised) if flat.any() else raised


def quantile_transformer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The share of the training data below each number, interpolated; or the normal distribution's quantile of it."""
    model = fitted.model
    parts.draw_from(features, model.quantiles_.T)
    value = parts.dense(graph, features)
    made = [
        _share(graph, columns(graph, value, [i]), model.quantiles_[:, i], model) for i in range(parts.width(features))
    ]
    return (parts.Dense(joined(graph, made)),)


THRESHOLD = 1e-7
"""Nearer than this to the ends scikit-learn takes the ends (BOUNDS_THRESHOLD)."""


def _share(graph: GraphBuilder, value: Value, quantiles: NDArray[Any], model: Any) -> Value:
    references = np.asarray(model.references_, np.float64)
    up = interpolated(graph, value, quantiles, references)
    down = interpolated(graph, graph.node("Neg", value), -quantiles[::-1], -references[::-1])
    share = binary(graph, "Mul", binary(graph, "Sub", up, down), 0.5)
    low, high = float(quantiles[0]), float(quantiles[-1])
    if model.output_distribution == "uniform":
        share = where(graph, compared(graph, "Equal", value, high), 1.0, share)
        return where(graph, compared(graph, "Equal", value, low), 0.0, share)
    above = compared(graph, "Greater", binary(graph, "Add", value, THRESHOLD), high)
    below = compared(graph, "Less", binary(graph, "Sub", value, THRESHOLD), low)
    share = where(graph, below, 0.0, where(graph, above, 1.0, share))
    return normal_quantile(graph, share, THRESHOLD - float(np.spacing(1)))


def interpolated(graph: GraphBuilder, value: Value, x: NDArray[Any], y: NDArray[Any]) -> Value:
    """[batch, 1]: what ``numpy.interp`` gives, with the last of several equal x.

    Args:
        graph: to add to.
        value: float64 [batch, 1].
        x: float64 [n], not decreasing.
        y: float64 [n].
    """
    passed = compared(graph, "GreaterOrEqual", value, np.ascontiguousarray(x, np.float64))
    count = reduced(graph, "ReduceSum", graph.cast(passed, "int64"))
    # Row i of the table: where the interval begins that i points lie at or below, its height, and its slope.
    with np.errstate(all="ignore"):
        slopes = np.where(np.diff(x) > 0, np.diff(y) / np.diff(x), 0.0)
    table = np.stack(
        [np.concatenate([x[:1], x]), np.concatenate([y[:1], y]), np.concatenate([[0.0], slopes, [0.0]])], axis=1
    )
    index = graph.node("Squeeze", count, graph.constant(np.array([1], np.int64)), shape=count.shape[:1])
    rows = row_of(graph, table, index)
    x0, y0, slope = (columns(graph, rows, [i]) for i in range(3))
    # At the ends the slope is 0, and infinite numbers times 0 are none.
    gap = binary(graph, "Sub", clipped(graph, value, float(x[0]), float(x[-1])), x0)
    return binary(graph, "Add", binary(graph, "Mul", gap, slope), y0)


def k_bins(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The number of the bin of each feature, or a column for each bin."""
    model = fitted.model
    parts.draw_from(features, model.bin_edges_)
    value = parts.dense(graph, features)
    made = []
    for i, edges in enumerate(model.bin_edges_):
        inner = np.asarray(edges[1:-1], np.float64)
        one = columns(graph, value, [i])
        if len(inner):
            passed = graph.cast(compared(graph, "GreaterOrEqual", one, inner), "float64")
            number = reduced(graph, "ReduceSum", passed)
        else:
            number = binary(graph, "Mul", one, 0.0)
        if model.encode == "ordinal":
            made.append(number)
        else:
            bins = np.arange(int(model.n_bins_[i]), dtype=np.float64)
            made.append(graph.cast(compared(graph, "Equal", number, bins), "float64"))
    return (parts.Dense(joined(graph, made)),)


def polynomial_features(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Products of features, multiplied from the last to the first as scikit-learn does it."""
    value = parts.dense(graph, features)
    lists = [tuple(np.repeat(np.arange(len(row)), row).tolist()) for row in fitted.model.powers_]
    longest = max(map(len, lists))
    level: dict[tuple[int, ...], int] = {(i,): i for i in range(parts.width(features))}
    made = {1: value}
    order = {1: level}
    for degree in range(2, longest + 1):
        wanted = sorted({names[-degree:] for names in lists if len(names) >= degree})
        first = columns(graph, value, [names[0] for names in wanted])
        rest = columns(graph, made[degree - 1], [order[degree - 1][names[1:]] for names in wanted])
        made[degree] = graph.node("Mul", first, rest)
        order[degree] = {names: i for i, names in enumerate(wanted)}
    blocks = []
    if () in lists:
        blocks.append(binary(graph, "Add", binary(graph, "Mul", columns(graph, value, [0]), 0.0), 1.0))
    for degree in range(1, longest + 1):
        places = [order[degree][names] for names in lists if len(names) == degree]
        if places:
            blocks.append(columns(graph, made[degree], places))
    return (parts.Dense(joined(graph, blocks)),)


def _clipped_or_missing(graph: GraphBuilder, value: Value, low: float, high: float) -> Value:
    """Limited to [low, high]; NaN stays NaN, which Clip does not promise."""
    missing = graph.node("IsNaN", value, dtype="bool")
    return where(graph, missing, value, clipped(graph, value, low, high))

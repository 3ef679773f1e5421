"""B-splines as features: each is a polynomial between two knots, looked up by the interval that a number lies in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, columns, compared, flat, joined, reduced, row_of, where
from ortolan_convert.sources.scikit_learn import features as parts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def spline_features(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The values of all splines of each feature.

    Raises:
        UnsupportedError: a way to go on beyond the knots that is not known.
    """
    model = fitted.model
    if model.extrapolation not in ("constant", "linear", "continue"):
        raise UnsupportedError(
            f"{fitted.place}, option 'extrapolation': {model.extrapolation!r} is not supported; use 'constant', "
            f"'linear' or 'continue'"
        )
    # scikit-learn 1.9 mistakes the ends of all features but the first there, and fails for degree 0.
    if model.degree < (2 if model.extrapolation == "linear" else 1):
        raise UnsupportedError(f"{fitted.place}, option 'degree': {model.degree} is not supported here; use 2 or more")
    for place, spline in enumerate(model.bsplines_):
        if spline.t[spline.k] == spline.t[-spline.k - 1]:
            raise UnsupportedError(
                f"{fitted.place}: feature {place} was the same in all of the training data and has no splines; "
                f"leave it out, for example with VarianceThreshold"
            )
    parts.draw_from(features, [spline.t[spline.k : -spline.k] for spline in model.bsplines_])
    value = parts.dense(graph, features)
    made = []
    for place, spline in enumerate(model.bsplines_):
        found = _splines(graph, columns(graph, value, [place]), spline, model.extrapolation)
        if getattr(model, "handle_missing", "error") == "zeros":
            missing = graph.node("IsNaN", columns(graph, value, [place]), dtype="bool")
            found = where(graph, missing, 0.0, found)
        count = int(found.shape[1])
        made.append(found if model.include_bias else columns(graph, found, list(range(count - 1))))
    return (parts.Dense(joined(graph, made)),)


def _splines(graph: GraphBuilder, value: Value, spline: Any, beyond: str) -> Value:
    """float64 [batch, splines]: each spline at float64 [batch, 1]."""
    starts, pieces = _pieces(spline, beyond)
    low, high = float(spline.t[spline.k]), float(spline.t[-spline.k - 1])
    steps = [
        compared(graph, "GreaterOrEqual", value, np.array([low, *starts[2:-1]])),
        compared(graph, "Greater", value, high),
    ]
    passed = [reduced(graph, "ReduceSum", graph.cast(step, "int64")) for step in steps]
    index = flat(graph, graph.node("Add", *passed))
    gap = binary(graph, "Sub", value, row_of(graph, starts[:, None], index))
    total: Value | None = None
    for coefficients in pieces:
        term = row_of(graph, coefficients, index)
        total = term if total is None else binary(graph, "Add", binary(graph, "Mul", total, gap), term)
    if total is None:
        raise UnsupportedError("a spline without coefficients")
    return total


def _pieces(spline: Any, beyond: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """float64 [pieces], where each begins, and float64 [degree + 1, pieces, splines], highest power first.

    The first piece is what lies below all knots, the last what lies above.
    """
    knots, degree = spline.t, spline.k
    ends = np.unique(knots[degree : len(knots) - degree])
    # At the beginning of an interval the derivatives are those of its own polynomial.
    powers = range(degree, -1, -1)
    coefficients = np.stack([spline(ends[:-1], nu=power) / math.factorial(power) for power in powers])
    outside = []
    for end, piece in ((ends[0], coefficients[:, 0]), (ends[-1], coefficients[:, -1])):
        kept = np.zeros_like(piece)
        if beyond == "continue":
            kept = piece
        else:
            kept[-1] = spline(end)
            if beyond == "linear":
                kept[-2] = spline(end, nu=1)
        outside.append(kept[:, None])
    # Beyond the last knot its own piece goes on from where it begins.
    last = ends[-2] if beyond == "continue" else ends[-1]
    starts = np.concatenate([ends[:1], ends[:-1], [last]])
    return starts, np.concatenate([outside[0], coefficients, outside[1]], axis=1)

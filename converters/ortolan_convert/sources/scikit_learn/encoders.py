"""Encoders of categories. What each category becomes is asked of the encoder itself, so every option holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import compared, flat, joined, reduced, row_of
from ortolan_convert.graph import ML
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.tables.source import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted

UNSEEN = "\ufdd0 no category"
"""A string that no training data has."""


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of a feature, and what each becomes.

    Args:
        values: str, or float64.
        has_missing: whether a missing value is among them.
        missing: what stands for it: None or NaN.
        codes: float64 [n + 1, m]: for an unknown value, then for each category, the missing one last.
        is_text: whether they are strings.
        closed: whether the encoder refuses an unknown value.
    """

    values: tuple[Any, ...]
    has_missing: bool
    missing: Any
    codes: NDArray[Any]
    is_text: bool
    closed: bool


def encode(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Any encoder with ``categories_``: one-hot, ordinal, target."""
    made = []
    for place, known in enumerate(_asked(fitted)):
        if known.codes.shape[1]:
            made.append(_coded(graph, fitted, features, place, known))
        else:
            _note(fitted, features, place, known)
    return (parts.Dense(joined(graph, made)),) if made else ()


def _asked(fitted: Fitted) -> list[Categories]:
    """The categories of each feature, with the encoder's own answers."""
    model = fitted.model
    listed = [list(one) for one in model.categories_]
    closed = getattr(model, "handle_unknown", "ignore") == "error"
    longest = max(map(len, listed)) if listed else 0
    texts = [_is_text(fitted, place, one) for place, one in enumerate(listed)]
    table = np.empty((longest + 1, len(listed)), object)
    for place, one in enumerate(listed):
        unknown = one[0] if closed else _unknown(one, is_text=texts[place])
        table[0, place] = unknown
        table[1:, place] = [one[min(row, len(one) - 1)] for row in range(longest)]
    coded = _transform(model, table, numbers=not any(texts))
    found, start = [], 0
    for one, width, is_text in zip(listed, _widths(model, coded.shape[1]), texts, strict=True):
        block = coded[:, start : start + width]
        start += width
        order = [i for i, value in enumerate(one) if not _is_missing(value)]
        holes = [i for i, value in enumerate(one) if _is_missing(value)]
        found.append(
            Categories(
                values=tuple(one[i] if is_text else float(one[i]) for i in order),
                has_missing=bool(holes),
                missing=one[holes[0]] if holes else None,
                codes=np.concatenate([block[:1], block[1:][[*order, *holes]]]),
                is_text=is_text,
                closed=closed,
            )
        )
        if len(holes) > 1:
            raise UnsupportedError(f"{fitted.place}: both None and NaN are categories of a column")
    return found


def _transform(model: Any, table: NDArray[Any], *, numbers: bool) -> NDArray[Any]:
    import warnings

    rows: Any = table.astype(np.float64) if numbers else table
    if hasattr(model, "feature_names_in_"):
        import pandas as pd

        rows = pd.DataFrame(
            {name: pd.Series(rows[:, i], dtype=rows.dtype) for i, name in enumerate(model.feature_names_in_)}
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        coded = model.transform(rows)
    return np.asarray(coded.toarray() if hasattr(coded, "toarray") else coded, np.float64)


def _widths(model: Any, total: int) -> Sequence[int]:
    """How many columns each feature becomes."""
    widths = getattr(model, "_n_features_outs", None)
    if widths is not None:
        return [int(width) for width in widths]
    return [total // len(model.categories_)] * len(model.categories_)


def _is_text(fitted: Fitted, place: int, values: Sequence[Any]) -> bool:
    kinds = {isinstance(value, str) for value in values if not _is_missing(value)}
    if len(kinds) > 1:
        raise UnsupportedError(f"{fitted.place}: feature {place} has strings and numbers among its categories")
    if kinds == {False} and not all(isinstance(v, int | float | np.number | np.bool_) for v in values if v is not None):
        found = next(type(v).__name__ for v in values if not isinstance(v, int | float | np.number | np.bool_))
        raise UnsupportedError(f"{fitted.place}: feature {place} has categories that are {found}s")
    return True in kinds


def _unknown(values: Sequence[Any], *, is_text: bool) -> Any:
    if is_text:
        return UNSEEN
    known = [float(value) for value in values if not _is_missing(value)]
    return max(known, default=0.0) + 1.5


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _note(fitted: Fitted, features: Features, place: int, known: Categories) -> None:
    """Tell the table's column which values it may have.

    Raises:
        UnsupportedError: unknown values are refused, and a step before made these.
    """
    column = parts.origin(features, place)
    if column is None:
        if known.closed:
            raise UnsupportedError(
                f"{fitted.place}, option 'handle_unknown': 'error' after a step that changes values is not supported; "
                f"use another value"
            )
        return
    if known.has_missing:
        column.none = known.missing
    column.values.extend(known.values)
    column.closed = column.closed or known.closed


def _coded(graph: GraphBuilder, fitted: Fitted, features: Features, place: int, known: Categories) -> Value:
    """float64 [batch, m]: what the feature's values become."""
    _note(fitted, features, place, known)
    number = _text_number if known.is_text else _number
    return row_of(graph, known.codes, flat(graph, number(graph, fitted, features, place, known)))


def _text_number(graph: GraphBuilder, fitted: Fitted, features: Features, place: int, known: Categories) -> Value:
    """int64 [batch, 1]: 0 for an unknown string, else its position among the categories, from 1."""
    value = parts.string_column(graph, features, place)
    if value is None:
        raise UnsupportedError(f"{fitted.place}: feature {place} has strings as categories, but numbers reach it")
    names = [*known.values, *([MISSING] if known.has_missing else [])]
    if MISSING in known.values:
        raise UnsupportedError(f"{fitted.place}: {MISSING!r} is among the categories, which bundles keep for None")
    return graph.node(
        "LabelEncoder",
        value,
        dtype="int64",
        domain=ML,
        keys_strings=[str(name) for name in names],
        values_int64s=list(range(1, len(names) + 1)),
        default_int64=0,
    )


def _number(graph: GraphBuilder, fitted: Fitted, features: Features, place: int, known: Categories) -> Value:  # noqa: ARG001
    """int64 [batch, 1]: as for strings; NaN is equal to the missing category alone."""
    value = parts.dense(graph, parts.select(graph, features, [place]))
    terms = []
    if known.values:
        equal = graph.cast(compared(graph, "Equal", value, np.array(known.values, np.float64)), "int64")
        order = graph.constant(np.arange(1, len(known.values) + 1, dtype=np.int64))
        terms.append(reduced(graph, "ReduceSum", graph.node("Mul", equal, order)))
    if known.has_missing:
        missing = graph.cast(graph.node("IsNaN", value, dtype="bool"), "int64")
        last = graph.constant(np.array([len(known.values) + 1], np.int64))
        terms.append(graph.node("Mul", missing, last))
    return terms[0] if len(terms) == 1 else graph.node("Add", *terms)

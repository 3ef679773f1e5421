"""What a source takes in each column besides plain values, found out by asking it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.generated import is_text
from ortolan_convert.tables.source import Column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.sources.scikit_learn.features import RawColumn
    from ortolan_convert.sources.scikit_learn.table_answers import TableAnswers
    from ortolan_convert.tables.source import Rows

PROBED = 64
"""Columns that are asked for one by one, at most, where not all or none of them take a value."""
MOST_VALUES = 4096
"""Values that are kept of a column without limits, for made-up rows."""


_STRINGS = ("string", "text")


def find_limits(
    columns: Sequence[RawColumn], answers: TableAnswers, texts: Mapping[str, Mapping[str, object]]
) -> tuple[Column, ...]:
    """The columns of a table, with what the source takes in them.

    Args:
        columns: as the steps know them.
        answers: the source.
        texts: of columns of texts by name, how they become the model's inputs.

    Raises:
        ConversionError: it does not even answer a row of usual values.
    """
    usual = {column.name: _cell(column, _usual(column)) for column in columns if column.kind is not None}
    if usual:
        answers.ask(usual)
    allowed = {
        key: _allowed(columns, kinds, value, usual, answers)
        for key, kinds, value in (
            ("missing", ("number",), np.nan),
            ("missing strings", ("string",), None),
            ("infinite", ("number",), np.inf),
        )
    }
    return tuple(
        Column(
            name=column.name,
            kind=column.kind or "unused",  # type: ignore[arg-type]  # one of the kinds
            missing=column.name in allowed["missing"] | allowed["missing strings"],
            infinite=column.name in allowed["infinite"],
            values=_values(column),
            closed=column.closed,
            text=texts.get(column.name),
        )
        for column in columns
    )


def _allowed(
    columns: Sequence[RawColumn], kinds: Sequence[str], value: Any, usual: Rows, answers: TableAnswers
) -> set[str]:
    """Names of the columns where the source takes a value."""
    asked = [column for column in columns if column.kind in kinds]
    if not asked:
        return set()
    if not answers.refuses({**usual, **{column.name: _cell(column, value) for column in asked}}):
        return {column.name for column in asked}
    if len(asked) > PROBED:
        return set()
    return {column.name for column in asked if not answers.refuses({**usual, column.name: _cell(column, value)})}


def _cell(column: RawColumn, value: Any) -> NDArray[Any]:
    cell = np.empty(1, object if column.kind in _STRINGS else np.float64)
    cell[0] = value
    return cell


def _usual(column: RawColumn) -> Any:
    values = _values(column)
    if column.kind in _STRINGS:
        return values[0] if values else ""
    return values[len(values) // 2] if values else 1.0


def _values(column: RawColumn) -> tuple[Any, ...]:
    """The known values without missing ones, each once; of very many evenly spread ones."""
    if column.kind in _STRINGS:
        strings = dict.fromkeys(str(value) for value in column.values if isinstance(value, str))
        return tuple(value for value in strings if is_text(value) or not column.only_utf8)
    known = np.unique(np.array([value for value in column.values if value is not None], np.float64))
    known = known[np.isfinite(known)]
    if len(known) > MOST_VALUES and not column.closed:
        known = known[np.linspace(0, len(known) - 1, MOST_VALUES).astype(int)]
    return tuple(known.tolist())

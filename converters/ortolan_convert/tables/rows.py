"""Rows of a table to compare a model with its source on: made up of what the model knows, edges included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.tables.source import Column, Rows

MADE_UP = 2000
"""How many rows are made up."""
UNKNOWN = ("", "unknown", "\u00e9\u4e2d\U0001f600")
"""Strings that no training data is likely to have."""
RARE = 0.02
"""Share of the values of a column that are missing, infinite or unknown, of each kind that the column allows."""


def made_up_rows(columns: Sequence[Column], count: int = MADE_UP, seed: int = 0) -> Rows:
    """Random rows, the same ones every time.

    Numbers are spread over the range of the column's values and somewhat beyond; half of them lie on one of the values
    or next to it, as float64 and as float32 know it. Strings are known ones and, where the source takes them, others.

    Args:
        columns: of the table; unused ones are left out.
        count: how many rows.
        seed: another one gives other rows.
    """
    random = np.random.default_rng(seed)
    made = {"number": _numbers, "string": _strings, "hashed": _strings, "text": _strings}
    return {column.name: made[column.kind](column, count, random) for column in columns if column.kind in made}


def _numbers(column: Column, count: int, random: np.random.Generator) -> NDArray[Any]:
    known = np.unique(np.array([value for value in column.values if np.isfinite(value)], np.float64))
    drawn: NDArray[Any]
    if column.closed:
        drawn = random.choice(known, count)
    else:
        drawn = _spread(known, count, random)
        if len(known):
            near = random.random(count) < 0.5
            drawn = np.where(near, _next_to(random.choice(known, count), random), drawn)
    for allowed, values in ((column.missing, (np.nan,)), (column.infinite, (np.inf, -np.inf))):
        if allowed:
            drawn = np.where(random.random(count) < RARE, random.choice(values, count), drawn)
    return drawn


def _spread(known: NDArray[Any], count: int, random: np.random.Generator) -> NDArray[Any]:
    drawn: NDArray[Any]
    if not len(known):
        drawn = random.standard_normal(count) * random.choice([1.0, 1.0, 10.0], count)
        return drawn
    low, high = known.min(), known.max()
    width = high - low if high > low else max(abs(high), 1.0)
    drawn = random.uniform(low - width / 10, high + width / 10, count)
    whole = (known == np.rint(known)).all()
    return drawn.round() if whole and random.random() < 0.5 else drawn


def _next_to(values: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """The values, or the next number above or below them, of float64 or float32."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
        up32, down32 = (np.nextafter(single, np.float32(end)).astype(np.float64) for end in (np.inf, -np.inf))
    choices = [
        values,
        np.nextafter(values, np.inf),
        np.nextafter(values, -np.inf),
        single.astype(np.float64),
        up32,
        down32,
    ]
    drawn: NDArray[Any] = np.choose(random.integers(0, len(choices), len(values)), choices)
    finite: NDArray[Any] = np.where(np.isfinite(drawn), drawn, values)
    return finite


def _strings(column: Column, count: int, random: np.random.Generator) -> NDArray[Any]:
    known = [str(value) for value in column.values]
    drawn: NDArray[Any] = np.empty(count, object)
    pool = known or list(UNKNOWN)
    drawn[:] = [pool[i] for i in random.integers(0, len(pool), count).tolist()]
    if not column.closed:
        for place in np.flatnonzero(random.random(count) < 5 * RARE).tolist():
            drawn[place] = UNKNOWN[int(random.integers(0, len(UNKNOWN)))]
    if column.missing:
        drawn[random.random(count) < 2 * RARE] = None
    return drawn


def as_lists(rows: Rows, columns: Sequence[Column]) -> list[list[Any]]:
    """The rows as the runtime takes them: all columns in order, None for unused ones."""
    count = len(next(iter(rows.values())))
    nothing = [None] * count
    listed = [nothing if column.kind == "unused" else rows[column.name].tolist() for column in columns]
    return [list(row) for row in zip(*listed, strict=True)]


def taken(rows: Rows, places: Sequence[int] | NDArray[Any]) -> Rows:
    """Some of the rows."""
    return {name: values[places] for name, values in rows.items()}

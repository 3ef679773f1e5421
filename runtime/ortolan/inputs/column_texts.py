"""The columns of a table that hold texts: to the inputs of their vectorizers, in runs of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError, InputTypeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ortolan.inputs.column_config import Feature
    from ortolan.inputs.ngram_sets import Encodings, NgramSets
    from ortolan.types import Array

CELLS = 1 << 13
"""Most features, padding included, of one run of several rows: a model may look up a hundred numbers for each."""


class ColumnTexts:
    """Encodes the texts of rows. False if there are no columns of texts."""

    def __init__(self, features: Sequence[Feature]) -> None:
        """Args:
        features: all columns of the table.
        """
        self._columns: list[tuple[int, str, NgramSets]] = [
            (place, one.name, one.text) for place, one in enumerate(features) if one.text is not None
        ]

    def __bool__(self) -> bool:
        return bool(self._columns)

    def together(self, rows: Sequence[Sequence[Any]], start: int | None) -> dict[str, Array]:
        """The inputs of all rows at once.

        Args:
            rows: with a value for each column.
            start: number of the first row, for messages; None for a single one.

        Raises:
            InputTypeError: a text that is no str.
            InputError: one that cannot be hashed where a vectorizer hashes.
        """
        feeds: dict[str, Array] = {}
        for encodings in self._encoded(rows, start):
            feeds |= encodings.padded(np.arange(len(rows)))
        return feeds

    def runs(self, rows: Sequence[Sequence[Any]], start: int) -> Iterator[tuple[range, dict[str, Array]]]:
        """The inputs of the rows in runs of bounded size: which rows, and their inputs. Errors as `together`."""
        if not self._columns:
            yield range(len(rows)), {}
            return
        encoded = self._encoded(rows, start)
        lengths = np.stack([encodings.lengths() for encodings in encoded]).max(axis=0).tolist()
        first = 0
        while first < len(rows):
            last, longest = first + 1, max(lengths[first], 1)
            while last < len(rows) and (last + 1 - first) * max(longest, lengths[last]) <= CELLS:
                longest = max(longest, lengths[last])
                last += 1
            feeds: dict[str, Array] = {}
            for encodings in encoded:
                feeds |= encodings.padded(np.arange(first, last))
            yield range(first, last), feeds
            first = last

    def _encoded(self, rows: Sequence[Sequence[Any]], start: int | None) -> list[Encodings]:
        found = []
        for place, name, sets in self._columns:
            texts = [row[place] for row in rows]
            for i, text in enumerate(texts):
                if not isinstance(text, str):
                    where = place_of(None if start is None else start + i, name)
                    advice = "; texts may not be missing" if text is None or text != text else ""
                    raise InputTypeError(f"{where}expected a text of type str, found {kind_of(text)}{advice}")
            try:
                found.append(sets.many(texts))
            except InputError as error:
                raise InputError(f"{place_of(start, name)}{error}") from None
        return found


def place_of(row: int | None, feature: str | None = None) -> str:
    """Where a fault is, for the beginning of a message."""
    parts = [] if row is None else [f"row {row}"]
    if feature is not None:
        parts.append(f"feature {feature!r}")
    return f"{', '.join(parts)}: " if parts else ""


def kind_of(value: object) -> str:
    """Name of a value's type."""
    return "None" if value is None else type(value).__name__

"""Columns of categories that a model knows by their hashes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError, InputTypeError
from ortolan.inputs.cityhash import category_hash
from ortolan.inputs.column_texts import kind_of, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.types import Array

HASHES: Mapping[str, Callable[[str], int]] = {"catboost": category_hash}
"""Name in a configuration -> the hash of a category, an int64."""
_LOW, _HIGH = -(2**63), 2**63 - 1


class HashedColumn:
    """The hashes of a column's categories: strings, or whole numbers, which stand for their decimal digits.

    So 7 and ``"7"`` are one category, and True is 1. CatBoost takes no other numbers, and nothing for a missing value.
    """

    def __init__(self, name: str, place: int, target: str, hash_name: str, *, flat: bool) -> None:
        """Args:
        name: of the column.
        place: where it stands in a row.
        target: the model's input that takes it.
        hash_name: of :data:`HASHES`.
        flat: whether the input has one axis.
        """
        self.input = target
        self._name = name
        self._place = place
        self._hash = HASHES[hash_name]
        self._flat = flat

    def encoded(self, rows: Sequence[Sequence[Any]], start: int | None) -> Array:
        """int64 [rows, 1], or [rows]: the hashes.

        Raises:
            InputTypeError: neither a string nor a whole number.
            InputError: None or NaN, a lone surrogate, a number beyond int64.
        """
        hashes = np.empty((len(rows), 1), np.int64)
        for i, row in enumerate(rows):
            value = row[self._place]
            if type(value) is not str:
                value = self._text(value, None if start is None else start + i)
            try:
                hashes[i, 0] = self._hash(value)
            except UnicodeEncodeError as error:
                place = place_of(None if start is None else start + i, self._name)
                raise InputError(f"{place}a lone surrogate at {error.start} has no UTF-8 form") from error
        return hashes.reshape(-1) if self._flat else hashes

    def encoded_matrix(self, matrix: NDArray[Any], start: int | None) -> Array:
        """The hashes for an array with a row each."""
        return self.encoded(matrix.tolist(), start)

    def _text(self, value: object, row: int | None) -> str:
        place = place_of(row, self._name)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or (isinstance(value, float) and math.isnan(value)):
            raise InputError(
                f"{place}expected a category, found {value}; the model does not take missing values: give the string "
                "that stood for them in training"
            )
        if isinstance(value, str):
            return value
        if not isinstance(value, int):
            raise InputTypeError(
                f"{place}expected a category (a str or a whole number), found {kind_of(value)} {value!r:.40}"
            )
        if not _LOW <= value <= _HIGH:
            raise InputError(f"{place}expected a whole number from {_LOW} to {_HIGH}, found {value!r:.40}")
        return str(int(value))

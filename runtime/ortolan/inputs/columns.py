"""Rows of a table to the model's input tensors: order, types and missing values checked, each fault with its place."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError, InputTypeError
from ortolan.inputs.assets import no_assets
from ortolan.inputs.column_config import STRINGS, UNUSED, ColumnsConfig, parse_columns
from ortolan.inputs.column_hashes import HashedColumn
from ortolan.inputs.column_texts import ColumnTexts, kind_of, place_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.column_config import Feature
    from ortolan.types import Array, TensorSpec

    Row = Mapping[str, Any] | Sequence[Any] | NDArray[Any]
    """Values by feature name, or all values in the order of the features."""

GROUP = 4096
"""Most rows of one run."""
CELLS = 1 << 20
"""Most values of one run of several rows."""

NoneType = type(None)
_EXACT = 2**53
"""Whole numbers below this are the same as float64; and a float32 can be as large."""
_PLAIN = {int, float, bool, np.float64, np.float32}
_FEW = 256
"""So many numbers are checked before numpy's functions have begun."""


class Columns:
    """Encodes rows.

    A row is a mapping with exactly the features' names, a sequence of exactly as many values, or a numpy array.
    Numbers may be ints, floats, bools or numpy's; they are never parsed from text. What the model's dtype does not
    hold is refused with ``cast: exact``. With ``cast: round`` floats go to the nearest value of the dtype: what
    scikit-learn's trees do with float64 before they compare; in a linear model it changes the answer by a rounding
    error. Whole-number inputs never round, and no number may become infinite.
    """

    def __init__(self, config: ColumnsConfig) -> None:
        """Args:
        config: the columns.
        """
        self.features = config.features
        self.names = tuple(feature.name for feature in config.features)
        self._pick = itemgetter(*self.names) if len(self.names) > 1 else lambda row: (row[self.names[0]],)
        self._unused = frozenset(feature.name for feature in config.features if feature.dtype == UNUSED)
        self._cast = config.cast
        self.most_rows = config.rows or max(1, min(GROUP, CELLS // len(config.features)))
        self._texts = ColumnTexts(config.features)
        self._groups: list[_Group | HashedColumn] = []
        for name in dict.fromkeys(feature.input for feature in config.features if feature.is_alone):
            places = [i for i, one in enumerate(config.features) if one.input == name and one.is_alone]
            flat = config.ranks[name] == 1
            hashed = config.features[places[0]]
            if hashed.hash is not None:
                self._groups.append(HashedColumn(hashed.name, places[0], name, hashed.hash, flat=flat))
                continue
            self._groups.append(_Group(name, places, [config.features[i] for i in places], config.cast, flat=flat))

    @classmethod
    def open(cls, raw: object, inputs: Sequence[TensorSpec], at: str, read_asset: ReadAsset = no_assets) -> Columns:
        """From the ``columns`` object of a task's configuration; see `parse_columns` for the errors."""
        return cls(parse_columns(raw, inputs, at, read_asset))

    def one(self, row: Row) -> dict[str, Array]:
        """The model's inputs for one row.

        Raises:
            InputTypeError: not a row, or a value of the wrong type; the message names the feature.
            InputError: missing or unknown names, another number of values, NaN or infinity where it may not be.
        """
        if isinstance(row, np.ndarray) and (row.ndim == 1 or (row.ndim == 2 and len(row) == 1)):
            return self._from_matrix(row.reshape(1, -1), None)
        return self._from_rows([self._values(row, None)], None)

    def batches(self, rows: object) -> Iterator[tuple[range, dict[str, Array]]]:
        """The runs for many rows: which rows, and the model's inputs for them.

        Args:
            rows: a sequence of rows, or a 2-D array with a row each.

        Raises:
            InputTypeError, InputError: as `one`; the message names the row too, counted from 0.
        """
        if isinstance(rows, np.ndarray) and rows.ndim == 2 and self._texts:
            _require_plain(rows)
            rows = rows.tolist()
        if isinstance(rows, np.ndarray) and rows.ndim == 2:
            _require_plain(rows)
            for start in range(0, len(rows), self.most_rows):
                part = rows[start : start + self.most_rows]
                yield range(start, start + len(part)), self._from_matrix(part, start)
            return
        if not isinstance(rows, list | tuple | np.ndarray) or (isinstance(rows, np.ndarray) and rows.ndim == 0):
            raise InputTypeError(f"expected a list of rows or a 2-D array, found {kind_of(rows)}")
        for start in range(0, len(rows), self.most_rows):
            some = rows[start : start + self.most_rows]
            values = [self._values(row, start + i) for i, row in enumerate(some)]
            for run, feeds in self._texts.runs(values, start):
                yield range(start + run.start, start + run.stop), feeds | self._numbered(values, run, start)

    def parsed(self, cells: Mapping[str, str | None], row: int) -> dict[str, Any]:
        """A row of text, as a CSV file has it, with its numbers read; an empty cell is a missing value.

        An empty cell is the empty string where strings may not be missing.

        Raises:
            InputError: missing or unknown names, or text that is no number where one is due.
        """
        self._check_names(cells, row)
        return {one.name: _parsed(one, cells[one.name], row) for one in self.features if one.dtype != UNUSED}

    def named(self, row: Mapping[str, Any], at: int) -> dict[str, Any]:
        """A row by name, as JSON has it, with its names checked and without what the model does not use.

        Raises:
            InputError: missing or unknown names.
        """
        self._check_names(row, at)
        return {one.name: row[one.name] for one in self.features if one.dtype != UNUSED}

    def _values(self, row: object, at: int | None) -> Sequence[Any]:
        """The values of a row in the order of the features."""
        # Asking whether a list is a Mapping takes as long as reading its numbers.
        if type(row) is not list and isinstance(row, Mapping):
            try:
                if len(row) == len(self.names):
                    return self._pick(row)
            except KeyError:
                pass
            self._check_names(row, at)
            return [row.get(name) for name in self.names]
        if isinstance(row, np.ndarray):
            _require_plain(row)
            if row.ndim != 1:
                raise InputError(f"{place_of(at)}expected a row of {self._count()}, found an array of {row.ndim} axes")
            row = row.tolist()
        if not isinstance(row, list | tuple):
            raise InputTypeError(
                f"{place_of(at)}expected values by feature name or a sequence of {self._count()}, found {kind_of(row)}"
            )
        if len(row) != len(self.names):
            raise InputError(f"{place_of(at)}expected {self._count()} ({_listed(self.names)}), found {len(row)}")
        return row

    def _count(self) -> str:
        return "1 value" if len(self.names) == 1 else f"{len(self.names)} values"

    def _check_names(self, row: Mapping[str, Any], at: int | None) -> None:
        missing = [name for name in self.names if name not in row and name not in self._unused]
        if missing:
            raise InputError(f"{place_of(at)}missing: {_listed(missing)}; the model takes {_listed(self.names)}")
        unknown = [str(name) for name in row if name not in self.names]
        if unknown:
            raise InputError(f"{place_of(at)}unknown: {_listed(unknown)}; the model takes {_listed(self.names)}")

    def _numbered(self, rows: Sequence[Sequence[Any]], part: range, start: int) -> dict[str, Array]:
        """The inputs of some of the rows but those of texts."""
        some = rows if len(part) == len(rows) else rows[part.start : part.stop]
        return {group.input: group.encoded(some, start + part.start) for group in self._groups}

    def _from_rows(self, rows: Sequence[Sequence[Any]], start: int | None) -> dict[str, Array]:
        feeds = {group.input: group.encoded(rows, start) for group in self._groups}
        return feeds | self._texts.together(rows, start) if self._texts else feeds

    def _from_matrix(self, matrix: NDArray[Any], start: int | None) -> dict[str, Array]:
        _require_plain(matrix)
        if matrix.shape[1] != len(self.names):
            raise InputError(f"expected rows of {self._count()} ({_listed(self.names)}), found {matrix.shape[1]}")
        if self._texts:
            return self._from_rows(matrix.tolist(), start)
        if matrix.dtype.kind not in "fiub":
            if matrix.dtype.kind not in "OU":
                raise InputTypeError(f"expected an array of numbers or str, found {matrix.dtype}")
            return self._from_rows(matrix.tolist(), start)
        return {group.input: group.encoded_matrix(matrix, start) for group in self._groups}


class _Group:
    """The features of one input of the model."""

    def __init__(self, name: str, places: list[int], features: list[Feature], cast: str, *, flat: bool) -> None:
        self.input = name
        self._places = places
        self._whole = places == list(range(len(places)))
        self._count = len(places)
        self._features = features
        self._exact = cast == "exact"
        self._flat = flat
        self._strings = features[0].dtype == STRINGS
        self._dtype: np.dtype[Any] = np.dtype(object if self._strings else features[0].dtype)
        self._may_miss = np.array([feature.missing for feature in features])
        self._may_be_infinite = np.array([feature.infinite for feature in features])
        self._known = {one.name: frozenset(one.values) for one in features if one.values is not None}
        self._limited = [(i, np.array(one.values)) for i, one in enumerate(features) if one.values is not None]
        self._all_may_miss = bool(self._may_miss.all())
        narrow = self._dtype == np.float32 and not self._exact
        self._is_free = (narrow or self._dtype == np.float64) and not self._limited

    def encoded(self, rows: Sequence[Sequence[Any]], start: int | None) -> Array:
        """The input's tensor for rows of Python values."""
        if not self._strings:
            if len(rows) == 1 and self._whole and len(rows[0]) == self._count:
                cells = rows[0]
            else:
                cells = [row[i] for row in rows for i in self._places]
            # Nearly every row is plain numbers; all of them are checked at once, and only a fault is looked for.
            kinds = set(map(type, cells))
            if NoneType in kinds:
                cells = [math.nan if cell is None else cell for cell in cells]
                kinds.remove(NoneType)
            if _PLAIN.issuperset(kinds):
                found = self._of_plain(cells, len(rows), whole=int in kinds)
                if found is not None:
                    return self._shaped(found)
        array = np.empty((len(rows), len(self._places)), self._dtype)
        for i, row in enumerate(rows):
            for j, (place, feature) in enumerate(zip(self._places, self._features, strict=True)):
                array[i, j] = self._element(row[place], feature, None if start is None else start + i)
        return self._shaped(array)

    def _of_plain(self, cells: Sequence[float], rows: int, *, whole: bool) -> Array | None:
        """The numbers of ``rows`` rows, some of them ints if ``whole``; None if one of them may not be there."""
        try:
            fine = self._are_fine(cells)
            wide = np.array(cells, np.float64).reshape(rows, self._count)
        except OverflowError:
            return None
        if fine:
            return wide if wide.dtype == self._dtype else wide.astype(self._dtype)
        # Larger ints may have been rounded just now, which matters where no rounding is allowed.
        strict = whole and (self._exact or self._dtype.kind != "f")
        return None if strict and (np.abs(wide) >= _EXACT).any() else self._converted(wide)

    def encoded_matrix(self, matrix: NDArray[Any], start: int | None) -> Array:
        """The input's tensor for an array of numbers."""
        part = matrix if self._whole and matrix.shape[1] == self._count else matrix[:, self._places]
        if not self._strings:
            if part.size <= _FEW and part.dtype.kind == "f" and self._are_fine(part.ravel().tolist()):
                return self._shaped(part.astype(self._dtype, order="C"))
            found = self._converted(part)
            if found is not None:
                return self._shaped(found)
        return self.encoded(matrix.tolist(), start)

    def _are_fine(self, numbers: Sequence[float]) -> bool:
        """Whether a few numbers may all be there, as most are; False where only a closer look can tell.

        A number that is none, or infinite, or too large shows in the length of the vector that they make.
        """
        if not self._is_free or len(numbers) > _FEW:
            return False
        length = math.hypot(*numbers)
        if length != length and self._all_may_miss:
            length = math.hypot(*[number for number in numbers if number == number])
        return length < _EXACT

    def _converted(self, numbers: NDArray[Any]) -> Array | None:
        """The numbers in the model's dtype, C-contiguous; None if one of them may not be there."""
        if numbers.dtype == self._dtype and self._dtype.kind != "f":
            return np.ascontiguousarray(numbers, self._dtype)
        with np.errstate(all="ignore"):
            converted = np.ascontiguousarray(numbers.astype(self._dtype))
            if self._dtype.kind == "f":
                fine = np.isfinite(converted)
                if self._exact and numbers.dtype != self._dtype:
                    fine &= converted == numbers
                if not fine.all() and numbers.dtype.kind == "f":
                    fine |= np.isnan(numbers) & self._may_miss | np.isinf(numbers) & self._may_be_infinite
            else:
                # A float beyond the range converts to anything, perhaps even back to itself.
                fine = (converted == numbers) & (np.abs(numbers.astype(np.float64)) < _EXACT)
        if not fine.all():
            return None
        return converted if all(self._is_known(converted[:, i], known) for i, known in self._limited) else None

    @staticmethod
    def _is_known(column: Array, known: NDArray[Any]) -> bool:
        """Whether a column has none but these values; what may be missing was looked at before."""
        return bool((np.isin(column, known) | np.isnan(column)).all())

    def _element(self, value: Any, feature: Feature, row: int | None) -> Any:
        """One value as the model takes it, or what is wrong with it."""
        place = place_of(row, feature.name)
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or (isinstance(value, float) and math.isnan(value)):
            if feature.missing:
                return feature.missing_as if self._strings else math.nan
            if not self._strings:
                raise InputError(f"{place}expected a number, found {value}; the model does not take missing values")
        if self._strings:
            found: Any = _string(value, place)
            if found == feature.missing_as:
                raise InputError(f"{place}{found!r} stands for missing strings in this model; it cannot be a value")
        elif not isinstance(value, int | float):
            advice = "; convert it to a number first" if isinstance(value, str) else ""
            raise InputTypeError(f"{place}expected a number, found {kind_of(value)} {value!r:.40}{advice}")
        else:
            found = self._number(value, feature, place)
        if feature.values is not None and found not in self._known[feature.name]:
            known = _listed(feature.values)
            raise InputError(f"{place}expected one of {known}, found {found!r}; the model was trained with no other")
        return found

    def _number(self, value: float, feature: Feature, place: str) -> float:
        name = self._dtype.name
        if self._dtype.kind != "f":
            low, high = (0, 1) if name == "bool" else (np.iinfo(self._dtype).min, np.iinfo(self._dtype).max)
            if value == math.inf or value == -math.inf or value != int(value) or not low <= value <= high:
                raise InputError(f"{place}expected a whole number from {low} to {high}, found {value!r}")
            return int(value)
        try:
            with np.errstate(over="ignore"):
                converted = float(self._dtype.type(value))
        except OverflowError:
            converted = math.inf
        if math.isinf(converted):
            if feature.infinite and value in (math.inf, -math.inf):  # isinf is for floats: an int may be larger
                return value
            raise InputError(f"{place}expected a finite {name}, found {value!r}")
        if self._exact and converted != value:
            raise InputError(
                f"{place}{value!r} is no {name}, the nearest is {converted!r}; the bundle forbids rounding "
                "(columns.cast: exact), so round it yourself or convert the model with columns.cast: round"
            )
        return value

    def _shaped(self, array: Array) -> Array:
        return array.reshape(-1) if self._flat else array


def _require_plain(array: NDArray[Any]) -> None:
    if isinstance(array, np.ma.MaskedArray):
        raise InputTypeError("expected a plain array, found a masked one; fill it: array.filled(np.nan)")


def _string(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise InputTypeError(f"{place}expected a str, found {kind_of(value)}; the training data had strings here")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{place}a lone surrogate at {error.start} has no UTF-8 form") from error
    return value


def _parsed(feature: Feature, cell: str | None, row: int) -> Any:
    place = place_of(row, feature.name)
    if cell is None:
        raise InputError(f"{place}the row ends before it")
    if feature.takes_strings:
        return cell if cell or not feature.missing else None
    digits = cell.strip()
    if not digits:
        return None
    try:
        return int(digits) if digits.lstrip("+-").isdecimal() else float(digits)
    except ValueError:
        raise InputError(f"{place}expected a number, found {cell!r:.40}") from None


def _listed(names: Sequence[object], most: int = 12) -> str:
    more = len(names) - most
    return ", ".join(map(repr, names[:most])) + (f" and {more} more" if more > 0 else "")

"""The user's samples for a model over tables: files of rows, and arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError, UsageError
from ortolan.inputs.columns import Columns
from ortolan.inputs.datafile import label_text, read_arrays
from ortolan.inputs.table_file import LABEL, SUFFIXES, read_row_samples
from ortolan.types import TensorSpec
from ortolan_convert.tables.columns import NUMBERS, columns_config, input_name, text_inputs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ortolan_convert.tables.source import Column, Rows


@dataclass(frozen=True, slots=True)
class TableSamples:
    """Rows, and their true labels as text if they are known."""

    rows: Rows
    labels: tuple[str, ...] | None = None


def read_samples(path: Path, columns: Sequence[Column], assets: Mapping[str, bytes]) -> TableSamples:
    """The samples in a file: .csv, .tsv or .jsonl by column names, a .npy matrix, or .npz with an array per column.

    Raises:
        StorageError: it cannot be read.
        InputError: another kind of file, other columns, or values that the model does not take.
        UsageError: a directory.
    """
    suffix = path.suffix.lower()
    if path.is_dir():
        raise UsageError(f"{path}: a directory of samples holds images, which a model over tables does not take")
    if suffix in SUFFIXES:
        encoder = runtime_columns(columns, assets)
        found = read_row_samples(path, encoder)
        checked(path, encoder, found.rows)
        return TableSamples(_by_column(found.rows, columns), found.labels)
    if suffix not in {".npy", ".npz"}:
        raise InputError(
            f"{path}: expected samples as .csv, .tsv, .jsonl, .npy or .npz, found {suffix or 'no suffix'!r}"
        )
    arrays = dict(read_arrays(path))
    names = {column.name for column in columns}
    labels = arrays.pop(LABEL) if LABEL in arrays and LABEL not in names else None
    rows = _rows_of(path, arrays, columns)
    if labels is not None and labels.shape != (len(rows),):
        raise InputError(
            f"{path}: {LABEL}: expected one label for each of {len(rows)} rows, found {list(labels.shape)}"
        )
    checked(path, runtime_columns(columns, assets), rows)
    texts = None if labels is None else tuple(label_text(label) for label in labels.tolist())
    return TableSamples(
        _by_column([dict(zip([c.name for c in columns], row, strict=True)) for row in rows], columns), texts
    )


def runtime_columns(columns: Sequence[Column], assets: Mapping[str, bytes]) -> Columns:
    """What the runtime will make of the rows."""
    numbers = sum(column.kind == "number" for column in columns)
    specs = [TensorSpec(NUMBERS, "float64", ("batch", numbers))] if numbers else []
    dtypes = {"string": "str", "hashed": "int64"}
    specs += [TensorSpec(input_name(one), dtypes[one.kind], ("batch", 1)) for one in columns if one.kind in dtypes]
    specs += [spec for column in columns for spec in text_inputs(column)]
    return Columns.open(columns_config(columns), specs, "columns", assets.__getitem__)


def checked(path: Path, encoder: Columns, rows: Any) -> None:
    """Refuse rows that the bundle would refuse.

    Raises:
        InputError: there are such; the message names the first one's place.
    """
    try:
        for _ in encoder.batches(rows):
            pass
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None


def _rows_of(path: Path, arrays: dict[str, NDArray[Any]], columns: Sequence[Column]) -> list[list[Any]]:
    """One matrix of all columns, or an array per column."""
    if len(arrays) == 1:
        (matrix,) = arrays.values()
        if matrix.ndim == 2 and matrix.shape[1] == len(columns):
            listed: list[list[Any]] = matrix.tolist()
            return listed
        if matrix.ndim != 1 or list(arrays) != [columns[0].name]:
            raise InputError(f"{path}: expected an array [rows, {len(columns)}], found {list(matrix.shape)}")
    used = [column.name for column in columns if column.kind != "unused"]
    unknown = [name for name in arrays if name not in {column.name for column in columns}]
    missing = [name for name in used if name not in arrays]
    if unknown or missing:
        raise InputError(
            f"{path}: expected an array for each column, or one of all; "
            + (f"missing: {', '.join(map(repr, missing[:8]))}" if missing else f"unknown: {unknown[0]!r}")
        )
    lengths = {array.shape for array in arrays.values()}
    if len(lengths) > 1 or any(array.ndim != 1 for array in arrays.values()):
        raise InputError(f"{path}: expected arrays of one axis and of one length, found {sorted(map(list, lengths))}")
    (length,) = next(iter(lengths))
    nothing = [None] * length
    listed_columns = [arrays[c.name].tolist() if c.name in arrays else nothing for c in columns]
    return [list(row) for row in zip(*listed_columns, strict=True)]


def _by_column(rows: Sequence[dict[str, Any]], columns: Sequence[Column]) -> Rows:
    made: dict[str, NDArray[Any]] = {}
    for column in columns:
        if column.kind == "unused":
            continue
        values = [row[column.name] for row in rows]
        if column.kind == "number":
            made[column.name] = np.array([np.nan if value is None else float(value) for value in values], np.float64)
        else:
            array = np.empty(len(values), object)
            if column.kind == "hashed":
                values = [value if isinstance(value, str) else str(int(value)) for value in values]
            array[:] = [value if isinstance(value, str) else None for value in values]
            made[column.name] = array
    return made

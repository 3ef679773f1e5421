"""Rows of a table in a .csv, .tsv or .jsonl file."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import InputError, StorageError
from ortolan.inputs.datafile import delimited, json_object, label_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ortolan.inputs.columns import Columns

LABEL = "label"
"""A column of this name that is no feature is left out: files of samples often have the true label there."""
SUFFIXES = (".csv", ".tsv", ".jsonl")
"""Of files of rows."""
_NO_ROWS = "expected a line of names and at least one row, found none"


@dataclass(frozen=True, slots=True)
class RowSamples:
    """Rows by feature name, and their true labels as strings if the file has them all."""

    rows: list[dict[str, Any]]
    labels: tuple[str, ...] | None


def read_table(path: Path, columns: Columns) -> list[dict[str, Any]]:
    """The rows of the file; see `read_row_samples` for what it holds and for the errors."""
    return read_row_samples(path, columns).rows


def read_row_samples(path: Path, columns: Columns) -> RowSamples:
    """The rows of the file and their labels, which stand in a column ``label`` that is no feature.

    Args:
        path: a .csv (comma) or .tsv (tabulator) file in UTF-8, whose first line names the features in any order and
            where an empty cell is a missing value; or a .jsonl file with an object by feature name on each line.
        columns: the features that are due.

    Raises:
        StorageError: it cannot be read.
        InputError: it is not such a file, has no rows, has other columns, or text where a number is due.
    """
    with _table(path) as lines:
        rows, labels = [], []
        for i, line in enumerate(lines):
            labels.append(line.get(LABEL) if LABEL not in columns.names else None)
            cells = {name: cell for name, cell in line.items() if name != LABEL or name in columns.names}
            rows.append(columns.named(cells, i) if path.suffix.lower() == ".jsonl" else columns.parsed(cells, i))
        if not rows:
            raise InputError(_NO_ROWS)
    given = [label_text(label) for label in labels if label not in (None, "")]
    return RowSamples(rows, tuple(given) if len(given) == len(rows) else None)


def count_rows(path: Path) -> int:
    """How many rows `read_table` would find.

    Raises:
        StorageError, InputError: as `read_table`, for what is no such file or has no rows.
    """
    with _table(path) as lines:
        count = sum(1 for _ in lines)
        if not count:
            raise InputError(_NO_ROWS)
    return count


@contextmanager
def _table(path: Path) -> Iterator[Iterator[dict[str, Any]]]:
    """The rows with their cells by name; whatever is wrong with them becomes an error that names the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".jsonl":
                yield (json_object(line, i) for i, line in enumerate(file, 1) if line.strip())
            else:
                with delimited(path, file) as lines:
                    yield (_full(line, i) for i, line in enumerate(lines))
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise InputError(f"{path}: expected UTF-8, found byte 0x{found:02x} at {error.start}") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a well-formed table: {error}") from None
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def _full(line: dict[str | Any, str | Any], row: int) -> dict[str, Any]:
    """A row that has no more cells than there are names."""
    if None in line:
        raise InputError(f"row {row}: expected {len(line) - 1} cells, found {len(line) - 1 + len(line[None])}")
    return line

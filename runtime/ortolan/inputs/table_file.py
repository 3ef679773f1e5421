"""Rows of a table in a .csv or .tsv file."""

from __future__ import annotations

import csv
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ortolan.errors import InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ortolan.inputs.columns import Columns

LABEL = "label"
"""A column of this name that is no feature is left out: files of samples often have the true label there."""
_NO_ROWS = "expected a line of names and at least one row, found none"


def read_table(path: Path, columns: Columns) -> list[dict[str, Any]]:
    """The rows of the file; its first line names the features, in any order. An empty cell is a missing number.

    Args:
        path: a .csv (comma) or .tsv (tabulator) file in UTF-8.
        columns: the features that are due.

    Raises:
        StorageError: it cannot be read.
        InputError: it is not such a file, has no rows, has other columns, or text where a number is due.
    """
    with _table(path) as lines:
        rows = [columns.parsed(_cells(line, columns, i), i) for i, line in enumerate(lines)]
        if not rows:
            raise InputError(_NO_ROWS)
    return rows


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
def _table(path: Path) -> Iterator[csv.DictReader[str]]:
    """The rows with their cells by name; whatever is wrong with them becomes an error that names the file."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    except UnicodeDecodeError as error:
        found = error.object[error.start]
        raise InputError(f"{path}: expected UTF-8, found byte 0x{found:02x} at {error.start}") from None
    except csv.Error as error:
        raise InputError(f"{path}: not a well-formed table: {error}") from None
    except InputError as error:
        raise type(error)(f"{path}: {error}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error


def _cells(line: dict[str | Any, str | Any], columns: Columns, row: int) -> dict[str, str | None]:
    if None in line:
        raise InputError(f"row {row}: expected {len(line) - 1} cells, found {len(line) - 1 + len(line[None])}")
    return {name: cell for name, cell in line.items() if name != LABEL or name in columns.names}

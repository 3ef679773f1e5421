"""Files of inputs that a user has: texts in .csv, .tsv, .jsonl and .txt, arrays in .npy and .npz, directories."""

from __future__ import annotations

import csv
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import TextIO

    from ortolan.types import Array

LARGEST_FIELD = 1 << 28
"""Characters of one field of a .csv file; the csv module stops at 131,072 by default."""


@dataclass(frozen=True, slots=True)
class TextSamples:
    """Texts, and their true labels as strings if the file has them all."""

    texts: tuple[str, ...]
    labels: tuple[str, ...] | None = None


def label_text(label: object) -> str:
    """A label as it is compared with the labels of a samples file: ``1``, ``1.0`` and ``"1"`` are the same."""
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    return str(label)


def read_texts(path: Path) -> TextSamples:
    """The texts in a samples file: column ``text`` (.csv, .tsv), key ``text`` (.jsonl), or one per line (.txt).

    Raises:
        StorageError: it cannot be read.
        InputError: another kind of file, no text, a missing column, a row that is not as expected, not UTF-8.
    """
    reader = {".csv": _table, ".tsv": _table, ".jsonl": _json_lines, ".txt": _lines}.get(path.suffix.lower())
    if reader is None:
        if path.suffix.lower() in {".npy", ".npz"}:
            raise InputError(f"{path}: this model takes texts, not arrays; expected .csv, .tsv, .jsonl or .txt")
        found = repr(path.suffix) if path.suffix else "no extension"
        raise InputError(f"{path}: expected samples as .csv, .tsv, .jsonl or .txt, found {found}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(reader(path, file))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected UTF-8, found byte {error.object[error.start]:#04x} at {error.start}"
        ) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not rows:
        raise InputError(f"{path}: no samples in it; expected at least one text")
    labels = [label for _, label in rows if label is not None]
    return TextSamples(tuple(text for text, _ in rows), tuple(labels) if len(labels) == len(rows) else None)


def files_below(path: Path) -> list[Path]:
    """The files in a directory and all below it, in order; hidden ones are left out. A file is itself.

    Raises:
        StorageError: it does not exist or cannot be read.
        InputError: there is no file in it.
    """
    try:
        if not path.is_dir():
            path.stat()
            return [path]
        found = sorted(
            file
            for file in path.rglob("*")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
        )
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not found:
        raise InputError(f"{path}: expected files in it, found none")
    return found


def read_arrays(path: Path) -> Mapping[str, Array]:
    """The arrays in a .npz file by input name, or the one in a .npy file under the name ``""``. Nothing is unpickled.

    Raises:
        StorageError: it cannot be read.
        InputError: another kind of file, a damaged one, or one with objects instead of numbers.
    """
    import zipfile

    import numpy as np

    if path.suffix.lower() not in {".npy", ".npz"}:
        raise InputError(f"{path}: this model takes arrays; expected samples as .npy or .npz, by input name")
    try:
        loaded: Any = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            arrays = {"": loaded}
        else:
            with loaded:
                arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError, MemoryError) as error:
        raise InputError(f"{path}: expected arrays of numbers: {' '.join(str(error).split()) or 'damaged'}") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if not arrays:
        raise InputError(f"{path}: no arrays in it")
    return arrays


@contextmanager
def delimited(path: Path, file: TextIO) -> Iterator[csv.DictReader[str]]:
    """The rows of a .csv or .tsv file, their cells by name; `csv.Error` where it is not well-formed."""
    before = csv.field_size_limit(LARGEST_FIELD)
    try:
        yield csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
    finally:
        csv.field_size_limit(before)


def json_object(text: str, number: int) -> dict[str, Any]:
    """A line of a .jsonl file.

    Raises:
        InputError: it is no JSON object; names the line.
    """
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number}: expected a JSON object: {error}") from None
    if not isinstance(row, dict):
        raise InputError(f"line {number}: expected a JSON object, found {type(row).__name__}")
    return row


def _table(path: Path, file: TextIO) -> Iterator[tuple[str, str | None]]:
    try:
        with delimited(path, file) as rows:
            columns = rows.fieldnames
            if columns is None:
                return
            if "text" not in columns:
                raise InputError(f"{path}: expected a column 'text', found {', '.join(map(repr, columns[:8]))}")
            for row in rows:
                if row["text"] is None:
                    raise InputError(f"{path}: line {rows.line_num}: expected {len(columns)} columns, found fewer")
                label = row.get("label")
                yield row["text"], label or None
    except csv.Error as error:
        raise InputError(f"{path}: not a well-formed table: {error}") from None


def _json_lines(path: Path, file: TextIO) -> Iterator[tuple[str, str | None]]:
    # Only "\n" ends a line: str.splitlines would cut at the separators that texts may hold.
    for number, line in enumerate(file.read().split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json_object(line, number)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        text, label = row.get("text"), row.get("label")
        if not isinstance(text, str):
            found = "nothing" if "text" not in row else type(text).__name__
            raise InputError(f"{path}: line {number}: expected a string under 'text', found {found}")
        if isinstance(label, list | dict):
            raise InputError(f"{path}: line {number}: expected one label, found {type(label).__name__}")
        yield text, None if label is None else label_text(label)


def _lines(_path: Path, file: TextIO) -> Iterator[tuple[str, str | None]]:
    lines = file.read().split("\n")
    if lines[-1] == "":
        lines.pop()
    for line in lines:
        yield line.removesuffix("\r"), None

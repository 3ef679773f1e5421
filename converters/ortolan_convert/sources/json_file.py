"""JSON files of an artifact, read as untrusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, StorageError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST_JSON = 64 << 20
"""Bytes of a JSON file that is read."""


def read_json(file: Path, kind: type[Any] = dict) -> Any:
    """The content of a file: an object (dict), an array (list), or whatever it is (object).

    Raises:
        StorageError: it cannot be read.
        ConversionError: it is too large, no JSON, or of another kind.
    """
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST_JSON + 1)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(raw) > LARGEST_JSON:
        raise ConversionError(f"{file}: expected at most {LARGEST_JSON} bytes of JSON")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{file}: expected JSON: {error}") from None
    if not isinstance(content, kind):
        raise ConversionError(f"{file}: expected a JSON {'object' if kind is dict else 'array'}")
    return content

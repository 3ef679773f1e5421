"""What can be said of an artifact without running it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zipfile import ZipFile

LARGEST_TEXT = 64 << 20
"""Bytes of a text or JSON document that are read."""
SHOWN = 8
"""How many names are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file says of itself.

    Args:
        made_by: frameworks and their versions, as far as it says, e.g. ``"scikit-learn 1.9.1"``.
        inside: name and value of each fact, in the order to show them.
        code: what of it would run when it is read, one phrase each; empty if nothing.
        packages: top-level modules that reading it imports, beside those that every file of the kind needs.
        notes: what a user should know, one sentence each.
    """

    made_by: str | None = None
    inside: tuple[tuple[str, str], ...] = ()
    code: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def listed(names: Iterable[object], *, most: int = SHOWN) -> str:
    """Some names, and how many more there are."""
    every = [str(name) for name in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def counted(number: int, thing: str) -> str:
    """E.g. ``"2 layers"``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def member(archive: ZipFile, name: str, limit: int = LARGEST_TEXT) -> bytes:
    """Content of a zip archive's member of at most ``limit`` bytes.

    Raises:
        ConversionError: it is larger, or damaged.
    """
    with archive.open(name) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ConversionError(f"{name}: expected at most {limit} bytes")
    return content


def parsed(content: bytes, name: str) -> Any:
    """A JSON document.

    Raises:
        ConversionError: it is none.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{name}: expected JSON: {error}") from None

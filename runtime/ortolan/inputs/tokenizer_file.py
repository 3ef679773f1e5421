"""What a foreign ``tokenizer.json`` may hold that the tokenizers package would not survive.

The package takes a file at its word. A regular expression can keep it busy for years, a chain of replacements can make
gigabytes of a word, and a character map that claims to be large is given the memory it claims: the process ends.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ortolan.errors import BundleError
from ortolan.inputs.patterns import objection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_GROWTH = 64
"""How many times longer the replacements of a file may make a text altogether; those in use make it no longer."""

SUSPECTS = (b'"Regex"', b'"Replace"', b'"Precompiled"', b"\\u")
"""A file that holds none of these needs no look (an escape could hide the others), which most do not."""

_MAY_MATCH_NOTHING = re.compile(r"\(\?|\\[bBAzZGyY]|\^|\$")
"""Parts of a pattern that match between two characters."""


def check_tokenizer(raw: bytes, where: str) -> None:
    """Refuse a tokenizer that cannot be used safely.

    Raises:
        BundleError: it has a regular expression that may run away, replacements that make texts grow without bounds,
            or a character map that is not as long as it says; or it is no JSON.
    """
    if not any(suspect in raw for suspect in SUSPECTS):
        return
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: expected JSON: {error}") from None
    growth = 1.0
    for part in _objects(content):
        pattern = part.get("Regex")
        if isinstance(pattern, str) and (problem := objection(pattern)):
            raise BundleError(f"{where}: refused the regular expression {pattern[:60]!r}: {problem}")
        if part.get("type") == "Replace":
            growth *= _growth(part.get("pattern"), part.get("content"))
        if "precompiled_charsmap" in part and not _is_whole(part["precompiled_charsmap"]):
            raise BundleError(f"{where}: refused the Precompiled normalizer: its map is not as long as it says")
    if growth > MOST_GROWTH:
        raise BundleError(
            f"{where}: refused the replacements: together they can make a text more than {MOST_GROWTH} times longer"
        )


def _objects(content: object) -> Iterator[Mapping[str, Any]]:
    """All JSON objects of a document, in any order."""
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            yield value
            pending += value.values()
        elif isinstance(value, list) and value and not isinstance(value[0], str):
            pending += value


def _growth(pattern: object, content: object) -> float:
    """How many times longer a replacement can make a text; at least 1."""
    if not isinstance(content, str) or not isinstance(pattern, dict) or not content:
        return 1.0
    plain, regex = pattern.get("String"), pattern.get("Regex")
    if isinstance(plain, str):
        return max(1.0, len(content) / max(len(plain), 1)) if plain else len(content) + 1.0
    return float(len(content) + (isinstance(regex, str) and _may_be_empty(regex)))


def _may_be_empty(pattern: str) -> bool:
    """Whether a match may have no characters, so that what is inserted comes on top."""
    if _MAY_MATCH_NOTHING.search(pattern):
        return True
    try:
        return re.fullmatch(pattern, "") is not None
    except (re.error, OverflowError, RecursionError):
        return True  # in a syntax of Oniguruma's own


def _is_whole(encoded: object) -> bool:
    """Whether a character map has the trie that its first four bytes announce (sentencepiece's normalizer.cc)."""
    from base64 import b64decode

    try:
        data = b64decode(encoded, validate=True) if isinstance(encoded, str) else b""
    except ValueError:
        return False
    size = int.from_bytes(data[:4], "little")
    return len(data) > 4 and size % 4 == 0 and 4 + size <= len(data)

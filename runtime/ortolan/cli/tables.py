"""Aligned columns of plain text."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, columns two spaces apart and as wide as their widest cell; no trailing spaces."""
    lines = [heads, *rows]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(_padded(cell, wide) for cell, wide in zip(line, widths, strict=True)).rstrip() for line in lines]


def wrapped(sentence: str) -> list[str]:
    """Lines of at most 100 columns, indented by two, those after the first by four."""
    from textwrap import wrap

    return wrap(sentence, 100, initial_indent="  ", subsequent_indent="    ", break_long_words=False)


def width(text: str) -> int:
    """Columns that a text takes on a terminal: East Asian wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def _padded(cell: str, wide: int) -> str:
    return cell + " " * (wide - width(cell))

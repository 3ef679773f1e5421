"""What others' errors say, for messages of one line."""

from __future__ import annotations

LONGEST = 300
"""Characters of another's message."""


def one_line(error: BaseException | None) -> str:
    """Type and text of an error, shortened; empty without one."""
    return "" if error is None else f"{type(error).__name__}: {' '.join(str(error).split())[:LONGEST]}"

"""What others' errors say, for messages of one line."""

from __future__ import annotations

import re

LONGEST = 300
"""Characters of another's message."""
_DECORATION = re.compile(r"\x1b\[[0-9;]*m|[\U0001f000-\U0001faff]|\[9\dm|\[0m")
"""Colors of terminals, and pictures."""


def words(error: BaseException) -> str:
    """What an error says, shortened; its type if it says nothing."""
    return " ".join(_DECORATION.sub("", str(error)).split())[:LONGEST] or type(error).__name__


def one_line(error: BaseException | None) -> str:
    """Type and text of an error, shortened; empty without one."""
    if error is None:
        return ""
    name, text = type(error).__name__, words(error)
    return name if text == name else f"{name}: {text}"

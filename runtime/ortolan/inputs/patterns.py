"""Regular expressions of foreign files: which of them may take forever."""

from __future__ import annotations

LONGEST = 4096
"""Characters of a pattern; the longest in use by a known tokenizer has about 500."""

MOST_REPEATS = 1000
"""Largest number in a ``{n,m}``; a larger one would be compiled into as many copies."""


def objection(pattern: str) -> str | None:
    """Why a pattern is refused; None if it is not.

    A backtracking matcher tries every way to split a text between nested repetitions, ``(a+)+``, or between
    alternatives that are repeated, ``(a|aa)*``: their number doubles with each character. No tokenizer in use needs
    either, so the shape alone is refused, whether or not it is dangerous in the case at hand.

    Args:
        pattern: in the syntax of Oniguruma, which the tokenizers package uses.
    """
    if len(pattern) > LONGEST:
        return f"it has {len(pattern)} characters, more than {LONGEST}"
    groups: list[bool] = []
    """Of each open group: whether it matches in more than one way."""
    position, closed = 0, False
    while position < len(pattern):
        character = pattern[position]
        length = 1
        if character == "\\":
            length, closed = 2, False
        elif character == "[":
            length, closed = _class_length(pattern, position), False
        elif character == "(":
            groups.append(False)
            closed = False
        elif character == ")":
            closed = groups.pop() if groups else False
            if groups:
                groups[-1] |= closed
        elif character == "|":
            if groups:
                groups[-1] = True
            closed = False
        elif character in "*+{" or (character == "?" and not pattern.startswith("(", position - 1)):
            least, most, length = _repeats(pattern, position)
            if max(least, most or 0) > MOST_REPEATS:
                return f"it repeats more than {MOST_REPEATS} times at position {position}"
            if closed and (most is None or most > 1):
                return f"it repeats what repeats or varies by itself at position {position}"
            if groups and most != least:
                groups[-1] = True
        elif character != "?":
            closed = False
        position += max(length, 1)
    return None


def _class_length(pattern: str, start: int) -> int:
    """Characters of the class ``[...]`` that begins at ``start``; classes nest."""
    depth, position = 0, start
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif character == "[":
            depth += 1
        elif character == "]" and position > start + 1 + pattern.startswith("^", start + 1):
            depth -= 1
            if not depth:
                break
        position += 1
    return position - start + 1


def _repeats(pattern: str, start: int) -> tuple[int, int | None, int]:
    """Fewest and most repeats of the quantifier at ``start`` (None: unbounded), and its length; a plain ``{`` is 1."""
    if pattern[start] != "{":
        return (0, 1, 1) if pattern[start] == "?" else (0, None, 1)
    end = pattern.find("}", start)
    numbers = pattern[start + 1 : end].split(",") if end > 0 else []
    if not 1 <= len(numbers) <= 2 or not all(n == "" or (n.isdecimal() and len(n) < 10) for n in numbers):
        return 1, 1, 1
    least = int(numbers[0] or 0)
    most = least if len(numbers) == 1 else int(numbers[1]) if numbers[1] else None
    return least, most, end - start + 1

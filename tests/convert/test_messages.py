"""What is quoted of others' errors."""

from __future__ import annotations

import pytest

from ortolan_convert.messages import LONGEST, one_line, words


@pytest.mark.parametrize(
    ("error", "quoted"),
    [
        (ValueError("a\n  b\tc"), "a b c"),
        (ValueError("\x1b[31mred\x1b[0m [96mand[0m \U0001f4a5 more"), "red and more"),
        (ValueError("the label \U00020bb7"), "the label \U00020bb7"),
        (ValueError("x" * 1000), "x" * LONGEST),
        (ValueError(), "ValueError"),
    ],
)
def test_errors_are_quoted_in_one_line(error: Exception, quoted: str) -> None:
    """Without colors and pictures, shortened; characters of rare scripts stay."""
    assert words(error) == quoted


def test_the_type_is_named_once() -> None:
    """An error that says nothing is its type alone; without an error there is nothing to say."""
    assert one_line(KeyError("x")) == "KeyError: 'x'"
    assert one_line(KeyError()) == "KeyError"
    assert one_line(None) == ""

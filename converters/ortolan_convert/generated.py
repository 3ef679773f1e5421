"""Inputs made up where the user gives none: mixes of vocabulary terms, edge texts, and arrays of the declared types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

EDGE_TEXTS: tuple[str, ...] = (
    "",
    " ",
    "\x00",
    "a",
    "\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u3000",
    "ΟΔΥΣΣΕΥΣ ΣΣ Σ",
    "İstanbul IĞDIR ẞ ǅ ﬁ",
    "e\u0301 é ñ ü ø Ångström",
    "👍🏽 👨‍👩‍👧‍👦 🇨🇳 ❤️",
    "这个手机很好用，物流也快！不过电池一般。",
    "한국어 日本語 ไทย العربية עברית हिन्दी",
    "lone \ud83d surrogate \udc4d",
    "a\x00b\x00c",
    "1234 3.14 1,000 ² ⅷ ٣",
    "http://example.org/?q=1&r=2 name@example.org #tag",
    "word " * 400,
)
"""Texts that text handling tends to get wrong."""

COUNT = 1000
"""How many texts are made up."""


def generated_texts(terms: Sequence[str], *, analyzer: str, count: int = COUNT) -> tuple[str, ...]:
    """Texts of random terms of a vocabulary, the same ones every time.

    Args:
        terms: the vocabulary.
        analyzer: words are joined by spaces, characters by nothing or a space.
        count: how many.
    """
    random = np.random.default_rng(0)
    if not len(terms):
        return EDGE_TEXTS
    texts = []
    for index in range(count):
        chosen = random.integers(0, len(terms), int(random.geometric(1 / 20)))
        separator = " " if analyzer == "word" or index % 2 else ""
        texts.append(separator.join(terms[i] for i in chosen.tolist()))
    return tuple(texts)


def is_text(text: str) -> bool:
    """Whether a str is text: it holds no lone surrogate, which no tokenizer takes."""
    return not any("\ud800" <= character <= "\udfff" for character in text)

"""Text to normalised text to tokens, exactly as scikit-learn's vectorizers do it, with Python's own str and re.

Lower-casing, accents and white space follow the Unicode tables of the running Python, as scikit-learn's do.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from ortolan.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.inputs.config import NgramConfig

    Normalize = Callable[[str], str]
    Tokenize = Callable[[str], list[str]]

squeeze = re.compile(r"\s\s+").sub
"""``squeeze(" ", text)`` replaces runs of two and more white spaces by one space; a single one stays what it is."""


def strip_accents_ascii(text: str) -> str:
    """``text`` decomposed (NFKD), without what is not ASCII."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")


def strip_accents_unicode(text: str) -> str:
    """``text`` decomposed (NFKD), without combining characters; ASCII text as it is."""
    if text.isascii():
        return text
    return "".join([c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)])


def normalizer(config: NgramConfig) -> Normalize:
    """Lower-casing, then accents, as configured."""
    accents: dict[str | None, Normalize | None] = {
        None: None,
        "ascii": strip_accents_ascii,
        "unicode": strip_accents_unicode,
    }
    strip = accents[config.strip_accents]
    if strip is None:
        return str.lower if config.lowercase else str
    if not config.lowercase:
        return strip
    return lambda text: strip(text.lower())


def tokenizer(config: NgramConfig) -> Tokenize:
    """Normalised text to tokens without stop words, for the analyzer ``"word"``.

    Raises:
        MissingPackageError: the tokenizer's package is not installed, or in a version that cuts differently.
    """
    split: Tokenize
    if config.tokenizer is not None:
        split = _jieba(config.tokenizer_version or "")
    else:
        split = re.compile(config.token_pattern or "").findall
    if config.stop_words is None:
        return split
    stop = frozenset(config.stop_words)
    return lambda text: [token for token in split(text) if token not in stop]


def _jieba(version: str) -> Callable[[str], list[str]]:
    """jieba's ``lcut``, its dictionary loaded. ``cut`` yields the same tokens.

    jieba's patch releases kept dictionary and algorithm; another major or minor version may cut differently, and
    the answers would silently be others than the verified ones. So that is refused.
    """
    wanted = version.split(".")[:2]
    try:
        import jieba
    except ImportError:
        raise MissingPackageError(
            f"this model cuts words with jieba {version}, which is not installed; pip install 'ortolan[jieba]'"
        ) from None
    found = str(getattr(jieba, "__version__", "unknown"))
    if found.split(".")[:2] != wanted:
        raise MissingPackageError(
            f"this model cuts words with jieba {version}, found {found}, which may cut differently;"
            f" pip install 'jieba=={'.'.join(wanted)}.*'"
        )
    import logging

    jieba.setLogLevel(logging.WARNING)  # it reports the loading of its dictionary on standard error
    jieba.initialize()
    cut: Callable[[str], list[str]] = jieba.lcut
    return cut

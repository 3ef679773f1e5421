"""The configuration of the n-gram features, as it stands in a bundle's task configuration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from ortolan.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Mapping

Analyzer = Literal["word", "char", "char_wb"]

MAX_N = 64
"""Longest n-gram that is accepted; a bound against hostile configurations."""

_CHOICES: dict[str, tuple[object, ...]] = {
    "analyzer": ("word", "char", "char_wb"),
    "strip_accents": (None, "ascii", "unicode"),
    "norm": (None, "l1", "l2"),
    "idf": (None, "palette", "float64"),
    "nodes": ("all", "bits", "ids"),
}
_FLAGS = ("lowercase", "binary", "sublinear_tf")
_TOKENIZERS = ("jieba.cut", "jieba.lcut")


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramConfig:
    """What turns a text into features. The first fields mean what scikit-learn's parameters of that name mean.

    Args:
        analyzer: ``"word"``, ``"char"`` or ``"char_wb"`` (characters inside words padded with one space on each side).
        ngram_range: smallest and largest n, 1 to 64.
        lowercase: whether ``str.lower`` is applied first.
        strip_accents: ``"ascii"``, ``"unicode"`` or None; applied after lower-casing.
        token_pattern: regular expression of a token, at most one group; used by ``"word"`` without a tokenizer.
        tokenizer: ``"jieba.cut"`` or ``"jieba.lcut"``, or None for the pattern.
        tokenizer_version: version of the tokenizer's package that the model was trained with.
        stop_words: tokens to drop before n-grams are made, sorted; None for no list.
        binary: whether counts above 1 become 1.
        sublinear_tf: whether a count ``c`` becomes ``1 + ln(c)``.
        norm: ``"l1"``, ``"l2"`` or None.
        features: number of features, the dropped ones included.
        kept: features with an id below this are the model's inputs; the others only count for the norm.
        idf: how the weights of the features are stored: not at all, as a palette and codes, or as float64.
        nodes: how the nodes of the trie map to features: one to one, by bits, or by a list of ids. Of hashed n-grams:
            which of them are kept: all, or those of a list.
        hashed: None for n-grams of a vocabulary; else a feature is a bucket of a hash table (MurmurHash3 of the UTF-8
            form), with counts that all are positive (``"plain"``) or signed by the hash (``"signed"``).
    """

    analyzer: Analyzer
    ngram_range: tuple[int, int]
    lowercase: bool = True
    strip_accents: Literal["ascii", "unicode"] | None = None
    token_pattern: str | None = None
    tokenizer: str | None = None
    tokenizer_version: str | None = None
    stop_words: tuple[str, ...] | None = None
    binary: bool = False
    sublinear_tf: bool = False
    norm: Literal["l1", "l2"] | None = None
    features: int = 0
    kept: int = 0
    idf: Literal["palette", "float64"] | None = None
    nodes: Literal["all", "bits", "ids"] = "all"
    hashed: Literal["plain", "signed"] | None = None

    def to_json(self) -> dict[str, object]:
        """The form that :func:`parse_config` reads; keys in a fixed order."""
        tokenizer = None if self.tokenizer is None else {"name": self.tokenizer, "version": self.tokenizer_version}
        return {
            "kind": "ngrams",
            "analyzer": self.analyzer,
            "ngram_range": list(self.ngram_range),
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "token_pattern": self.token_pattern,
            "tokenizer": tokenizer,
            "stop_words": None if self.stop_words is None else list(self.stop_words),
            "binary": self.binary,
            "sublinear_tf": self.sublinear_tf,
            "norm": self.norm,
            "features": self.features,
            "kept": self.kept,
            "idf": self.idf,
            "nodes": self.nodes,
            **({} if self.hashed is None else {"hashed": self.hashed}),
        }


def parse_config(raw: Mapping[str, object], path: str) -> NgramConfig:
    """The configuration in ``raw``, checked.

    Args:
        raw: the JSON object with ``"kind": "ngrams"``.
        path: its dotted path in the manifest, for messages.

    Raises:
        ManifestError: a missing, unknown or wrong value, or a regular expression that does not compile.
    """
    expected = NgramConfig(analyzer="char", ngram_range=(1, 1)).to_json().keys()
    for key in expected:
        if key not in raw:
            raise ManifestError(f"{path}.{key}", "expected a value, found none")
    for key in raw:
        if key not in expected and key != "hashed":
            raise ManifestError(f"{path}.{key}", f"unknown key; known: {', '.join(expected)}, hashed")
    if raw["kind"] != "ngrams":
        raise ManifestError(f"{path}.kind", f"expected 'ngrams', found {raw['kind']!r}")
    values: dict[str, Any] = {}
    for key, choices in _CHOICES.items():
        # `in` alone would take 1 for True and fail on unhashable values in other containers.
        if not any(type(raw[key]) is type(choice) and raw[key] == choice for choice in choices):
            raise ManifestError(f"{path}.{key}", f"expected one of {choices}, found {raw[key]!r}")
        values[key] = raw[key]
    for key in _FLAGS:
        if not isinstance(raw[key], bool):
            raise ManifestError(f"{path}.{key}", f"expected bool, found {type(raw[key]).__name__}")
        values[key] = raw[key]
    for key in ("features", "kept"):
        values[key] = _count(raw[key], f"{path}.{key}")
    if values["kept"] > values["features"]:
        raise ManifestError(f"{path}.kept", f"expected at most {values['features']}, found {values['kept']}")
    name, version = _tokenizer(raw["tokenizer"], f"{path}.tokenizer")
    words = values["analyzer"] == "word"
    if name is not None and not words:
        raise ManifestError(f"{path}.tokenizer", f"expected null with analyzer {values['analyzer']!r}, found {name!r}")
    hashed = raw.get("hashed")
    if hashed not in (None, "plain", "signed"):
        raise ManifestError(f"{path}.hashed", f"expected 'plain' or 'signed', found {hashed!r}")
    if hashed is not None and (values["nodes"] == "bits" or values["features"] < 1):
        raise ManifestError(f"{path}.hashed", "expected one bucket or more, of which all are kept, or those of a list")
    pattern = _pattern(raw["token_pattern"], f"{path}.token_pattern", required=words and name is None)
    return NgramConfig(
        **values,
        ngram_range=_ngram_range(raw["ngram_range"], f"{path}.ngram_range"),
        token_pattern=pattern,
        tokenizer=name,
        tokenizer_version=version,
        stop_words=_stop_words(raw["stop_words"], f"{path}.stop_words"),
        hashed=cast("Any", hashed),
    )


def _count(value: object, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise ManifestError(path, f"expected an int from 0 to 2**31 - 1, found {value!r}")
    return value


def _ngram_range(value: object, path: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ManifestError(path, f"expected a list of two ints, found {value!r}")
    low, high = (_count(n, f"{path}[{i}]") for i, n in enumerate(value))
    if not 1 <= low <= high <= MAX_N:
        raise ManifestError(path, f"expected 1 <= low <= high <= {MAX_N}, found {value!r}")
    return low, high


def _tokenizer(value: object, path: str) -> tuple[str | None, str | None]:
    if value is None:
        return None, None
    if not isinstance(value, dict) or value.keys() != {"name", "version"}:
        raise ManifestError(path, f"expected null or an object with name and version, found {value!r}")
    name, version = value["name"], value["version"]
    if name not in _TOKENIZERS:
        raise ManifestError(f"{path}.name", f"expected one of {_TOKENIZERS}, found {name!r}")
    if not isinstance(version, str):
        raise ManifestError(f"{path}.version", f"expected str, found {type(version).__name__}")
    return cast("str", name), version


def _pattern(value: object, path: str, *, required: bool) -> str | None:
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise ManifestError(path, f"expected str, found {type(value).__name__}")
    if required:
        try:
            groups = re.compile(value).groups
        except (re.error, OverflowError, RecursionError) as error:
            raise ManifestError(path, f"expected a regular expression, found {value!r}: {error}") from None
        if groups > 1:
            raise ManifestError(path, f"expected at most one capturing group, found {groups} in {value!r}")
    return value


def _stop_words(value: object, path: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ManifestError(path, "expected null or a list of str")
    return tuple(value)

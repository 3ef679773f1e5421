"""A fitted vocabulary to the packed n-gram assets that ``ortolan.inputs.ngrams`` reads.

Assets, all ``.npy``, below ``assets/ngrams/`` (A: number of symbols, the unknown one included; N: number of trie nodes;
n: number of features)::

    alphabet.npy               char, char_wb: uint32[A - 1], code points of the known characters, ascending
    word_checksums.npy         word: uint32[A - 1], CRC-32 of the known words' UTF-8 bytes, ascending
    word_lengths.npy           word: unsigned[A - 1], lengths of those bytes
    words.npy                  word: uint8[...], the bytes one after another
    level<k>_children.npy      k = 2 to the largest n: unsigned, number of children of each node of level k - 1
    level<k>_symbols.npy       the same: unsigned, the last symbol of each n-gram of level k, ascending below a parent
    nodes.npy                  which nodes are features. nodes = "all": no such file, node i is feature i - 1;
                               "bits": uint8[2, (N + 7) // 8], np.packbits of "is a feature" and "is a kept feature",
                               kept ones numbered first, then the others, each in order of the nodes;
                               "ids": int32[N], the feature of each node or -1, where several n-grams are one feature
    idf.npy, idf_codes.npy     idf = "float64": float64[n]; "palette": the distinct values, and unsigned[n] indices
    buckets.npy                hashed n-grams of which not all buckets are kept: uint32[kept], those that are, ascending
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan.inputs.assets import npy_bytes, smallest_unsigned
from ortolan.inputs.config import MAX_N
from ortolan.inputs.trie import Trie
from ortolan.inputs.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.config import NgramConfig

MAX_PATHS = 4_000_000
"""Most n-grams that a vocabulary may stand for; beyond it the bundle would not fit a small device anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledVocabulary:
    """A vocabulary in packed form, its features renumbered.

    Args:
        arrays: the assets, by path below ``assets/``.
        order: int64[n], a permutation: new feature id -> source feature id. The kept features come first.
        kept: number of kept features: the model's rows are ``coefficients[order[:kept]]``. May be 0; the ONNX graph
            then still needs one row, of zeros, because padding has the id 0.
        nodes: how ``arrays`` map nodes to features.
    """

    arrays: dict[str, NDArray[Any]]
    order: NDArray[np.int64]
    kept: int
    nodes: Literal["all", "bits", "ids"]


def compile_vocabulary(
    terms: Sequence[str], spec: NgramConfig, kept: NDArray[np.bool_] | None = None
) -> CompiledVocabulary:
    """Pack a vocabulary.

    Args:
        terms: the term of each source feature id, distinct.
        spec: the vectorizer's options; ``features``, ``kept``, ``idf`` and ``nodes`` are not read.
        kept: bool[n], which features the model uses; the others only count for the norm. None for all. Where there
            is no norm, leave terms that the model does not use out of ``terms`` instead.

    Raises:
        UnsupportedError: an n-gram range outside 1 to 64, or a vocabulary that stands for more than 4 million n-grams.
    """
    low, high = spec.ngram_range
    if not 1 <= low <= high <= MAX_N:
        raise UnsupportedError(f"ngram_range: expected 1 <= low <= high <= {MAX_N}, found {spec.ngram_range}")
    keep = np.ones(len(terms), bool) if kept is None else np.asarray(kept, bool)
    if spec.analyzer == "word":
        paths = list(_word_paths(terms, spec))
        symbols, arrays = Words.pack(sorted({word for path, _ in paths for word in path}, key=_code_points))
    else:
        paths = [(tuple(term), feature) for feature, term in enumerate(terms) if _producible(term, spec)]
        symbols = sorted({character for path, _ in paths for character in path})
        arrays = {"ngrams/alphabet.npy": np.array([ord(character) for character in symbols], np.uint32)}
    ids = {symbol: i for i, symbol in enumerate(symbols, 1)}
    numbered = [(tuple(ids[symbol] for symbol in path), feature) for path, feature in paths]
    levels, numbers = Trie.pack((path for path, _ in numbered), len(symbols) + 1, high)
    arrays.update(levels)
    source = np.full(len(numbers), -1, np.int64)
    for path, feature in numbered:
        source[numbers[path] - 1] = feature
    return _number(arrays, source, keep)


def text_assets(
    spec: NgramConfig, compiled: CompiledVocabulary, idf: NDArray[np.float64] | None
) -> tuple[dict[str, object], dict[str, bytes]]:
    """The ``"input"`` object of the task's configuration, and the content of the assets by path below ``assets/``.

    Args:
        spec: the vectorizer's options.
        compiled: its vocabulary.
        idf: float64[n] in the new order (``source_idf[compiled.order]``), or None for no idf.

    Raises:
        UnsupportedError: an idf that is not finite.
    """
    arrays = dict(compiled.arrays)
    form = None if idf is None else _pack_weights(arrays, idf)
    config = replace(spec, features=len(compiled.order), kept=compiled.kept, idf=form, nodes=compiled.nodes)
    return config.to_json(), _files(arrays)


def hashed_assets(
    spec: NgramConfig, kept: NDArray[np.int64], idf: NDArray[np.float64] | None
) -> tuple[dict[str, object], dict[str, bytes]]:
    """As `text_assets`, for n-grams by their hashes: the file ``buckets.npy`` names the kept buckets, if not all are.

    Args:
        spec: the vectorizer's options; ``features`` is the number of buckets.
        kept: int64, the buckets that the model takes, ascending; in this order they are its features.
        idf: float64[buckets], or None for no idf.

    Raises:
        UnsupportedError: an idf that is not finite.
    """
    arrays: dict[str, NDArray[Any]] = {}
    form = None if idf is None else _pack_weights(arrays, idf)
    every = len(kept) == spec.features
    if not every:
        arrays["ngrams/buckets.npy"] = kept.astype(np.uint32)
    config = replace(spec, kept=len(kept), idf=form, nodes="all" if every else "ids")
    return config.to_json(), _files(arrays)


def _pack_weights(arrays: dict[str, NDArray[Any]], idf: NDArray[Any]) -> Literal["palette", "float64"]:
    """Add the weights to the arrays; gives the form they have there."""
    weights = np.asarray(idf, np.float64)
    if not np.isfinite(weights).all():
        raise UnsupportedError("idf_: expected finite weights, found nan or infinity")
    values, codes = np.unique(weights, return_inverse=True)
    if len(values) > 1 << 16:
        arrays["ngrams/idf.npy"] = weights
        return "float64"
    arrays["ngrams/idf.npy"] = values
    arrays["ngrams/idf_codes.npy"] = codes.astype(smallest_unsigned(len(values) - 1))
    return "palette"


def _files(arrays: dict[str, NDArray[Any]]) -> dict[str, bytes]:
    return {path: npy_bytes(array) for path, array in sorted(arrays.items())}


def _number(arrays: dict[str, NDArray[Any]], source: NDArray[np.int64], keep: NDArray[np.bool_]) -> CompiledVocabulary:
    """New feature ids in order of the nodes: the kept features, then the others; ``source`` is -1 for no feature."""
    used = source >= 0
    reached, first = np.unique(source[used], return_index=True)
    in_order = reached[first.argsort(kind="stable")]
    never = np.setdiff1d(np.arange(len(keep)), reached)
    groups = [in_order[keep[in_order]], never[keep[never]], in_order[~keep[in_order]], never[~keep[never]]]
    order = np.concatenate(groups).astype(np.int64)
    nodes: Literal["all", "bits", "ids"] = "bits"
    if len(reached) != used.sum():
        nodes = "ids"
        new = np.full(len(keep) + 1, -1, np.int32)
        new[order] = np.arange(len(order), dtype=np.int32)
        arrays["ngrams/nodes.npy"] = new[source]
    elif used.all() and keep.all() and not len(never):
        nodes = "all"
    else:
        arrays["ngrams/nodes.npy"] = np.packbits([used, used & keep[source]], axis=1)
    return CompiledVocabulary(arrays=arrays, order=order, kept=int(keep.sum()), nodes=nodes)


def _producible(term: str, spec: NgramConfig) -> bool:
    """Whether a character analyzer can produce the term at all; the others need no n-gram."""
    low, high = spec.ngram_range
    if spec.analyzer == "char":
        return low <= len(term) <= high
    # Words contain no white space; one space stands on either side of each.
    if any(c.isspace() for c in term[1:-1]) or any(c.isspace() and c != " " for c in term):
        return False
    if len(term) < low:
        return len(term) >= 3 and term[0] == term[-1] == " "
    return len(term) <= high


def _word_paths(terms: Iterable[str], spec: NgramConfig) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every sequence of tokens that the vectorizer would join to one of the terms, with the term's feature."""
    low, high = spec.ngram_range
    possible = _token_test(spec)
    count = 0
    for feature, term in enumerate(terms):
        pieces = term.split(" ")
        if possible is _has_no_space:
            candidates: Iterable[tuple[str, ...]] = [tuple(pieces)] if low <= len(pieces) <= high else []
        else:
            candidates = _partitions(pieces, low, high)
        for tokens in candidates:
            count += 1
            if count > MAX_PATHS:
                raise UnsupportedError(
                    f"vocabulary: its terms can be made of tokens in more than {MAX_PATHS} ways, because tokens may"
                    " contain spaces; use a token_pattern that matches none, or a smaller ngram_range"
                )
            if all(map(possible, tokens)):
                yield tokens, feature


def _partitions(pieces: list[str], low: int, high: int) -> Iterator[tuple[str, ...]]:
    """All ways to write pieces joined by spaces as ``low`` to ``high`` tokens joined by spaces."""
    for n in range(low, min(high, len(pieces)) + 1):
        for cuts in combinations(range(1, len(pieces)), n - 1):
            bounds = (0, *cuts, len(pieces))
            yield tuple(" ".join(pieces[a:b]) for a, b in pairwise(bounds))


def _has_no_space(token: str) -> bool:
    return " " not in token


def _is_jieba_token(token: str) -> bool:
    # jieba yields every white space character as a token of its own.
    return " " not in token or len(token) == 1


def _token_test(spec: NgramConfig) -> Callable[[str], bool]:
    """A condition that every token meets; wider than what the tokenizer can yield, never narrower."""
    if spec.tokenizer is not None:
        return _is_jieba_token
    return (lambda _: True) if _may_match_space(spec.token_pattern or "") else _has_no_space


def _may_match_space(pattern: str) -> bool:
    """Whether a match of the regular expression may contain a space; True where that is hard to tell."""
    try:
        # The parser of `re` itself: undocumented, but there is no other. It had another name before Python 3.11.
        parser: Any = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
        return _consumes_space(parser.parse(pattern))
    except (ImportError, AttributeError, TypeError, ValueError, re.error):
        return True


def _consumes_space(items: Iterable[Any]) -> bool:
    for operator, argument in items:
        name = str(operator)
        if name in ("AT", "ASSERT", "ASSERT_NOT", "GROUPREF"):
            continue  # consumes nothing, or what a group seen elsewhere has matched
        if name == "LITERAL":
            if argument == 32:
                return True
        elif name == "IN":
            if _set_has_space(argument):
                return True
        elif name == "SUBPATTERN":
            if _consumes_space(argument[-1]):
                return True
        elif name == "BRANCH":
            if any(_consumes_space(branch) for branch in argument[1]):
                return True
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            if _consumes_space(argument[2]):
                return True
        else:
            return True
    return False


def _set_has_space(items: Sequence[tuple[Any, Any]]) -> bool:
    """Whether a character set like ``[^a-z]`` has a space in it."""
    negated = str(items[0][0]) == "NEGATE"
    found = False
    for operator, argument in items[1:] if negated else items:
        name = str(operator)
        if name == "LITERAL":
            found |= argument == 32
        elif name == "RANGE":
            found |= argument[0] <= 32 <= argument[1]
        elif name == "CATEGORY":
            found |= str(argument) in ("CATEGORY_SPACE", "CATEGORY_NOT_WORD", "CATEGORY_NOT_DIGIT")
        else:
            return True
    return found != negated


def _code_points(word: str) -> tuple[int, ...]:
    return tuple(map(ord, word))

"""Normalised text to sequences of symbols: characters or words by the ids that the trie of n-grams knows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.assets import read_array, smallest_unsigned
from ortolan.inputs.normalize import normalizer, squeeze, tokenizer
from ortolan.inputs.words import Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.config import NgramConfig

BLOCK = 1 << 17
"""Characters of text put into one block, unless a single text is longer."""

_BEYOND = 0x110000


@dataclass(frozen=True, slots=True)
class Block:
    """Symbols of several texts in a row, each text followed by an unknown one, so that no n-gram crosses texts.

    Args:
        symbols: unsigned[n], ids in [0, A).
        starts: int64[texts], position of each text's first symbol, ascending.
        first_row: number of the block's first text.
        word_lengths: for ``char_wb`` with n-grams of four and more: int64[n], the padded length of the word that starts
            at a position, 0 elsewhere.
    """

    symbols: NDArray[Any]
    starts: NDArray[np.int64]
    first_row: int
    word_lengths: NDArray[np.int64] | None = None


class CharSymbols:
    """Characters as symbols, in order of their code points."""

    def __init__(self, config: NgramConfig, alphabet: NDArray[np.uint32]) -> None:
        """Args:
        config: the options.
        alphabet: uint32[A - 1], distinct code points, ascending.
        """
        self.size = len(alphabet) + 1
        self._normalize = normalizer(config)
        self._bounded = config.analyzer == "char_wb"
        # " w " of a word w has at least three characters, so only then can a word be shorter than all n-grams.
        self.needs_lengths = self._bounded and config.ngram_range[0] > 3
        # One more entry than the largest code point: take() clips larger ones to it, and it says "unknown".
        self._table = np.zeros(int(alphabet.max(initial=0)) + 2, smallest_unsigned(len(alphabet)))
        self._table[alphabet] = np.arange(1, self.size)
        self._separator = "\n" if self._bounded else _separator(alphabet)

    @classmethod
    def read(cls, config: NgramConfig, read_asset: ReadAsset) -> CharSymbols:
        """From ``ngrams/alphabet.npy``.

        Raises:
            BundleError: a damaged file.
        """
        alphabet = read_array(read_asset, "ngrams/alphabet.npy", "uint32")
        if (alphabet[1:] <= alphabet[:-1]).any() or int(alphabet.max(initial=0)) >= _BEYOND:
            raise BundleError("assets/ngrams/alphabet.npy: expected ascending code points")
        if config.analyzer == "char_wb" and (alphabet == ord("\n")).any():
            raise BundleError("assets/ngrams/alphabet.npy: a line feed, which words cannot contain")
        return cls(config, alphabet)

    def one(self, text: str) -> NDArray[Any]:
        """Symbols of a single text for the analyzer ``"char"``, without a separator."""
        text = squeeze(" ", self._normalize(text))
        return self._table.take(np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4"), mode="clip")

    def blocks(self, texts: Sequence[str]) -> Iterator[Block]:
        """All texts, in blocks of bounded size."""
        for first, group in groups(texts):
            pieces = [self._prepare(text) for text in group]
            starts = _starts([len(piece) for piece in pieces])
            joined = self._separator.join(pieces) + self._separator
            codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
            lengths = _word_lengths(codes) if self.needs_lengths else None
            yield Block(self._table.take(codes, mode="clip"), starts, first, lengths)

    def _prepare(self, text: str) -> str:
        text = self._normalize(text)
        if not self._bounded:
            return squeeze(" ", text)
        # A line feed, which no word contains, keeps n-grams from crossing words.
        inside = " \n ".join(text.split())
        return f" {inside} " if inside else ""


class WordSymbols:
    """Words as symbols."""

    def __init__(self, config: NgramConfig, words: Words) -> None:
        """Args:
        config: the options.
        words: the known words.

        Raises:
            MissingPackageError: the tokenizer's package is missing.
        """
        self.size = len(words) + 1
        self.needs_lengths = False
        self._words = words
        self._normalize = normalizer(config)
        self._tokenize = tokenizer(config)

    @classmethod
    def read(cls, config: NgramConfig, read_asset: ReadAsset) -> WordSymbols:
        """From the files that :class:`Words` reads."""
        return cls(config, Words.read(read_asset))

    def one(self, text: str) -> NDArray[Any]:
        """Symbols of a single text, without a separator."""
        return np.array(self._words.lookup(self._tokenize(self._normalize(text))), np.uint32)

    def blocks(self, texts: Sequence[str]) -> Iterator[Block]:
        """All texts, in blocks of bounded size."""
        for first, group in groups(texts):
            documents = [self._tokenize(self._normalize(text)) for text in group]
            lengths = [len(document) for document in documents]
            distinct = list(dict.fromkeys(chain.from_iterable(documents)))
            ids = dict(zip(distinct, self._words.lookup(distinct), strict=True))
            starts = _starts(lengths)
            symbols = np.zeros(sum(lengths) + len(lengths), np.uint32)
            known = np.ones(len(symbols), bool)
            known[starts + lengths] = False
            symbols[known] = np.fromiter(map(ids.__getitem__, chain.from_iterable(documents)), np.uint32)
            yield Block(symbols, starts, first)


def spaced_words(text: str) -> list[str]:
    """The words of a text, each between spaces, as the analyzer ``"char_wb"`` has them."""
    return [f" {word} " for word in text.split()]


def groups(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Consecutive texts of about ``BLOCK`` characters together, each group with the number of its first text."""
    first = size = 0
    for i, text in enumerate(texts):
        if size and size + len(text) > BLOCK:
            yield first, texts[first:i]
            first, size = i, 0
        size += len(text) + 1
    if first < len(texts):
        yield first, texts[first:]


def _starts(lengths: Iterable[int]) -> NDArray[np.int64]:
    """Where each of several sequences begins if one separator follows each."""
    ends = np.fromiter(lengths, np.int64) + 1
    return np.cumsum(ends) - ends


def _separator(alphabet: NDArray[np.uint32]) -> str:
    """A character that is neither white space nor in the alphabet."""
    known = set(alphabet.tolist())
    for code in range(_BEYOND - 1, -1, -1):
        if code not in known and not chr(code).isspace():
            return chr(code)
    raise BundleError("assets/ngrams/alphabet.npy: expected some code points to be free, found all in use")


def _word_lengths(codes: NDArray[np.uint32]) -> NDArray[np.int64]:
    """At the start of each word its length, elsewhere 0; words are what stands between line feeds."""
    ends = (codes == ord("\n")).nonzero()[0]
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = np.zeros(len(codes), np.int64)
    lengths[starts] = ends - starts
    return lengths

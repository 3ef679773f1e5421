"""n-grams of texts by their hashes, exact against scikit-learn's HashingVectorizer: no vocabulary is kept."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import BundleError, InputError
from ortolan.inputs.assets import read_array
from ortolan.inputs.murmur import murmur3_32
from ortolan.inputs.normalize import normalizer, squeeze, tokenizer
from ortolan.inputs.radix import distinct, distinct_sums
from ortolan.inputs.symbols import groups, spaced_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.config import NgramConfig

WINDOW = 1 << 17
"""n-grams hashed at a time: bounds the memory that one long text takes, to about 10 MB."""


@dataclass(frozen=True, slots=True)
class _Units:
    """Characters or words of texts in a row.

    Args:
        data: their bytes.
        starts: int64[n], where each unit begins in ``data``.
        ends: int64[n], where it ends.
        left: int64[n], how many units there are from it to the end of the text or word that n-grams stay inside.
        rows: int64[n], number of the text it belongs to.
        whole: int64, units that begin a word shorter than every n-gram, which counts once as a whole.
    """

    data: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    left: NDArray[np.int64]
    rows: NDArray[np.int64]
    whole: NDArray[np.int64]


class HashedNgrams:
    """Counts n-grams by the bucket that their hash falls into."""

    def __init__(self, config: NgramConfig) -> None:
        """Args:
        config: the options; ``features`` is the number of buckets.

        Raises:
            MissingPackageError: the tokenizer's package is missing.
        """
        self._range = config.ngram_range
        self._buckets = config.features
        self._signed = config.hashed == "signed"
        self._analyzer = config.analyzer
        self._normalize = normalizer(config)
        self._tokenize = tokenizer(config) if config.analyzer == "word" else None

    def one(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Buckets, ascending, and what the n-grams in each add up to; 0 is possible where signs cancel."""
        _, buckets, counts = self.many([text])
        return buckets, counts

    def many(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows, buckets and sums of all texts, ascending by row, then by bucket.

        Raises:
            InputError: a text with a lone surrogate, which has no UTF-8 form to be hashed.
        """
        bits = self._buckets.bit_length()
        nothing = np.empty(0, np.int64)
        rows, buckets, counts = [nothing], [nothing], [nothing]
        for first, group in groups(texts):
            keys, amounts = self._count(self._units(group, first if len(texts) > 1 else None), bits)
            rows.append((keys >> bits) + first)
            buckets.append(keys & ((1 << bits) - 1))
            counts.append(amounts)
        return np.concatenate(rows), np.concatenate(buckets), np.concatenate(counts)

    def _count(self, units: _Units, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct ``row << bits | bucket``, ascending, and the sum of each."""
        nothing = np.empty(0, np.int64)
        found = [(nothing, nothing), *(self._hashed(units, at, ends, bits) for at, ends in self._pieces(units))]
        if len(found) == 2:
            return found[1]
        keys, counts = zip(*found, strict=True)
        return distinct_sums(np.concatenate(keys), np.concatenate(counts))

    def _pieces(self, units: _Units) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """First unit and end in bytes of all n-grams, window by window."""
        low, high = self._range
        window = max(1, WINDOW // (high - low + 1))
        for start in range(0, len(units.starts), window):
            left = units.left[start : start + window]
            firsts, ends = [], []
            for n in range(low, high + 1):
                at = (left >= n).nonzero()[0] + start
                firsts.append(at)
                ends.append(units.ends.take(at + (n - 1)))
            if len(units.whole):
                at = units.whole[(units.whole >= start) & (units.whole < start + window)]
                firsts.append(at)
                ends.append(units.ends.take(at + units.left.take(at) - 1))
            yield np.concatenate(firsts), np.concatenate(ends)

    def _hashed(
        self, units: _Units, firsts: NDArray[np.int64], ends: NDArray[np.int64], bits: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts = units.starts.take(firsts)
        begin, end = int(starts.min(initial=len(units.data))), int(ends.max(initial=0))
        hashes = murmur3_32(units.data[begin:end], starts - begin, ends - starts).view(np.int32).astype(np.int64)
        keys = np.abs(hashes)
        keys %= self._buckets
        keys |= units.rows.take(firsts) << bits
        if not self._signed:
            return distinct(keys)
        return distinct_sums(keys, np.where(hashes >= 0, 1, -1))

    def _units(self, texts: Sequence[str], first: int | None) -> _Units:
        normalized = [self._normalize(text) for text in texts]
        if self._tokenize is not None:
            return _of_words([self._tokenize(text) for text in normalized], first)
        if self._analyzer == "char":
            return _of_characters([[squeeze(" ", text)] for text in normalized], 0, first)
        return _of_characters([spaced_words(text) for text in normalized], self._range[0], first)


def read_buckets(config: NgramConfig, read_asset: ReadAsset) -> NDArray[np.uint32] | None:
    """uint32[kept], ascending: the buckets that the model takes, from ``ngrams/buckets.npy``; None for all.

    Raises:
        BundleError: a damaged file.
    """
    if config.nodes == "all":
        if config.kept != config.features:
            raise BundleError(f"task.config.input: {config.kept} of {config.features} buckets kept, but not which")
        return None
    buckets = read_array(read_asset, "ngrams/buckets.npy", "uint32")
    if len(buckets) != config.kept or (buckets[1:] <= buckets[:-1]).any():
        raise BundleError(f"assets/ngrams/buckets.npy: expected {config.kept} ascending numbers")
    if int(buckets.max(initial=0)) >= max(config.features, 1):
        raise BundleError(f"assets/ngrams/buckets.npy: expected numbers below {config.features}")
    return buckets


def _of_words(documents: Sequence[list[str]], first: int | None) -> _Units:
    raws = [_encoded(token, i, first) for i, tokens in enumerate(documents) for token in tokens]
    sizes = np.fromiter(map(len, raws), np.int64, len(raws))
    starts = np.cumsum(sizes + 1) - sizes - 1
    lengths = np.fromiter(map(len, documents), np.int64, len(documents))
    rows = np.repeat(np.arange(len(documents)), lengths)
    left = np.cumsum(lengths).repeat(lengths) - np.arange(len(raws))
    # As scikit-learn, n-grams of words are joined by spaces.
    return _Units(b" ".join(raws), starts, starts + sizes, left, rows, np.empty(0, np.int64))


def _of_characters(texts: Sequence[list[str]], shortest: int, first: int | None) -> _Units:
    """Characters of pieces that n-grams stay inside; pieces of fewer characters than ``shortest`` count as a whole."""
    pieces = list(chain.from_iterable(texts))
    lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
    joined = "".join(pieces)
    if joined.isascii():
        data, bounds = joined.encode("ascii"), np.arange(len(joined) + 1)
    else:
        data = b"".join([_encoded(piece, i, first) for i, own in enumerate(texts) for piece in own])
        codes = np.frombuffer(joined.encode("utf-32-le"), "<u4")
        sizes = 1 + (codes > 0x7F) + (codes > 0x7FF).astype(np.int64) + (codes > 0xFFFF)
        bounds = np.concatenate((np.zeros(1, np.int64), sizes.cumsum()))
    ends = np.cumsum(lengths)
    left = ends.repeat(lengths) - np.arange(len(joined))
    rows = np.repeat(np.arange(len(texts)), np.fromiter(map(len, texts), np.int64, len(texts))).repeat(lengths)
    whole = (ends - lengths)[(lengths < shortest) & (lengths > 0)]
    return _Units(data, bounds[:-1], bounds[1:], left, rows, whole)


def _encoded(piece: str, row: int, first: int | None) -> bytes:
    try:
        return piece.encode()
    except UnicodeEncodeError as error:
        place = "" if first is None else f"text {first + row}: "
        raise InputError(
            f"{place}{piece[error.start]!a} is a lone surrogate, which has no UTF-8 form to be hashed"
        ) from None

"""n-grams of texts that a vocabulary has, found by a trie of their symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.assets import read_array
from ortolan.inputs.radix import distinct, distinct_sums
from ortolan.inputs.symbols import CharSymbols, WordSymbols
from ortolan.inputs.trie import Trie

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.config import NgramConfig
    from ortolan.inputs.symbols import Block

WINDOW = 1 << 17
"""Symbols matched at a time: bounds the memory that one long text or one batch takes, to about 10 MB."""


class KnownNgrams:
    """Counts the n-grams of a vocabulary."""

    def __init__(
        self, config: NgramConfig, symbols: CharSymbols | WordSymbols, trie: Trie, features: NDArray[np.int32] | None
    ) -> None:
        """Args:
        config: the options.
        symbols: text to symbols.
        trie: symbols to nodes.
        features: int32[nodes + 1], feature of each node, -1 for none; None if node n is feature n - 1.
        """
        self._bits = config.features.bit_length()
        self._overlap = config.ngram_range[1] - 1
        self._shortest = config.ngram_range[0]
        self._symbols = symbols
        self._trie = trie
        self._features = features
        self._pairs = config.ngram_range == (1, 2) and config.analyzer == "char" and features is None

    @classmethod
    def read(cls, config: NgramConfig, read_asset: ReadAsset) -> KnownNgrams:
        """From the files below ``ngrams/``.

        Raises:
            BundleError: damaged files.
            MissingPackageError: the tokenizer's package is missing.
        """
        symbols = (WordSymbols if config.analyzer == "word" else CharSymbols).read(config, read_asset)
        trie = Trie.read(read_asset, symbols.size, config.ngram_range[1])
        return cls(config, symbols, trie, _read_features(config, trie, read_asset))

    def one(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids, ascending, and counts of one text's features; ids dropped later included."""
        if self._pairs and len(text) < WINDOW:
            return self._count_pairs(text)
        # A single text's row is 0, so its keys are the ids.
        return self._count_block(next(self._symbols.blocks([text])))

    def many(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows, ids and counts of all texts' features, ascending by row, then by id; ids dropped later included."""
        nothing = np.empty(0, np.int64)
        rows, ids, counts = [nothing], [nothing], [nothing]
        bits = self._bits
        for block in self._symbols.blocks(texts):
            keys, amounts = self._count_block(block)
            rows.append((keys >> bits) + block.first_row)
            ids.append(keys & ((1 << bits) - 1))
            counts.append(amounts)
        return np.concatenate(rows), np.concatenate(ids), np.concatenate(counts)

    def _count_pairs(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and counts for characters and pairs of them, all of them features: the usual case, in few calls."""
        nodes, counts = distinct(np.concatenate(self._trie.match_pairs(self._symbols.one(text))))
        nodes -= 1
        return nodes, counts

    def _count_block(self, block: Block) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct keys of a block, ascending, and how often each occurs."""
        windows = [distinct(keys) for keys in self._keys(block)]
        if len(windows) == 1:
            return windows[0]
        keys, counts = zip(*windows, strict=True)
        return distinct_sums(np.concatenate(keys), np.concatenate(counts))

    def _keys(self, block: Block) -> Iterator[NDArray[np.int64]]:
        """``row << bits | feature`` of every occurrence in a block of texts, window by window; rows from 0."""
        for start in range(0, len(block.symbols), WINDOW):
            window = block.symbols[start : start + WINDOW + self._overlap]
            occurrences = []
            for n, found, offsets in self._trie.match(window, 1 if self._symbols.needs_lengths else self._shortest):
                inside = offsets.searchsorted(WINDOW)
                nodes, at = found[:inside], offsets[:inside] + start
                if n < self._shortest and block.word_lengths is not None:
                    # A word shorter than every n-gram counts once as a whole.
                    whole = block.word_lengths.take(at) == n
                    nodes, at = nodes[whole], at[whole]
                features = nodes - 1 if self._features is None else self._features.take(nodes).astype(np.int64)
                if len(block.starts) == 1:
                    keys = features
                else:
                    keys = block.starts.searchsorted(at, side="right") - 1
                    keys <<= self._bits
                    keys |= features
                occurrences.append(keys if self._features is None else keys[features >= 0])
            yield np.concatenate(occurrences) if len(occurrences) > 1 else occurrences[0]


def _read_features(config: NgramConfig, trie: Trie, read_asset: ReadAsset) -> NDArray[np.int32] | None:
    """The feature of each node, as ``ngrams/nodes.npy`` says; see ``converters``' vocabulary for the three forms."""
    if config.nodes == "all":
        if config.features != trie.nodes or config.kept != config.features:
            raise BundleError(f"assets/ngrams: {trie.nodes} n-grams found, expected {config.features}, all kept")
        return None
    features = np.full(trie.nodes + 1, -1, np.int32)
    if config.nodes == "ids":
        ids = read_array(read_asset, "ngrams/nodes.npy", "int32")
        if len(ids) != trie.nodes or int(ids.max(initial=-1)) >= config.features or int(ids.min(initial=0)) < -1:
            raise BundleError("assets/ngrams/nodes.npy: does not fit the n-grams or the number of features")
        features[1:] = ids
        return features
    planes = read_array(read_asset, "ngrams/nodes.npy", "uint8", ndim=2)
    if planes.shape != (2, (trie.nodes + 7) // 8):
        raise BundleError(
            f"assets/ngrams/nodes.npy: expected 2 planes of {trie.nodes} bits, found {planes.shape} bytes"
        )
    used, kept = np.unpackbits(planes, axis=1, count=trie.nodes).astype(bool)
    dropped = used & ~kept
    if (kept & ~used).any() or kept.sum() > config.kept or dropped.sum() > config.features - config.kept:
        raise BundleError("assets/ngrams/nodes.npy: does not fit the number of features")
    features[1:][kept] = np.arange(kept.sum())
    features[1:][dropped] = np.arange(config.kept, config.kept + dropped.sum())
    return features

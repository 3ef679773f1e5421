"""Text to weighted n-gram features, exact against scikit-learn's CountVectorizer and TfidfVectorizer.

Counts are integers and therefore equal; weights are computed in float64 as scikit-learn computes them and rounded to
float32 once at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.assets import read_array
from ortolan.inputs.config import parse_config
from ortolan.inputs.radix import distinct, distinct_sums
from ortolan.inputs.symbols import CharSymbols, WordSymbols
from ortolan.inputs.trie import Trie

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.config import NgramConfig
    from ortolan.inputs.symbols import Block

WINDOW = 1 << 17
"""Symbols matched at a time: bounds the memory that one long text or one batch takes, to about 10 MB."""


class NgramEncoder:
    """Turns texts into the ids and weights of the features that occur in them. Thread-safe."""

    def __init__(
        self,
        config: NgramConfig,
        symbols: CharSymbols | WordSymbols,
        trie: Trie,
        features: NDArray[np.int32] | None,
        weights: tuple[NDArray[np.float64], NDArray[Any] | None] | None,
    ) -> None:
        """Args:
        config: the options.
        symbols: text to symbols.
        trie: symbols to nodes.
        features: int32[nodes + 1], feature of each node, -1 for none; None if node n is feature n - 1.
        weights: float64 idf per feature and None, or the distinct values and per feature its index among them;
            None without idf.
        """
        self.config = config
        self._symbols = symbols
        self._trie = trie
        self._features = features
        self._idf: NDArray[np.float64] | None
        self._codes: NDArray[Any] | None
        self._idf, self._codes = weights or (None, None)
        self._drops = config.kept < config.features
        self._shortest = config.ngram_range[0]
        self._pairs = config.ngram_range == (1, 2) and config.analyzer == "char" and features is None

    @classmethod
    def open(cls, raw: Mapping[str, object], read_asset: ReadAsset, path: str = "task.config.input") -> NgramEncoder:
        """The encoder that a bundle describes.

        Args:
            raw: the ``"input"`` object of the task's configuration.
            read_asset: gives the content of an asset by its path below ``assets/``.
            path: dotted path of ``raw``, for messages.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: damaged assets.
            MissingPackageError: the tokenizer's package is missing.
        """
        config = parse_config(raw, path)
        symbols = (WordSymbols if config.analyzer == "word" else CharSymbols).read(config, read_asset)
        trie = Trie.read(read_asset, symbols.size, config.ngram_range[1])
        return cls(config, symbols, trie, _read_features(config, trie, read_asset), _read_idf(config, read_asset))

    def encode_one(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids, ascending, and weights of the features in one text; both of length n >= 0.

        The caller has checked that ``text`` is a str.
        """
        if self._pairs and len(text) < WINDOW:
            ids, counts = self._count_pairs(text)
        else:
            # A single text's row is 0, so its keys are the ids.
            ids, counts = self._count_block(next(self._symbols.blocks([text])), self.config.features.bit_length())
        values = self._weigh(ids, counts)
        norm = self.config.norm
        if norm is not None:
            length = values.dot(values) ** 0.5 if norm == "l2" else np.abs(values).sum()
            if length > 0:
                values /= length
        if self._drops:
            kept = ids.searchsorted(self.config.kept)
            ids, values = ids[:kept], values[:kept]
        return ids, values.astype(np.float32)

    def encode_many(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Ids and weights of many texts in one go.

        The caller has checked that all texts are str.

        Returns:
            ids int64[n], values float32[n], offsets int64[len(texts) + 1]: text i has ids[offsets[i]:offsets[i + 1]].
        """
        rows, ids, counts = self._count(texts)
        values = self._weigh(ids, counts)
        if self.config.norm is not None:
            squared = self.config.norm == "l2"
            lengths = np.bincount(rows, values * values if squared else np.abs(values), len(texts))
            if squared:
                lengths = np.sqrt(lengths)
            lengths[lengths == 0] = 1
            values /= lengths.take(rows)
        if self._drops:
            kept = ids < self.config.kept
            rows, ids, values = rows[kept], ids[kept], values[kept]
        offsets = rows.searchsorted(np.arange(len(texts) + 1))
        return ids, values.astype(np.float32), offsets

    def _weigh(self, ids: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Term frequencies times idf, before the norm; a new array."""
        if self.config.binary:
            values = np.ones(len(ids))
        else:
            values = counts.astype(np.float64)
            if self.config.sublinear_tf:
                np.log(values, out=values)
                values += 1
        if self._idf is not None:
            values *= self._idf.take(ids if self._codes is None else self._codes.take(ids))
        return values

    def _count_pairs(self, text: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids and counts for characters and pairs of them, all of them features: the usual case, in few calls."""
        nodes, counts = distinct(np.concatenate(self._trie.match_pairs(self._symbols.one(text))))
        nodes -= 1
        return nodes, counts

    def _count(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Rows, ids and counts of all texts' features, ascending by row, then by id; ids dropped later included."""
        nothing = np.empty(0, np.int64)
        rows, ids, counts = [nothing], [nothing], [nothing]
        bits = self.config.features.bit_length()
        for block in self._symbols.blocks(texts):
            keys, amounts = self._count_block(block, bits)
            rows.append((keys >> bits) + block.first_row)
            ids.append(keys & ((1 << bits) - 1))
            counts.append(amounts)
        return np.concatenate(rows), np.concatenate(ids), np.concatenate(counts)

    def _count_block(self, block: Block, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The distinct keys of a block, ascending, and how often each occurs."""
        windows = [distinct(keys) for keys in self._keys(block, bits)]
        if len(windows) == 1:
            return windows[0]
        keys, counts = zip(*windows, strict=True)
        return distinct_sums(np.concatenate(keys), np.concatenate(counts))

    def _keys(self, block: Block, bits: int) -> Iterator[NDArray[np.int64]]:
        """``row << bits | feature`` of every occurrence in a block of texts, window by window; rows from 0."""
        overlap = self.config.ngram_range[1] - 1
        for start in range(0, len(block.symbols), WINDOW):
            window = block.symbols[start : start + WINDOW + overlap]
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
                    keys <<= bits
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


def _read_idf(config: NgramConfig, read_asset: ReadAsset) -> tuple[NDArray[np.float64], NDArray[Any] | None] | None:
    if config.idf is None:
        return None
    values = read_array(read_asset, "ngrams/idf.npy", "float64")
    if not np.isfinite(values).all():
        raise BundleError("assets/ngrams/idf.npy: expected finite values")
    codes = None
    if config.idf == "palette":
        codes = read_array(read_asset, "ngrams/idf_codes.npy", "uint8 uint16")
        if int(codes.max(initial=0)) >= len(values) and len(codes):
            raise BundleError(f"assets/ngrams/idf_codes.npy: a code beyond the {len(values)} values")
    if len(values if codes is None else codes) != config.features:
        raise BundleError(f"assets/ngrams/idf.npy: expected weights of {config.features} features")
    return values, codes

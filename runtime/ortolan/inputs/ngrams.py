"""Text to weighted n-gram features, exact against scikit-learn's Count-, Tfidf- and HashingVectorizer.

Counts are integers and therefore equal; weights are computed in float64 as scikit-learn computes them and rounded
once at the end, to the model's type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.assets import read_array
from ortolan.inputs.config import parse_config
from ortolan.inputs.known_ngrams import KnownNgrams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.config import NgramConfig
    from ortolan.inputs.hashed_ngrams import HashedNgrams


class NgramEncoder:
    """Turns texts into the ids and weights of the features that occur in them. Thread-safe."""

    def __init__(
        self,
        config: NgramConfig,
        ngrams: KnownNgrams | HashedNgrams,
        weights: tuple[NDArray[np.float64], NDArray[Any] | None] | None,
        buckets: NDArray[np.uint32] | None = None,
        dtype: str = "float32",
    ) -> None:
        """Args:
        config: the options.
        ngrams: texts to ids and counts.
        weights: float64 idf per feature and None, or the distinct values and per feature its index among them;
            None without idf.
        buckets: uint32[kept], ascending: the features to keep, whose ids are their positions here; None where ids below
            ``config.kept`` are kept as they are.
        dtype: of the weights, ``"float32"`` or ``"float64"``.
        """
        self.config = config
        self._ngrams = ngrams
        self._buckets = buckets
        self._idf: NDArray[np.float64] | None
        self._codes: NDArray[Any] | None
        self._idf, self._codes = weights or (None, None)
        self._dtype = np.dtype(dtype)
        self._drops = config.kept < config.features

    @classmethod
    def open(
        cls,
        raw: Mapping[str, object],
        read_asset: ReadAsset,
        path: str = "task.config.input",
        dtype: str = "float32",
    ) -> NgramEncoder:
        """The encoder that a bundle describes.

        Args:
            raw: the ``"input"`` object of the task's configuration.
            read_asset: gives the content of an asset by its path below ``assets/``.
            path: dotted path of ``raw``, for messages.
            dtype: of the weights: the model's ``"float32"`` or ``"float64"``.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: damaged assets.
            MissingPackageError: the tokenizer's package is missing.
        """
        config = parse_config(raw, path)
        if config.hashed is None:
            return cls(config, KnownNgrams.read(config, read_asset), _read_idf(config, read_asset), None, dtype)
        from ortolan.inputs.hashed_ngrams import HashedNgrams, read_buckets

        buckets = read_buckets(config, read_asset)
        return cls(config, HashedNgrams(config), _read_idf(config, read_asset), buckets, dtype)

    def encode_one(self, text: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Ids, ascending, and weights of the features in one text; both of length n >= 0.

        The caller has checked that ``text`` is a str.
        """
        ids, counts = self._ngrams.one(text)
        values = self._weigh(ids, counts)
        norm = self.config.norm
        if norm is not None:
            length = values.dot(values) ** 0.5 if norm == "l2" else np.abs(values).sum()
            if length > 0:
                values /= length
        if self._buckets is not None:
            ids, known = self._numbered(ids)
            ids, values = ids[known], values[known]
        elif self._drops:
            kept = ids.searchsorted(self.config.kept)
            ids, values = ids[:kept], values[:kept]
        return ids, values.astype(self._dtype)

    def encode_many(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[np.int64]]:
        """Ids and weights of many texts in one go.

        The caller has checked that all texts are str.

        Returns:
            ids int64[n], values [n], offsets int64[len(texts) + 1]: text i has ids[offsets[i]:offsets[i + 1]].
        """
        rows, ids, counts = self._ngrams.many(texts)
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
            if self._buckets is not None:
                ids, kept = self._numbered(ids)
            rows, ids, values = rows[kept], ids[kept], values[kept]
        offsets = rows.searchsorted(np.arange(len(texts) + 1))
        return ids, values.astype(self._dtype), offsets

    def _numbered(self, buckets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Positions of buckets among those kept, and whether they are there."""
        if self._buckets is None or not len(self._buckets):
            return np.zeros_like(buckets), np.zeros(len(buckets), bool)
        # Of one type, or numpy would convert all that are kept for each text.
        wanted = buckets.astype(np.uint32)
        at = self._buckets.searchsorted(wanted)
        return at, self._buckets.take(at, mode="clip") == wanted

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

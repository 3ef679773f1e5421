"""Texts to the n-gram features of several vectorizers, each with two inputs of the model: ids and values.

::

    kind: ngram-sets
    sets:
    - name: words              # inputs words.ids int64[batch, n], words.values float64[batch, n]; assets below words/
      ngrams: {kind: ngrams, analyzer: word, ...}       # see ortolan.inputs.config
    - name: characters
      ngrams: {kind: ngrams, analyzer: char_wb, ...}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.bundle.fields import Record, array, join, mismatch, text
from ortolan.errors import BundleError, ManifestError
from ortolan.inputs.ngrams import NgramEncoder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.types import Array, TensorSpec

KIND = "ngram-sets"
MAX_SETS = 256
"""Most vectorizers of one text; a bound against hostile configurations."""

_NAME = text(re.compile(r"[A-Za-z0-9_]{1,64}"), "a name of 1 to 64 letters, digits and underscores")


@dataclass(frozen=True, slots=True)
class Encodings:
    """The features of several texts, by set.

    Args:
        ids: int64, those of all texts in a row, then one id 0 for padding to point at.
        values: float64, their weights, then one 0.
        offsets: int64 [texts + 1], where each text's begin.
    """

    ids: Mapping[str, NDArray[np.int64]]
    values: Mapping[str, NDArray[Any]]
    offsets: Mapping[str, NDArray[np.int64]]

    def lengths(self) -> NDArray[np.int64]:
        """int64 [texts]: how many features each text has in the set in which it has most."""
        lengths: NDArray[np.int64] = np.stack([np.diff(offsets) for offsets in self.offsets.values()]).max(axis=0)
        return lengths

    def padded(self, rows: NDArray[np.int64]) -> dict[str, Array]:
        """The model's inputs for some of the texts; rows with fewer features are padded with id 0 and value 0."""
        feeds: dict[str, Array] = {}
        for name, offsets in self.offsets.items():
            starts = offsets.take(rows)
            lengths = offsets.take(rows + 1) - starts
            places = np.arange(max(int(lengths.max(initial=0)), 1))
            cells = np.where(places < lengths[:, None], starts[:, None] + places, len(self.ids[name]) - 1)
            feeds[f"{name}.ids"] = self.ids[name].take(cells)
            feeds[f"{name}.values"] = self.values[name].take(cells)
        return feeds


class NgramSets:
    """Turns a text into the features of each vectorizer. Thread-safe."""

    def __init__(self, encoders: Mapping[str, NgramEncoder]) -> None:
        """Args:
        encoders: by the name of the set, with weights in float64.
        """
        self._encoders = encoders
        self.inputs = tuple(f"{name}.{part}" for name in encoders for part in ("ids", "values"))

    @classmethod
    def open(cls, raw: object, read_asset: ReadAsset, at: str) -> NgramSets:
        """The encoders that a bundle describes.

        Args:
            raw: the object with ``"kind": "ngram-sets"``.
            read_asset: gives the content of an asset by its path below ``assets/``.
            at: dotted path of ``raw``, for messages.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: damaged assets.
            MissingPackageError: a tokenizer's package is missing.
        """
        if not isinstance(raw, dict):
            mismatch("object", raw, at)
        record = Record(raw, at, ("kind", "sets"))
        if raw.get("kind") != KIND:
            raise ManifestError(join(at, "kind"), f"expected {KIND!r}, found {raw.get('kind')!r}")

        def one(value: object, place: str) -> tuple[str, NgramEncoder]:
            if not isinstance(value, dict):
                mismatch("object", value, place)
            fields = Record(value, place, ("name", "ngrams"))
            name = fields.get("name", _NAME)
            config = value.get("ngrams")
            if not isinstance(config, dict):
                mismatch("object", config, join(place, "ngrams"))
            try:
                encoder = NgramEncoder.open(
                    config, lambda path: read_asset(f"{name}/{path}"), join(place, "ngrams"), "float64"
                )
            except ManifestError:
                raise
            except BundleError as error:
                raise type(error)(f"{place}, assets/{name}: {error}") from None
            return name, encoder

        sets = record.get("sets", array(one, least=1, most=MAX_SETS))
        encoders = dict(sets)
        if len(encoders) < len(sets):
            raise ManifestError(join(at, "sets"), "expected distinct names, found one twice")
        return cls(encoders)

    def check(self, inputs: Sequence[TensorSpec]) -> None:
        """Check that the model has these inputs.

        Raises:
            BundleError: it has not.
        """
        found = {spec.name: spec for spec in inputs}
        for name in self.inputs:
            dtype = "int64" if name.endswith(".ids") else "float64"
            spec = found.get(name)
            if spec is None:
                raise BundleError(f"model: expected an input {name!r}, found {', '.join(found) or 'none'}")
            if spec.dtype != dtype or spec.shape is None or len(spec.shape) != 2:
                raise BundleError(f"model: expected input {name!r} to be {dtype}[rows, features], found {spec}")

    def one(self, text: str) -> dict[str, Array]:
        """The model's inputs for one text, which the caller has checked to be a str.

        Raises:
            InputError: it cannot be hashed where a set hashes.
        """
        feeds: dict[str, Array] = {}
        for name, encoder in self._encoders.items():
            ids, values = encoder.encode_one(text)
            if not len(ids):
                ids, values = np.zeros(1, np.int64), np.zeros(1)
            feeds[f"{name}.ids"], feeds[f"{name}.values"] = ids[None], values[None]
        return feeds

    def many(self, texts: Sequence[str]) -> Encodings:
        """The features of several texts, which the caller has checked to be str.

        Raises:
            InputError: one of them cannot be hashed where a set hashes; the message says which.
        """
        found = {name: encoder.encode_many(texts) for name, encoder in self._encoders.items()}
        return Encodings(
            {name: np.append(ids, 0) for name, (ids, _, _) in found.items()},
            {name: np.append(values, 0.0) for name, (_, values, _) in found.items()},
            {name: offsets for name, (_, _, offsets) in found.items()},
        )

"""Texts to the tensors of a model over several vectorizers' n-gram features, one by one or in padded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.errors import BundleError
from ortolan.inputs.ngram_sets import NgramSets
from ortolan.tasks.runner import Encoded
from ortolan.tasks.texts import check_text, check_texts, groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.inputs.assets import ReadAsset
    from ortolan.types import Array, Session

CELLS = 1 << 13
"""Most features, padding included, of one run of several texts: a model may look up a hundred numbers for each."""


class TextSets:
    """The text side of a model with two inputs for each set of features; see `ortolan.inputs.ngram_sets`."""

    def __init__(self, sets: NgramSets) -> None:
        """Args:
        sets: text to the features of each.
        """
        self._sets = sets

    @classmethod
    def open(
        cls,
        config: Mapping[str, object],
        columns: int,  # noqa: ARG003 - the signature that open_text_input calls
        sessions: Mapping[str, Session],
        read_asset: ReadAsset,
    ) -> TextSets:
        """From an ``"input"`` object of kind ``"ngram-sets"``.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: damaged assets, or a model with other inputs.
            MissingPackageError: a tokenizer's package is missing.
        """
        sets = NgramSets.open(config, read_asset, "task.config.input")
        inputs = sessions["model"].inputs
        sets.check(inputs)
        unknown = [spec.name for spec in inputs if spec.name not in sets.inputs]
        if unknown:
            raise BundleError(f"model: expected the inputs {', '.join(sets.inputs)}, found {', '.join(unknown)} too")
        return cls(sets)

    def one(self, text: str) -> dict[str, Array]:
        """The tensors of one text.

        Raises:
            InputTypeError: it is no str.
            InputError: it cannot be hashed where a set hashes.
        """
        check_text(text)
        return self._sets.one(text)

    def batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        """The runs for many texts: texts of similar length together, so that padding stays small.

        Raises:
            InputTypeError: ``texts`` is a str itself, or one of them is none.
            InputError: one of them cannot be hashed where a set hashes.
        """
        check_texts(texts)
        return self._batches(texts)

    def _batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for first, group in groups(texts):
            encodings = self._sets.many(group)
            lengths = encodings.lengths()
            order = lengths.argsort(kind="stable")
            ascending = lengths.take(order)
            start = 0
            while start < len(order):
                stop = int(ascending.searchsorted(max(2 * int(ascending[start]), 8), side="right"))
                stop = min(stop, start + max(1, CELLS // max(int(ascending[stop - 1]), 1)))
                rows = order[start:stop]
                yield Encoded(encodings.padded(rows), (rows + first).tolist())
                start = stop

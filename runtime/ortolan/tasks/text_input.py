"""Texts to the tensors ``ids`` and ``values`` of a sparse linear model, one by one or in padded batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.ngrams import NgramEncoder
from ortolan.tasks.runner import Encoded
from ortolan.tasks.texts import check_text, check_texts, groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.types import Array, Session

CELLS = 1 << 18
"""Most numbers that the widest intermediate tensor of a run may have: 1 MB as float32, about a small board's cache."""


class TextInput:
    """The text side of a model with the inputs ids int64[batch, terms] and values float32[batch, terms].

    Rows with fewer terms are padded with id 0 and value 0.
    """

    def __init__(self, encoder: NgramEncoder, columns: int) -> None:
        """Args:
        encoder: text to ids and values.
        columns: numbers that the model computes per term.
        """
        self._encoder = encoder
        self._columns = columns
        self._nothing: dict[str, Array] = {"ids": np.zeros((1, 1), np.int64), "values": np.zeros((1, 1), np.float32)}

    @classmethod
    def open(
        cls, config: Mapping[str, object], columns: int, sessions: Mapping[str, Session], read_asset: ReadAsset
    ) -> TextInput:
        """From an ``"input"`` object of kind ``"ngrams"``.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: damaged assets, or a model with other inputs.
            MissingPackageError: the tokenizer's package is missing.
        """
        encoder = NgramEncoder.open(config, read_asset)
        names = [spec.name for spec in sessions["model"].inputs]
        if set(names) != {"ids", "values"}:
            raise BundleError(f"model: expected the inputs ids and values, found {', '.join(names) or 'none'}")
        return cls(encoder, columns)

    def one(self, text: str) -> dict[str, Array]:
        """The tensors of one text.

        Raises:
            InputTypeError: it is no str.
        """
        check_text(text)
        ids, values = self._encoder.encode_one(text)
        if not len(ids):
            return dict(self._nothing)
        return {"ids": ids[None], "values": values[None]}

    def batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        """The runs for many texts: texts of similar length together, so that padding at most doubles a run.

        Raises:
            InputTypeError: ``texts`` is a str itself, or one of them is none.
        """
        check_texts(texts)
        return self._batches(texts)

    def _batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for first, group in groups(texts):
            ids, values, offsets = self._encoder.encode_many(group)
            lengths = np.diff(offsets)
            order = lengths.argsort(kind="stable")
            # One more entry, of id 0 and value 0, for padding to point at.
            ids, values = np.append(ids, 0), np.append(values, np.float32(0))
            ascending = lengths.take(order)
            start = 0
            while start < len(order):
                stop = self._end_of_run(ascending, start)
                rows = order[start:stop]
                width = max(int(ascending[stop - 1]), 1)
                cells = offsets.take(rows)[:, None] + np.arange(width)
                cells[np.arange(width) >= lengths.take(rows)[:, None]] = len(ids) - 1
                feeds: dict[str, Array] = {"ids": ids.take(cells), "values": values.take(cells)}
                yield Encoded(feeds, (rows + first).tolist())
                start = stop

    def _end_of_run(self, ascending: NDArray[np.int64], start: int) -> int:
        """Where the run ends that begins at ``start`` of the texts' lengths, sorted."""
        stop = int(ascending.searchsorted(max(2 * int(ascending[start]), 8), side="right"))
        fitting = CELLS // (self._columns * max(int(ascending[stop - 1]), 1))
        return min(stop, start + max(fitting, 1))

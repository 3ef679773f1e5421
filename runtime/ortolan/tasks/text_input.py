"""Texts to the tensors ``ids`` and ``values`` of a sparse linear model, one by one or in padded batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import BundleError, InputTypeError, ManifestError
from ortolan.inputs.ngrams import NgramEncoder
from ortolan.tasks.runner import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.types import Array, Session

CELLS = 1 << 18
"""Most numbers that the widest intermediate tensor of a run may have: 1 MB as float32, about a small board's cache."""

_GROUP_TEXTS = 4096
_GROUP_CHARACTERS = 1 << 20


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
    def open(cls, config: Mapping[str, object], columns: int, session: Session, read_asset: ReadAsset) -> TextInput:
        """From the ``"input"`` object of a task's configuration.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: damaged assets, or a model with other inputs.
            MissingPackageError: the tokenizer's package is missing.
        """
        raw = config.get("input")
        if not isinstance(raw, Mapping):
            raise ManifestError("task.config.input", f"expected an object, found {type(raw).__name__}")
        if raw.get("kind") != "ngrams":
            raise ManifestError("task.config.input.kind", f"expected 'ngrams', found {raw.get('kind')!r}")
        if {spec.name for spec in session.inputs} != {"ids", "values"}:
            names = ", ".join(spec.name for spec in session.inputs)
            raise BundleError(f"model: expected the inputs ids and values, found {names or 'none'}")
        return cls(NgramEncoder.open(raw, read_asset), columns)

    def one(self, text: str) -> dict[str, Array]:
        """The tensors of one text.

        Raises:
            InputTypeError: it is no str.
        """
        if not isinstance(text, str):
            raise InputTypeError(_not_text(text, "a text"))
        ids, values = self._encoder.encode_one(text)
        if not len(ids):
            return dict(self._nothing)
        return {"ids": ids[None], "values": values[None]}

    def batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        """The runs for many texts: texts of similar length together, so that padding at most doubles a run.

        Raises:
            InputTypeError: ``texts`` is a str itself, or one of them is none.
        """
        if isinstance(texts, str | bytes):
            raise InputTypeError(f"expected a list of texts, found a single {type(texts).__name__}; use predict for it")
        for i, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputTypeError(_not_text(text, f"a text at position {i}"))
        return self._batches(texts)

    def _batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for first, group in _groups(texts):
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


def _groups(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
    """Consecutive texts of bounded number and size, each group with the position of its first."""
    first = size = 0
    for i, text in enumerate(texts):
        if i > first and (i - first >= _GROUP_TEXTS or size + len(text) > _GROUP_CHARACTERS):
            yield first, texts[first:i]
            first, size = i, 0
        size += len(text)
    if first < len(texts):
        yield first, texts[first:]


def _not_text(value: object, expected: str) -> str:
    advice = "; decode it first, e.g. with .decode('utf-8')" if isinstance(value, bytes | bytearray) else ""
    return f"expected {expected} of type str, found {type(value).__name__}{advice}"

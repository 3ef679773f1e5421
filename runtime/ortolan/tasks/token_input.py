"""Texts to the tensors of a transformer: token ids, attention mask and token types, in batches of similar length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.tokens import TokenEncoder
from ortolan.tasks.runner import Encoded
from ortolan.tasks.texts import check_text, check_texts, groups

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.inputs.assets import ReadAsset
    from ortolan.types import Array, Session

TOKENS = 1024
"""Most tokens of a run, padding included: larger runs are no faster on a processor, and need memory in proportion."""
PADDING = 0.125
"""Largest share of padding in a text of a run."""

IDS, MASK, TYPES = "input_ids", "attention_mask", "token_type_ids"
_DTYPES = {"int64": np.int64, "int32": np.int32}


class TokenInput:
    """The text side of a model with the inputs ``input_ids``, ``attention_mask`` and ``token_type_ids``.

    All are [batch, sequence] of int64 or int32; the last two may be missing. Without a mask nothing is padded.
    """

    def __init__(self, encoder: TokenEncoder, dtypes: Mapping[str, type[np.integer]]) -> None:
        """Args:
        encoder: text to ids.
        dtypes: of the model's inputs, by name.
        """
        self.encoder = encoder
        self._dtypes = dtypes

    @classmethod
    def open(
        cls,
        config: Mapping[str, object],
        columns: int,  # noqa: ARG003 - as for the other kinds
        sessions: Mapping[str, Session],
        read_asset: ReadAsset,
    ) -> TokenInput:
        """From an ``"input"`` object of kind ``"tokens"``.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: a damaged tokenizer, or a model with other inputs.
            MissingPackageError: the package tokenizers is missing.
        """
        encoder = TokenEncoder.open(config, read_asset)
        dtypes = {}
        for spec in sessions["model"].inputs:
            fits = spec.name in {IDS, MASK, TYPES} and spec.dtype in _DTYPES
            if not fits or (spec.shape is not None and len(spec.shape) != 2):
                raise BundleError(f"model: expected {IDS}, {MASK} and {TYPES} as int64[batch, sequence], found {spec}")
            dtypes[spec.name] = _DTYPES[spec.dtype]
        if IDS not in dtypes:
            raise BundleError(f"model: expected an input {IDS}, found {', '.join(dtypes) or 'none'}")
        return cls(encoder, dtypes)

    def one(self, text: str) -> dict[str, Array]:
        """The tensors of one text, without padding; as `ortolan.tasks.texts.TextTensors.one`."""
        return self.encoded(text).feeds

    def encoded(self, text: str) -> Encoded:
        """The run for one text; its context is as that of `batches`."""
        check_text(text)
        encoding = self.encoder.encoding(text)
        ids, types = encoding.ids, encoding.type_ids
        feeds: dict[str, Array] = {}
        for name, dtype in self._dtypes.items():
            if name == MASK:
                feeds[name] = np.ones((1, len(ids)), dtype)
            else:
                feeds[name] = np.array([ids if name == IDS else types], dtype)
        return Encoded(feeds, [0], [(text, encoding)])

    def batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        """The runs for many texts: texts of similar length together; as `ortolan.tasks.texts.TextTensors.batches`.

        The context of a run has the text and its ``tokenizers.Encoding`` for each row.
        """
        check_texts(texts)
        return self._batches(texts)

    def _batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        for first, group in groups(texts):
            encodings = [self.encoder.encoding(text) for text in group]
            order = sorted(range(len(encodings)), key=lambda i: len(encodings[i]))
            lengths = [len(encodings[i]) for i in order]
            start = 0
            while start < len(order):
                stop = self._end_of_run(lengths, start)
                rows = order[start:stop]
                context = [(group[i], encodings[i]) for i in rows]
                yield Encoded(self._padded([encodings[i] for i in rows]), [first + i for i in rows], context)
                start = stop

    def _end_of_run(self, ascending: Sequence[int], start: int) -> int:
        """Where the run ends that begins at ``start`` of the texts' lengths, sorted."""
        shortest = ascending[start]
        # A few tokens of padding cost less than one more run.
        widest = max(int(shortest / (1 - PADDING)), shortest + 2) if MASK in self._dtypes else shortest
        stop = start + 1
        while stop < len(ascending):
            width = ascending[stop]
            if width > widest or width * (stop + 1 - start) > TOKENS:
                break
            stop += 1
        return stop

    def _padded(self, encodings: Sequence[Any]) -> dict[str, Array]:
        config = self.encoder.config
        width = max(len(encoding) for encoding in encodings)
        fill = {IDS: config.pad_id, MASK: 0, TYPES: config.pad_type_id}
        feeds: dict[str, Array] = {}
        for name, dtype in self._dtypes.items():
            array = np.full((len(encodings), width), fill[name], dtype)
            for row, encoding in enumerate(encodings):
                at = slice(len(encoding)) if config.padding == "right" else slice(width - len(encoding), width)
                array[row, at] = encoding.ids if name == IDS else 1 if name == MASK else encoding.type_ids
            feeds[name] = array
        return feeds

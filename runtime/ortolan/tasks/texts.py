"""What all text tasks share: checks of texts, groups of bounded size, and the kinds of text input there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from ortolan.errors import InputTypeError, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded
    from ortolan.types import Array, Session

KINDS = {
    "ngrams": "ortolan.tasks.text_input:TextInput",
    "ngram-sets": "ortolan.tasks.text_sets:TextSets",
    "tokens": "ortolan.tasks.token_input:TokenInput",
}
"""Where the text inputs are, by their ``kind`` in a task's configuration; imported when a bundle needs one."""

_GROUP_TEXTS = 4096
_GROUP_CHARACTERS = 1 << 20


class TextTensors(Protocol):
    """Texts to a model's input tensors."""

    def one(self, text: str) -> dict[str, Array]:
        """The tensors of one text.

        Raises:
            InputTypeError: it is no str.
            InputError: a text that the model cannot take.
        """

    def batches(self, texts: Sequence[str]) -> Iterator[Encoded]:
        """The runs that together answer all texts, each of bounded size.

        Raises:
            InputTypeError: ``texts`` is a str itself, or one of them is none.
            InputError: a text that the model cannot take.
        """


def open_text_input(
    config: Mapping[str, object], columns: int, sessions: Mapping[str, Session], read_asset: ReadAsset
) -> TextTensors:
    """The text side of a task, from the ``"input"`` object of its configuration.

    The model is asked for last: it may be loading meanwhile.

    Args:
        config: the task's configuration.
        columns: numbers that the model answers each text with.
        sessions: the model, as ``"model"``.
        read_asset: gives the content of an asset.

    Raises:
        ManifestError: a wrong configuration.
        BundleError: damaged assets, or a model with other inputs.
        MissingPackageError: the tokenizer's package is missing.
    """
    raw = config.get("input")
    if not isinstance(raw, Mapping):
        raise ManifestError("task.config.input", f"expected an object, found {type(raw).__name__}")
    kind = raw.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ManifestError("task.config.input.kind", f"expected one of {', '.join(KINDS)}, found {kind!r}")
    module, name = KINDS[kind].split(":")
    opened: TextTensors = getattr(import_module(module), name).open(raw, columns, sessions, read_asset)
    return opened


def check_text(text: object) -> None:
    """Raise InputTypeError if it is no str."""
    if not isinstance(text, str):
        raise InputTypeError(_not_text(text, "a text"))


def check_texts(texts: Sequence[object]) -> None:
    """Raise InputTypeError if ``texts`` is a str itself, or one of them is none."""
    if isinstance(texts, str | bytes):
        raise InputTypeError(f"expected a list of texts, found a single {type(texts).__name__}; use predict for it")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputTypeError(_not_text(text, f"a text at position {i}"))


def groups(texts: Sequence[str]) -> Iterator[tuple[int, Sequence[str]]]:
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

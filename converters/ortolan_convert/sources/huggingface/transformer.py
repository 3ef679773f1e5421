"""The transformer of a Hugging Face directory, loaded with torch: its tokenizer, its answers."""

from __future__ import annotations

import contextlib
import inspect
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, MissingPackageError, OrtolanError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.huggingface.directory import TOKENIZER
from ortolan_convert.sources.huggingface.sentence_head import built_layers, pooled
from ortolan_convert.sources.pytorch.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.sources.huggingface.directory import HuggingFaceSource

MASK = "attention_mask"
INPUTS = ("input_ids", MASK, "token_type_ids")
HIDDEN, VECTORS, SCORES, PROBABILITIES, LOGITS = (
    "last_hidden_state",
    "sentence_embedding",
    "scores",
    "probabilities",
    "logits",
)
_BATCH_TOKENS = 2048
"""Tokens that the source is asked together, padding included."""
_CLASSES = {
    "embedding": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}
"""Task -> transformers' class that loads its models."""
_BESIDE_TEXT = {"bbox", "xpath_tags_seq", "pixel_values", "entity_ids"}
"""What models take that read pages or know entities; without it they would answer as if nothing stood anywhere."""
SAME = 1e-4
"""What two ways to give a mask may differ by, relative to the larger of 1 and the largest number."""
_OPTIONAL = ("pooler.", "embeddings.position_ids")
"""Parts that answers do not depend on: they may be missing in the file."""


@dataclass(frozen=True, slots=True)
class Transformer:
    """A loaded model.

    Args:
        source: the directory.
        model: the torch module.
        tokenizer: of transformers, what the source framework uses.
        inputs: names of what the model takes of `INPUTS`.
        max_length: most tokens of a text.
        head: of an embedding, the torch module of the layers after the pooling.
    """

    source: HuggingFaceSource
    model: Any
    tokenizer: Any
    inputs: tuple[str, ...]
    max_length: int
    head: Any = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the graph's outputs."""
        head = self.source.head
        if head is not None:
            return (VECTORS,) if head.pooling is None else (HIDDEN,)
        return (SCORES, PROBABILITIES) if self.source.task == "text-classification" else (LOGITS,)

    @property
    def vocabulary(self) -> int:
        """Rows of the token embedding."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def tokenizer_json(self) -> bytes:
        """The tokenizer for the runtime: the directory's own file, or what transformers makes of its other files."""
        file = self.source.path / TOKENIZER
        if file.is_file():
            return file.read_bytes()
        text: str = self.tokenizer.backend_tokenizer.to_str()
        return text.encode()

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, d]: the source's own embeddings, pooled and normalized as sentence-transformers does."""
        import torch

        head: Any = self.source.head

        def vectors(fed: dict[str, Any]) -> Any:
            found = self.head(pooled(self.model(**fed).last_hidden_state, mask_of(fed), head.poolings))
            return torch.nn.functional.normalize(found, dim=1) if head.normalize else found

        return np.stack(self._answers(self._tokenized(texts), vectors))

    def logits(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [n, labels]: the source's own scores."""
        return np.stack(self._answers(self._tokenized(texts), lambda fed: self.model(**fed).logits))

    def token_logits(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """For each text float32 [tokens, labels]: the source's own scores of its tokens, special ones left out."""
        encoded = self._tokenized(texts)
        found = self._answers(encoded, lambda fed: self.model(**fed).logits)
        kept = []
        for rows, special in zip(found, encoded["special_tokens_mask"], strict=True):
            own = rows[-len(special) :] if self.tokenizer.padding_side == "left" else rows[: len(special)]
            kept.append(own[np.array(special) == 0])
        return kept

    def _tokenized(self, texts: Sequence[str]) -> Any:
        if self.source.lower_case:
            texts = [text.lower() for text in texts]
        return self.tokenizer(list(texts), truncation=True, max_length=self.max_length, return_special_tokens_mask=True)

    def _answers(self, encoded: Any, ask: Any) -> list[NDArray[np.float32]]:
        import torch

        lengths = [len(ids) for ids in encoded["input_ids"]]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        rows: list[Any] = [None] * len(lengths)
        with torch.inference_mode():
            while order:
                # All are padded to the longest, the last.
                count = 1
                while count < len(order) and (count + 1) * lengths[order[count]] <= _BATCH_TOKENS:
                    count += 1
                if MASK not in self.inputs:  # nothing can be padded
                    count = sum(lengths[i] == lengths[order[0]] for i in order[:count])
                chosen, order = order[:count], order[count:]
                part = {name: [encoded[name][i] for i in chosen] for name in self.inputs}
                padded = self.tokenizer.pad(part, return_tensors="pt")
                try:
                    answers = ask(dict(padded)).float().numpy()
                except Exception as error:
                    name = type(self.model).__name__
                    raise ConversionError(
                        f"{self.source.path}: {name} fails on texts of {lengths[chosen[-1]]} tokens: {one_line(error)}"
                    ) from error
                for i, row in zip(chosen, answers, strict=True):
                    rows[i] = row
        return rows


def load_transformer(source: HuggingFaceSource) -> Transformer:
    """Load a directory's model and tokenizer; nothing is fetched from anywhere.

    Raises:
        MissingPackageError: torch, transformers or another package is missing.
        ConversionError: the weights or the tokenizer are damaged or incomplete.
    """
    require_transformers()
    import transformers

    model = loaded_model(source, getattr(transformers, _CLASSES[source.task]))
    with quiet(), _loading(source):
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(source.path), **_options(source), use_fast=True)
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        lacks = "a tokenizer of the tokenizers package" if not tokenizer.is_fast else "a padding token"
        raise UnsupportedError(f"{source.path}: expected {lacks}")
    taken = set(inspect.signature(model.forward).parameters)
    if more := sorted(taken & _BESIDE_TEXT):
        raise UnsupportedError(
            f"{source.path}: {type(model).__name__} takes more than texts ({', '.join(more)}): cannot be converted"
        )
    # What the tokenizer gives, as far as the model takes it.
    given = set(tokenizer.model_input_names) & taken
    inputs = tuple(name for name in INPUTS if name in given)
    if MASK in inputs and _padding_counts(model, inputs):
        # Without a mask nothing is padded, here and on the device.
        inputs = tuple(name for name in inputs if name != MASK)
    head = None if source.head is None else built_layers(source.head.layers)
    return Transformer(source, model, tokenizer, inputs, _max_length(source, tokenizer), head)


def loaded_model(source: HuggingFaceSource, kind: Any) -> Any:
    """The torch module of a directory, complete and in float32.

    Raises:
        ConversionError: the weights are damaged or incomplete.
    """
    with quiet(), _loading(source):
        # Attention written out exports to fewer operators, which onnxruntime fuses.
        model, report = kind.from_pretrained(
            str(source.path),
            **_options(source),
            attn_implementation="eager",
            dtype="float32",
            use_safetensors=not source.pickled,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below, by name
        )
    missing = [name for name in sorted(report["missing_keys"]) if not name.startswith(_OPTIONAL)]
    if missing or report.get("mismatched_keys"):
        names = ", ".join([*missing, *map(str, report.get("mismatched_keys") or ())][:5])
        raise ConversionError(f"{source.path}: the weights lack what the configuration asks for: {names}")
    return model.eval()


def _options(source: HuggingFaceSource) -> dict[str, bool]:
    return {"local_files_only": True, "trust_remote_code": source.remote_code}


@contextlib.contextmanager
def _loading(source: HuggingFaceSource) -> Iterator[None]:
    """Errors of transformers as one of ours."""
    try:
        yield
    except OrtolanError:
        raise
    except Exception as error:
        raise ConversionError(f"{source.path}: transformers cannot load it ({one_line(error)})") from error


def _padding_counts(model: Any, inputs: tuple[str, ...]) -> bool:
    """Whether a text's answers depend on the padding beside it, masked as it is: convolutions see it, for one."""
    import torch

    ids = torch.arange(7)[None] % int(model.get_input_embeddings().weight.shape[0])
    mask = (torch.arange(7) < 5).long()[None]
    tensors = {"input_ids": ids, MASK: mask, "token_type_ids": torch.zeros_like(ids)}
    try:
        with torch.inference_mode(), quiet():
            padded, alone = (
                model(**{name: tensors[name][:, :length] for name in inputs}).to_tuple()[0] for length in (7, 5)
            )
    except Exception as error:
        name = type(model).__name__
        raise UnsupportedError(f"{name} does not take plain texts: {one_line(error)}") from error
    if padded.ndim == 3:
        padded = padded[:, :5]
    return padded.shape != alone.shape or not float((padded - alone).abs().max()) <= SAME * max(
        1.0, float(alone.abs().max())
    )


def require_transformers() -> None:
    """Raise MissingPackageError where what loading a model takes cannot be imported."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import onnxscript
        import safetensors
        import torch
        import transformers
    except ImportError as error:
        raise MissingPackageError(
            f"a package that converting a Hugging Face model needs cannot be imported ({error}); "
            "install them: pip install 'ortolan[transformers]'"
        ) from None
    transformers.utils.logging.disable_progress_bar()
    del onnxscript, safetensors, torch


def _max_length(source: HuggingFaceSource, tokenizer: Any) -> int:
    """What the directory declares, else what tokenizer and model allow: as sentence-transformers decides it."""
    if source.max_length is not None:
        return source.max_length
    positions = source.config.get("max_position_embeddings")
    lengths = [length for length in (tokenizer.model_max_length, positions) if isinstance(length, int)]
    longest = min((length for length in lengths if 0 < length < 1 << 20), default=0)
    if not longest:
        raise UnsupportedError(f"{source.path}: neither the tokenizer nor the model says how long a text may be")
    return longest


def mask_of(fed: Mapping[str, Any]) -> Any:
    """[batch, sequence] of ones and zeros; all ones where the model takes no mask."""
    import torch

    return fed[MASK] if MASK in fed else torch.ones_like(fed["input_ids"])

"""The transformer of a Hugging Face directory, loaded with torch: its tokenizer, its answers, its ONNX graph."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, MissingPackageError, OrtolanError, UnsupportedError
from ortolan_convert.sources.huggingface import TOKENIZER
from ortolan_convert.sources.sentence_head import built_layers, pooled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from ortolan_convert.sources.huggingface import HuggingFaceSource

OPSET = 20
"""Its Gelu and LayerNormalization keep the graph small, and onnxruntime 1.20 runs it."""
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
HIDDEN, VECTORS, SCORES, PROBABILITIES, LOGITS = (
    "last_hidden_state",
    "sentence_embedding",
    "scores",
    "probabilities",
    "logits",
)
_BATCH_TOKENS = 2048
_CLASSES = {
    "embedding": "AutoModel",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
}
"""Task -> transformers' class that loads its models."""
_SAME = 1e-4
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
        return int(self.model.get_input_embeddings().num_embeddings)

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
            found = self.head(pooled(self.model(**fed).last_hidden_state, fed["attention_mask"], head.poolings))
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
                count = max(1, _BATCH_TOKENS // lengths[order[min(31, len(order) - 1)]])
                chosen, order = order[:count], order[count:]
                part = {name: [encoded[name][i] for i in chosen] for name in self.inputs}
                padded = self.tokenizer.pad(part, return_tensors="pt")
                for i, row in zip(chosen, ask(dict(padded)).float().numpy(), strict=True):
                    rows[i] = row
        return rows

    def export(self) -> onnx.ModelProto:
        """The model as an ONNX graph with free dimensions ``batch`` and ``sequence``, weights inside.

        Raises:
            UnsupportedError: torch cannot export it, or what it exports needs too new an opset.
        """
        import torch

        ids = torch.arange(14).reshape(2, 7) % self.vocabulary
        mask = torch.ones_like(ids)
        mask[1, 5:] = 0
        example = (ids, mask, torch.zeros_like(ids))[: len(self.inputs)]
        module = self._traced_as_asked(example)
        batch, sequence = torch.export.Dim("batch", min=1), torch.export.Dim("sequence", min=1, max=self.max_length)
        shapes = {"fed": tuple({0: batch, 1: sequence} for _ in example)}
        return exported(self.source.path, module, example, (self.inputs, self.outputs), shapes)

    def _traced_as_asked(self, example: tuple[Any, ...]) -> Any:
        """The module to export, with the mask in the cheapest form that gives the model's own answers.

        Raises:
            UnsupportedError: none does.
        """
        import torch

        named = dict(zip(self.inputs, example, strict=True))
        mask = named["attention_mask"].bool()
        reason = "its answers change when it is traced"
        with torch.inference_mode(), quiet():
            found = self.model(**named)
            expected = found.last_hidden_state if self.source.head is not None else found.logits
            if self.source.head is not None and self.source.head.pooling is None:
                expected = self.head(pooled(expected, named["attention_mask"], self.source.head.poolings))
            for added in (True, False):
                module = _traced(self, added=added).eval()
                try:
                    found = module(*example)
                except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                    reason = " ".join(str(error).split())[:200]
                    continue
                ours = found[0] if isinstance(found, tuple) else found
                theirs = expected
                if ours.shape == theirs.shape and ours.ndim == 3:  # padding's own numbers do not matter
                    ours, theirs = ours[mask], theirs[mask]
                scale = max(1.0, float(theirs.abs().max()))
                if ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= _SAME * scale:
                    return module
        raise UnsupportedError(f"{self.source.path}: {type(self.model).__name__} cannot be converted: {reason}")


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
    # What the tokenizer gives, as far as the model takes it.
    given = set(tokenizer.model_input_names) & set(inspect.signature(model.forward).parameters)
    inputs = tuple(name for name in INPUTS if name in given)
    head = None if source.head is None else built_layers(source.head.layers)
    return Transformer(source, model, tokenizer, inputs, _max_length(source, tokenizer), head)


def exported(
    where: Path, module: Any, example: tuple[Any, ...], names: tuple[Sequence[str], Sequence[str]], shapes: Any
) -> onnx.ModelProto:
    """A torch module as an ONNX graph, weights inside.

    Args:
        where: for messages.
        module: the module.
        example: what it is called with.
        names: of its inputs and of its outputs.
        shapes: free dimensions, as ``torch.onnx.export`` takes them.

    Raises:
        UnsupportedError: torch cannot export it.
    """
    import torch

    with quiet():
        try:
            program = torch.onnx.export(
                module,
                example,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(names[0]),
                output_names=list(names[1]),
                dynamic_shapes=shapes,
                optimize=True,
                verbose=False,
            )
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise UnsupportedError(f"{where}: torch cannot export the model to ONNX: {reason}") from error
    if program is None:
        raise UnsupportedError(f"{where}: torch exported nothing")
    model: onnx.ModelProto = program.model_proto
    return model


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
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ConversionError(f"{source.path}: transformers cannot load it ({reason})") from error


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
    del onnxscript, safetensors, torch, transformers


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


def _traced(transformer: Transformer, *, added: bool) -> Any:
    """The module to export.

    Args:
        transformer: the model.
        added: whether the mask is given in the form that attention adds, which spares the twenty operators of the
            library's own way to make it; not all models take it.
    """
    import torch

    source, inputs = transformer.source, transformer.inputs

    class Traced(torch.nn.Module):  # type: ignore[misc]  # torch is optional, and so without types
        """The model with the outputs that the task names."""

        def __init__(self) -> None:
            super().__init__()
            self.model = transformer.model
            self.head = transformer.head

        def forward(self, *fed: Any) -> Any:
            named = dict(zip(inputs, fed, strict=True))
            mask = named["attention_mask"]
            if added:
                numbers = mask[:, None, None, :].to(torch.float32)
                named["attention_mask"] = (1.0 - numbers) * torch.finfo(torch.float32).min
            found = self.model(**named)
            if source.task == "text-classification":
                return found.logits, torch.softmax(found.logits, dim=-1)
            if source.head is None:
                return found.logits
            if source.head.pooling is None:
                return self.head(pooled(found.last_hidden_state, mask, source.head.poolings))
            return found.last_hidden_state

    return Traced()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Neither warnings nor progress bars of the libraries: what matters is reported as an error or by comparison."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    from transformers.utils import logging as library

    library.set_verbosity_error()
    library.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

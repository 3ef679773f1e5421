"""A Hugging Face or sentence-transformers directory: what its JSON files say of the model. Nothing is loaded or run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ortolan.bundle.names import path_problem
from ortolan.errors import ConversionError, StorageError, TrustRequiredError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG, MODULES, TOKENIZER = "config.json", "modules.json", "tokenizer.json"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
LARGEST_JSON = 64 << 20
"""Bytes of a JSON file that is read."""

Task = Literal["embedding", "text-classification"]

_CLASSIFIER = "ForSequenceClassification"
_ENCODER = "Model"
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_mean_sqrt_len_tokens": None,
    "pooling_mode_weightedmean_tokens": None,
}
"""sentence-transformers' switches -> the pooling of task ``embedding``; None for those it does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceSource:
    """What a directory says of its model.

    Args:
        path: where the transformer lies.
        files: what it is read from, the weights first.
        task: what it answers.
        config: of the transformer, ``config.json``.
        pooling: mean, cls, max or last; None for a classifier.
        normalize: whether vectors are made unit length.
        max_length: most tokens of a text; None if only the tokenizer knows.
        lower_case: whether texts are lower-cased before the tokenizer sees them.
        labels: of a classifier, in the order of its outputs.
        pickled: whether the weights are a pickle.
    """

    path: Path
    files: tuple[Path, ...]
    task: Task
    config: Mapping[str, Any]
    pooling: str | None = None
    normalize: bool = False
    max_length: int | None = None
    lower_case: bool = False
    labels: tuple[str, ...] = ()
    pickled: bool = False

    @property
    def remote_code(self) -> bool:
        """Whether the model is code that lies beside it."""
        return "auto_map" in self.config


def is_huggingface(path: Path) -> bool:
    """Whether a directory is a model of Hugging Face or sentence-transformers."""
    return (path / MODULES).is_file() or (path / CONFIG).is_file()


def read_huggingface(path: Path, *, trust: bool) -> HuggingFaceSource:
    """What a directory says of its model.

    Raises:
        StorageError: a file cannot be read.
        ConversionError: a file is damaged or missing.
        TrustRequiredError: reading the weights or making the model would run code, without trust.
        UnsupportedError: a module, option or architecture that cannot be converted; the message names it.
    """
    if not (path / MODULES).is_file():
        return _transformer(path, trust=trust, embedding=None)
    modules = _modules(path)
    kinds = [kind for kind, _ in modules]
    known = ["Transformer", "Pooling", "Normalize"]
    for kind in kinds:
        if kind not in known:
            raise UnsupportedError(f"{path / MODULES}: module {kind!r} cannot be converted; known: {', '.join(known)}")
    if kinds not in (known[:2], known):
        raise UnsupportedError(
            f"{path / MODULES}: expected the modules Transformer, Pooling and maybe Normalize in this order, "
            f"found {', '.join(kinds) or 'none'}"
        )
    _check_prompt(path)
    return _transformer(modules[0][1], trust=trust, embedding=(path, modules[1][1], len(kinds) == 3))


def _transformer(path: Path, *, trust: bool, embedding: tuple[Path, Path, bool] | None) -> HuggingFaceSource:
    """The transformer in ``path``; ``embedding`` is the whole model's directory, the pooling's, and normalization."""
    config = _read_json(path / CONFIG)
    architecture = _architecture(config, path)
    weights, pickled = _weights(path, trust=trust)
    if "auto_map" in config and not trust:
        raise TrustRequiredError(
            f"{path / CONFIG}: the model is code of its own (auto_map), which would be run; "
            "if you trust where it comes from, add --trust"
        )
    if "quantization_config" in config:
        raise UnsupportedError(f"{path / CONFIG}: the weights are quantized already; give the original model")
    files = [*weights, path / CONFIG, *(path / name for name in _TOKENIZER_FILES if (path / name).is_file())]
    if embedding is None:
        if not architecture.endswith(_CLASSIFIER):
            raise UnsupportedError(
                f"{path}: {architecture} without {MODULES}, which says how the vectors of the tokens are pooled; "
                "expected a sentence-transformers directory, or a model for sequence classification"
            )
        labels = _labels(config, path)
        return HuggingFaceSource(
            path=path, files=tuple(files), task="text-classification", config=config, labels=labels, pickled=pickled
        )
    top, pooling, normalize = embedding
    settings = path / "sentence_bert_config.json"
    declared = _read_json(settings) if settings.is_file() else {}
    files += [file for file in (settings, top / MODULES, pooling / CONFIG) if file.is_file()]
    return HuggingFaceSource(
        path=path,
        files=tuple(files),
        task="embedding",
        config=config,
        pooling=_pooling(pooling / CONFIG),
        normalize=normalize,
        max_length=_max_length(declared, settings),
        lower_case=bool(declared.get("do_lower_case")),
        pickled=pickled,
    )


_TOKENIZER_FILES = (
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
)


def _architecture(config: Mapping[str, Any], path: Path) -> str:
    names = config.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise UnsupportedError(f"{path / CONFIG}: architectures: expected one name, found {names!r}")
    if config.get("is_encoder_decoder"):
        raise UnsupportedError(f"{path / CONFIG}: {names[0]} is an encoder and decoder; only encoders can be converted")
    if not names[0].endswith((_CLASSIFIER, _ENCODER, "ForMaskedLM")):
        raise UnsupportedError(
            f"{path / CONFIG}: {names[0]} cannot be converted; "
            f"known: encoders with pooling, and {_CLASSIFIER[3:]} models"
        )
    return names[0]


def _weights(path: Path, *, trust: bool) -> tuple[list[Path], bool]:
    """The files of the weights, and whether they are pickles."""
    for names, pickled in ((SAFETENSORS, False), (PICKLES, True)):
        for name in names:
            if not (path / name).is_file():
                continue
            if pickled and not trust:
                raise TrustRequiredError(
                    f"{path / name}: a PyTorch pickle, which can run code when it is read; prefer {SAFETENSORS[0]}, "
                    "or if you trust where it comes from, add --trust"
                )
            if not name.endswith(".json"):
                return [path / name], pickled
            shards = _read_json(path / name).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
                raise ConversionError(f"{path / name}: expected a weight_map of names and files")
            for file in shards.values():
                if path_problem(file) is not None or not (path / file).is_file():
                    raise ConversionError(f"{path / name}: weight_map: there is no file {file!r} beside it")
            return [path / name, *(path / file for file in sorted(set(shards.values())))], pickled
    raise ConversionError(f"{path}: expected weights as {SAFETENSORS[0]}, found none")


def _modules(path: Path) -> list[tuple[str, Path]]:
    """Class name and directory of each module, in order."""
    content = _read_json(path / MODULES, list)
    found = []
    for position, entry in enumerate(content):
        kind, place = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(place, str):
            raise ConversionError(f"{path / MODULES}: [{position}]: expected a type and a path")
        if place and path_problem(place) is not None:
            raise ConversionError(f"{path / MODULES}: [{position}].path: expected a path below it, found {place!r}")
        found.append((kind.rpartition(".")[2], path / place))
    return found


def _pooling(file: Path) -> str:
    config = _read_json(file)
    named = config.get("pooling_mode")
    chosen = [key for key, value in config.items() if key.startswith("pooling_mode_") and value]
    if isinstance(named, str) and not chosen:
        chosen = [key for key, name in _POOLINGS.items() if named in {name, key.removeprefix("pooling_mode_")}]
        chosen = chosen or [named]
    if len(chosen) != 1 or _POOLINGS.get(chosen[0]) is None:
        raise UnsupportedError(f"{file}: pooling by {' and '.join(chosen) or 'nothing'} cannot be converted")
    pooling = _POOLINGS[chosen[0]]
    if pooling is None or config.get("include_prompt") is False:
        raise UnsupportedError(f"{file}: pooling without the prompt's tokens cannot be converted")
    return pooling


def _max_length(declared: Mapping[str, Any], file: Path) -> int | None:
    length = declared.get("max_seq_length")
    if length is None:
        return None
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ConversionError(f"{file}: max_seq_length: expected an int of 1 or more, found {length!r}")
    return length


def _check_prompt(path: Path) -> None:
    """A default prompt would be put before every text."""
    file = path / "config_sentence_transformers.json"
    if not file.is_file():
        return
    config = _read_json(file)
    name = config.get("default_prompt_name")
    prompts = config.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name is not None else None
    if prompt:
        raise UnsupportedError(f"{file}: the default prompt {prompt!r} before every text cannot be converted")


def _labels(config: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    names = config.get("id2label")
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise UnsupportedError(
            f"{path / CONFIG}: problem_type {problem!r} cannot be converted; only one label per text"
        )
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ConversionError(f"{path / CONFIG}: id2label: expected the names of the labels")
    ordered = [names.get(str(index)) for index in range(len(names))]
    if len(ordered) < 2 or None in ordered or len(set(ordered)) < len(ordered):
        raise ConversionError(f"{path / CONFIG}: id2label: expected two different labels or more, counted from 0")
    return tuple(str(name) for name in ordered)


def _read_json(file: Path, kind: type[Any] = dict) -> Any:
    try:
        with file.open("rb") as stream:
            raw = stream.read(LARGEST_JSON + 1)
    except OSError as error:
        raise StorageError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(raw) > LARGEST_JSON:
        raise ConversionError(f"{file}: expected at most {LARGEST_JSON} bytes of JSON")
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{file}: expected JSON: {error}") from None
    if not isinstance(content, kind):
        raise ConversionError(f"{file}: expected a JSON {'object' if kind is dict else 'array'}")
    return content

"""A Hugging Face or sentence-transformers directory: what its JSON files say of the model. Nothing is loaded or run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ortolan.bundle.names import path_problem
from ortolan.errors import ConversionError, TrustRequiredError, UnsupportedError
from ortolan_convert.sources.huggingface.sentence_head import MODULES, SentenceHead, read_sentence_head
from ortolan_convert.sources.json_file import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG, TOKENIZER, PROCESSOR = "config.json", "tokenizer.json", "preprocessor_config.json"
SAFETENSORS = ("model.safetensors", "model.safetensors.index.json")
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json")
ADAPTER = "adapter_config.json"

Task = Literal["embedding", "text-classification", "token-classification", "image-classification"]

_TASKS: Mapping[str, Task] = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForImageClassification": "image-classification",
    "ForImageClassificationWithTeacher": "image-classification",
}
"""How the name of an architecture ends -> what it answers."""
_ENCODERS = ("Model", "ForMaskedLM")
_KNOWN = (
    "known: encoders with pooling (sentence-transformers), and models for sequence, token and image classification, "
    "whose names end in ForSequenceClassification, ForTokenClassification and ForImageClassification"
)
_OTHER_WEIGHTS = (
    ("tf_model.h5", "TensorFlow's weights only; load them with transformers 4 (from_tf=True) and save_pretrained"),
    ("flax_model.msgpack", "Flax's weights only; load them with transformers 4 (from_flax=True) and save_pretrained"),
    ("**/*.gguf", "GGUF weights (llama.cpp) only; give the original model, with model.safetensors"),
    ("**/*.onnx", "ONNX files only; convert the .onnx file itself: ortolan convert FILE.onnx --config TASK.yaml"),
    ("**/openvino_model.xml", "OpenVINO files only; give the original model, with model.safetensors"),
    ("*.ckpt.index", "a TensorFlow 1 checkpoint only; convert it with transformers 4 and save_pretrained"),
)
"""What a directory may have instead of weights that can be read, and what to do then."""
_DECODERS = (
    *("bloom", "codegen", "cohere", "ctrl", "deepseek_v2", "deepseek_v3", "falcon", "gemma", "gemma2", "gemma3"),
    *("gemma3_text", "glm", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "granite", "llama", "mistral"),
    *("mixtral", "mpt", "openai-gpt", "olmo", "olmo2", "opt", "phi", "phi3", "qwen2", "qwen3", "smollm3", "stablelm"),
    *("starcoder2", "xglm"),
)
"""Model types in which a token sees only those before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceSource:
    """What a directory says of its model.

    Args:
        path: where the model lies.
        files: what it is read from, the weights first.
        task: what it answers.
        config: of the model, ``config.json``.
        head: what makes a vector of a text; None for a classifier.
        max_length: most tokens of a text; None if only the tokenizer knows.
        lower_case: whether texts are lower-cased before the tokenizer sees them.
        labels: of a classifier, in the order of its outputs.
        multi_label: of a classifier of images, whether several labels may hold at once.
        pickled: whether the weights are a pickle.
        notes: what a user should know, one sentence each.
    """

    path: Path
    files: tuple[Path, ...]
    task: Task
    config: Mapping[str, Any]
    head: SentenceHead | None = None
    max_length: int | None = None
    lower_case: bool = False
    labels: tuple[str, ...] = ()
    multi_label: bool = False
    pickled: bool = False
    notes: tuple[str, ...] = ()

    @property
    def remote_code(self) -> bool:
        """Whether the model is code that lies beside it."""
        return "auto_map" in self.config


def is_huggingface(path: Path) -> bool:
    """Whether a directory is a model of Hugging Face or sentence-transformers."""
    return (path / MODULES).is_file() or (path / CONFIG).is_file()


def read_huggingface(path: Path, *, trust: bool, head: SentenceHead | None = None) -> HuggingFaceSource:
    """What a directory says of its model.

    Args:
        path: the directory.
        trust: whether code in it may run.
        head: what makes a vector of a text, where the user says so and the directory does not.

    Raises:
        StorageError: a file cannot be read.
        ConversionError: a file is damaged or missing.
        TrustRequiredError: reading the weights or making the model would run code, without trust.
        UnsupportedError: a module, option or architecture that cannot be converted; the message names it.
    """
    if (path / ADAPTER).is_file():
        raise UnsupportedError(
            f"{path / ADAPTER}: an adapter (PEFT) without the model it belongs to; merge them first: "
            "merged = model.merge_and_unload(), then merged.save_pretrained(DIRECTORY)"
        )
    if not (path / MODULES).is_file():
        return _model(path, trust=trust, head=head)
    place, own = read_sentence_head(path, trust=trust)
    return _model(place, trust=trust, head=own, notes=_notes(path))


def _model(path: Path, *, trust: bool, head: SentenceHead | None, notes: tuple[str, ...] = ()) -> HuggingFaceSource:
    config = read_json(path / CONFIG)
    architecture = _architecture(config, path)
    weights, pickled = _weights(path, trust=trust)
    if "auto_map" in config and not trust:
        raise TrustRequiredError(
            f"{path / CONFIG}: the model is code of its own (auto_map), which would be run; "
            "if you trust where it comes from, add --trust"
        )
    if "quantization_config" in config:
        raise UnsupportedError(f"{path / CONFIG}: the weights are quantized already; give the original model")
    beside = (PROCESSOR, *_TOKENIZER_FILES)
    files = [*weights, path / CONFIG, *(path / name for name in beside if (path / name).is_file())]
    task = next((task for ending, task in _TASKS.items() if architecture.endswith(ending)), None)
    if head is None and task is None:
        raise UnsupportedError(
            f"{path}: {architecture} without {MODULES}, which says how the vectors of the tokens are pooled; give a "
            "sentence-transformers directory, or say it with --config: task: embedding, config: {pooling: mean}"
        )
    if head is None:
        multi_label = _is_multi_label(config, path) if task == "image-classification" else False
        labels = _labels(config, path, task)
        return HuggingFaceSource(
            path=path,
            files=tuple(files),
            task=task or "embedding",
            config=config,
            labels=labels,
            multi_label=multi_label,
            pickled=pickled,
            notes=_pairs(labels),
        )
    settings = path / "sentence_bert_config.json"
    declared = read_json(settings) if settings.is_file() else {}
    if declared.get("transformer_task") not in (None, "feature-extraction"):
        raise UnsupportedError(f"{settings}: transformer_task {declared['transformer_task']!r} cannot be converted")
    files += [file for file in (settings, *head.files) if file.is_file()]
    return HuggingFaceSource(
        path=path,
        files=tuple(files),
        task="embedding",
        config=config,
        head=head,
        max_length=_max_length(declared, settings),
        lower_case=bool(declared.get("do_lower_case")),
        pickled=pickled,
        notes=notes,
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
    if names is None and isinstance(config.get("architecture"), str):
        raise UnsupportedError(
            f"{path / CONFIG}: {config['architecture']} is a model of timm, not of transformers; save its weights, and "
            "convert them as a PyTorch model with --module"
        )
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise UnsupportedError(f"{path / CONFIG}: architectures: expected one name, found {names!r}")
    name, kind = names[0], config.get("model_type")
    if config.get("is_encoder_decoder"):
        raise UnsupportedError(
            f"{path / CONFIG}: {name} is an encoder and decoder, which writes text; only encoders can be converted"
        )
    if name.endswith(("ForCausalLM", "LMHeadModel")) or kind in _DECODERS or config.get("is_decoder"):
        raise UnsupportedError(
            f"{path / CONFIG}: {name} cannot be converted: it is a decoder, which writes text token by token; {_KNOWN}"
        )
    if not name.endswith((*_TASKS, *_ENCODERS)):
        raise UnsupportedError(f"{path / CONFIG}: {name} cannot be converted; {_KNOWN}")
    return name


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
            shards = read_json(path / name).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(file, str) for file in shards.values()):
                raise ConversionError(f"{path / name}: expected a weight_map of names and files")
            for file in shards.values():
                if path_problem(file) is not None or not (path / file).is_file():
                    raise ConversionError(f"{path / name}: weight_map: there is no file {file!r} beside it")
            return [path / name, *(path / file for file in sorted(set(shards.values())))], pickled
    for pattern, what in _OTHER_WEIGHTS:
        found = next(path.glob(pattern), None)
        if found is not None:
            raise UnsupportedError(f"{path}: expected weights as {SAFETENSORS[0]}, found {found.name}: {what}")
    raise ConversionError(f"{path}: expected weights as {SAFETENSORS[0]}, found none")


def _max_length(declared: Mapping[str, Any], file: Path) -> int | None:
    length = declared.get("max_seq_length")
    if length is None:
        return None
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ConversionError(f"{file}: max_seq_length: expected an int of 1 or more, found {length!r}")
    return length


def _notes(path: Path) -> tuple[str, ...]:
    """What sentence-transformers' own file says; a default prompt, which would stand before every text, is refused."""
    file = path / "config_sentence_transformers.json"
    if not file.is_file():
        return ()
    config = read_json(file)
    name, prompts = config.get("default_prompt_name"), config.get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    prompt = prompts.get(name) if name is not None else None
    if prompt:
        raise UnsupportedError(f"{file}: the default prompt {prompt!r} before every text cannot be converted")
    notes = [
        f"the model was trained with the prompt {prompt!r} before texts of the kind {name!r}; put it there yourself"
        for name, prompt in prompts.items()
        if prompt
    ]
    similarity = config.get("similarity_fn_name")
    if similarity not in (None, "cosine"):
        notes.append(f"vectors of this model are compared by {similarity}, not by cosine")
    return tuple(notes)


def _is_multi_label(config: Mapping[str, Any], path: Path) -> bool:
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification", "multi_label_classification"):
        raise UnsupportedError(f"{path / CONFIG}: problem_type {problem!r} cannot be converted; only labels of images")
    return problem == "multi_label_classification"


def _labels(config: Mapping[str, Any], path: Path, task: Task | None) -> tuple[str, ...]:
    names, problem, images = config.get("id2label"), config.get("problem_type"), task == "image-classification"
    if problem not in (None, "single_label_classification") and not images:
        raise UnsupportedError(
            f"{path / CONFIG}: problem_type {problem!r} cannot be converted; only one label per text"
        )
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise ConversionError(f"{path / CONFIG}: id2label: expected the names of the labels")
    if len(names) == 1:
        raise UnsupportedError(
            f"{path / CONFIG}: id2label: one output is a number, not a label (regression, or the score of a pair of "
            "texts), which cannot be converted; expected two labels or more"
        )
    ordered = [names.get(str(index)) for index in range(len(names))]
    if len(ordered) < 2 or None in ordered or (len(set(ordered)) < len(ordered) and not images):
        raise ConversionError(f"{path / CONFIG}: id2label: expected two different labels or more, counted from 0")
    return tuple(str(name) for name in ordered)


def _pairs(labels: tuple[str, ...]) -> tuple[str, ...]:
    """A note where the labels are those of a model over pairs of texts."""
    if any(label.lower() == "entailment" for label in labels):
        return ("its labels are those of a model over pairs of texts; the bundle takes one text at a time",)
    return ()

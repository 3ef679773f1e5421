"""The task of a Hugging Face directory as the bundle will have it, and what its variants are judged by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.bundle.manifest import TaskSpec
from ortolan.errors import ConversionError, UsageError
from ortolan.inputs.datafile import TextSamples
from ortolan.inputs.tokens import TokenConfig, TokenEncoder, read_tokenizer
from ortolan.tasks.embedding import POOLINGS
from ortolan.tasks.token_classification import AGGREGATIONS
from ortolan.tasks.token_input import TOKENS
from ortolan_convert.generated import is_text
from ortolan_convert.huggingface.exam import exam_of
from ortolan_convert.sources.huggingface.directory import TOKENIZER
from ortolan_convert.sources.huggingface.sentence_head import MODULES, RUNTIME_POOLINGS, SentenceHead
from ortolan_convert.sources.huggingface.transformer import LOGITS, SCORES
from ortolan_convert.task_config import task_config
from ortolan_convert.text.questions import questions_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan_convert.huggingface.exam import Exam
    from ortolan_convert.request import Progress, Request
    from ortolan_convert.sources.huggingface.transformer import Transformer
    from ortolan_convert.text.questions import Questions

MOST_SAMPLES = 2000
"""Samples that are compared; of more, evenly spread ones."""
MADE_UP = 300
"""Texts that are made up where there are no samples."""
AGGREGATION = "simple"
"""How tokens become spans if the user says nothing."""
OUTSIDE = ("O",)
"""Labels of tokens that belong to no span."""

_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "embedding": ("pooling", "normalize"),
    "token-classification": ("aggregation",),
}
"""What a description may say of a directory's task, which says all else itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user's description says.

    Args:
        task: that it is for; None without one.
        head: what makes a vector of a text; None if it does not say.
        aggregation: how tokens become spans.
    """

    task: str | None = None
    head: SentenceHead | None = None
    aggregation: str = AGGREGATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What all variants share: the task, its assets, the exam, and usual sizes of free dimensions."""

    task: TaskSpec
    assets: Mapping[str, bytes]
    exam: Exam
    dims: Mapping[str, int]

    @property
    def largest(self) -> dict[str, int]:
        """The largest run that the task makes: texts of full length, as many as it puts together."""
        config: Any = self.task.config["input"]
        length = config["max_length"]
        return {"batch": max(1, TOKENS // length), "sequence": length}


def settings_of(request: Request, path: Path) -> Settings:
    """What ``--config`` says of a directory.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it says what the directory says itself, or anything wrong.
    """
    if request.config is None:
        return Settings(task=request.task)
    given = task_config(request.config, request.task)
    known = _SETTINGS.get(given.task, ())
    for key in given.config:
        if key not in known:
            can = f"; of the task {given.task!r} a description can say: {', '.join(known)}" if known else ""
            raise UsageError(f"{request.config}: config.{key}: a Hugging Face directory says this itself{can}")
    if not known or given.dims or given.max_dims or given.assets or given.source:
        raise UsageError(
            f"{request.config}: a Hugging Face directory describes itself; a description can say of the tasks "
            f"{' and '.join(_SETTINGS)}: {', '.join(key for keys in _SETTINGS.values() for key in keys)}"
        )
    if given.task == "token-classification":
        aggregation = given.config.get("aggregation", AGGREGATION)
        if aggregation not in AGGREGATIONS:
            names = ", ".join(AGGREGATIONS)
            raise UsageError(f"{request.config}: config.aggregation: expected one of {names}, found {aggregation!r}")
        return Settings(given.task, aggregation=str(aggregation))
    if (path / MODULES).is_file():
        raise UsageError(f"{request.config}: config: {path / MODULES} says how vectors are made; leave this out")
    pooling, normalize = given.config.get("pooling"), given.config.get("normalize", False)
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise UsageError(f"{request.config}: config.pooling: expected one of {', '.join(POOLINGS)}, found {pooling!r}")
    if not isinstance(normalize, bool):
        raise UsageError(f"{request.config}: config.normalize: expected true or false, found {normalize!r}")
    theirs = next(name for name, ours in RUNTIME_POOLINGS.items() if ours == pooling)
    return Settings(given.task, SentenceHead(poolings=(theirs,), normalize=normalize))


def prepare(transformer: Transformer, samples: TextSamples | None, settings: Settings, say: Progress) -> Prepared:
    """The task as the bundle will have it, and the source's answers."""
    source, tokenizer = transformer.source, transformer.tokenizer
    config = TokenConfig(
        tokenizer=TOKENIZER,
        vocabulary=transformer.vocabulary,
        max_length=transformer.max_length,
        lowercase=source.lower_case,
        truncation=tokenizer.truncation_side,
        padding=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
    )
    task = {"input": config.to_json(), **_task(transformer, settings)}
    assets = {TOKENIZER: transformer.tokenizer_json()}
    encoder = TokenEncoder(read_tokenizer(TOKENIZER, assets.__getitem__), config)
    if encoder.largest_id() >= transformer.vocabulary:
        raise ConversionError(
            f"{source.path}: the tokenizer has ids up to {encoder.largest_id()}, "
            f"the model rows for {transformer.vocabulary} only"
        )
    questions = _questions(samples, tokenizer)
    say(f"asking the source {len(questions.texts)} texts")
    lengths = [len(encoder.encode(text)[0]) for text in questions.texts[: questions.count]]
    dims = {"batch": 1, "sequence": max(1, int(np.percentile(lengths, 90)))}
    return Prepared(task=TaskSpec(source.task, task), assets=assets, exam=exam_of(transformer, questions), dims=dims)


def _task(transformer: Transformer, settings: Settings) -> dict[str, object]:
    """The task's configuration beside its input."""
    source = transformer.source
    if source.head is not None:
        output = transformer.outputs[0]
        return {"output": output, "pooling": source.head.pooling, "normalize": source.head.normalize}
    if source.task == "token-classification":
        return {
            "labels": list(source.labels),
            "output": LOGITS,
            "aggregation": settings.aggregation,
            "outside": list(OUTSIDE),
            "unknown": transformer.tokenizer.unk_token_id,
        }
    return {"labels": list(source.labels), "decision": SCORES}


def _questions(samples: TextSamples | None, tokenizer: object) -> Questions:
    """The user's samples or made-up texts, and edge cases; without lone surrogates, which the source does not take."""
    if samples is not None and len(samples.texts) > MOST_SAMPLES:
        rows = np.linspace(0, len(samples.texts) - 1, MOST_SAMPLES).astype(int).tolist()
        labels = None if samples.labels is None else tuple(samples.labels[row] for row in rows)
        samples = TextSamples(tuple(samples.texts[row] for row in rows), labels)
    vocabulary = tokenizer.get_vocab()  # type: ignore[attr-defined]
    # SentencePiece and byte-level tokenizers mark the space before a word.
    words = sorted(word for word in {token.lstrip("▁Ġ") for token in vocabulary} if word.isalpha())
    asked = questions_of(samples, words, "word")
    own, others = asked.texts[: asked.count], asked.texts[asked.count :]
    if samples is None:
        own = tuple(filter(is_text, own))[:MADE_UP]
    for position, text in enumerate(own):
        if not is_text(text):
            raise ConversionError(f"sample {position}: expected text, found a lone surrogate, which no tokenizer takes")
    return replace(asked, texts=(*own, *filter(is_text, others)), count=len(own))

"""A Hugging Face or sentence-transformers directory to a bundle: export, parity gate, smaller variants, golden."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ortolan.bundle.manifest import TaskSpec
from ortolan.bundle.write import write_bundle
from ortolan.errors import ConversionError, OrtolanError, StorageError, TaskMismatchError
from ortolan.inputs.datafile import TextSamples, read_texts
from ortolan.inputs.tokens import TokenConfig, TokenEncoder, read_tokenizer
from ortolan.tasks import is_experimental
from ortolan.tasks.token_input import TOKENS
from ortolan_convert.generated import is_text
from ortolan_convert.huggingface_exam import answers_of, exam_of
from ortolan_convert.network_variants import Made, Tried, sample_rows, try_variants
from ortolan_convert.passes.quantizing import with_initializers
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.questions import questions_of
from ortolan_convert.report import EXPERIMENTAL, ConversionReport
from ortolan_convert.sources.huggingface import TOKENIZER, read_huggingface
from ortolan_convert.sources.transformer import HIDDEN, SCORES, load_transformer
from ortolan_convert.weight_file import MODEL, tidy, write_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx
    from numpy.typing import NDArray

    from ortolan.types import Fidelity
    from ortolan_convert.huggingface_exam import Exam, Found
    from ortolan_convert.questions import Questions
    from ortolan_convert.request import Progress, Request
    from ortolan_convert.sources.transformer import Transformer

MOST_SAMPLES = 2000
"""Samples that are compared; of more, evenly spread ones."""
MADE_UP = 300
"""Texts that are made up where there are no samples."""
CALIBRATION = 64
"""Samples whose activations the int8 pass looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What all variants share: the task, its assets, the exam, and usual sizes of free dimensions."""

    task: TaskSpec
    assets: Mapping[str, bytes]
    exam: Exam
    dims: Mapping[str, int]


def convert_huggingface(request: Request) -> ConversionReport:
    """Convert a directory; see :func:`ortolan_convert.convert.convert`."""
    request.without_config()
    path, target, say = request.only_path(), request.target, request.progress
    source = read_huggingface(path, trust=request.trust)
    if request.task is not None and request.task != source.task:
        raise TaskMismatchError(f"expected a model for the task {request.task!r}, found one for {source.task!r}")
    samples = None if request.samples is None else read_texts(request.samples)
    say("loading the model")
    sources = [source_of(file, below=path) for file in source.files]
    transformer = load_transformer(source)
    prepared = _prepare(transformer, samples, say)
    say("exporting the model")
    reference = tidy(transformer.export())
    version, inputs = source.config.get("transformers_version"), transformer.inputs
    # From here on the graph is the model; torch's copy of the weights is not needed any more.
    del transformer
    try:
        with TemporaryDirectory() as room:
            tried = _variants(reference, prepared, request, Path(room))
            say("writing the bundle")
            framework = str(version or installed("transformers") or "unknown")
            provenance = provenance_of("transformers", framework, sources, ("torch", "transformers", "tokenizers"))
            bundle = write_bundle(
                target,
                package_name=package_name(target),
                version="1.0.0",
                task=prepared.task,
                provenance=provenance,
                dims=prepared.dims,
                max_dims=_largest(prepared),
                components=[("model", [(one.name, one.info(), one.files) for one in tried.made])],
                assets=prepared.assets,
                golden=prepared.exam.golden(),
                overwrite=request.overwrite,
            )
            reports = (*(one.report(bundle) for one in tried.made), *tried.left_out)
    except OSError as error:
        if isinstance(error, OrtolanError):
            raise
        raise StorageError(f"{target.parent}: cannot be written: {error.strerror or error}") from error
    return ConversionReport(
        bundle=bundle,
        task=source.task,
        provenance=provenance,
        variants=reports,
        accuracy=prepared.exam.accuracy(None),
        warnings=(*_warnings(prepared, samples, inputs), *tried.warnings),
    )


def _prepare(transformer: Transformer, samples: TextSamples | None, say: Progress) -> Prepared:
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
    task: dict[str, object] = {"input": config.to_json()}
    if source.task == "embedding":
        task |= {"output": HIDDEN, "pooling": source.pooling, "normalize": source.normalize}
    else:
        task |= {"labels": list(source.labels), "decision": SCORES}
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


def _questions(samples: TextSamples | None, tokenizer: object) -> Questions:
    """The user's samples or made-up texts, and edge cases; without lone surrogates, which the source does not take."""
    if samples is not None and len(samples.texts) > MOST_SAMPLES:
        rows = np.linspace(0, len(samples.texts) - 1, MOST_SAMPLES).astype(int).tolist()
        labels = None if samples.labels is None else tuple(samples.labels[row] for row in rows)
        samples = TextSamples(tuple(samples.texts[row] for row in rows), labels)
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())  # type: ignore[attr-defined]
    asked = questions_of(samples, words, "word")
    own, others = asked.texts[: asked.count], asked.texts[asked.count :]
    if samples is None:
        own = tuple(filter(is_text, own))[:MADE_UP]
    for position, text in enumerate(own):
        if not is_text(text):
            raise ConversionError(f"sample {position}: expected text, found a lone surrogate, which no tokenizer takes")
    return replace(asked, texts=(*own, *filter(is_text, others)), count=len(own))


def _variants(reference: onnx.ModelProto, prepared: Prepared, request: Request, room: Path) -> Tried:
    """The variants that passed, the reference first, and those left out with the reason."""
    say, exam = request.progress, prepared.exam
    say("comparing the reference with the source")

    def found_by(path: Path) -> Found:
        return answers_of(path, prepared.task, prepared.assets, exam.questions.texts)

    def judge(path: Path) -> tuple[Fidelity, float | None]:
        found = found_by(path)
        return exam.fidelity(found), exam.accuracy(found)

    directory = room / "fp32"
    directory.mkdir()
    files = write_files(reference, directory)
    found = found_by(files[MODEL])
    exam.gate(found)
    made = Made(name="fp32", files=files, fidelity=exam.fidelity(found), accuracy=exam.accuracy(found))
    model = with_initializers(reference)
    return try_variants(
        made,
        model,
        lambda: sample_rows(model, _feeds(model, prepared), CALIBRATION, room),
        judge,
        (request.quantize, request.max_drop),
        room,
        say,
    )


def _feeds(model: onnx.ModelProto, prepared: Prepared) -> Iterator[dict[str, NDArray[np.int64]]]:
    """Texts as the model takes them, evenly spread."""
    encoder = TokenEncoder.open(prepared.task.config["input"], prepared.assets.__getitem__)  # type: ignore[arg-type]  # made in _prepare
    texts = prepared.exam.questions.texts[: prepared.exam.questions.count]
    taken = [value.name for value in model.graph.input]
    for position in np.unique(np.linspace(0, len(texts) - 1, CALIBRATION).astype(int)).tolist():
        ids, types = encoder.encode(texts[position])
        fed = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
        yield {name: np.array([fed[name]], np.int64) for name in taken}


def _largest(prepared: Prepared) -> dict[str, int]:
    """The largest run that the task makes: texts of full length, as many as it puts together."""
    config = prepared.task.config["input"]
    length = config["max_length"]  # type: ignore[index]  # made in _prepare
    return {"batch": max(1, TOKENS // length), "sequence": length}


def _warnings(prepared: Prepared, samples: TextSamples | None, inputs: Sequence[str]) -> Iterator[str]:
    task, questions = prepared.task, prepared.exam.questions
    if is_experimental(task):
        yield EXPERIMENTAL
    if questions.origin == "generated":
        yield (
            f"no samples were given: fidelity was measured on {questions.count} texts made up of the vocabulary; "
            f"give real ones with --samples"
        )
    elif samples is not None and len(samples.texts) > questions.count:
        yield f"{questions.count} of {len(samples.texts)} samples were compared, evenly spread"
    if "attention_mask" not in inputs:
        yield "the model takes no attention mask: only texts of equal length are run together"

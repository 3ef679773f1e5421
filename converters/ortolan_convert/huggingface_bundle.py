"""A Hugging Face or sentence-transformers directory to a bundle: export, parity gate, smaller variants, golden."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.onnxfile import read_model
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.engine.session import open_session
from ortolan.errors import ConversionError, StorageError, TaskMismatchError
from ortolan.inputs.datafile import TextSamples, read_texts
from ortolan.inputs.tokens import TokenConfig, TokenEncoder, read_tokenizer
from ortolan.tasks import is_experimental
from ortolan.tasks.token_input import TOKENS
from ortolan.types import SessionConfig
from ortolan_convert.analysis.costs import costs_of
from ortolan_convert.generated import is_text
from ortolan_convert.graph import FLOOR
from ortolan_convert.huggingface_exam import answers_of, exam_of
from ortolan_convert.passes.smoothing import inputs_of_products
from ortolan_convert.passes.transformer import TRANSFORMER_PASSES
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.questions import questions_of
from ortolan_convert.report import EXPERIMENTAL, ConversionReport, VariantReport
from ortolan_convert.sources.huggingface import TOKENIZER, read_huggingface
from ortolan_convert.sources.transformer import HIDDEN, SCORES, load_transformer
from ortolan_convert.weight_file import WEIGHTS, tidy, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.types import Fidelity
    from ortolan_convert.huggingface_exam import Exam
    from ortolan_convert.questions import Questions
    from ortolan_convert.request import Progress, Request
    from ortolan_convert.sources.transformer import Transformer

MOST_SAMPLES = 2000
"""Samples that are compared; of more, evenly spread ones."""
MADE_UP = 300
"""Texts that are made up where there are no samples."""
CALIBRATION = 64
"""Samples whose activations the int8 pass looks at,"""
CALIBRATION_TOKENS = 2048
"""or as many as have this number of tokens."""
WORTHWHILE = 0.9
"""A variant must be smaller than this share of the next larger one, or it is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What all variants share: the task, its assets, the exam, and usual sizes of free dimensions."""

    task: TaskSpec
    assets: Mapping[str, bytes]
    exam: Exam
    dims: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant on disk."""

    name: str
    directory: Path
    weight_bytes: int
    fidelity: Fidelity
    accuracy: float | None

    @property
    def files(self) -> dict[str, bytes | Path]:
        """For the bundle."""
        return {name: self.directory / name for name in ("model.onnx", WEIGHTS)}

    @property
    def bytes(self) -> int:
        """Of its files."""
        return sum((self.directory / name).stat().st_size for name in ("model.onnx", WEIGHTS))


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
            made, left_out = _variants(reference, prepared, request, Path(room))
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
                components=[("model", [(variant.name, _info(variant), variant.files) for variant in made])],
                assets=prepared.assets,
                golden=prepared.exam.golden(),
                overwrite=request.overwrite,
            )
            reports = tuple(
                VariantReport(
                    name=variant.name,
                    bytes=variant.bytes,
                    bundle_bytes=None if reason else bundle.manifest.variant_storage(variant.name),
                    fidelity=variant.fidelity,
                    accuracy=variant.accuracy,
                    left_out=reason,
                )
                for variant, reason in [*((variant, None) for variant in made), *left_out]
            )
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(f"{target.parent}: cannot be written: {error.strerror or error}") from error
    return ConversionReport(
        bundle=bundle,
        task=source.task,
        provenance=provenance,
        variants=reports,
        accuracy=prepared.exam.accuracy(None),
        warnings=tuple(_warnings(prepared, samples, left_out, inputs)),
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


def _variants(
    reference: onnx.ModelProto, prepared: Prepared, request: Request, room: Path
) -> tuple[list[Made], list[tuple[Made, str]]]:
    """The variants that passed, the reference first, and those left out with the reason."""
    say = request.progress
    say("comparing the reference with the source")
    made = [_make("fp32", reference, prepared, room, gate=True)]
    left_out: list[tuple[Made, str]] = []
    activations = _activations(reference, prepared, room) if "int8" in request.quantize else {}
    for name in request.quantize:
        say(f"trying {name}")
        variant = _make(name, TRANSFORMER_PASSES[name](reference, activations), prepared, room)
        reason = _objection(variant, made[-1], request.max_drop)
        if reason is None:
            made.append(variant)
        else:
            left_out.append((variant, reason))
    return made, left_out


def _make(name: str, model: onnx.ModelProto, prepared: Prepared, room: Path, *, gate: bool = False) -> Made:
    directory = room / name
    directory.mkdir()
    weight_bytes = write_model(model, directory)
    exam = prepared.exam
    found = answers_of(directory / "model.onnx", prepared.task, prepared.assets, exam.questions.texts)
    if gate:
        exam.gate(found)
    return Made(
        name=name,
        directory=directory,
        weight_bytes=weight_bytes,
        fidelity=exam.fidelity(found),
        accuracy=exam.accuracy(found),
    )


def _activations(model: onnx.ModelProto, prepared: Prepared, room: Path) -> dict[str, NDArray[np.float32]]:
    """Sample rows of what large weights are multiplied with."""
    names = inputs_of_products(model)
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    directory = room / "calibration"
    directory.mkdir()
    write_model(probe, directory)
    del probe
    config = prepared.task.config["input"]
    encoder = TokenEncoder.open(config, prepared.assets.__getitem__)  # type: ignore[arg-type]  # made in _prepare
    texts = prepared.exam.questions.texts[: prepared.exam.questions.count]
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    with closing(open_session(directory / "model.onnx", SessionConfig())) as session:
        taken, seen = [spec.name for spec in session.inputs], 0
        for position in np.unique(np.linspace(0, len(texts) - 1, CALIBRATION).astype(int)).tolist():
            ids, types = encoder.encode(texts[position])
            fed = {"input_ids": ids, "attention_mask": [1] * len(ids), "token_type_ids": types}
            outputs = session.run({name: np.array([fed[name]], np.int64) for name in taken})
            for name in names:
                values = outputs[name]
                rows[name].append(values.reshape(-1, values.shape[-1]).astype(np.float32))
            seen += len(ids)
            if seen >= CALIBRATION_TOKENS:
                break
    for file in directory.iterdir():
        file.unlink()
    return {name: np.concatenate(parts) for name, parts in rows.items()}


def _objection(variant: Made, larger: Made, max_drop: float) -> str | None:
    """Why a variant is left out; None if it is not."""
    fidelity = variant.fidelity
    if not np.isfinite(fidelity.worst):
        return "its answers are not finite"
    if fidelity.drop > max_drop:
        what = "vectors" if fidelity.metric == "embedding" else "decisions"
        return f"it changes {fidelity.drop:.2%} of the {what}, more than the allowed {max_drop:.2%}"
    ratio = variant.bytes / larger.bytes
    if ratio > WORTHWHILE:
        return f"it is {ratio:.0%} of {larger.name}'s size, which does not pay"
    return None


def _info(made: Made) -> VariantInfo:
    path = made.directory / "model.onnx"
    model = read_model(path)
    costs = costs_of(path, model)
    return VariantInfo(
        precision=made.name,
        providers=able(model.operators),
        min_onnxruntime=FLOOR,
        weight_bytes=made.weight_bytes,
        macs=costs.macs,
        activation_bytes=costs.activation_bytes,
        cpu_features=(),
        fidelity=made.fidelity,
        weights=weight_memory(model),
    )


def _largest(prepared: Prepared) -> dict[str, int]:
    """The largest run that the task makes: texts of full length, as many as it puts together."""
    config = prepared.task.config["input"]
    length = config["max_length"]  # type: ignore[index]  # made in _prepare
    return {"batch": max(1, TOKENS // length), "sequence": length}


def _warnings(
    prepared: Prepared, samples: TextSamples | None, left_out: Sequence[tuple[Made, str]], inputs: Sequence[str]
) -> Iterator[str]:
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
    for variant, reason in left_out:
        yield f"{variant.name} was left out: {reason}"

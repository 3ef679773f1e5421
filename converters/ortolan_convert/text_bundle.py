"""A text source to a bundle: the reference, the parity gate, smaller variants, golden samples."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.onnxgraph import parse_model
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.errors import ParityError, TaskMismatchError
from ortolan.inputs.ngrams import NgramEncoder
from ortolan_convert.graph import FLOOR
from ortolan_convert.linear import build_linear
from ortolan_convert.parity import TOLERANCE, compare, fidelity, gate
from ortolan_convert.passes import LINEAR_PASSES
from ortolan_convert.passes.float32 import references
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.questions import accuracy, golden_files, questions_of
from ortolan_convert.report import ConversionReport, VariantReport
from ortolan_convert.samples import read_texts
from ortolan_convert.session import run_model
from ortolan_convert.sources.artifact import read_artifact
from ortolan_convert.sources.sklearn_text import TextSource, read_text_source
from ortolan_convert.vocabulary import compile_vocabulary, text_assets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ortolan.bundle.manifest import Provenance, Source
    from ortolan.types import Fidelity
    from ortolan_convert.convert import Progress
    from ortolan_convert.graph import BuiltModel
    from ortolan_convert.linear import Linear
    from ortolan_convert.parity import Answers, Comparison
    from ortolan_convert.questions import Questions
    from ortolan_convert.sources.recognise import Kind
    from ortolan_convert.weights import Weights

MEASURED = 2000
"""How many samples' sizes are looked at."""
WORTHWHILE = 0.9
"""A variant must be smaller than this share of the next larger one, or it is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOptions:
    """The options of a conversion; see :func:`ortolan_convert.convert.convert`."""

    samples: Path | None
    trust: bool
    task: str | None
    quantize: tuple[str, ...]
    max_drop: float
    overwrite: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that the variants of a bundle share.

    Args:
        source: the trained pipeline.
        linear: its model over the features as they are numbered in the bundle.
        task: name and configuration.
        assets: by path below ``assets/``.
    """

    source: TextSource
    linear: Linear
    task: TaskSpec
    assets: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant: its model and how it compares with the source."""

    weights: Weights
    model: BuiltModel
    comparison: Comparison

    @property
    def name(self) -> str:
        """The variant's."""
        return self.weights.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What variants are judged by.

    Args:
        questions: the texts.
        answers: the source's.
        dims: usual sizes of the free dimensions.
    """

    questions: Questions
    answers: Answers
    dims: Mapping[str, int]

    def fidelity(self, made: Made) -> Fidelity:
        """Of a variant."""
        metric = "cluster" if self.answers.decided_by == "distances" else "label"
        return fidelity(made.comparison, count=self.questions.count, metric=metric, inputs=self.questions.origin)


def convert_text(
    artifacts: Sequence[tuple[Path, Kind]], target: Path, options: TextOptions, say: Progress
) -> ConversionReport:
    """Convert a scikit-learn text pipeline; see :func:`ortolan_convert.convert.convert`."""
    samples = None if options.samples is None else read_texts(options.samples)
    say("reading the artifact")
    sources = [source_of(path) for path, _ in artifacts]
    source = read_text_source([read_artifact(path, kind, trust=options.trust) for path, kind in artifacts])
    if options.task is not None and options.task != source.task:
        raise TaskMismatchError(f"expected a model for the task {options.task!r}, found one for {source.task!r}")
    prepared = prepare(source)
    questions = questions_of(samples, source.features.terms, source.features.spec.analyzer)
    say(f"asking the source {len(questions.texts)} texts")
    answers = source.answers(questions.texts)
    exam = Exam(questions=questions, answers=answers, dims=_usual_sizes(prepared, questions))
    say("building the reference and comparing it with the source")
    made, left_out = _variants(prepared, exam, options, say)
    say("writing the bundle")
    provenance = _provenance(source, sources)
    bundle = write_bundle(
        target,
        package_name=package_name(target),
        version="1.0.0",
        task=prepared.task,
        provenance=provenance,
        dims=exam.dims,
        components=[("model", [_files(variant, exam) for variant in made])],
        assets=prepared.assets,
        golden=golden_files(questions, answers),
        overwrite=options.overwrite,
    )
    sizes = {variant.name: bundle.manifest.variant_storage(variant.name) for variant in made}
    return ConversionReport(
        bundle=bundle,
        task=source.task,
        provenance=provenance,
        variants=tuple(
            VariantReport(
                name=variant.name,
                bytes=len(variant.model.data),
                bundle_bytes=sizes.get(variant.name),
                fidelity=exam.fidelity(variant),
                accuracy=accuracy(variant.comparison.labels, source.names, questions),
                left_out=reason,
            )
            for variant, reason in [*((variant, None) for variant in made), *left_out]
        ),
        accuracy=accuracy(answers.labels, source.names, questions),
        warnings=tuple(_warnings(source, exam, left_out, options)),
    )


def prepare(source: TextSource) -> Prepared:
    """Pack the vocabulary and renumber the model's features as it does."""
    features = source.features
    compiled = compile_vocabulary(features.terms, features.spec, features.position >= 0)
    idf = None if features.idf is None else features.idf[compiled.order]
    config, assets = text_assets(features.spec, compiled, idf)
    linear = source.linear.with_features(features.position[compiled.order[: compiled.kept]])
    if source.labels:
        task: dict[str, object] = {"labels": list(source.labels), "input": config, "decision": source.decided_by}
    else:
        task = {"clusters": len(source.linear.bias), "input": config}
    return Prepared(source=source, linear=linear, task=TaskSpec(source.task, task), assets=assets)


def _variants(
    prepared: Prepared, exam: Exam, options: TextOptions, say: Progress
) -> tuple[list[Made], list[tuple[Made, str]]]:
    """The variants that passed, the reference first, and those left out with the reason."""
    reference = _reference(prepared, exam)
    made: list[Made] = [reference]
    left_out: list[tuple[Made, str]] = []
    for name in options.quantize:
        say(f"trying {name}")
        weights = LINEAR_PASSES[name](prepared.linear.coefficients, reference.weights.compute)
        variant = _make(prepared, weights, exam)
        reason = _objection(variant, made[-1], exam, options.max_drop)
        if reason is None:
            made.append(variant)
        else:
            left_out.append((variant, reason))
    return made, left_out


def _reference(prepared: Prepared, exam: Exam) -> Made:
    failure: ParityError | None = None
    for weights in references(prepared.linear.coefficients, wide=prepared.linear.every_feature):
        made = _make(prepared, weights, exam)
        try:
            gate(exam.answers, made.comparison, exam.questions.texts, prepared.source.names)
        except ParityError as error:
            failure = error
        else:
            return made
    raise failure or ParityError("the model has no coefficients to convert")


def _make(prepared: Prepared, weights: Weights, exam: Exam) -> Made:
    if not len(weights.stored):
        # Padding points at row 0, so there must be one.
        weights = replace(weights, stored=np.zeros((1, weights.stored.shape[1]), weights.stored.dtype))
    model = build_linear(prepared.linear, weights, exam.dims)
    outputs = run_model(model.data, prepared.task, prepared.assets, exam.questions.texts)
    return Made(weights=weights, model=model, comparison=compare(exam.answers, outputs))


def _objection(variant: Made, larger: Made, exam: Exam, max_drop: float) -> str | None:
    """Why a variant is left out; None if it is not."""
    drop = exam.fidelity(variant).drop
    if not np.isfinite(variant.comparison.difference).all():
        return "its answers are not finite"
    if drop > max_drop:
        return f"it changes {drop:.2%} of the decisions, more than the allowed {max_drop:.2%}"
    ratio = len(variant.model.data) / len(larger.model.data)
    if ratio > WORTHWHILE:
        return f"it is {ratio:.0%} of {larger.name}'s size, which does not pay"
    return None


def _usual_sizes(prepared: Prepared, questions: Questions) -> dict[str, int]:
    """The 90th percentile of the number of features in a sample, for the cost of a typical run."""
    config = prepared.task.config["input"]
    encoder = NgramEncoder.open(cast("Mapping[str, object]", config), prepared.assets.__getitem__)
    offsets = encoder.encode_many(questions.texts[: min(questions.count, MEASURED)])[2]
    return {"batch": 1, "terms": max(1, int(np.percentile(np.diff(offsets), 90)))}


def _files(made: Made, exam: Exam) -> tuple[str, VariantInfo, dict[str, bytes | Path]]:
    model = parse_model(made.model.data)
    info = VariantInfo(
        precision=made.name,
        providers=able(model.operators),
        min_onnxruntime=FLOOR,
        weight_bytes=made.model.weight_bytes,
        macs=made.model.macs,
        activation_bytes=made.model.activation_bytes,
        cpu_features=(),
        fidelity=exam.fidelity(made),
        weights=weight_memory(model),
    )
    return made.name, info, {"model.onnx": made.model.data}


def _provenance(source: TextSource, sources: Sequence[Source]) -> Provenance:
    packages = ["scikit-learn", "joblib", "scipy"]
    if source.features.spec.tokenizer is not None:
        packages.append("jieba")
    return provenance_of("scikit-learn", source.version or installed("scikit-learn") or "unknown", sources, packages)


def _warnings(
    source: TextSource, exam: Exam, left_out: Sequence[tuple[Made, str]], options: TextOptions
) -> Iterator[str]:
    questions, slack = exam.questions, exam.answers.slack
    here = installed("scikit-learn")
    if source.version is not None and source.version != here:
        yield f"made with scikit-learn {source.version} and compared with the answers of the installed {here}"
    if questions.origin == "generated":
        yield (
            f"no samples were given: fidelity was measured on {questions.count} texts made up of the vocabulary; "
            f"give real ones with --samples"
        )
    elif options.quantize and questions.count * options.max_drop < 1:
        yield (
            f"{questions.count} samples cannot show a drop of {options.max_drop:.2%}; "
            f"give at least {int(np.ceil(1 / options.max_drop)) if options.max_drop else 'many more'}"
        )
    steep = 0 if slack is None else int((slack > TOLERANCE).sum())
    if slack is not None and steep:
        yield (
            f"{steep} of {len(questions.texts)} texts lie on steps of the isotonic calibration, where the source's own "
            f"answer moves by up to {slack.max():.2g} with the rounding of its features"
        )
    for variant, reason in left_out:
        yield f"{variant.name} was left out: {reason}"

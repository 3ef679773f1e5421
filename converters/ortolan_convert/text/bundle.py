"""A text source to a bundle: the reference, the parity gate, smaller variants, golden samples."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.onnxgraph import parse_model
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.errors import TaskMismatchError
from ortolan.inputs.datafile import read_texts
from ortolan.inputs.ngram_sets import NgramSets
from ortolan.inputs.ngrams import NgramEncoder
from ortolan_convert.gate import too_few
from ortolan_convert.graph import FLOOR
from ortolan_convert.parity import TOLERANCE
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.report import ConversionReport, VariantReport
from ortolan_convert.text.linear import LinearVariants
from ortolan_convert.text.questions import accuracy, golden_files, questions_of, repetitions
from ortolan_convert.text.variants import Exam, Made, Prepared, variants_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ortolan.bundle.manifest import Provenance, Source
    from ortolan.inputs.datafile import TextSamples
    from ortolan_convert.request import Request
    from ortolan_convert.sources.scikit_learn.text_composed import ComposedText
    from ortolan_convert.sources.scikit_learn.text_source import TextSource
    from ortolan_convert.text.questions import Questions

MEASURED = 2000
"""How many samples' sizes are looked at."""


def text_bundle(source: TextSource | ComposedText, prepared: Prepared, request: Request) -> ConversionReport:
    """Write the bundle of a model over texts.

    Args:
        source: the trained model.
        prepared: what its variants share.
        request: what was asked for.

    Raises:
        ParityError: the converted model disagrees with its source.
        TaskMismatchError: another task is expected.
        InputError, StorageError: the samples are not what the model takes.
    """
    samples = None if request.samples is None else read_texts(request.samples)
    say = request.progress
    sources = [source_of(path) for path, _ in request.artifacts]
    if request.task is not None and request.task != source.task:
        raise TaskMismatchError(f"expected a model for the task {request.task!r}, found one for {source.task!r}")
    questions = _questions(samples, prepared)
    say(f"asking the source {len(questions.texts)} texts")
    answers = source.answers(questions.texts)
    exam = Exam(
        questions=questions,
        answers=answers,
        dims=_usual_sizes(prepared, questions),
        repetitions=prepared.repetitions,
        repeated=source.answers(prepared.repetitions) if prepared.repetitions else None,
    )
    say("building the reference and comparing it with the source")
    made, left_out = variants_of(prepared, exam, (request.quantize, request.max_drop), say)
    say("writing the bundle")
    provenance = _provenance(source, sources)
    bundle = write_bundle(
        request.target,
        package_name=package_name(request.target),
        version="1.0.0",
        task=prepared.task,
        provenance=provenance,
        dims=exam.dims,
        components=[("model", [_files(variant, exam) for variant in made])],
        assets=prepared.assets,
        golden=golden_files(questions, answers),
        overwrite=request.overwrite,
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
        warnings=tuple(_warnings(source, exam, (made[0], left_out), request)),
    )


def prepare(source: TextSource) -> Prepared:
    """Pack the vocabulary and renumber the model's features as it does."""
    config, assets, order = source.features.packed()
    linear = source.linear.with_features(order)
    if source.labels:
        task: dict[str, object] = {"labels": list(source.labels), "input": config, "decision": source.decided_by}
    else:
        task = {"clusters": len(source.linear.bias), "input": config}
    return Prepared(
        source=source,
        model=LinearVariants(linear),
        task=TaskSpec(source.task, task),
        assets=assets,
        features=(source.features,),
        repetitions=repetitions(source.linear, source.features),
    )


def _questions(samples: TextSamples | None, prepared: Prepared) -> Questions:
    """The user's samples, or texts of the terms of all vectorizers."""
    specs = [one.spec for one in prepared.features]
    terms = list(chain.from_iterable(one.words()[0] for one in prepared.features))
    analyzer = next((spec.analyzer for spec in specs if spec.analyzer == "word"), specs[0].analyzer)
    return questions_of(samples, terms, analyzer, hashed=any(spec.hashed is not None for spec in specs))


def _usual_sizes(prepared: Prepared, questions: Questions) -> dict[str, int]:
    """The 90th percentile of the number of features in a sample, for the cost of a typical run."""
    config, texts = cast("Mapping[str, Any]", prepared.task.config["input"]), questions.texts
    some = texts[: min(questions.count, MEASURED)]
    if config["kind"] == "ngrams":
        found = {"terms": NgramEncoder.open(config, prepared.assets.__getitem__).encode_many(some)[2]}
    else:
        sets = NgramSets.open(config, prepared.assets.__getitem__, "task.config.input")
        found = {f"{name}.terms": offsets for name, offsets in sets.many(some).offsets.items()}
    return {"batch": 1} | {dim: max(1, int(np.percentile(np.diff(ends), 90))) for dim, ends in found.items()}


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


def _provenance(source: TextSource | ComposedText, sources: Sequence[Source]) -> Provenance:
    version = source.version or installed("scikit-learn") or "unknown"
    return provenance_of("scikit-learn", version, sources, source.packages)


def _warnings(
    source: TextSource | ComposedText, exam: Exam, outcome: tuple[Made, Sequence[tuple[Made, str]]], request: Request
) -> Iterator[str]:
    questions = exam.questions
    reference, left_out = outcome
    here = installed("scikit-learn")
    if source.version is not None and source.version != here:
        yield f"made with scikit-learn {source.version} and compared with the answers of the installed {here}"
    if questions.origin == "generated":
        yield (
            f"no samples were given: fidelity was measured on {questions.count} texts made up of the vocabulary; "
            f"give real ones with --samples"
        )
    elif request.quantize and (few := too_few(questions.count, request.max_drop)):
        yield few
    slack = np.zeros(0) if exam.answers.slack is None else exam.answers.slack
    steep = slack[np.isfinite(slack) & (slack > TOLERANCE)]
    if len(steep):
        yield (
            f"{len(steep)} of {len(questions.texts)} texts lie on steps of the isotonic calibration, where the "
            f"source's own answer moves by up to {steep.max():.2g} with the rounding of its features"
        )
    undecided = int(np.isinf(slack).sum())
    if undecided:
        yield (
            f"on {undecided} of {len(questions.texts)} texts several neighbours are equally near, and rounding decides "
            f"which count: these are not compared"
        )
    if reference.far:
        yield (
            f"on {reference.far} of {len(exam.repetitions)} texts that repeat a term up to 1,000 times the answers "
            f"differ by more than {TOLERANCE:g} from the source's"
        )
    for variant, reason in left_out:
        yield f"{variant.name} was left out: {reason}"

"""A Hugging Face or sentence-transformers directory to a bundle: export, parity gate, smaller variants, golden."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ortolan.bundle.manifest import VariantInfo
from ortolan.bundle.onnxfile import read_model
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.engine.session import open_session
from ortolan.errors import StorageError, TaskMismatchError
from ortolan.inputs.datafile import read_texts
from ortolan.inputs.tokens import TokenEncoder
from ortolan.tasks import is_experimental
from ortolan.types import SessionConfig
from ortolan_convert.analysis.costs import costs_of
from ortolan_convert.graph import FLOOR
from ortolan_convert.huggingface_exam import answers_of
from ortolan_convert.huggingface_task import prepare, settings_of
from ortolan_convert.network_bundle import convert_network
from ortolan_convert.passes.smoothing import inputs_of_products
from ortolan_convert.passes.transformer import TRANSFORMER_PASSES
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.report import EXPERIMENTAL, ConversionReport, VariantReport
from ortolan_convert.sources.huggingface import read_huggingface
from ortolan_convert.sources.transformer import load_transformer
from ortolan_convert.weight_file import WEIGHTS, tidy, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.datafile import TextSamples
    from ortolan.types import Fidelity
    from ortolan_convert.huggingface_task import Prepared
    from ortolan_convert.request import Request

CALIBRATION = 64
"""Samples whose activations the int8 pass looks at,"""
CALIBRATION_TOKENS = 2048
"""or as many as have this number of tokens."""
WORTHWHILE = 0.9
"""A variant must be smaller than this share of the next larger one, or it is left out."""


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
    path, target, say = request.only_path(), request.target, request.progress
    settings = settings_of(request, path)
    source = read_huggingface(path, trust=request.trust, head=settings.head)
    if settings.task is not None and settings.task != source.task:
        raise TaskMismatchError(f"expected a model for the task {settings.task!r}, found one for {source.task!r}")
    if source.task == "image-classification":
        return convert_network(replace(request, task=None, config=None))
    samples = None if request.samples is None else read_texts(request.samples)
    say("loading the model")
    sources = [source_of(file, below=path) for file in source.files]
    transformer = load_transformer(source)
    prepared = prepare(transformer, samples, settings, say)
    say("exporting the model")
    reference = tidy(transformer.export())
    version, inputs = source.config.get("transformers_version"), transformer.inputs
    # From here on the graph is the model; torch's copy of the weights is not needed any more.
    del transformer
    try:
        with TemporaryDirectory(prefix=f".{target.name}.variants-", dir=target.parent) as room:
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
                max_dims=prepared.largest,
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
        warnings=(*source.notes, *_warnings(prepared, samples, left_out, inputs)),
    )


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

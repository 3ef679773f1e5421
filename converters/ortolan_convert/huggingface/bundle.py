"""A Hugging Face or sentence-transformers directory to a bundle: export, parity gate, smaller variants, golden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from ortolan.bundle.write import write_bundle
from ortolan.errors import OrtolanError, StorageError, TaskMismatchError
from ortolan.inputs.datafile import read_texts
from ortolan.inputs.tokens import TokenEncoder
from ortolan.tasks import is_experimental
from ortolan_convert.huggingface.exam import answers_of
from ortolan_convert.huggingface.task import prepare, settings_of
from ortolan_convert.networks.bundle import convert_read
from ortolan_convert.networks.variants import Made, Tried, sample_rows, try_variants
from ortolan_convert.networks.weight_file import MODEL, tidy, write_files
from ortolan_convert.passes.quantizing import with_initializers
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.report import EXPERIMENTAL, ConversionReport
from ortolan_convert.sources.huggingface.directory import read_huggingface
from ortolan_convert.sources.huggingface.export import exported_transformer
from ortolan_convert.sources.huggingface.transformer import load_transformer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx
    from numpy.typing import NDArray

    from ortolan.inputs.datafile import TextSamples
    from ortolan.types import Fidelity
    from ortolan_convert.huggingface.exam import Found
    from ortolan_convert.huggingface.task import Prepared
    from ortolan_convert.request import Request

CALIBRATION = 64
"""Samples whose activations the int8 pass looks at."""


def convert_huggingface(request: Request) -> ConversionReport:
    """Convert a directory; see :func:`ortolan_convert.convert.convert`."""
    path, target, say = request.only_path(), request.target, request.progress
    settings = settings_of(request, path)
    source = read_huggingface(path, trust=request.trust, head=settings.head)
    if settings.task is not None and settings.task != source.task:
        raise TaskMismatchError(f"expected a model for the task {settings.task!r}, found one for {source.task!r}")
    if source.task == "image-classification":
        from ortolan_convert.sources.huggingface.image import read_network

        return convert_read(replace(request, task=None, config=None), read_network)
    samples = None if request.samples is None else read_texts(request.samples)
    say("loading the model")
    sources = [source_of(file, below=path) for file in source.files]
    transformer = load_transformer(source)
    prepared = prepare(transformer, samples, settings, say)
    say("exporting the model")
    reference = tidy(exported_transformer(transformer))
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
                max_dims=prepared.largest,
                components=[("model", [(one.name, one.info(), one.files) for one in tried.made])],
                assets=prepared.assets,
                golden=prepared.exam.golden(),
                overwrite=request.overwrite,
            )
            reports = (*(one.report(bundle) for one in tried.made), *tried.left_out)
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"{target.parent}: cannot be written: {error.strerror or error}") from error
    return ConversionReport(
        bundle=bundle,
        task=source.task,
        provenance=provenance,
        variants=reports,
        accuracy=prepared.exam.accuracy(None),
        warnings=(*source.notes, *_warnings(prepared, samples, inputs), *tried.warnings),
    )


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

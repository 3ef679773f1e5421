"""A network to a bundle: its graph made sound, compared with its source, smaller variants, golden samples."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ortolan.bundle.manifest import TaskSpec
from ortolan.bundle.write import write_bundle
from ortolan.engine.session import open_session
from ortolan.errors import OrtolanError, StorageError, UsageError
from ortolan.tasks import is_experimental
from ortolan.tasks.golden import fidelity
from ortolan.types import SessionConfig
from ortolan_convert.gate import too_few
from ortolan_convert.networks.exam import NetworkExam, answered_twice, asked, difference
from ortolan_convert.networks.free_dims import sizes_seen
from ortolan_convert.networks.golden import GOLDEN, golden_files
from ortolan_convert.networks.inputs import inputs_of
from ortolan_convert.networks.reference.oldest import oldest
from ortolan_convert.networks.reference.refine import check, for_passes, no_variants, refined
from ortolan_convert.networks.variants import Made, Tried, sample_rows, try_variants
from ortolan_convert.networks.weight_file import MODEL
from ortolan_convert.provenance import package_name, provenance_of, source_of
from ortolan_convert.report import EXPERIMENTAL, ConversionReport
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.onnx_file import read_onnx
from ortolan_convert.task_config import task_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan.bundle.manifest import Provenance
    from ortolan.types import Array
    from ortolan_convert.networks.reference.refine import Reference
    from ortolan_convert.networks.source import NetworkSource
    from ortolan_convert.request import Request
    from ortolan_convert.sources.onnx_file import OnnxSource
    from ortolan_convert.task_config import TaskConfig

    Tensors = Mapping[str, Array]
    ReadNetwork = Callable[[Request, TaskConfig, Path], NetworkSource]


def convert_network(request: Request) -> ConversionReport:
    """Convert what has a reader in `ortolan_convert.sources.kinds`; see :func:`ortolan_convert.convert.convert`."""
    module, _, function = str(KINDS[request.kind].reader).partition(":")
    return convert_read(request, getattr(import_module(module), function))


def convert_read(request: Request, read: ReadNetwork) -> ConversionReport:
    """Convert what a reader makes of a request; see :func:`ortolan_convert.convert.convert`."""
    settings = task_config(request.config, request.task)
    try:
        with TemporaryDirectory() as room:
            request.progress("reading the model")
            network = read(request, settings, Path(room))
            return _convert(network, request, network.settings or settings, Path(room))
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"{request.target.parent}: cannot be written: {error.strerror or error}") from error


def _convert(network: NetworkSource, request: Request, settings: TaskConfig, scratch: Path) -> ConversionReport:
    say = request.progress
    room = scratch / "network"
    room.mkdir()
    given = read_onnx(network.model)
    model = check(given)
    _check_dims(given, settings, request)
    task = TaskSpec(settings.task, dict(settings.config))
    say("running the model")
    wanted = {name: settings.dims.get(name, 1) for name in given.free_dims}
    questions = inputs_of(given, task, settings.assets, request.samples, wanted)
    reference = refined(given, model, questions.feeds, room, say)
    del model
    source = reference.source
    inputs, found, noise = answered_twice(source.path, source.min_onnxruntime, questions.feeds)
    say("asking the source")
    outputs = _source_answers(network, given, reference, inputs, found)
    gap = max(difference(theirs, ours) for theirs, ours in zip(outputs, found, strict=True))
    network.close()
    origin = "generated" if request.samples is None else "samples"
    exam = NetworkExam(task=task, assets=settings.assets, inputs=inputs, outputs=outputs, origin=origin)
    version, aged = oldest(source.path, source.model, inputs[0], room)
    made = Made(
        name=source.precision,
        files={MODEL: source.path} | {name: source.path.parent / name for name in source.model.external_files},
        fidelity=fidelity("tensor", len(inputs), 0, max(noise, gap), origin),
        min_onnxruntime=version,
    )
    tried = _variants(made, reference, exam, request, room)
    usual, largest = sizes_seen(source.model.inputs, inputs)
    dims = {name: settings.dims.get(name, usual.get(name, 1)) for name in source.free_dims}
    say("writing the bundle")
    shipped, files = golden_files(inputs, outputs)
    provenance = _provenance(network)
    bundle = write_bundle(
        request.target,
        package_name=package_name(request.target),
        version="1.0.0",
        task=task,
        provenance=provenance,
        dims=dims,
        max_dims=_largest(dims, largest, questions.bounds, settings.max_dims),
        components=[("model", [(one.name, one.info(), one.files) for one in tried.made])],
        assets=settings.assets,
        golden=files,
        overwrite=request.overwrite,
    )
    notes = (*network.notes, *reference.notes, *([] if aged is None else [aged]))
    return ConversionReport(
        bundle=bundle,
        task=task.name,
        provenance=provenance,
        variants=(*(one.report(bundle) for one in tried.made), *tried.left_out),
        accuracy=None,
        warnings=(*notes, *_warnings(exam, request, shipped), *tried.warnings),
    )


def _source_answers(
    network: NetworkSource,
    given: OnnxSource,
    reference: Reference,
    inputs: Sequence[Tensors],
    found: Sequence[Tensors],
) -> list[Tensors]:
    """The source's own answers: its framework's, or those of the ONNX file as it came."""
    if network.ask is not None or not reference.changed:
        return asked(network, inputs, found)
    version = given.min_onnxruntime
    with closing(open_session(given.path, SessionConfig(threads=1), min_onnxruntime=version)) as session:
        return asked(replace(network, ask=session.run), inputs, found)


def _variants(made: Made, reference: Reference, exam: NetworkExam, request: Request, room: Path) -> Tried:
    """The reference, and the smaller variants that it deserves."""
    if not request.quantize:
        return Tried([made], [])
    model = for_passes(reference)
    reason = no_variants(reference, model)
    if reason is not None:
        return Tried([made], [], [f"no smaller variants were made: {reason}"])
    tried = try_variants(
        made,
        model,
        lambda: sample_rows(model, exam.inputs, len(exam.inputs), room),
        lambda path: (exam.fidelity(path), None),
        (request.quantize, request.max_drop),
        room,
        request.progress,
    )
    few = too_few(len(exam.inputs), request.max_drop) if exam.origin == "samples" else None
    return tried if few is None else replace(tried, notes=[*tried.notes, few])


def _provenance(network: NetworkSource) -> Provenance:
    sources = [source_of(file, network.below) for file in network.files]
    return provenance_of(network.framework, network.version, sources, network.packages)


def _check_dims(source: OnnxSource, settings: TaskConfig, request: Request) -> None:
    for key, sizes in (("dims", settings.dims), ("max_dims", settings.max_dims)):
        for name in sizes:
            if name not in source.free_dims:
                known = ", ".join(source.free_dims) or "none"
                raise UsageError(
                    f"{request.config}: {key}.{name}: the model has no such free dimension; it has: {known}"
                )


def _largest(usual: Mapping[str, int], *larger: Mapping[str, int]) -> dict[str, int]:
    """The largest of the sizes seen, possible and declared, where it is more than the usual one."""
    sizes = {name: max(size, *(other.get(name, 1) for other in larger)) for name, size in usual.items()}
    return {name: size for name, size in sizes.items() if size > usual[name]}


def _warnings(exam: NetworkExam, request: Request, shipped: int) -> Iterator[str]:
    if is_experimental(exam.task):
        yield EXPERIMENTAL
    if request.samples is None:
        wanted = f"--samples {_samples(exam.task.name)}"
        yield f"no samples were given: the golden inputs are made up; give real ones with {wanted}"
    if shipped < GOLDEN:
        yield f"only {shipped} golden samples are in the bundle; {GOLDEN} make a check on the device worth more"


def _samples(task: str) -> str:
    if task in ("image-classification", "image-to-text", "object-detection"):
        return "DIRECTORY_OF_IMAGES"
    return "ROWS.csv" if task.startswith("tabular-") else "DATA.npz"

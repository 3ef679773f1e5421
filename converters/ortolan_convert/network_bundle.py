"""A network to a bundle: its graph compared with its source, the task it is given, and the source's answers."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.engine.session import open_session
from ortolan.errors import InputError, OrtolanError, ParityError, SessionError, StorageError, UsageError
from ortolan.inputs.datafile import files_below, read_arrays, read_texts
from ortolan.inputs.table_file import read_table
from ortolan.inputs.tokens import read_tokenizer
from ortolan.tasks import is_experimental, open_runner
from ortolan.tasks.golden import fidelity
from ortolan.tasks.runner import BoundsInputs, MakesExamples, TakesImages, TakesTexts
from ortolan.types import SessionConfig
from ortolan_bench.workload import spaced
from ortolan_convert.analysis.costs import costs_of
from ortolan_convert.free_dims import bounded_dims, sizes_seen
from ortolan_convert.generated import EDGE_TEXTS, generated_texts, is_text
from ortolan_convert.provenance import package_name, provenance_of, source_of
from ortolan_convert.report import EXPERIMENTAL, ConversionReport, VariantReport
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.onnx_file import LARGEST_INTEGERS, OnnxSource, given_inputs, made_up_inputs, read_onnx
from ortolan_convert.task_config import task_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Runner
    from ortolan.types import Array, Session
    from ortolan_convert.network import NetworkSource
    from ortolan_convert.request import Request
    from ortolan_convert.task_config import TaskConfig

    Tensors = Mapping[str, Array]
    ReadNetwork = Callable[[Request, TaskConfig, Path], NetworkSource]

GOLDEN = 16
"""Samples that go into the bundle."""
IMAGES = 64
"""Images that are compared, evenly spaced among more: their tensors are all in memory."""
MOST_TEXTS = 300
"""Samples that are run, of a file of texts."""
GOLDEN_BYTES = 64 << 20
"""Fewer do if they would take more than this, uncompressed."""
GOLDEN_FILE_BYTES = 16 << 20
"""Or more than this, compressed."""


def convert_network(request: Request) -> ConversionReport:
    """Convert what has a reader in `ortolan_convert.sources.kinds`; see :func:`ortolan_convert.convert.convert`."""
    module, _, function = str(KINDS[request.kind].reader).partition(":")
    return convert_read(request, getattr(import_module(module), function))


def convert_read(request: Request, read: ReadNetwork) -> ConversionReport:
    """Convert what a reader makes of a request; see :func:`ortolan_convert.convert.convert`."""
    settings = task_config(request.config, request.task)
    try:
        with TemporaryDirectory(prefix=f".{request.target.name}.variants-", dir=request.target.parent) as room:
            request.progress("reading the model")
            return _convert(read(request, settings, Path(room)), request, settings)
    except OSError as error:
        if isinstance(error, OrtolanError):
            raise
        raise StorageError(f"{request.target.parent}: cannot be written: {error.strerror or error}") from error


def _convert(network: NetworkSource, request: Request, settings: TaskConfig) -> ConversionReport:
    say = request.progress
    source = read_onnx(network.model)
    _check_dims(source, settings, request)
    dims = {name: settings.dims.get(name, 1) for name in source.free_dims}
    task = TaskSpec(settings.task, dict(settings.config))
    arrays, bounds = _inputs(source, task, settings.assets, request.samples)
    say("running the model")
    inputs, found, again = _stable(*_run_twice(source, dims, arrays))
    outputs = _asked(network, inputs, found)
    network.close()
    worst = max(_difference(one, other) for one, other in zip(outputs, again, strict=True))
    origin = "generated" if request.samples is None else "samples"
    variant = source.precision
    usual, largest = sizes_seen(source.model.inputs, inputs)
    dims = {name: settings.dims.get(name, usual.get(name, 1)) for name in source.free_dims}
    say("working out its costs")
    costs = costs_of(source.path, source.model)
    info = VariantInfo(
        precision=variant,
        providers=able(source.model.operators),
        min_onnxruntime=source.min_onnxruntime,
        weight_bytes=source.model.weight_bytes,
        macs=costs.macs,
        activation_bytes=costs.activation_bytes,
        weights=weight_memory(source.model),
        cpu_features=(),
        fidelity=fidelity("tensor", len(inputs), 0, worst, origin),
    )
    external = {name: source.path.parent / name for name in source.model.external_files}
    shipped = _shipped(inputs, outputs)
    say("writing the bundle")
    provenance = provenance_of(
        network.framework,
        network.version,
        [source_of(file, network.below) for file in network.files],
        network.packages,
    )
    bundle = write_bundle(
        request.target,
        package_name=package_name(request.target),
        version="1.0.0",
        task=task,
        provenance=provenance,
        dims=dims,
        max_dims=_largest(dims, largest, bounds, settings.max_dims),
        components=[("model", [(variant, info, {"model.onnx": source.path, **external})])],
        assets=settings.assets,
        golden={"inputs.npz": _packed(inputs[:shipped]), "outputs.npz": _packed(outputs[:shipped])},
        overwrite=request.overwrite,
    )
    report = VariantReport(
        name=variant,
        bytes=sum(file.stat().st_size for file in (source.path, *external.values())),
        bundle_bytes=bundle.manifest.variant_storage(variant),
        fidelity=info.fidelity,
    )
    return ConversionReport(
        bundle=bundle,
        task=task.name,
        provenance=provenance,
        variants=(report,),
        accuracy=None,
        warnings=(*network.notes, *_warnings(task, request, shipped)),
    )


def _asked(network: NetworkSource, inputs: Sequence[Tensors], found: list[Tensors]) -> list[Tensors]:
    """The source's own answers.

    Raises:
        ParityError: the reference's are not the same.
    """
    if network.ask is None:
        return found
    answers = [network.ask(feeds) for feeds in inputs]
    gaps = [_difference(one, other) for one, other in zip(answers, found, strict=True)]
    bad = [index for index, gap in enumerate(gaps) if not gap <= network.tolerance]
    if bad:
        worst = max(bad, key=lambda index: np.nan_to_num(gaps[index], nan=np.inf))
        raise ParityError(
            f"the converted model disagrees with its source on {len(bad)} of {len(inputs)} inputs (numbers must be "
            f"within {network.tolerance:g}, relative to the largest): most on input {worst}, by {gaps[worst]:.2g}"
        )
    return answers


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


def _inputs(
    source: OnnxSource, task: TaskSpec, assets: Mapping[str, bytes], samples: Path | None
) -> tuple[Sequence[Tensors] | None, dict[str, int]]:
    """The model's inputs, and the largest sizes of its free dimensions that the task will ever ask.

    The inputs are the samples, or what the task makes up; None if it makes none. The task is opened as a device will do
    it: a configuration that does not fit the model is refused now.
    """

    def read_asset(name: str) -> bytes:
        if name not in assets:
            known = ", ".join(assets) or "none"
            raise UsageError(f"the task needs the asset {name!r}, which the description does not list; it has: {known}")
        return assets[name]

    session = open_session(source.path, SessionConfig(threads=1), min_onnxruntime=source.min_onnxruntime)
    with closing(session):
        runner = open_runner(task, {"model": session}, read_asset)
        runner.warm_up()
        bounds = bounded_dims(source.model.inputs, runner.largest()) if isinstance(runner, BoundsInputs) else {}
        return _feeds(source, task, runner, read_asset, samples), bounds


def _feeds(
    source: OnnxSource, task: TaskSpec, runner: Runner, read_asset: ReadAsset, samples: Path | None
) -> Sequence[Tensors] | None:
    suffix = "" if samples is None else samples.suffix.lower()
    if isinstance(runner, TakesTexts) and suffix not in {".npy", ".npz"}:
        return [runner.text_feeds(text) for text in _sentences(task, read_asset, samples)]
    if samples is None:
        return runner.examples(GOLDEN) if isinstance(runner, MakesExamples) else None
    columns = getattr(runner, "columns", None)
    if columns is not None and suffix in {".csv", ".tsv"}:
        return [columns.one(row) for row in read_table(samples, columns)]
    if isinstance(runner, TakesImages) and suffix not in {".npy", ".npz"}:
        return [runner.feeds(path) for path in spaced(files_below(samples), IMAGES)]
    if samples.is_dir():
        raise UsageError(f"{samples}: a directory of samples holds images, which this task does not take")
    return given_inputs(source, read_arrays(samples), samples)


def _sentences(task: TaskSpec, read_asset: ReadAsset, samples: Path | None) -> Sequence[str]:
    """The texts of the samples, of many evenly spaced ones; without samples texts made up of the vocabulary."""
    if samples is not None:
        return spaced(read_texts(samples).texts, MOST_TEXTS)
    edges = [text for text in EDGE_TEXTS if is_text(text)]
    config: Any = task.config["input"]
    if config["kind"] != "tokens":
        return edges
    vocabulary = read_tokenizer(config["tokenizer"], read_asset).get_vocab()
    words = sorted(word for word in vocabulary if word.isalpha())
    made_up = generated_texts(words, analyzer="word", count=len(edges))
    return [text for pair in zip(made_up, edges, strict=True) for text in pair]


def _warnings(task: TaskSpec, request: Request, shipped: int) -> Iterator[str]:
    if is_experimental(task):
        yield EXPERIMENTAL
    if request.samples is None:
        wanted = f"--samples {_samples(task.name)}"
        yield f"no samples were given: the golden inputs are made up; give real ones with {wanted}"
    if shipped < GOLDEN:
        yield f"only {shipped} golden samples are in the bundle; {GOLDEN} make a check on the device worth more"


def _samples(task: str) -> str:
    if task in ("image-classification", "image-to-text", "object-detection"):
        return "DIRECTORY_OF_IMAGES"
    return "ROWS.csv" if task.startswith("tabular-") else "DATA.npz"


def _run_twice(
    source: OnnxSource, dims: Mapping[str, int], given: Sequence[Tensors] | None
) -> tuple[Sequence[Tensors], list[Tensors], list[Tensors]]:
    """Inputs, and the outputs with one thread and with the usual number: what differs is rounding."""
    version = source.min_onnxruntime
    with (
        closing(open_session(source.path, SessionConfig(threads=1), min_onnxruntime=version)) as one,
        closing(open_session(source.path, SessionConfig(), min_onnxruntime=version)) as usual,
    ):
        inputs, outputs = _answered(source, dims, given, one)
        return inputs, outputs, [usual.run(feeds) for feeds in inputs]


def _stable(
    inputs: Sequence[Tensors], outputs: list[Tensors], again: list[Tensors]
) -> tuple[Sequence[Tensors], list[Tensors], list[Tensors]]:
    """Without the samples whose whole numbers or strings are not the same twice: rounding decided them."""
    kept = [
        i
        for i, (one, other) in enumerate(zip(outputs, again, strict=True))
        if all(array.dtype.kind == "f" or np.array_equal(array, other[name]) for name, array in one.items())
    ]
    if not kept:
        return inputs, outputs, again
    return [inputs[i] for i in kept], [outputs[i] for i in kept], [again[i] for i in kept]


def _answered(
    source: OnnxSource, dims: Mapping[str, int], given: Sequence[Tensors] | None, session: Session
) -> tuple[Sequence[Tensors], list[Tensors]]:
    if given is not None:
        return given, [session.run(feeds) for feeds in given]
    failure = None
    for largest in LARGEST_INTEGERS:
        inputs = made_up_inputs(source, dims, GOLDEN, largest)
        try:
            return inputs, [session.run(feeds) for feeds in inputs]
        except SessionError as error:
            failure = error
    raise InputError(f"{source.path}: the model fails on made-up inputs ({failure}); give real ones with --samples")


def _difference(one: Tensors, other: Tensors) -> float:
    """Largest difference of an output relative to the larger of 1 and its largest number; NaN equals NaN."""
    worst = 0.0
    for name, expected in one.items():
        if expected.dtype.kind not in "fiub" or not expected.size:
            continue
        theirs, ours = expected.astype(np.float64), other[name].astype(np.float64)
        if theirs.shape != ours.shape:
            return float("inf")
        gap = np.abs(np.nan_to_num(theirs) - np.nan_to_num(ours)).max()
        worst = max(worst, float(gap / max(1.0, np.abs(np.nan_to_num(theirs)).max())))
    return worst


def _shipped(inputs: Sequence[Tensors], outputs: Sequence[Tensors]) -> int:
    each = sum(array.nbytes for array in (*inputs[0].values(), *outputs[0].values()))
    most = max(1, min(GOLDEN, len(inputs), GOLDEN_BYTES // max(each, 1)))
    if most * each <= GOLDEN_FILE_BYTES:
        return most
    left = GOLDEN_FILE_BYTES
    for index in range(most):
        left -= len(_packed(inputs[index : index + 1])) + len(_packed(outputs[index : index + 1]))
        if left < 0:
            return max(index, 1)
    return most


def _packed(samples: Sequence[Tensors]) -> bytes:
    # Strings as numpy's fixed-width ones: anything else would have to be pickled.
    arrays = {
        f"{index:04d}/{name}": array.astype(np.str_) if array.dtype.hasobject else array
        for index, sample in enumerate(samples)
        for name, array in sample.items()
    }
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()

"""A foreign ONNX file to a bundle: the file as it is, with the task it is given and golden answers of its own."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.write import write_bundle
from ortolan.engine.session import open_session
from ortolan.errors import InputError, SessionError, UsageError
from ortolan.inputs.datafile import read_arrays
from ortolan.tasks import open_runner
from ortolan.tasks.golden import fidelity
from ortolan.types import SessionConfig
from ortolan_convert.provenance import package_name, provenance_of, source_of
from ortolan_convert.report import ConversionReport, VariantReport
from ortolan_convert.sources.onnx_file import LARGEST_INTEGERS, OnnxSource, given_inputs, made_up_inputs, read_onnx
from ortolan_convert.task_config import task_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ortolan.types import Array, Session
    from ortolan_convert.convert import Progress

    Tensors = Mapping[str, Array]

PROVIDERS = ("cpu", "cuda", "openvino", "tensorrt")
GOLDEN = 16
"""Samples that go into the bundle."""
GOLDEN_BYTES = 64 << 20
"""Fewer do if they would take more than this, uncompressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxOptions:
    """The options of a conversion; see :func:`ortolan_convert.convert.convert`."""

    samples: Path | None
    task: str | None
    config: Path | None
    quantize: tuple[str, ...]
    overwrite: bool


def convert_onnx(path: Path, target: Path, options: OnnxOptions, say: Progress) -> ConversionReport:
    """Convert an ONNX file; see :func:`ortolan_convert.convert.convert`."""
    settings = task_config(options.config, options.task)
    say("reading the model")
    source = read_onnx(path)
    for name in settings.dims:
        if name not in source.free_dims:
            known = ", ".join(source.free_dims) or "none"
            raise UsageError(f"{options.config}: dims.{name}: the model has no such free dimension; it has: {known}")
    dims = {name: settings.dims.get(name, 1) for name in source.free_dims}
    arrays = None if options.samples is None else given_inputs(source, read_arrays(options.samples), options.samples)
    task = TaskSpec(settings.task, dict(settings.config))
    _check_task(source, task, settings.assets)
    say("running the model")
    inputs, outputs, again = _run_twice(source, dims, arrays)
    worst = max(_difference(one, other) for one, other in zip(outputs, again, strict=True))
    origin = "generated" if arrays is None else "samples"
    variant = source.precision
    info = VariantInfo(
        precision=variant,
        providers=PROVIDERS,
        min_onnxruntime=source.min_onnxruntime,
        weight_bytes=source.model.weight_bytes,
        macs=None,
        activation_bytes=None,
        cpu_features=(),
        fidelity=fidelity("tensor", len(inputs), 0, worst, origin),
    )
    external = {name: path.parent / name for name in source.model.external_files}
    shipped = _shipped(inputs, outputs)
    say("writing the bundle")
    provenance = provenance_of(
        "onnx", f"opset {source.opset}", [source_of(file) for file in (path, *external.values())]
    )
    bundle = write_bundle(
        target,
        package_name=package_name(target),
        version="1.0.0",
        task=task,
        provenance=provenance,
        dims=dims,
        components=[("model", [(variant, info, {"model.onnx": path, **external})])],
        assets=settings.assets,
        golden={"inputs.npz": _packed(inputs[:shipped]), "outputs.npz": _packed(outputs[:shipped])},
        overwrite=options.overwrite,
    )
    report = VariantReport(
        name=variant,
        bytes=sum(file.stat().st_size for file in (path, *external.values())),
        bundle_bytes=bundle.manifest.variant_storage(variant),
        fidelity=info.fidelity,
    )
    return ConversionReport(
        bundle=bundle,
        task=task.name,
        provenance=provenance,
        variants=(report,),
        accuracy=None,
        warnings=tuple(_warnings(options, shipped)),
    )


def _check_task(source: OnnxSource, task: TaskSpec, assets: Mapping[str, bytes]) -> None:
    """Open the task as a device will: a configuration that does not fit the model is refused now."""

    def read_asset(name: str) -> bytes:
        if name not in assets:
            known = ", ".join(assets) or "none"
            raise UsageError(f"the task needs the asset {name!r}, which the description does not list; it has: {known}")
        return assets[name]

    session = open_session(source.path, SessionConfig(threads=1), min_onnxruntime=source.min_onnxruntime)
    with closing(session):
        open_runner(task, {"model": session}, read_asset)


def _warnings(options: OnnxOptions, shipped: int) -> Iterator[str]:
    if options.samples is None:
        yield "no samples were given: the golden inputs are random; give real ones with --samples DATA.npz"
    if shipped < GOLDEN:
        yield f"only {shipped} golden samples are in the bundle; {GOLDEN} make a check on the device worth more"
    if options.quantize:
        yield f"{', '.join(options.quantize)}: an ONNX file is taken as it is, smaller variants are not made of it yet"


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
    return max(1, min(GOLDEN, len(inputs), GOLDEN_BYTES // max(each, 1)))


def _packed(samples: Sequence[Tensors]) -> bytes:
    arrays = {f"{index:04d}/{name}": array for index, sample in enumerate(samples) for name, array in sample.items()}
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()

"""A model over tables to a bundle: its graph, the parity gate over rows, golden samples of the source."""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.onnxgraph import parse_model
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.errors import TaskMismatchError
from ortolan_convert.graph import FLOOR, GraphBuilder
from ortolan_convert.parity import fidelity
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.report import ConversionReport, VariantReport
from ortolan_convert.session import run_model
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.tables.columns import columns_config, declare_inputs, text_inputs
from ortolan_convert.tables.exam import FEWEST_ROWS, accuracy, check_decided, compared, exam_of, length
from ortolan_convert.tables.parity import choose_rows, gate_rows
from ortolan_convert.tables.rows import as_lists, taken
from ortolan_convert.tables.samples import runtime_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.columns import Columns
    from ortolan.tasks.text_classification import Label
    from ortolan.types import Fidelity
    from ortolan_convert.graph import BuiltModel
    from ortolan_convert.request import Request
    from ortolan_convert.tables.exam import Exam
    from ortolan_convert.tables.source import TableSource

GOLDEN = 24
"""How many samples go into a bundle, if there are as many."""
VARIANT = "fp64"
"""The only variant: models over tables are small, and their decisions hang on every bit."""
DIMS = {"batch": 1}
MEASURED = 200
"""Rows whose texts are looked at for the usual number of features."""
METRICS = {"tabular-classification": "label", "tabular-regression": "tensor", "clustering": "cluster"}


def convert_table(request: Request) -> ConversionReport:
    """Convert what has a table reader in `ortolan_convert.sources.kinds`; see `ortolan_convert.convert.convert`."""
    request.without_config()
    module, _, function = str(KINDS[request.kind].reader).partition(":")
    request.progress("reading the artifact")
    source: TableSource = getattr(import_module(module), function)(request)
    return table_bundle(source, request)


def table_bundle(source: TableSource, request: Request) -> ConversionReport:
    """Write the bundle of a model over tables.

    Raises:
        ParityError: the converted model disagrees with its source.
        TaskMismatchError: another task is expected.
        InputError, StorageError: the samples are not what the model takes.
        UnsupportedError: more columns or categories than a bundle may have.
    """
    say = request.progress
    if request.task is not None and request.task != source.task:
        raise TaskMismatchError(f"expected a model for the task {request.task!r}, found one for {source.task!r}")
    say("asking the source")
    exam = exam_of(source, request)
    check_decided(exam)
    dims = _usual_sizes(source, exam)
    model, task = build_table(source, dims)
    say("comparing the model with the source")
    rows = as_lists(exam.rows, source.columns)
    comparison = compared(source, exam.answers, run_model(model.data, task, source.assets, rows))
    gate_rows(exam.answers, comparison, rows, source.labels)
    if model.one_apart:
        alone = run_model(model.data, task, source.assets, rows, one_by_one=True)
        gate_rows(exam.answers, compared(source, exam.answers, alone), rows, source.labels)
    measured = fidelity(comparison, count=exam.count, metric=METRICS[source.task], inputs=exam.origin)
    say("writing the bundle")
    sources = [source_of(path) for path, _ in request.artifacts]
    provenance = provenance_of(source.framework, source.version, sources, source.packages)
    bundle = write_bundle(
        request.target,
        package_name=package_name(request.target),
        version="1.0.0",
        task=task,
        provenance=provenance,
        dims=dims,
        components=[("model", [(VARIANT, _info(model, measured), {"model.onnx": model.data})])],
        assets=source.assets,
        golden=_golden_files(source, exam, with_labels="label" in task.config),
        overwrite=request.overwrite,
    )
    report = VariantReport(
        name=VARIANT,
        bytes=len(model.data),
        bundle_bytes=bundle.manifest.variant_storage(VARIANT),
        fidelity=measured,
        accuracy=accuracy(source, comparison.labels, exam),
    )
    return ConversionReport(
        bundle=bundle,
        task=source.task,
        provenance=provenance,
        variants=(report,),
        accuracy=accuracy(source, exam.answers.labels, exam),
        warnings=(*source.notes, *_warnings(source, exam, request)),
    )


def _usual_sizes(source: TableSource, exam: Exam) -> dict[str, int]:
    """Usual sizes of the free dimensions: of columns of texts the 90th percentile of the number of features."""
    encoder = runtime_columns(source.columns, source.assets)
    rows = as_lists(taken(exam.rows, np.arange(min(exam.count, MEASURED))), source.columns)
    terms = [spec for column in source.columns for spec in text_inputs(column) if spec.dtype == "int64"]
    feeds = [encoder.one(row) for row in rows] if terms else []
    sizes = {str(spec.shape[1]): [one[spec.name].shape[1] for one in feeds] for spec in terms if spec.shape}
    return DIMS | {dim: int(np.percentile(found, 90)) for dim, found in sizes.items()}


def build_table(source: TableSource, dims: Mapping[str, int] = DIMS) -> tuple[BuiltModel, TaskSpec]:
    """The graph of a source, and the task it answers.

    Outputs are float64, so that what differs in the source differs here.

    Args:
        source: the model.
        dims: usual sizes of the free dimensions.
    """
    graph = GraphBuilder("float64")
    numbers, others = declare_inputs(graph, source.columns)
    outputs = source.build(graph, numbers, others)
    config: dict[str, object] = {"columns": columns_config(source.columns)}
    if source.task == "clustering":
        config |= {"clusters": outputs["distances"].shape[1], **{name: name for name in outputs if name == "label"}}
    elif source.task == "tabular-regression":
        config |= {"output": "values", "targets": list(source.targets)}
    else:
        config |= {"labels": list(source.labels), **{name: name for name in outputs}}
    for name, value in outputs.items():
        if name == "label" and source.task == "clustering":
            graph.output(value, name, "int64")
        elif name == "label":
            names = _label_array(source.labels)
            kind: Any = str(names.dtype)
            named = graph.node("Gather", graph.constant(names), value, shape=value.shape, dtype=kind, axis=0)
            graph.output(named, name, kind)
        else:
            graph.output(value, name, "float64")
    return graph.build(dims), TaskSpec(source.task, config)


def _label_array(labels: Sequence[Label]) -> NDArray[Any]:
    """The labels as a tensor: of bool, int64, float64 or strings."""
    if all(isinstance(label, str) for label in labels):
        return np.array(labels, object)
    array = np.array(labels)
    return array.astype({"b": bool, "i": np.int64, "u": np.int64}.get(array.dtype.kind, np.float64))


def _info(model: BuiltModel, measured: Fidelity) -> VariantInfo:
    parsed = parse_model(model.data)
    return VariantInfo(
        precision=VARIANT,
        providers=able(parsed.operators),
        min_onnxruntime=FLOOR,
        weight_bytes=model.weight_bytes,
        macs=model.macs,
        activation_bytes=model.activation_bytes,
        cpu_features=(),
        fidelity=measured,
        weights=weight_memory(parsed),
    )


def _golden_files(source: TableSource, exam: Exam, *, with_labels: bool) -> dict[str, bytes]:
    """The golden samples of a bundle: tensors that go in, and the source's answers."""
    usable = min(exam.count, length(exam.rows)) if exam.count >= FEWEST_ROWS else length(exam.rows)
    chosen = choose_rows(exam.answers, usable, GOLDEN)
    inputs: dict[str, NDArray[Any]] = {}
    outputs: dict[str, NDArray[Any]] = {}
    rows = as_lists(taken(exam.rows, np.array(chosen, np.int64)), source.columns)
    encoder = runtime_columns(source.columns, source.assets)
    for index, row in enumerate(chosen):
        for name, tensor in _tensors(encoder, rows[index]).items():
            inputs[f"{index:04d}/{name}"] = tensor
        for name, numbers in exam.answers.numbers.items():
            outputs[f"{index:04d}/{name}"] = numbers[row : row + 1].astype(np.float64)
        if with_labels:
            label = _label_array(source.labels)[exam.answers.labels[row : row + 1]]
            outputs[f"{index:04d}/label"] = label.astype(np.str_) if label.dtype.hasobject else label
    return {"inputs.npz": _packed(inputs), "outputs.npz": _packed(outputs)}


def _tensors(encoder: Columns, row: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """The model's inputs for a row; strings as numpy's fixed-width ones: anything else would have to be pickled."""
    feeds = encoder.one(row)
    return {name: value.astype(np.str_) if value.dtype.hasobject else value for name, value in feeds.items()}


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _warnings(source: TableSource, exam: Exam, request: Request) -> Iterator[str]:
    if exam.origin == "generated":
        yield (
            f"no samples were given: fidelity was measured on {exam.count} made-up rows; "
            f"give real ones with --samples ROWS.csv"
        )
    if exam.refused:
        yield (
            f"the source refuses {exam.refused} of the made-up rows (numbers outside of what a step takes); the bundle "
            f"answers such rows, with no answer of the source to compare"
        )
    if exam.origin == "samples" and exam.count < FEWEST_ROWS:
        given = "1 sample" if exam.count == 1 else f"{exam.count} samples"
        yield f"{given} cannot show much; give at least {FEWEST_ROWS}"
    if exam.undecided:
        yield (
            f"on {exam.undecided} of {length(exam.rows)} rows several neighbours are equally near, and rounding "
            f"decides which count: these are not compared"
        )
    if source.framework == "scikit-learn" and source.version != (here := installed("scikit-learn")):
        yield f"made with scikit-learn {source.version} and compared with the answers of the installed {here}"
    if request.quantize_asked:
        yield (
            f"no {' or '.join(request.quantize)} variant was made: a model over tables is small, and rounding its "
            f"numbers changes decisions"
        )

"""A model over tables to a bundle: its graph, the parity gate over rows, golden samples of the source."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.bundle.manifest import TaskSpec, VariantInfo
from ortolan.bundle.onnxgraph import parse_model
from ortolan.bundle.write import write_bundle
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.errors import InputError, TaskMismatchError
from ortolan.inputs.datafile import label_text
from ortolan_convert.graph import FLOOR, GraphBuilder
from ortolan_convert.parity import fidelity
from ortolan_convert.provenance import installed, package_name, provenance_of, source_of
from ortolan_convert.report import ConversionReport, VariantReport
from ortolan_convert.session import run_model
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.table_columns import columns_config, declare_inputs, text_inputs
from ortolan_convert.table_parity import choose_rows, compare_rows, gate_rows
from ortolan_convert.table_rows import as_lists, made_up_rows, taken
from ortolan_convert.table_samples import read_samples, runtime_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.columns import Columns
    from ortolan.tasks.text_classification import Label
    from ortolan.types import Fidelity
    from ortolan_convert.graph import BuiltModel
    from ortolan_convert.parity import Answers, Comparison
    from ortolan_convert.request import Request
    from ortolan_convert.table import Rows, TableSource

GOLDEN = 24
"""How many samples go into a bundle, if there are as many."""
FEWEST_ROWS = 16
"""Samples that are compared at least; made-up rows complete the user's."""
VARIANT = "fp64"
"""The only variant: models over tables are small, and their decisions hang on every bit."""
DIMS = {"batch": 1}
MEASURED = 200
"""Rows whose texts are looked at for the usual number of features."""
METRICS = {"tabular-classification": "label", "tabular-regression": "tensor", "clustering": "cluster"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What the model and its source are asked.

    Args:
        rows: the samples, then made-up rows.
        count: how many are samples.
        labels: true labels of the samples as text, if known.
        origin: ``"samples"`` of the user, or ``"generated"``.
        answers: the source's.
    """

    rows: Rows
    count: int
    labels: tuple[str, ...] | None
    origin: str
    answers: Answers


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
    dims = _usual_sizes(source, exam)
    model, task = build_table(source, dims)
    say("comparing the model with the source")
    rows = as_lists(exam.rows, source.columns)
    comparison = compared(source, exam.answers, run_model(model.data, task, source.assets, rows))
    gate_rows(exam.answers, comparison, rows, source.labels)
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
        golden=_golden_files(source, exam),
        overwrite=request.overwrite,
    )
    report = VariantReport(
        name=VARIANT,
        bytes=len(model.data),
        bundle_bytes=bundle.manifest.variant_storage(VARIANT),
        fidelity=measured,
        accuracy=_accuracy(source, comparison.labels, exam),
    )
    return ConversionReport(
        bundle=bundle,
        task=source.task,
        provenance=provenance,
        variants=(report,),
        accuracy=_accuracy(source, exam.answers.labels, exam),
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
        config["clusters"] = outputs["distances"].shape[1]
    elif source.task == "tabular-regression":
        config |= {"output": "values", "targets": list(source.targets)}
    else:
        config |= {"labels": list(source.labels), **{name: name for name in outputs}}
    for name, value in outputs.items():
        if name == "label":
            names = _label_array(source.labels)
            kind: Any = str(names.dtype)
            named = graph.node("Gather", graph.constant(names), value, shape=value.shape, dtype=kind, axis=0)
            graph.output(named, name, kind)
        else:
            graph.output(value, name, "float64")
    return graph.build(dims), TaskSpec(source.task, config)


def exam_of(source: TableSource, request: Request) -> Exam:
    """The rows to compare on, and the source's answers.

    Raises:
        InputError, StorageError: the samples are not what the model takes.
    """
    if request.samples is None:
        rows = made_up_rows(source.columns)
        return Exam(
            rows=rows,
            count=_length(rows),
            labels=None,
            origin="generated",
            answers=source.ask(rows),
        )
    samples = read_samples(request.samples, source.columns, source.assets)
    _check_labels(request, source, samples.labels)
    count = _length(samples.rows)
    rows = _joined(samples.rows, made_up_rows(source.columns))
    return Exam(rows=rows, count=count, labels=samples.labels, origin="samples", answers=source.ask(rows))


def compared(source: TableSource, answers: Answers, outputs: Mapping[str, NDArray[Any]]) -> Comparison:
    """What the model's outputs differ by from the source's answers."""
    return compare_rows(answers, outputs, _decided(source, answers, outputs))


def _decided(source: TableSource, answers: Answers, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    """int64 [n]: the labels, decided as the runtime does it."""
    if source.task == "tabular-regression":
        return np.zeros(len(answers.labels), np.int64)
    if "distances" in outputs:
        nearest: NDArray[Any] = outputs["distances"].argmin(axis=1)
        return nearest
    if "label" in outputs:
        position = {label: index for index, label in enumerate(source.labels)}
        return np.array([position[label] for label in outputs["label"].tolist()], np.int64)
    deciding = outputs["probabilities"] if "probabilities" in outputs else outputs["scores"]
    best: NDArray[Any] = deciding.argmax(axis=1)
    return best


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


def _golden_files(source: TableSource, exam: Exam) -> dict[str, bytes]:
    """The golden samples of a bundle: tensors that go in, and the source's answers."""
    usable = min(exam.count, _length(exam.rows)) if exam.count >= FEWEST_ROWS else _length(exam.rows)
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
    return {"inputs.npz": _packed(inputs), "outputs.npz": _packed(outputs)}


def _tensors(encoder: Columns, row: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """The model's inputs for a row; strings as numpy's fixed-width ones: anything else would have to be pickled."""
    feeds = encoder.one(row)
    return {name: value.astype(np.str_) if value.dtype.hasobject else value for name, value in feeds.items()}


def _packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def _length(rows: Rows) -> int:
    return len(next(iter(rows.values())))


def _joined(first: Rows, second: Rows) -> Rows:
    return {name: np.concatenate([values, second[name]]) for name, values in first.items()}


def _accuracy(source: TableSource, labels: NDArray[Any], exam: Exam) -> float | None:
    if exam.labels is None or not source.labels:
        return None
    texts = [label_text(name) for name in source.labels]
    hits = sum(texts[found] == true for found, true in zip(labels.tolist(), exam.labels, strict=False))
    return float(hits / exam.count)


def _check_labels(request: Request, source: TableSource, labels: tuple[str, ...] | None) -> None:
    """Labels of samples that are none of the model's are a mistake: another column, or another model."""
    if labels is None or not source.labels:
        return
    known = {label_text(name) for name in source.labels}
    if not known.intersection(labels):
        listed = ", ".join(sorted(known)[:8])
        raise InputError(
            f"{request.samples}: column 'label': expected labels of the model ({listed}), found {labels[0]!r}"
        )


def _warnings(source: TableSource, exam: Exam, request: Request) -> Iterator[str]:
    if exam.origin == "generated":
        yield (
            f"no samples were given: fidelity was measured on {exam.count} made-up rows; "
            f"give real ones with --samples ROWS.csv"
        )
    elif exam.count < FEWEST_ROWS:
        given = "1 sample" if exam.count == 1 else f"{exam.count} samples"
        yield f"{given} cannot show much; give at least {FEWEST_ROWS}"
    if source.framework == "scikit-learn" and source.version != (here := installed("scikit-learn")):
        yield f"made with scikit-learn {source.version} and compared with the answers of the installed {here}"
    if request.quantize_asked:
        yield (
            f"no {' or '.join(request.quantize)} variant was made: a model over tables is small, and rounding its "
            f"numbers changes decisions"
        )

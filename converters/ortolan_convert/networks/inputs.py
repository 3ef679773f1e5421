"""What a network is asked: the user's samples, what its task makes up, or arrays of the declared types."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.engine.session import open_session
from ortolan.errors import InputError, SessionError, UnsupportedError, UsageError
from ortolan.inputs.datafile import files_below, read_arrays, read_texts
from ortolan.inputs.table_file import read_table
from ortolan.inputs.tokens import read_tokenizer
from ortolan.tasks import open_runner
from ortolan.tasks.runner import BoundsInputs, MakesExamples, TakesImages, TakesTexts
from ortolan.types import SessionConfig
from ortolan_bench.workload import spaced
from ortolan_convert.generated import EDGE_TEXTS, generated_texts, is_text
from ortolan_convert.networks.free_dims import axis_names, bounded_dims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ortolan.bundle.manifest import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Runner
    from ortolan.types import Array, Session, TensorSpec
    from ortolan_convert.sources.onnx_file import OnnxSource

    Tensors = Mapping[str, Array]

COUNT = 16
"""Inputs that are made up."""
IMAGES = 64
"""Images that are compared, evenly spaced among more: their tensors are all in memory."""
MOST_TEXTS = 300
"""Samples that are run, of a file of texts."""
LARGEST_INTEGERS = (256, 2)
"""Integers are made up below these, in turn: an index into a small table may not take the larger ones."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Inputs of a network.

    Args:
        feeds: a model's inputs by name, for each sample.
        bounds: the largest sizes of its free dimensions that the task will ever ask for.
    """

    feeds: Sequence[Tensors]
    bounds: Mapping[str, int]


def asset_reader(assets: Mapping[str, bytes]) -> ReadAsset:
    """Reads the assets that a description lists.

    Raises:
        UsageError: from the function: the task needs another one.
    """

    def read_asset(name: str) -> bytes:
        if name not in assets:
            known = ", ".join(assets) or "none"
            raise UsageError(f"the task needs the asset {name!r}, which the description does not list; it has: {known}")
        return assets[name]

    return read_asset


def inputs_of(
    source: OnnxSource, task: TaskSpec, assets: Mapping[str, bytes], samples: Path | None, dims: Mapping[str, int]
) -> Asked:
    """The model's inputs: the samples, or what the task makes up, or else arrays of the declared types.

    The task is opened as a device will do it: a configuration that does not fit the model is refused now.

    Args:
        source: the model.
        task: what it is for.
        assets: of the task.
        samples: the user's; None for none.
        dims: sizes of free dimensions, for arrays that are made up.

    Raises:
        InputError: samples that are not what the model takes, or made-up ones that it fails on.
        UnsupportedError: an input that cannot be made up.
        UsageError, BundleError, ManifestError: a task that does not fit the model.
    """
    read_asset = asset_reader(assets)
    session = open_session(source.path, SessionConfig(threads=1), min_onnxruntime=source.min_onnxruntime)
    with closing(session):
        runner = open_runner(task, {"model": session}, read_asset)
        runner.warm_up()
        bounds = bounded_dims(source.model.inputs, runner.largest()) if isinstance(runner, BoundsInputs) else {}
        feeds = _feeds(source, task, runner, read_asset, samples)
        return Asked(_made_up_that_run(source, dims, session) if feeds is None else feeds, bounds)


def _feeds(
    source: OnnxSource, task: TaskSpec, runner: Runner, read_asset: ReadAsset, samples: Path | None
) -> Sequence[Tensors] | None:
    suffix = "" if samples is None else samples.suffix.lower()
    if isinstance(runner, TakesTexts) and suffix not in {".npy", ".npz"}:
        return [runner.text_feeds(text) for text in _sentences(task, read_asset, samples)]
    if samples is None:
        return runner.examples(COUNT) if isinstance(runner, MakesExamples) else None
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


def _made_up_that_run(source: OnnxSource, dims: Mapping[str, int], session: Session) -> Sequence[Tensors]:
    failure = None
    for largest in LARGEST_INTEGERS:
        inputs = made_up_inputs(source, dims, COUNT, largest)
        try:
            for feeds in inputs:
                session.run(feeds)
        except SessionError as error:
            failure = error
        else:
            return inputs
    raise InputError(f"{source.path}: the model fails on made-up inputs ({failure}); give real ones with --samples")


def made_up_inputs(
    source: OnnxSource, dims: Mapping[str, int], count: int, largest_integer: int
) -> list[dict[str, Array]]:
    """Random inputs of the declared types, the same ones every time.

    Args:
        source: the model.
        dims: sizes of free dimensions; others are 1.
        count: how many.
        largest_integer: integers lie below it.

    Raises:
        UnsupportedError: an input of unknown rank, or of a type that cannot be made up.
    """
    random = np.random.default_rng(0)
    return [
        {spec.name: _made_up(spec, dims, random, largest_integer) for spec in source.model.inputs} for _ in range(count)
    ]


def _made_up(spec: TensorSpec, dims: Mapping[str, int], random: np.random.Generator, largest: int) -> Array:
    if spec.shape is None:
        raise UnsupportedError(f"input {spec}: its rank is not declared; give inputs with --samples DATA.npz")
    shape = tuple(dim if isinstance(dim, int) else dims.get(dim, 1) for dim in axis_names(spec) or ())
    if spec.dtype in {"float16", "float32", "float64"}:
        return random.standard_normal(shape).astype(spec.dtype)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype.lstrip("u").startswith("int"):
        return random.integers(0, min(largest, np.iinfo(spec.dtype).max), shape).astype(spec.dtype)
    raise UnsupportedError(f"input {spec}: values of this type cannot be made up; give inputs with --samples DATA.npz")


def given_inputs(source: OnnxSource, arrays: Mapping[str, Array], origin: Path) -> list[dict[str, Array]]:
    """The user's arrays as one set of inputs per sample.

    An array has the samples along its first axis: as the input's own batch axis, or in front of the input's axes.

    Raises:
        InputError: names, types, shapes or numbers of samples do not fit the model.
    """
    specs = {spec.name: spec for spec in source.model.inputs}
    if set(arrays) == {""} and len(specs) == 1:
        arrays = {next(iter(specs)): arrays[""]}
    if set(arrays) != set(specs):
        raise InputError(f"{origin}: expected arrays {', '.join(sorted(specs))}, found {', '.join(sorted(arrays))}")
    for name, array in arrays.items():
        if array.ndim == 0 or len(array) == 0:
            raise InputError(f"{origin}: array {name!r} holds no samples; expected them along the first axis")
    columns = {name: _split(array, specs[name], origin) for name, array in arrays.items()}
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) != 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(f"{origin}: expected the same number of samples for every input, found {found}")
    return [{name: columns[name][index] for name in columns} for index in range(next(iter(counts.values())))]


def _split(array: Array, spec: TensorSpec, origin: Path) -> list[Array]:
    if str(array.dtype) != spec.dtype and not (spec.dtype == "str" and array.dtype.kind == "U"):
        raise InputError(f"{origin}: input {spec.name}: expected {spec.dtype}, found {array.dtype}")
    rank = len(spec.shape) if spec.shape is not None else array.ndim
    if array.ndim == rank + 1:
        samples = [np.asarray(sample) for sample in array]
    elif array.ndim == rank and rank and spec.shape is not None and isinstance(spec.shape[0], int):
        size = spec.shape[0]
        samples = [array[at : at + size] for at in range(0, len(array), size)] if size else []
    elif array.ndim == rank and rank:
        samples = [array[at : at + 1] for at in range(len(array))]
    else:
        raise InputError(f"{origin}: input {spec}: expected {rank} axes or one more, found shape {array.shape}")
    for sample in samples:
        fits = spec.shape is None or all(
            not isinstance(dim, int) or dim == size for dim, size in zip(spec.shape, sample.shape, strict=True)
        )
        if not fits:
            raise InputError(f"{origin}: input {spec}: a sample has the shape {sample.shape}")
    return samples

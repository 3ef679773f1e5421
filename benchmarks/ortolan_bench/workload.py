"""What a candidate is fed: golden samples, the user's data, or tensors made from the model's declared inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from ortolan.errors import InputError, StorageError
from ortolan.inputs.datafile import files_below, read_arrays, read_texts
from ortolan.inputs.table_file import count_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from ortolan.types import Array, TensorSpec

Item = TypeVar("Item")

Kind = Literal["text", "files", "rows", "tensors", "generated"]
"""What the inputs are; see `Workload`."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_TAKES: dict[str, Kind] = {
    "audio-stream": "files",
    "clustering": "text",
    "embedding": "text",
    "image-classification": "files",
    "image-to-text": "files",
    "object-detection": "files",
    "tabular-classification": "rows",
    "tabular-regression": "rows",
    "text-classification": "text",
    "token-classification": "text",
}
"""What the models of a task are asked; all others tensors."""

MAX_INPUTS = 1000
"""Most inputs of a workload; of longer data, evenly spaced ones are taken."""

GENERATED_INPUTS = 16
"""Number of inputs made for a model that comes without any."""

MAX_GENERATED_BYTES = 256 << 20
"""Size of all tensors that are made up, together; also the largest single one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Names the inputs of a benchmark.

    Args:
        name: ``"golden"``, the name of the data's file or directory, or ``"generated"``.
        kind: texts, files or rows of a table for ``predict``; tensors of an .npz file, or made by the worker, for
            ``run``.
        count: number of inputs that are used.
        available: number of inputs the source has.
        texts: of kind ``"text"``; paths, of kind ``"files"``.
        path: the .npz file of kind ``"tensors"``, or the table of kind ``"rows"``.
        dims: sizes of free dimensions, of kind ``"generated"``; 1 where not given.
    """

    name: str
    kind: Kind
    count: int
    available: int
    texts: tuple[str, ...] = ()
    path: Path | None = None
    dims: tuple[tuple[str, int], ...] = ()

    @property
    def is_raw(self) -> bool:
        """Whether the inputs become tensors in the model's own pre-processing, which is timed with it."""
        return self.kind not in ("tensors", "generated")

    def message(self) -> dict[str, object]:
        """What a worker needs to know, as JSON values."""
        path = None if self.path is None else str(self.path)
        return {"kind": self.kind, "texts": list(self.texts), "path": path, "dims": dict(self.dims)}


def text_workload(name: str, texts: Sequence[str]) -> Workload:
    """A workload of texts, of which at most MAX_INPUTS are used; InputError if there are none."""
    if not texts:
        raise InputError(f"{name}: expected at least one text, found none")
    chosen = spaced(texts)
    return Workload(name=name, kind="text", count=len(chosen), available=len(texts), texts=tuple(chosen))


def tensor_workload(name: str, path: Path) -> Workload:
    """A workload of the tensors in an .npz file.

    Raises:
        InputError: the file holds no usable arrays.
        StorageError: it cannot be read.
    """
    available = len(read_npz(path))
    count = min(available, MAX_INPUTS)
    return Workload(name=name, kind="tensors", count=count, available=available, path=path.resolve())


def generated_workload(dims: Mapping[str, int]) -> Workload:
    """A workload of tensors made from the model's input specifications."""
    count = GENERATED_INPUTS
    return Workload(name="generated", kind="generated", count=count, available=count, dims=tuple(sorted(dims.items())))


def read_data(path: Path, task: str) -> Workload:
    """The workload of data that a user has.

    Args:
        path: an .npz file of tensors; for image and audio tasks a file or a directory of them, for tabular ones a .csv
            or .tsv file of rows, for text ones texts as `ortolan.inputs.datafile` reads them.
        task: of the model, e.g. ``"image-classification"``.

    Raises:
        InputError: another kind of file, or its content does not fit its kind.
        StorageError: it cannot be read.
    """
    kind = _TAKES.get(task, "tensors")
    if path.suffix.lower() == ".npz":
        return tensor_workload(path.name, path)
    if kind == "rows":
        available = count_rows(path)
        count = min(available, MAX_INPUTS)
        return Workload(name=path.name, kind=kind, count=count, available=available, path=path.resolve())
    if kind == "files":
        found = files_below(path)
        chosen = tuple(str(file.resolve()) for file in spaced(found))
        return Workload(name=path.name, kind=kind, count=len(chosen), available=len(found), texts=chosen)
    if kind == "text":
        return text_workload(path.name, read_texts(path).texts)
    if not path.exists():
        raise StorageError(f"{path}: cannot be read: No such file or directory")
    raise InputError(f"{path}: this model takes tensors; expected an .npz file with one array per input")


def read_npz(path: Path, inputs: Sequence[TensorSpec] | None = None) -> list[dict[str, Array]]:
    """The feeds in an .npz file, one mapping of input name to array each.

    Either keys like ``0000/NAME``, one set per sample, as in a bundle's golden inputs; or one array per input name
    whose first axis counts the samples. Such a sample keeps an axis of length 1 in front if the model's input has as
    many axes as the array.

    Raises:
        InputError: no arrays, arrays of different length, or a damaged file.
        StorageError: the file cannot be read.
    """
    arrays = read_arrays(path)
    sets: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition("/")
        if number.isdigit() and name:
            sets.setdefault(number, {})[name] = array
    if sets and sum(map(len, sets.values())) == len(arrays):
        return spaced([sets[number] for number in sorted(sets)]) if inputs is not None else list(sets.values())
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        found = ", ".join(f"{name} {length}" for name, length in lengths.items()) or "no arrays"
        raise InputError(f"{path}: expected arrays with the same number (at least 1) of samples, found {found}")
    count = next(iter(lengths.values()))
    ranks = {spec.name: len(spec.shape) for spec in inputs or () if spec.shape is not None}
    chosen = range(count) if inputs is None else spaced(range(count))
    return [
        {
            name: array[i : i + 1] if array.ndim == ranks.get(name, array.ndim) else array[i]
            for name, array in arrays.items()
        }
        for i in chosen
    ]


def generate(
    inputs: Sequence[TensorSpec], dims: Mapping[str, int], count: int = GENERATED_INPUTS
) -> list[dict[str, Array]]:
    """``count`` feeds for these inputs, the same ones each time.

    Floats are standard normal; integers are 0 or 1, the only ones that are valid indices everywhere. A free dimension
    has the size given in ``dims``, otherwise 1. Of large inputs there are fewer, within MAX_GENERATED_BYTES.

    Raises:
        InputError: an unknown rank, a type that cannot be made up, or a tensor beyond MAX_GENERATED_BYTES.
    """
    import numpy as np

    random = np.random.default_rng(0)
    feeds = {spec.name: _tensor(spec, dims, random) for spec in inputs}
    size = sum(array.nbytes for array in feeds.values())
    more = min(count, MAX_GENERATED_BYTES // max(1, size)) - 1
    return [feeds, *({spec.name: _tensor(spec, dims, random) for spec in inputs} for _ in range(more))]


def _tensor(spec: TensorSpec, dims: Mapping[str, int], random: np.random.Generator) -> Array:
    if spec.shape is None:
        raise InputError(f"input {spec.name}: its rank is unknown, so no input can be made; give --inputs DATA.npz")
    shape = [size if isinstance(size, int) else dims.get(size, 1) if size is not None else 1 for size in spec.shape]
    if math.prod(shape) * 8 > MAX_GENERATED_BYTES:
        raise InputError(f"input {spec.name}: {shape} is too large to be made up; give --inputs DATA.npz")
    if spec.dtype in ("float16", "float32", "float64"):
        return random.standard_normal(shape).astype(spec.dtype)
    if spec.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if spec.dtype in _INTEGERS:
        return random.integers(0, 2, shape).astype(spec.dtype)
    raise InputError(f"input {spec.name}: values of type {spec.dtype} cannot be made up; give --inputs DATA.npz")


_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def spaced(items: Sequence[Item], most: int = MAX_INPUTS) -> list[Item]:
    """At most ``most`` items, evenly spaced: the head of a sorted file would be a biased choice."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]

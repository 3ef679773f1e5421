"""A foreign ONNX file: what it needs, and inputs for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ortolan.bundle.onnxfile import check_external_data
from ortolan.errors import InputError, UnsupportedError
from ortolan_convert.free_dims import axis_names, free_dims
from ortolan_convert.network import NetworkSource
from ortolan_convert.provenance import installed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.types import Array, TensorSpec
    from ortolan_convert.request import Request
    from ortolan_convert.task_config import TaskConfig

MIN_ONNXRUNTIME: tuple[tuple[int, int, str], ...] = (
    (21, 10, "1.20.0"),
    (22, 10, "1.21.0"),
    (23, 11, "1.23.0"),
    (25, 13, "1.24.1"),
    (26, 13, "1.25.0"),
)
"""Newest opset, newest IR version, and the first onnxruntime that loads both; found by trying."""

_PRECISIONS = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "uint8": "int8",
}
LARGEST_INTEGERS = (256, 2)
"""Integers are made up below these, in turn: an index into a small table may not take the larger ones."""


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """An ONNX file and what was found in it without running it."""

    path: Path
    model: OnnxModel

    @property
    def opset(self) -> int:
        """Of ONNX's own operators."""
        return max(self.model.opsets.get("", 1), self.model.opsets.get("ai.onnx", 1))

    @property
    def min_onnxruntime(self) -> str:
        """Oldest onnxruntime that loads it; beyond the table the installed one, which is tried."""
        for newest_opset, newest_ir, version in MIN_ONNXRUNTIME:
            if self.opset <= newest_opset and self.model.ir_version <= newest_ir:
                return version
        return installed("onnxruntime") or MIN_ONNXRUNTIME[-1][2]

    @property
    def precision(self) -> str:
        """Of most bytes of its weights, e.g. ``"fp32"``."""
        sizes: dict[str, int] = {}
        for tensor in self.model.initializers:
            name = _PRECISIONS.get(tensor.dtype)
            if name is not None:
                sizes[name] = sizes.get(name, 0) + tensor.bytes
        return max(sizes, key=lambda name: sizes[name], default="fp32")

    @property
    def free_dims(self) -> tuple[str, ...]:
        """Names of the inputs' free dimensions, sorted; an axis without a name is called like ``x.1``."""
        return free_dims(self.model.inputs)


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:  # noqa: ARG001 - a reader's signature
    """Read a foreign ONNX file, which is its own source; see `ortolan_convert.network.NetworkSource`."""
    path = request.only_path()
    source = read_onnx(path)
    external = tuple(path.parent / name for name in source.model.external_files)
    return NetworkSource(framework="onnx", version=f"opset {source.opset}", files=(path, *external), model=path)


def read_onnx(path: Path) -> OnnxSource:
    """The ONNX file, its external data checked.

    Raises:
        ModelFileError: it is damaged, or its external data is missing or lies outside its directory.
        StorageError: it cannot be read.
    """
    return OnnxSource(path, check_external_data(path, within=path.parent))


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

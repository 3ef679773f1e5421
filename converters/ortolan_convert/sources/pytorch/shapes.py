"""Shapes of a network's inputs: declared, taken from samples, or found in the artifact; and example tensors of them."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError, UnsupportedError, UsageError
from ortolan.inputs.datafile import read_arrays
from ortolan_convert.sources.pytorch.description import Input, example_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ortolan.types import Array

BATCH = "batch"
"""What the first axis is called where nothing else names it."""
_NUMPY_TYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


def inputs_of_samples(samples: Path | None, parameters: Sequence[str]) -> tuple[Input, ...]:
    """Inputs as the arrays of a file of samples have them, their first axis free; empty if there is no such file.

    Args:
        samples: what ``--samples`` names.
        parameters: of the network, in their order.

    Raises:
        InputError: arrays that are not the network's inputs.
    """
    if samples is None or samples.suffix.lower() not in {".npz", ".npy"}:
        return ()
    arrays = read_arrays(samples)
    if set(arrays) == {""} and parameters:
        arrays = {parameters[0]: arrays[""]}
    if parameters and not set(arrays) <= set(parameters):
        raise InputError(
            f"{samples}: expected arrays {', '.join(parameters)}, found {', '.join(sorted(arrays))}; the inputs can "
            "also be declared in the YAML file, under source: inputs"
        )
    order = [name for name in parameters if name in arrays] or sorted(arrays)
    return tuple(found_input(name, arrays[name].shape, str(arrays[name].dtype), arrays[name]) for name in order)


def with_values(inputs: tuple[Input, ...], samples: Path | None) -> tuple[Input, ...]:
    """The same inputs, with examples taken from a file of samples where that has arrays under their names."""
    if samples is None or samples.suffix.lower() not in {".npz", ".npy"}:
        return inputs
    arrays = read_arrays(samples)
    if set(arrays) == {""} and len(inputs) == 1:
        arrays = {inputs[0].name: arrays[""]}
    return tuple(replace(one, values=_fitting(arrays.get(one.name), len(one.shape))) for one in inputs)


def _fitting(array: Array | None, rank: int) -> Array | None:
    """An array of samples with as many axes as one input has."""
    if array is None or not array.size or array.ndim not in {rank, rank + 1}:
        return None
    return array if array.ndim == rank else array[0]


def found_input(name: str, shape: Sequence[int], dtype: str, values: Any = None) -> Input:
    """An input of which an example was found: the first axis may prove free."""
    return Input(name, (BATCH, *map(int, shape[1:])) if len(shape) else (), dtype, values)


def traced_inputs(pickled: bytes | None, parameters: Sequence[str]) -> tuple[Input, ...]:
    """Inputs as TorchScript was traced with, which its archive keeps; empty if it does not."""
    if pickled is None:
        return ()
    try:
        found = _ShapesAlone(io.BytesIO(pickled)).load()
        examples = found["forward"]
    except (pickle.UnpicklingError, KeyError, TypeError, ValueError, EOFError, IndexError, AttributeError):
        return ()
    if not isinstance(examples, list) or len(examples) != len(parameters):
        return ()
    if not all(isinstance(one, _Example) for one in examples):
        return ()
    return tuple(found_input(name, one.shape, one.dtype) for name, one in zip(parameters, examples, strict=True))


def as_float32(one: Input) -> Input:
    """The same input for a network whose numbers became float32."""
    return replace(one, dtype="float32") if one.dtype.startswith("float") else one


def missing_shapes(path: Path, parameters: Sequence[str]) -> UsageError:
    """The error that asks for the inputs, with what to write."""
    named = parameters or ("x",)
    guess = example_yaml(tuple(Input(name, (BATCH, "..."), "float32") for name in named))
    return UsageError(
        f"{path}: it does not say which shapes its inputs have; declare them in the YAML file given with --config, "
        f"e.g. {guess} (sizes, and names for free dimensions), or give --samples DATA.npz"
    )


def sizes(inputs: Sequence[Input], usual: Mapping[str, int], other: int) -> dict[str, int]:
    """A size for each free dimension: the usual one, else that of the known values, else a made-up one.

    Batches are of 2, and so are first axes of which nothing is known; the rest is ``other``. Exporters take sizes of 0
    and 1 for fixed.
    """
    found: dict[str, int] = {}
    for one in inputs:
        for axis, dim in enumerate(one.shape):
            if isinstance(dim, str):
                known = other if one.values is None else one.values.shape[axis]
                size = 2 if dim == BATCH or (axis == 0 and one.values is None) else known
                found.setdefault(dim, max(2, usual.get(dim, size)))
    return found


def examples(inputs: Sequence[Input], dims: Mapping[str, int], seed: int = 0) -> list[Any]:
    """Tensors of the inputs' types and shapes, the same ones every time.

    They repeat the values that are known of an input; others are made up: small numbers, indices 0 and 1.
    """
    import torch

    random = np.random.default_rng(seed)
    return [torch.from_numpy(np.array(_made_up(one, dims, random, seed), order="C")) for one in inputs]


def free_dims(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Names of free dimensions, in the order in which they occur."""
    return tuple(dict.fromkeys(dim for one in inputs for dim in one.shape if isinstance(dim, str)))


def program_inputs(program: Any, path: Path) -> tuple[tuple[Input, ...], dict[str, str]]:
    """Inputs of an ExportedProgram, and its symbols with the names that they get.

    Raises:
        UnsupportedError: an input that is a number which varies.
    """
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    known = _example_values(program)
    names: dict[str, str] = {}
    inputs = []
    for index, argument in enumerate(user_arguments(program)):
        if not hasattr(argument, "name") or hasattr(argument, "value"):
            continue
        meta = nodes[argument.name].meta["val"]
        if not hasattr(meta, "shape"):
            raise UnsupportedError(f"{path}: the input {argument.name} is a number that varies; expected tensors")
        shape = [_dim(size, axis, argument.name, names) for axis, size in enumerate(meta.shape)]
        dtype = str(meta.dtype).removeprefix("torch.")
        inputs.append(Input(argument.name, tuple(shape), dtype, _fitting(known.get(index), len(shape))))
    return tuple(inputs), names


def user_arguments(program: Any) -> list[Any]:
    """What an ExportedProgram takes from its caller, in order: tensors and constants."""
    return [spec.arg for spec in program.graph_signature.input_specs if spec.kind.name == "USER_INPUT"]


def program_ranges(program: Any, names: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Smallest and largest size of an ExportedProgram's free dimensions, by the names that they got."""
    found = {}
    for symbol, bounds in program.range_constraints.items():
        if str(symbol) in names:
            found[names[str(symbol)]] = (_bound(bounds.lower, 1), _bound(bounds.upper, (1 << 31) - 1))
    return found


def _example_values(program: Any) -> dict[int, Array]:
    """What an ExportedProgram was exported with, by position among what it takes; its file may have it."""
    import torch
    from torch.utils._pytree import tree_leaves

    leaves = tree_leaves(program.example_inputs) if program.example_inputs else []
    return {
        index: leaf.detach().cpu().numpy()
        for index, leaf in enumerate(leaves)
        if isinstance(leaf, torch.Tensor) and leaf.dtype != torch.bfloat16
    }


def _dim(size: Any, axis: int, name: str, names: dict[str, str]) -> int | str:
    if isinstance(size, int):
        return size
    symbol = str(size)
    if symbol not in names:
        names[symbol] = BATCH if axis == 0 and BATCH not in names.values() else f"{name}.{axis}"
    return names[symbol]


def _bound(value: Any, default: int) -> int:
    """A bound of sympy's as a number; the default for infinity."""
    return int(str(value)) if str(value).isdigit() else default


def _made_up(one: Input, dims: Mapping[str, int], random: np.random.Generator, seed: int) -> Any:
    shape = [dims[dim] if isinstance(dim, str) else dim for dim in one.shape]
    if one.values is not None:
        array = one.values.astype(one.dtype)
        for axis, size in enumerate(shape):
            start = seed if axis == 0 else 0
            array = array.take((np.arange(size) + start) % array.shape[axis], axis=axis)
        return array
    if one.dtype.startswith("float"):
        return random.standard_normal(shape).astype(one.dtype)
    return random.integers(0, 2, shape).astype(one.dtype)


class _Example:
    """A tensor's shape and type."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, dtype


class _ShapesAlone(pickle.Unpickler):
    """Reads of TorchScript's pickled tensors the shapes and types; whatever else there is, is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda dtype, _offset, shape, *_rest: _Example(tuple(shape), dtype)
        if (module, name) == ("torch.jit._pickle", "restore_type_tag"):
            return lambda value, _type: value
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _NUMPY_TYPES:
            return _NUMPY_TYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1]

"""Checks of what is fed to a model: names, types, byte order, ranks and fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError, InputTypeError
from ortolan.types import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan.types import Array, Dim

STRINGS = "str"
"""``TensorSpec.dtype`` of a tensor of strings."""

_ELEMENTS = {
    "float": "float32",
    "double": "float64",
    "string": STRINGS,
    **{
        name: name
        for name in ("float16", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}
"""onnxruntime's names of element types -> `TensorSpec.dtype`; others (``bfloat16``, ``int4``) keep theirs."""


def tensor_spec(argument: Any) -> TensorSpec:
    """The `TensorSpec` of an ``onnxruntime.NodeArg``; sequences and maps keep onnxruntime's type as their dtype."""
    kind: str = argument.type
    if not kind.startswith("tensor("):
        return TensorSpec(argument.name, kind, None)
    element = kind[len("tensor(") : -1]
    shape: tuple[Dim, ...] = tuple(dim if isinstance(dim, (int, str)) else None for dim in argument.shape)
    return TensorSpec(argument.name, _ELEMENTS.get(element, element), shape)


def native_dtype(spec: TensorSpec) -> np.dtype[Any] | None:
    """numpy's native dtype of a tensor's elements; None for strings and for what numpy does not have."""
    return np.dtype(spec.dtype) if spec.dtype in _ELEMENTS.values() and spec.dtype != STRINGS else None


def checked(specs: Sequence[TensorSpec], feeds: object) -> dict[str, Array]:
    """The feeds as a dict of what onnxruntime takes; nothing is converted but the container of strings.

    Raises:
        InputTypeError: not a mapping, not a numpy array, another element type or byte order.
        InputError: a missing or unknown name, another rank or size.
    """
    if not isinstance(feeds, Mapping):
        raise InputTypeError(f"expected a mapping of input names to numpy arrays, got {_kind(feeds)}")
    names = [spec.name for spec in specs]
    takes = "the model takes " + (", ".join(map(str, specs)) or "no inputs")
    for name in names:
        if name not in feeds:
            raise InputError(f"input {name!r} is missing; {takes}")
    for name in feeds:
        if name not in names:
            raise InputError(f"there is no input {name!r}; {takes}")
    return {spec.name: _array(spec, feeds[spec.name]) for spec in specs}


def _array(spec: TensorSpec, value: object) -> Array:
    where = f"input {spec.name!r}"
    if not isinstance(value, np.ndarray) or isinstance(value, np.ma.MaskedArray):
        hint = "" if spec.dtype == STRINGS else f"; np.asarray(value, np.{spec.dtype}) makes one"
        raise InputTypeError(f"{where}: expected a numpy array of {spec.dtype}, got {_kind(value)}{hint}")
    array = _strings(where, value) if spec.dtype == STRINGS else _numbers(where, spec, value)
    if spec.shape is not None and not _fits(value.shape, spec.shape):
        raise InputError(f"{where}: expected the shape of {spec}, got {list(value.shape)}")
    return array


def _numbers(where: str, spec: TensorSpec, value: np.ndarray[Any, Any]) -> Array:
    dtype = native_dtype(spec)
    if value.dtype == dtype or (dtype is None and value.dtype.name == spec.dtype):
        return value
    if dtype is None:
        raise InputTypeError(f"{where}: expected {spec.dtype}, got {value.dtype}; numpy has no such type")
    if value.dtype.newbyteorder("=") == dtype:
        # onnxruntime would take the bytes as they lie: wrong numbers and no error.
        raise InputTypeError(
            f"{where}: expected {spec.dtype} in this machine's byte order, got dtype {value.dtype.str!r}; "
            f"convert it with .astype(np.{spec.dtype})"
        )
    raise InputTypeError(f"{where}: expected {spec.dtype}, got {value.dtype}; convert it with .astype(np.{spec.dtype})")


def _strings(where: str, value: np.ndarray[Any, Any]) -> Array:
    """An object array of str: onnxruntime cuts fixed-width strings at NUL, and turns None into ``"None"``."""
    if value.dtype.kind not in "UO":
        raise InputTypeError(f"{where}: expected an array of str, got {value.dtype}")
    array: Array = np.ascontiguousarray(value, dtype=object).reshape(value.shape)
    for item in array.flat:
        if not isinstance(item, str):
            raise InputTypeError(f"{where}: expected str in every place, got {_kind(item)}")
        try:
            item.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{where}: a string holds a lone surrogate at {error.start}; it has no UTF-8 form"
            ) from error
    return array


def _fits(shape: tuple[int, ...], expected: tuple[Dim, ...]) -> bool:
    return len(shape) == len(expected) and all(
        size == dim for size, dim in zip(shape, expected, strict=True) if isinstance(dim, int)
    )


def _kind(value: object) -> str:
    if isinstance(value, np.generic):
        return f"the scalar {value!r}"
    return "None" if value is None else type(value).__name__

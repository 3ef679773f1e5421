"""What the ``source:`` part of a task's YAML file says about a PyTorch network.

::

    source:
      arguments: {num_classes: 10}       # of the factory that --module names
      weights: ema_state_dict            # the entry of a checkpoint that holds the weights, where several fit
      submodule: encoder                 # the part that is converted, where it is not the whole
      inputs:                            # in the order of the arguments, or under their names
        - {name: images, shape: [batch, 3, 224, 224]}    # a name is a free dimension
        - {name: lengths, shape: [batch], dtype: int64}  # float32 is usual
      outputs: [logits]                  # names, in the order of the results
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ortolan.errors import UsageError
from ortolan_convert.networks.free_dims import NAME
from ortolan_convert.task_config import check_source_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

DTYPES = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
LARGEST_RANK = 8


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a network.

    Args:
        name: as the ONNX graph calls it.
        shape: sizes; a name is a free dimension.
        dtype: numpy's name.
        values: an array to take examples from, of the same number of axes; None to make them up.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"
    values: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Description:
    """The ``source:`` mapping, checked; see the module's docstring for what each key means."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    submodule: str | None = None
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] = ()


def described(source: Mapping[str, object], origin: Path | None) -> Description:
    """Check a ``source:`` mapping.

    Args:
        source: as the YAML file has it.
        origin: the file, for messages.

    Raises:
        UsageError: it is not what is expected, with the dotted path.
    """
    check_source_keys(source, _READERS, origin)
    try:
        return Description(**{key: _READERS[key](value) for key, value in source.items()})
    except _WrongError as error:
        raise UsageError(f"{origin}: source.{error}") from None


def example_yaml(inputs: tuple[Input, ...]) -> str:
    """The lines that declare these inputs, for a message that asks for them."""
    rows = [f"{{name: {one.name}, shape: [{', '.join(map(str, one.shape))}], dtype: {one.dtype}}}" for one in inputs]
    return f"source: {{inputs: [{', '.join(rows)}]}}"


class _WrongError(Exception):
    """Its text is the dotted path and what is wrong there."""


def _arguments(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) and key.isidentifier() for key in value):
        raise _WrongError(f"arguments: expected names and values, found {value!r}")
    return value


def _path(key: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise _WrongError(f"{key}: expected a name, found {value!r}")
        return value

    return read


def _inputs(value: object) -> tuple[Input, ...]:
    if not isinstance(value, list) or not value:
        raise _WrongError(f"inputs: expected a list of inputs, found {value!r}")
    inputs = tuple(_input(one, f"inputs[{index}]") for index, one in enumerate(value))
    _distinct([one.name for one in inputs], "inputs")
    return inputs


def _input(value: object, at: str) -> Input:
    if not isinstance(value, dict) or not {"name", "shape"} <= set(value) <= {"name", "shape", "dtype"}:
        raise _WrongError(f"{at}: expected name, shape and perhaps dtype, found {value!r}")
    name, shape, dtype = value["name"], value["shape"], value.get("dtype", "float32")
    if not _is_name(name):
        raise _WrongError(f"{at}.name: expected a name, found {name!r}")
    if dtype not in DTYPES:
        raise _WrongError(f"{at}.dtype: expected one of {', '.join(DTYPES)}, found {dtype!r}")
    if not isinstance(shape, list) or len(shape) > LARGEST_RANK or not all(map(_is_dim, shape)):
        raise _WrongError(f"{at}.shape: expected sizes and names of free dimensions, found {shape!r}")
    return Input(name, tuple(shape), dtype)


def _outputs(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(map(_is_name, value)):
        raise _WrongError(f"outputs: expected a list of names, found {value!r}")
    _distinct(value, "outputs")
    return tuple(value)


def _distinct(names: list[str], at: str) -> None:
    if len(set(names)) != len(names):
        raise _WrongError(f"{at}: expected different names, found {', '.join(names)}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_dim(value: object) -> bool:
    return _is_name(value) or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 1 << 31)


_READERS: Mapping[str, Callable[[object], Any]] = {
    "arguments": _arguments,
    "weights": _path("weights"),
    "submodule": _path("submodule"),
    "inputs": _inputs,
    "outputs": _outputs,
}

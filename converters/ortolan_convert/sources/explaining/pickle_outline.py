"""Reads what a pickle would make, without making it: every call stays a symbol.

A pickle is a program for a small stack machine (:mod:`pickletools` describes it). This is that machine without the one
part that is dangerous: what the program calls is written down and not called.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, OrtolanError
from ortolan_convert.messages import words
from ortolan_convert.sources.explaining.bounded_stream import PIECE, BoundedStream
from ortolan_convert.sources.explaining.symbols import Made, Name

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_STEPS = 20_000_000
"""Opcodes that are followed."""
_MOST_AXES = 64
"""numpy's own bound."""

_JOBLIB_ARRAY = "joblib.numpy_pickle.NumpyArrayWrapper"


@dataclass(slots=True)
class Outline:
    """What a pickle would make, and what it would call.

    Args:
        content: plain values and :class:`Made`.
        names: everything it imports, in the order of the file.
    """

    content: Any = None
    names: list[str] = field(default_factory=list)


class _Mark:
    """Where a list of arguments begins on the stack."""


_MARK = _Mark()


def outline(stream: BoundedStream) -> Outline:
    """Follow one pickle to its end. Nothing is imported or called.

    Raises:
        ConversionError: it is damaged, or too long.
    """
    return _Machine(stream).run()


class _Machine:
    def __init__(self, stream: BoundedStream) -> None:
        self.stream = stream
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.found = Outline()

    def run(self) -> Outline:
        try:
            for step, (opcode, argument, _) in enumerate(pickletools.genops(self.stream)):  # type: ignore[arg-type]
                if opcode.name == "STOP":
                    self.found.content = self.stack.pop()
                    return self.found
                if step >= MOST_STEPS:
                    raise ConversionError(f"a pickle of more than {MOST_STEPS} steps, which is not looked into")
                _STEPS.get(opcode.name, _push)(self, argument)
        except OrtolanError:
            raise
        except (ValueError, IndexError, KeyError, TypeError, AttributeError, EOFError, OverflowError) as error:
            raise ConversionError(f"a pickle that is damaged or cut short: {words(error)}") from None
        raise ConversionError("a pickle that is cut short")

    def since_mark(self) -> list[Any]:
        at = len(self.stack) - 1
        while self.stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise IndexError("a list that begins nowhere")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def named(self, module: object, name: object) -> Name:
        # What is no string could be nested without end.
        dotted = Name(f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "(no name)")
        self.found.names.append(dotted)
        return dotted


def _push(machine: _Machine, argument: Any) -> None:
    machine.stack.append(argument)


def _nothing(machine: _Machine, argument: Any) -> None:
    del machine, argument


def _constant(value: Callable[[], Any]) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        machine.stack.append(value())

    return step


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        if len(machine.stack) < count:
            raise IndexError("too few values")
        values = tuple(machine.stack[-count:])
        del machine.stack[-count:]
        machine.stack.append(values)

    return step


def _marked(make: Callable[[list[Any]], Any]) -> Callable[[_Machine, Any], None]:
    def step(machine: _Machine, _: Any) -> None:
        machine.stack.append(make(machine.since_mark()))

    return step


def _dictionary(values: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


def _key(key: Any) -> Any:
    # Others may be nested so deep that their hash takes for ever.
    return key if isinstance(key, str | int | float | bytes | None) else id(key)


def _extend(target: Any, values: list[Any]) -> None:
    """Add to a list or set, or to what a call would make."""
    if isinstance(target, Made):
        if target.items is None:
            target.items = []
        target = target.items
    if isinstance(target, list):
        target.extend(values)


def _update(target: Any, values: list[Any]) -> None:
    if isinstance(target, Made):
        if target.items is None:
            target.items = {}
        target = target.items
    if isinstance(target, dict):
        target.update(_dictionary(values))


def _pop(machine: _Machine, _: Any) -> None:
    machine.stack.pop()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.since_mark()


def _duplicate(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.stack[-1])


def _append(machine: _Machine, _: Any) -> None:
    value = machine.stack.pop()
    _extend(machine.stack[-1], [value])


def _appends(machine: _Machine, _: Any) -> None:
    values = machine.since_mark()
    _extend(machine.stack[-1], values)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _update(machine.stack[-1], [key, value])


def _set_items(machine: _Machine, _: Any) -> None:
    values = machine.since_mark()
    _update(machine.stack[-1], values)


def _get(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.memo[int(argument)])


def _put(machine: _Machine, argument: Any) -> None:
    machine.memo[len(machine.memo) if argument is None else int(argument)] = machine.stack[-1]


def _global(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.named(*str(argument).split(" ", 1)))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.named(module, name))


def _extension(machine: _Machine, argument: Any) -> None:
    machine.stack.append(machine.named("copyreg extension", argument))


def _call(machine: _Machine, _: Any) -> None:
    arguments, called = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Made(called, arguments))


def _call_with_names(machine: _Machine, _: Any) -> None:
    names, arguments, called = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    machine.stack.append(Made(called, (arguments, names)))


def _instance(machine: _Machine, argument: Any) -> None:
    values = machine.since_mark()
    machine.stack.append(Made(machine.named(*str(argument).split(" ", 1)), tuple(values)))


def _object(machine: _Machine, _: Any) -> None:
    called, *arguments = machine.since_mark()
    machine.stack.append(Made(called, tuple(arguments)))


def _persistent(machine: _Machine, argument: Any) -> None:
    value = machine.stack.pop() if argument is None else argument
    machine.stack.append(Made(Name("persistent id"), value))


def _build(machine: _Machine, _: Any) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if isinstance(target, Made):
        target.state = state
        if target.by == _JOBLIB_ARRAY:
            _take_array(machine, target)


def _take_array(machine: _Machine, wrapper: Made) -> None:
    """joblib writes an array's bytes, or another pickle of its objects, right behind what describes it."""
    dtype, shape = wrapper.get("dtype"), wrapper.get("shape")
    described = dtype.arguments[0] if isinstance(dtype, Made) and dtype.arguments else None
    if isinstance(described, str) and described.startswith("O"):
        inner = outline(machine.stream)
        machine.found.names.extend(inner.names)
        wrapper.arguments = (inner.content,)
        return
    if wrapper.get("numpy_array_alignment_bytes") is not None:
        machine.stream.skip(machine.stream.read(1)[0])
    count = _item_size(dtype)
    if not isinstance(shape, tuple) or len(shape) > _MOST_AXES:
        raise ValueError("an array without a shape")
    for size in shape:
        if not isinstance(size, int) or size < 0:
            raise ValueError("an array without a shape")
        count *= size
    wrapper.data = machine.stream.read(min(count, PIECE))
    machine.stream.skip(count - len(wrapper.data))


def _item_size(dtype: Any) -> int:
    import numpy as np

    described = dtype.arguments[0] if isinstance(dtype, Made) else dtype
    if described == "V8" or not isinstance(described, str):
        # A record: numpy's state of a dtype names its size.
        state = dtype.state if isinstance(dtype, Made) else None
        if not isinstance(state, tuple) or len(state) < 6 or not isinstance(state[5], int):
            raise ValueError("an array of an unknown type")
        return state[5]
    return np.dtype(described).itemsize


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), _nothing),
    "MARK": _constant(lambda: _MARK),
    "NONE": _constant(lambda: None),
    "NEWTRUE": _constant(lambda: True),
    "NEWFALSE": _constant(lambda: False),
    "NEXT_BUFFER": _constant(lambda: Made(Name("out-of-band buffer"))),
    "EMPTY_TUPLE": _constant(tuple),
    "EMPTY_LIST": _constant(list),
    "EMPTY_DICT": _constant(dict),
    "EMPTY_SET": _constant(list),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": _marked(tuple),
    "LIST": _marked(list),
    "FROZENSET": _marked(list),
    "DICT": _marked(_dictionary),
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _duplicate,
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _get),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    **dict.fromkeys(("EXT1", "EXT2", "EXT4"), _extension),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _call),
    "NEWOBJ_EX": _call_with_names,
    "INST": _instance,
    "OBJ": _object,
    **dict.fromkeys(("PERSID", "BINPERSID"), _persistent),
    "BUILD": _build,
}
"""What each opcode does; the others push their argument."""

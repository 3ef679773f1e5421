"""How many bytes of tensors are alive at once while a graph runs.

A tensor is alive from the node that gives it to the last one that takes it; the model's inputs and outputs are alive
all the time. As in onnxruntime a result takes the place of an input that is not needed any more where the operator
allows it, and views share memory. Operators that onnxruntime fuses need less than is counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ortolan_convert.analysis.layout import Layout
from ortolan_convert.analysis.shapes import GivesUpError, Node, key_of
from ortolan_convert.analysis.sizes import Bound, Size, envelope
from ortolan_convert.analysis.workspace import node_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx

    from ortolan_convert.analysis.shapes import Scope

VIEWS = frozenset(("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
"""Operators whose result is its input's memory."""
_IN_PLACE = """
    Abs Add BatchNormalization Ceil Clip Div Elu Erf Exp Floor HardSigmoid HardSwish LeakyRelu Log Mul Neg Not PRelu
    Pow Reciprocal Relu Round Selu Sigmoid Sign Softplus Sqrt Sub Sum Tanh
"""
IN_PLACE = frozenset(_IN_PLACE.split())
"""Operators that may write over an input of the same size: onnxruntime's kernels with ``MayInplace``."""


def peak(graph: onnx.GraphProto, scope: Scope, out_of_time: Callable[[], bool] = lambda: False) -> Bound | None:
    """Envelope of the bytes that are alive while each node runs; None if a size is unknown, or time runs out."""
    try:
        return envelope(_Run(graph, scope, out_of_time).moments())
    except GivesUpError:
        return None


@dataclass(slots=True)
class _Buffer:
    """Memory that one or several tensors share."""

    size: Size
    users: int


class _Run:
    """Goes through a graph's nodes in their order and keeps account of what is alive."""

    __slots__ = ("_alive", "_buffers", "_graph", "_kept", "_layout", "_left", "_out_of_time", "_scope")

    def __init__(self, graph: onnx.GraphProto, scope: Scope, out_of_time: Callable[[], bool]) -> None:
        self._graph = graph
        self._scope = scope
        self._out_of_time = out_of_time
        self._layout = Layout(scope)
        self._left = Counter(name for proto in graph.node for name in _names_read(proto))
        self._kept = {value.name for value in graph.output}
        self._buffers: dict[str, _Buffer] = {}
        self._alive: Bound = {}

    def moments(self) -> Iterator[Bound]:
        """Bytes that are alive while each node runs.

        Raises:
            GivesUpError: a size is unknown, or time has run out.
        """
        for value in self._graph.input:
            # A body's inputs are tensors of the graph around it.
            if self._scope.outer is None and not self._scope[value.name].constant:
                self._take(value.name, 1 + self._left[value.name])  # the caller holds it too
        yield dict(self._alive)
        for proto in self._graph.node:
            if self._out_of_time():
                raise GivesUpError
            self._layout.visit(proto)
            outputs = [name for name in proto.output if name and not self._scope[name].constant]
            for name in outputs:
                shared = self._shared(proto, name) if name == outputs[0] else None
                self._take(name, self._left[name] + (name in self._kept), shared)
            yield from self._while_running(proto)
            reads = Counter(_names_read(proto))
            for name in dict.fromkeys((*reads, *outputs)):
                self._release(name, reads[name])
        for name in self._kept:
            _add(self._alive, self._layout.given_back(name).bound())
        yield dict(self._alive)

    def _while_running(self, proto: onnx.NodeProto) -> Iterator[Bound]:
        moment = dict(self._alive)
        _add(moment, self._layout.copies(proto).bound())
        try:
            _add(moment, node_workspace(Node(proto, self._scope)).bound())
        except (IndexError, ValueError, TypeError):
            raise GivesUpError from None
        yield moment
        # Of several graphs in a node one runs at a time, beside what is alive around it.
        for name, inner in self._scope.inner.get(key_of(proto), {}).items():
            body = next(attribute.g for attribute in proto.attribute if attribute.name == name)
            for inside in _Run(body, inner, self._out_of_time).moments():
                _add(inside, self._alive)
                yield inside

    def _take(self, name: str, users: int, shared: _Buffer | None = None) -> None:
        size = self._layout.bytes(name)
        if size is None:
            raise GivesUpError
        if shared is not None:
            shared.users += users
            self._buffers[name] = shared
        else:
            self._buffers[name] = _Buffer(size, users)
            _add(self._alive, size.bound())

    def _release(self, name: str, reads: int) -> None:
        """Count down what a node has read, and free what nothing will read any more."""
        buffer = self._buffers.get(name)
        if buffer is None:
            return
        self._left[name] -= reads
        buffer.users -= reads
        if self._left[name] <= 0:
            del self._buffers[name]  # another name may share the memory
        if buffer.users <= 0:
            _add(self._alive, buffer.size.bound(), Fraction(-1))

    def _shared(self, proto: onnx.NodeProto, output: str) -> _Buffer | None:
        """The buffer of an input that the first output uses."""
        if proto.op_type in VIEWS and proto.input:
            return self._buffers.get(proto.input[0])
        if proto.op_type in IN_PLACE:
            size = self._layout.bytes(output)
            for name in proto.input[:2]:
                buffer = self._buffers.get(name)
                reads = sum(1 for read in proto.input if read == name)
                if buffer is not None and buffer.users == reads == self._left[name] and buffer.size == size:
                    return buffer
        return None


def _names_read(proto: onnx.NodeProto) -> Iterator[str]:
    """Names that a node and the graphs within it read."""
    yield from (name for name in proto.input if name)
    for attribute in proto.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                yield from _names_read(inner)
            yield from (value.name for value in attribute.g.output)


def _add(total: Bound, bound: Bound, factor: Fraction = Fraction(1)) -> None:
    for names, value in bound.items():
        total[names] = total.get(names, Fraction(0)) + factor * value

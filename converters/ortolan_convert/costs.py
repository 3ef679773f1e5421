"""Multiply-accumulates and peak memory of activations of an ONNX model, as functions of its free dimensions.

Both are upper bounds. Sizes that are rounded (``H // 2``) are bounded by a polynomial from above. The peak over time is
a maximum of polynomials, one for each node, which is no polynomial itself: what is stored is their envelope, of each
power the largest coefficient of any node. That is no smaller than any of them wherever the dimensions are not negative.

A tensor is alive from the node that gives it to the last one that takes it; the model's inputs and outputs are alive all
the time. As in onnxruntime a result takes the place of an input that is not needed any more where the operator allows
it, and views share memory. Operators that onnxruntime fuses need less than is counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from ortolan_convert.layout import Layout
from ortolan_convert.sizes import Bound, Size, envelope, number, polynomial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import onnx

    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.types import Polynomial
    from ortolan_convert.shapes import Node, Scope

TIME_LIMIT_S = 60.0
"""Of the analysis of one model; what it has not reached by then is unknown."""

VIEWS = frozenset(["Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"])
"""Operators whose result is its input's memory."""
IN_PLACE = frozenset(
    [
        "Abs",
        "Add",
        "BatchNormalization",
        "Ceil",
        "Clip",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Floor",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Log",
        "Mul",
        "Neg",
        "Not",
        "PRelu",
        "Pow",
        "Reciprocal",
        "Relu",
        "Round",
        "Selu",
        "Sigmoid",
        "Sign",
        "Softplus",
        "Sqrt",
        "Sub",
        "Sum",
        "Tanh",
    ]
)
"""Operators that may write over an input of the same size: onnxruntime's kernels with ``MayInplace``."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run takes; None where it is unknown.

    Args:
        macs: multiply-accumulates.
        activation_bytes: of all tensors that are alive at once, inputs and outputs included, at the worst moment.
    """

    macs: Polynomial | None
    activation_bytes: Polynomial | None


UNKNOWN = Costs(None, None)


def costs_of(path: Path, model: OnnxModel) -> Costs:
    """Of an ONNX file; unknown without the onnx package.

    Args:
        path: the file. Its external data has been checked.
        model: what the file says of itself.
    """
    try:
        import onnx

        from ortolan_convert.shapes import graph_shapes
    except ImportError:
        return UNKNOWN
    loaded = onnx.load(path, load_external_data=False)
    _load_small(loaded, path.parent)
    deadline = time.monotonic() + TIME_LIMIT_S
    scope = graph_shapes(loaded, model.inputs, lambda: time.monotonic() > deadline)
    macs, peak = _macs(loaded.graph, scope), _peak(loaded.graph, scope)
    return Costs(None if macs is None else polynomial(macs.bound()), None if peak is None else polynomial(peak))


def _load_small(model: onnx.ModelProto, directory: Path) -> None:
    """Take in external tensors that may be shapes, axes or scales."""
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    for tensor in model.graph.initializer:
        if uses_external_data(tensor) and sum(tensor.dims) <= 64 and len(tensor.dims) <= 1:
            load_external_data_for_tensor(tensor, str(directory))
            tensor.data_location = tensor.DEFAULT


def _macs(graph: onnx.GraphProto, scope: Scope) -> Size | None:
    from ortolan_convert.macs import node_macs
    from ortolan_convert.shapes import GivesUpError, Node

    total = number(0)
    for proto in graph.node:
        bodies = [(attribute.name, attribute.g) for attribute in proto.attribute if attribute.HasField("g")]
        try:
            total = total + node_macs(Node(proto, scope))
            if bodies:
                inner = _body_macs(Node(proto, scope), bodies)
                if inner is None:
                    return None
                total = total + inner
        except (GivesUpError, IndexError, ValueError, TypeError):
            return None
    return total


def _body_macs(node: Node, bodies: list[tuple[str, onnx.GraphProto]]) -> Size | None:
    """Of the graphs within a node: of an If the larger branch, of a loop every trip."""
    from ortolan_convert.sizes import larger

    scopes = node.scope.inner.get(id(node.proto), {})
    found = [_macs(body, scopes[name]) if name in scopes else None for name, body in bodies]
    known = [size for size in found if size is not None]
    if len(known) < len(found):
        return None
    if node.proto.op_type == "If":
        most = known[0]
        for size in known[1:]:
            most = larger(most, size)
        return most
    total = known[0]
    if total == number(0):
        return total
    return total * node.content(0)[0] if node.proto.op_type == "Loop" and node.has(0) else None


@dataclass(slots=True)
class _Buffer:
    """Memory that one or several tensors of a graph share."""

    bytes: Size
    users: int


def _peak(graph: onnx.GraphProto, scope: Scope) -> Bound | None:
    """Envelope of the bytes that are alive at each node; None if a size is unknown."""
    moments = list(_moments(graph, scope))
    known = [moment for moment in moments if moment is not None]
    return envelope(known) if len(known) == len(moments) else None


def _moments(graph: onnx.GraphProto, scope: Scope) -> Iterator[Bound | None]:
    """Bytes alive while each node runs, in the graph's order; None where they are unknown."""
    layout = Layout(scope)
    left = _uses(graph)
    keep = {value.name for value in graph.output}
    buffers: dict[str, _Buffer] = {}
    alive: Bound = {}
    for value in graph.input:
        if not scope[value.name].constant and scope.outer is None:
            size = layout.bytes(value.name)
            if size is None:
                yield None
                return
            buffers[value.name] = _Buffer(size, 1 + left.get(value.name, 0))  # the caller holds it
            _add(alive, size.bound())
    yield dict(alive)
    for proto in graph.node:
        layout.visit(proto)
        outputs = [name for name in proto.output if name and not scope[name].constant]
        for name in outputs:
            size = layout.bytes(name)
            if size is None:
                yield None
                return
            uses = left.get(name, 0) + (name in keep)
            taken = _taken(proto, size, buffers, left) if name == outputs[0] else None
            if taken is not None:
                taken.users += uses
                buffers[name] = taken
            else:
                buffers[name] = _Buffer(size, uses)
                _add(alive, size.bound())
        moment = dict(alive)
        _add(moment, layout.copies(proto).bound())
        _add(moment, _workspace(proto, scope))
        for attribute in proto.attribute:
            if attribute.HasField("g"):
                inner = _peak(attribute.g, scope.inner[id(proto)][attribute.name]) if id(proto) in scope.inner else None
                if inner is None:
                    yield None
                    return
                # One branch runs at a time, so each adds to what is alive on its own.
                branch = dict(alive)
                _add(branch, inner)
                moment = envelope((moment, branch))
        yield moment
        for name in dict.fromkeys((*_names_read(proto), *outputs)):
            _release(name, proto, buffers, left, alive)


def _workspace(proto: onnx.NodeProto, scope: Scope) -> Bound:
    from ortolan_convert.shapes import GivesUpError, Node
    from ortolan_convert.workspace import node_workspace

    try:
        return node_workspace(Node(proto, scope)).bound()
    except (GivesUpError, IndexError, ValueError, TypeError):
        return {}  # then a shape is unknown, and so is the whole


def _release(name: str, proto: onnx.NodeProto, buffers: dict[str, _Buffer], left: dict[str, int], alive: Bound) -> None:
    """Count down what a node has used, and free what nothing will use any more."""
    buffer = buffers.get(name)
    if buffer is None:
        return
    used = sum(1 for read in _names_read(proto) if read == name)
    left[name] = left.get(name, 0) - used
    buffer.users -= used
    if left[name] <= 0:
        del buffers[name]  # another name may share the memory
    if buffer.users <= 0:
        _add(alive, buffer.bytes.bound(), Fraction(-1))


def _taken(proto: onnx.NodeProto, size: Size, buffers: dict[str, _Buffer], left: dict[str, int]) -> _Buffer | None:
    """The buffer of an input that the first output may use."""
    if proto.op_type in VIEWS and proto.input:
        return buffers.get(proto.input[0])
    if proto.op_type in IN_PLACE:
        for name in proto.input[:2]:
            buffer = buffers.get(name)
            here = sum(1 for read in proto.input if read == name)
            if buffer is not None and buffer.users == here and left.get(name, 0) == here and buffer.bytes == size:
                return buffer
    return None


def _uses(graph: onnx.GraphProto) -> dict[str, int]:
    uses: dict[str, int] = {}
    for proto in graph.node:
        for name in _names_read(proto):
            uses[name] = uses.get(name, 0) + 1
    return uses


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

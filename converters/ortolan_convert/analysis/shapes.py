"""Shapes of all values of an ONNX graph as expressions of its free dimensions.

Every operator has a rule in `ortolan_convert.analysis.shape_rules`; where there is none or it gives up, the shape that
``onnx.shape_inference`` finds is taken if it has only known names. What neither finds is unknown, and so is everything
that follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from ortolan_convert.analysis.sizes import Size, larger, number, symbol
from ortolan_convert.networks.free_dims import axis_names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ortolan.types import TensorSpec

Shape = tuple[Size, ...]

MOST_VALUES = 4096
"""Elements of the largest constant whose content is looked at: shapes, axes and scales are far smaller."""
MOST_TRACKED = 256
"""Elements of the largest computed tensor whose content is followed."""


class GivesUpError(Exception):
    """A rule cannot tell the shape."""


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of a tensor before the model runs.

    Args:
        bytes: of one element; 0 for strings.
        shape: None if unknown.
        content: its elements as sizes, in row-major order; None if unknown. Only of small tensors of whole numbers.
        constant: whether it is the same in every run.
        array: a small constant's elements, whatever their type.
    """

    bytes: int = 4
    shape: Shape | None = None
    content: tuple[Size, ...] | None = None
    constant: bool = False
    array: Any = None


@dataclass(slots=True)
class Scope:
    """The values that are visible in a graph: its own and those of the graphs around it.

    Args:
        known: its own, by name.
        outer: the scope of the graph around it.
        inferred: what ``onnx.shape_inference`` found, by name.
        inner: scopes of the graphs within its nodes, by `key_of` the node, one for each graph attribute.
        opset: version of ONNX's operators.
    """

    known: dict[str, Value]
    opset: int
    outer: Scope | None = None
    inferred: Mapping[str, Value] = field(default_factory=dict)
    inner: dict[str, dict[str, Scope]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Value:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.known:
                return scope.known[name]
            scope = scope.outer
        return Value()


@dataclass(slots=True)
class Node:
    """A node as a rule sees it."""

    proto: onnx.NodeProto
    scope: Scope

    def value(self, index: int) -> Value:
        """Of an input; an unknown one if it is left out."""
        return self.scope[self.proto.input[index]] if self.has(index) else Value()

    def has(self, index: int) -> bool:
        """Whether an input is given."""
        return index < len(self.proto.input) and bool(self.proto.input[index])

    def shape(self, index: int) -> Shape:
        """Of an input.

        Raises:
            GivesUpError: it is unknown.
        """
        shape = self.value(index).shape
        if shape is None:
            raise GivesUpError
        return shape

    def content(self, index: int) -> tuple[Size, ...]:
        """Elements of an input.

        Raises:
            GivesUpError: they are unknown.
        """
        content = self.value(index).content
        if content is None:
            raise GivesUpError
        return content

    def numbers(self, index: int) -> list[int]:
        """Elements of an input that have to be known numbers.

        Raises:
            GivesUpError: they are not.
        """
        values = [size.value for size in self.content(index)]
        if any(value is None for value in values):
            raise GivesUpError
        return [value for value in values if value is not None]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Value of an attribute."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return onnx.helper.get_attribute_value(attribute)
        return default

    def axes(self, index: int, default: Sequence[int] | None = None) -> list[int]:
        """Axes, which older operator sets have as an attribute and newer ones as an input."""
        given = self.attribute("axes")
        if given is None:
            if not self.has(index):
                if default is None:
                    raise GivesUpError
                return list(default)
            return self.numbers(index)
        return list(given)


def key_of(proto: onnx.NodeProto) -> str:
    """What names a node within its graph: its first output. Protobuf makes new objects, and names may be missing."""
    return next((name for name in proto.output if name), "")


def graph_shapes(model: onnx.ModelProto, inputs: Sequence[TensorSpec], out_of_time: Callable[[], bool]) -> Scope:
    """The values of a model's graph and of the graphs in it.

    Args:
        model: without or with its external data; its content is not needed.
        inputs: the model's inputs.
        out_of_time: asked before each node; what is left then stays unknown.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), default=1)
    given = {spec.name: spec for spec in inputs}
    names: set[str] = set()
    known: dict[str, Value] = {}
    for value in model.graph.input:
        shape = axis_names(given[value.name]) if value.name in given else None
        names.update(dim for dim in shape or () if isinstance(dim, str))
        sizes = None if shape is None else tuple(_size(dim) for dim in shape)
        known[value.name] = Value(_itemsize(value.type.tensor_type.elem_type), sizes)
    scope = Scope(known, opset, inferred=_inferred(model, names))
    _walk(model.graph, scope, out_of_time)
    return scope


def _walk(graph: onnx.GraphProto, scope: Scope, out_of_time: Callable[[], bool]) -> None:
    from ortolan_convert.analysis.shape_rules import outputs_of

    for tensor in graph.initializer:
        scope.known[tensor.name] = constant(tensor)
    for proto in graph.node:
        node = Node(proto, scope)
        if out_of_time():
            return
        inner = {attribute.name: attribute.g for attribute in proto.attribute if attribute.HasField("g")}
        if inner:
            scopes = {name: _subscope(body, node, name) for name, body in inner.items()}
            for name, body in inner.items():
                _walk(body, scopes[name], out_of_time)
            scope.inner[key_of(proto)] = scopes
        try:
            values = outputs_of(node)
        except (GivesUpError, IndexError, ValueError, TypeError, ZeroDivisionError):
            values = [Value()] * len(proto.output)  # a malformed node is onnxruntime's to refuse
        fixed = bool(proto.input) and not inner and all(scope[name].constant for name in proto.input if name)
        for name, value in zip(proto.output, values, strict=False):
            if name:
                found = value if value.shape is not None else scope.inferred.get(name, value)
                scope.known[name] = replace(found, constant=found.constant or fixed)


def _subscope(body: onnx.GraphProto, node: Node, name: str) -> Scope:
    """What a graph within a node is given: a loop's body gets the trip number, the condition and the carried values."""
    known: dict[str, Value] = {}
    if node.proto.op_type == "Loop" and name == "body":
        for index, value in enumerate(body.input):
            if index < 2:
                known[value.name] = Value(8 if index == 0 else 1, ())
            elif node.has(index):
                known[value.name] = replace(node.value(index), content=None, array=None, constant=False)
    return Scope(known, node.scope.opset, outer=node.scope)


def constant(tensor: onnx.TensorProto) -> Value:
    """A tensor that is stored with the model."""
    shape = tuple(number(dim) for dim in tensor.dims)
    count = int(np.prod(tensor.dims, dtype=np.int64)) if len(tensor.dims) else 1
    array = None
    if count <= MOST_VALUES and tensor.data_location != onnx.TensorProto.EXTERNAL:
        array = numpy_helper.to_array(tensor)
    return Value(_itemsize(tensor.data_type), shape, contents(array), constant=True, array=array)


def contents(array: Any) -> tuple[Size, ...] | None:
    """The elements of an array of whole numbers as sizes."""
    if array is None or array.dtype.kind not in "iub" or array.size > MOST_TRACKED:
        return None
    return tuple(number(int(value)) for value in array.reshape(-1))


def broadcast(shapes: Sequence[Shape]) -> Shape:
    """Shape of an elementwise result, by numpy's rules."""
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(rank):
        sizes = [shape[axis - rank + len(shape)] for shape in shapes if axis >= rank - len(shape)]
        result.append(_broadcast_axis(sizes))
    return tuple(result)


def _broadcast_axis(sizes: Sequence[Size]) -> Size:
    found = number(1)
    for size in sizes:
        # Of different sizes one is 1: a number above 1 tells the size, of two unknown ones it is the larger.
        if found.value == 1 or (size.value is not None and size.value != 1):
            found = size
        elif size.value != 1 and found.value is None:
            found = larger(found, size)
    return found


def _size(dim: int | str) -> Size:
    return number(dim) if isinstance(dim, int) else symbol(dim)


def _itemsize(data_type: int) -> int:
    if data_type in {onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED}:
        return 0
    return int(onnx.helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def _inferred(model: onnx.ModelProto, names: set[str]) -> dict[str, Value]:
    """What the onnx package's own shape inference finds, and can be written with the inputs' dimensions."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):  # too large for it, or not well-formed
        return {}
    return dict(_readable(inferred.graph, names))


def _readable(graph: onnx.GraphProto, names: set[str]) -> Iterator[tuple[str, Value]]:
    for info in (*graph.value_info, *graph.output):
        tensor = info.type.tensor_type
        dims = [dim.dim_param or (dim.dim_value if dim.HasField("dim_value") else None) for dim in tensor.shape.dim]
        if tensor.HasField("shape") and all(
            dim in names if isinstance(dim, str) else dim is not None and dim >= 0 for dim in dims
        ):
            yield info.name, Value(_itemsize(tensor.elem_type), tuple(_size(dim) for dim in dims if dim is not None))

"""What an ONNX model says of itself, read from its wire format without the onnx package and without its weights.

Names and numbers of fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

from ortolan.bundle.fields import shorten
from ortolan.bundle.wire import LENGTH, PACKED, VARINT, Fields, Span, Wire, damaged
from ortolan.errors import ModelFileError
from ortolan.types import Dim, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from mmap import mmap

MAX_NESTING = 32
"""Deepest nesting of graphs or types: with three messages each, protobuf's own default limit of 100."""
MAX_RANK = 64
MAX_TEXT_BYTES = 2**20
"""Longest name or property."""
DEFAULT_DOMAIN = "ai.onnx"
"""What ONNX also writes as the empty string."""

_ELEMENT_TYPES: dict[int, tuple[str, int]] = {
    1: ("float32", 32),
    2: ("uint8", 8),
    3: ("int8", 8),
    4: ("uint16", 16),
    5: ("int16", 16),
    6: ("int32", 32),
    7: ("int64", 64),
    8: ("str", 0),
    9: ("bool", 8),
    10: ("float16", 16),
    11: ("float64", 64),
    12: ("uint32", 32),
    13: ("uint64", 64),
    14: ("complex64", 64),
    15: ("complex128", 128),
    16: ("bfloat16", 16),
    17: ("float8e4m3fn", 8),
    18: ("float8e4m3fnuz", 8),
    19: ("float8e5m2", 8),
    20: ("float8e5m2fnuz", 8),
    21: ("uint4", 4),
    22: ("int4", 4),
    23: ("float4e2m1", 4),
    24: ("float8e8m0", 8),
    25: ("uint2", 2),
    26: ("int2", 2),
    27: ("float6e2m3", 6),
    28: ("float6e3m2", 6),
}
"""TensorProto.DataType -> numpy's name (ONNX's in lower case where numpy has none), bits of an element."""

_EXTERNAL = 1
"""TensorProto.DataLocation.EXTERNAL."""
_COUNT = re.compile(r"\d{1,18}", re.ASCII)

_MODEL = {1: VARINT, 2: LENGTH, 3: LENGTH, 7: LENGTH, 8: LENGTH, 14: LENGTH, 20: LENGTH, 25: LENGTH}
"""ir_version, producer_name, producer_version, graph, opset_import, metadata_props, training_info, functions."""
_OPSET = {1: LENGTH, 2: VARINT}
"""domain, version."""
_PROPERTY = {1: LENGTH, 2: LENGTH}
"""key, value."""
_TRAINING = {1: LENGTH, 2: LENGTH}
"""initialization, algorithm."""
_FUNCTION = {7: LENGTH, 11: LENGTH}
"""node, attribute_proto (defaults of attributes)."""
_GRAPH = {1: LENGTH, 5: LENGTH, 11: LENGTH, 12: LENGTH, 15: LENGTH}
"""node, initializer, input, output, sparse_initializer."""
_NODE = {1: LENGTH, 2: LENGTH, 4: LENGTH, 5: LENGTH, 7: LENGTH}
"""input, output, op_type, attribute, domain."""
_ATTRIBUTE = {1: LENGTH, 3: VARINT, 5: LENGTH, 6: LENGTH, 10: LENGTH, 11: LENGTH, 22: LENGTH, 23: LENGTH}
"""name, i, t, g, tensors, graphs, sparse_tensor, sparse_tensors."""
_SPARSE = {1: LENGTH, 2: LENGTH}
"""values, indices."""
_TENSOR = {1: PACKED, 2: VARINT, 8: LENGTH, 9: LENGTH, 13: LENGTH, 14: VARINT}
"""dims, data_type, name, raw_data, external_data, data_location."""
_VALUE_INFO = {1: LENGTH, 2: LENGTH}
"""name, type."""
_TYPE = {1: LENGTH, 4: LENGTH, 5: LENGTH, 8: LENGTH, 9: LENGTH}
"""tensor_type, sequence_type, map_type, sparse_tensor_type, optional_type."""
_CONTAINERS = {4: ("sequence", False), 5: ("map", True), 8: ("sparse_tensor", True), 9: ("optional", False)}
"""Field of TypeProto -> how it is written, and whether its first field is an element type (or another type)."""
_TENSOR_TYPE = {1: VARINT, 2: LENGTH}
"""elem_type, shape."""
_SHAPE = {1: LENGTH}
"""dim."""
_DIM = {1: VARINT, 2: LENGTH}
"""dim_value, dim_param."""

Role = Literal["initializer", "constant"]


@dataclass(frozen=True, slots=True)
class ExternalData:
    """Where a tensor's content lies: a file relative to the model's directory, and bytes in it."""

    location: str
    offset: int
    length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor stored with the model.

    Args:
        name: as in the graph; may be empty for a constant.
        dtype: as in TensorSpec.
        dims: its shape.
        bytes: size of its elements in memory; strings count 0.
        role: whether it is an initializer of a graph or part of a node's attribute.
        external: where its content lies if not in the file itself.
        nested: whether it belongs to a graph within a node, or to a function.
    """

    name: str
    dtype: str
    dims: tuple[int, ...]
    bytes: int
    role: Role
    external: ExternalData | None
    nested: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """One node of a graph.

    Args:
        operator: its type, without the domain.
        inputs: names of what it reads; empty for what is left out.
        outputs: names of what it gives.
        numbers: its attributes that are single whole numbers.
        constant: the tensor of a Constant node.
    """

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    numbers: Mapping[str, int]
    constant: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxModel:
    """An ONNX model without its weights.

    Args:
        ir_version: of the file format.
        opsets: domain -> version.
        producer: name and version of what wrote it.
        inputs: without those that are initializers.
        outputs: in the order of the graph.
        tensors: initializers and constants of the graph, its subgraphs and the model's functions.
        nodes: of the graph, its subgraphs and the model's functions, each graph's in its own order.
        operators: number of nodes by ``domain::operator``, subgraphs and functions included.
        metadata: the model's own properties.
    """

    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tensors: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    operators: Counter[str]
    metadata: Mapping[str, str]

    @property
    def initializers(self) -> tuple[Tensor, ...]:
        """The tensors that are initializers."""
        return tuple(tensor for tensor in self.tensors if tensor.role == "initializer")

    @property
    def weight_bytes(self) -> int:
        """Bytes of all initializers."""
        return sum(tensor.bytes for tensor in self.initializers)

    @property
    def parameters(self) -> int:
        """Number of elements of all initializers."""
        return sum(prod(tensor.dims) for tensor in self.initializers)

    @property
    def external_files(self) -> tuple[str, ...]:
        """Locations of external data, sorted."""
        return tuple(sorted({tensor.external.location for tensor in self.tensors if tensor.external is not None}))


def parse_model(content: bytes | mmap) -> OnnxModel:
    """Read an ONNX model from memory or a mapped file.

    Raises:
        ModelFileError: it is no ONNX model, is damaged, or exceeds a bound; says at which byte.
    """
    return _Reader(content).model()


class _Reader:
    """Walks a model's messages and collects what OnnxModel holds."""

    def __init__(self, content: bytes | mmap) -> None:
        self._content = content
        self._wire = Wire(content)
        self._tensors: list[Tensor] = []
        self._nodes: list[Node] = []
        self._operators: Counter[str] = Counter()

    def model(self) -> OnnxModel:
        fields = self._wire.message((0, len(self._content)), _MODEL)
        graph = fields.span(7)
        if graph is None:
            raise ModelFileError("it has no graph")
        opsets = dict(self._opset(span) for span in fields.spans(8))
        ir_version = fields.number(1)
        # Operator sets exist since IR version 3.
        if ir_version < 1 or (ir_version >= 3 and not opsets):
            raise ModelFileError("it has no IR version or no operator set")
        inputs, outputs = self._graph(graph, 1)
        for span in fields.spans(20):
            training = self._wire.message(span, _TRAINING)
            for nested in training.spans(1) + training.spans(2):
                self._graph(nested, 2)
        for span in fields.spans(25):
            function = self._wire.message(span, _FUNCTION)
            for node in function.spans(7):
                self._node(node, 2)
            for attribute in function.spans(11):
                self._attribute(attribute, 2)
        producer = (self._text(fields.span(field), strict=False) for field in (2, 3))
        return OnnxModel(
            ir_version=ir_version,
            opsets=opsets,
            producer=" ".join(filter(None, producer)),
            inputs=inputs,
            outputs=outputs,
            tensors=tuple(self._tensors),
            nodes=tuple(self._nodes),
            operators=self._operators,
            metadata=dict(self._property(span, strict=False) for span in fields.spans(14)),
        )

    def _graph(self, span: Span, depth: int) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
        """Collect a graph's content; gives its inputs, without those that are initializers, and its outputs."""
        _check_nesting(depth, span)
        fields = self._wire.message(span, _GRAPH)
        first = len(self._tensors)
        for tensor in fields.spans(5):
            self._tensor(tensor, "initializer", depth)
        for sparse in fields.spans(15):
            self._sparse(sparse, "initializer", depth)
        own = {tensor.name for tensor in self._tensors[first:]}
        for node in fields.spans(1):
            self._node(node, depth)
        inputs = (self._value_info(value) for value in fields.spans(11))
        outputs = tuple(self._value_info(value) for value in fields.spans(12))
        return tuple(spec for spec in inputs if spec.name not in own), outputs

    def _node(self, span: Span, depth: int) -> None:
        fields = self._wire.message(span, _NODE)
        domain = self._text(fields.span(7)) or DEFAULT_DOMAIN
        operator = self._text(fields.span(4))
        self._operators[f"{domain}::{operator}"] += 1
        inputs, outputs = (tuple(self._text(name) for name in fields.spans(field)) for field in (1, 2))
        first = len(self._tensors)
        numbers = dict(found for span in fields.spans(5) if (found := self._attribute(span, depth)) is not None)
        constant = self._tensors[first] if operator == "Constant" and len(self._tensors) == first + 1 else None
        self._nodes.append(Node(operator, inputs, outputs, numbers, constant))

    def _attribute(self, span: Span, depth: int) -> tuple[str, int] | None:
        """Collect what an attribute holds; gives its name and number if it is a single number."""
        fields = self._wire.message(span, _ATTRIBUTE)
        for field in (5, 10):
            for tensor in self._once(fields, field, 5):
                self._tensor(tensor, "constant", depth)
        for field in (22, 23):
            for sparse in self._once(fields, field, 22):
                self._sparse(sparse, "constant", depth)
        for field in (6, 11):
            for graph in self._once(fields, field, 6):
                self._graph(graph, depth + 1)
        number = fields.numbers(3)
        return (self._text(fields.span(1)), number[-1]) if number else None

    @staticmethod
    def _once(fields: Fields, field: int, singular: int) -> list[Span]:
        """All spans of a repeated field; of a singular one the only one."""
        if field == singular:
            fields.span(field)
        return fields.spans(field)

    def _sparse(self, span: Span, role: Role, depth: int) -> None:
        fields = self._wire.message(span, _SPARSE)
        for field in (1, 2):
            part = fields.span(field)
            if part is not None:
                self._tensor(part, role, depth)

    def _tensor(self, span: Span, role: Role, depth: int) -> None:
        fields = self._wire.message(span, _TENSOR)
        name = self._text(fields.span(8))
        dtype, bits = _element_type(fields.number(2), span)
        dims = tuple(fields.numbers(1))
        if len(dims) > MAX_RANK or any(dim < 0 for dim in dims):
            raise damaged(f"tensor {shorten(name)} has the shape {shorten(str(list(dims)))}", span[0])
        size = (prod(dims) * bits + 7) // 8
        if size >= 2**63:
            raise damaged(f"tensor {shorten(name)} has the shape {shorten(str(list(dims)))}", span[0])
        external = None
        if fields.number(14) == _EXTERNAL:
            external = self._external(fields, name, dtype)
        raw = fields.span(9)
        if raw is not None and external is None and raw[1] - raw[0] != size:
            raise damaged(
                f"tensor {shorten(name)} has {raw[1] - raw[0]} bytes, expected {size} for {dtype}{list(dims)}", raw[0]
            )
        self._tensors.append(
            Tensor(name=name, dtype=dtype, dims=dims, bytes=size, role=role, external=external, nested=depth > 1)
        )

    def _external(self, fields: Fields, name: str, dtype: str) -> ExternalData:
        entries: dict[str, str] = {}
        for span in fields.spans(13):
            key, value = self._property(span)
            if key in entries:
                raise damaged(f"external data of tensor {shorten(name)} has {shorten(key)} twice", span[0])
            entries[key] = value
        if dtype == "str":
            raise damaged(f"tensor {shorten(name)} of strings has external data", fields.at)
        if "location" not in entries:
            raise damaged(f"external data of tensor {shorten(name)} has no location", fields.at)
        for key in ("offset", "length"):
            if key in entries and not _COUNT.fullmatch(entries[key]):
                raise damaged(
                    f"external data of tensor {shorten(name)} has the {key} {shorten(entries[key])}", fields.at
                )
        length = entries.get("length")
        return ExternalData(
            location=entries["location"].removeprefix("./"),
            offset=int(entries.get("offset", "0")),
            length=None if length is None else int(length),
        )

    def _value_info(self, span: Span) -> TensorSpec:
        fields = self._wire.message(span, _VALUE_INFO)
        dtype, shape = self._type(fields.span(2), 1)
        return TensorSpec(self._text(fields.span(1)), dtype, shape)

    def _type(self, span: Span | None, depth: int) -> tuple[str, tuple[Dim, ...] | None]:
        """Element type and shape; containers are written ``sequence(float32)`` and have no shape."""
        if span is None:
            return "unknown", None
        _check_nesting(depth, span)
        fields = self._wire.message(span, _TYPE)
        tensor = fields.span(1)
        if tensor is not None:
            parts = self._wire.message(tensor, _TENSOR_TYPE)
            return _element_type(parts.number(1), tensor)[0], self._shape(parts.span(2))
        for field, (container, element) in _CONTAINERS.items():
            nested = fields.span(field)
            if nested is not None:
                parts = self._wire.message(nested, {1: VARINT, 2: LENGTH} if element else {1: LENGTH})
                if element:
                    key = _element_type(parts.number(1), nested)[0]
                    inner = f"{key}, {self._type(parts.span(2), depth + 1)[0]}" if container == "map" else key
                else:
                    inner = self._type(parts.span(1), depth + 1)[0]
                return f"{container}({inner})", None
        return "unknown", None

    def _shape(self, span: Span | None) -> tuple[Dim, ...] | None:
        if span is None:
            return None
        return tuple(self._dim(dim) for dim in self._wire.message(span, _SHAPE).spans(1))

    def _dim(self, span: Span) -> Dim:
        fields = self._wire.message(span, _DIM)
        name = self._text(fields.span(2))
        size = fields.number(1, -1)
        return name or (size if size >= 0 else None)

    def _opset(self, span: Span) -> tuple[str, int]:
        fields = self._wire.message(span, _OPSET)
        return self._text(fields.span(1)) or DEFAULT_DOMAIN, fields.number(2)

    def _property(self, span: Span, *, strict: bool = True) -> tuple[str, str]:
        fields = self._wire.message(span, _PROPERTY)
        return self._text(fields.span(1), strict=strict), self._text(fields.span(2), strict=strict)

    def _text(self, span: Span | None, *, strict: bool = True) -> str:
        if span is None:
            return ""
        if span[1] - span[0] > MAX_TEXT_BYTES:
            raise damaged(f"a name of {span[1] - span[0]} bytes", span[0])
        try:
            return self._content[span[0] : span[1]].decode(errors="strict" if strict else "replace")
        except UnicodeDecodeError:
            raise damaged("a name that is not UTF-8", span[0]) from None


def _element_type(number: int, span: Span) -> tuple[str, int]:
    if number not in _ELEMENT_TYPES:
        raise damaged(f"element type {number}, which is unknown", span[0])
    return _ELEMENT_TYPES[number]


def _check_nesting(depth: int, span: Span) -> None:
    if depth > MAX_NESTING:
        raise damaged(f"more than {MAX_NESTING} levels of nesting", span[0])

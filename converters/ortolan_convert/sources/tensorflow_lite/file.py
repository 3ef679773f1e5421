"""A TensorFlow Lite file as plain values, every index and size in it checked.

The format is a flatbuffer, ``tensorflow/lite/schema/schema.fbs``. TensorFlow's generated accessors read it: reading
beyond the file is an error there. The interpreter follows what it finds, so it only gets a file that was checked here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, StorageError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ortolan.types import Array

VERSION = 3
"""Of the schema."""
MOST = 1 << 17
"""Tensors, operators, buffers and dimensions."""
LARGEST_FILE = (1 << 31) - 1
"""Bytes of a flatbuffer."""

DTYPES: Mapping[int, str] = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
    17: "int4",
}
"""Of the schema's ``TensorType``; others are texts, resources and the like."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """Real number = scale * (stored number - zero point), along one axis if there are several scales."""

    scales: Array
    zero_points: Array
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of a graph.

    Args:
        name: as the file says.
        shape: sizes; None for a free one.
        dtype: numpy's name, or ``int4``; the schema's number for what has none.
        data: constant content as stored, int4 as int8; None for what is calculated.
        quantization: None where the numbers are what they are.
        variable: whether its content outlives a run.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    data: Array | None
    quantization: Quantization | None
    variable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator of a graph: tensors by their number, -1 for an optional one that is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Subgraph:
    """A graph, or the body of a loop or branch."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Names of a graph's inputs and outputs: name -> tensor; its own name is empty where the file gives none."""

    key: str
    subgraph: int
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteModel:
    """The file's content."""

    subgraphs: tuple[Subgraph, ...]
    signatures: Mapping[str, Signature]
    content: bytes = field(repr=False)


def read_lite(path: Path) -> LiteModel:
    """The file's content, checked.

    Raises:
        StorageError: it cannot be read.
        ConversionError: it is damaged.
        UnsupportedError: a newer version, or something in it that has no counterpart.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UnsupportedError(f"{path}: expected at most {LARGEST_FILE} bytes, as a flatbuffer holds")
        content = path.read_bytes()
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        return _Reader(content, path).model()
    except OrtolanError:
        raise
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ConversionError(f"{path}: a TensorFlow Lite file that is damaged or cut short: {error}") from error


@dataclass(slots=True)
class _Reader:
    content: bytes
    path: Path
    _names: Mapping[int, str] = field(default_factory=dict)

    def model(self) -> LiteModel:
        from tensorflow.lite.python import schema_py_generated as schema

        self._names = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
        model = schema.Model.GetRootAs(self.content, 0)
        if model.Version() != VERSION:
            raise UnsupportedError(f"{self.path}: expected version {VERSION} of the format, found {model.Version()}")
        codes = [self._operator_name(model.OperatorCodes(i)) for i in self._range(model.OperatorCodesLength(), "codes")]
        buffers = [self._buffer(model.Buffers(i)) for i in self._range(model.BuffersLength(), "buffers")]
        count = len(self._range(model.SubgraphsLength(), "graphs"))
        if not count:
            raise ConversionError(f"{self.path}: holds no graph; expected a trained network")
        subgraphs = tuple(self._subgraph(schema, model.Subgraphs(i), codes, buffers) for i in range(count))
        signatures = dict(
            self._signature(model.SignatureDefs(i), subgraphs)
            for i in self._range(model.SignatureDefsLength(), "signatures")
        )
        return LiteModel(subgraphs=subgraphs, signatures=signatures, content=self.content)

    def _range(self, count: int, what: str) -> range:
        if not 0 <= count <= MOST:
            raise ConversionError(f"{self.path}: expected at most {MOST} {what}, found {count}")
        return range(count)

    def _operator_name(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        custom = code.CustomCode()
        if self._names.get(number) == "CUSTOM" or custom:
            return f"CUSTOM {_text(custom)!r}"
        return self._names.get(number, f"number {number}, which this TensorFlow does not know,")

    def _buffer(self, buffer: Any) -> memoryview | None:
        """Constant content: inside of the flatbuffer, or behind it."""
        if buffer.Offset() > 1:
            begin, end = buffer.Offset(), buffer.Offset() + buffer.Size()
            if end > len(self.content):
                raise ConversionError(f"{self.path}: cut short: a tensor's numbers end at byte {end}")
            return memoryview(self.content)[begin:end]
        length = buffer.DataLength()
        if not length:
            return None
        if length > len(self.content):
            raise ConversionError(f"{self.path}: damaged: a tensor of {length} bytes in a file of {len(self.content)}")
        return memoryview(np.ascontiguousarray(buffer.DataAsNumpy()).tobytes())

    def _subgraph(
        self, schema: Any, graph: Any, codes: Sequence[str], buffers: Sequence[memoryview | None]
    ) -> Subgraph:
        tensors = tuple(self._tensor(graph.Tensors(i), buffers) for i in self._range(graph.TensorsLength(), "tensors"))
        operators = tuple(
            self._operator(schema, graph.Operators(i), i, codes, len(tensors))
            for i in self._range(graph.OperatorsLength(), "operators")
        )
        inputs = self._numbers(graph.Inputs, graph.InputsLength(), len(tensors), optional=False)
        outputs = self._numbers(graph.Outputs, graph.OutputsLength(), len(tensors), optional=False)
        known = {*inputs, *(i for i, tensor in enumerate(tensors) if tensor.data is not None or tensor.variable)}
        for operator in operators:
            for number in operator.inputs:
                if number >= 0 and number not in known:
                    name = tensors[number].name
                    raise ConversionError(f"{self.path}: damaged: {operator.name} takes {name!r}, which nothing gives")
            known |= set(operator.outputs)
        for number in outputs:
            if number not in known:
                raise ConversionError(f"{self.path}: damaged: nothing gives the output {tensors[number].name!r}")
        return Subgraph(tensors=tensors, operators=operators, inputs=inputs, outputs=outputs)

    def _numbers(self, at: Callable[[int], int], count: int, most: int, *, optional: bool) -> tuple[int, ...]:
        numbers = tuple(int(at(i)) for i in self._range(count, "tensors of an operator"))
        if any(not (-1 if optional else 0) <= number < most for number in numbers):
            raise ConversionError(f"{self.path}: damaged: tensors {numbers} of {most}")
        return numbers

    def _operator(self, schema: Any, operator: Any, index: int, codes: Sequence[str], most: int) -> Operator:
        code = operator.OpcodeIndex()
        if code >= len(codes):
            raise ConversionError(f"{self.path}: damaged: operator code {code} of {len(codes)}")
        kind, table = operator.BuiltinOptionsType(), operator.BuiltinOptions()
        return Operator(
            name=codes[code],
            inputs=self._numbers(operator.Inputs, operator.InputsLength(), most, optional=True),
            outputs=self._numbers(operator.Outputs, operator.OutputsLength(), most, optional=False),
            options=schema.BuiltinOptionsCreator(kind, table) if table is not None else None,
            index=index,
        )

    def _tensor(self, tensor: Any, buffers: Sequence[memoryview | None]) -> Tensor:
        name = _text(tensor.Name())
        number = tensor.Type()
        dtype = DTYPES.get(number, f"type {number}")
        sizes = [int(tensor.Shape(i)) for i in self._range(tensor.ShapeLength(), "dimensions")]
        free = [int(tensor.ShapeSignature(i)) for i in self._range(tensor.ShapeSignatureLength(), "dimensions")]
        if len(sizes) > 8 or any(size < -1 or size > LARGEST_FILE for size in (*sizes, *free)):
            raise ConversionError(f"{self.path}: tensor {name!r}: damaged: shape {sizes}")
        if len(free) == len(sizes):
            shape = tuple(None if wanted == -1 else size for size, wanted in zip(sizes, free, strict=True))
        else:
            shape = tuple(None if size == -1 else size for size in sizes)
        if tensor.Buffer() >= len(buffers):
            raise ConversionError(f"{self.path}: tensor {name!r}: damaged: buffer {tensor.Buffer()} of {len(buffers)}")
        buffer = buffers[tensor.Buffer()]
        if buffer is not None and tensor.Sparsity() is not None:
            raise UnsupportedError(f"{self.path}: tensor {name!r}: sparse weights; convert without sparsity")
        data = None if buffer is None else self._data(buffer, dtype, sizes, name)
        quantization = self._quantization(tensor.Quantization(), shape, dtype, name)
        return Tensor(
            name=name, shape=shape, dtype=dtype, data=data, quantization=quantization, variable=tensor.IsVariable()
        )

    def _data(self, buffer: memoryview, dtype: str, sizes: Sequence[int], name: str) -> Array:
        if dtype not in DTYPES.values():
            raise UnsupportedError(f"{self.path}: tensor {name!r}: constants of {dtype} cannot be converted")
        count = 1
        for size in sizes:
            count *= size
        expected = (count + 1) // 2 if dtype == "int4" else count * np.dtype(dtype).itemsize
        if len(buffer) != expected:
            raise ConversionError(
                f"{self.path}: tensor {name!r}: damaged: {len(buffer)} bytes of numbers, expected {expected}"
            )
        if dtype == "int4":
            packed = np.frombuffer(buffer, np.uint8)
            halves = np.stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:count].astype(np.int8)
            return np.where(halves > 7, halves - 16, halves).astype(np.int8).reshape(sizes)
        data: Array = np.frombuffer(buffer, np.dtype(dtype).newbyteorder("<")).astype(dtype).reshape(sizes)
        if data.dtype.kind == "f" and np.isnan(data).any():
            count = int(np.isnan(data).sum())
            raise ConversionError(f"{self.path}: weight {name!r}: {count} of its {data.size} numbers are NaN")
        return data

    def _quantization(self, found: Any, shape: Sequence[int | None], dtype: str, name: str) -> Quantization | None:
        if (
            found is None
            or not found.ScaleLength()
            or dtype not in {"int8", "uint8", "int16", "int32", "int4", "int64"}
        ):
            return None
        scales = np.atleast_1d(np.array(found.ScaleAsNumpy(), np.float32))
        zeros = (
            np.atleast_1d(np.array(found.ZeroPointAsNumpy(), np.int64))
            if found.ZeroPointLength()
            else np.zeros(1, np.int64)
        )
        axis = found.QuantizedDimension()
        per_axis = len(scales) > 1
        if per_axis and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
            raise ConversionError(f"{self.path}: tensor {name!r}: damaged: {len(scales)} scales along axis {axis}")
        if len(zeros) not in {1, len(scales)}:
            raise ConversionError(f"{self.path}: tensor {name!r}: damaged: {len(zeros)} zero points")
        if not np.isfinite(scales).all() or (scales < 0).any():
            raise ConversionError(f"{self.path}: tensor {name!r}: scales that are NaN, infinite or negative")
        limits = np.iinfo("int8" if dtype == "int4" else dtype)
        if (zeros < limits.min).any() or (zeros > limits.max).any():
            raise ConversionError(f"{self.path}: tensor {name!r}: damaged: zero points outside of {dtype}")
        return Quantization(scales, np.broadcast_to(zeros, scales.shape), axis if per_axis else 0)

    def _signature(self, signature: Any, subgraphs: Sequence[Subgraph]) -> tuple[str, Signature]:
        key, index = _text(signature.SignatureKey()), signature.SubgraphIndex()
        if index >= len(subgraphs):
            raise ConversionError(f"{self.path}: damaged: signature {key!r} of graph {index}")
        sides = []
        graph = subgraphs[index]
        for at, length, known in (
            (signature.Inputs, signature.InputsLength(), graph.inputs),
            (signature.Outputs, signature.OutputsLength(), graph.outputs),
        ):
            names = {_text(at(i).Name()): int(at(i).TensorIndex()) for i in self._range(length, "inputs or outputs")}
            if any(number not in known for number in names.values()):
                raise ConversionError(f"{self.path}: damaged: signature {key!r} names other tensors than the graph's")
            sides.append(names)
        return key, Signature(key=key, subgraph=index, inputs=sides[0], outputs=sides[1])


def _text(raw: bytes | None) -> str:
    return "" if raw is None else raw.decode("utf-8", "replace")

"""Builds the ONNX graph of a TensorFlow Lite graph.

Quantized tensors are real numbers here that are rounded to what their integers can say: QuantizeLinear and
DequantizeLinear stand behind every operator that gives one (the QDQ form), of which onnxruntime makes integer kernels.
Constants stay as they are stored, with a DequantizeLinear or Cast behind them.

Images are [batch, height, width, channels] in TensorFlow Lite and [batch, channels, height, width] in ONNX's layers. A
value is kept in the order it came in, and put into the other one only where it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ortolan.errors import ConversionError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ortolan.types import Array
    from ortolan_convert.sources.tensorflow_lite.file import LiteModel, Operator, Tensor

TO_CHANNELS_FIRST = (0, 3, 1, 2)
TO_CHANNELS_LAST = (0, 2, 3, 1)
CHANNELS_FIRST_AXIS = (0, 2, 3, 1)
"""Where an axis of [batch, height, width, channels] lies in [batch, channels, height, width]."""
ACTIVATIONS = {0: None, 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}
"""Of the schema's ``ActivationFunctionType``."""
_STORED = frozenset(("int8", "uint8", "int16", "uint16"))


@dataclass(slots=True)
class Names:
    """Gives every value of a model a name of its own."""

    count: int = 0

    def new(self, hint: str) -> str:
        """A name that was not given before."""
        self.count += 1
        return f"{hint.lower()}_{self.count}"


@dataclass(slots=True)
class _Value:
    """Names of a tensor in both orders of axes, as far as they are there, and of its stored integers."""

    last: str | None = None
    first: str | None = None
    stored: str | None = None


@dataclass(slots=True)
class LiteGraph:
    """One graph of the model under construction.

    Args:
        model: what is converted.
        index: of the graph in it.
        path: the file, for messages.
        convert: converts one operator of a graph.
        names: shared with the graphs inside.
    """

    model: LiteModel
    index: int
    path: Path
    convert: Callable[[LiteGraph, Operator], None]
    names: Names = field(default_factory=Names)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    _values: dict[int, _Value] = field(default_factory=dict)
    _constants: dict[int, tuple[Array, bool]] = field(default_factory=dict)
    _placed: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def run(self) -> None:
        """Convert all operators, in their order."""
        for operator in self.model.subgraphs[self.index].operators:
            self.convert(self, operator)

    def tensor(self, number: int) -> Tensor:
        """A tensor's description."""
        return self.model.subgraphs[self.index].tensors[number]

    def rank(self, number: int) -> int:
        """A tensor's number of axes."""
        return len(self.tensor(number).shape)

    def refuse(self, operator: Operator, problem: str) -> UnsupportedError:
        """The error that names an operator and its place."""
        place = self.tensor(operator.outputs[0]).name if operator.outputs else f"number {operator.index}"
        return UnsupportedError(f"{self.path}: operator {operator.name} of {place!r}: {problem}")

    # Values

    def known(self, number: int) -> Array | None:
        """Content of a constant as stored; None for what is calculated."""
        if number < 0:
            return None
        if number in self._constants:
            return self._constants[number][0]
        return self.tensor(number).data

    def need(self, operator: Operator, position: int) -> Array:
        """Content of an input that has to be constant.

        Raises:
            UnsupportedError: it is calculated.
        """
        data = self.known(operator.inputs[position]) if position < len(operator.inputs) else None
        if data is None:
            raise self.refuse(operator, f"input {position} is calculated; it can be converted as a constant only")
        return data

    def alias(self, number: int, data: Array) -> None:
        """Let a tensor be a constant that is cast to float32 when it is used: weights in float16."""
        self._constants[number] = (data, True)

    def value(self, number: int) -> str:
        """Name of a tensor's real numbers, axes as in TensorFlow Lite."""
        value = self._values.setdefault(number, _Value())
        if value.last is None:
            if value.first is not None:
                value.last = self.node("Transpose", value.first, perm=TO_CHANNELS_LAST)
            elif self.known(number) is not None:
                value.last = self.arranged(number, lambda array: array)
            else:
                raise ConversionError(f"{self.path}: damaged: nothing gives {self.tensor(number).name!r} its value")
        return value.last

    def channels_first(self, number: int) -> str:
        """Name of a four-axis tensor's real numbers, channels in front of height and width."""
        value = self._values.setdefault(number, _Value())
        if value.first is None:
            if self.known(number) is not None:
                value.first = self.arranged(number, _channels_first, axis=self._first_axis(number))
            else:
                value.first = self.node("Transpose", self.value(number), perm=TO_CHANNELS_FIRST)
        return value.first

    def _first_axis(self, number: int) -> Callable[[int], int]:
        missing = 4 - self.rank(number)
        return lambda axis: CHANNELS_FIRST_AXIS[axis + missing]

    def is_first(self, number: int) -> bool:
        """Whether a tensor is at hand with channels in front, and not behind."""
        value = self._values.get(number)
        return value is not None and value.first is not None and value.last is None

    def is_image(self, number: int) -> bool:
        """Whether a tensor can be had with channels in front."""
        return self.known(number) is not None or self.rank(number) == 4

    def stored(self, number: int) -> str:
        """Name of a tensor as the file stores it: its integers where it is quantized."""
        value = self._values.get(number)
        name = self.value(number)
        if self.tensor(number).quantization is None:
            return name
        if value is not None and value.stored is not None:
            return value.stored
        return self._quantized(name, self.tensor(number))

    def set(self, number: int, name: str) -> None:
        """Give a tensor its value, axes as in TensorFlow Lite; it is rounded if the tensor is quantized."""
        stored, name = self._rounded(name, self.tensor(number))
        self._values[number] = _Value(last=name, stored=stored)

    def set_first(self, number: int, name: str) -> None:
        """Give a four-axis tensor its value with channels in front."""
        _, name = self._rounded(name, self.tensor(number))
        self._values[number] = _Value(first=name)

    def set_stored(self, number: int, name: str) -> None:
        """Give a tensor its value as the file stores it."""
        tensor = self.tensor(number)
        if tensor.quantization is None:
            self._values[number] = _Value(last=name)
        else:
            self._values[number] = _Value(last=self._real(name, tensor), stored=name)

    def receive(self, number: int, name: str) -> None:
        """Give an input of a graph inside its value, which is rounded already."""
        self._values[number] = _Value(last=name)

    def _rounded(self, name: str, tensor: Tensor) -> tuple[str | None, str]:
        if tensor.quantization is None:
            return None, name
        stored = self._quantized(name, tensor)
        return stored, self._real(stored, tensor)

    def _quantized(self, name: str, tensor: Tensor) -> str:
        return self.node("QuantizeLinear", name, *self._scale(tensor))

    def _real(self, name: str, tensor: Tensor) -> str:
        return self.node("DequantizeLinear", name, *self._scale(tensor))

    def _scale(self, tensor: Tensor) -> tuple[str, str]:
        quantization = tensor.quantization
        if quantization is None or len(quantization.scales) != 1 or tensor.dtype not in _STORED:
            raise UnsupportedError(
                f"{self.path}: tensor {tensor.name!r}: calculated numbers with several scales, or of {tensor.dtype}"
            )
        scale = max(float(quantization.scales[0]), float(np.finfo(np.float32).tiny))
        return self.constant(np.float32(scale)), self.constant(quantization.zero_points[0].astype(tensor.dtype))

    # Constants

    def constant(self, array: Any, dtype: str | None = None) -> str:
        """Name of a constant; equal ones are stored once."""
        array = np.asarray(array, dtype)
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self._placed:
            self._placed[key] = self.names.new("constant")
            self.initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), self._placed[key]))
        return self._placed[key]

    def arranged(
        self, number: int, arrange: Callable[[Array], Array], axis: Callable[[int], int] = lambda axis: axis
    ) -> str:
        """Name of a constant's real numbers in another arrangement; what is stored keeps its type.

        Args:
            number: of the tensor.
            arrange: what is done to the stored array.
            axis: the axis that the quantized axis becomes by that.
        """
        tensor = self.tensor(number)
        data = self.known(number)
        if data is None:
            raise ConversionError(f"{self.path}: damaged: {tensor.name!r} is no constant")
        name = self.constant(arrange(data))
        if number in self._constants:
            return self.node("Cast", name, to=onnx.TensorProto.FLOAT)
        quantization = tensor.quantization
        if quantization is None:
            return name
        if data.dtype == np.int64:
            return self.constant(arrange(data).astype(np.float64) * float(quantization.scales[0]), "float32")
        scales, zeros = quantization.scales, quantization.zero_points.astype(data.dtype)
        if len(scales) == 1:
            return self.node("DequantizeLinear", name, self.constant(scales[0]), self.constant(zeros[0]))
        return self.node(
            "DequantizeLinear", name, self.constant(scales), self.constant(zeros), axis=axis(quantization.axis)
        )

    def ints(self, number: int) -> str:
        """Name of a tensor of integers as int64, as ONNX takes shapes and indices."""
        data = self.known(number)
        if data is not None:
            return self.constant(data.astype(np.int64))
        return self.cast(self.value(number), "int64")

    # Nodes

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator of ONNX with one output; its name."""
        return self.several(kind, *inputs, outputs=1, **attributes)[0]

    def several(self, kind: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add an operator of ONNX with several outputs; their names."""
        names = [self.names.new(kind) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def cast(self, name: str, dtype: str) -> str:
        """The value in another type."""
        return self.node("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def activated(self, name: str, code: int, operator: Operator) -> str:
        """The value after the activation that is fused into an operator.

        A quantized output cannot say less than its smallest integer means: where that is 0, Relu is in the rounding.
        """
        if code not in ACTIVATIONS:
            raise self.refuse(operator, f"its activation has the number {code}, which is not known")
        kind = ACTIVATIONS[code]
        if kind is None:
            return name
        low, high = self._limits(operator.outputs[0])
        bounds = {"RELU": (0.0, np.inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
        if kind in bounds:
            if low >= bounds[kind][0] and high <= bounds[kind][1]:
                return name
            return self.clipped(name, *bounds[kind])
        return self.node("Tanh", name)

    def clipped(self, name: str, low: float, high: float) -> str:
        """The value within limits."""
        if high < np.inf:
            return self.node("Clip", name, self.constant(np.float32(low)), self.constant(np.float32(high)))
        return self.node("Relu", name) if low == 0 else self.node("Max", name, self.constant(np.float32(low)))

    def _limits(self, number: int) -> tuple[float, float]:
        tensor = self.tensor(number)
        if tensor.quantization is None or tensor.dtype not in _STORED:
            return -np.inf, np.inf
        info = np.iinfo(tensor.dtype)
        scale, zero = float(tensor.quantization.scales[0]), int(tensor.quantization.zero_points[0])
        return (info.min - zero) * scale, (info.max - zero) * scale

    def finished(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
    ) -> onnx.GraphProto:
        """The graph, without what nothing asks for."""
        needed = {value.name for value in outputs}
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= _asked_by(node)
        constants = [tensor for tensor in self.initializers if tensor.name in needed]
        return helper.make_graph(kept[::-1], name, list(inputs), list(outputs), constants)


def _channels_first(array: Array) -> Array:
    """A constant that is combined with an image, with channels in front of height and width."""
    if array.ndim == 0 or array.size == 1:
        return array.reshape(())
    full = array.reshape((1,) * (4 - array.ndim) + array.shape)
    turned: Array = full.transpose(TO_CHANNELS_FIRST)
    return turned


def _asked_by(node: onnx.NodeProto) -> set[str]:
    asked = set(node.input)
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                asked |= _asked_by(inner)
            asked |= {value.name for value in attribute.g.output}
    return asked

"""What onnxruntime's blocked layout for convolutions adds to the memory of activations.

On x86-64 (and newer Arm builds) its graph optimizer keeps images as blocks of 8 or 16 channels ("NCHWc"): channels are
rounded up to whole blocks, and a tensor is copied where an operator that knows blocks meets one that does not.
Source: onnxruntime/core/optimizer/nchwc_transformer.cc and MlasNchwcGetBlockSize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.analysis.sizes import Size, number, product

if TYPE_CHECKING:
    import onnx

    from ortolan_convert.analysis.shapes import Scope

BLOCK = 16
"""Channels of the largest block, with AVX-512."""
CONVOLUTIONS = frozenset(("Conv", "FusedConv"))
PASSES_ON = frozenset(
    [
        "Add",
        "AveragePool",
        "BatchNormalization",
        "Clip",
        "Concat",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "Identity",
        "LeakyRelu",
        "MaxPool",
        "Mul",
        "Relu",
        "Resize",
        "Sigmoid",
        "Sum",
        "Tanh",
        "Upsample",
    ]
)
"""Operators that take blocks and give blocks."""


class Layout:
    """Which tensors of a graph are kept in blocks."""

    __slots__ = ("_blocked", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._blocked: set[str] = set()

    def visit(self, proto: onnx.NodeProto) -> None:
        """Note the outputs of the next node, in the graph's order."""
        images = [name for name in proto.input if name and self._is_image(name)]
        if proto.op_type in CONVOLUTIONS:
            blocked = bool(images)
        else:
            blocked = proto.op_type in PASSES_ON and bool(images) and all(name in self._blocked for name in images)
        if blocked:
            self._blocked.update(name for name in proto.output if self._is_image(name))

    def bytes(self, name: str) -> Size | None:
        """Of a tensor as it is kept; None if its shape is unknown."""
        return self._bytes(name, blocked=name in self._blocked)

    def given_back(self, name: str) -> Size:
        """Bytes of the copy that a caller gets of an output that is kept in blocks; else 0."""
        return (self._bytes(name, blocked=False) or number(0)) if name in self._blocked else number(0)

    def _bytes(self, name: str, *, blocked: bool) -> Size | None:
        value = self._scope[name]
        if value.shape is None:
            return None
        shape = value.shape
        if blocked:
            channels = (shape[1] + number(BLOCK - 1)).over(BLOCK) * number(BLOCK)
            shape = (shape[0], channels, *shape[2:])
        return product(shape) * number(value.bytes)

    def copies(self, proto: onnx.NodeProto) -> Size:
        """Bytes of the inputs that a node needs in the other layout."""
        takes_blocks = proto.op_type in CONVOLUTIONS or all(name in self._blocked for name in proto.output if name)
        total = number(0)
        for name in dict.fromkeys(proto.input):
            if not name or not self._is_image(name) or (name in self._blocked) == takes_blocks:
                continue
            channels = self._scope[name].shape
            # The first convolution reads pictures, which have few channels, as they are.
            if takes_blocks and channels is not None and (channels[1].value or BLOCK) < BLOCK:
                continue
            total = total + (self._bytes(name, blocked=takes_blocks) or number(0))
        return total

    def _is_image(self, name: str) -> bool:
        value = self._scope[name]
        return not value.constant and value.bytes == 4 and value.shape is not None and len(value.shape) == 4

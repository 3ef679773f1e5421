"""Shapes of convolutions and poolings: a window that moves over the spatial axes.

Source: https://onnx.ai/onnx/operators/onnx__Conv.html and its neighbours. Layout is N, C, then the spatial axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.analysis.sizes import Size, number

if TYPE_CHECKING:
    from ortolan_convert.analysis.shapes import Node, Shape

CONVOLUTIONS = frozenset(["Conv", "ConvInteger", "ConvTranspose", "FusedConv", "QLinearConv", "NhwcFusedConv"])
POOLS = frozenset(["AveragePool", "LpPool", "MaxPool", "QLinearAveragePool"])
GLOBAL_POOLS = frozenset(["GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "QLinearGlobalAveragePool"])
WINDOWS = CONVOLUTIONS | POOLS | GLOBAL_POOLS


def kernel_position(node: Node) -> int:
    """Which input the kernel is: the quantized form has scale and zero point of the image before it."""
    return 3 if node.proto.op_type == "QLinearConv" else 1


def window_shape(node: Node) -> Shape:
    """Shape of the result.

    Raises:
        GivesUpError: an input's shape is unknown.
    """
    operator = node.proto.op_type
    batch, channels, *spatial = node.shape(0)
    if operator in GLOBAL_POOLS:
        return (batch, channels, *[number(1)] * len(spatial))
    if operator in POOLS:
        kernel = list(node.attribute("kernel_shape"))
    else:
        weights = node.shape(kernel_position(node))
        kernel = [size.value or 1 for size in weights[2:]]
        if operator == "ConvTranspose":
            channels = weights[1] * number(node.attribute("group", 1))
        else:
            channels = weights[0]
    sizes = [_axis(node, size, kernel, axis) for axis, size in enumerate(spatial)]
    return (batch, channels, *sizes)


def _axis(node: Node, size: Size, kernel: list[int], axis: int) -> Size:
    count = len(kernel)
    stride = node.attribute("strides", [1] * count)[axis]
    reach = (kernel[axis] - 1) * node.attribute("dilations", [1] * count)[axis] + 1
    pads = node.attribute("pads", [0] * (2 * count))
    mode = node.attribute("auto_pad", b"NOTSET")
    same = mode in {b"SAME_UPPER", b"SAME_LOWER"}
    padding = pads[axis] + pads[axis + count] if mode == b"NOTSET" else 0
    if node.proto.op_type == "ConvTranspose":
        given = node.attribute("output_shape")
        if given is not None:
            return number(given[-count:][axis])
        if same:
            return size * number(stride)
        more = node.attribute("output_padding", [0] * count)[axis]
        return (size - number(1)) * number(stride) + number(reach + more - padding)
    if same:
        return (size + number(stride - 1)).over(stride)
    room = size + number(padding - reach)
    if node.attribute("ceil_mode", 0):
        room = room + number(stride - 1)
    return room.over(stride) + number(1)

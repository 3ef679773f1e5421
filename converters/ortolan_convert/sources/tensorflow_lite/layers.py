"""TensorFlow Lite's layers: convolutions, pools, products, softmax and normalizations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan_convert.sources.tensorflow_lite.elementwise import Convert
    from ortolan_convert.sources.tensorflow_lite.file import Operator
    from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph

SAME = 0
"""Of the schema's ``Padding``; 1 is VALID."""
SMALLEST_NORM = 1e-6
"""What L2_NORMALIZATION divides by at least, as TensorFlow Lite's kernel does."""


def _windows(
    graph: LiteGraph, operator: Operator, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> dict[str, Any]:
    """Attributes of a window that moves over an image; padding in numbers where the sizes are known.

    SAME gives ceil(size / stride) places; what is missing is shared, the odd one at the end.
    """
    attributes: dict[str, Any] = {"strides": list(strides), "kernel_shape": list(kernel)}
    if any(stride < 1 for stride in strides) or any(size < 1 for size in kernel) or any(d < 1 for d in dilations):
        raise graph.refuse(operator, f"window {kernel}, strides {strides}, dilations {dilations}")
    if operator.options.padding != SAME:
        return attributes
    sizes = graph.tensor(operator.inputs[0]).shape[1:3]
    if any(size is None for size in sizes):
        return {**attributes, "auto_pad": "SAME_UPPER"}
    missing = [
        max((-(-int(size or 1) // stride) - 1) * stride + (width - 1) * dilation + 1 - int(size or 1), 0)
        for size, stride, width, dilation in zip(sizes, strides, kernel, dilations, strict=True)
    ]
    return {**attributes, "pads": [*(one // 2 for one in missing), *(one - one // 2 for one in missing)]}


def _bias(graph: LiteGraph, operator: Operator, position: int) -> list[str]:
    if len(operator.inputs) <= position or operator.inputs[position] < 0:
        return []
    return [graph.value(operator.inputs[position])]


def _weights_shape(graph: LiteGraph, operator: Operator, image: int) -> tuple[int, ...]:
    shape = graph.need(operator, 1).shape
    if len(shape) != 4 or graph.rank(image) != 4:
        raise graph.refuse(operator, f"expected an image of four axes and weights of four, found {shape}")
    return shape


def _convolution(graph: LiteGraph, operator: Operator) -> None:
    outputs, height, width, channels = _weights_shape(graph, operator, operator.inputs[0])
    depth = graph.tensor(operator.inputs[0]).shape[3]
    if not depth or depth % channels or outputs % (depth // channels):
        raise graph.refuse(operator, f"{depth} channels, {channels} of them for each of {outputs} filters")
    _convolved(graph, operator, (height, width), (0, 3, 1, 2), depth // channels)


def _depthwise(graph: LiteGraph, operator: Operator) -> None:
    one, height, width, outputs = _weights_shape(graph, operator, operator.inputs[0])
    depth = graph.tensor(operator.inputs[0]).shape[3]
    if one != 1 or not depth or outputs % depth:
        raise graph.refuse(operator, f"{outputs} filters for {depth} channels")
    _convolved(graph, operator, (height, width), (3, 0, 1, 2), depth)


def _convolved(
    graph: LiteGraph, operator: Operator, window: tuple[int, int], order: tuple[int, ...], groups: int
) -> None:
    """Add the convolution; ``order`` of the weights' axes is what ONNX has them in."""
    options = operator.options
    dilations = (options.dilationHFactor, options.dilationWFactor)
    attributes = _windows(graph, operator, window, (options.strideH, options.strideW), dilations)
    weights = graph.arranged(operator.inputs[1], lambda array: array.transpose(order), axis=order.index)
    result = graph.node(
        "Conv",
        graph.channels_first(operator.inputs[0]),
        weights,
        *_bias(graph, operator, 2),
        group=groups,
        dilations=list(dilations),
        **attributes,
    )
    graph.set_first(operator.outputs[0], graph.activated(result, options.fusedActivationFunction, operator))


def _transposed_convolution(graph: LiteGraph, operator: Operator) -> None:
    options = operator.options
    image = operator.inputs[2]
    _, height, width, _ = _weights_shape(graph, operator, image)
    sizes, wanted = graph.tensor(image).shape[1:3], graph.tensor(operator.outputs[0]).shape[1:3]
    if any(size is None for size in (*sizes, *wanted)):
        raise graph.refuse(operator, "an image whose height or width is free")
    strides = (options.strideH, options.strideW)
    # What a full transposed convolution gives beyond what is wanted is cut off at both ends, the odd one at the end.
    surplus = [
        (int(size or 1) - 1) * stride + kernel - int(out or 1)
        for size, stride, kernel, out in zip(sizes, strides, (height, width), wanted, strict=True)
    ]
    cut = [max(one, 0) for one in surplus]
    weights = graph.arranged(
        operator.inputs[1], lambda array: array.transpose(3, 0, 1, 2), axis=lambda axis: (1, 2, 3, 0)[axis]
    )
    result = graph.node(
        "ConvTranspose",
        graph.channels_first(image),
        weights,
        *_bias(graph, operator, 3),
        strides=list(strides),
        kernel_shape=[height, width],
        pads=[*(one // 2 for one in cut), *(one - one // 2 for one in cut)],
        output_padding=[max(-one, 0) for one in surplus],
    )
    code = getattr(options, "fusedActivationFunction", 0)
    graph.set_first(operator.outputs[0], graph.activated(result, code, operator))


def _fully_connected(graph: LiteGraph, operator: Operator) -> None:
    options = operator.options
    if getattr(options, "weightsFormat", 0):
        raise graph.refuse(operator, "weights in shuffled order")
    x = graph.value(operator.inputs[0])
    weights = operator.inputs[1]
    if graph.rank(weights) != 2:
        raise graph.refuse(operator, f"weights of {graph.rank(weights)} axes")
    width = graph.tensor(weights).shape[1]
    flat = not options.keepNumDims
    if flat and (graph.rank(operator.inputs[0]) != 2 or graph.tensor(operator.inputs[0]).shape[1] != width):
        x = graph.node("Reshape", x, graph.constant([-1, width or -1], "int64"))
    bias = _bias(graph, operator, 2)
    constant = graph.known(weights) is not None
    if flat and constant:
        result = graph.node("Gemm", x, graph.value(weights), *bias, transB=1)
    else:
        turned = (
            graph.arranged(weights, lambda array: array.T, axis=lambda axis: 1 - axis)
            if constant
            else graph.node("Transpose", graph.value(weights), perm=[1, 0])
        )
        result = graph.node("MatMul", x, turned)
        result = graph.node("Add", result, *bias) if bias else result
    graph.set(operator.outputs[0], graph.activated(result, options.fusedActivationFunction, operator))


def _product(graph: LiteGraph, operator: Operator) -> None:
    names = []
    for number, turned in zip(operator.inputs, (operator.options.adjX, operator.options.adjY), strict=True):
        name = graph.value(number)
        if turned:
            axes = list(range(graph.rank(number)))
            name = graph.node("Transpose", name, perm=[*axes[:-2], axes[-1], axes[-2]])
        names.append(name)
    graph.set(operator.outputs[0], graph.node("MatMul", *names))


def _pool(kind: str, graph: LiteGraph, operator: Operator) -> str:
    options = operator.options
    kernel, strides = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    attributes = _windows(graph, operator, kernel, strides, (1, 1))
    return graph.node(kind, graph.channels_first(operator.inputs[0]), **attributes)


def _average_pool(graph: LiteGraph, operator: Operator) -> None:
    result = _pool("AveragePool", graph, operator)
    graph.set_first(operator.outputs[0], graph.activated(result, operator.options.fusedActivationFunction, operator))


def _max_pool(graph: LiteGraph, operator: Operator) -> None:
    result = _pool("MaxPool", graph, operator)
    graph.set_first(operator.outputs[0], graph.activated(result, operator.options.fusedActivationFunction, operator))


def _softmax(graph: LiteGraph, operator: Operator) -> None:
    x, beta = graph.value(operator.inputs[0]), float(operator.options.beta)
    x = x if beta == 1 else graph.node("Mul", x, graph.constant(np.float32(beta)))
    graph.set(operator.outputs[0], graph.node("Softmax", x, axis=-1))


def _log_softmax(graph: LiteGraph, operator: Operator) -> None:
    graph.set(operator.outputs[0], graph.node("LogSoftmax", graph.value(operator.inputs[0]), axis=-1))


def _unit_length(graph: LiteGraph, operator: Operator) -> None:
    x = graph.value(operator.inputs[0])
    norm = graph.node("ReduceL2", x, graph.constant([-1], "int64"), keepdims=1)
    result = graph.node("Div", x, graph.node("Max", norm, graph.constant(np.float32(SMALLEST_NORM))))
    graph.set(operator.outputs[0], graph.activated(result, operator.options.fusedActivationFunction, operator))


def _local_response(graph: LiteGraph, operator: Operator) -> None:
    options = operator.options
    size = 2 * options.radius + 1
    x = graph.channels_first(operator.inputs[0])
    result = graph.node("LRN", x, size=size, alpha=options.alpha * size, beta=options.beta, bias=options.bias)
    graph.set_first(operator.outputs[0], result)


def _resize(graph: LiteGraph, operator: Operator) -> None:
    options = operator.options
    linear = operator.name == "RESIZE_BILINEAR"
    half, corners = bool(options.halfPixelCenters), bool(options.alignCorners)
    sizes = graph.known(operator.inputs[1])
    wanted = graph.ints(operator.inputs[1]) if sizes is None else graph.constant(sizes, "int64")
    rounding = "round_prefer_ceil" if half or corners else "floor"
    result = graph.node(
        "Resize",
        graph.channels_first(operator.inputs[0]),
        "",
        "",
        wanted,
        axes=[2, 3],
        mode="linear" if linear else "nearest",
        coordinate_transformation_mode="align_corners" if corners else "half_pixel" if half else "asymmetric",
        nearest_mode="floor" if linear else rounding,
    )
    graph.set_first(operator.outputs[0], result)


def _lookup(graph: LiteGraph, operator: Operator) -> None:
    """Rows of a table; a quantized one is taken apart as it is stored."""
    table = operator.inputs[1]
    gather_rows(graph, operator, table, operator.inputs[0])


def gather_rows(graph: LiteGraph, operator: Operator, table: int, indices: int) -> None:
    """Rows of a constant or calculated table by their number."""
    quantization, data = graph.tensor(table).quantization, graph.known(table)
    rows = graph.ints(indices)
    if data is None or quantization is None or len(quantization.scales) > 1 or data.dtype not in (np.int8, np.uint8):
        graph.set(operator.outputs[0], graph.node("Gather", graph.value(table), rows, axis=0))
        return
    scale, zero = graph.constant(quantization.scales[0]), graph.constant(quantization.zero_points[0].astype(data.dtype))
    picked = graph.node("Gather", graph.constant(data), rows, axis=0)
    graph.set(operator.outputs[0], graph.node("DequantizeLinear", picked, scale, zero))


OPERATORS: Mapping[str, Convert] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed_convolution,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _product,
    "AVERAGE_POOL_2D": _average_pool,
    "MAX_POOL_2D": _max_pool,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _log_softmax,
    "L2_NORMALIZATION": _unit_length,
    "LOCAL_RESPONSE_NORMALIZATION": _local_response,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "EMBEDDING_LOOKUP": _lookup,
}
"""By TensorFlow Lite's names."""

"""Multiply-accumulates of each ONNX operator that does them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.analysis.shapes import GivesUpError, Node, key_of
from ortolan_convert.analysis.sizes import Size, larger, number, product
from ortolan_convert.analysis.window_rules import CONVOLUTIONS, kernel_position

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

    from ortolan_convert.analysis.shapes import Scope


def graph_macs(graph: onnx.GraphProto, scope: Scope) -> Size | None:
    """Of one run of the graph: every trip of its loops, the larger branch of each If; None if a shape is unknown."""
    total = number(0)
    try:
        for proto in graph.node:
            node = Node(proto, scope)
            total = total + node_macs(node)
            for size in _bodies(node):
                total = total + size
    except (GivesUpError, IndexError, ValueError, TypeError):
        return None
    return total


def _bodies(node: Node) -> list[Size]:
    """Of the graphs within a node."""
    scopes = node.scope.inner.get(key_of(node.proto), {})
    bodies = {attribute.name: attribute.g for attribute in node.proto.attribute if attribute.name in scopes}
    found = [graph_macs(bodies[name], scope) for name, scope in scopes.items()]
    sizes = [size for size in found if size is not None]
    if len(sizes) < len(found):
        raise GivesUpError
    if node.proto.op_type == "If":
        most = number(0)
        for size in sizes:
            most = larger(most, size)
        return [most]
    if all(size == number(0) for size in sizes):
        return []
    if node.proto.op_type != "Loop":
        raise GivesUpError
    return [size * node.content(0)[0] for size in sizes]


def node_macs(node: Node) -> Size:
    """Of one run of the node; 0 for operators that do none, such as additions and comparisons.

    Raises:
        GivesUpError: it does, but a shape is unknown.
    """
    rule = _RULES.get(node.proto.op_type)
    return number(0) if rule is None else rule(node)


def _result(node: Node) -> Size:
    shape = node.scope[node.proto.output[0]].shape
    if shape is None:
        raise GivesUpError
    return product(shape)


def _matmul(node: Node) -> Size:
    """Each element of the result sums over the inner axis."""
    shape = node.shape(0)
    transposed = node.attribute("transA", 0) and len(shape) > 1
    return _result(node) * (shape[-2] if transposed else shape[-1])


def _convolution(node: Node) -> Size:
    """Each element of the result sums over the kernel; transposed, each element of the input is spread over it."""
    kernel = node.shape(kernel_position(node))
    if node.proto.op_type == "ConvTranspose":
        return product(node.shape(0)) * product(kernel[1:])
    return _result(node) * product(kernel[1:])


def _recurrent(node: Node) -> Size:
    """Input and recurrent weights, once for each step of each sequence."""
    length, batch = node.shape(0)[:2]
    return length * batch * (product(node.shape(1)) + product(node.shape(2)))


def _attention(node: Node) -> Size:
    """com.microsoft's: projections, then scores and their sum over the values, both length x length x width."""
    batch, length = node.shape(0)[:2]
    hidden = _result(node)
    scores = hidden * length * number(2)
    if node.proto.op_type == "Attention":
        return batch * length * product(node.shape(1)) + scores
    keys = node.value(1).shape
    return hidden * (keys[1] if keys is not None and len(keys) == 3 else length) * number(2)


def _einsum(node: Node) -> Size:
    """Every combination of letters once."""
    inputs, _, _ = node.attribute("equation").decode().replace(" ", "").partition("->")
    if "." in inputs:
        raise GivesUpError
    sizes: dict[str, Size] = {}
    for index, letters in enumerate(inputs.split(",")):
        sizes.update(zip(letters, node.shape(index), strict=True))
    return product(sizes.values())


_RULES: dict[str, Callable[[Node], Size]] = {
    **dict.fromkeys(
        [
            "DynamicQuantizeMatMul",
            "FusedGemm",
            "FusedMatMul",
            "Gemm",
            "MatMul",
            "MatMulInteger",
            "MatMulIntegerToFloat",
            "MatMulNBits",
            "QGemm",
            "QLinearMatMul",
            "TransposeMatMul",
        ],
        _matmul,
    ),
    **dict.fromkeys(CONVOLUTIONS, _convolution),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "Einsum": _einsum,
}

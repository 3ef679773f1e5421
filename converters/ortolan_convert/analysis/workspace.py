"""Memory that onnxruntime's CPU kernels take for themselves while a node runs.

Sources: onnxruntime/core/providers/cpu: tensor/where_op.cc (both choices are written out before they are merged),
nn/conv_transpose.cc (columns of one image), rnn/ (gates of all steps), math/softmax.cc (transposed copies unless the
axis is the last), contrib_ops/cpu/bert/attention.cc (query, key, value and scores), math/einsum_utils.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.analysis.shapes import GivesUpError
from ortolan_convert.analysis.sizes import Size, number, product

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan_convert.analysis.shapes import Node

FLOAT = number(4)


def node_workspace(node: Node) -> Size:
    """Bytes; 0 for operators that need next to nothing.

    Raises:
        GivesUpError: a shape is unknown.
    """
    rule = _RULES.get(node.proto.op_type)
    return number(0) if rule is None else rule(node)


def _result(node: Node) -> Size:
    value = node.scope[node.proto.output[0]]
    if value.shape is None:
        raise GivesUpError
    return product(value.shape) * number(value.bytes)


def _both_choices(node: Node) -> Size:
    return _result(node) * number(2)


def _columns(node: Node) -> Size:
    return product(node.shape(1)[1:]) * product(node.shape(0)[2:]) * FLOAT


def _gates(node: Node) -> Size:
    length, batch = node.shape(0)[:2]
    return length * batch * product(node.shape(1)[:2]) * FLOAT * number(2)


def _transposed(node: Node) -> Size:
    axis = node.attribute("axis", -1 if node.scope.opset >= 13 else 1)
    last = axis in {-1, len(node.shape(0)) - 1}
    return number(0) if last else _result(node) * number(2)


def _attention(node: Node) -> Size:
    batch, length = node.shape(0)[:2]
    heads = number(node.attribute("num_heads", 1))
    return _result(node) * number(3) + batch * heads * length * length * FLOAT


def _einsum(node: Node) -> Size:
    given = number(0)
    for index in range(len(node.proto.input)):
        given = given + product(node.shape(index)) * number(node.value(index).bytes)
    return given + _result(node)


_RULES: dict[str, Callable[[Node], Size]] = {
    "Where": _both_choices,
    "ConvTranspose": _columns,
    "LSTM": _gates,
    "GRU": _gates,
    "DynamicQuantizeLSTM": _gates,
    "Softmax": _transposed,
    "LogSoftmax": _transposed,
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "Einsum": _einsum,
}

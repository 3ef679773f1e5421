"""Shapes after the layers of networks, and after graphs within nodes.

Sources: https://onnx.ai/onnx/operators and onnxruntime's docs/ContribOperators.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan_convert.analysis.shapes import (
    GivesUpError,
    Node,
    Shape,
    Value,
    key_of,
)
from ortolan_convert.analysis.sizes import Size, larger, number

if TYPE_CHECKING:
    from collections.abc import Callable


def _recurrent(node: Node) -> list[Value]:
    given, weights = node.shape(0), node.shape(2)
    length, batch = (given[1], given[0]) if node.attribute("layout", 0) else (given[0], given[1])
    ways, hidden = weights[0], weights[2]
    size = node.value(0).bytes
    state = Value(size, (ways, batch, hidden))
    return [Value(size, (length, ways, batch, hidden)), state, state]


def _attention(node: Node) -> list[Value]:
    shape = node.shape(0)
    if node.proto.op_type == "Attention":  # of com.microsoft: input, weights, bias
        hidden = node.shape(1)[-1].over(3)
        return [Value(node.value(0).bytes, (*shape[:-1], hidden))]
    # MultiHeadAttention: query, key, value; the value's width is the result's.
    value = node.value(2).shape
    return [
        Value(node.value(0).bytes, (*shape[:-1], value[-1] if value is not None and len(value) == 3 else shape[-1]))
    ]


def _embedded(node: Node) -> list[Value]:
    """EmbedLayerNormalization: ids, segment ids, word, position and segment tables."""
    ids, width = node.shape(0), node.shape(2)[-1]
    return [Value(4, (*ids, width)), Value(4, ids[:1]), Value(4, (*ids, width))]


def _einsum(node: Node) -> list[Value]:
    inputs, arrow, result = node.attribute("equation").decode().replace(" ", "").partition("->")
    if not arrow or "." in inputs:
        raise GivesUpError
    sizes: dict[str, Size] = {}
    for index, letters in enumerate(inputs.split(",")):
        sizes.update(zip(letters, node.shape(index), strict=True))
    return [Value(node.value(0).bytes, tuple(sizes[letter] for letter in result))]


def _branches(node: Node) -> list[Value]:
    """If: the larger of what the branches give."""
    scopes = node.scope.inner[key_of(node.proto)]
    bodies = {attribute.name: attribute.g for attribute in node.proto.attribute if attribute.HasField("g")}
    values = []
    for index in range(len(node.proto.output)):
        found = [scopes[name][body.output[index].name] for name, body in bodies.items()]
        shapes = [value.shape for value in found if value.shape is not None]
        shape = None
        if len(shapes) == len(found) and len({len(one) for one in shapes}) == 1:
            shape = shapes[0]
            for other in shapes[1:]:
                shape = tuple(larger(one, two) for one, two in zip(shape, other, strict=True))
        values.append(Value(max(value.bytes for value in found), shape))
    return values


def _loop(node: Node) -> list[Value]:
    """Loop: carried values of unchanging shape, and outputs that are stacked once per trip."""
    body = node.attribute("body")
    scope = node.scope.inner[key_of(node.proto)]["body"]
    carried = len(node.proto.input) - 2
    trips = node.value(0).content if node.has(0) else None
    values = []
    for index, name in enumerate(value.name for value in body.output[1:]):
        value = scope[name]
        if index < carried:
            same = value.shape is not None and value.shape == node.value(index + 2).shape
            values.append(Value(value.bytes, value.shape if same else None))
        else:
            known = trips is not None and value.shape is not None
            values.append(
                Value(value.bytes, (trips[0], *value.shape) if known and trips and value.shape is not None else None)
            )
    return values


def _stft(node: Node) -> list[Value]:
    signal, step = node.shape(0), node.numbers(1)[0]
    length = node.numbers(3)[0] if node.has(3) else (node.shape(2)[0].value if node.has(2) else None)
    if length is None:
        raise GivesUpError
    frames = (signal[1] - number(length)).over(step) + number(1)
    bins = length // 2 + 1 if node.attribute("onesided", 1) else length
    return [Value(node.value(0).bytes, (signal[0], frames, number(bins), number(2)))]


def _to_depth(node: Node) -> list[Value]:
    block = node.attribute("blocksize")
    batch, channels, high, wide = node.shape(0)
    area = number(block * block)
    if node.proto.op_type == "DepthToSpace":
        shape: Shape = (batch, channels.over(block * block), high * number(block), wide * number(block))
    else:
        shape = (batch, channels * area, high.over(block), wide.over(block))
    return [Value(node.value(0).bytes, shape)]


LAYERS: dict[str, Callable[[Node], list[Value]]] = {
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), _to_depth),
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "Einsum": _einsum,
    "EmbedLayerNormalization": _embedded,
    "If": _branches,
    "Loop": _loop,
    "STFT": _stft,
}
"""Operator -> its rule."""

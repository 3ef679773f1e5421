"""Variables of 2 GiB and more: kept out of TensorFlow's graphs, which are single messages of protobuf and hold less.

While variables become constants, a constant without content stands in for each of the largest. It becomes a placeholder
and so an input of the ONNX graph, where it gets its value as an initializer.
"""

from __future__ import annotations

from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx

    from ortolan.types import Array

LARGEST = 1 << 30
"""Bytes of variables in a graph: tools on the way hold it twice in one message."""


@contextmanager
def kept_aside(sizes: Sequence[int]) -> Iterator[list[Array]]:
    """Meanwhile, tensors made of the largest variables have no content; their version is a place, from 1, in the list.

    Args:
        sizes: of all variables, in bytes. As many of the largest stay aside as `LARGEST` demands.
    """
    from tensorflow.core.framework import tensor_pb2
    from tensorflow.python.framework import tensor_shape, tensor_util

    values: list[Array] = []
    least = _least_aside(sizes)
    make = tensor_util.make_tensor_proto

    def without_content(value: Any, dtype: Any = None, shape: Any = None, **options: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.nbytes < least:
            return make(value, dtype, shape, **options)
        values.append(value)
        tensor = tensor_pb2.TensorProto(dtype=dtype, version_number=len(values))
        tensor.tensor_shape.CopyFrom(tensor_shape.as_shape(value.shape).as_proto())
        return tensor

    tensor_util.make_tensor_proto = without_content
    try:
        yield values
    finally:
        tensor_util.make_tensor_proto = make


def _least_aside(sizes: Sequence[int]) -> float:
    """Bytes from which on a variable stays outside of the graph."""
    least, total = inf, sum(sizes)
    for size in sorted(sizes, reverse=True):
        if total <= LARGEST:
            break
        least, total = size, total - size
    return least


def as_placeholders(graph: Any, values: Sequence[Array]) -> dict[str, Array]:
    """Make a placeholder of each constant without content.

    Args:
        graph: ``GraphDef``, changed in place.
        values: as `kept_aside` listed them.

    Returns:
        The values by the placeholder's name.
    """
    found = {}
    for node in graph.node:
        place = node.attr["value"].tensor.version_number if node.op == "Const" else 0
        if place:
            found[node.name] = values[place - 1]
            shape = node.attr["value"].tensor.tensor_shape.SerializeToString()
            node.op = "Placeholder"
            node.attr["shape"].shape.MergeFromString(shape)
            del node.attr["value"]
    return found


def with_weights(model: onnx.ModelProto, weights: Mapping[str, Array]) -> onnx.ModelProto:
    """The same model, changed in place: inputs that stand for weights have become initializers.

    Transpositions of them, as convolutions need, are carried out here and not on the device.

    Args:
        model: the inputs that stand for weights are called as the placeholder's tensor, ``"name:0"``.
        weights: by the placeholder's name.
    """
    graph = model.graph
    values = {f"{name}:0": value for name, value in weights.items()}
    inputs, nodes = [one for one in graph.input if one.name not in values], list(graph.node)
    del graph.input[:], graph.node[:]
    graph.input.extend(inputs)
    for node in nodes:
        if node.op_type == "Transpose" and node.input[0] in values:
            axes = [axis for attribute in node.attribute if attribute.name == "perm" for axis in attribute.ints]
            values[node.output[0]] = values[node.input[0]].transpose(axes or None)
        else:
            graph.node.append(node)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return model

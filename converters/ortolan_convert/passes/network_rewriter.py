"""Rewrites the nodes of a network's graph that read large weights, and how weights are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from ortolan_convert.passes.quantizing import array, is_large, uses, weight_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.passes.quantizing import Use

    Store = Callable[[str, NDArray[np.float32], Sequence[Use]], tuple[list[onnx.NodeProto], list[onnx.TensorProto]]]
    """Name, numbers and readers of a weight -> nodes that make its float32 form under that name, and their constants;
    no nodes to leave it as it is."""


class Rewriter:
    """Replaces nodes of the outermost graph that read large float32 weights.

    Args:
        model: with its constants as initializers; left as it is.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer if is_large(tensor)}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def walk(self) -> Iterator[tuple[onnx.NodeProto, NDArray[np.float32]]]:
        """The nodes to replace, with their weights; all others are kept."""
        for node in self._model.graph.node:
            if weight_of(node) in self._weights:
                yield node, array(self._weights[weight_of(node)])
            else:
                self._nodes.append(node)

    def keep(self, node: onnx.NodeProto) -> None:
        """Leave a node as it is."""
        self._nodes.append(node)

    def add(self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """A new node with one output, and that output's name."""
        name = output or f"{inputs[0]}_{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def add_node(self, node: onnx.NodeProto) -> None:
        """A new node."""
        self._nodes.append(node)

    def constant(self, name: str, numbers: NDArray[Any]) -> str:
        """A new initializer, made once for each name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(numbers), name)
        return name

    def finished(self) -> onnx.ModelProto:
        """The new model; the old one is left as it is."""
        result = onnx.ModelProto()
        result.CopyFrom(onnx.ModelProto(ir_version=self._model.ir_version))
        result.opset_import.extend(self._model.opset_import)
        result.metadata_props.extend(self._model.metadata_props)
        result.producer_name, result.producer_version = self._model.producer_name, self._model.producer_version
        graph = result.graph
        graph.name = self._model.graph.name
        graph.input.extend(self._model.graph.input)
        graph.output.extend(self._model.graph.output)
        graph.node.extend(self._nodes)
        used = set(uses(graph))
        graph.initializer.extend(tensor for tensor in self._model.graph.initializer if tensor.name in used)
        graph.initializer.extend(self._constants.values())
        return result


def stored(graph: onnx.GraphProto, store: Store) -> None:
    """Store the large weights of a graph and of the graphs within its nodes in another form, in place.

    Only those are taken that every reader takes as weights. The nodes that make float32 of them again have constants as
    inputs alone, so onnxruntime runs them once, when the model is loaded.
    """
    readers = uses(graph)
    kept: list[onnx.TensorProto] = []
    front: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        found = readers.get(tensor.name, [])
        users = [use for use in found if use is not None]
        if is_large(tensor) and users and len(users) == len(found):
            made, constants = store(tensor.name, array(tensor), users)
            if made:
                front += made
                kept += constants
                continue
        kept.append(tensor)
    if front:
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*front, *graph.node)]
        tensors = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.node[:], graph.initializer[:]
        graph.node.extend(copies)
        graph.initializer.extend(tensors)
    for node in graph.node:
        for one in node.attribute:
            for inner in [one.g] if one.HasField("g") else one.graphs:
                stored(inner, store)

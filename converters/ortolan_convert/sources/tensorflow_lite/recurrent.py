"""TensorFlow Lite's recurrent layers and loops."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from ortolan_convert.sources.tensorflow_lite.elementwise import Convert
    from ortolan_convert.sources.tensorflow_lite.file import Operator

_INPUT, _RECURRENT, _BIAS = 1, 5, 12
"""Where the weights of the gates begin among an LSTM's inputs: input, forget, cell, output."""
_GATES = (0, 3, 1, 2)
"""ONNX's order of them: input, output, forget, cell."""
_NOT_THERE = (9, 10, 11, 16, 17, 20, 21, 22, 23)
"""Peepholes, projection and layer normalization."""
_STATES = (18, 19)
TANH = 4


def _lstm(graph: LiteGraph, operator: Operator) -> None:
    """A layer of an LSTM over a sequence, its state zero before the first step."""
    inputs, options = operator.inputs, operator.options
    if any(position < len(inputs) and inputs[position] >= 0 for position in _NOT_THERE):
        raise graph.refuse(operator, "peepholes, a projection or a normalization")
    if inputs[_INPUT] < 0 or options.fusedActivationFunction != TANH or options.cellClip or options.projClip:
        raise graph.refuse(operator, "coupled gates, clipping, or another activation than tanh")
    if not all(graph.tensor(inputs[position]).variable for position in _STATES):
        raise graph.refuse(operator, "a state that does not begin at zero")
    weights, recurrent = (_stacked(graph, operator, begin) for begin in (_INPUT, _RECURRENT))
    bias = np.concatenate([graph.need(operator, _BIAS + gate) for gate in _GATES]).astype(np.float32)
    x = graph.value(inputs[0])
    x = x if options.timeMajor else graph.node("Transpose", x, perm=[1, 0, 2])
    # The state's tensors are given an inner size by the file: what the recurrent weights have.
    size = graph.tensor(inputs[_RECURRENT]).shape[1]
    both = graph.constant(np.concatenate([bias, np.zeros_like(bias)])[None])
    steps = graph.node("LSTM", x, weights, recurrent, both, hidden_size=size)
    answer = graph.node("Squeeze", steps, graph.constant([1], "int64"))
    answer = answer if options.timeMajor else graph.node("Transpose", answer, perm=[1, 0, 2])
    graph.set(operator.outputs[0], answer)


def _stacked(graph: LiteGraph, operator: Operator, begin: int) -> str:
    """Weights of the four gates in ONNX's order as [1, 4 * size, width]; int8 ones stay int8."""
    numbers = [operator.inputs[begin + gate] for gate in _GATES]
    names = [graph.value(number) for number in numbers]
    return graph.node("Unsqueeze", graph.node("Concat", *names, axis=0), graph.constant([0], "int64"))


def _while(graph: LiteGraph, operator: Operator) -> None:
    """A loop: the condition is asked before the first round, and at the end of each one."""
    options = operator.options
    values = [graph.value(number) for number in operator.inputs]
    asked = _inside(graph, operator, options.condSubgraphIndex, values)
    graph.nodes.extend(asked.nodes)
    graph.initializers.extend(asked.initializers)
    first = asked.value(_outputs(asked)[0])
    names = [graph.names.new("carried") for _ in operator.inputs]
    body = _inside(graph, operator, options.bodySubgraphIndex, names)
    after = [body.value(number) for number in _outputs(body)]
    again = _inside(graph, operator, options.condSubgraphIndex, after)
    body.nodes.extend(again.nodes)
    body.initializers.extend(again.initializers)
    count, condition, going_on = (graph.names.new(name) for name in ("round", "going", "again"))
    body.nodes.append(helper.make_node("Identity", [again.value(_outputs(again)[0])], [going_on]))
    # A value that a round only hands on has to get a name of its own.
    results = []
    for name in after:
        results.append(graph.names.new("result"))
        body.nodes.append(helper.make_node("Identity", [name], [results[-1]]))
    inner = body.finished(
        graph.names.new("body"),
        [_value(count, "int64", ()), _value(condition, "bool", ()), *_values(graph, operator, names)],
        [_value(going_on, "bool", ()), *_values(graph, operator, results)],
    )
    found = graph.several("Loop", "", first, *values, outputs=len(names), body=inner)
    for number, name in zip(operator.outputs, found, strict=True):
        graph.set(number, name)


def _inside(graph: LiteGraph, operator: Operator, index: int, values: Sequence[str]) -> LiteGraph:
    """The operators of another graph of the file on these values; a graph that runs itself is refused."""
    if not graph.index < index < len(graph.model.subgraphs):
        raise graph.refuse(operator, f"a graph of number {index}, which does not come after its own")
    inputs = graph.model.subgraphs[index].inputs
    if len(inputs) != len(values):
        raise graph.refuse(operator, f"{len(values)} values for a graph of {len(inputs)} inputs")
    inside = LiteGraph(model=graph.model, index=index, path=graph.path, convert=graph.convert, names=graph.names)
    for number, name in zip(inputs, values, strict=True):
        inside.receive(number, name)
    inside.run()
    return inside


def _outputs(graph: LiteGraph) -> tuple[int, ...]:
    return graph.model.subgraphs[graph.index].outputs


def _values(graph: LiteGraph, operator: Operator, names: Sequence[str]) -> list[onnx.ValueInfoProto]:
    """Types and numbers of axes of what goes from round to round; sizes may change."""
    tensors = [graph.tensor(number) for number in operator.inputs]
    return [
        _value(name, "float32" if tensor.quantization is not None else tensor.dtype, (None,) * len(tensor.shape))
        for name, tensor in zip(names, tensors, strict=True)
    ]


def _value(name: str, dtype: str, shape: Sequence[int | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)


OPERATORS: Mapping[str, Convert] = {"UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm, "WHILE": _while}
"""By TensorFlow Lite's names."""

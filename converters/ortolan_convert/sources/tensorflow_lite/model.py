"""A TensorFlow Lite model as an ONNX model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.graph import IR_VERSION
from ortolan_convert.messages import words
from ortolan_convert.sources.tensorflow_lite import arrangement, blocks, elementwise, layers, recurrent, reductions
from ortolan_convert.sources.tensorflow_lite.file import DTYPES
from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan_convert.sources.tensorflow_lite.elementwise import Convert
    from ortolan_convert.sources.tensorflow_lite.file import LiteModel, Operator, Signature, Tensor

OPSET, OPSET_OF_INT16 = 20, 21
"""onnxruntime 1.32 mixes up int8 and uint8 in some graphs of opset 21, where QuantizeLinear names its type; int16 needs
it."""
BATCH = "batch"
"""Name of the first axis of inputs where its size is free."""

OPERATORS: Mapping[str, Convert] = {
    **elementwise.OPERATORS,
    **layers.OPERATORS,
    **arrangement.OPERATORS,
    **blocks.OPERATORS,
    **reductions.OPERATORS,
    **recurrent.OPERATORS,
}
"""By TensorFlow Lite's names."""


def onnx_of(model: LiteModel, signature: Signature, path: Path) -> onnx.ModelProto:
    """One graph of the file as an ONNX model.

    Args:
        model: the file's content.
        signature: which graph, and the user's names of its inputs and outputs.
        path: the file, for messages.

    Raises:
        UnsupportedError: operators or types without a counterpart, by their names.
        ConversionError: the file is damaged.
    """
    subgraph = model.subgraphs[signature.subgraph]
    _check_operators(model, signature.subgraph, path)
    graph = LiteGraph(model=model, index=signature.subgraph, path=path, convert=_convert)
    inputs, outputs = [], []
    for name, number in signature.inputs.items():
        inputs.append(_declared(name, subgraph.tensors[number], path, BATCH))
        graph.set_stored(number, name)
    graph.run()
    for name, number in signature.outputs.items():
        graph.nodes.append(helper.make_node("Identity", [graph.stored(number)], [name]))
        outputs.append(_declared(name, subgraph.tensors[number], path, f"{name}_0"))
    wide = any(tensor.quantization and tensor.dtype == "int16" for one in model.subgraphs for tensor in one.tensors)
    built = helper.make_model(
        graph.finished("model", inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET_OF_INT16 if wide else OPSET)],
        ir_version=IR_VERSION,
    )
    try:
        onnx.checker.check_model(built)
    except onnx.checker.ValidationError as error:
        raise ConversionError(f"{path}: damaged: {words(error)}") from error
    return built


def _check_operators(model: LiteModel, index: int, path: Path) -> None:
    missing: dict[str, str] = {}
    for graph in model.subgraphs[index:]:
        for operator in graph.operators:
            if operator.name not in OPERATORS:
                place = graph.tensors[operator.outputs[0]].name if operator.outputs else f"number {operator.index}"
                missing.setdefault(operator.name, place)
    if missing:
        listed = "; ".join(f"{operator} (of {place!r})" for operator, place in sorted(missing.items()))
        raise UnsupportedError(f"{path}: operators that cannot be converted: {listed}")


def _convert(graph: LiteGraph, operator: Operator) -> None:
    if not operator.outputs or not operator.inputs:
        raise graph.refuse(operator, "no inputs or outputs")
    try:
        OPERATORS[operator.name](graph, operator)
    except OrtolanError:
        raise
    except (AttributeError, IndexError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise graph.refuse(operator, f"its inputs or options are not what they should be: {error}") from error


def _declared(name: str, tensor: Tensor, path: Path, batch: str) -> onnx.ValueInfoProto:
    if tensor.dtype not in DTYPES.values() or tensor.dtype == "int4":
        raise UnsupportedError(f"{path}: {name!r}: inputs and outputs of {tensor.dtype} cannot be converted")
    dims = [
        size if size is not None else batch if axis == 0 else f"{name}_{axis}" for axis, size in enumerate(tensor.shape)
    ]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype)), dims)

"""A TensorFlow graph whose variables have become constants, and its way to ONNX."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.messages import words
from ortolan_convert.networks.weight_file import tidy, write_model
from ortolan_convert.sources.tensorflow import large
from ortolan_convert.sources.tensorflow.operators import check_convertible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ortolan.types import Array

OPSET = 18
"""The newest that tf2onnx writes."""
BATCH = "batch"
"""Name of the first axis of inputs where its size is free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A graph without variables.

    Args:
        graph: ``GraphDef``.
        weights: variables that are too large for it, by the placeholder that stands for each.
        inputs: tensors such as ``"x:0"`` by the names that the user knows.
        outputs: likewise.
        shapes: of inputs by the user's name; None for a free size, or for all where the rank is unknown.
    """

    graph: Any
    weights: Mapping[str, Array]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    shapes: Mapping[str, Sequence[int | None] | None]


def check_numbers(name: str, array: Any, origin: Path) -> None:
    """Refuse a weight with NaN.

    Raises:
        ConversionError: naming it.
    """
    values = np.asarray(array)
    if values.dtype.kind in "fc" and np.isnan(values).any():
        count = int(np.isnan(values).sum())
        raise ConversionError(f"{origin}: weight {name!r}: {count} of its {values.size} numbers are NaN")


def freeze_function(function: Any, sizes: Sequence[int]) -> tuple[Any, Mapping[str, Array]]:
    """A concrete function with its variables as constants and the functions it calls in place.

    Args:
        function: as `tf.function` makes it.
        sizes: of its variables, in bytes.

    Returns:
        ``GraphDef``, and the variables that are too large for it by the placeholder that stands for each.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    with large.kept_aside(sizes) as values:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def(add_shapes=True)
    return graph, large.as_placeholders(graph, values)


def freeze_session(
    session: Any, graph: Any, outputs: Sequence[str], sizes: Sequence[int]
) -> tuple[Any, Mapping[str, Array]]:
    """A graph with the session's variables as constants; functions stay.

    Args:
        session: holds the variables.
        graph: ``GraphDef``.
        outputs: tensors such as ``"x:0"``.
        sizes: of the variables, in bytes.

    Returns:
        As of `freeze_function`.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

    nodes = [name.partition(":")[0] for name in outputs]
    with large.kept_aside(sizes) as values:
        frozen = convert_variables_to_constants_from_session_graph(session, graph, nodes)
    return frozen, large.as_placeholders(frozen, values)


def write_onnx(frozen: Frozen, room: Path, origin: Path) -> Path:
    """The graph as ``model.onnx`` in a directory, with the user's names.

    Raises:
        UnsupportedError: an operator has no counterpart in ONNX, or tf2onnx does not get through.
        StorageError: it cannot be written.
    """
    model = tidy(large.with_weights(_named(_converted(frozen, origin), frozen), frozen.weights))
    write_model(model, room)
    file = room / "model.onnx"
    try:
        onnx.checker.check_model(str(file))
    except onnx.checker.ValidationError as error:
        reason = words(error)
        raise UnsupportedError(f"{origin}: what tf2onnx makes of the graph is not valid: {reason}") from error
    return file


def _converted(frozen: Frozen, origin: Path) -> onnx.ModelProto:
    import tensorflow as tf
    from tf2onnx import optimizer, tf_loader, tfonnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    inputs = [*frozen.inputs.values(), *(f"{name}:0" for name in frozen.weights)]
    outputs = list(frozen.outputs.values())
    try:
        graph = _optimized(frozen.graph, inputs, outputs)
        check_convertible(graph, str(origin))
        with tf.Graph().as_default() as scope:
            tf.import_graph_def(graph, name="")
            found = tfonnx.process_tf_graph(scope, opset=OPSET, input_names=inputs, output_names=outputs)
            model: onnx.ModelProto = optimizer.optimize_graph(found).make_model("model")
    except UnsupportedError:
        raise
    except Exception as error:
        reason = words(error)
        raise UnsupportedError(f"{origin}: tf2onnx cannot convert the graph: {reason}") from error
    finally:
        tf_loader.clear_functions()
    for node in model.graph.node:
        if node.domain not in {"", "ai.onnx"}:
            raise UnsupportedError(
                f"{origin}: operator {node.op_type} of {node.name!r} needs {node.domain}, which is not ONNX's own"
            )
    return model


def _optimized(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """Functions in place of their calls, constants folded, and only what leads from the inputs to the outputs."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
    from tensorflow.python.grappler import tf_optimizer

    plain = tf.compat.v1.GraphDef()
    plain.CopyFrom(graph)
    for node in (*plain.node, *(node for function in plain.library.function for node in function.node_def)):
        node.device = ""
        if "_lower_using_switch_merge" in node.attr:
            node.attr["_lower_using_switch_merge"].b = False
    config = config_pb2.ConfigProto()
    config.graph_options.infer_shapes = True
    rewriting = config.graph_options.rewrite_options
    rewriting.optimizers[:] = ["function", "constfold", "function", "dependency"]
    rewriting.function_optimization = rewriter_config_pb2.RewriterConfig.AGGRESSIVE
    rewriting.min_graph_nodes = -1
    rewriting.experimental_disable_folding_quantization_emulation = True
    with tf.Graph().as_default():
        meta = tf.compat.v1.train.export_meta_graph(graph_def=plain)
    fetched = meta_graph_pb2.CollectionDef()
    fetched.node_list.value.extend([*inputs, *outputs])
    meta.collection_def["train_op"].CopyFrom(fetched)
    optimized = tf_optimizer.OptimizeGraph(config, meta)
    if not any(node.op == "Enter" for node in optimized.node):
        # In TensorFlow 1's loops these edges also say what is inside.
        _drop_order(optimized)
    _spell_out(optimized)
    kept = [name.partition(":")[0] for name in (*outputs, *inputs)]
    return tf.compat.v1.graph_util.extract_sub_graph(optimized, kept)


def _drop_order(graph: Any) -> None:
    """Remove edges that only say what runs first: nothing in the graph has an effect, but checks may hang on them."""
    for node in graph.node:
        _drop_control_inputs(node)
    for function in graph.library.function:
        nodes = {node.name: node for node in function.node_def}
        kept: set[str] = set()
        waiting = [name.partition(":")[0] for name in function.ret.values()]
        while waiting:
            name = waiting.pop()
            if name in nodes and name not in kept:
                kept.add(name)
                _drop_control_inputs(nodes[name])
                waiting += [one.partition(":")[0] for one in nodes[name].input]
        left = [node for node in function.node_def if node.name in kept]
        del function.node_def[:]
        function.node_def.extend(left)
        function.control_ret.clear()
        del function.signature.control_output[:]


_SPELLED: Mapping[str, tuple[str, str, str]] = {
    "Erfc": ("Erf", "y", "1 - f"),
    "Expm1": ("Exp", "y", "f - 1"),
}
"""Operators that tf2onnx does not know: a function f that it does, the name of its output, and what is made of it."""


def _spell_out(graph: Any) -> None:
    """Replace operators that tf2onnx does not know by several that it does."""
    for nodes, is_function in ((graph.node, False), *((one.node_def, True) for one in graph.library.function)):
        for node in [one for one in nodes if one.op in _SPELLED]:
            inner, output, formula = _SPELLED[node.op]
            function = nodes.add(name=f"{node.name}/f", op=inner, input=list(node.input))
            one = nodes.add(name=f"{node.name}/one", op="Const")
            for added in (function, one):
                added.attr["dtype" if added.op == "Const" else "T"].CopyFrom(node.attr["T"])
            one.attr["value"].tensor.CopyFrom(_scalar_one(node.attr["T"].type))
            # In functions an input says which output of an operator it is.
            names = {
                "f": f"{function.name}:{output}:0" if is_function else function.name,
                "1": f"{one.name}:output:0" if is_function else one.name,
            }
            node.op = "Sub"
            del node.input[:]
            node.input.extend(names[part] for part in formula.split(" - "))
            if is_function:
                _rename_output(nodes, node.name, "y", "z")
    for function in graph.library.function:
        spelled = {f"{node.name}:y:0": f"{node.name}:z:0" for node in function.node_def if node.op == "Sub"}
        for name, given in function.ret.items():
            function.ret[name] = spelled.get(given, given)


def _scalar_one(dtype: int) -> Any:
    import tensorflow as tf

    return tf.make_tensor_proto(1, dtype=tf.as_dtype(dtype))


def _rename_output(nodes: Any, name: str, old: str, new: str) -> None:
    """Follow an operator of a function whose output is called otherwise now."""
    for node in nodes:
        for index, given in enumerate(node.input):
            if given == f"{name}:{old}:0":
                node.input[index] = f"{name}:{new}:0"


def _drop_control_inputs(node: Any) -> None:
    kept = [name for name in node.input if not name.startswith("^")]
    del node.input[:]
    node.input.extend(kept)


def _named(model: onnx.ModelProto, frozen: Frozen) -> onnx.ModelProto:
    """The model with the user's names and free sizes; graph inputs and outputs are in the user's order."""
    graph = model.graph
    # Names of the graph's own that are also the user's give way first.
    wanted = {*frozen.inputs, *frozen.outputs}
    _rename(graph, {name: f"{name}.inner" for name in _names(graph) & wanted})
    inner = {name: f"{name}.inner" for name in wanted}
    given = {value.name: value for value in graph.input}
    taken = {value.name: value for value in graph.output}
    renamed: dict[str, str] = {}
    inputs, outputs, extra = [], [], []
    for name, tensor in frozen.inputs.items():
        known = tensor if tensor in given else inner.get(tensor, tensor)
        value = given.get(known) or given.get(tensor.partition(":")[0])
        if value is None:
            continue  # the outputs do not depend on it
        renamed[value.name] = name
        inputs.append(_declared(name, value, frozen.shapes[name]))
    for name, tensor in frozen.outputs.items():
        known = tensor if tensor in taken else inner.get(tensor, tensor)
        value = taken[known]
        if known in renamed:
            extra.append(onnx.helper.make_node("Identity", [renamed[known]], [name]))
        else:
            renamed[known] = name
        kind = value.type.tensor_type
        sizes = [dim.dim_value or f"{name}_{axis}" for axis, dim in enumerate(kind.shape.dim)]
        shape = sizes if kind.HasField("shape") else None
        outputs.append(onnx.helper.make_tensor_value_info(name, kind.elem_type, shape))
    _rename(graph, renamed)
    graph.node.extend(extra)
    weights = [given[f"{name}:0"] for name in frozen.weights if f"{name}:0" in given]
    del graph.input[:], graph.output[:], graph.value_info[:]
    graph.input.extend([*inputs, *weights])
    graph.output.extend(outputs)
    return _with_output_shapes(model)


def _declared(name: str, value: onnx.ValueInfoProto, shape: Sequence[int | None] | None) -> onnx.ValueInfoProto:
    if shape is None:
        return onnx.helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, None)
    dims = [size if size is not None else BATCH if axis == 0 else f"{name}_{axis}" for axis, size in enumerate(shape)]
    return onnx.helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, dims)


def _with_output_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The outputs' shapes as they follow from the inputs'; sizes that do not are left open."""
    known = {dim.dim_param for value in model.graph.input for dim in value.type.tensor_type.shape.dim}
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value, found in zip(model.graph.output, inferred.graph.output, strict=True):
        if not found.type.tensor_type.HasField("shape"):
            continue
        value.CopyFrom(found)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value") and dim.dim_param not in known - {""}:
                dim.dim_param = f"{value.name}_{axis}"
    return model


def _names(graph: onnx.GraphProto) -> set[str]:
    return {
        *(name for node in graph.node for name in (*node.input, *node.output)),
        *(tensor.name for tensor in graph.initializer),
        *(value.name for value in (*graph.input, *graph.output)),
    }


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename values, in the graphs inside too: they see those around them."""
    for node in graph.node:
        for fields in (node.input, node.output):
            for index, name in enumerate(fields):
                if name in names:
                    fields[index] = names[name]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _rename(inner, names)
    for entry in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        entry.name = names.get(entry.name, entry.name)

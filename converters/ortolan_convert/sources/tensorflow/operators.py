"""TensorFlow's operators: which may run when a model is read, and which can be converted."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ortolan.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_LOOPS = words(
    "Switch Merge Enter Exit NextIteration LoopCond TensorArrayV3 TensorArrayReadV3 TensorArrayWriteV3 "
    "TensorArrayGatherV3 TensorArrayScatterV3 TensorArraySizeV3"
)
"""Of TensorFlow 1's loops, which tf2onnx makes something else of as a whole."""
_STATEFUL = _LOOPS | words(
    "VarHandleOp ReadVariableOp ResourceGather ResourceGatherNd VarIsInitializedOp DisableCopyOnRead "
    "Variable VariableV2 IsVariableInitialized StatefulPartitionedCall PartitionedCall While StatelessWhile If "
    "StatelessIf Case StatelessCase Assert RandomUniform RandomStandardNormal RandomUniformInt Placeholder "
    "PlaceholderV2 TruncatedNormal Multinomial NonMaxSuppressionV2 NonMaxSuppressionV3 StaticRegexFullMatch"
)
"""Operators with state, functions or text that stay within the graph."""
_ASSIGN = words("AssignVariableOp AssignAddVariableOp AssignSubVariableOp Assign AssignAdd AssignSub")
RESTORE = words("RestoreV2 Restore AssignVariableOp Assign")
"""What reads and sets variables; only allowed where the file says that variables are restored."""
_NAMES = words(
    "data_format padding mode equation rounding_mode round_mode direction rnn_mode input_mode half_pixel_centers "
    "coordinate_transformation_mode message container shared_name reduction_type method output_encoding"
)
"""Text attributes that choose how to calculate. Others may be names of files, addresses or Python functions."""
_TEXT_AND_TABLES = words(
    "AsString StringLower StringToNumber StringUpper HashTableV2 LookupTableFindV2 LookupTableSizeV2 FIFOQueueV2 "
    "IteratorGetNext IteratorV2 QueueDequeueV2 QueueDequeueManyV2 QueueDequeueUpToV2 CudnnRNN"
)
"""Operators that tf2onnx has a rule for and that still give no model that runs by itself."""
_FOLDED = words("Const Placeholder NoOp")


@cache
def _may_run(name: str) -> bool | None:
    """Whether an operator only calculates; None if this TensorFlow does not know it.

    What reaches outside of the graph (a file, an address, a Python function) has to be given its name: as a text input
    or as a text attribute. An operator without either, without state and without functions cannot.
    """
    from tensorflow.python.framework import op_def_registry

    if name in _STATEFUL:
        return True
    definition = op_def_registry.get(name)
    if definition is None:
        return None
    if definition.is_stateful:
        return False
    from tensorflow.core.framework import types_pb2

    arguments = (*definition.input_arg, *definition.output_arg)
    if any(argument.type in {types_pb2.DT_STRING, types_pb2.DT_RESOURCE} for argument in arguments):
        return False
    attributes = definition.attr
    if any(attribute.type in {"func", "list(func)", "list(string)"} for attribute in attributes):
        return False
    return all(attribute.name in _NAMES for attribute in attributes if attribute.type == "string")


@cache
def _convertible() -> frozenset[str]:
    """Operators that tf2onnx converts to ONNX's own."""
    from tf2onnx.handler import tf_op

    import_module("tf2onnx.onnx_opset")  # its rules register themselves
    names = {name for version in tf_op.get_opsets()[""] for name in version if not name.startswith("TFL_")}
    return frozenset(names - _TEXT_AND_TABLES)


def check_may_run(nodes: Iterable[Any], functions: Mapping[str, Any], origin: str, *, also: frozenset[str]) -> None:
    """Refuse what would do more than calculate, in these nodes and the functions they call.

    Args:
        nodes: ``NodeDef`` messages, all that will run.
        functions: ``FunctionDef`` messages by name.
        origin: the file, for messages.
        also: operators that are allowed here beside the usual ones.

    Raises:
        UnsupportedError: an operator reaches outside of the graph, or is unknown.
    """
    for node, place in _within(nodes, functions):
        if node.op in also:
            continue
        if node.op in _ASSIGN:
            raise UnsupportedError(
                f"{origin}: operator {node.op} of {place}: the network changes its own variables when it answers; give "
                "the state to it as an input and take it as an output"
            )
        verdict = _may_run(node.op)
        if verdict is None and node.op not in functions:
            import tensorflow as tf

            raise UnsupportedError(
                f"{origin}: operator {node.op} of {place}: TensorFlow {tf.__version__} does not know it; a newer "
                "version or a library of custom operators would be needed"
            )
        if verdict is False:
            raise UnsupportedError(
                f"{origin}: operator {node.op} of {place}: it handles text, tables, files or code of its own, which "
                "cannot be converted; export the network without it, and do its work before or after"
            )


def _within(nodes: Iterable[Any], functions: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """The nodes and those of all functions they lead to, each with its place."""
    seen: set[str] = set()
    waiting = [(node, repr(node.name)) for node in nodes]
    while waiting:
        node, place = waiting.pop()
        yield node, place
        called = {node.op}
        for value in node.attr.values():
            called |= {value.func.name, *(one.name for one in value.list.func)}
        for name in (called & functions.keys()) - seen:
            seen.add(name)
            waiting += [(inner, f"{inner.name!r} in {name!r}") for inner in functions[name].node_def]


def check_convertible(graph: Any, origin: str) -> None:
    """Refuse a frozen graph with an operator that has no counterpart in ONNX.

    Raises:
        UnsupportedError: naming the operators and where each is first found.
    """
    known = _convertible() | _FOLDED | _LOOPS
    found: dict[str, str] = {}
    for node in (*graph.node, *(node for function in graph.library.function for node in function.node_def)):
        if node.op not in known:
            found.setdefault(node.op, node.name)
    if found:
        listed = "; ".join(f"{operator} (of {place!r})" for operator, place in sorted(found.items()))
        raise UnsupportedError(f"{origin}: operators that cannot be converted: {listed}")

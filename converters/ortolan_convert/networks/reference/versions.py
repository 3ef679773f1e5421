"""Versions of ONNX: old models brought up, newer ones down to what the oldest supported onnxruntime reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, defs, version_converter

from ortolan_convert.graph import IR_VERSION, OPSET
from ortolan_convert.messages import words
from ortolan_convert.passes.quantizing import graphs, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator

OLDEST_OPSET = 13
"""Models of an older one are converted: axes became inputs here, and scales for each channel began."""
USUAL_OPSET = 17
"""What they are converted to."""
_NEWEST_ELEMENT = TensorProto.INT4
"""The newest element type of IR version 10."""


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators."""
    return max((one.version for one in model.opset_import if one.domain in {"", "ai.onnx"}), default=1)


def at_supported_version(model: onnx.ModelProto) -> tuple[onnx.ModelProto | None, str | None]:
    """The model in another version of ONNX's operators or of the file format.

    Args:
        model: left as it is.

    Returns:
        The model, to be compared with the one before; None if nothing needs to change or nothing can be done, with the
        reason in the latter case.
    """
    before = opset_of(model)
    if before < OLDEST_OPSET:
        return _converted(model, before, USUAL_OPSET)
    if before > OPSET:
        made, reason = _lowered(model, before)
        if made is not None and reason is None:
            _lower_format(made)
        return made, reason
    if model.ir_version > IR_VERSION:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return (copy, None) if _lower_format(copy) else (None, "its element types need that of the file format")
    return None, None


def _lower_format(model: onnx.ModelProto) -> bool:
    """Whether the file format could be an older one, in which case the model now is of it."""
    if max(_element_types(model), default=0) > _NEWEST_ELEMENT:
        return False
    model.ir_version = min(model.ir_version, IR_VERSION)
    return True


def _element_types(model: onnx.ModelProto) -> Iterator[int]:
    for graph in graphs(model.graph):
        yield from (tensor.data_type for tensor in graph.initializer)
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield value.type.tensor_type.elem_type
        for node in graph.node:
            for one in node.attribute:
                yield one.t.data_type
                if one.name in {"to", "dtype", "output_dtype"}:
                    yield one.i


def _lowered(model: onnx.ModelProto, before: int) -> tuple[onnx.ModelProto | None, str | None]:
    """With an older version of operators that did not change, or changed in the element types they take alone."""
    changed = sorted({node.op_type for node in nodes(model.graph) if not node.domain and not _same(node, before)})
    if not changed and not model.functions:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        for one in copy.opset_import:
            if one.domain in {"", "ai.onnx"}:
                one.version = OPSET
        return copy, None
    made, reason = _converted(model, before, OPSET)
    return made, f"{', '.join(changed)} changed since opset {OPSET}" if changed and reason else reason


def _same(node: onnx.NodeProto, version: int) -> bool:
    """Whether an operator is the same in the floor's opset, element types aside, as far as its schema says."""
    try:
        new, old = defs.get_schema(node.op_type, version, ""), defs.get_schema(node.op_type, OPSET, "")
    except defs.SchemaError:
        return False
    return new.since_version == old.since_version or _form(new) == _form(old)


def _form(schema: Any) -> tuple[Any, ...]:
    attributes = sorted(
        (name, str(one.type), one.default_value.SerializeToString()) for name, one in schema.attributes.items()
    )
    return attributes, [one.name for one in schema.inputs], [one.name for one in schema.outputs]


def _converted(model: onnx.ModelProto, before: int, after: int) -> tuple[onnx.ModelProto | None, str | None]:
    try:
        made = version_converter.convert_version(model, after)
    except (RuntimeError, ValueError, TypeError, MemoryError, onnx.checker.ValidationError) as error:
        said = words(error)
        return None, f"ONNX's converter from opset {before} to {after} fails: {said}"
    # The converter knows ONNX's own operators alone, and gives the newest file format that it can write.
    made.ir_version = min(max(model.ir_version, 8), IR_VERSION)
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    return made, None

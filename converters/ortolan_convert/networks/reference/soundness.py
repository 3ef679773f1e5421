"""Whether an ONNX model can be run at all: operators that exist, weights that are numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from ortolan.errors import ConversionError, ModelFileError, UnsupportedError
from ortolan_convert.messages import words
from ortolan_convert.passes.quantizing import channels_of, graphs, nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOMAINS = frozenset(
    (
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.preview",
        "ai.onnx.preview.training",
        "ai.onnx.training",
        "com.microsoft",
        "com.microsoft.nchwc",
        "com.ms.internal.nhwc",
    )
)
"""Domains of the operators that onnxruntime's own builds have."""
_SHOWN = 5
_FLOATS = frozenset((TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16))
_NORMALIZATIONS = frozenset(("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"))


def check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse operators that no onnxruntime has: those of somebody's own library.

    Raises:
        UnsupportedError: names each with its domain and a node.
    """
    own = {(function.domain, function.name) for function in model.functions}
    within = (node for function in model.functions for node in function.node)
    unknown: dict[str, str] = {}
    for node in (*nodes(model.graph), *within):
        if node.domain not in DOMAINS and (node.domain, node.op_type) not in own:
            unknown.setdefault(f"{node.domain}::{node.op_type}", node.name or (node.output[0] if node.output else "?"))
    if unknown:
        listed = ", ".join(f"{name} (node {where!r})" for name, where in list(unknown.items())[:_SHOWN])
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        raise UnsupportedError(
            f"{path}: no onnxruntime has the operators {listed}{more}: they come from a library of their own; "
            f"export the model with ONNX's operators, or write these as ONNX functions"
        )


def check_ends(model: onnx.ModelProto, path: Path) -> None:
    """Refuse inputs and outputs that are no tensors.

    Raises:
        UnsupportedError: names the first.
    """
    for what, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            kind = value.type.WhichOneof("value")
            if kind not in {None, "tensor_type"}:
                found = str(kind).removesuffix("_type").replace("_", " ")
                raise UnsupportedError(
                    f"{path}: expected tensors, found {what} {value.name!r}, a {found}; export the model without it "
                    f"(of scikit-learn: skl2onnx.to_onnx(model, options={{'zipmap': False}}))"
                )
    if not model.graph.output:
        raise UnsupportedError(f"{path}: the model has no outputs")


def check_weights(model: onnx.ModelProto, path: Path) -> None:
    """Refuse weights that are not finite numbers.

    Infinities are looked for where they make every answer infinite or no number; elsewhere they are masks and limits.

    Raises:
        ConversionError: names the tensor, how many numbers of it are at fault, and who reads it.
        ModelFileError: it has not as many numbers as its shape says.
    """
    for graph in graphs(model.graph):
        readers = _readers(graph)
        for tensor in _constants(graph):
            reader = readers.get(tensor.name)
            if reader is None or tensor.data_type not in _FLOATS:
                continue
            try:
                numbers = numpy_helper.to_array(tensor).astype(np.float32, copy=False)
            except (ValueError, TypeError) as error:
                raise ModelFileError(
                    f"{str(path)!r}: weight {tensor.name!r} of {reader} is damaged: {words(error)}"
                ) from None
            # A sum is finite unless a number is not, or, seldom, it overflows.
            with np.errstate(over="ignore", invalid="ignore"):
                total = numbers.sum(dtype=np.float64)
            bad = 0 if np.isfinite(total) else int(numbers.size - np.isfinite(numbers).sum())
            if bad:
                raise ConversionError(
                    f"{path}: weight {tensor.name!r} of {reader}: {bad} of {numbers.size} numbers are NaN or infinite; "
                    f"the training diverged, or the file is damaged"
                )


def objections(path: Path) -> str | None:
    """What ONNX's own checker says against a model in one line; None if nothing.

    Its shape inference is not asked: wrong declared shapes are found by running.
    """
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, TypeError, RuntimeError, MemoryError) as error:
        return words(error)
    return None


def _constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            for one in node.attribute:
                if one.name == "value":
                    named = TensorProto()
                    named.CopyFrom(one.t)
                    named.name = node.output[0]
                    yield named


def _readers(graph: onnx.GraphProto) -> dict[str, str]:
    """Weights by name, with the node that takes them as such."""
    found: dict[str, str] = {}
    for node in nodes(graph):
        for position, name in enumerate(node.input):
            products = node.op_type != "Gather" and channels_of(node, position) is not None
            if products or (node.op_type in _NORMALIZATIONS and position):
                found.setdefault(name, f"{node.op_type} {node.name!r}" if node.name else node.op_type)
    return found

"""Large ONNX models on disk: the graph in one file, its weights beside it, where onnxruntime maps them into memory."""

from __future__ import annotations

from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING

import onnx
from onnx import external_data_helper, numpy_helper

import ortolan
from ortolan.errors import ConversionError, StorageError
from ortolan_convert.graph import IR_VERSION, OPSET

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = "model.onnx"
WEIGHTS = "weights.bin"
BESIDE = 1 << 20
"""Weights of this many bytes together lie beside the graph; below, one file is as good."""
INSIDE = 1024
"""Tensors below this many bytes stay in the graph: shapes and axes must be known before weights are read."""
ALIGNMENT = 64
"""Of tensors in the file, in bytes; a cache line."""
PAGE = 4096
"""Alignment of tensors of a page or more, so that mapping one does not touch its neighbor's pages."""
_WIDTHS = {kind: onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize for kind in (*range(1, 8), *range(9, 17))}
"""TensorProto.DataType -> bytes of an element; 1 for those of less."""


def tidy(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model without what an exporter leaves behind: origins in source code, shapes that can be inferred.

    Raises:
        ConversionError: it needs a newer opset than the oldest supported onnxruntime has.
    """
    for opset in model.opset_import:
        if opset.domain in {"", "ai.onnx"} and opset.version > OPSET:
            raise ConversionError(f"expected a model of opset {OPSET} at most, found {opset.version}")
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name, model.producer_version = "ortolan", ortolan.__version__
    del model.metadata_props[:]
    model.doc_string = ""
    graph = model.graph
    graph.name = "model"
    graph.doc_string = ""
    del graph.value_info[:]
    del graph.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        node.name = ""
    used = {name for node in _nodes(graph) for name in node.input} | {value.name for value in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for tensor in kept:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model


def weight_bytes(model: onnx.ModelProto) -> int:
    """Of the initializers of the outermost graph; those of graphs within nodes cannot lie beside it."""
    return sum(prod(tensor.dims) * _WIDTHS.get(tensor.data_type, 1) for tensor in model.graph.initializer)


def write_files(model: onnx.ModelProto, directory: Path) -> dict[str, Path]:
    """Write a model with large weights beside its graph, and a small one as one file.

    Args:
        model: with its weights inside; left as it is.
        directory: an empty directory.

    Returns:
        The files by name.

    Raises:
        StorageError: it cannot be written.
    """
    if weight_bytes(model) >= BESIDE:
        write_model(model, directory)
    else:
        try:
            (directory / MODEL).write_bytes(model.SerializeToString(deterministic=True))
        except OSError as error:
            raise StorageError(f"{directory}: cannot be written: {error.strerror or error}") from None
    return {path.name: path for path in sorted(directory.iterdir())}


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loops too, which see the weights of the graph around them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def write_model(model: onnx.ModelProto, directory: Path) -> int:
    """Write ``model.onnx`` and ``weights.bin``; equal tensors are stored once, equal models give equal bytes.

    Args:
        model: with its weights inside; left as it is.
        directory: an empty directory.

    Returns:
        Bytes of all weights.

    Raises:
        StorageError: it cannot be written.
    """
    written: dict[bytes, int] = {}
    total = 0
    slim = onnx.ModelProto()
    slim.CopyFrom(onnx.ModelProto(ir_version=model.ir_version))
    for field, value in model.ListFields():
        if field.name != "graph":
            slim.MergeFrom(onnx.ModelProto(**{field.name: value}))
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            slim.graph.MergeFrom(onnx.GraphProto(**{field.name: value}))
    try:
        with (directory / WEIGHTS).open("wb") as file:
            for tensor in model.graph.initializer:
                raw = _raw(tensor)
                total += len(raw)
                entry = slim.graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
                entry.raw_data = raw
                if len(raw) < INSIDE:
                    continue
                digest = sha256(raw).digest()
                if digest not in written:
                    alignment = PAGE if len(raw) >= PAGE else ALIGNMENT
                    file.write(bytes(-file.tell() % alignment))
                    written[digest] = file.tell()
                    file.write(raw)
                external_data_helper.set_external_data(entry, WEIGHTS, offset=written[digest], length=len(raw))
                entry.ClearField("raw_data")
        (directory / MODEL).write_bytes(slim.SerializeToString(deterministic=True))
    except OSError as error:
        raise StorageError(f"{directory}: cannot be written: {error.strerror or error}") from None
    return total


def _raw(tensor: onnx.TensorProto) -> bytes:
    if tensor.HasField("raw_data"):
        return bytes(tensor.raw_data)
    return numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data

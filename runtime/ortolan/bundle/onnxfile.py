"""ONNX files: read without loading their weights, and checked before onnxruntime sees them.

onnxruntime before 1.24 follows external data out of the model's directory, and reports a file that is no model in
terms of its parser.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from ortolan.bundle.fields import shorten
from ortolan.bundle.files import open_regular, reason_of
from ortolan.bundle.names import path_problem
from ortolan.bundle.onnxgraph import ExternalData, OnnxModel, Tensor, parse_model
from ortolan.errors import ModelFileError, OrtolanError, StorageError

__all__ = ["ExternalData", "OnnxModel", "Tensor", "check_external_data", "parse_model", "read_model"]

MAX_FILE_BYTES = 2**31
"""Protobuf's own limit."""
_IN_MEMORY = "*/"
"""onnxruntime reads a location such as ``*/_ORT_MEM_ADDR_/*`` as an address in its own memory."""
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the real file with `git lfs pull`"),
    (0, b"PK\x03\x04", "a zip archive, such as PyTorch and Keras write; convert the model to ONNX first"),
    (0, b"\x80\x02", "a pickle"),
    (0, b"\x80\x03", "a pickle"),
    (0, b"\x80\x04", "a pickle"),
    (0, b"\x80\x05", "a pickle"),
    (0, b"\x89HDF", "an HDF5 file, such as Keras writes"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x7fELF", "a program"),
    (0, b"<", "HTML or XML, perhaps the error page of a download"),
    (0, b"{", "JSON"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in onnxruntime's own ORT format"),
    (8, b"{", "a safetensors file"),
)
"""Offset, bytes found there, and what such a file is."""


def read_model(path: str | os.PathLike[str]) -> OnnxModel:
    """Read an ONNX file.

    Raises:
        ModelFileError: it is no ONNX model, is damaged, or exceeds a bound; says where.
        StorageError: it cannot be read.
    """
    file = Path(path)
    descriptor = open_regular(file)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            raise ModelFileError(f"{str(file)!r}: expected an ONNX model, found an empty file")
        if size > MAX_FILE_BYTES:
            raise ModelFileError(
                f"{str(file)!r}: expected at most {MAX_FILE_BYTES} bytes, found {size}; weights of more belong into a "
                "file beside it, as external data"
            )
        with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
            return _parse(file, content)
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {str(file)!r}: {reason_of(error)}") from error
    finally:
        os.close(descriptor)


def check_external_data(path: Path, *, within: Path) -> OnnxModel:
    """Read a model and check that all external data lies in files below a directory, and is complete.

    Args:
        path: the ONNX file.
        within: the directory that no file and no link may lead out of.

    Raises:
        ModelFileError: the model is damaged, or a location is absolute, has ``..`` or a link in it, or is missing or
            too short for an offset and length.
        StorageError: the model cannot be read.
    """
    model = read_model(path)
    for tensor in model.tensors:
        if tensor.external is not None:
            problem = _external_problem(tensor, tensor.external, path.parent, within)
            if problem is not None:
                raise ModelFileError(f"{str(path)!r}: external data of tensor {shorten(tensor.name)}: {problem}")
    return model


def _parse(file: Path, content: mmap.mmap) -> OnnxModel:
    try:
        return parse_model(content)
    except ModelFileError as error:
        head = content[:64]
        for offset, signature, what in _SIGNATURES:
            if head.startswith(signature, offset):
                raise ModelFileError(f"{str(file)!r}: expected an ONNX model, found what looks like {what}") from error
        raise ModelFileError(f"{str(file)!r}: not a valid ONNX model: {error}") from error


def _external_problem(tensor: Tensor, external: ExternalData, directory: Path, within: Path) -> str | None:
    """Why a tensor's external data cannot be used; None if it can."""
    location = external.location
    problem = path_problem(location)
    if problem is not None or location.startswith(_IN_MEMORY):
        return f"expected a location below the model's directory, got {shorten(location)}: {problem or 'an address'}"
    file = directory / location
    if not file.is_relative_to(within):
        return f"expected a location below {str(within)!r}, got {shorten(location)}"
    step = file
    while step != within:
        if step.is_symlink():
            return f"{str(step)!r} is a symbolic link"
        step = step.parent
    if not file.is_file():
        return f"{str(file)!r} is missing"
    size = file.stat().st_size
    length = tensor.bytes if external.length is None else external.length
    if length != tensor.bytes:
        return f"expected {tensor.bytes} bytes for {tensor.dtype}{list(tensor.dims)}, got length {length}"
    if external.offset + length > size:
        return f"bytes {external.offset} to {external.offset + length} of {location!r}, which has only {size}"
    return None

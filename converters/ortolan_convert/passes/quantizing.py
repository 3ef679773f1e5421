"""What the passes over transformers share: which weights are large, and how numbers become integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

SMALLEST = 4096
"""Weights with fewer numbers than this stay as they are."""
LEVELS = 127
"""Largest integer used: symmetric, so that zero is exact."""


def is_large(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor is a matrix of float32 that is worth to be made smaller."""
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and int(np.prod(tensor.dims)) >= SMALLEST


def weight_of(node: onnx.NodeProto) -> str:
    """Name of the matrix that a node multiplies with or looks rows up in; empty for other nodes."""
    if node.op_type == "MatMul":
        return str(node.input[1])
    plain = node.op_type == "Gather" and not any(one.name == "axis" and one.i for one in node.attribute)
    return str(node.input[0]) if plain else ""


def per_column(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [1, columns]: the value of one step, such that the largest number of a column becomes `LEVELS`."""
    return _steps(weights, axis=0)


def per_row(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [rows, 1]: as `per_column`."""
    return _steps(weights, axis=1)


def rounded(numbers: NDArray[Any]) -> NDArray[np.int8]:
    """The nearest integers of -`LEVELS` to `LEVELS`."""
    integers: NDArray[np.int8] = np.clip(np.rint(numbers), -LEVELS, LEVELS).astype(np.int8)
    return integers


def _steps(weights: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    largest = np.abs(weights).max(axis=axis, keepdims=True)
    return np.where(largest > 0, largest / LEVELS, 1).astype(np.float32)

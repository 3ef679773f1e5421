"""A graph without what can be computed ahead: constants, shapes, branches that are never taken; by onnxslim.

It runs in a process of its own, with a time limit: it walks graphs of others, holds several copies of them, and its
errors are many. What it gives is compared with the model before, and taken if it answers the same.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError

from ortolan_convert.passes.quantizing import nodes

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 120
"""More is not spent on it."""
LARGEST = 1 << 30
"""Bytes of a model that it is tried on: it needs several times its size."""
_PROGRAM = """
import logging, sys
logging.disable(logging.CRITICAL)
import onnx, onnxslim
model = onnx.load(sys.argv[1])
onnx.save(onnxslim.slim(model), sys.argv[2])
"""


SHRINKING = frozenset(
    ("BatchNormalization", "Cast", "Constant", "ConstantOfShape", "Dropout", "Identity", "If", "Pad", "Shape", "Size")
)
"""Operators that often can go: folded into others, computed ahead, or without effect."""


def may_shrink(model: onnx.ModelProto) -> bool:
    """Whether there is anything that onnxslim might take away; starting it takes seconds."""
    constant = {tensor.name for tensor in model.graph.initializer}
    seen: set[bytes] = set()
    for node in nodes(model.graph):
        if node.op_type in SHRINKING or all(name in constant for name in node.input if name):
            return True
        same = onnx.NodeProto(op_type=node.op_type, domain=node.domain, input=node.input, attribute=node.attribute)
        twice = same.SerializeToString(deterministic=True)
        if twice in seen or (node.op_type in {"Reshape", "Transpose", "Unsqueeze", "Squeeze"} and len(seen) > 1):
            return True
        seen.add(twice)
    return False


def simplified(path: Path, model: onnx.ModelProto, size: int, room: Path) -> onnx.ModelProto | None:
    """The model with fewer nodes; None if onnxslim fails, takes too long or finds nothing.

    Args:
        path: its file.
        model: its content, with its weights.
        size: bytes of its files.
        room: an existing directory, for scratch files.
    """
    if model.functions or size > LARGEST or not may_shrink(model):
        return None
    target = room / "simplified.onnx"
    command = [sys.executable, "-c", _PROGRAM, str(path), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        if done.returncode or not target.is_file():
            return None
        made = onnx.load(target)
    except (subprocess.TimeoutExpired, OSError, ValueError, DecodeError):
        return None
    finally:
        target.unlink(missing_ok=True)
    made.ir_version = model.ir_version
    fewer = sum(1 for _ in nodes(made.graph)) < sum(1 for _ in nodes(model.graph))
    names = [value.name for value in (*made.graph.input, *made.graph.output)]
    constant = {tensor.name for tensor in model.graph.initializer}
    before = [value.name for value in (*model.graph.input, *model.graph.output) if value.name not in constant]
    return made if fewer and names == before else None

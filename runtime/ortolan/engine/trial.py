"""One run on zeros: whether a provider can do what it took, and, from a profile, where the nodes run."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.engine.feeds import STRINGS, native_dtype, tensor_spec
from ortolan.engine.providers import short_name
from ortolan.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.engine.placement import Nodes
    from ortolan.types import Array, TensorSpec


SIZES = (1, 64, 256)
"""Sizes of free dimensions but the first, which is 1, in the order they are tried: networks for images shrink what they
are given, and not every provider can run a layer that nothing is left for."""


def run_on_zeros(session: Any, size: int) -> None:
    """Run an ``onnxruntime.InferenceSession`` on zeros and empty strings.

    Args:
        session: the session.
        size: of free dimensions but the first, which is 1.

    Raises:
        SessionError: no such inputs can be made.
        Exception: whatever onnxruntime raises.
    """
    session.run(None, {spec.name: _zeros(spec, size) for spec in map(tensor_spec, session.get_inputs())})


def failure(session: Any, size: int) -> Exception | None:
    """What `run_on_zeros` raises; None if it works."""
    try:
        run_on_zeros(session, size)
    except Exception as error:  # noqa: BLE001 - that it fails is the answer
        return error
    return None


def executed_nodes(create: Callable[[str], Any]) -> Nodes:
    """Where the nodes of a graph run: for versions of onnxruntime (before 1.24) that tell in no other way.

    Args:
        create: opens a session that writes its profile to files with the prefix it is given.

    Raises:
        SessionError: the model does not run on zeros, so that nothing is known.
    """
    with tempfile.TemporaryDirectory(prefix="ortolan-profile-") as directory:
        session = create(str(Path(directory) / "run"))
        if all(failure(session, size) is not None for size in SIZES):
            raise SessionError("the model does not run on zeros")
        return _nodes(Path(session.end_profiling()).read_text(encoding="utf-8"))


def _nodes(profile: str) -> Nodes:
    nodes: Nodes = {}
    seen: set[str] = set()
    for event in json.loads(profile):
        where = event.get("args", {})
        # A node in a loop runs many times.
        if event.get("cat") == "Node" and where.get("provider") and event["name"] not in seen:
            seen.add(event["name"])
            nodes.setdefault(short_name(where["provider"]), Counter())[where["op_name"]] += 1
    return nodes


def _zeros(spec: TensorSpec, size: int) -> Array:
    dtype = native_dtype(spec)
    if spec.shape is None or (dtype is None and spec.dtype != STRINGS):
        raise SessionError(f"no zeros can be made for {spec}")
    shape = [dim if isinstance(dim, int) else (size if axis else 1) for axis, dim in enumerate(spec.shape)]
    zeros: Array = np.zeros(shape, dtype) if dtype is not None else np.full(shape, "", object)
    return zeros

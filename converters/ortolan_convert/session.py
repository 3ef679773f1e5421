"""Runs models that are not in a bundle yet, on Ortolan's own runtime."""

from __future__ import annotations

import os
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.engine.session import open_session
from ortolan.errors import OrtolanError, StorageError
from ortolan.tasks import TASKS
from ortolan.types import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.bundle.manifest import TaskSpec


def run_model(
    model: bytes, task: TaskSpec, assets: Mapping[str, bytes], inputs: Sequence[Any], *, one_by_one: bool = False
) -> dict[str, NDArray[Any]]:
    """A model's outputs for many inputs, through the runtime's own encoding and session.

    Args:
        model: a self-contained ONNX file's bytes.
        task: name and configuration.
        assets: by path below ``assets/``.
        inputs: what the task takes, at least one.
        one_by_one: run each on its own rather than all together.

    Returns:
        float64 [n, C] by name, in the order of the inputs; strings as objects.
    """
    found: dict[str, NDArray[Any]] = {}
    with _as_file(model) as path, closing(open_session(path, SessionConfig())) as session:
        module, name = TASKS[task.name].split(":")
        runner = getattr(import_module(module), name).open(task, {"model": session}, assets.__getitem__)
        parts = ((i, inputs[i : i + 1]) for i in range(len(inputs))) if one_by_one else [(0, inputs)]
        for start, encoded in ((start, encoded) for start, part in parts for encoded in runner.encode(part)):
            rows = [start + row for row in encoded.rows]
            for name, values in session.run(encoded.feeds).items():
                dtype = np.float64 if values.dtype.kind in "fiub" else object
                whole = found.setdefault(name, np.zeros((len(inputs), *values.shape[1:]), dtype))
                whole[rows] = values
    return found


@contextmanager
def _as_file(data: bytes) -> Iterator[Path]:
    """A path under which the bytes can be read. It lives in memory: nothing remains if the process is killed."""
    try:
        if hasattr(os, "memfd_create"):
            with os.fdopen(os.memfd_create("model.onnx"), "wb") as file:
                file.write(data)
                file.flush()
                yield Path(f"/proc/self/fd/{file.fileno()}")
        else:
            with TemporaryDirectory(prefix="ortolan-") as directory:
                path = Path(directory) / "model.onnx"
                path.write_bytes(data)
                yield path
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"no room for a model of {len(data)} bytes: {error.strerror or error}") from None

"""The YAML file that describes an ONNX file's task.

::

    task: tensor
    dims:            # usual sizes of free dimensions
      batch: 1
      sequence: 128
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ortolan.errors import StorageError, UnknownNameError, UnsupportedError, UsageError
from ortolan.tasks import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TENSOR = "tensor"
LARGEST_FILE = 1 << 20
"""Bytes of a task file."""


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """Name of the task, and usual sizes of free dimensions."""

    task: str = TENSOR
    dims: Mapping[str, int] = field(default_factory=dict)


def task_config(path: Path | None, task: str | None) -> TaskConfig:
    """What the file and the ``--task`` option say together.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is not what is expected, with the dotted path; or the option says otherwise.
        UnknownNameError: a task that does not exist.
        UnsupportedError: a task that an ONNX file cannot be given yet.
    """
    config = TaskConfig() if path is None else _parsed(_loaded(path), path)
    name = task if task is not None else config.task
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    if path is not None and task is not None and task != config.task:
        raise UsageError(f"{path}: task: {config.task!r}, but --task says {task!r}")
    if name != TENSOR:
        raise UnsupportedError(f"task {name!r}: an ONNX file becomes a bundle of task 'tensor'; leave --task out")
    return config


def _loaded(path: Path) -> object:
    import yaml

    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise UsageError(f"{path}: expected at most {LARGEST_FILE} bytes of YAML")
        loaded: object = yaml.safe_load(text)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"{path}: not well-formed YAML: {' '.join(str(error).split())}") from None
    return loaded


def _parsed(content: object, path: Path) -> TaskConfig:
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys and values, found {type(content).__name__}")
    for key in content:
        if key not in {"task", "dims"}:
            raise UsageError(f"{path}: {key}: unknown key; known: task, dims")
    task, dims = content.get("task", TENSOR), content.get("dims", {})
    if not isinstance(task, str):
        raise UsageError(f"{path}: task: expected a name, found {type(task).__name__}")
    if not isinstance(dims, dict):
        raise UsageError(f"{path}: dims: expected names and sizes, found {type(dims).__name__}")
    for name, size in dims.items():
        if not isinstance(name, str):
            raise UsageError(f"{path}: dims: expected names of dimensions, found {name!r}")
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size < 1 << 31:
            raise UsageError(f"{path}: dims.{name}: expected a whole number of at least 1, found {size!r}")
    return TaskConfig(task, dims)

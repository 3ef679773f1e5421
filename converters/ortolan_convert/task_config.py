"""The YAML file that describes an ONNX file's task.

::

    task: image-classification
    dims:            # usual sizes of free dimensions
      batch: 1
    max_dims:        # largest sizes that the device's memory has to be there for, where they are not the usual ones
      batch: 8
    config:          # what the task is told; the module of the task in ortolan.tasks says what it takes
      labels: labels.json
    source:          # how the artifact is read, where it does not say so itself; its reader says what it takes
      arguments: {num_classes: 10}
    assets:          # files to put into the bundle: name below assets/ -> file, relative to this one
      labels.json: imagenet/labels.json
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ortolan.errors import OrtolanError, StorageError, UnknownNameError, UsageError
from ortolan.tasks import TASKS
from ortolan_convert import examples
from ortolan_convert.messages import words

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

TENSOR = "tensor"
KEYS = ("task", "dims", "max_dims", "config", "assets", "source")
LARGEST_FILE = 1 << 20
"""Bytes of a task file."""


@dataclass(frozen=True, slots=True)
class TaskConfig:
    """What the file says.

    Args:
        task: name of the task.
        dims: usual sizes of free dimensions.
        max_dims: largest sizes of free dimensions that memory has to be there for.
        config: the task's own configuration, raw; the task checks it.
        assets: content of the files that go into the bundle, by path below ``assets/``.
        source: how the artifact is read, raw; its reader checks it.
    """

    task: str = TENSOR
    dims: Mapping[str, int] = field(default_factory=dict)
    max_dims: Mapping[str, int] = field(default_factory=dict)
    config: Mapping[str, object] = field(default_factory=dict)
    assets: Mapping[str, bytes] = field(default_factory=dict)
    source: Mapping[str, object] = field(default_factory=dict)


def task_config(path: Path | None, task: str | None) -> TaskConfig:
    """What the file and the ``--task`` option say together.

    Raises:
        StorageError: the file cannot be read.
        UsageError: it is not what is expected, with the dotted path; or the option says otherwise.
        UnknownNameError: a task that does not exist.
    """
    config = TaskConfig() if path is None else _parsed(_loaded(path), path)
    name = task if task is not None else config.task
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    if path is not None and task is not None and task != config.task:
        raise UsageError(f"{path}: task: {config.task!r}, but --task says {task!r}")
    if name != TENSOR and path is None:
        start = ", ".join(one for one in examples.names() if one.startswith(name))
        hint = f"; to start from, `ortolan convert --example NAME` prints {start}" if start else ""
        raise UsageError(f"task {name!r} needs a description: give --config TASK.yaml{hint}")
    return config


def check_source_keys(source: Mapping[str, object], known: Collection[str], path: Path | None) -> None:
    """Refuse keys under ``source`` that the reader of an artifact does not know.

    Raises:
        UsageError: names the first.
    """
    for key in source:
        if key not in known:
            raise UsageError(f"{path}: source.{key}: unknown key; known: {', '.join(known) or 'none'}")


def _loaded(path: Path) -> object:
    import yaml

    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise UsageError(f"{path}: expected at most {LARGEST_FILE} bytes of YAML")
        loaded: object = yaml.safe_load(text)
    except OSError as error:
        hint = f"; `ortolan convert --example {path.stem}` prints it" if path.stem in examples.names() else ""
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}{hint}") from None
    except OrtolanError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: not well-formed YAML: {words(error)}") from None
    return loaded


def _parsed(content: object, path: Path) -> TaskConfig:
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected keys and values, found {type(content).__name__}")
    for key in content:
        if key not in KEYS:
            raise UsageError(f"{path}: {key}: unknown key; known: {', '.join(KEYS)}")
    task, config = content.get("task", TENSOR), content.get("config", {})
    if not isinstance(task, str):
        raise UsageError(f"{path}: task: expected a name, found {type(task).__name__}")
    if not isinstance(config, dict):
        raise UsageError(f"{path}: config: expected keys and values, found {type(config).__name__}")
    source = content.get("source", {})
    if not isinstance(source, dict):
        raise UsageError(f"{path}: source: expected keys and values, found {type(source).__name__}")
    dims, max_dims = (_sizes(key, content.get(key, {}), path) for key in ("dims", "max_dims"))
    return TaskConfig(task, dims, max_dims, config, _assets(content.get("assets", {}), path), source)


def _sizes(key: str, value: object, path: Path) -> dict[str, int]:
    if not isinstance(value, dict):
        raise UsageError(f"{path}: {key}: expected names and sizes, found {type(value).__name__}")
    for name, size in value.items():
        if not isinstance(name, str):
            raise UsageError(f"{path}: {key}: expected names of dimensions, found {name!r}")
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size < 1 << 31:
            raise UsageError(f"{path}: {key}.{name}: expected a whole number of at least 1, found {size!r}")
    return value


def _assets(value: object, path: Path) -> dict[str, bytes]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise UsageError(f"{path}: assets: expected names and files")
    return {name: _content(path, name, file) for name, file in value.items()}


def _content(path: Path, name: str, file: str) -> bytes:
    try:
        return (path.parent / file).read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: assets.{name}: {file}: cannot be read: {error.strerror or error}") from None

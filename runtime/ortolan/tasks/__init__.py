"""One file per kind of answer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ortolan.errors import UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.bundle.description import TaskSpec
    from ortolan.bundle.directory import Bundle
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Runner
    from ortolan.types import Session

TASKS = {
    "audio-stream": "ortolan.tasks.audio_stream:AudioStreamRunner",
    "clustering": "ortolan.tasks.clustering:ClusteringRunner",
    "tabular-classification": "ortolan.tasks.tabular:TabularClassificationRunner",
    "tabular-regression": "ortolan.tasks.tabular:TabularRegressionRunner",
    "embedding": "ortolan.tasks.embedding:EmbeddingRunner",
    "image-classification": "ortolan.tasks.image_classification:ImageClassificationRunner",
    "image-to-text": "ortolan.tasks.image_to_text:ImageToTextRunner",
    "object-detection": "ortolan.tasks.object_detection:ObjectDetectionRunner",
    "tensor": "ortolan.tasks.tensor:TensorRunner",
    "text-classification": "ortolan.tasks.text_classification:TextClassificationRunner",
    "token-classification": "ortolan.tasks.token_classification:TokenClassificationRunner",
}
"""Where the runner of each task is; imported when a bundle of that task is opened."""

EXPERIMENTAL = (
    ("object-detection", "head", "boxes"),
    ("text-classification", "input", "tokens"),
    ("token-classification", "input", "tokens"),
)
"""What was tried with small generated models only, for want of a real one: task, part of its configuration, kind."""


def is_experimental(task: TaskSpec) -> bool:
    """Whether a task is one that was tried with small generated models only."""
    for name, part, kind in EXPERIMENTAL:
        config = task.config.get(part)
        if task.name == name and isinstance(config, dict) and config.get("kind") == kind:
            return True
    return False


def open_task(bundle: Bundle, sessions: Mapping[str, Session]) -> Runner:
    """The runner of a bundle's task.

    Args:
        bundle: gives the task's configuration and assets.
        sessions: a loaded model per component of the bundle; asking for it may wait until it is loaded.

    Raises:
        UnknownNameError: a task that this version does not know.
        ManifestError: a wrong configuration of the task.
        BundleError: damaged assets, or a model whose inputs or outputs do not fit the task.
        MissingPackageError: a package that the task's input needs is not installed.
    """
    return open_runner(bundle.manifest.task, sessions, bundle.read_asset)


def open_runner(task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> Runner:
    """The runner of a task that is not in a bundle yet; arguments and errors as for `open_task`."""
    if task.name not in TASKS:
        raise UnknownNameError("task", task.name, TASKS)
    module, name = TASKS[task.name].split(":")
    runner: Runner = getattr(import_module(module), name).open(task, sessions, read_asset)
    return runner

"""A network read from a training artifact: its ONNX graph, and the framework it came from, to be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ortolan.types import Array
    from ortolan_convert.task_config import TaskConfig

    Tensors = Mapping[str, Array]
    """Arrays by input or output name."""

TOLERANCE = 1e-4
"""Largest difference of a number between the source and the reference, relative to the larger of 1 and the output's
largest: float32 sums in another order differ by 1e-6 to 1e-5 in deep networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSource:
    """What a reader (:mod:`ortolan_convert.sources.kinds`) makes of an artifact.

    Args:
        framework: it was trained with, as provenance names it, e.g. ``"torch"``.
        version: of the framework that wrote the artifact, as far as that says; else of the one that read it.
        files: what it was read from, for provenance.
        below: the directory that the files' names are relative to; None for their bare names.
        packages: distributions that took part, whose versions are noted.
        model: the reference, an ONNX file in float32 with free dimensions; it may have external data beside it.
        ask: the framework's own answers by output name to one sample's inputs by name, as the ONNX file calls them;
            None where the file itself is the source.
        close: lets go of the framework's copy of the model once all samples have been asked.
        notes: what a user should know, one sentence each.
        tolerance: see :data:`TOLERANCE`.
        settings: the task, where the artifact says it itself; None where only a description does.
        steps: what a number of an output may differ by all the same, by output: a quantized one moves by whole steps.
    """

    framework: str
    version: str
    files: tuple[Path, ...]
    model: Path
    below: Path | None = None
    packages: tuple[str, ...] = ()
    ask: Callable[[Tensors], Tensors] | None = None
    close: Callable[[], None] = lambda: None
    notes: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    settings: TaskConfig | None = None
    steps: Mapping[str, float] = field(default_factory=dict)

"""Profile a candidate in a worker: onnxruntime's own trace, kept for a viewer and summed up by operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan_bench.operators import operator_times

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.types import Array, Candidate
    from ortolan_bench.protocol import OperatorTime

PROFILE_S = 2.0
"""Seconds of runs that are profiled."""

PROFILE_RUNS = 200
"""Most runs that are profiled: a trace has an event per node and run, and viewers have their limits."""


def profile_model(
    path: str, candidate: Candidate, feeds: Sequence[Mapping[str, Array]], trace: str
) -> tuple[OperatorTime, ...]:
    """Time per operator of a bundle or a bare model; the trace is written to the file ``trace``.

    Raises:
        SessionError: the model cannot be run.
        StorageError: the trace cannot be written.
    """
    from ortolan.engine.profiling import profile
    from ortolan.errors import StorageError

    content = profile(_model_path(path, candidate), candidate.config, feeds, seconds=PROFILE_S, most=PROFILE_RUNS)
    try:
        Path(trace).write_bytes(content)
    except OSError as error:
        raise StorageError(f"cannot write {trace}: {error.strerror or error}") from error
    return operator_times(json.loads(content))


def _model_path(path: str, candidate: Candidate) -> Path:
    if Path(path).is_file():
        return Path(path)
    from ortolan.bundle.directory import open_bundle

    bundle = open_bundle(path)
    component, variant = candidate.variants[0]
    return bundle.model_path(bundle.manifest.variant(variant, component))

"""Run a model with onnxruntime's own profiler: what each node takes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.engine.failures import translated
from ortolan.engine.opening import open_profiled
from ortolan.engine.providers import parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.types import Array, SessionConfig


def profile(
    model_path: str | Path, config: SessionConfig, feeds: Sequence[Mapping[str, Array]], *, seconds: float, most: int
) -> bytes:
    """The profile of a session of its own, which runs ``feeds`` in turn, two times at least.

    Args:
        model_path: the ``.onnx`` file.
        config: as the session has it that is used otherwise.
        feeds: at least one; arrays for every input of the model.
        seconds: after which no further run starts.
        most: runs at most.

    Returns:
        JSON: a list of events in Chrome's trace format, which ui.perfetto.dev opens.

    Raises:
        ProviderUnavailableError, ModelFileError, SessionError: as for `ortolan.engine.open_session`.
    """
    from time import monotonic

    provider, _ = parse(config.provider)
    with tempfile.TemporaryDirectory(prefix="ortolan-profile-") as directory:
        try:
            session = open_profiled(str(model_path), config, provider, str(Path(directory, "run")))
            end = monotonic() + seconds
            for i in range(most):
                session.run(None, dict(feeds[i % len(feeds)]))
                if i and monotonic() >= end:
                    break
            return Path(session.end_profiling()).read_bytes()
        except Exception as error:
            raise translated(error, "run", str(model_path)) from error

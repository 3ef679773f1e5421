"""The record that lets somebody else repeat a benchmark."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ortolan.hardware.facts import Hardware, HardwareState


def record(
    *,
    hardware: Hardware,
    state: HardwareState,
    runtime_id: str,
    numpy_version: str,
    command: Sequence[str],
    started: datetime,
) -> dict[str, object]:
    """Facts of machine and software as JSON values.

    Args:
        hardware: stable facts.
        state: before the first worker started: memory, temperature, load.
        runtime_id: as a worker gave it.
        numpy_version: as a worker gave it.
        command: the argument vector.
        started: with time zone.
    """
    import ortolan

    return {
        "started": started.isoformat(timespec="seconds"),
        "command": list(command),
        "ortolan": ortolan.__version__,
        "runtime": runtime_id,
        "numpy": numpy_version,
        "python": ".".join(map(str, sys.version_info[:3])),
        "kernel": os.uname().release,
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "hardware": hardware.to_json(),
        "state": state.to_json(),
    }

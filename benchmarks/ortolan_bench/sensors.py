"""What the machine was doing while something was timed, read from /proc through a root directory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import process_time


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters at one moment; None where the system hides them.

    Args:
        total_s: CPU seconds of all cores since boot, whatever they did.
        busy_s: of these, spent running something.
        stolen_s: of these, taken by the hypervisor for other guests.
        swapped_pages: pages swapped in or out since boot.
        own_s: CPU seconds of this process.
    """

    total_s: float | None
    busy_s: float | None
    stolen_s: float | None
    swapped_pages: int | None
    own_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What happened while blocks were timed, summed over them. None where the system hides it.

    Args:
        total_s: CPU seconds of all cores.
        others_s: of these, spent by processes other than the instrument and its workers.
        stolen_s: of these, taken by the hypervisor.
        swapped_pages: pages swapped in or out.
    """

    total_s: float | None = 0.0
    others_s: float | None = 0.0
    stolen_s: float | None = 0.0
    swapped_pages: int | None = 0

    def __add__(self, other: Usage) -> Usage:
        """Sum, None where either is."""
        return Usage(
            total_s=_sum(self.total_s, other.total_s),
            others_s=_sum(self.others_s, other.others_s),
            stolen_s=_sum(self.stolen_s, other.stolen_s),
            swapped_pages=None
            if self.swapped_pages is None or other.swapped_pages is None
            else self.swapped_pages + other.swapped_pages,
        )


def read(root: Path = Path("/")) -> Reading:
    """Read ``/proc/stat`` and ``/proc/vmstat`` below ``root``."""
    ticks = _cpu_ticks(root / "proc/stat")
    tick = os.sysconf("SC_CLK_TCK")
    # user nice system idle iowait irq softirq steal; guest time is already part of user (proc(5))
    known = ticks is not None and len(ticks) >= 8
    user, nice, system, idle, iowait, irq, softirq, stolen = ticks[:8] if ticks is not None and known else (0,) * 8
    busy = user + nice + system + irq + softirq
    return Reading(
        total_s=(busy + idle + iowait + stolen) / tick if known else None,
        busy_s=busy / tick if known else None,
        stolen_s=stolen / tick if known else None,
        swapped_pages=_swapped(root / "proc/vmstat"),
        own_s=process_time(),
    )


def usage(before: Reading, after: Reading, worker_s: float) -> Usage:
    """What happened between two readings, of which ``worker_s`` CPU seconds were the worker's."""
    busy = _change(before.busy_s, after.busy_s)
    mine = worker_s + after.own_s - before.own_s
    swapped = None
    if before.swapped_pages is not None and after.swapped_pages is not None:
        swapped = max(0, after.swapped_pages - before.swapped_pages)
    return Usage(
        total_s=_change(before.total_s, after.total_s),
        # Not clamped: the kernel counts in ticks, and the errors of many short blocks must be able to cancel out.
        others_s=None if busy is None else busy - mine,
        stolen_s=_change(before.stolen_s, after.stolen_s),
        swapped_pages=swapped,
    )


def _cpu_ticks(path: Path) -> tuple[int, ...] | None:
    """Numbers of the line ``cpu  …``."""
    try:
        first = path.read_text(encoding="ascii", errors="replace").split("\n", 1)[0].split()
        return tuple(int(word) for word in first[1:]) if first[:1] == ["cpu"] else None
    except (OSError, ValueError):
        return None


def _swapped(path: Path) -> int | None:
    try:
        rows = dict(line.split() for line in path.read_text(encoding="ascii").splitlines())
        return int(rows["pswpin"]) + int(rows["pswpout"])
    except (OSError, ValueError, KeyError):
        return None


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(0.0, after - before)


def _sum(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b

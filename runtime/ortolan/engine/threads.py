"""How many threads a session gets by default: what the process may use, and no more."""

from __future__ import annotations

import math
import os
from pathlib import Path


def default_threads(root: Path = Path("/"), allowed: frozenset[int] | None = None) -> int:
    """Intra-op threads for this process, at least 1.

    The processors of its affinity; of these the fast ones only, where the kernel knows cores of different capacity
    (a slow core holds up every operator that is split evenly); never more than its cgroups' CPU quota.

    Args:
        root: where ``/proc`` and ``/sys`` are found.
        allowed: numbers of the processors the process may run on; None asks the operating system.
    """
    if allowed is None:
        allowed = frozenset(os.sched_getaffinity(0))
    fast = _fast_cores(root, allowed)
    quota = cpu_quota(root)
    # Half a processor still needs one thread; 1.5 are better used by two threads than by one.
    limit = len(fast) if quota is None else min(len(fast), math.ceil(quota))
    return max(1, limit)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that the cgroups of this process allow, the tightest of all levels; None if unlimited.

    Reads ``cpu.max`` of cgroup v2 and ``cpu.cfs_quota_us`` / ``cpu.cfs_period_us`` of v1 in the process's own group and
    every one above it.
    """
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if hierarchy == "0" and not controllers:
            bases, read = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"], _quota_v2
        elif "cpu" in controllers.split(","):
            bases, read = [root / "sys/fs/cgroup" / name for name in ("cpu", "cpu,cpuacct")], _quota_v1
        else:
            continue
        parts = [part for part in group.split("/") if part not in ("", "..")]
        levels = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
        quotas += [quota for base in bases for level in levels if (quota := read(base / level)) is not None]
    return min(quotas, default=None)


def _quota_v2(directory: Path) -> float | None:
    fields = _read(directory / "cpu.max").split()
    return _ratio(*fields) if len(fields) == 2 else None


def _quota_v1(directory: Path) -> float | None:
    return _ratio(_read(directory / "cpu.cfs_quota_us"), _read(directory / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """Quotient of two positive whole numbers; None for ``max``, -1, or anything else."""
    try:
        numerator, denominator = int(quota), int(period)
    except ValueError:
        return None
    return numerator / denominator if numerator > 0 and denominator > 0 else None


def _fast_cores(root: Path, allowed: frozenset[int]) -> frozenset[int]:
    """The allowed processors of the largest capacity, where the kernel publishes capacities (arm64), else all."""
    capacity = {}
    for cpu in allowed:
        text = _read(root / f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity").strip()
        if not text.isdecimal():
            return allowed
        capacity[cpu] = int(text)
    largest = max(capacity.values(), default=0)
    return frozenset(cpu for cpu, value in capacity.items() if value == largest)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

"""How many threads a session gets by default: what the process may use, and no more."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.hardware.sysfiles import read, read_int

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CPUS = "/sys/devices/system/cpu"
PERFORMANCE_SHARE = 0.7
"""A core with less of the fastest core's speed than this is left alone.

Operators are split evenly, so a slow core holds the others up. Two clusters of one design differ by some percent (the
bins of an RK3588), the prime core of a phone chip from its neighbours by up to a quarter; "little" designs and Intel's
efficiency cores have a half or less.
"""


def default_threads(root: Path = Path("/"), allowed: frozenset[int] | None = None) -> int:
    """Intra-op threads for this process, at least 1.

    The processors of its affinity and of its cgroups' cpusets; of these the fast ones only, where the machine has cores
    of different kinds; one for each core, as onnxruntime counts too, since the threads of one core share its arithmetic
    units; never more than its cgroups' quota of processor time.

    Args:
        root: where ``/proc`` and ``/sys`` are found.
        allowed: numbers of the processors the process may run on; None asks the operating system.
    """
    base = str(root).rstrip("/")
    if allowed is None:
        allowed = frozenset(os.sched_getaffinity(0))
    cores = _cores(base, _fast_cores(base, _in_cpusets(base, allowed)))
    quota = cpu_quota(root)
    # Half a processor still needs one thread; 1.5 are better used by two threads than by one.
    limit = cores if quota is None else min(cores, math.ceil(quota))
    return max(1, limit)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Processors' worth of time that the cgroups of this process allow, the tightest of all levels; None if unlimited.

    Reads ``cpu.max`` of cgroup v2 and ``cpu.cfs_quota_us`` / ``cpu.cfs_period_us`` of v1 in the process's own group and
    every one above it.
    """
    base = str(root).rstrip("/")
    quotas = []
    for version, group in cgroups(base, "cpu"):
        fields = (
            read(base, f"{group}/cpu.max").split()
            if version == 2
            else [read(base, f"{group}/cpu.cfs_quota_us"), read(base, f"{group}/cpu.cfs_period_us")]
        )
        quota = _ratio(*fields) if len(fields) == 2 else None
        if quota is not None:
            quotas.append(quota)
    return min(quotas, default=None)


def _in_cpusets(base: str, allowed: frozenset[int]) -> frozenset[int]:
    """The allowed processors that the cpusets of the process's own groups have.

    Linux keeps the affinity inside of them; sandboxes that emulate it (gVisor) do not always.
    """
    for version, group in cgroups(base, "cpuset"):
        name = "cpuset.cpus.effective" if version == 2 else "cpuset.effective_cpus"
        allowed = (allowed & _numbers(read(base, f"{group}/{name}"))) or allowed
    return allowed


def cgroups(base: str, controller: str) -> Iterator[tuple[int, str]]:
    """Version and directory of the process's cgroups that may have files of a controller, from the root down.

    A container that sees the host's path finds its own group at the mount's root; missing directories read as empty.
    """
    for line in read(base, "/proc/self/cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        parts = [part for part in group.split("/") if part not in ("", ".", "..")]
        if hierarchy == "0" and not controllers:
            version, mounts = 2, ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            # cpu and cpuacct are often one hierarchy, under a name of both or a link.
            version, mounts = 1, [f"/sys/fs/cgroup/{name}" for name in dict.fromkeys((controller, controllers))]
        else:
            continue
        for mount in mounts:
            for depth in range(len(parts) + 1):
                yield version, "/".join([mount, *parts[:depth]])


def _ratio(quota: str, period: str) -> float | None:
    """Quotient of two positive whole numbers; None for ``max``, -1, or anything else."""
    try:
        numerator, denominator = int(quota), int(period)
    except ValueError:
        return None
    return numerator / denominator if numerator > 0 and denominator > 0 else None


def _fast_cores(base: str, allowed: frozenset[int]) -> frozenset[int]:
    """The allowed processors on the fast kind of cores, as far as the kernel tells kinds apart; else all."""
    # Intel hybrids: the performance cores are a device of their own (kernel, admin-guide/pm/intel_pstate and perf).
    performance = _numbers(read(base, "/sys/devices/cpu_core/cpus"))
    if performance and _numbers(read(base, "/sys/devices/cpu_atom/cpus")):
        return (allowed & performance) or allowed
    # arm64: relative speed of the cores, from the device tree (kernel, arch/arm64/cpu-capacity).
    return _fastest(
        {cpu: read_int(base, f"{_CPUS}/cpu{cpu}/cpu_capacity") for cpu in allowed},
        {cpu: read_int(base, f"{_CPUS}/cpu{cpu}/cpufreq/cpuinfo_max_freq") for cpu in allowed},
    )


def _fastest(capacities: Mapping[int, int | None], clocks: Mapping[int, int | None]) -> frozenset[int]:
    """The processors near the speed of the fastest, by capacity; by clock where capacities are unknown or all equal.

    A kernel without capacities in its device tree says 1024 of every core.
    """
    for speeds in (capacities, clocks):
        known = [speed for speed in speeds.values() if speed is not None and speed > 0]
        if len(known) == len(speeds) and len(set(known)) > 1:
            least = PERFORMANCE_SHARE * max(known)
            return frozenset(cpu for cpu, speed in speeds.items() if speed is not None and speed >= least)
    return frozenset(capacities)


def _cores(base: str, processors: frozenset[int]) -> int:
    """Number of cores that the processors belong to; a processor that does not say counts as one."""
    siblings = {cpu: _numbers(read(base, f"{_CPUS}/cpu{cpu}/topology/thread_siblings_list")) for cpu in processors}
    return len({min(siblings[cpu] & processors or {cpu}) for cpu in processors})


def _numbers(text: str) -> frozenset[int]:
    """The numbers of the kernel's list format: ``0-3,8`` is 0, 1, 2, 3 and 8; empty for anything else."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return frozenset()
        found.update(range(int(first), min(int(last or first), 65536) + 1))
    return frozenset(found)

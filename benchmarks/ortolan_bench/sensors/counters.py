"""Counters of the whole machine and of one process, as /proc has them (Linux, proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ortolan.hardware.sysfiles import entries, read


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """CPU seconds of all cores since boot: in all, running something, taken by the hypervisor."""

    total_s: float
    busy_s: float
    stolen_s: float


def cpu_times(base: str) -> CpuTimes | None:
    """The first line of ``/proc/stat``; None if it is missing, short or damaged."""
    words = read(base, "/proc/stat").partition("\n")[0].split()
    if words[:1] != ["cpu"] or len(words) < 9 or not all(_is_count(word) for word in words[1:9]):
        return None
    # user nice system idle iowait irq softirq steal; guest time is already part of user
    user, nice, system, idle, iowait, irq, softirq, stolen = (int(word) for word in words[1:9])
    busy = user + nice + system + irq + softirq
    tick = os.sysconf("SC_CLK_TCK")
    return CpuTimes((busy + idle + iowait + stolen) / tick, busy / tick, stolen / tick)


def swapped_pages(base: str) -> int | None:
    """Pages swapped in or out since boot, from ``/proc/vmstat``."""
    rows = dict(line.split() for line in read(base, "/proc/vmstat").splitlines() if len(line.split()) == 2)
    numbers = [rows.get(key, "") for key in ("pswpin", "pswpout")]
    return sum(int(number) for number in numbers) if all(_is_count(number, 15) for number in numbers) else None


def page_faults(base: str, process: int) -> tuple[int, int] | None:
    """Minor and major page faults of a process, fields 10 and 12 of ``/proc/PID/stat``."""
    # The command's name stands in parentheses and may itself hold spaces and parentheses.
    fields = read(base, f"/proc/{process}/stat").rpartition(")")[2].split()
    if len(fields) < 10 or not (_is_count(fields[7], 15) and _is_count(fields[9], 15)):
        return None
    return int(fields[7]), int(fields[9])


def waited_s(base: str, process: int) -> float | None:
    """Seconds the threads of a process were ready to run but had no core, summed over the threads alive.

    The second number of ``/proc/PID/task/TID/schedstat``, nanoseconds (Documentation/scheduler/sched-stats.rst). None
    where the kernel was built without it.
    """
    home = f"/proc/{process}/task"
    rows = [read(base, f"{home}/{thread}/schedstat").split() for thread in entries(base, home)]
    waits = [int(row[1]) for row in rows if len(row) == 3 and _is_count(row[1])]
    return sum(waits) * 1e-9 if waits else None


def stopped_s(base: str) -> float | None:
    """CPU seconds for which the cgroups of this process were stopped, having used up their quota; None without any.

    ``throttled_usec`` of ``cpu.stat`` in version 2, ``throttled_time`` in nanoseconds in version 1, summed over
    processors and levels (Documentation/admin-guide/cgroup-v2.rst, Documentation/scheduler/sched-bwc.rst).
    """
    from ortolan.hardware.cgroups import groups

    found = []
    for _, group in groups(base, "cpu"):
        rows = dict(line.split() for line in read(base, f"{group}/cpu.stat").splitlines() if len(line.split()) == 2)
        for key, unit in (("throttled_usec", 1e-6), ("throttled_time", 1e-9)):
            if _is_count(rows.get(key, "")):
                found.append(int(rows[key]) * unit)
    return sum(found) if found else None


def _is_count(word: str, digits: int = 20) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= digits

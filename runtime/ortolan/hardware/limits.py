"""Memory limits of the control groups a process is in, versions 1 and 2.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst ("Memory Interface Files") and cgroup-v1/memory.rst. A limit
binds all groups below the one it is set on, so the way up to the root is walked.
"""

from __future__ import annotations

from ortolan.hardware.cgroups import groups
from ortolan.hardware.sysfiles import read, read_int
from ortolan.records import dataclass

_UNLIMITED = 2**60
"""Version 1 says "no limit" with a number just below 2**63."""


@dataclass(frozen=True, slots=True)
class _Files:
    limit: str
    usage: str
    inactive: str  # row of memory.stat: file cache that is given back on demand


_FILES = {
    1: _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: _Files("memory.max", "memory.current", "inactive_file"),
}
"""By version."""


def memory_limits(base: str) -> tuple[int | None, int | None]:
    """Lowest memory limit in force and the least room left under any limit, both in bytes; None where there is none.

    Where the memory controller is off, as on a stock Raspberry Pi OS, there is no limit.
    """
    limits: list[int] = []
    rooms: list[int] = []
    for version, directory in groups(base, "memory"):
        files = _FILES[version]
        limit = read_int(base, f"{directory}/{files.limit}")  # "max" is no integer
        if limit is None or not 0 <= limit < _UNLIMITED:
            continue
        limits.append(limit)
        usage = read_int(base, f"{directory}/{files.usage}")
        if usage is not None:
            used = max(0, usage - _inactive(base, f"{directory}/memory.stat", files.inactive))
            rooms.append(max(0, limit - used))
        else:
            rooms.append(limit)
    return min(limits, default=None), min(rooms, default=None)


def _inactive(base: str, path: str, row: str) -> int:
    for line in read(base, path).splitlines():
        name, _, value = line.partition(" ")
        if name == row and value.isdecimal():
            return int(value)
    return 0

"""Memory limits of the control groups a process is in, versions 1 and 2.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst ("Memory Interface Files") and cgroup-v1/memory.rst. A limit
binds all groups below the one it is set on, so the way up to the root is walked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.hardware.sysfiles import read, read_int
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNLIMITED = 2**60
"""Version 1 says "no limit" with a number just below 2**63."""


@dataclass(frozen=True, slots=True)
class _Files:
    limit: str
    usage: str
    inactive: str  # row of memory.stat: file cache that is given back on demand


_VERSION_1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_VERSION_2 = _Files("memory.max", "memory.current", "inactive_file")


def memory_limits(base: str) -> tuple[int | None, int | None]:
    """Lowest memory limit in force and the least room left under any limit, both in bytes; None where there is none.

    Where the memory controller is off, as on a stock Raspberry Pi OS, there is no limit.
    """
    limits: list[int] = []
    rooms: list[int] = []
    for files, directory in _groups(base):
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


def _groups(base: str) -> Iterator[tuple[_Files, str]]:
    """Directories of the process's own memory groups and of those above, innermost first."""
    for line in read(base, "/proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            yield from ((_VERSION_1, directory) for directory in _upwards("/sys/fs/cgroup/memory", path))
        elif number == "0" and not controllers:
            for mount in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
                yield from ((_VERSION_2, directory) for directory in _upwards(mount, path))


def _upwards(mount: str, path: str) -> Iterator[str]:
    # A container that sees the host's path finds its own group at the mount's root; missing directories are skipped.
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for depth in range(len(parts), -1, -1):
        yield "/".join([mount, *parts[:depth]])


def _inactive(base: str, path: str, row: str) -> int:
    for line in read(base, path).splitlines():
        name, _, value = line.partition(" ")
        if name == row and value.isdecimal():
            return int(value)
    return 0

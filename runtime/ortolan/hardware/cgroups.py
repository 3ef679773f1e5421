"""The control groups that a process is in, versions 1 and 2: what is set on one binds all groups below it.

Sources: Linux Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/. They are looked for where systemd, Docker and
every distribution mount them, below /sys/fs/cgroup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.hardware.sysfiles import read

if TYPE_CHECKING:
    from collections.abc import Iterator


def groups(base: str, controller: str) -> Iterator[tuple[int, str]]:
    """Version and directory of the process's groups that may have files of a controller, from the root down.

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

"""The default number of threads, on file systems of other machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ortolan.engine.threads import cpu_quota, default_threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FOUR = frozenset(range(4))


@pytest.fixture
def machine(tmp_path: Path) -> Callable[..., Path]:
    """Writes files below a root directory."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


def test_without_limits_the_affinity_counts(tmp_path: Path) -> None:
    """No cgroup and no capacities: all allowed processors."""
    assert default_threads(tmp_path, FOUR) == 4
    assert default_threads(tmp_path, frozenset({7})) == 1


@pytest.mark.parametrize(("quota", "threads"), [("50000", 1), ("100000", 1), ("150000", 2), ("200000", 2), ("max", 4)])
def test_a_v2_quota_limits(machine: Callable[..., Path], quota: str, threads: int) -> None:
    """A fraction of a processor counts as one more."""
    root = machine({"proc/self/cgroup": "0::/box/app\n", "sys/fs/cgroup/box/app/cpu.max": f"{quota} 100000\n"})
    assert default_threads(root, FOUR) == threads


def test_the_tightest_level_counts(machine: Callable[..., Path]) -> None:
    """A parent group's quota holds for its children."""
    root = machine(
        {
            "proc/self/cgroup": "0::/box/app\n",
            "sys/fs/cgroup/box/cpu.max": "100000 100000\n",
            "sys/fs/cgroup/box/app/cpu.max": "300000 100000\n",
        }
    )
    assert cpu_quota(root) == 1.0


def test_a_container_sees_its_quota_at_the_mount(machine: Callable[..., Path]) -> None:
    """Where the group's path is another namespace's, the root of the mount is the group."""
    root = machine({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"})
    assert cpu_quota(root) == 2.0


def test_a_v1_quota_limits(machine: Callable[..., Path]) -> None:
    """cpu.cfs_quota_us and cpu.cfs_period_us of the hierarchy that has the cpu controller."""
    root = machine(
        {
            "proc/self/cgroup": "5:memory:/m\n4:cpu,cpuacct:/box\n1:name=systemd:/s\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
        }
    )
    assert cpu_quota(root) == 2.5
    assert default_threads(root, FOUR) == 3


@pytest.mark.parametrize("content", ["", "nonsense", "-5 100000", "100000 0", "1 2 3", "0 100000"])
def test_nonsense_is_no_limit(machine: Callable[..., Path], content: str) -> None:
    """Files are not trusted to make sense."""
    root = machine({"proc/self/cgroup": "0::/\n::\njunk\n", "sys/fs/cgroup/cpu.max": content})
    assert cpu_quota(root) is None


def test_only_the_fast_cores_count(machine: Callable[..., Path]) -> None:
    """On two fast and two slow cores, two threads: a slow core would hold the others up."""
    capacities = {0: 381, 1: 381, 2: 1024, 3: 1024}
    root = machine({f"sys/devices/system/cpu/cpu{n}/cpu_capacity": f"{c}\n" for n, c in capacities.items()})
    assert default_threads(root, FOUR) == 2
    assert default_threads(root, frozenset({0, 1})) == 2


def test_one_missing_capacity_means_that_none_is_known(machine: Callable[..., Path]) -> None:
    """Half a picture is no reason to leave cores unused."""
    root = machine({"sys/devices/system/cpu/cpu0/cpu_capacity": "1024\n"})
    assert default_threads(root, FOUR) == 4

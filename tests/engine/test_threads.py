"""The default number of threads, on file systems of other machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ortolan.engine.threads import cpu_quota, default_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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


CPUS = "sys/devices/system/cpu"


def _each(name: str, values: list[object]) -> dict[str, str]:
    """One file per processor."""
    return {f"{CPUS}/cpu{number}/{name}": f"{value}\n" for number, value in enumerate(values)}


# arm64 kernels derive cpu_capacity from the device tree's capacity-dmips-mhz times the highest clock, scaled to 1024
# (drivers/base/arch_topology.c); without the property every core says 1024.
_UNIFIED = "0::/user.slice/user-1000.slice/session-1.scope\n"
_HYBRID = {
    # Core i7-12700H: 6 performance cores of two threads, 8 efficiency cores (Intel ARK); its kernel has one perf
    # device per kind and no capacities before 6.12 (Documentation/admin-guide/perf, intel-hybrid).
    "sys/devices/cpu_core/cpus": "0-11\n",
    "sys/devices/cpu_atom/cpus": "12-19\n",
    **_each("cpufreq/cpuinfo_max_freq", [4_700_000] * 12 + [3_500_000] * 8),
    **_each(
        "topology/thread_siblings_list", [f"{n // 2 * 2}-{n // 2 * 2 + 1}" for n in range(12)] + list(range(12, 20))
    ),
}

MACHINES: dict[str, tuple[dict[str, str], int, int]] = {
    # Raspberry Pi 4B: four Cortex-A72 at 1.8 GHz; Raspberry Pi OS boots with the memory controller off
    # (cgroup_disable=memory in the firmware's device tree), which leaves the others.
    "Raspberry Pi 4": (
        {
            "proc/self/cgroup": _UNIFIED,
            "proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t0\t60\t1\nmemory\t0\t60\t0\n",
            "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000\n",
            **_each("cpu_capacity", [1024] * 4),
            **_each("cpufreq/cpuinfo_max_freq", [1_800_000] * 4),
            **_each("topology/thread_siblings_list", [0, 1, 2, 3]),
        },
        4,
        4,
    ),
    # Raspberry Pi 5: four Cortex-A76 at 2.4 GHz (Raspberry Pi documentation, BCM2712).
    "Raspberry Pi 5": (
        {
            "proc/self/cgroup": _UNIFIED,
            **_each("cpu_capacity", [1024] * 4),
            **_each("cpufreq/cpuinfo_max_freq", [2_400_000] * 4),
        },
        4,
        4,
    ),
    # Jetson Orin Nano: six Cortex-A78AE of one speed (NVIDIA, Jetson Orin Nano Series data sheet).
    "Jetson Orin Nano": (
        {**_each("cpu_capacity", [1024] * 6), **_each("cpufreq/cpuinfo_max_freq", [1_510_400] * 6)},
        6,
        6,
    ),
    # RK3588: Cortex-A55 (530) at 1.8 GHz, Cortex-A76 (1024) at 2.4 GHz in two clusters that are binned apart
    # (arch/arm64/boot/dts/rockchip/rk3588-base.dtsi).
    "RK3588": (
        {
            **_each("cpu_capacity", [397] * 4 + [1003] * 2 + [1024] * 2),
            **_each("cpufreq/cpuinfo_max_freq", [1_800_000] * 4 + [2_352_000] * 2 + [2_400_000] * 2),
        },
        8,
        4,
    ),
    # RK3399 under a kernel without capacities: Cortex-A53 at 1.4 GHz, Cortex-A72 at 1.8 GHz are within what the clocks
    # of one kind differ by, Amlogic's and Allwinner's pairs are not.
    "clocks of one kind": ({**_each("cpufreq/cpuinfo_max_freq", [1_416_000] * 4 + [1_800_000] * 2)}, 6, 6),
    "clocks of two kinds": (
        {**_each("cpu_capacity", [1024] * 6), **_each("cpufreq/cpuinfo_max_freq", [1_200_000] * 2 + [2_200_000] * 4)},
        6,
        4,
    ),
    # A phone chip (Snapdragon 888): one prime core, three big, four little.
    "three kinds": ({**_each("cpu_capacity", [250] * 4 + [830] * 3 + [1024])}, 8, 4),
    "Intel hybrid": (_HYBRID, 20, 6),
    # Turbo Boost Max 3.0: some cores of one kind clock a little higher.
    "favored cores": ({**_each("cpufreq/cpuinfo_max_freq", [4_800_000, 5_000_000, 4_800_000, 4_800_000])}, 4, 4),
    # A server of two threads per core, as onnxruntime counts it.
    "two threads per core": ({**_each("topology/thread_siblings_list", ["0,2", "1,3", "0,2", "1,3"])}, 4, 2),
    # docker run --cpus 1.5 on a Raspberry Pi 4: its own group is the root of what the container sees, and
    # /sys/firmware is masked (OCI runtime default), so that there is no device tree.
    "container with a quota": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids\n",
            "sys/fs/cgroup/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/cpuset.cpus.effective": "0-3\n",
            **_each("cpu_capacity", [1024] * 4),
        },
        4,
        2,
    ),
    # docker run --cpuset-cpus 1,3 where the affinity does not show it.
    "container with a cpuset": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpuset.cpus.effective": "1,3\n"},
        4,
        2,
    ),
    "cpuset of version 1": (
        {
            "proc/self/cgroup": "7:cpuset:/docker/ab12\n4:cpu,cpuacct:/docker/ab12\n",
            "sys/fs/cgroup/cpuset/cpuset.effective_cpus": "0-3\n",
            "sys/fs/cgroup/cpuset/docker/ab12/cpuset.effective_cpus": "0-2\n",
        },
        4,
        3,
    ),
}
"""Files of machines, the number of their processors, and the threads that a session gets there."""


@pytest.mark.parametrize("name", MACHINES)
def test_machines_get_the_threads_they_have_fast_cores_for(machine: Callable[..., Path], name: str) -> None:
    """Boards, phones, hybrids and containers."""
    files, processors, threads = MACHINES[name]
    assert default_threads(machine(files), frozenset(range(processors))) == threads


def test_affinity_to_the_slow_cores_is_respected(machine: Callable[..., Path]) -> None:
    """Who binds a process to the efficiency cores gets threads for these."""
    assert default_threads(machine(_HYBRID), frozenset(range(12, 16))) == 4


@pytest.mark.parametrize("content", ["", "x", "0-", "3-1", "1,,2"])
def test_a_cpuset_of_nonsense_is_ignored(machine: Callable[..., Path], content: str) -> None:
    """As is one that leaves nothing."""
    root = machine({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpuset.cpus.effective": content})
    assert default_threads(root, FOUR) == 4


REPORT = """
import sys
from ortolan.engine.threads import cpu_quota, default_threads
if sys.argv[1:]:
    with open(sys.argv[1] + "/cgroup.procs", "w") as file:
        file.write("0")
print(default_threads(), cpu_quota())
"""
"""What a new process may use, once it has moved itself to the control group that it is told."""


def _reported(*arguments: object, **settings: object) -> list[str]:
    command = [sys.executable, "-c", REPORT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, **settings).stdout.split()


def test_a_process_bound_to_one_processor_gets_one_thread() -> None:
    """As with taskset: a real process, whatever machine this is."""
    one = min(os.sched_getaffinity(0))
    assert _reported(preexec_fn=lambda: os.sched_setaffinity(0, {one}))[0] == "1"


@pytest.fixture
def groups() -> Iterator[tuple[int, Path, Path]]:
    """Version of the control groups here, a new group, and one inside of it; skipped where none can be made."""
    known = Path("/proc/self/cgroup")
    lines = [line.split(":", 2) for line in known.read_text(encoding="ascii").splitlines()] if known.exists() else []
    places = [(1, Path("/sys/fs/cgroup/cpu")) for _, names, _ in lines if "cpu" in names.split(",")]
    version, mount = next(iter(places), (2, Path("/sys/fs/cgroup")))
    own = next((path for _, names, path in lines if ("cpu" in names.split(",")) == (version == 1)), "")
    outer = mount / own.strip("/") / f"ortolan-test-{os.getpid()}"
    inner = outer / "inner"
    try:
        outer.mkdir()
        inner.mkdir()
        if not (outer / ("cpu.max" if version == 2 else "cpu.cfs_quota_us")).exists():
            raise FileNotFoundError("no cpu controller")
    except OSError as error:
        pytest.skip(f"no control group with a quota can be made here: {error}")
    else:
        yield version, outer, inner
    finally:
        for group in (inner, outer):
            for _ in range(50):  # a process that has ended is gone from its group a moment later
                with suppress(OSError):
                    group.rmdir()
                if not group.exists():
                    break
                time.sleep(0.1)


@pytest.mark.parametrize(("percent", "threads", "quota"), [(50, "1", "0.5"), (100, "1", "1.0")])
def test_a_real_quota_limits(groups: tuple[int, Path, Path], percent: int, threads: str, quota: str) -> None:
    """Of the process's own group, and of one above it."""
    version, outer, inner = groups
    if version == 2:
        (outer / "cpu.max").write_text(f"{percent}000 100000", encoding="ascii")
    else:
        (outer / "cpu.cfs_period_us").write_text("100000", encoding="ascii")
        (outer / "cpu.cfs_quota_us").write_text(f"{percent}000", encoding="ascii")
    for group in (outer, inner):
        assert _reported(group) == [threads, quota]

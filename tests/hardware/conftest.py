"""Trees of /proc and /sys files as the boards have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Tree = Callable[[Mapping[str, str]], Path]


def _arm_cpu(number: int, part: str, features: str, variant: str = "0x0") -> str:
    return (
        f"processor\t: {number}\nBogoMIPS\t: 38.40\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: 4\n\n"
    )


def _clocks(count: int, max_khz: int, limit_khz: int | None = None) -> dict[str, str]:
    files = {}
    for number in range(count):
        home = f"sys/devices/system/cpu/cpu{number}"
        files[f"{home}/cpufreq/cpuinfo_max_freq"] = f"{max_khz}\n"
        files[f"{home}/cpufreq/scaling_max_freq"] = f"{limit_khz or max_khz}\n"
    return files


def _caches(*caches: tuple[int, str, str]) -> dict[str, str]:
    files = {}
    for index, (level, kind, size) in enumerate(caches):
        home = f"sys/devices/system/cpu/cpu0/cache/index{index}"
        files |= {f"{home}/level": f"{level}\n", f"{home}/type": f"{kind}\n", f"{home}/size": f"{size}\n"}
    return files


def _meminfo(total_kb: int, free_kb: int, available_kb: int) -> str:
    return (
        f"MemTotal:       {total_kb} kB\nMemFree:        {free_kb} kB\nMemAvailable:   {available_kb} kB\n"
        "Buffers:           20000 kB\nHugePages_Total:       0\n"
    )


def _raspberry(model: str, soc: str, part: str, features: str, khz: int, meminfo: str) -> dict[str, str]:
    """A stock Raspberry Pi OS: the memory controller is off, so a group has no memory files."""
    cpus = "".join(_arm_cpu(number, part, features) for number in range(4))
    return {
        "proc/cpuinfo": f"{cpus}Revision\t: 902120\nSerial\t\t: 00000000deadbeef\nModel\t\t: {model}\n",
        "proc/device-tree/model": f"{model}\0",
        "proc/device-tree/compatible": f"raspberrypi,board\0brcm,{soc}\0",
        "proc/meminfo": meminfo,
        "proc/loadavg": "0.31 0.20 0.10 1/120 999\n",
        "proc/self/cgroup": "0::/user.slice/user-1000.slice/session-1.scope\n",
        "proc/self/statm": "12000 5000 3000 1 0 4000 0\n",
        "proc/sys/kernel/osrelease": "6.12.47+rpt-rpi-v8\n",
        "sys/fs/cgroup/user.slice/user-1000.slice/session-1.scope/cgroup.controllers": "cpuset cpu io pids\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        **_clocks(4, khz),
        **_caches((1, "Data", "32K"), (1, "Instruction", "32K"), (2, "Unified", "512K")),
    }


_A76 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
_NVPMODEL = """< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< POWER_MODEL ID=0 NAME=15W >
CPU_A78_0 MAX_FREQ 1510400
< POWER_MODEL ID=1 NAME=7W >
CPU_A78_0 MAX_FREQ 729600
< PM_CONFIG DEFAULT=0 >
"""
_X86_FLAGS = "fpu lm sse2 avx f16c fma avx2 avx512f avx512bw avx512_vnni hypervisor"

BOARDS: dict[str, dict[str, str]] = {
    "zero-2-w": _raspberry(
        "Raspberry Pi Zero 2 W Rev 1.0",
        "bcm2837",
        "0xd03",
        "fp asimd evtstrm crc32 cpuid",
        1_000_000,
        _meminfo(425_792, 191_000, 270_336),
    ),
    "pi-4": _raspberry(
        "Raspberry Pi 4 Model B Rev 1.5",
        "bcm2711",
        "0xd08",
        "fp asimd evtstrm crc32 cpuid",
        1_800_000,
        _meminfo(3_884_312, 3_100_000, 3_500_000),
    ),
    "pi-5": _raspberry(
        "Raspberry Pi 5 Model B Rev 1.0", "bcm2712", "0xd0b", _A76, 2_400_000, _meminfo(4_129_000, 3_200_000, 3_700_000)
    ),
    "orin-nano": {
        "proc/cpuinfo": "".join(_arm_cpu(number, "0xd42", f"{_A76} uscat ilrcpc flagm") for number in range(6)),
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
        "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0005\0nvidia,p3767-0005\0nvidia,tegra234\0",
        "proc/meminfo": _meminfo(7_802_000, 5_000_000, 6_900_000),
        "proc/self/cgroup": "0::/user.slice\n",
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
        "etc/nvpmodel.conf": _NVPMODEL,
        "var/lib/nvpmodel/status": "pmode:0001 fmode:fanNull",
        **_clocks(6, 1_510_400, 729_600),
    },
    "x86-vm": {
        "proc/cpuinfo": "".join(
            f"processor\t: {number}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2596.146\n"
            f"flags\t\t: {_X86_FLAGS}\n\n"
            for number in range(2)
        ),
        "proc/meminfo": _meminfo(16_384_000, 15_000_000, 15_500_000),
        "proc/self/cgroup": "4:memory:/process/abc\n3:cpuset:/\n0::/\n",
        "proc/sys/kernel/osrelease": "6.12.0-cloud-amd64\n",
        "sys/fs/cgroup/memory/process/abc/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    },
    # A container on a Raspberry Pi 4: /sys/firmware is masked, its own group is the root of what it sees.
    "container": {
        "proc/cpuinfo": "".join(_arm_cpu(number, "0xd08", "fp asimd evtstrm crc32 cpuid") for number in range(4))
        + "Model\t\t: Raspberry Pi 4 Model B Rev 1.5\n",
        "proc/meminfo": _meminfo(3_884_312, 3_100_000, 3_500_000),
        "proc/self/cgroup": "0::/\n",
        "proc/sys/kernel/osrelease": "6.12.47+rpt-rpi-v8\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
        "sys/fs/cgroup/memory.max": "134217728\n",
        "sys/fs/cgroup/memory.current": "60000000\n",
        "sys/fs/cgroup/memory.stat": "anon 30000000\ninactive_file 20000000\nactive_file 5000000\n",
        **_clocks(4, 1_800_000),
        **_caches((1, "Data", "32K"), (1, "Instruction", "32K"), (2, "Unified", "512K")),
    },
}


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files below a new root and give that root."""

    def write(files: Mapping[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", errors="surrogateescape")
        return tmp_path

    return write


@pytest.fixture
def board(tree: Tree) -> Callable[..., Path]:
    """The root of a board's files, with some replaced or, given as None, removed."""

    def build(name: str, changes: Mapping[str, str | None] | None = None) -> Path:
        files: dict[str, str | None] = {**BOARDS[name], **(changes or {})}
        return tree({path: content for path, content in files.items() if content is not None})

    return build

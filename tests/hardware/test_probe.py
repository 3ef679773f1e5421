"""Facts are read from /proc and /sys, and nothing wrong with these files is an error."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ortolan.hardware.facts import Cache, Cores
from ortolan.hardware.probe import available_memory, probe, probe_memory, probe_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Board = Callable[..., Path]


@pytest.mark.parametrize(
    ("name", "model", "processor", "part", "count", "hz"),
    [
        ("zero-2-w", "Raspberry Pi Zero 2 W Rev 1.0", "bcm2837", "Cortex-A53", 4, 1_000_000_000),
        ("pi-4", "Raspberry Pi 4 Model B Rev 1.5", "bcm2711", "Cortex-A72", 4, 1_800_000_000),
        ("pi-5", "Raspberry Pi 5 Model B Rev 1.0", "bcm2712", "Cortex-A76", 4, 2_400_000_000),
        ("orin-nano", "NVIDIA Jetson Orin Nano Developer Kit", "tegra234", "Cortex-A78AE", 6, 1_510_400_000),
    ],
)
def test_arm_boards_are_recognised(
    board: Board, name: str, model: str, processor: str, part: str, count: int, hz: int
) -> None:
    """Model, system on chip, core design, number and clock come from the device tree, cpuinfo and cpufreq."""
    hardware = probe(board(name))

    (cores,) = hardware.cores
    assert (hardware.board, hardware.processor, hardware.architecture) == (model, processor, "aarch64")
    assert (cores.part, cores.count, cores.max_hz) == (part, count, hz)


def test_pi_5_has_dot_products_and_pi_4_has_not(board: Board, tmp_path: Path) -> None:
    """Only the extensions that matter are kept, sorted."""
    assert probe(board("pi-5")).features == ("asimd", "asimddp", "asimdhp", "fphp")
    assert probe(board("pi-4")).features == ("asimd",)


def test_caches_of_the_first_core(board: Board) -> None:
    """Sizes are given in bytes."""
    assert probe(board("zero-2-w")).caches == (
        Cache(level=1, kind="data", bytes=32768),
        Cache(level=1, kind="instruction", bytes=32768),
        Cache(level=2, kind="unified", bytes=524288),
    )


def test_jetson_power_mode_caps_the_clock(board: Board) -> None:
    """The mode's name is looked up in nvpmodel.conf, the cap in cpufreq, GPU and release in the system's files."""
    hardware = probe(board("orin-nano"))

    assert hardware.power_mode == "7W"
    assert hardware.cores == (Cores(part="Cortex-A78AE", count=6, max_hz=1_510_400_000, cap_hz=729_600_000),)
    assert hardware.accelerators == ("NVIDIA Ampere GPU (Orin)",)
    assert hardware.drivers == (("l4t", "36.4.3"),)


def test_power_mode_without_its_table_keeps_the_number(board: Board) -> None:
    """A mode that nvpmodel.conf does not name is still a fact."""
    assert probe(board("orin-nano", {"etc/nvpmodel.conf": None})).power_mode == "mode 1"


def test_heat_is_not_a_frequency_cap(board: Board) -> None:
    """While a cooling device limits the clock, the limit says nothing stable about the machine."""
    hot = {
        "sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n",
        "sys/class/thermal/cooling_device0/cur_state": "3\n",
    }

    assert probe(board("orin-nano", hot)).cores[0].cap_hz is None


def test_virtual_x86_machine(board: Board) -> None:
    """The model name stands for the part; hidden clocks are unknown; an unlimited version 1 group is no limit."""
    root = board("x86-vm")
    hardware = probe(root)

    assert hardware.architecture == "x86_64"
    assert hardware.cores == (Cores(part="AMD EPYC", count=2),)
    assert hardware.features == ("avx", "avx2", "avx512_vnni", "avx512bw", "avx512f", "f16c", "fma")
    assert probe_state(root).memory_limit_bytes is None


def test_discrete_nvidia_gpu(board: Board) -> None:
    """Name and driver version come from the driver's own files."""
    files = {
        "proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t\t NVIDIA RTX A2000\nIRQ:   \t\t 33\n",
        "proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\n",
    }
    hardware = probe(board("x86-vm", files))

    assert hardware.accelerators == ("NVIDIA RTX A2000",)
    assert hardware.drivers == (("nvidia", "550.54.15"),)


def test_big_and_little_cores_are_two_kinds_fastest_first(board: Board) -> None:
    """Kinds differ by clock or capacity even where the model name is the same."""
    files: dict[str, str | None] = {"sys/devices/system/cpu/cpu3/cpufreq/cpuinfo_max_freq": "2000000\n"}
    files["sys/devices/system/cpu/cpu3/cpufreq/scaling_max_freq"] = "2000000\n"

    kinds = probe(board("pi-4", files)).cores

    assert [(kind.count, kind.max_hz) for kind in kinds] == [(1, 2_000_000_000), (3, 1_800_000_000)]


def test_container_reads_the_model_from_cpuinfo(board: Board) -> None:
    """Containers mask /sys/firmware, where the device tree lies."""
    hardware = probe(board("container"))

    assert hardware.board == "Raspberry Pi 4 Model B Rev 1.5"
    assert hardware.processor is None


def test_container_has_the_id_of_its_host(tmp_path: Path, board: Board) -> None:
    """A container finds what was measured outside it."""
    container = probe(board("container")).id
    host = probe(board("pi-4")).id

    assert container == host


def test_empty_root_is_all_unknown(tmp_path: Path) -> None:
    """Nothing to read is no error."""
    hardware, state = probe(tmp_path), probe_state(tmp_path)

    assert (hardware.board, hardware.cores, hardware.ram_bytes, hardware.architecture) == (None, (), None, "unknown")
    assert (state.available_bytes, state.temperature_c, state.load) == (None, None, None)


@pytest.mark.parametrize(
    "content", ["", "\0\0", "nonsense", ": : :\n\n:", "processor: -1\nCPU part: \n", "\udcff\udcfe"]
)
def test_nonsense_in_every_file_is_unknown(board: Board, content: str) -> None:
    """Files that lie make facts unknown, never an error."""
    root = board("orin-nano")
    for path in [path for path in root.rglob("*") if path.is_file()]:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))

    hardware, state = probe(root), probe_state(root)

    assert hardware.ram_bytes is None
    assert hardware.power_mode is None
    assert state.available_bytes is None


def test_directories_in_the_place_of_files_are_unknown(tmp_path: Path) -> None:
    """What cannot be read as a file reads as empty."""
    for name in ("proc/cpuinfo", "proc/meminfo", "sys/devices/system/cpu/cpu0/cache/index0/size"):
        (tmp_path / name).mkdir(parents=True)

    assert probe(tmp_path).ram_bytes is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_unknown(board: Board) -> None:
    """Missing permission is no error."""
    root = board("pi-4")
    (root / "proc/meminfo").chmod(0)

    assert probe(root).ram_bytes is None


def test_absurd_clock_is_unknown(board: Board) -> None:
    """A clock above 10 GHz is a lie."""
    changes = {f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": "4294967295\n" for n in range(4)}

    assert probe(board("pi-4", changes)).cores[0].max_hz is None


def test_state_of_a_raspberry_pi(board: Board) -> None:
    """Memory, temperature, load and the firmware's throttle word, without any tool."""
    state = probe_state(board("zero-2-w", {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n"}))

    assert state.available_bytes == 270_336 * 1024
    assert state.resident_bytes == 5000 * os.sysconf("SC_PAGE_SIZE")
    assert state.temperature_c == 48.312
    assert state.load == 0.31
    assert state.throttling == (
        "under-voltage now",
        "throttled now",
        "under-voltage since start",
        "throttled since start",
    )


def test_stock_pi_os_has_no_memory_limit(board: Board) -> None:
    """Its kernel starts with the memory controller off."""
    assert probe_memory(board("zero-2-w")).memory_limit_bytes is None


def test_container_limit_less_usage_is_what_is_available(board: Board) -> None:
    """File cache that is given back on demand does not count as used."""
    state = probe_memory(board("container"))

    assert state.memory_limit_bytes == 134_217_728
    assert state.available_bytes == 134_217_728 - (60_000_000 - 20_000_000)


def test_machine_with_less_than_the_limit_is_what_is_available(board: Board) -> None:
    """The smaller of the kernel's estimate and the group's room counts."""
    root = board("container", {"proc/meminfo": "MemTotal: 500000 kB\nMemAvailable: 10000 kB\n"})

    assert available_memory(root) == 10_000 * 1024


def test_the_tightest_group_on_the_way_up_counts(board: Board) -> None:
    """A limit binds every group below the one it is set on."""
    files = {
        "proc/self/cgroup": "0::/system.slice/app.service\n",
        "sys/fs/cgroup/system.slice/memory.max": "50000000\n",
        "sys/fs/cgroup/system.slice/memory.current": "10000000\n",
        "sys/fs/cgroup/system.slice/app.service/memory.max": "max\n",
    }

    assert available_memory(board("zero-2-w", files)) == 40_000_000


def test_version_1_group_by_the_hosts_path(board: Board) -> None:
    """A container that is shown the host's path finds its own group at the mount's root."""
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/docker/f00\n4:memory:/docker/f00\n0::/docker/f00\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "64000000\n",
        "sys/fs/cgroup/memory/memory.usage_in_bytes": "30000000\n",
        "sys/fs/cgroup/memory/memory.stat": "cache 1\ntotal_inactive_file 10000000\n",
    }

    state = probe_memory(board("x86-vm", files))

    assert (state.memory_limit_bytes, state.available_bytes) == (64_000_000, 44_000_000)


def test_more_used_than_allowed_leaves_nothing(board: Board) -> None:
    """A limit that was lowered below the usage leaves zero, not less."""
    assert available_memory(board("container", {"sys/fs/cgroup/memory.max": "1000\n"})) == 0


def test_sensor_of_the_processor_counts(board: Board) -> None:
    """Other zones may be hotter."""
    files = {
        "sys/class/thermal/thermal_zone1/type": "wifi\n",
        "sys/class/thermal/thermal_zone1/temp": "90000\n",
        "sys/class/thermal/thermal_zone2/type": "battery\n",
        "sys/class/thermal/thermal_zone2/temp": "-274000\n",
    }

    assert probe_state(board("pi-4", files)).temperature_c == 48.312


def test_monitor_chip_counts_where_the_processor_has_no_zone(board: Board) -> None:
    """AMD's processors show their temperature through hwmon only; a chip whose file is no sensor is passed over."""
    files: dict[str, str | None] = {
        "sys/class/thermal/thermal_zone0/type": "acpitz\n",
        "sys/class/thermal/thermal_zone0/temp": "20000\n",
        "sys/class/hwmon/hwmon0/name": "nvme\n",
        "sys/class/hwmon/hwmon0/temp1_input": "80000\n",
        "sys/class/hwmon/hwmon3/name": "k10temp\n",
        "sys/class/hwmon/hwmon3/temp1_input": "61250\n",
        "sys/class/hwmon/hwmon3/temp1_label": "Tctl\n",
        "sys/class/hwmon/hwmon3/temp2_input": "255000\n",
    }

    assert probe_state(board("x86-vm", files)).temperature_c == 61.25


def test_firmware_node_of_a_pi_5(board: Board) -> None:
    """Its device tree gives the system on chip an address."""
    files = {
        "sys/devices/platform/soc/soc:firmware/get_throttled": None,
        "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled": "80008\n",
    }

    assert probe_state(board("pi-5", files)).throttle_bits == 0x80008


def test_this_machine_can_be_probed() -> None:
    """The real files of whatever runs the tests give a plausible answer."""
    hardware, state = probe(), probe_state()

    assert hardware.core_count is not None and hardware.core_count >= 1
    assert state.available_bytes is not None and state.available_bytes > 0
    assert len(hardware.id) == 16

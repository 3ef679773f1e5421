"""The record that lets somebody else repeat a benchmark."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.hardware.sysfiles import entries, read, read_int

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from ortolan.hardware.facts import Hardware, HardwareState

_CPUFREQ = "/sys/devices/system/cpu/cpufreq"
_DEVFREQ = "/sys/class/devfreq"
_EMC = "/sys/kernel/debug/bpmp/debug/clk/emc"
_EMC_CAP = "/sys/kernel/nvpmodel_clk_cap/emc"
_JETSON_GPUS = (".gpu", ".ga10b", ".gv11b", ".gp10b")
"""How the devfreq names of Jetson GPUs end, e.g. ``17000000.gpu`` (Orin), ``17000000.gv11b`` (Xavier)."""

LIBRARIES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-webgpu",
    "onnxruntime-ggml",
    "openvino",
    "tensorrt",
    "nvidia-cublas-cu12",
    "nvidia-cuda-runtime-cu12",
    "nvidia-cudnn-cu12",
    "pillow",
    "tokenizers",
)
"""Distributions that an answer's latency or memory may depend on."""

VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "ORT_DISABLE_TELEMETRY",
    "ORT_DISABLE_TELEMETRY_EVENTS",
    "PYTHONMALLOC",
    "TOKENIZERS_PARALLELISM",
)
"""Environment variables that change how the libraries run; no other is recorded, since they hold secrets."""


def record(
    *,
    hardware: Hardware,
    state: HardwareState,
    runtime_id: str,
    numpy_version: str,
    command: Sequence[str],
    started: datetime,
    variants: Mapping[str, str] | None = None,
    versions: Mapping[str, str] | None = None,
    root: Path = Path("/"),
) -> dict[str, object]:
    """Facts of machine and software as JSON values; null is what the machine hides.

    Args:
        hardware: stable facts: board, processor, cores, caches, memory, accelerators, power mode, kernel, drivers.
        state: before the first worker started: memory, temperature, load, throttling.
        runtime_id: as a worker gave it.
        numpy_version: as a worker gave it.
        command: the argument vector.
        started: with time zone.
        variants: digest of each variant that was measured, by name.
        versions: of the `LIBRARIES` as a worker gave them; None asks this Python, in which workers run by default.
        root: where ``/proc`` and ``/sys`` are found.
    """
    import ortolan
    from ortolan.engine.threads import cpu_quota

    base = str(root).rstrip("/")
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "started": started.isoformat(timespec="seconds"),
        "command": list(command),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "variants": dict(variants or {}),
        "ortolan": ortolan.__version__,
        "runtime": runtime_id,
        "numpy": numpy_version,
        "python": platform.python_implementation() + " " + ".".join(map(str, sys.version_info[:3])),
        "libraries": dict(libraries() if versions is None else versions),
        "cuda": cuda(base),
        "libc": " ".join(platform.libc_ver()) or None,
        "system": _system(base),
        "kernel": hardware.kernel or os.uname().release,
        "kernel_build": read(base, "/proc/version").strip() or None,
        "container": container(base),
        "hypervisor": hypervisor(base),
        "cores_usable": len(affinity) if affinity is not None else os.cpu_count(),
        "cores": affinity,
        "cpu_quota": cpu_quota(root),
        "clocks": core_clocks(base),
        "device_clocks": device_clocks(base),
        "power": power(base, hardware.power_mode),
        "memory": memory(base),
        "hardware": hardware.to_json(),
        "state": state.to_json(),
    }


def libraries(names: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Versions of those distributions that are installed for this Python."""
    return {name: version for name in names if (version := _version(name)) is not None}


def core_clocks(base: str) -> list[dict[str, object]]:
    """Governor, driver and limits of each cpufreq policy, with the cores it governs. Clocks in hertz."""
    return [
        {
            "cores": [int(core) for core in read(base, f"{home}/affected_cpus").split() if core.isdecimal()],
            "governor": read(base, f"{home}/scaling_governor").strip() or None,
            "driver": read(base, f"{home}/scaling_driver").strip() or None,
            "energy_preference": read(base, f"{home}/energy_performance_preference").strip() or None,
            **{f"{key}_hz": _hertz(read_int(base, f"{home}/scaling_{key}_freq")) for key in ("min", "max")},
        }
        for home in (f"{_CPUFREQ}/{policy}" for policy in entries(base, _CPUFREQ, "policy"))
    ]


def device_clocks(base: str) -> list[dict[str, object]]:
    """Governor, limits and present clock of GPUs, memory and other devices, in hertz.

    From devfreq; a Jetson's memory (EMC) is not there but in the firmware's debug files, which only root can read, and
    its cap with nvpmodel's.
    """
    devices: list[dict[str, object]] = []
    for device in entries(base, _DEVFREQ):
        home = f"{_DEVFREQ}/{device}"
        steps = [int(word) for word in read(base, f"{home}/available_frequencies").split() if word.isdecimal()]
        devices.append(
            {
                "device": device,
                "governor": read(base, f"{home}/governor").strip() or None,
                **{f"{key}_hz": read_int(base, f"{home}/{key}_freq") for key in ("min", "max", "cur")},
                "highest_hz": max(steps, default=None),
            }
        )
    rate, cap = read_int(base, f"{_EMC}/rate"), read_int(base, _EMC_CAP)
    if rate is not None or cap is not None:
        limits = [limit for limit in (read_int(base, f"{_EMC}/max_rate"), cap) if limit]
        locked = read_int(base, f"{_EMC}/mrq_rate_locked")
        devices.append(
            {
                "device": "emc",
                "governor": None if locked is None else "locked" if locked else "free",
                "min_hz": read_int(base, f"{_EMC}/min_rate"),
                "max_hz": min(limits, default=None),
                "cur_hz": rate,
                "highest_hz": None,
            }
        )
    return devices


def power(base: str, mode: str | None) -> dict[str, object]:
    """What decides how fast the machine may be: nvpmodel's mode, jetson_clocks, turbo, profile, mains."""
    mains = [
        read_int(base, f"/sys/class/power_supply/{supply}/online")
        for supply in entries(base, "/sys/class/power_supply")
        if read(base, f"/sys/class/power_supply/{supply}/type").strip() == "Mains"
    ]
    return {
        "mode": mode,
        "jetson_clocks": jetson_clocks(base),
        "turbo": turbo(base),
        "profile": read(base, "/sys/firmware/acpi/platform_profile").strip() or None,
        "mains": any(online == 1 for online in mains) if mains else None,
        "smt": {"1": True, "0": False}.get(read(base, "/sys/devices/system/cpu/smt/active").strip()),
    }


def jetson_clocks(base: str) -> bool | None:
    """Whether a Jetson's clocks are held at their limits, which is all that ``jetson_clocks`` does; None elsewhere."""
    if "nvidia,tegra" not in read(base, "/proc/device-tree/compatible"):
        return None
    gpus = [device for device in device_clocks(base) if str(device["device"]).endswith(_JETSON_GPUS)]
    limits = [(clock["min_hz"], clock["max_hz"]) for clock in (*core_clocks(base), *gpus)]
    return all(low == high is not None for low, high in limits) if limits else None


def turbo(base: str) -> bool | None:
    """Whether the processor may go beyond its nominal clock; None if it does not say."""
    without = read_int(base, "/sys/devices/system/cpu/intel_pstate/no_turbo")
    if without is not None:
        return without == 0
    boost = read_int(base, f"{_CPUFREQ}/boost")
    return None if boost is None else boost != 0


def memory(base: str) -> dict[str, object]:
    """What may move a page or make it larger: swap (bytes), swappiness, huge pages."""
    rows = (line.split() for line in read(base, "/proc/meminfo").splitlines())
    sizes = {row[0]: int(row[1]) * 1024 for row in rows if len(row) == 3 and row[1].isdecimal()}
    huge = read(base, "/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "swap_bytes": sizes.get("SwapTotal:"),
        "swappiness": read_int(base, "/proc/sys/vm/swappiness"),
        "transparent_hugepages": huge.partition("[")[2].partition("]")[0] or None,
    }


def container(base: str) -> str | None:
    """The container this runs in, as far as it shows: ``"docker"``, ``"podman"``, what systemd calls it, or None."""
    for path, name in (("/run/.containerenv", "podman"), ("/.dockerenv", "docker")):
        if Path(base + path).exists():
            return name
    return read(base, "/run/systemd/container").strip() or None


def hypervisor(base: str) -> str | None:
    """The virtual machine's vendor as its firmware says, ``"unknown"`` if only the processor says there is one."""
    flags = read(base, "/proc/cpuinfo")
    if " hypervisor" not in flags and not entries(base, "/sys/hypervisor"):
        return None
    return read(base, "/sys/hypervisor/type").strip() or read(base, "/sys/class/dmi/id/sys_vendor").strip() or "unknown"


def cuda(base: str) -> str | None:
    """Version of the CUDA toolkit, where the installation says it (a Jetson's comes with the system, not from PyPI)."""
    import json

    try:
        found = json.loads(read(base, "/usr/local/cuda/version.json"))["cuda"]["version"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) else None


def _version(distribution: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _system(base: str) -> str | None:
    """Name of the distribution."""
    for line in read(base, "/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip("\"'") or None
    return None


def _hertz(kilohertz: int | None) -> int | None:
    return None if kilohertz is None else kilohertz * 1000

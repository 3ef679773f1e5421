"""Find out what this machine is, by reading /proc and /sys and nothing else.

It is on the way to every load: no subprocess, no library, some dozens of small files, 1-2 ms. Every path goes through
``root``. A file that is missing, unreadable or nonsense makes its fact unknown and is never an error: containers hide
files, virtual machines invent them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.hardware.facts import Cache, Cores, Hardware, HardwareState
from ortolan.hardware.limits import memory_limits
from ortolan.hardware.parts import ARM_PARTS, FEATURES, TEGRA_GPUS
from ortolan.hardware.sysfiles import entries, hwmon_chips, read, read_int, read_list
from ortolan.records import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_CPUS = "/sys/devices/system/cpu"
_MAX_HZ = 10**10  # a clock beyond is a lie
_CACHE_KINDS = {"Data": "data", "Instruction": "instruction", "Unified": "unified"}
_CACHE_UNITS = {"": 1, "K": 2**10, "M": 2**20}
_PROCESSOR_ZONES = ("cpu", "soc", "x86_pkg_temp")
_PROCESSOR_CHIPS = ("coretemp", "k10temp", "zenpower")


def probe(root: Path = Path("/")) -> Hardware:
    """The stable facts of this machine, or of the one whose files lie under ``root``."""
    base = _base(root)
    blocks = _blocks(read(base, "/proc/cpuinfo"))
    cpus = [block for block in blocks if "processor" in block and block["processor"].isdecimal()]
    first = next(iter(cpus), {})
    words = set((first.get("Features") or first.get("flags") or "").split())
    compatible = read_list(base, "/proc/device-tree/compatible")
    return Hardware(
        board=_board(base, blocks),
        processor=_processor(compatible, first),
        architecture=_architecture(base, first, words),
        cores=_cores(base, cpus),
        features=tuple(sorted(words & FEATURES)),
        ram_bytes=_memory(base).get("MemTotal"),
        caches=_caches(base),
        accelerators=_accelerators(base, compatible),
        power_mode=_power_mode(base),
        kernel=read(base, "/proc/sys/kernel/osrelease").strip() or None,
        drivers=_drivers(base),
    )


def probe_state(root: Path = Path("/")) -> HardwareState:
    """What the machine is doing now. Reading some temperature sensors takes a few milliseconds."""
    base = _base(root)
    return replace(
        probe_memory(root), temperature_c=_temperature(base), throttle_bits=_throttle_bits(base), load=_load(base)
    )


def probe_memory(root: Path = Path("/")) -> HardwareState:
    """The memory part of `probe_state` alone, for the load path: five small files."""
    base = _base(root)
    limit, room = memory_limits(base)
    memory = _memory(base)
    total = memory.get("MemTotal")
    if limit is not None and total is not None and limit >= total:
        limit = None
    return HardwareState(
        available_bytes=_least(memory.get("MemAvailable"), room),
        resident_bytes=_resident(base),
        free_bytes=memory.get("MemFree"),
        memory_limit_bytes=limit,
    )


def available_memory(root: Path = Path("/")) -> int | None:
    """``probe_memory(root).available_bytes``: what a new process, or this one beyond what it has, may take."""
    return probe_memory(root).available_bytes


def _base(root: Path) -> str:
    return str(root).rstrip("/")


def _least(*values: int | None) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _blocks(cpuinfo: str) -> list[dict[str, str]]:
    """Key-value paragraphs of /proc/cpuinfo; on Arm the last one describes the board."""
    blocks = []
    for paragraph in cpuinfo.split("\n\n"):
        pairs = (line.partition(":") for line in paragraph.splitlines())
        blocks.append({key.strip(): value.strip() for key, colon, value in pairs if colon})
    return blocks


def _board(base: str, blocks: Iterable[Mapping[str, str]]) -> str | None:
    model = read(base, "/proc/device-tree/model").strip("\0\n ")
    # Raspberry Pi kernels repeat the model in cpuinfo, where containers see it.
    models = (block["Model"] for block in blocks if block.get("Model"))
    name = model or next(models, "") or read(base, "/sys/class/dmi/id/product_name").strip()
    return name or None


def _processor(compatible: list[str], cpu: Mapping[str, str]) -> str | None:
    if compatible:  # from the most specific (board) to the most general (SoC)
        return compatible[-1].rpartition(",")[2] or None
    name = cpu.get("model name", "")
    return name if name and not name.startswith("ARM") else None  # "ARMv8 Processor rev 3" says nothing


def _architecture(base: str, cpu: Mapping[str, str], words: set[str]) -> str:
    if "lm" in words:  # long mode
        return "x86_64"
    if "asimd" in words:
        return "aarch64"
    if "CPU implementer" in cpu and "neon" in words:
        return "armv7l"
    return (read(base, "/proc/sys/kernel/arch").strip() if base else os.uname().machine) or "unknown"


def _cores(base: str, cpus: Iterable[Mapping[str, str]]) -> tuple[Cores, ...]:
    cooling = is_cooling(base)
    counts: dict[tuple[str, int | None, int | None, int | None], int] = {}
    for cpu in cpus:
        home = f"{_CPUS}/cpu{cpu['processor']}"
        max_hz = _hertz(read_int(base, f"{home}/cpufreq/cpuinfo_max_freq"))
        limit = _hertz(read_int(base, f"{home}/cpufreq/scaling_max_freq"))
        # A processor that is too hot lowers the same limit for a while: that is state, not a fact.
        capped = max_hz is not None and limit is not None and limit < max_hz and not cooling
        key = (_part(cpu), max_hz, limit if capped else None, read_int(base, f"{home}/cpu_capacity"))
        counts[key] = counts.get(key, 0) + 1
    kinds = [
        Cores(part=part, count=count, max_hz=max_hz, cap_hz=cap_hz, capacity=capacity)
        for (part, max_hz, cap_hz, capacity), count in counts.items()
    ]
    return tuple(sorted(kinds, key=lambda kind: (-(kind.capacity or 0), -(kind.max_hz or 0), kind.part)))


def _part(cpu: Mapping[str, str]) -> str:
    part = cpu.get("CPU part")
    if part is None:
        return cpu.get("model name") or cpu.get("uarch") or cpu.get("isa") or "unknown"
    key = (cpu.get("CPU implementer", "?").lower(), part.lower())
    return ARM_PARTS.get(key, ":".join(key))


def _hertz(kilohertz: int | None) -> int | None:
    return kilohertz * 1000 if kilohertz is not None and 0 < kilohertz * 1000 < _MAX_HZ else None


def is_cooling(base: str) -> bool | None:
    """Whether the kernel holds the processor's clock down for its heat right now; None if it has no means to.

    Those are cooling devices of cpufreq (``cpufreq-cpu0``, ``thermal-cpufreq-0``) and, with ACPI, ``Processor``. Fans
    are cooling devices too.
    """
    thermal = "/sys/class/thermal"
    states = [
        read_int(base, f"{thermal}/{name}/cur_state") or 0
        for name in entries(base, thermal, "cooling_device")
        if re.search(r"cpu|^Processor", read(base, f"{thermal}/{name}/type"))
    ]
    return max(states) > 0 if states else None


def _caches(base: str) -> tuple[Cache, ...]:
    home = f"{_CPUS}/cpu0/cache"
    caches = []
    for index in entries(base, home, "index"):
        level = read_int(base, f"{home}/{index}/level")
        kind = _CACHE_KINDS.get(read(base, f"{home}/{index}/type").strip())
        size = re.fullmatch(r"(\d{1,9})([KM]?)", read(base, f"{home}/{index}/size").strip())
        if level and kind and size:
            caches.append(Cache(level=level, kind=kind, bytes=int(size[1]) * _CACHE_UNITS[size[2]]))
    return tuple(sorted(caches, key=lambda cache: (cache.level, cache.kind)))


def _memory(base: str) -> dict[str, int]:
    lines = (line.split() for line in read(base, "/proc/meminfo").splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3 and words[1].isdecimal()}


def _resident(base: str) -> int | None:
    words = read(base, "/proc/self/statm").split()
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 and words[1].isdecimal() else None


def _accelerators(base: str, compatible: list[str]) -> tuple[str, ...]:
    found = [gpu for name, gpu in TEGRA_GPUS.items() if f"nvidia,{name}" in compatible]
    gpus = "/proc/driver/nvidia/gpus"
    for address in entries(base, gpus):
        model = re.search(r"^Model:\s*(\S.*?)\s*$", read(base, f"{gpus}/{address}/information"), re.MULTILINE)
        if model:
            found.append(model[1])
    return tuple(sorted(found))


def _drivers(base: str) -> tuple[tuple[str, str], ...]:
    drivers = []
    nvidia = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", read(base, "/proc/driver/nvidia/version"))
    if nvidia:
        drivers.append(("nvidia", nvidia[1]))
    l4t = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", read(base, "/etc/nv_tegra_release"))
    if l4t:
        drivers.append(("l4t", f"{l4t[1]}.{l4t[2]}"))
    return tuple(sorted(drivers))


def _power_mode(base: str) -> str | None:
    status = re.search(r"pmode:\s*(\d+)", read(base, "/var/lib/nvpmodel/status"))
    if not status:
        return None
    number = int(status[1])
    models = re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", read(base, "/etc/nvpmodel.conf"))
    return next((name for known, name in models if int(known) == number), f"mode {number}")


def _temperature(base: str) -> float | None:
    thermal = "/sys/class/thermal"
    readings: list[tuple[bool, float]] = []
    for zone in entries(base, thermal, "thermal_zone"):
        kind = read(base, f"{thermal}/{zone}/type").strip().lower()
        readings += _degrees(base, f"{thermal}/{zone}/temp", kind.startswith(_PROCESSOR_ZONES))
    if not any(processor for processor, _ in readings):
        # AMD's processors have no thermal zone of their own, only the monitor chip.
        for chip in hwmon_chips(base, *_PROCESSOR_CHIPS):
            for name in entries(base, chip, "temp"):
                readings += _degrees(base, f"{chip}/{name}", True) if name.endswith("_input") else []
    return max(readings)[1] if readings else None


def _degrees(base: str, path: str, processor: bool) -> list[tuple[bool, float]]:
    millidegrees = read_int(base, path)
    if millidegrees is None or not -40_000 < millidegrees < 150_000 or millidegrees == 0:
        return []
    return [(processor, millidegrees / 1000)]


def _throttle_bits(base: str) -> int | None:
    """The Raspberry Pi firmware's word. A Pi 5 says ``soc@107c000000``, and its newer kernels have no such file."""
    platform = "/sys/devices/platform"
    for soc in entries(base, platform, "soc"):
        word = read(base, f"{platform}/{soc}/{soc}:firmware/get_throttled").strip()
        if re.fullmatch(r"(0x)?[0-9a-fA-F]{1,8}", word):
            return int(word, 16)
    return None


def _load(base: str) -> float | None:
    words = read(base, "/proc/loadavg").split()
    return float(words[0]) if words and re.fullmatch(r"\d{1,6}\.\d+", words[0]) else None

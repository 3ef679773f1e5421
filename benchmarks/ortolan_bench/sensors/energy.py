"""Meters that count joules: RAPL through the kernel's power capping framework.

Source: Linux Documentation/power/powercap/powercap.rst. The package zone holds cores and integrated graphics but not
the memory, which is a zone of its own on some processors (https://github.com/powercap/powercap/issues/3). Since Linux
5.10 only root may read the counters (https://github.com/powercap/powercap/issues/7), virtual machines have none, and
containers hide them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.hardware.sysfiles import entries, read, read_int
from ortolan_bench.sensors.reading import EnergyCounter

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WATTS = 10_000.0
"""A meter that shows more is not believed."""

STUCK_S = 0.05
"""A counter that stands still for so long is not believed: RAPL counts about every millisecond (Intel 64 and IA-32
Architectures Software Developer's Manual, volume 3B, "RAPL Interfaces")."""

_HOME = "/sys/class/powercap"


def rapl(base: str) -> tuple[EnergyCounter, ...]:
    """Counters of all packages and their memory; none if one of the packages cannot be read."""
    zones = [(zone, read(base, f"{_HOME}/{zone}/name").strip()) for zone in entries(base, _HOME, "intel-rapl:")]
    counters: list[EnergyCounter] = []
    for zone, name in zones:
        package = name.startswith("package")
        if not (package or name == "dram"):
            continue
        counter = _counter(base, zone, name)
        if counter is not None:
            counters.append(counter)
        elif package:
            return ()
    return tuple(counters) if any(counter.name.startswith("package") for counter in counters) else ()


def counted(before: Sequence[EnergyCounter], after: Sequence[EnergyCounter], seconds: float) -> float | None:
    """Joules between two readings of the same meters; None if one of them lies.

    A counter that wrapped around once is understood. Not believed: one that went back without saying where it wraps,
    one that stood still, and one that counted more than `MAX_WATTS`.
    """
    if not after or [counter.name for counter in before] != [counter.name for counter in after]:
        return None
    joules = 0.0
    for earlier, later in zip(before, after, strict=True):
        change = later.joules - earlier.joules
        if change < 0:
            if later.range_j is None:
                return None
            change += later.range_j
        stuck = change == 0 and seconds > STUCK_S
        if change < 0 or stuck or change > MAX_WATTS * max(seconds, STUCK_S):
            return None
        joules += change
    return joules


def energy_advice(base: str) -> str | None:
    """What to do where there is a counter that may not be read; None if there is none, or all can be.

    Only a suggestion: readable counters let other users of the machine spy on what it computes
    (https://platypusattack.com).
    """
    for zone in entries(base, _HOME, "intel-rapl:"):
        path = f"{_HOME}/{zone}/energy_uj"
        package = read(base, f"{_HOME}/{zone}/name").startswith("package")
        if package and read_int(base, path) is None and Path(base + path).exists():
            return (
                f"energy is not measured: only root may read {path}; run as root, or allow it until the next start "
                f"with sudo chmod a+r {_HOME}/*/energy_uj"
            )
    return None


def _counter(base: str, zone: str, name: str) -> EnergyCounter | None:
    energy = read_int(base, f"{_HOME}/{zone}/energy_uj")
    if energy is None or energy < 0:
        return None
    limit = read_int(base, f"{_HOME}/{zone}/max_energy_range_uj")
    if limit is not None and limit <= 0:
        limit = None
    if limit is not None and energy > limit:
        return None
    # Memory of two packages is two zones of one name.
    label = name if name.startswith("package") else f"{name} {zone.split(':')[1]}"
    return EnergyCounter(label, energy * 1e-6, None if limit is None else limit * 1e-6)

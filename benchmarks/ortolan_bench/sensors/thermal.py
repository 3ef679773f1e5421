"""Clocks, and what holds them down."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ortolan.hardware.facts import HardwareState
from ortolan.hardware.probe import is_cooling
from ortolan.hardware.sysfiles import entries, hwmon_chips, read_int

if TYPE_CHECKING:
    from collections.abc import Iterable

_CPUS = "/sys/devices/system/cpu"
_MAX_KHZ = 10**7  # a clock beyond is a lie

UNDER_VOLTAGE = "under-voltage"
"""The phrase for a weak power supply: unlike heat, it is no property of the board."""

COOLING = "clock lowered by the kernel for heat"
_NOW, _LATCHED = " now", " since start"


def clocks_hz(base: str) -> tuple[int, ...]:
    """Present clock of each cpufreq policy.

    On a Raspberry Pi this is what the kernel asked for; the firmware may give less, which only the throttle bits tell
    (https://github.com/raspberrypi/linux/issues/2986).
    """
    home = f"{_CPUS}/cpufreq"
    found = (read_int(base, f"{home}/{policy}/scaling_cur_freq") for policy in entries(base, home, "policy"))
    return tuple(khz * 1000 for khz in found if khz is not None and 0 < khz < _MAX_KHZ)


def throttling(base: str, bits: int | None) -> tuple[frozenset[str] | None, frozenset[str]]:
    """What holds the clock down now, and what has since the machine was started.

    Args:
        base: root of the files.
        bits: the Raspberry Pi firmware's word.

    Returns:
        Phrases; the first is None if nothing here could tell: no firmware word, no alarm of the supply, no cooling
        device and no throttle counter.
    """
    phrases = HardwareState(throttle_bits=bits).throttling
    now = set(_stripped(phrases, _NOW))
    alarms = [read_int(base, f"{chip}/in0_lcrit_alarm") for chip in hwmon_chips(base, "rpi_volt")]
    if any(alarm == 1 for alarm in alarms):
        now.add(UNDER_VOLTAGE)
    cooling = is_cooling(base)
    if cooling:
        now.add(COOLING)
    seen = bits is not None or cooling is not None or any(alarm is not None for alarm in alarms)
    return frozenset(now) if seen or throttle_events(base) else None, frozenset(_stripped(phrases, _LATCHED))


def throttle_events(base: str) -> tuple[tuple[str, int], ...]:
    """How often the processor was throttled since it was started, by kind.

    x86 counts the interrupts of its thermal sensors per core and package (arch/x86/kernel/cpu/mce/therm_throt.c; Docker
    hides them since https://github.com/moby/moby/pull/49560); a Jetson counts over-current events (Jetson Linux
    Developer Guide, "Jetson Orin Nano Series, Jetson Orin NX Series and Jetson AGX Orin Series").
    """
    cores = [name for name in entries(base, _CPUS, "cpu") if name[3:].isdecimal()]
    thermal = [
        read_int(base, f"{_CPUS}/{core}/thermal_throttle/{kind}_throttle_count")
        for core in cores
        for kind in ("core", "package")
    ]
    current = [
        read_int(base, f"{chip}/{name}")
        for chip in hwmon_chips(base, "soctherm_oc")
        for name in entries(base, chip, "oc")
        if re.fullmatch(r"oc\d+_event_cnt", name)
    ]
    counted = (("thermal throttling", thermal), ("over-current throttling", current))
    return tuple((kind, sum(known)) for kind, counts in counted if (known := [n for n in counts if n is not None]))


def _stripped(phrases: Iterable[str], ending: str) -> list[str]:
    return [phrase.removesuffix(ending) for phrase in phrases if phrase.endswith(ending)]

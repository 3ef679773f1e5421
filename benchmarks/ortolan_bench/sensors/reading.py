"""What sensors show at one moment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EnergyCounter:
    """A meter that counts joules.

    Args:
        name: of the meter, e.g. ``"package-0"``.
        joules: counted so far.
        range_j: where it wraps around to zero; None if unknown.
    """

    name: str
    joules: float
    range_j: float | None


@dataclass(frozen=True, slots=True)
class PowerSamples:
    """Samples of a meter that shows watts, since its sampling began.

    Args:
        meter: what is measured.
        sum_w: of all samples.
        count: number of samples.
    """

    meter: str
    sum_w: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters and sensors at one moment; None where the system hides them.

    Args:
        total_s: CPU seconds of all cores since boot, whatever they did.
        busy_s: of these, spent running something.
        stolen_s: of these, taken by the hypervisor for other guests.
        swapped_pages: pages swapped in or out since boot.
        own_s: CPU seconds of this process and of those it has waited for.
        began_s: seconds of a monotonic clock when the reading began.
        ended_s: when it ended.
        waited_s: seconds the worker's threads were ready to run but had no core.
        stopped_s: CPU seconds for which the quota of this container or service was used up.
        major_faults: pages the worker had to wait for, since it started.
        minor_faults: pages the worker got without waiting.
        load: runnable processes, average over one minute.
        temperature_c: of the processor, degrees Celsius.
        clocks_hz: present clock of each cpufreq policy, i.e. of each group of cores that share one.
        throttling: what holds the clock down now, one phrase each; None if nothing here could tell.
        latched_throttling: what has done so since the machine was started.
        throttle_events: how often it has happened since then, by kind, where that is counted.
        energy: meters that count joules.
        power: of a meter that only shows watts.
    """

    total_s: float | None
    busy_s: float | None
    stolen_s: float | None
    swapped_pages: int | None
    own_s: float
    began_s: float | None = None
    ended_s: float | None = None
    waited_s: float | None = None
    stopped_s: float | None = None
    major_faults: int | None = None
    minor_faults: int | None = None
    load: float | None = None
    temperature_c: float | None = None
    clocks_hz: tuple[int, ...] = ()
    throttling: frozenset[str] | None = None
    latched_throttling: frozenset[str] = frozenset()
    throttle_events: tuple[tuple[str, int], ...] = ()
    energy: tuple[EnergyCounter, ...] = ()
    power: PowerSamples | None = None

"""What happened between two readings, and over many blocks. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ortolan_bench.sensors.energy import counted

if TYPE_CHECKING:
    from ortolan_bench.sensors.reading import Reading

    Number = TypeVar("Number", int, float)

MIN_POWER_SAMPLES = 10
"""Fewest samples of a meter that shows watts for a figure of energy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What happened while blocks were timed, summed over them. None where the system hides it.

    ``Usage()`` is that of no block at all. A count that one block lacks is None in the sum too, rather than too small;
    for what is observed at moments (temperature, clock, load, throttling, power) the blocks that know it speak.

    Args:
        seconds: of the timed blocks, from the end of the reading before to the beginning of the one after.
        total_s: CPU seconds of all cores.
        worker_s: of these, spent by the worker.
        others_s: of these, spent by processes other than the instrument and its workers.
        stolen_s: of these, taken by the hypervisor.
        waited_s: seconds the worker's threads were ready to run but had no core.
        stopped_s: CPU seconds for which the quota of this container or service was used up.
        swapped_pages: pages swapped in or out, by whomever.
        major_faults: pages the worker had to wait for.
        minor_faults: pages the worker got without waiting.
        load_highest: runnable processes, one-minute average, the worker's own threads among them.
        temperature_first_c: before the first block, degrees Celsius.
        temperature_highest_c: at any block's end or beginning.
        temperature_last_c: after the last block.
        clocks_hz: clock of the fastest core at the end of each block, in order; blocks without are left out.
        throttling: what held the clock down in any block, one phrase each, sorted; None if nothing could tell.
        counted_j: energy by meters that count joules.
        sampled_w: sum of the samples of a meter that shows watts.
        power_samples: number of these samples.
        meter: what measured the energy; None if nothing did.
    """

    seconds: float = 0.0
    total_s: float | None = 0.0
    worker_s: float = 0.0
    others_s: float | None = 0.0
    stolen_s: float | None = 0.0
    waited_s: float | None = 0.0
    stopped_s: float | None = 0.0
    swapped_pages: int | None = 0
    major_faults: int | None = 0
    minor_faults: int | None = 0
    load_highest: float | None = None
    temperature_first_c: float | None = None
    temperature_highest_c: float | None = None
    temperature_last_c: float | None = None
    clocks_hz: tuple[int, ...] = ()
    throttling: tuple[str, ...] | None = None
    counted_j: float | None = 0.0
    sampled_w: float = 0.0
    power_samples: int = 0
    meter: str | None = None

    @property
    def energy_j(self) -> float | None:
        """Energy the meter saw, idle power included; None without a meter that can be believed, or with few samples."""
        if self.meter is None:
            return None
        if not self.power_samples:
            return self.counted_j or None
        if self.power_samples < MIN_POWER_SAMPLES:
            return None
        return self.sampled_w / self.power_samples * self.seconds

    @property
    def power_w(self) -> float | None:
        """Mean power while blocks ran."""
        energy = self.energy_j
        return None if energy is None or self.seconds <= 0 else energy / self.seconds

    def __add__(self, other: Usage) -> Usage:
        """This, followed by ``other``."""
        return Usage(
            seconds=self.seconds + other.seconds,
            total_s=_sum(self.total_s, other.total_s),
            worker_s=self.worker_s + other.worker_s,
            others_s=_sum(self.others_s, other.others_s),
            stolen_s=_sum(self.stolen_s, other.stolen_s),
            waited_s=_sum(self.waited_s, other.waited_s),
            stopped_s=_sum(self.stopped_s, other.stopped_s),
            swapped_pages=_sum(self.swapped_pages, other.swapped_pages),
            major_faults=_sum(self.major_faults, other.major_faults),
            minor_faults=_sum(self.minor_faults, other.minor_faults),
            load_highest=_highest(self.load_highest, other.load_highest),
            temperature_first_c=_first(self.temperature_first_c, other.temperature_first_c),
            temperature_highest_c=_highest(self.temperature_highest_c, other.temperature_highest_c),
            temperature_last_c=_first(other.temperature_last_c, self.temperature_last_c),
            clocks_hz=self.clocks_hz + other.clocks_hz,
            throttling=_union(self.throttling, other.throttling),
            counted_j=_sum(self.counted_j, other.counted_j),
            sampled_w=self.sampled_w + other.sampled_w,
            power_samples=self.power_samples + other.power_samples,
            meter=self.meter or other.meter,
        )


def usage(before: Reading, after: Reading, worker_s: float) -> Usage:
    """What happened between two readings, of which ``worker_s`` CPU seconds were the worker's."""
    busy = _change(before.busy_s, after.busy_s)
    mine = worker_s + after.own_s - before.own_s
    seconds = _change(before.ended_s, after.began_s) or 0.0
    sampled_w, power_samples, meter = _sampled(before, after)
    if after.energy:
        meter = f"RAPL {' + '.join(counter.name for counter in after.energy)}"
    return Usage(
        seconds=seconds,
        total_s=_change(before.total_s, after.total_s),
        worker_s=worker_s,
        # Not clamped: the kernel counts in ticks, and the errors of many short blocks must be able to cancel out.
        others_s=None if busy is None else busy - mine,
        stolen_s=_change(before.stolen_s, after.stolen_s),
        waited_s=_change(before.waited_s, after.waited_s),
        stopped_s=_change(before.stopped_s, after.stopped_s),
        swapped_pages=_change(before.swapped_pages, after.swapped_pages),
        major_faults=_change(before.major_faults, after.major_faults),
        minor_faults=_change(before.minor_faults, after.minor_faults),
        load_highest=_highest(before.load, after.load),
        temperature_first_c=_first(before.temperature_c, after.temperature_c),
        temperature_highest_c=_highest(before.temperature_c, after.temperature_c),
        temperature_last_c=_first(after.temperature_c, before.temperature_c),
        # Only at the end: before a block the cores may have been idle, and slow for it.
        clocks_hz=(max(after.clocks_hz),) if after.clocks_hz else (),
        throttling=_throttling(before, after),
        counted_j=counted(before.energy, after.energy, seconds),
        sampled_w=sampled_w,
        power_samples=power_samples,
        meter=meter,
    )


def _throttling(before: Reading, after: Reading) -> tuple[str, ...] | None:
    """What held the clock down at either end or, as far as something remembers it, between them.

    A bit of the firmware's that is latched already tells no more.
    """
    if before.throttling is None and after.throttling is None:
        return None
    found = (before.throttling or frozenset()) | (after.throttling or frozenset())
    if before.throttling is not None:
        found |= after.latched_throttling - before.latched_throttling
    earlier = dict(before.throttle_events)
    found |= {kind for kind, count in after.throttle_events if count > earlier.get(kind, count)}
    return tuple(sorted(found))


def _sampled(before: Reading, after: Reading) -> tuple[float, int, str | None]:
    if after.power is None:
        return 0.0, 0, None
    earlier_w, earlier_count = (0.0, 0) if before.power is None else (before.power.sum_w, before.power.count)
    return max(0.0, after.power.sum_w - earlier_w), max(0, after.power.count - earlier_count), after.power.meter


def _change(before: Number | None, after: Number | None) -> Number | None:
    """How much a counter rose; 0 if it fell, as it may where processors or threads come and go."""
    return None if before is None or after is None else max(type(after)(0), after - before)


def _sum(a: Number | None, b: Number | None) -> Number | None:
    return None if a is None or b is None else a + b


def _highest(a: float | None, b: float | None) -> float | None:
    return max((value for value in (a, b) if value is not None), default=None)


def _first(a: float | None, b: float | None) -> float | None:
    return b if a is None else a


def _union(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if a is None and b is None else tuple(sorted({*(a or ()), *(b or ())}))

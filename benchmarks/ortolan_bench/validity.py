"""Whether a result can be relied on: one table of thresholds, each with what to do when it is passed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from ortolan_bench.sensors import Usage
from ortolan_bench.sensors.thermal import UNDER_VOLTAGE
from ortolan_bench.statistics import PERCENTILES, relative_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan.types import Validity

Mode = Literal["burst", "sustained"]
"""``burst``: what the machine does while it is cool, so that throttling invalidates. ``sustained``: what it can keep
up, so that the throttled steady state of a board without a fan is the result, once it is steady."""

MIN_PROCESSES = 5
"""Fewest processes for an interval of the median that means something (93.75 % coverage)."""

MIN_SAMPLES = PERCENTILES[0][2]
"""Fewest samples in all: those of the first percentile."""

MIN_OBSERVED_S = 0.5
"""CPU seconds below which the kernel's 10 ms ticks say too little about other processes."""

MAX_LOAD = 0.10
"""Largest share of the CPU time that other processes may have."""

CLOCK_DROP = 0.10
"""A block whose clock is this much below the highest one ran slower than the others."""


@dataclass(frozen=True, slots=True)
class Warning:  # noqa: A001 - the field's name; nothing here uses the built-in
    """Something a reader of a result should know.

    Args:
        code: stable name, a row of the table.
        verdict: what it makes of the result.
        text: what was found and what to do, one sentence or two.
    """

    code: str
    verdict: Validity
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about how a result came about.

    Args:
        usage: what the machine did while its blocks were timed.
        block_levels_s: per process, how long one run took in each of its blocks, in seconds; see `statistics.level`.
        settled: per process, whether its warm-up reached a steady state.
        samples: number of samples in all.
        complete: whether every planned block was measured.
    """

    usage: Usage = field(default_factory=Usage)
    block_levels_s: Sequence[Sequence[float]] = ()
    settled: Sequence[bool] = ()
    samples: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Threshold:
    """A row of the table.

    Args:
        code: name.
        verdict: of a result that passes the limit.
        limit: largest value that is fine.
        value: reads the quantity; None if it is not known.
        text: sentence with ``{value}``, ``{limit}`` and ``{what}``, and what to do.
        shown: format of value and limit.
        what: names what was found, for ``{what}``.
        unknown: what is said if the quantity is not known, which then makes the result unknown. None where many
            machines do not show it and the other rows find its effect (a machine without thermometers is no worse).
        modes: in which the row counts.
    """

    code: str
    verdict: Validity
    limit: float
    value: Callable[[Evidence], float | None]
    text: str
    shown: str = ".0%"
    what: Callable[[Evidence], str] = lambda _evidence: ""
    unknown: str | None = None
    modes: tuple[Mode, ...] = ("burst", "sustained")


def _share(part: float | None, whole: float | None) -> float | None:
    """Share of the CPU time; None if unknown or too little was observed."""
    return None if part is None or whole is None or whole < MIN_OBSERVED_S else max(0.0, part / whole)


def _cores_of_others(evidence: Evidence) -> float | None:
    """Cores that others kept busy, on a machine of so many that this is within the share they may have."""
    usage = evidence.usage
    share = _share(usage.others_s, usage.total_s)
    if share is None or usage.others_s is None or usage.seconds < MIN_OBSERVED_S:
        return None
    return 0.0 if share > MAX_LOAD else usage.others_s / usage.seconds


def _waiting(evidence: Evidence) -> float | None:
    """Share of the worker's time it waited for a core that others had; many streams may well wait for each other."""
    usage = evidence.usage
    if usage.waited_s is None or usage.others_s is None:
        return None
    return _share(min(usage.waited_s, usage.others_s), usage.worker_s + usage.waited_s)


def _stopped(evidence: Evidence) -> float | None:
    usage = evidence.usage
    return None if usage.stopped_s is None else _share(usage.stopped_s, usage.worker_s + usage.stopped_s)


def _faults(evidence: Evidence) -> float | None:
    usage = evidence.usage
    return None if usage.major_faults is None else usage.major_faults / max(usage.seconds, 1.0)


def _slow_blocks(evidence: Evidence) -> float | None:
    clocks = evidence.usage.clocks_hz
    return sum(clock < (1 - CLOCK_DROP) * max(clocks) for clock in clocks) / len(clocks) if clocks else None


def _heating(evidence: Evidence) -> float | None:
    first, last = evidence.usage.temperature_first_c, evidence.usage.temperature_last_c
    return None if first is None or last is None else last - first


def _throttling(evidence: Evidence) -> tuple[str, ...]:
    """All that heat or current brought about; a weak supply is a row of its own."""
    return tuple(phrase for phrase in evidence.usage.throttling or () if phrase != UNDER_VOLTAGE)


def _drift(evidence: Evidence) -> float:
    spreads = [relative_spread(blocks) for blocks in evidence.block_levels_s]
    return median(spreads) if spreads else 0.0


TABLE: tuple[Threshold, ...] = (
    Threshold(
        "steal",
        "invalid",
        0.02,
        lambda e: _share(e.usage.stolen_s, e.usage.total_s),
        "the hypervisor took {value} of the CPU time for other guests (limit {limit}): "
        "measure on hardware of your own or at a quieter hour",
        ".1%",
        unknown="whether a hypervisor took CPU time cannot be told: /proc/stat cannot be read, or too little was "
        "timed; measure longer with --seconds",
    ),
    Threshold(
        "load",
        "invalid",
        MAX_LOAD,
        lambda e: _share(e.usage.others_s, e.usage.total_s),
        "other processes used {value} of the CPU time (limit {limit}): stop them, or measure when the machine is idle",
        unknown="whether other processes used the CPU cannot be told: /proc/stat cannot be read, or too little was "
        "timed; measure longer with --seconds",
    ),
    Threshold(
        # On a machine of many cores one busy neighbour is a small share, and still shares caches, memory and turbo.
        "neighbour",
        "invalid",
        0.5,
        _cores_of_others,
        "other processes kept {value} cores busy (limit {limit}): stop them, or measure when the machine is idle",
        ".1f",
    ),
    Threshold(
        "waiting",
        "invalid",
        0.03,
        _waiting,
        "the worker's threads waited {value} of their time for a core that others had (limit {limit}): stop other "
        "processes, or give fewer --threads than there are cores",
    ),
    Threshold(
        "quota",
        "invalid",
        0.02,
        _stopped,
        "the processor quota of this container or service was used up, and stopped it for {value} of its time (limit "
        "{limit}): give it more or fewer --threads, or measure what it can keep up, in sustained mode",
        modes=("burst",),
    ),
    Threshold(
        "swap",
        "invalid",
        64,
        lambda e: e.usage.swapped_pages,
        "{value} pages were swapped in or out (limit {limit}): free memory, or measure fewer candidates at once",
        ".0f",
        unknown="whether pages were swapped cannot be told: /proc/vmstat cannot be read; watch the free memory",
    ),
    Threshold(
        "page-faults",
        "invalid",
        2.0,
        _faults,
        "the worker had to wait for {value} pages a second from storage (limit {limit}): the memory is too small for "
        "the model and all else; free some, or measure fewer candidates at once",
        ".1f",
    ),
    Threshold(
        "under-voltage",
        "invalid",
        0,
        lambda e: None if e.usage.throttling is None else float(UNDER_VOLTAGE in e.usage.throttling),
        "the supply voltage was too low, for which the board slows down: use the power supply and cable made for it",
    ),
    Threshold(
        "throttling",
        "invalid",
        0,
        lambda e: None if e.usage.throttling is None else float(len(_throttling(e))),
        "the processor was throttled ({what}): cool it, or measure what it can keep up, in sustained mode",
        what=lambda e: ", ".join(_throttling(e)),
        modes=("burst",),
    ),
    Threshold(
        "clock",
        "invalid",
        0.10,
        _slow_blocks,
        f"in {{value}} of the blocks the clock was more than {CLOCK_DROP:.0%} below its highest, {{what}} (limit "
        "{limit}): cool the machine, or set a fixed clock",
        what=lambda e: f"{max(e.usage.clocks_hz) / 1e6:.0f} MHz",
        modes=("burst",),
    ),
    Threshold(
        "heating",
        "unknown",
        5.0,
        _heating,
        "the processor was {value} °C warmer after the last block than before the first (limit {limit}): what it can "
        "keep up is not reached; measure longer with --seconds",
        ".0f",
        modes=("sustained",),
    ),
    Threshold(
        "unstable",
        "invalid",
        0.10,
        _drift,
        "the latency moved by {value} between blocks of one process (limit {limit}): "
        "let the machine cool down, fix its clock, or measure longer with --seconds",
    ),
    Threshold(
        "warm-up",
        "invalid",
        0.5,
        lambda e: e.settled.count(False) / len(e.settled) if e.settled else 0.0,
        "in {value} of the processes the latency had not settled when the warm-up ended (limit {limit}): "
        "stop other work on the machine and measure again",
    ),
    Threshold(
        "processes",
        "unknown",
        -MIN_PROCESSES,
        lambda e: -len(e.block_levels_s),
        f"fewer than {MIN_PROCESSES} processes were measured: "
        f"how much they differ is not known; give --processes {MIN_PROCESSES} or more",
    ),
    Threshold(
        "samples",
        "unknown",
        -MIN_SAMPLES,
        lambda e: -e.samples,
        f"fewer than {MIN_SAMPLES} runs were measured, so no percentile is given: measure longer with --seconds",
    ),
    Threshold(
        "incomplete",
        "unknown",
        0,
        lambda e: float(not e.complete),
        "the benchmark was interrupted before this candidate was finished: run it again",
    ),
)
"""Every threshold. The limits are a first choice, to be tuned on stored runs."""


def judge(
    evidence: Evidence, table: Sequence[Threshold] = TABLE, mode: Mode = "burst"
) -> tuple[Validity, tuple[Warning, ...]]:
    """Hold the evidence against the table.

    Args:
        evidence: how the result came about.
        table: the thresholds.
        mode: whether throttling spoils the result or is part of it.

    Returns:
        ``"invalid"`` if any row says so, else ``"unknown"`` if a quantity that every machine has is unknown or any row
        says so, else ``"valid"``; and a warning for each.
    """
    warnings = []
    for row in table:
        value = row.value(evidence) if mode in row.modes else row.limit
        if value is None:
            if row.unknown is not None:
                warnings.append(Warning(row.code, "unknown", row.unknown))
        elif value > row.limit:
            text = row.text.format(
                value=format(value, row.shown), limit=format(row.limit, row.shown), what=row.what(evidence)
            )
            warnings.append(Warning(row.code, row.verdict, text))
    verdicts = {warning.verdict for warning in warnings}
    verdict: Validity = "invalid" if "invalid" in verdicts else "unknown" if "unknown" in verdicts else "valid"
    return verdict, tuple(warnings)

"""Whether a result can be relied on: one table of thresholds, each with what to do when it is passed. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Literal

from ortolan_bench.sensors import Usage
from ortolan_bench.statistics import PERCENTILES, relative_spread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan.types import Validity

Mode = Literal["burst", "sustained"]
"""Whether throttling makes a result invalid, or is the steady state that is measured."""

MIN_PROCESSES = 5
"""Fewest processes for an interval of the median that means something (93.75 % coverage)."""

MIN_SAMPLES = PERCENTILES[0][2]
"""Fewest samples in all: those of the first percentile."""

MIN_OBSERVED_S = 0.5
"""CPU seconds below which the kernel's 10 ms ticks say too little about other processes."""


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
        value: reads the quantity; None if it is not known, which makes the result unknown.
        text: sentence with ``{value}`` and ``{limit}``, and what to do.
        shown: format of both.
    """

    code: str
    verdict: Validity
    limit: float
    value: Callable[[Evidence], float | None]
    text: str
    shown: str = ".0%"


def _share(part: float | None, whole: float | None) -> float | None:
    """Share of the CPU time; None if unknown or too little was observed."""
    return None if part is None or whole is None or whole < MIN_OBSERVED_S else max(0.0, part / whole)


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
    ),
    Threshold(
        "load",
        "invalid",
        0.10,
        lambda e: _share(e.usage.others_s, e.usage.total_s),
        "other processes used {value} of the CPU time (limit {limit}): stop them, or measure when the machine is idle",
    ),
    Threshold(
        "swap",
        "invalid",
        64,
        lambda e: e.usage.swapped_pages,
        "{value} pages were swapped in or out (limit {limit}): free memory, or measure fewer candidates at once",
        ".0f",
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
"""Every threshold. The limits of load, steal and drift are a first choice, to be tuned on stored runs."""


def judge(
    evidence: Evidence,
    table: Sequence[Threshold] = TABLE,
    mode: Mode = "burst",  # noqa: ARG001 - no row depends on it yet
) -> tuple[Validity, tuple[Warning, ...]]:
    """Hold the evidence against the table.

    Returns:
        ``"invalid"`` if any row says so, else ``"unknown"`` if any quantity is unknown or any row says so, else
        ``"valid"``; and a warning for each.
    """
    warnings = []
    for row in table:
        value = row.value(evidence)
        if value is None:
            warnings.append(Warning(row.code, "unknown", _UNKNOWN[row.code]))
        elif value > row.limit:
            text = row.text.format(value=format(value, row.shown), limit=format(row.limit, row.shown))
            warnings.append(Warning(row.code, row.verdict, text))
    verdicts = {warning.verdict for warning in warnings}
    verdict: Validity = "invalid" if "invalid" in verdicts else "unknown" if "unknown" in verdicts else "valid"
    return verdict, tuple(warnings)


_UNKNOWN = {
    "steal": "whether a hypervisor took CPU time cannot be told: /proc/stat cannot be read, or too little was timed; "
    "measure longer with --seconds",
    "load": "whether other processes used the CPU cannot be told: /proc/stat cannot be read, or too little was timed; "
    "measure longer with --seconds",
    "swap": "whether pages were swapped cannot be told: /proc/vmstat cannot be read; watch the free memory",
}
"""What is said where a quantity of the table is not known."""

"""The figures by which two results are compared, one row each: where it comes from, and what it varies by. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Literal

from ortolan_bench.statistics import level, mean, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ortolan_bench.result import CandidateResult
    from ortolan_bench.scenarios import Scenario

Unit = Literal["s", "bytes", "1/s", "J"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A row of the table. One of ``of_samples``, ``per_process`` and ``single`` says where the figure comes from.

    Args:
        key: name in JSON, with the unit.
        title: name for people.
        unit: of its values.
        lower_is_better: whether less of it is better.
        of_samples: the figure of some latencies in seconds, in order, that walked through some inputs, so many of
            them at once.
        applies: whether it says something of results of a scenario.
        per_process: one value per process.
        single: the only value of a result.
        fewest: samples that ``of_samples`` needs.
        between: relative standard deviation between whole runs of the same thing, beyond what their processes show.
            With a single value: by how much two readings may differ though nothing changed.
    """

    key: str
    title: str
    unit: Unit = "s"
    lower_is_better: bool = True
    of_samples: Callable[[Sequence[float], int, int], float] | None = None
    applies: Callable[[Scenario], bool] = lambda _: True
    per_process: Callable[[CandidateResult], Sequence[float]] | None = None
    single: Callable[[CandidateResult], float | None] | None = None
    fewest: int = 1
    between: float

    def values(self, result: CandidateResult, inputs: int) -> list[float]:
        """One value per process, or the only one; empty where it was not measured or cannot be a ratio's part."""
        if not self.applies(result.scenario):
            return []
        if self.of_samples is not None:
            of_samples, at_once = self.of_samples, result.scenario.at_once
            processes = [samples for samples in result.processes_s if len(samples) >= self.fewest]
            found = [of_samples(samples, inputs, at_once) for samples in processes]
        elif self.per_process is not None:
            found = list(self.per_process(result))
        else:
            value = None if self.single is None else self.single(result)
            found = [] if value is None else [value]
        return found if all(value > 0 for value in found) else []

    def pairs(self, base: CandidateResult, new: CandidateResult, inputs: int) -> list[list[tuple[float, float]]]:
        """Per pair of processes that lived together, the figure of each of their blocks, or of all their samples.

        Of blocks, if each has samples enough: what disturbs the machine for a while then touches few of the ratios.
        """
        if self.of_samples is None:
            both = zip(self.values(base, inputs), self.values(new, inputs), strict=False)
            return [[pair] for pair in both]
        of_samples, at_once = self.of_samples, base.scenario.at_once
        found = []
        for ours, theirs in zip(base.blocks_s, new.blocks_s, strict=False):
            # As many samples of both: a median of more would be another figure. Blocks end early on a busy machine.
            lengths = [min(len(a), len(b)) for a, b in zip(ours, theirs, strict=False)]
            blocks = [(a[:n], b[:n]) for n, a, b in zip(lengths, ours, theirs, strict=False) if n]
            joined = [(_joined(a for a, _ in blocks), _joined(b for _, b in blocks))]
            chosen = blocks if all(min(map(len, pair)) >= self.fewest for pair in blocks) else joined
            if chosen and min(len(samples) for pair in chosen for samples in pair) >= self.fewest:
                found.append([(of_samples(a, inputs, at_once), of_samples(b, inputs, at_once)) for a, b in chosen])
        return found if all(value > 0 for blocks in found for pair in blocks for value in pair) else []


def _joined(blocks: Iterable[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sample for block in blocks for sample in block)


def _level(samples: Sequence[float], inputs: int, at_once: int) -> float:
    return level(samples, inputs if at_once == 1 else 1)


def _tail(q: float) -> Callable[[Sequence[float], int, int], float]:
    return lambda samples, _inputs, _at_once: quantile(sorted(samples), q)


def _keeps_one_rate(scenario: Scenario) -> bool:
    """Latencies of a search come from whatever rates were tried."""
    return not scenario.searches


def _throughput(samples: Sequence[float], _inputs: int, at_once: int) -> float:
    typical = mean(samples)
    return at_once / typical if typical > 0 else 0.0


def _alone(result: CandidateResult) -> list[float]:
    return [median(samples) for samples in result.alone_s if samples]


def _per_input(result: CandidateResult, spent: Sequence[float | None]) -> list[float]:
    """What each process spent, divided by the inputs that it answered; empty where it is not known."""
    answered = [result.scenario.at_once * sum(map(len, blocks)) for blocks in result.blocks_s]
    known = [(value, count) for value, count in zip(spent, answered, strict=False) if value is not None and count]
    return [value / count for value, count in known] if len(known) == len(answered) else []


FIGURES: tuple[Figure, ...] = (
    Figure(
        key="rate_per_s",
        title="highest rate",
        unit="1/s",
        lower_is_better=False,
        per_process=lambda result: result.rates,
        between=0.02,
    ),
    Figure(key="latency_p50_s", title="median latency", of_samples=_level, applies=_keeps_one_rate, between=0.015),
    Figure(
        key="latency_p90_s",
        title="p90 latency",
        of_samples=_tail(0.90),
        applies=_keeps_one_rate,
        fewest=64,
        between=0.02,
    ),
    Figure(
        key="latency_p99_s",
        title="p99 latency",
        of_samples=_tail(0.99),
        applies=_keeps_one_rate,
        fewest=662,
        between=0.05,
    ),
    Figure(
        key="throughput_per_s",
        title="throughput",
        unit="1/s",
        lower_is_better=False,
        of_samples=_throughput,
        applies=lambda scenario: scenario.name != "server",
        between=0.02,
    ),
    Figure(key="model_alone_s", title="model alone", per_process=_alone, between=0.02),
    Figure(
        key="cpu_per_input_s",
        title="CPU time",
        per_process=lambda result: _per_input(result, [sum(blocks) for blocks in result.cpu_s]),
        between=0.02,
    ),
    Figure(
        key="energy_per_input_j",
        title="energy",
        unit="J",
        per_process=lambda result: _per_input(result, [usage.energy_j for usage in result.usages]),
        between=0.05,
    ),
    Figure(key="import_s", title="import", per_process=lambda result: result.import_s, between=0.05),
    Figure(key="load_s", title="load", per_process=lambda result: result.load_s, between=0.05),
    Figure(key="first_run_s", title="first run", per_process=lambda result: result.first_run_s, between=0.05),
    Figure(
        key="peak_rss_bytes",
        title="peak memory",
        unit="bytes",
        single=lambda result: None if result.memory is None else result.memory.peak_rss,
        between=0.03,
    ),
    Figure(key="disk_bytes", title="bytes on disk", unit="bytes", single=lambda result: result.disk_bytes, between=0.0),
)
"""Every figure, the most important first.

Numbers of samples are those of `statistics.PERCENTILES`. ``between`` is for a machine of one's own; it is a first
choice, to be held against what ``benchmarks/peers/measuring_repeats.py`` prints for repeated runs of one bundle.
"""

_ON_A_GUEST = {
    "rate_per_s": 0.04,
    "latency_p50_s": 0.04,
    "latency_p90_s": 0.065,
    "latency_p99_s": 0.08,
    "throughput_per_s": 0.045,
    "model_alone_s": 0.04,
    "cpu_per_input_s": 0.045,
    "energy_per_input_j": 0.065,
    "first_run_s": 0.11,
}
"""The same on a virtual machine, whose host changes its speed between runs without any guest seeing why: its clock,
caches and memory are shared. Measured on a guest of two cores (AMD EPYC, twice 20 runs in two minutes, little steal):
up to 3.6 % for the median, 6.0 % for p90, 7.7 % for p99, 4.0 % for throughput, 10.6 % for the first run; the others are
taken to be like those."""


def figures_for(*, guest: bool) -> tuple[Figure, ...]:
    """The table for results that were measured on their own.

    Args:
        guest: whether one of them comes from a virtual machine.
    """
    if not guest:
        return FIGURES
    return tuple(replace(row, between=_ON_A_GUEST.get(row.key, row.between)) for row in FIGURES)

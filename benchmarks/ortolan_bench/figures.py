"""The figures by which two results are compared, one row each: where it comes from, and what it varies by. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ortolan_bench.statistics import level, mean, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ortolan_bench.result import CandidateResult

Unit = Literal["s", "bytes", "1/s", "J"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A row of the table. One of ``of_samples``, ``per_process`` and ``single`` says where the figure comes from.

    Args:
        key: name in JSON, with the unit.
        title: name for people.
        unit: of its values.
        lower_is_better: whether less of it is better.
        of_samples: the figure of some latencies in seconds, in order, that walked through a number of inputs.
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
    of_samples: Callable[[Sequence[float], int], float] | None = None
    per_process: Callable[[CandidateResult], Sequence[float]] | None = None
    single: Callable[[CandidateResult], float | None] | None = None
    fewest: int = 1
    between: float

    def values(self, result: CandidateResult, inputs: int) -> list[float]:
        """One value per process, or the only one; empty where it was not measured or cannot be a ratio's part."""
        if self.of_samples is not None:
            of_samples = self.of_samples
            processes = [samples for samples in result.processes_s if len(samples) >= self.fewest]
            found = [of_samples(samples, inputs) for samples in processes]
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
        of_samples = self.of_samples
        found = []
        for ours, theirs in zip(base.blocks_s, new.blocks_s, strict=False):
            # As many samples of both: a median of more would be another figure. Blocks end early on a busy machine.
            lengths = [min(len(a), len(b)) for a, b in zip(ours, theirs, strict=False)]
            blocks = [(a[:n], b[:n]) for n, a, b in zip(lengths, ours, theirs, strict=False) if n]
            joined = [(_joined(a for a, _ in blocks), _joined(b for _, b in blocks))]
            chosen = blocks if all(min(map(len, pair)) >= self.fewest for pair in blocks) else joined
            if chosen and min(len(samples) for pair in chosen for samples in pair) >= self.fewest:
                found.append([(of_samples(a, inputs), of_samples(b, inputs)) for a, b in chosen])
        return found if all(value > 0 for blocks in found for pair in blocks for value in pair) else []


def _joined(blocks: Iterable[Sequence[float]]) -> tuple[float, ...]:
    return tuple(sample for block in blocks for sample in block)


def _tail(q: float) -> Callable[[Sequence[float], int], float]:
    return lambda samples, _inputs: quantile(sorted(samples), q)


FIGURES: tuple[Figure, ...] = (
    Figure(key="latency_p50_s", title="median latency", of_samples=level, between=0.015),
    Figure(key="latency_p90_s", title="p90 latency", of_samples=_tail(0.90), fewest=64, between=0.02),
    Figure(key="latency_p99_s", title="p99 latency", of_samples=_tail(0.99), fewest=662, between=0.05),
    Figure(
        key="throughput_per_s",
        title="throughput",
        unit="1/s",
        lower_is_better=False,
        of_samples=lambda samples, _inputs: 1 / mean(samples) if mean(samples) > 0 else 0.0,
        between=0.02,
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
)
"""Every figure, the most important first.

Numbers of samples are those of `statistics.PERCENTILES`. ``between`` is a first choice, to be held against what
``benchmarks/peers/measuring_repeats.py`` prints for repeated runs of one bundle.
"""

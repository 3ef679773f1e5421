"""What is known of one candidate so far, and the result that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from ortolan_bench import sensors
from ortolan_bench.result import CandidateResult
from ortolan_bench.scenarios.queueing import capacity
from ortolan_bench.scenarios.scenario import BOUND_QUANTILE
from ortolan_bench.statistics import level
from ortolan_bench.validity import Evidence, Mode, Warning, judge  # noqa: A004 - the field's name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.types import Candidate, Fidelity
    from ortolan_bench.measure import Worker
    from ortolan_bench.protocol import Block, MemoryUse, OperatorTime
    from ortolan_bench.scenarios import Scenario
    from ortolan_bench.sensors.accelerator import AcceleratorMemory

LATE_LIMIT = 3 * (1 - BOUND_QUANTILE)
"""Share of late answers, median over the processes, with which a rate that was found does not hold in live runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A candidate in a scenario, and what a worker needs to load it.

    Args:
        candidate: what runs.
        path: of the bundle or model.
        variant: name given to ``load``; None for a bare model.
        digest: of the variant's files.
        declared: fidelity it had when it was converted; None where there are no golden answers to compare with.
        scenario: how inputs arrive.
        disk_bytes: of the files it needs; None if unknown.
        spawn: starts its workers; None for the instrument's own.
    """

    candidate: Candidate
    path: str
    variant: str | None
    digest: str
    declared: Fidelity | None
    scenario: Scenario
    disk_bytes: int | None = None
    spawn: Callable[[], Worker] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """As `CandidateResult.name`."""
        return ", ".join(filter(None, (self.candidate.name, self.scenario.label)))


@dataclass(slots=True)
class Findings:
    """What is known of one candidate so far; see `CandidateResult` for what the lists hold.

    Args:
        inputs: calls that go once through the workload.
        run_s: seconds of one run, from the first warm-up.
        count: queries of a block.
        estimate: of a search, the rate that the next block is measured at.
    """

    failure: str | None = None
    imports: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    first_runs: list[float] = field(default_factory=list)
    settled: list[bool] = field(default_factory=list)
    blocks: list[list[tuple[float, ...]]] = field(default_factory=list)
    services: list[list[tuple[float, ...]]] = field(default_factory=list)
    alone: list[tuple[float, ...]] = field(default_factory=list)
    cpu: list[list[float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    unanswered: list[int] = field(default_factory=list)
    usages: list[sensors.Usage] = field(default_factory=list)
    inputs: int = 1
    run_s: float | None = None
    count: int = 0
    estimate: float | None = None
    memory: MemoryUse | None = None
    accelerator: AcceleratorMemory | None = None
    operators: tuple[OperatorTime, ...] = ()
    fidelity: Fidelity | None = None

    @classmethod
    def resumed(cls, result: CandidateResult, blocks: int, *, raw: bool) -> Findings:
        """What an interrupted benchmark found, without the processes that it did not finish.

        Args:
            result: as it was kept.
            blocks: of a finished process.
            raw: whether the model alone is timed at a process's end.
        """
        done = len(result.blocks_s)
        if result.failure is None:
            done = sum(len(one) == blocks for one in result.blocks_s)
            if result.scenario.searches:
                done = min(done, len(result.rates))
            elif raw and result.scenario.name != "server":
                done = min(done, len(result.alone_s))
        return cls(
            failure=result.failure,
            imports=list(result.import_s[:done]),
            loads=list(result.load_s[:done]),
            first_runs=list(result.first_run_s[:done]),
            settled=list(result.settled[:done]),
            blocks=[list(one) for one in result.blocks_s[:done]],
            services=[list(one) for one in result.services_s[:done]],
            alone=list(result.alone_s[:done]),
            cpu=[list(one) for one in result.cpu_s[:done]],
            rates=list(result.rates[:done]),
            unanswered=list(result.unanswered[:done]),
            usages=list(result.usages[:done]),
            memory=result.memory,
            accelerator=result.accelerator,
            operators=result.operators,
            fidelity=result.fidelity,
        )

    def begin(self) -> None:
        """A process starts its blocks."""
        self.blocks.append([])
        self.services.append([])
        self.cpu.append([])
        self.unanswered.append(0)
        self.usages.append(sensors.Usage())

    def add(self, block: Block, usage: sensors.Usage) -> None:
        """A block was measured."""
        self.blocks[-1].append(seconds(block.samples_ns))
        if block.services_ns:
            self.services[-1].append(seconds(block.services_ns))
        self.cpu[-1].append(block.cpu_s)
        self.unanswered[-1] += block.unanswered
        self.usages[-1] += usage

    def steer(self, bound: float, seed: int) -> None:
        """Find the rate of the next block from the service times of all blocks so far."""
        measured = [sample for blocks in self.services for block in blocks for sample in block]
        if measured:
            self.estimate = capacity(measured, bound, seed=seed)

    def end(self, bound: float | None, seed: int) -> None:
        """A process has measured all its blocks."""
        if bound is not None:
            services = [sample for block in self.services[-1] for sample in block]
            self.rates.append(capacity(services, bound, seed=seed))

    def result(self, target: Target, *, complete: bool, mode: Mode) -> CandidateResult:
        """The result so far."""
        steady = self.services if target.scenario.name == "server" else self.blocks
        evidence = Evidence(
            usage=sum(self.usages, sensors.Usage()),
            block_levels_s=[[level(block, self.inputs) for block in blocks] for blocks in steady if blocks],
            settled=self.settled,
            samples=sum(len(block) for blocks in self.blocks for block in blocks),
            complete=complete,
        )
        validity, warnings = ("invalid", ()) if self.failure is not None else judge(evidence, mode=mode)
        more = self._scenario_warnings(target.scenario) if self.failure is None else ()
        if more:
            validity = "invalid"
        return CandidateResult(
            candidate=target.candidate,
            variant_digest=target.digest,
            scenario=target.scenario,
            failure=self.failure,
            import_s=tuple(self.imports),
            load_s=tuple(self.loads),
            first_run_s=tuple(self.first_runs),
            settled=tuple(self.settled),
            blocks_s=tuple(map(tuple, self.blocks)),
            services_s=tuple(map(tuple, self.services)) if any(self.services) else (),
            alone_s=tuple(self.alone),
            cpu_s=tuple(map(tuple, self.cpu)),
            rates=tuple(self.rates),
            unanswered=tuple(self.unanswered),
            usages=tuple(self.usages),
            memory=self.memory,
            accelerator=self.accelerator,
            disk_bytes=target.disk_bytes,
            operators=self.operators,
            fidelity=self.fidelity,
            validity=validity,
            warnings=(*warnings, *more),
        )

    def _scenario_warnings(self, scenario: Scenario) -> tuple[Warning, ...]:
        found = []
        if any(self.unanswered) and scenario.bound is None:
            text = (
                f"{sum(self.unanswered)} queries were still waiting when their block was over: the rate is more than "
                "this candidate can answer, and its latencies grow with the length of the benchmark; give a lower rate"
            )
            found.append(Warning("overload", "invalid", text))
        if scenario.bound is not None:
            shares = [
                sum(sample > scenario.bound for block in blocks for sample in block) / sum(map(len, blocks))
                for blocks in self.blocks
                if blocks
            ]
            late = median(shares) if shares else 0.0
            if late > LATE_LIMIT:
                text = (
                    f"in live runs {late:.1%} of the answers were late, where the rate that was found allows "
                    f"{1 - BOUND_QUANTILE:.0%}: measure longer with --seconds, on an idle machine"
                )
                found.append(Warning("late", "invalid", text))
        return tuple(found)


def seconds(nanoseconds: tuple[int, ...]) -> tuple[float, ...]:
    """Nanoseconds as seconds that are written with nine decimals at most."""
    return tuple(round(ns * 1e-9, 9) for ns in nanoseconds)

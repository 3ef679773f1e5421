"""What a benchmark found: one result per candidate, raw samples included, and the figures that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from ortolan.types import Measurement
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Usage
from ortolan_bench.statistics import MedianInterval, Quantile, mean, median_interval, percentiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Samples = tuple[float, ...]

    from ortolan.types import Candidate, Fidelity, Validity
    from ortolan_bench.protocol import MemoryUse, OperatorTime
    from ortolan_bench.sensors.accelerator import AcceleratorMemory
    from ortolan_bench.validity import Mode, Warning  # noqa: A004 - the field's name; nothing here uses the built-in


@dataclass(frozen=True, slots=True)
class Latency:
    """Steady-state latency of one query, in seconds, over all processes.

    A query is one input, of multi-stream and offline all inputs that are asked at once; in the server scenario its time
    counts from its arrival. Percentiles take samples to be independent, which those of waiting queries are not: there
    the upper bounds are too low.

    Args:
        p50: median of the processes' medians, each process counting once, with its interval.
        percentiles: those that the number of samples supports, over all samples.
        mean: of all samples.
        smallest: sample.
        largest: sample.
        count: number of samples.
    """

    p50: MedianInterval
    percentiles: tuple[Quantile, ...]
    mean: float
    smallest: float
    largest: float
    count: int

    def percentile(self, name: str) -> Quantile | None:
        """The one called e.g. ``"p90"``, None if there were too few samples."""
        return next((quantile for quantile in self.percentiles if quantile.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateResult:
    """What was found for one candidate.

    Everything measured is one entry per process, in order, none dropped; times are seconds.

    Args:
        candidate: what ran.
        variant_digest: of its files.
        scenario: how inputs arrived.
        failure: why it could not be measured, or measured to the end; None if it could.
        import_s: importing the runtime, numpy and onnxruntime.
        load_s: loading the model.
        first_run_s: the first run.
        settled: whether the latency had settled when the warm-up ended.
        blocks_s: steady-state latencies: per process, per block.
        services_s: of the server scenario, the part of each latency from the start of its run; per process, per block.
        alone_s: runs of the model without pre- and post-processing; no entries if there is none.
        cpu_s: CPU seconds of the whole process in each block; of the server scenario waiting for arrivals included.
        rates: of a search, the highest rate per second that keeps the bound.
        unanswered: of the server scenario, queries that were not answered before their block was over.
        usages: what the machine did while the blocks were timed.
        memory: of a process that was not timed, after load and a pass through the inputs; None if unknown.
        accelerator: memory on GPUs at the same moment; None without any that tells.
        disk_bytes: of a bundle with this variant only, or of a bare model's files; None if unknown.
        operators: time per operator, slowest first; empty unless it was profiled.
        fidelity: of the answers here against the golden ones; None where there are none.
        validity: whether the figures can be relied on.
        warnings: why not, and what to do.
    """

    candidate: Candidate
    variant_digest: str
    scenario: Scenario = field(default_factory=Scenario)
    failure: str | None = None
    import_s: tuple[float, ...] = ()
    load_s: tuple[float, ...] = ()
    first_run_s: tuple[float, ...] = ()
    settled: tuple[bool, ...] = ()
    blocks_s: tuple[tuple[Samples, ...], ...] = field(default=(), repr=False)
    services_s: tuple[tuple[Samples, ...], ...] = field(default=(), repr=False)
    alone_s: tuple[Samples, ...] = field(default=(), repr=False)
    cpu_s: tuple[Samples, ...] = ()
    rates: tuple[float, ...] = ()
    unanswered: tuple[int, ...] = ()
    usages: tuple[Usage, ...] = ()
    memory: MemoryUse | None = None
    accelerator: AcceleratorMemory | None = None
    disk_bytes: int | None = None
    operators: tuple[OperatorTime, ...] = ()
    fidelity: Fidelity | None = None
    validity: Validity = "unknown"
    warnings: tuple[Warning, ...] = ()

    @property
    def name(self) -> str:
        """What to call it among all results of a benchmark: ``"int8 on cpu, batch 8"``."""
        return ", ".join(filter(None, (self.candidate.name, self.scenario.label)))

    @property
    def variant(self) -> str:
        """Name of the variant, of all components joined by ``+`` where they differ."""
        return "+".join(dict.fromkeys(variant for _, variant in self.candidate.variants))

    @property
    def processes_s(self) -> tuple[Samples, ...]:
        """Samples per process, blocks joined; processes without samples are left out."""
        return _joined(self.blocks_s)

    @property
    def latency(self) -> Latency | None:
        """The figures of the steady state; None without samples."""
        return _latency(self.processes_s)

    @property
    def alone(self) -> Latency | None:
        """The same of the model without pre- and post-processing; None if there is none, or nothing was measured."""
        return _latency(self.alone_s)

    @property
    def throughput(self) -> float | None:
        """Inputs per second, one query after the other; None without samples and where inputs arrive by themselves."""
        latency = self.latency
        if latency is None or self.scenario.name == "server" or not latency.mean:
            return None
        return self.scenario.at_once / latency.mean

    @property
    def rate(self) -> MedianInterval | None:
        """Of a search: the highest rate per second, median over the processes; None if there is none."""
        return median_interval(self.rates) if self.rates else None

    @property
    def late(self) -> float | None:
        """Share of the answers of live runs that came after the bound; None without a bound or samples."""
        bound = self.scenario.bound
        samples = [sample for process in self.processes_s for sample in process]
        if bound is None or not samples:
            return None
        unanswered = sum(self.unanswered)
        return (sum(sample > bound for sample in samples) + unanswered) / (len(samples) + unanswered)

    @property
    def usage(self) -> Usage:
        """What the machine did while blocks were timed, over all processes."""
        return sum(self.usages, Usage())

    @property
    def inputs(self) -> int:
        """Inputs that were answered while the usage was recorded."""
        return self.scenario.at_once * sum(len(block) for blocks in self.blocks_s for block in blocks)

    @property
    def cpu_per_input(self) -> float | None:
        """CPU seconds of the process per input; None without samples."""
        return sum(map(sum, self.cpu_s)) / self.inputs if self.inputs and self.cpu_s else None

    @property
    def energy_per_input(self) -> float | None:
        """Joules per input, of everything that the meter sees; None where there is no meter."""
        energy = self.usage.energy_j
        return energy / self.inputs if energy is not None and self.inputs else None


def _joined(processes: Iterable[Iterable[Samples]]) -> tuple[Samples, ...]:
    joined = (tuple(sample for block in blocks for sample in block) for blocks in processes)
    return tuple(samples for samples in joined if samples)


def _latency(processes: tuple[Samples, ...]) -> Latency | None:
    pooled = [sample for process in processes for sample in process]
    if not pooled:
        return None
    return Latency(
        p50=median_interval([median(process) for process in processes if process]),
        percentiles=percentiles(pooled),
        mean=mean(pooled),
        smallest=min(pooled),
        largest=max(pooled),
        count=len(pooled),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """What one benchmark found.

    Args:
        source: path of the bundle or model, as it was given.
        digest: of the bundle, or of the model file.
        workload: name of the inputs, e.g. ``"golden"``.
        workload_kind: what they are; see `ortolan_bench.workload.Workload`.
        workload_count: number of inputs.
        seconds: steady-state seconds asked for per candidate and scenario, over all processes.
        processes: worker processes per candidate and scenario.
        seed: of the shuffling and of arrivals.
        mode: whether throttling invalidates (``"burst"``) or is the steady state (``"sustained"``).
        complete: whether it ran to its end.
        hardware_id: ``Hardware.id`` of the machine.
        runtime_id: e.g. ``"onnxruntime 1.32.0"``; ``"unknown"`` if no worker could start.
        environment: what is needed to repeat it, JSON values; see `environment.record`.
        results: one per candidate and scenario, in the order of the request.
    """

    source: str
    digest: str
    workload: str
    workload_kind: str
    workload_count: int
    seconds: float
    processes: int
    seed: int
    mode: Mode
    complete: bool
    hardware_id: str
    runtime_id: str
    environment: Mapping[str, object]
    results: tuple[CandidateResult, ...]

    @property
    def measured(self) -> tuple[CandidateResult, ...]:
        """The results with figures: neither failed nor empty."""
        return tuple(result for result in self.results if result.failure is None and result.processes_s)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What choosing needs to know of the candidates that were measured to the end, one input at a time."""
        if not self.complete:
            return ()
        return tuple(self._measurement(row) for row in self.measured if row.scenario == Scenario())

    def _measurement(self, result: CandidateResult) -> Measurement:
        return Measurement(
            candidate=result.candidate,
            variant_digest=result.variant_digest,
            workload=self.workload,
            hardware_id=self.hardware_id,
            runtime_id=self.runtime_id,
            load=result.load_s,
            first_run=result.first_run_s,
            samples=result.processes_s,
            peak_memory=None if result.memory is None else result.memory.peak_rss,
            validity=result.validity,
            warnings=tuple(warning.text for warning in result.warnings),
            # A candidate whose answers differ fails before anything is timed.
            faithful=None if result.fidelity is None else True,
        )

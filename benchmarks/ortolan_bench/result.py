"""What a benchmark found: one result per candidate, raw samples included, and the figures that follow from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from ortolan.types import Measurement
from ortolan_bench.statistics import MedianInterval, Quantile, mean, median_interval, percentiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.types import Candidate, Fidelity, Validity
    from ortolan_bench.protocol import MemoryUse
    from ortolan_bench.validity import Warning  # noqa: A004 - the field's name; nothing here uses the built-in


@dataclass(frozen=True, slots=True)
class Latency:
    """Steady-state latency of one input, in seconds, over all processes.

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

    Args:
        candidate: what ran.
        variant_digest: of its files.
        failure: why it could not be measured, or measured to the end; None if it could.
        import_s: seconds of importing the runtime, numpy and onnxruntime, one per process.
        load_s: seconds of loading the model, one per process.
        first_run_s: seconds of the first run, one per process.
        blocks_s: steady-state latencies in seconds: per process, per block, in order, none dropped.
        memory: of a process that was not timed, after load and a pass through the inputs; None if unknown.
        fidelity: of the answers here against the golden ones; None where there are none.
        validity: whether the figures can be relied on.
        warnings: why not, and what to do.
    """

    candidate: Candidate
    variant_digest: str
    failure: str | None = None
    import_s: tuple[float, ...] = ()
    load_s: tuple[float, ...] = ()
    first_run_s: tuple[float, ...] = ()
    blocks_s: tuple[tuple[tuple[float, ...], ...], ...] = field(default=(), repr=False)
    memory: MemoryUse | None = None
    fidelity: Fidelity | None = None
    validity: Validity = "unknown"
    warnings: tuple[Warning, ...] = ()

    @property
    def variant(self) -> str:
        """Name of the variant, of all components joined by ``+`` where they differ."""
        return "+".join(dict.fromkeys(variant for _, variant in self.candidate.variants))

    @property
    def processes_s(self) -> tuple[tuple[float, ...], ...]:
        """Samples per process, blocks joined; processes without samples are left out."""
        joined = (tuple(sample for block in blocks for sample in block) for blocks in self.blocks_s)
        return tuple(samples for samples in joined if samples)

    @property
    def latency(self) -> Latency | None:
        """The figures of the steady state; None without samples."""
        processes = self.processes_s
        pooled = [sample for process in processes for sample in process]
        if not pooled:
            return None
        return Latency(
            p50=median_interval([median(process) for process in processes]),
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
        workload_kind: ``"text"``, ``"files"``, ``"rows"``, ``"tensors"`` or ``"generated"``.
        workload_count: number of inputs.
        seconds: steady-state seconds asked for per candidate, over all its processes.
        processes: worker processes per candidate.
        seed: of the shuffling.
        complete: whether it ran to its end.
        hardware_id: ``Hardware.id`` of the machine.
        runtime_id: e.g. ``"onnxruntime 1.32.0"``; ``"unknown"`` if no worker could start.
        environment: what is needed to repeat it, JSON values; see `environment.record`.
        results: one per candidate, in the order of the request.
    """

    source: str
    digest: str
    workload: str
    workload_kind: str
    workload_count: int
    seconds: float
    processes: int
    seed: int
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
        """What choosing needs to know of the candidates that were measured to the end."""
        return tuple(self._measurement(result) for result in self.measured) if self.complete else ()

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

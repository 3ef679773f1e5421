"""What choosing needs of a measurement, and nothing more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.records import dataclass
from ortolan.types import Candidate, Interval, Measurement, Validity

if TYPE_CHECKING:
    from collections.abc import Sequence

TAIL_SAMPLES = 64
"""Fewest samples for a 90th percentile; with fewer the largest sample stands for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What choosing needs of a measurement. Times are seconds, memory is bytes.

    Args:
        candidate: what ran.
        variant_digest: see ``candidate_digest``.
        workload: name of the inputs.
        hardware_id: of the machine.
        runtime_id: e.g. ``"onnxruntime 1.32.0"``.
        samples: how many there were.
        p50: median of all samples.
        p90: their 90th percentile; the largest if there are fewer than 64.
        processes: smallest and largest median of a process: two candidates whose ranges overlap cannot be told apart.
        load: median time to load the model.
        first_run: median time of the first run.
        peak_memory: of the whole process; None if unknown.
        validity: whether it can be relied on.
        faithful: whether the golden samples were answered within the variant's fidelity; None if not checked.
    """

    candidate: Candidate
    variant_digest: str
    workload: str
    hardware_id: str
    runtime_id: str
    samples: int
    p50: float
    p90: float
    processes: Interval
    load: float | None
    first_run: float | None
    peak_memory: int | None
    validity: Validity
    faithful: bool | None


def summarize(measurement: Measurement) -> Summary | None:
    """What choosing needs; None if there is not one sample."""
    pooled = sorted(sample for process in measurement.samples for sample in process)
    medians = [median for process in measurement.samples if (median := _median(process)) is not None]
    if not pooled:
        return None
    return Summary(
        candidate=measurement.candidate,
        variant_digest=measurement.variant_digest,
        workload=measurement.workload,
        hardware_id=measurement.hardware_id,
        runtime_id=measurement.runtime_id,
        samples=len(pooled),
        p50=_quantile(pooled, 0.5),
        p90=_quantile(pooled, 0.9) if len(pooled) >= TAIL_SAMPLES else pooled[-1],
        processes=Interval(min(medians), max(medians)),
        load=_median(measurement.load),
        first_run=_median(measurement.first_run),
        peak_memory=measurement.peak_memory,
        validity=measurement.validity,
        faithful=measurement.faithful,
    )


def _median(values: Sequence[float]) -> float | None:
    return _quantile(sorted(values), 0.5) if values else None


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between the order statistics, as numpy's default does."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)

"""Quantiles and their uncertainty. Pure: no clock, no files. Samples are seconds."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, comb, exp, fsum, lgamma, log, log1p
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PERCENTILES: tuple[tuple[str, float, int], ...] = (
    ("p90", 0.90, 64),
    ("p95", 0.95, 130),
    ("p99", 0.99, 662),
    ("p99.9", 0.999, 6636),
)
"""(name, q, fewest samples): with fewer, the 99 % upper bound would be the largest sample or none at all.

The counts are those of MLPerf LoadGen's early stopping with one over-latency query, c = 0.99 and d = 0
(``loadgen/early_stopping.cc``, function ``MinPassingQueriesFinder``).
"""

CONFIDENCE = 0.99
"""Confidence of a percentile's upper bound, as in LoadGen's early stopping."""

INTERVAL_COVERAGE = 0.95
"""Coverage wished for the interval of a median."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """A percentile of the samples in seconds, and the upper bound of the true one (99 % confidence)."""

    name: str
    value: float
    upper: float


@dataclass(frozen=True, slots=True)
class MedianInterval:
    """Median over processes, and the interval that holds the true one with probability ``coverage``.

    With a single process there is no interval: ``low`` and ``high`` equal ``value`` and ``coverage`` is 0.
    """

    value: float
    low: float
    high: float
    coverage: float


def allowed_above(n: int, q: float, confidence: float = CONFIDENCE) -> int | None:
    """How many of ``n`` samples may lie above a value that still bounds the quantile ``q`` from above.

    The largest t with P(Binomial(n, 1 - q) <= t) <= 1 - confidence, the criterion of LoadGen's early stopping, which is
    the order-statistic bound of David & Nagaraja, Order Statistics, 3rd ed., section 7.1. Samples are taken to be
    independent; None if no t satisfies it.
    """
    log_p, log_q = log1p(-q), log(q)
    cumulative = 0.0
    for t in range(n + 1):
        cumulative += exp(lgamma(n + 1) - lgamma(t + 1) - lgamma(n - t + 1) + t * log_p + (n - t) * log_q)
        if cumulative > 1 - confidence:
            return t - 1 if t else None
    return None


def quantile(ordered: Sequence[float], q: float) -> float:
    """Nearest-rank quantile of sorted, non-empty samples: a value that was measured, never an interpolation."""
    return ordered[max(0, ceil(round(q * len(ordered), 9)) - 1)]


def percentiles(samples: Sequence[float]) -> tuple[Quantile, ...]:
    """Those of PERCENTILES that the number of samples supports, each with its upper bound."""
    ordered = sorted(samples)
    found = []
    for name, q, fewest in PERCENTILES:
        above = allowed_above(len(ordered), q) if len(ordered) >= fewest else None
        if above is not None:
            value = quantile(ordered, q)
            found.append(Quantile(name, value, max(value, ordered[-1 - above])))
    return tuple(found)


def median_interval(medians: Sequence[float], coverage: float = INTERVAL_COVERAGE) -> MedianInterval:
    """Median of the processes' medians, with its order-statistic interval.

    A process is one observation: address space layout, thread placement and the like differ from process to process, so
    the samples within one say nothing about that spread. The interval from the k-th smallest to the k-th largest of n
    holds the true median with probability 1 - 2 P(Binomial(n, 1/2) < k), whatever the distribution; the narrowest with
    the coverage wished is taken, otherwise the full range with what it has (5 processes: 93.75 %, 6: 96.9 %).

    Raises:
        ValueError: no medians.
    """
    ordered = sorted(medians)
    n = len(ordered)
    if n == 0:
        raise ValueError("expected at least one median, got none")
    best = (0, max(0.0, 1 - 2 * 0.5**n))
    for k in range(1, (n + 1) // 2):
        held = 1 - 2 * sum(comb(n, i) for i in range(k + 1)) * 0.5**n
        if held < coverage:
            break
        best = (k, held)
    k, held = best
    return MedianInterval(median(ordered), ordered[k], ordered[n - 1 - k], held)


def mean(samples: Sequence[float]) -> float:
    """Arithmetic mean of non-empty samples, summed without rounding error."""
    return fsum(samples) / len(samples)


def level(samples: Sequence[float], inputs: int) -> float:
    """How long one run took, in a block that walked cyclically through ``inputs`` different inputs.

    The mean over the inputs of each one's median. The median over all would jump between two inputs of different cost
    when nearly nothing changed. The plain median if not every input had its turn.
    """
    if len(samples) < inputs:
        return median(samples)
    return mean([median(samples[first::inputs]) for first in range(inputs)])


def relative_spread(values: Sequence[float]) -> float:
    """(largest - smallest) / smallest of positive values; 0 for fewer than two."""
    if len(values) < 2 or min(values) <= 0:
        return 0.0
    return max(values) / min(values) - 1


def histogram(samples: Sequence[float], low: float, high: float, bins: int) -> list[int]:
    """Counts in ``bins`` classes of equal width on a logarithmic axis; what lies outside counts in the outermost."""
    counts = [0] * bins
    span = log(high / low) if high > low > 0 else 0.0
    for sample in samples:
        position = log(sample / low) / span if span and sample > 0 else 0.0
        counts[min(bins - 1, max(0, int(position * bins)))] += 1
    return counts

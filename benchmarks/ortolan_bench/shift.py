"""By how much one set of values lies above another, with an interval. Pure.

Two designs, each with the estimator that suits it:

- pairs (two processes alive together, timed in turns): the Hodges-Lehmann estimator with the interval that belongs to
  Wilcoxon's signed-rank test. If both sides are the same and their order is random, a difference is as likely as its
  negative, whatever the noise looks like, and that symmetry is all the test needs.
- two independent runs: Welch's interval of the difference of means, with a further component of variance that the
  processes of one run share and therefore cannot show.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from math import atan, ceil, cos, floor, fsum, inf, pi, sin, sqrt
from statistics import NormalDist, median, variance
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_EXACT = 50
"""Most pairs for which the signed-rank distribution is counted out; beyond, the normal one is as good."""

_MOST_FREEDOM = 1000  # beyond, Student's distribution is the normal one to four digits


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the second set lies above the first, in the values' unit.

    Args:
        estimate: the shift.
        low: lower end of its interval; minus infinity if there are too few values for one.
        high: upper end; infinity likewise.
    """

    estimate: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """The longer arm of the interval."""
        return max(self.high - self.estimate, self.estimate - self.low)

    @property
    def apart(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0


def paired_shift(differences: Sequence[float], error: float) -> Shift:
    """Hodges-Lehmann estimate of the centre of paired differences, with its distribution-free interval.

    The median of the averages of every two differences (each with itself too), and the k-th smallest and largest of
    these averages, with k from the signed-rank distribution: Hollander, Wolfe & Chicken, Nonparametric Statistical
    Methods, 3rd ed., sections 3.2 and 3.3.

    Args:
        differences: one per pair, at least one.
        error: how often the interval may miss, e.g. 0.05.
    """
    averages = sorted((a + b) / 2 for a, b in combinations_with_replacement(differences, 2))
    estimate = median(averages)
    k = signed_rank_cut(len(differences), error)
    return Shift(estimate, averages[k - 1], averages[-k]) if k else Shift(estimate, -inf, inf)


def fewest_pairs(error: float) -> int:
    """Pairs from which on `paired_shift` gives an interval: 2**(1 - n) <= error."""
    n = 1
    while 0.5 ** (n - 1) > error:
        n += 1
    return n


@lru_cache(maxsize=256)
def signed_rank_cut(n: int, error: float) -> int:
    """The largest k with P(rank sum < k) <= error / 2 for n differences without an effect; 0 if there is none."""
    if n > MOST_EXACT:
        z = NormalDist().inv_cdf(1 - error / 2)
        return max(0, floor(n * (n + 1) / 4 - z * sqrt(n * (n + 1) * (2 * n + 1) / 24)))
    ways = [1]  # how many of the 2**n choices of signs give each rank sum
    for rank in range(1, n + 1):
        longer = ways + [0] * rank
        ways = [count + (ways[total - rank] if total >= rank else 0) for total, count in enumerate(longer)]
    below, k = 0, 0
    for k, count in enumerate(ways):
        below += count
        if below > error / 2 * 2**n:
            return k
    return k


def welch_shift(first: Sequence[float], second: Sequence[float], error: float, between: float = 0.0) -> Shift:
    """Welch's interval of the difference of two means, widened by what runs differ among themselves.

    Degrees of freedom after Satterthwaite (Biometrics Bulletin 2, 1946), in which ``between`` counts as known.

    Args:
        first: values of one run's processes.
        second: of the other's.
        error: how often the interval may miss.
        between: standard deviation of a component that all values of a run share.
    """
    estimate = fsum(second) / len(second) - fsum(first) / len(first)
    if min(len(first), len(second)) < 2:
        return Shift(estimate, -inf, inf)
    parts = [variance(values) / len(values) for values in (first, second)]
    total = fsum(parts) + 2 * between**2
    if total == 0:
        return Shift(estimate, estimate, estimate)
    slack = fsum(part**2 / (len(values) - 1) for part, values in zip(parts, (first, second), strict=True))
    freedom = min(_MOST_FREEDOM, max(1, floor(total**2 / slack))) if slack else _MOST_FREEDOM
    half = student_quantile(error, freedom) * sqrt(total)
    return Shift(estimate, estimate - half, estimate + half)


def more_pairs(shift: Shift, wanted: float, n: int) -> int:
    """How many pairs beyond ``n`` bring half the interval to ``wanted``: it shrinks with the root of their number."""
    return max(1, ceil(n * (shift.half / wanted) ** 2) - n)


def more_processes(
    first: Sequence[float], second: Sequence[float], error: float, between: float, wanted: float
) -> int | None:
    """How many processes each run needs beyond its own for `welch_shift` to be about ``wanted`` to either side.

    None if no number is enough: the runs' own component does not shrink. Needs two values a side.
    """
    spread = variance(first) + variance(second)
    room = (wanted / NormalDist().inv_cdf(1 - error / 2)) ** 2 - 2 * between**2
    if room <= 0:
        return None
    return max(1, ceil(spread / room) - min(len(first), len(second)))


@lru_cache(maxsize=256)
def student_quantile(error: float, freedom: int) -> float:
    """The t that |T| exceeds with probability ``error``; ``freedom`` is a whole number of degrees of freedom, >= 1."""
    low, high = 0.0, 2.0
    while _within(high, freedom) < 1 - error:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < 1 - error else (low, middle)
    return high


def _within(t: float, freedom: int) -> float:
    """P(|T| <= t): Abramowitz & Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4."""
    angle = atan(t / sqrt(freedom))
    odd = freedom % 2
    if freedom == 1:
        return 2 * angle / pi
    term = cos(angle) if odd else 1.0
    total = term
    for i in range(2 + odd, freedom - 1, 2):
        term *= (i - 1) / i * cos(angle) ** 2
        total += term
    return 2 / pi * (angle + sin(angle) * total) if odd else sin(angle) * total

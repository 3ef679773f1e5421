"""The highest rate of Poisson arrivals that keeps a latency bound, from measured service times. Pure.

A server answers one query at a time, in the order of arrival. Its latencies at any rate follow from the service times
by Lindley's recursion (Lindley, Proc. Cambridge Phil. Soc. 48 (1952), 277-289), so every rate of a search sees the same
service times and the same arrivals, stretched: the share of late answers can only grow with the rate, and the search
ends at the rate itself rather than at its noise. The service times are those of live runs at the rate found so far,
whose own late answers are counted beside it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ortolan_bench.scenarios.arrivals import poisson
from ortolan_bench.scenarios.scenario import BOUND_QUANTILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.float64]

ARRIVALS = 100_000
"""Arrivals of a search: the rate of a queue with constant service times comes out within 1 to 2 %."""

_PRECISION = 1e-3
"""The search ends when the rate is known to this share."""


def sojourns(arrivals: Sequence[float] | Numbers, services: Sequence[float] | Numbers) -> Numbers:
    """Seconds from arrival to answer of each query, when one is answered at a time; service times in turn.

    Lindley's recursion written out: answer n comes at the largest, over k up to n, of arrival k plus the service times
    k to n.
    """
    import numpy as np

    times = np.asarray(arrivals, np.float64)
    used = np.resize(np.asarray(services, np.float64), len(times))
    ends: Numbers = np.cumsum(used)
    answered: Numbers = ends + np.maximum.accumulate(times - (ends - used))
    return answered - times


def capacity(services: Sequence[float], bound: float, *, seed: int) -> float:
    """The highest rate, per second, at which 99 % of the answers come within ``bound`` seconds of their arrival.

    Args:
        services: seconds of each answer, in order of measurement, positive; used in turn, so that what comes in runs
            stays in runs.
        bound: seconds.
        seed: of the arrivals.

    Returns:
        0 if even an idle server is late too often.
    """
    allowed = (1 - BOUND_QUANTILE) * ARRIVALS

    def keeps(rate: float) -> bool:
        return int((sojourns(_unit_arrivals(seed) / rate, services) > bound).sum()) <= allowed

    late = sum(service > bound for service in services) / len(services)
    if late > 1 - BOUND_QUANTILE:
        return 0.0
    low, high = 0.0, len(services) / sum(services)
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low


@lru_cache(maxsize=16)
def _unit_arrivals(seed: int) -> Numbers:
    """Arrivals at the rate 1 per second."""
    import numpy as np

    return np.array(poisson(ARRIVALS, 1.0, seed))

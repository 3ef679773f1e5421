"""The highest rate of Poisson arrivals that keeps a latency bound, from measured service times. Pure.

A server answers one query at a time, in the order of arrival. Its latencies at any rate follow from the service times
by Lindley's recursion (Lindley, Proc. Cambridge Phil. Soc. 48 (1952), 277-289), so every rate of a search sees the same
service times and the same arrivals, stretched: the share of late answers can only grow with the rate, and the search
ends at the rate itself rather than at its noise. The service times are those of live runs at the rate found so far,
whose own late answers are counted beside it.
"""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

from ortolan_bench.scenarios.arrivals import poisson
from ortolan_bench.scenarios.scenario import BOUND_QUANTILE

if TYPE_CHECKING:
    from collections.abc import Sequence

ARRIVALS = 100_000
"""Arrivals of a search: the rate of a queue with constant service times comes out within 1 to 2 %."""

STEERING_ARRIVALS = 10_000
"""Arrivals of the searches between blocks, which only say at what rate to measure next."""

_PRECISION = 1e-3
"""The search ends when the rate is known to this share."""


def sojourns(arrivals: Sequence[float], services: Sequence[float]) -> list[float]:
    """Seconds from arrival to answer of each query, when one is answered at a time; service times in turn."""
    free = 0.0
    found = []
    for i, arrival in enumerate(arrivals):
        free = max(free, arrival) + services[i % len(services)]
        found.append(free - arrival)
    return found


def capacity(services: Sequence[float], bound: float, *, seed: int, arrivals: int = ARRIVALS) -> float:
    """The highest rate, per second, at which 99 % of the answers come within ``bound`` seconds of their arrival.

    Args:
        services: seconds of each answer, in order of measurement, positive; used in turn, so that what comes in runs
            stays in runs.
        bound: seconds.
        seed: of the arrivals.
        arrivals: how many.

    Returns:
        0 if even an idle server is late too often.
    """
    allowed = floor((1 - BOUND_QUANTILE) * arrivals)
    unit = poisson(arrivals, 1.0, seed)
    if not _keeps(unit, services, bound, 0.0, allowed):
        return 0.0
    low, high = 0.0, len(services) / sum(services)
    while high - low > _PRECISION * high:
        middle = (low + high) / 2
        if _keeps(unit, services, bound, middle, allowed):
            low = middle
        else:
            high = middle
    return low


def _keeps(unit: Sequence[float], services: Sequence[float], bound: float, rate: float, allowed: int) -> bool:
    """Whether at most ``allowed`` answers are late; rate 0: nobody ever waits."""
    stretch = 1 / rate if rate else 0.0
    free, late, count = 0.0, 0, len(services)
    for i, position in enumerate(unit):
        service = services[i % count]
        arrival = position * stretch if rate else free
        free = max(arrival, free) + service
        if free - arrival > bound:
            late += 1
            if late > allowed:
                return False
    return True

"""The timed loops of a worker: runs one after the other, runs that arrive, and the warm-up. Pure but for the clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter_ns, sleep
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Clock = Callable[[], int]

Input = TypeVar("Input")

AGREEING_WINDOWS = 3
"""Successive warm-up windows whose medians must agree before the steady state is taken to be reached."""

WINDOW_TOLERANCE = 0.10
"""By how much, as a share of the smallest, the medians of those windows may differ."""

_WINDOW_NS = 10_000_000  # a window shorter than the scheduler's 4-10 ms tick would judge single interruptions
_SPIN_NS = 100_000  # Linux wakes sleepers about 50 us late (timer slack, prctl(2))
_PROBE_NS = 500_000_000  # the first window looks at no more inputs than this time allows


def run_block(
    call: Callable[[Input], object],
    inputs: Sequence[Input],
    count: int,
    *,
    offset: int = 0,
    limit_ns: int | None = None,
    clock: Clock = perf_counter_ns,
) -> list[int]:
    """Time ``count`` calls one by one, walking cyclically through ``inputs`` from ``offset`` on.

    The loop costs well under a microsecond per sample, most of it outside the timed span.

    Args:
        call: what is timed; its answer is thrown away.
        inputs: at least one.
        count: number of calls, at least 1.
        offset: position in ``inputs`` of the first call, modulo their number.
        limit_ns: after this time no further call starts; None for no limit. At least one call is always made.
        clock: nanoseconds of a monotonic clock.

    Returns:
        One duration in nanoseconds per call made, in order; none is left out.
    """
    following = islice(cycle(inputs), offset % len(inputs), None).__next__
    samples = [0] * count
    deadline = None if limit_ns is None else clock() + limit_ns
    if deadline is None:
        for i in range(count):
            value = following()
            start = clock()
            call(value)
            samples[i] = clock() - start
        return samples
    for i in range(count):
        value = following()
        start = clock()
        call(value)
        end = clock()
        samples[i] = end - start
        if end >= deadline:
            del samples[i + 1 :]
            break
    return samples


@dataclass(frozen=True, slots=True)
class Served:
    """What came of queries that arrived.

    Args:
        latencies_ns: from a query's arrival to its answer, in order.
        services_ns: of that, from the start of its run.
        unanswered: queries that were not answered because the time was over.
    """

    latencies_ns: list[int]
    services_ns: list[int]
    unanswered: int


def wait_until(due: int) -> int:
    """Wait until `perf_counter_ns` shows ``due``, and give what it shows then: sleep, and look closely at the end."""
    rest = due - perf_counter_ns() - _SPIN_NS
    if rest > 0:
        sleep(rest * 1e-9)
    while (now := perf_counter_ns()) < due:
        pass
    return now


def run_arrivals(
    call: Callable[[Input], object],
    inputs: Sequence[Input],
    arrivals_ns: Sequence[int],
    *,
    offset: int = 0,
    limit_ns: int,
    clock: Clock = perf_counter_ns,
    wait: Callable[[int], int] = wait_until,
) -> Served:
    """Answer queries that arrive at given times, one at a time, in the order of arrival.

    A query's time counts from its arrival, whether or not it had to wait: who measured from the start of the run would
    leave out the waiting that a busy server causes ("coordinated omission").

    Args:
        call: what is timed; its answer is thrown away.
        inputs: at least one; walked through cyclically from ``offset`` on.
        arrivals_ns: nanoseconds after the beginning, ascending, at least one.
        offset: position in ``inputs`` of the first query, modulo their number.
        limit_ns: after this time no further query is answered.
        clock: nanoseconds of a monotonic clock.
        wait: returns, with the time, as soon as the clock shows the time it is given.
    """
    following = islice(cycle(inputs), offset % len(inputs), None).__next__
    latencies, services = [], []
    begin = clock()
    deadline = begin + limit_ns
    for arrival in arrivals_ns:
        value = following()
        due = begin + arrival
        start = clock()
        if start < due:
            start = wait(due)
        call(value)
        end = clock()
        latencies.append(end - due)
        services.append(end - start)
        if end >= deadline:
            break
    return Served(latencies, services, len(arrivals_ns) - len(latencies))


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How the warm-up went.

    Args:
        settled: whether the last windows agreed before time ran out.
        medians_ns: median of each window in nanoseconds.
        mean_ns: mean of the last window in nanoseconds: what one run will take.
        runs: number of runs made.
    """

    settled: bool
    medians_ns: tuple[int, ...]
    mean_ns: float
    runs: int


def has_settled(medians: Sequence[float]) -> bool:
    """Whether the last three windows' medians agree within 10 %."""
    last = medians[-AGREEING_WINDOWS:]
    return len(last) == AGREEING_WINDOWS and max(last) <= min(last) * (1 + WINDOW_TOLERANCE)


def _median(window: Sequence[int]) -> int:
    """Lower median; the standard library's would bring decimal and fractions into every worker."""
    return sorted(window)[(len(window) - 1) // 2]


def warm_up(
    call: Callable[[Input], object],
    inputs: Sequence[Input],
    *,
    limit_ns: int,
    least_ns: int = 0,
    clock: Clock = perf_counter_ns,
) -> WarmUp:
    """Run until three successive windows agree within 10 %, or until three windows and ``limit_ns`` are over.

    Every window walks through the same inputs equally often, so that inputs of different cost do not look like drift.
    It takes ``least_ns`` at least: what a board needs to get as hot as it gets.
    """
    begin = clock()
    deadline = begin + limit_ns
    window = run_block(call, inputs, len(inputs), limit_ns=min(_PROBE_NS, limit_ns), clock=clock)
    chosen = inputs[: len(window)]
    repeats = max(1, -(-_WINDOW_NS // max(1, sum(window))))
    medians = [_median(window)]
    runs = len(window)
    while clock() < begin + least_ns or (
        not has_settled(medians) and (clock() < deadline or len(medians) < AGREEING_WINDOWS)
    ):
        window = run_block(call, chosen, len(chosen) * repeats, clock=clock)
        medians.append(_median(window))
        runs += len(window)
    return WarmUp(has_settled(medians), tuple(medians), sum(window) / len(window), runs)

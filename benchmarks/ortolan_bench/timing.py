"""The timed loops of a worker: a block of runs, and the warm-up before the first block. Pure but for the clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter_ns
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
    call: Callable[[Input], object], inputs: Sequence[Input], *, limit_ns: int, clock: Clock = perf_counter_ns
) -> WarmUp:
    """Run until three successive windows agree within 10 %, or until three windows and ``limit_ns`` are over.

    Every window walks through the same inputs equally often, so that inputs of different cost do not look like drift.
    """
    deadline = clock() + limit_ns
    window = run_block(call, inputs, len(inputs), limit_ns=min(_PROBE_NS, limit_ns), clock=clock)
    chosen = inputs[: len(window)]
    repeats = max(1, -(-_WINDOW_NS // max(1, sum(window))))
    medians = [_median(window)]
    runs = len(window)
    while not has_settled(medians) and (clock() < deadline or len(medians) < AGREEING_WINDOWS):
        window = run_block(call, chosen, len(chosen) * repeats, clock=clock)
        medians.append(_median(window))
        runs += len(window)
    return WarmUp(has_settled(medians), tuple(medians), sum(window) / len(window), runs)

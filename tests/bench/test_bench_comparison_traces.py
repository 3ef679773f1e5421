"""How often comparisons are right, on made-up traces with the faults that real machines have."""

import numpy as np
import pytest

from ortolan.types import Candidate, SessionConfig
from ortolan_bench.comparison import compare
from ortolan_bench.result import CandidateResult

KINDS = ("quiet", "drift", "bursts", "two modes", "heavy tails", "autocorrelation")
BLOCKS = 4
SAMPLES = 12
LATENCY_S = 1e-3
TRIALS = 100


def pair_of_results(kind, seed, *, pairs=20, spread=0.011, effect=0.0, run_spread=0.0, apart=False):
    """Two results of the same thing, the second slower by ``effect``.

    ``spread`` is the relative standard deviation between processes, ``run_spread`` that between runs, which only
    matters for runs that are ``apart``: measured one after the other instead of in turns.
    """
    random = np.random.default_rng([KINDS.index(kind), seed])
    slots = 2 * pairs * BLOCKS
    machine = _machine(kind, random, slots)
    slot = np.arange(slots).reshape((2, pairs, BLOCKS) if apart else (pairs, BLOCKS, 2))
    if not apart:  # A B B A, who begins is drawn by lot
        flipped = (np.arange(BLOCKS) % 2 ^ random.integers(0, 2, (pairs, 1))).astype(bool)
        slot[flipped] = slot[flipped][:, ::-1]
        slot = np.moveaxis(slot, 2, 0)
    results = []
    for side in (0, 1):
        levels = _processes(kind, random, pairs, spread) + run_spread * random.normal() * apart
        level = levels[:, None] + machine[slot[side]] + side * np.log1p(effect)
        noise = 0.02 * np.abs(random.normal(size=(pairs, BLOCKS, SAMPLES)))
        blocks = LATENCY_S * np.exp(level[:, :, None] + noise)
        results.append(_result(blocks.tolist()))
    return results


def _processes(kind, random, count, spread):
    """What each process keeps to itself: its address space, its place on the cores."""
    levels = spread * random.normal(size=count)
    if kind == "two modes":
        levels += 0.08 * (random.random(count) < 0.2)
    if kind == "heavy tails":
        levels = spread * random.standard_t(2, count)
    return levels


def _machine(kind, random, slots):
    """What befalls whoever runs at the time."""
    if kind == "drift":
        return np.linspace(0, 0.02, slots)
    if kind == "bursts":
        return 0.3 * random.random(slots) * (random.random(slots) < 0.05)
    noise = 0.004 * random.normal(size=slots)
    if kind == "autocorrelation":
        for i in range(1, slots):
            noise[i] += 0.9 * noise[i - 1]
    return noise


def _result(blocks):
    count = len(blocks)
    return CandidateResult(
        candidate=Candidate((("model", "fp32"),), SessionConfig()),
        variant_digest="d" * 64,
        import_s=(0.2,) * count,
        load_s=(0.01,) * count,
        first_run_s=(0.002,) * count,
        blocks_s=tuple(tuple(map(tuple, process)) for process in blocks),
        validity="valid",
    )


def judged(base, new, design="paired"):
    return compare(base, new, design=design, inputs=1, names=("base", "new"))


def called(comparison):
    return any(row.verdict == "different" for row in comparison.figures)


@pytest.mark.parametrize("kind", KINDS)
def test_paired_equals_are_rarely_called_different(kind):
    """Any figure counts as an alarm, and still at most one comparison of twenty has one."""
    alarms = sum(called(judged(*pair_of_results(kind, seed))) for seed in range(TRIALS))
    assert alarms <= 0.05 * TRIALS


@pytest.mark.parametrize("kind", KINDS)
def test_stored_equals_are_rarely_called_different(kind):
    """Runs of five processes, which differ by 1.1 %, on a machine that differs by 1 % from run to run."""
    alarms = 0
    for seed in range(TRIALS):
        base, new = pair_of_results(kind, seed, pairs=5, run_spread=0.01, apart=True)
        alarms += called(judged(base, new, "stored"))
    assert alarms <= 0.05 * TRIALS


@pytest.mark.parametrize("kind", KINDS)
def test_pairs_find_a_slow_down_of_five_percent(kind):
    """In at least nine of ten comparisons, with the right sign."""
    found = [judged(*pair_of_results(kind, seed, effect=0.05)).figure("latency_p50_s") for seed in range(TRIALS)]
    right = sum(row.verdict == "different" and row.change > 0 for row in found)
    # Where every fifth process is 8 % slower, 5 % are less than what processes differ by.
    assert right >= (0.8 if kind == "two modes" else 0.9) * TRIALS


@pytest.mark.parametrize("kind", ["quiet", "drift", "bursts", "autocorrelation"])
def test_pairs_find_a_slow_down_of_two_percent(kind):
    """In at least half of them."""
    found = [judged(*pair_of_results(kind, seed, effect=0.02)).figure("latency_p50_s") for seed in range(TRIALS)]
    assert sum(row.verdict == "different" for row in found) >= TRIALS / 2


def test_interval_holds_the_true_change():
    """On nearly every trace: all of a comparison's intervals together hold with 95 %."""
    held = 0
    for seed in range(TRIALS):
        row = judged(*pair_of_results("quiet", seed, effect=0.03)).figure("latency_p50_s")
        held += row.low <= 0.03 <= row.high
    assert held >= 0.95 * TRIALS

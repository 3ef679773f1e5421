"""How far one set of values lies above another."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ortolan_bench.shift import (
    Shift,
    fewest_pairs,
    more_pairs,
    more_processes,
    paired_shift,
    signed_rank_cut,
    student_quantile,
    welch_shift,
)

DIFFERENCES = st.lists(st.floats(-1, 1), min_size=1, max_size=30)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 8, 30, 1000])
@pytest.mark.parametrize("error", [0.5, 0.05, 0.05 / 8])
def test_student_quantile_agrees_with_scipy(error, freedom):
    """Odd and even degrees of freedom have different series."""
    assert student_quantile(error, freedom) == pytest.approx(stats.t.ppf(1 - error / 2, freedom), rel=1e-12)


@pytest.mark.parametrize(("n", "critical"), [(6, 0), (10, 8), (20, 52), (30, 137)])
def test_signed_rank_cut_agrees_with_the_printed_tables(n, critical):
    """Wilcoxon's two-sided 5 % points: a rank sum up to the critical one rejects."""
    assert signed_rank_cut(n, 0.05) == critical + 1


def test_normal_approximation_continues_the_exact_distribution():
    """From 50 to 51 pairs nothing jumps."""
    steps = [signed_rank_cut(n, 0.05) for n in (49, 50, 51, 52)]
    gaps = [b - a for a, b in itertools.pairwise(steps)]
    assert max(gaps) - min(gaps) <= 2


@pytest.mark.parametrize("error", [0.05, 0.05 / 8])
def test_interval_of_pairs_misses_exactly_as_often_as_its_ranks_say(error):
    """Of all 2**10 signs that chance could give ten differences, those that reject are the promised share."""
    sizes = [random.Random(4).expovariate(1) for _ in range(10)]
    flips = itertools.product((1, -1), repeat=10)
    rejected = sum(paired_shift([s * f for s, f in zip(sizes, flip, strict=True)], error).apart for flip in flips)
    assert 0 < rejected / 2**10 <= error


def test_too_few_pairs_have_no_interval():
    """Five signs are equal by chance in one of sixteen cases: no interval with 95 %."""
    assert fewest_pairs(0.05) == 6
    assert paired_shift([1.0] * 5, 0.05) == Shift(1.0, -np.inf, np.inf)
    assert paired_shift([1.0] * 6, 0.05) == Shift(1.0, 1.0, 1.0)


def test_pair_that_went_wrong_hardly_moves_the_estimate():
    """One difference a hundred times the others."""
    good = [0.02 + 0.001 * i for i in range(-10, 10)]
    assert paired_shift([*good[:-1], 5.0], 0.05).estimate == pytest.approx(paired_shift(good, 0.05).estimate, abs=1e-3)


@given(DIFFERENCES)
@settings(max_examples=50, deadline=None)
def test_exchanging_the_sides_turns_the_sign(differences):
    """Base and new are treated alike."""
    there, back = paired_shift(differences, 0.05), paired_shift([-d for d in differences], 0.05)
    assert (back.estimate, back.low, back.high) == pytest.approx((-there.estimate, -there.high, -there.low))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.lists(st.floats(-1, 1), min_size=2, max_size=12))
@settings(max_examples=50, deadline=None)
def test_welch_interval_is_that_of_scipy_or_a_little_wider(first, second):
    """Degrees of freedom are rounded down."""
    mine = welch_shift(first, second, 0.05)
    assert mine.low <= mine.estimate <= mine.high
    if np.ptp(first) < 1e-6 or np.ptp(second) < 1e-6:
        return
    theirs = stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    assert mine.low <= theirs.low + 1e-9
    assert mine.high >= theirs.high - 1e-9
    assert mine.high - mine.low <= 7 * (theirs.high - theirs.low)


def test_what_runs_share_widens_the_interval():
    """Processes that agree to the last digit do not make two runs differ."""
    assert welch_shift([0.0] * 5, [0.02] * 5, 0.05).apart
    assert welch_shift([0.0] * 5, [0.02] * 5, 0.05, between=0.01).high == pytest.approx(
        0.02 + 1.962 * 0.01 * 2**0.5, rel=1e-3
    )
    assert not welch_shift([0.0] * 5, [0.02] * 5, 0.05, between=0.01).apart


def test_one_process_has_no_interval():
    """How much processes differ is not known."""
    assert welch_shift([0.0], [0.5, 0.6], 0.05).low == -np.inf


def test_more_pairs_are_enough():
    """With so many more, the interval is as narrow as was asked for."""
    random_ = random.Random(5)
    draw = [random_.gauss(0, 0.05) for _ in range(400)]
    few = paired_shift(draw[:20], 0.05)
    more = more_pairs(few, few.half / 2, 20)
    assert 40 <= more <= 80
    assert paired_shift(draw[: 20 + more], 0.05).half < 0.7 * few.half


def test_more_processes_cannot_beat_what_runs_share():
    """The root of their number does not shrink it."""
    values = [0.0, 0.01, -0.01, 0.02, -0.02]
    assert more_processes(values, values, 0.05, between=0.0, wanted=0.01) > 5
    assert more_processes(values, values, 0.05, between=0.02, wanted=0.01) is None

"""Quantiles and their uncertainty."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan_bench.statistics import (
    PERCENTILES,
    allowed_above,
    histogram,
    level,
    mean,
    median_interval,
    percentiles,
    quantile,
    relative_spread,
)


@pytest.mark.parametrize(("name", "q", "fewest"), PERCENTILES)
def test_fewest_samples_leave_exactly_one_above_the_bound(name, q, fewest):
    """The table's counts are the smallest for which the bound is not the largest sample."""
    assert (allowed_above(fewest, q), allowed_above(fewest - 1, q)) == (1, 0)


def test_no_bound_exists_with_very_few_samples():
    """43 samples cannot bound a 90th percentile with 99 % confidence, 44 can: 0.9**44 < 0.01."""
    assert (allowed_above(43, 0.9), allowed_above(44, 0.9)) == (None, 0)


def test_bound_is_exact_for_many_samples():
    """1,000 samples of which 78 lie above still bound the 90th percentile: P(Binomial(1000, 0.1) <= 78) = 0.0099."""
    exact = [sum(_binomial(1000, 0.1, k) for k in range(t + 1)) for t in (78, 79)]
    assert exact[0] <= 0.01 < exact[1]
    assert allowed_above(1000, 0.9) == 78


def test_inputs_of_different_cost_are_no_drift():
    """Two inputs, one twice as slow: a run more of either moves the median over all, but not the level."""
    fast, slow = [1.0, 1.01], [2.0, 2.02]
    samples = [time for pair in zip(fast * 50, slow * 50, strict=True) for time in pair]
    assert level(samples, 2) == pytest.approx(1.5075)
    assert level(samples[1:], 2) == pytest.approx(level(samples, 2), rel=0.01)
    assert level([3.0, 1.0, 2.0], 10) == 2.0


def test_bound_holds_as_often_as_promised():
    """Over 1,000 synthetic runs the true 90th percentile is missed at most about 1 % of the time."""
    source = random.Random(3)
    true_p90 = 0.9
    missed = sum(percentiles([source.random() for _ in range(100)])[0].upper < true_p90 for _ in range(1000))
    assert missed <= 20


def test_heavy_tail_raises_the_bound_and_not_the_percentile():
    """Two outliers among 64 leave the 90th percentile alone; the bound is the second largest sample."""
    samples = [1.0] * 62 + [50.0, 60.0]
    (p90,) = percentiles(samples)
    assert (p90.value, p90.upper) == (1.0, 50.0)


@pytest.mark.parametrize(
    ("count", "names"), [(63, []), (64, ["p90"]), (130, ["p90", "p95"]), (662, ["p90", "p95", "p99"])]
)
def test_percentiles_appear_with_enough_samples(count, names):
    """Each percentile is given from its count on."""
    assert [found.name for found in percentiles([float(i) for i in range(count)])] == names


def test_quantile_is_a_measured_value():
    """Nearest rank: no interpolation, and no rounding error at exact ranks."""
    ordered = [float(i) for i in range(1, 101)]
    assert [quantile(ordered, q) for q in (0.0, 0.5, 0.9, 0.99, 1.0)] == [1.0, 50.0, 90.0, 99.0, 100.0]


def test_interval_of_five_processes_is_their_range():
    """Five medians hold the true one with 93.75 %, and not more can be had."""
    found = median_interval([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.value, found.low, found.high, found.coverage) == (3.0, 1.0, 5.0, 0.9375)


def test_interval_of_ten_processes_leaves_the_extremes_out():
    """The second smallest and largest of ten hold it with 97.9 %."""
    found = median_interval([float(i) for i in range(10)])
    assert (found.low, found.high) == (1.0, 8.0)
    assert found.coverage == pytest.approx(1 - 2 * 11 / 1024)


def test_single_process_has_no_interval():
    """One median says nothing about the spread between processes."""
    assert median_interval([2.0]).coverage == 0


def test_no_median_is_an_error():
    """An empty list is refused."""
    with pytest.raises(ValueError, match=r"^expected at least one median, got none$"):
        median_interval([])


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=200))
@settings(max_examples=60, deadline=None)
def test_figures_lie_within_the_samples(samples):
    """Interval, mean and percentiles never leave the range of what was measured."""
    found = median_interval(samples)
    assert min(samples) <= found.low <= found.value <= found.high <= max(samples)
    assert min(samples) * (1 - 1e-12) <= mean(samples) <= max(samples) * (1 + 1e-12)
    assert all(min(samples) <= p.value <= p.upper <= max(samples) for p in percentiles(samples))


@given(st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=100), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_histogram_counts_every_sample(samples, bins):
    """Nothing is dropped, also beyond the ends of the axis."""
    assert sum(histogram(samples, 1e-4, 1.0, bins)) == len(samples)


def test_histogram_axis_is_logarithmic():
    """1, 10 and 100 ms fall into equally distant classes."""
    assert histogram([0.0011, 0.011, 0.11], 0.001, 1.0, 3) == [1, 1, 1]


def test_relative_spread_of_one_value_is_zero():
    """There is nothing to differ from."""
    assert (relative_spread([1.0]), relative_spread([2.0, 3.0])) == (0.0, 0.5)


def _binomial(n, p, k):
    from math import comb

    return comb(n, k) * p**k * (1 - p) ** (n - k)

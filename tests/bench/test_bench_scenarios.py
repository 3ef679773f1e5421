"""How inputs arrive: reading scenarios, arrivals, and the search for the highest rate."""

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ortolan.errors import UnknownNameError, UsageError
from ortolan_bench.scenarios import Scenario, parse
from ortolan_bench.scenarios.arrivals import poisson
from ortolan_bench.scenarios.queueing import capacity, sojourns


@pytest.mark.parametrize(
    ("text", "scenarios", "labels"),
    [
        ("single-stream", (Scenario(),), [""]),
        ("multi-stream:4", (Scenario(name="multi-stream", at_once=4),), ["4 at once"]),
        (
            "offline:1,64",
            (Scenario(name="offline", at_once=1), Scenario(name="offline", at_once=64)),
            ["batch 1", "batch 64"],
        ),
        ("server:50/s", (Scenario(name="server", rate=50.0),), ["50/s"]),
        ("server:0.5/s", (Scenario(name="server", rate=0.5),), ["0.5/s"]),
        ("server:20ms", (Scenario(name="server", bound=0.02),), ["99% in 20 ms"]),
    ],
)
def test_scenarios_are_read(text, scenarios, labels):
    """Each has a label that tells it from others of its name."""
    found = parse(text)
    assert found == scenarios
    assert [scenario.label for scenario in found] == labels


def test_offline_sweeps_by_itself():
    """Powers of two."""
    assert [scenario.at_once for scenario in parse("offline")] == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("sever:5ms", UnknownNameError, "unknown scenario 'sever'; did you mean 'server'?"),
        ("single-stream:4", UsageError, "multi-stream:N asks N inputs at once"),
        ("multi-stream", UsageError, "multi-stream: expected numbers of inputs such as multi-stream:1,8, got ''"),
        ("multi-stream:0", UsageError, "expected 1 to 65536 inputs at once, got 0"),
        ("offline:1,-8", UsageError, "offline: expected numbers of inputs such as offline:1,8, got '1,-8'"),
        ("offline:1000000", UsageError, "expected 1 to 65536 inputs at once"),
        ("server", UsageError, "server: expected a rate such as server:50/s, or the time"),
        ("server:50", UsageError, "server: expected a rate such as server:50/s, or the time"),
        ("server:0/s", UsageError, "expected one arrival a minute to 1000000 a second, got 0/s"),
        ("server:99999999/s", UsageError, "to 1000000 a second, got 99999999/s"),
        ("server:0ms", UsageError, "server: expected a rate"),
        ("server:2h", UsageError, "expected a bound of at most an hour, got 2h"),
    ],
)
def test_absurd_scenarios_are_refused(text, error, message):
    """With what to write instead."""
    with pytest.raises(error) as caught:
        parse(text)
    assert message in str(caught.value)


@given(st.integers(1, 500), st.floats(0.01, 1e5), st.integers(0, 10**6))
def test_arrivals_have_the_rate_that_was_asked_for(count, rate, seed):
    """All within count / rate seconds, in order, the same for the same seed."""
    arrivals = poisson(count, rate, seed)
    assert arrivals == sorted(arrivals) == poisson(count, rate, seed)
    assert len(arrivals) == count
    assert 0 <= arrivals[0] <= arrivals[-1] <= count / rate * (1 + 1e-12)


def test_arrivals_are_as_irregular_as_a_poisson_process():
    """Gaps are exponential: their mean and standard deviation are equal, and 1/e of them exceed the mean."""
    arrivals = poisson(50_000, 10.0, 3)
    gaps = [after - before for before, after in pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.02)
    assert sum(gap > mean for gap in gaps) / len(gaps) == pytest.approx(math.exp(-1), rel=0.02)


def test_queries_wait_for_those_before():
    """One at a time, in the order of arrival; who comes to an idle server does not wait."""
    assert sojourns([0.0, 1.0, 2.0, 10.0], [3.0]).tolist() == [3.0, 5.0, 7.0, 3.0]
    assert sojourns([0.0, 1.0], [3.0, 0.5]).tolist() == [3.0, 2.5]


def erlang_waits(wait, rho):
    """Share of M/D/1 queries that wait at most ``wait`` service times (Erlang 1909); exact."""
    from fractions import Fraction

    total = 0.0
    for k in range(math.floor(wait) + 1):
        back = Fraction(rho) * (k - Fraction(wait))
        total += float(back**k / math.factorial(k)) * math.exp(-float(back))
    return (1 - rho) * total


@pytest.mark.parametrize(("bound", "seed"), [(2, 1), (5, 2), (10, 3)])
def test_search_finds_the_capacity_of_constant_service_times(bound, seed):
    """Within 3 % of the rate at which Erlang's formula has 99 % within the bound, in seconds of any size."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if erlang_waits(bound - 1, middle) >= 0.99 else (low, middle)
    found = capacity([0.002], 0.002 * bound, seed=seed)
    assert found * 0.002 == pytest.approx(low, rel=0.03)


def test_search_finds_the_capacity_of_exponential_service_times():
    """Latencies of an M/M/1 queue are exponential with the rate mu - lambda (Kleinrock, Queueing Systems I, 5.6)."""
    random = Random(5)
    services = [random.expovariate(1.0) for _ in range(100_000)]
    assert capacity(services, 20.0, seed=1) == pytest.approx(1 - math.log(100) / 20, rel=0.03)


def test_bound_below_the_service_time_has_no_rate():
    """Even who never waits is late."""
    assert capacity([0.002], 0.001, seed=0) == 0.0
    assert capacity([0.001] * 97 + [1.0] * 3, 0.01, seed=0) == 0.0


def test_generous_bound_leaves_the_server_busy():
    """The rate comes near to, and never beyond, what it can answer at all."""
    found = capacity([0.001], 10.0, seed=0)
    assert 950 < found <= 1000


def test_block_of_a_closed_loop_goes_on_where_the_last_one_ended():
    """Each block begins with the next input."""
    request = Scenario().block(3, count=50, seconds=0.25, rate=None, seed=0)
    assert request == {"count": 50, "offset": 150, "limit_s": 1.0}


def test_block_of_arrivals_fills_the_queue_before_it_measures():
    """A fifth more arrivals than are measured; other ones in each block, the same for the same seed."""
    scenario = Scenario(name="server", rate=100.0)
    first = scenario.block(0, count=9, seconds=0.5, rate=100.0, seed=1)
    assert (len(first["arrivals_ns"]), first["lead"]) == (60, 10)
    assert 0 <= first["arrivals_ns"][0] <= first["arrivals_ns"][-1] <= 600_000_000
    assert first == scenario.block(0, count=9, seconds=0.5, rate=100.0, seed=1)
    assert first["arrivals_ns"] != scenario.block(1, count=9, seconds=0.5, rate=100.0, seed=1)["arrivals_ns"]


def test_rare_arrivals_lengthen_the_block():
    """At one query a minute a block of a second still has one, and the time to wait for it."""
    request = Scenario(name="server", rate=1 / 60).block(0, count=9, seconds=1.0, rate=1 / 60, seed=1)
    assert len(request["arrivals_ns"]) == 1
    assert request["limit_s"] >= 60

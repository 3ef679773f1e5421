"""The timed loops, with a clock that passes only when a call says so."""

from time import perf_counter_ns

from ortolan_bench.timing import has_settled, run_arrivals, run_block, wait_until, warm_up


def test_block_times_each_call_in_order(clock):
    """Every duration is there, in order, inputs taken in turn from the offset on."""
    seen = []

    def call(value):
        seen.append(value)
        clock.now += value

    assert run_block(call, [10, 20, 30], 5, offset=4, clock=clock) == [20, 30, 10, 20, 30]
    assert seen == [20, 30, 10, 20, 30]


def test_block_stops_after_its_limit_and_keeps_the_late_sample(clock):
    """The call that passes the limit is measured; none is started after it."""

    def call(value):
        clock.now += value

    assert run_block(call, [60], 100, limit_ns=100, clock=clock) == [60, 60]


def test_block_runs_at_least_once(clock):
    """A call far slower than the limit still gives its sample."""

    def call(value):
        clock.now += value

    assert run_block(call, [10**9], 3, limit_ns=1, clock=clock) == [10**9]


def test_three_agreeing_windows_are_settled():
    """Within 10 % of the smallest."""
    assert has_settled([500, 100, 105, 110])
    assert not has_settled([100, 100, 111])
    assert not has_settled([100, 100])


def test_warm_up_ends_when_latency_settles(clock):
    """Runs that get faster step by step are waited for; the mean is that of the last window."""
    durations = iter([900_000_000, 500_000_000, 300_000_000, 200_000_000])

    def call(_):
        clock.now += next(durations, 200_000_000)

    done = warm_up(call, ["a"], limit_ns=10**12, clock=clock)
    assert done.settled
    assert done.medians_ns[-3:] == (200_000_000,) * 3
    assert done.mean_ns == 200_000_000
    assert done.runs == 6


def test_warm_up_gives_up_on_drift(clock):
    """Latency that grows without end is reported as not settled once the time is over."""
    durations = iter(int(50_000_000 * 1.2**i) for i in range(100))

    def call(_):
        clock.now += next(durations)

    done = warm_up(call, ["a"], limit_ns=3_000_000_000, clock=clock)
    assert not done.settled
    assert len(done.medians_ns) < 100


def test_slow_model_gets_three_windows(clock):
    """Runs longer than the time for warming up are no drift."""

    def call(_):
        clock.now += 10**10

    done = warm_up(call, ["a", "b"], limit_ns=10**9, clock=clock)
    assert (done.settled, done.runs) == (True, 3)


def test_windows_walk_through_all_inputs(clock):
    """Inputs of different cost are no drift: each window has all of them, as often as fills it."""

    def call(value):
        clock.now += value

    done = warm_up(call, [100_000, 900_000], limit_ns=10**10, clock=clock)
    assert done.settled
    assert done.runs == 2 + 2 * 20
    assert done.mean_ns == 500_000


def test_arrivals_are_answered_in_order_and_waited_for(clock):
    """A query's time counts from its arrival: who comes while another is answered waits."""

    def call(value):
        clock.now += value

    def wait(due):
        clock.now = due
        return due

    done = run_arrivals(call, [30, 10], [5, 10, 100], offset=0, limit_ns=10**9, clock=clock, wait=wait)
    assert done.latencies_ns == [30, 35, 30]
    assert done.services_ns == [30, 10, 30]
    assert done.unanswered == 0


def test_late_wake_up_counts(clock):
    """The query was there, whoever overslept."""

    def wait(due):
        clock.now = due + 7
        return clock.now

    def call(value):
        clock.now += value

    done = run_arrivals(call, [10], [50], limit_ns=10**9, clock=clock, wait=wait)
    assert (done.latencies_ns, done.services_ns) == ([17], [10])


def test_wait_until_is_not_early():
    """On the real clock, which it gives back."""
    due = perf_counter_ns() + 2_000_000
    assert due <= wait_until(due) <= perf_counter_ns()
    assert wait_until(due) >= due


def test_warm_up_takes_its_least_time(clock):
    """A board gets hot long after its latency has settled for the first time."""

    def call(_):
        clock.now += 10**9

    done = warm_up(call, ["a"], limit_ns=10**9, least_ns=30 * 10**9, clock=clock)
    assert (done.settled, done.runs) == (True, 30)

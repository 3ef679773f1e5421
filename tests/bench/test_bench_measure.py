"""Carrying out a schedule, with fake workers on a fake machine."""

import pytest

from ortolan_bench.measure import BLOCKS, Instrument, Settings
from ortolan_bench.workload import text_workload


@pytest.fixture
def instrument(machine, target):
    """Makes an Instrument for variants."""

    def make(*variants, **settings):
        return Instrument(
            [target(variant) for variant in variants],
            text_workload("golden", ["a", "b"]),
            Settings(**{"seconds": 1.0, "processes": 5, **settings}),
            spawn=machine.spawn,
            read_sensors=machine.read_sensors,
            clock=lambda: machine.seconds,
        )

    return make


def test_everything_is_measured(instrument, machine):
    """One figure per process for import, load and first run; every block of every process, no sample dropped."""
    bench = instrument("fp32", "int8")
    bench.run()
    for result in bench.results():
        assert result.failure is None
        assert (result.import_s, result.load_s, result.first_run_s) == ((0.25,) * 5, (0.01,) * 5, (0.002,) * 5)
        assert [[len(block) for block in blocks] for blocks in result.blocks_s] == [[50] * BLOCKS] * 5
        assert result.latency.p50.value == 0.001
        assert (result.validity, result.warnings) == ("valid", ())
    assert bench.complete
    assert not machine.alive


def test_memory_and_golden_answers_come_before_any_timing(instrument, machine):
    """Each candidate's first process is for memory and the check; nothing in it is timed."""
    instrument("fp32", "int8").run()
    first = [do for do, variant in machine.log if variant == "fp32"][:5]
    assert first == ["load", "exercise", "memory", "check", "quit"]
    checks = [i for i, (do, _) in enumerate(machine.log) if do == "check"]
    blocks = [i for i, (do, _) in enumerate(machine.log) if do == "block"]
    assert max(checks) < min(blocks)


@pytest.mark.parametrize("moment", ["load", "exercise", "memory", "check", "first_run", "warm_up", "block"])
def test_failing_candidate_is_reported_and_the_rest_goes_on(instrument, machine, moment):
    """Whenever it happens."""
    machine.fail["int8"] = moment
    bench = instrument("fp32", "int8")
    bench.run()
    good, bad = bench.results()
    assert good.failure is None
    assert good.latency.count == 5 * BLOCKS * 50
    assert bad.failure == f"the worker crashed during '{moment}' (SIGSEGV)"
    assert bad.validity == "invalid"
    assert [do for do, variant in machine.log if variant == "int8"].count(moment) == 1
    assert not machine.alive


def test_wrong_answers_fail_before_timing(instrument, machine):
    """However fast it would have been."""
    machine.worst = 0.2
    bench = instrument("fp32")
    bench.run()
    (result,) = bench.results()
    assert result.failure == (
        "it does not give the golden answers: 0.0% of 4 decisions changed, and numbers differ by up to 0.2 "
        "where 0.0001 is allowed; convert again, or report a bug"
    )
    assert "block" not in [do for do, _ in machine.log]


@pytest.mark.parametrize("moment", ["check", "warm_up", "block"])
def test_interruption_keeps_what_was_measured(instrument, machine, moment):
    """No worker stays, and unfinished results say that they are."""
    machine.fail["int8"] = f"interrupt {moment}"
    bench = instrument("fp32", "int8")
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert not machine.alive
    assert not bench.complete
    result = bench.results()[0]
    assert result.memory.peak_rss == 50_000_000
    assert "incomplete" in [warning.code for warning in result.warnings]


def test_busy_machine_makes_results_invalid(instrument, machine):
    """A loop on the other core is seen in the counters."""
    machine.others = 1.0
    bench = instrument("fp32")
    bench.run()
    (result,) = bench.results()
    assert result.validity == "invalid"
    assert [warning.code for warning in result.warnings] == ["load"]


def test_restless_warm_up_makes_results_invalid(instrument, machine):
    """Latency that never settled is no steady state."""
    machine.settled = False
    bench = instrument("fp32")
    bench.run()
    assert [warning.code for warning in bench.results()[0].warnings] == ["warm-up"]


def test_drift_within_processes_is_found(instrument, machine):
    """A machine that grows 5 % slower from block to block."""
    machine.runs_ns["fp32"] = lambda i: 1e6 * 1.05 ** (i // 50 % BLOCKS)
    bench = instrument("fp32")
    bench.run()
    assert [warning.code for warning in bench.results()[0].warnings] == ["unstable"]


def test_two_modes_between_processes_widen_the_interval(instrument, machine):
    """Processes that fall into a fast and a slow mode: the interval holds both."""
    machine.runs_ns["fp32"] = lambda i: 2e6 if i // (50 * BLOCKS) in (1, 3) else 1e6
    bench = instrument("fp32")
    bench.run()
    p50 = bench.results()[0].latency.p50
    assert (p50.low, p50.value, p50.high) == (0.001, 0.001, 0.002)


def test_progress_estimates_the_time_left(machine, target):
    """Steps count up to the total; the estimate falls to the last step's length."""
    seen = []
    bench = Instrument(
        [target("fp32")],
        text_workload("golden", ["a"]),
        Settings(seconds=2.0, processes=5),
        spawn=machine.spawn,
        read_sensors=machine.read_sensors,
        progress=seen.append,
        clock=lambda: machine.seconds,
    )
    bench.run()
    assert [step.done for step in seen] == list(range(1 + 5 + 5 * BLOCKS + 5))
    assert seen[0].seconds_left is None
    assert seen[0].doing == "checking fp32 on cpu"
    assert [step.doing for step in seen[-2:]] == ["timing fp32 on cpu", "finishing fp32 on cpu"]
    assert seen[-2].seconds_left == pytest.approx(0.1)

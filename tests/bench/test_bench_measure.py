"""Carrying out a schedule, with fake workers on a fake machine."""

from dataclasses import replace

import pytest

from ortolan_bench.findings import Findings
from ortolan_bench.measure import BLOCKS, BUILD_S, HEATING_S, Instrument, Settings
from ortolan_bench.protocol import Block
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Usage
from ortolan_bench.workload import text_workload


@pytest.fixture
def instrument(machine, target):
    """Makes an Instrument for variants."""

    def make(*variants, targets=None, known=(), **settings):
        return Instrument(
            targets or [target(variant) for variant in variants],
            text_workload("golden", ["a", "b"]),
            Settings(**{"seconds": 1.0, "processes": 5, **settings}),
            spawn=machine.spawn,
            read_sensors=machine.read_sensors,
            known=known,
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


def test_building_an_engine_is_announced_and_not_taken_for_a_hang(machine, target):
    """TensorRT compiles for minutes before the first answer; other providers load in the usual time."""
    plain = target("fp32")
    config = replace(plain.candidate.config, provider="tensorrt")
    compiled = replace(plain, candidate=replace(plain.candidate, config=config))
    for one, patience, remark in ((plain, 60.0, ""), (compiled, BUILD_S, " (an engine is built if there is none yet")):
        seen = []
        Instrument(
            [one],
            text_workload("golden", ["a"]),
            Settings(seconds=1.0, processes=5, timeout=60.0),
            spawn=machine.spawn,
            read_sensors=machine.read_sensors,
            progress=seen.append,
            clock=lambda: machine.seconds,
        ).run()
        assert (machine.timeouts["load"], machine.timeouts["first_run"]) == (patience, patience)
        assert seen[0].doing.startswith(f"checking {one.candidate.name}{remark}")
        assert "engine" not in seen[-1].doing


SERVER = Scenario(name="server", rate=100.0)
SEARCH = Scenario(name="server", bound=0.01)


def test_inputs_asked_at_once_are_told_to_the_worker(instrument, machine, target):
    """A batch is a candidate like any other: process, memory and blocks of its own."""
    bench = instrument(targets=[target("fp32", scenario=Scenario(name="offline", at_once=n)) for n in (1, 8)])
    bench.run()
    assert {request["at_once"] for do, request in machine.requests if do == "load"} == {1, 8}
    one, eight = bench.results()
    assert (one.name, eight.name) == ("fp32 on cpu, batch 1", "fp32 on cpu, batch 8")
    assert (one.memory.peak_rss, eight.memory.peak_rss) == (50_000_000, 50_000_000)
    assert (one.throughput, eight.throughput) == (1000.0, 8000.0)
    assert eight.disk_bytes == 1_400_000


def test_model_alone_is_timed_after_the_blocks_of_each_process(instrument, machine):
    """Once per process, in the same process; tensors have nothing around the model."""
    bench = instrument("fp32")
    bench.run()
    (result,) = bench.results()
    assert (len(result.alone_s), result.alone.p50.value, result.latency.p50.value) == (5, 0.0005, 0.001)
    assert machine.log[-3:] == [("parts", "fp32"), ("block", "fp32"), ("quit", "fp32")]


def test_cpu_time_is_per_input(instrument, machine, target):
    """The fake worker is busy all the time."""
    bench = instrument(targets=[target("fp32", scenario=Scenario(name="multi-stream", at_once=4))])
    bench.run()
    assert bench.results()[0].cpu_per_input == pytest.approx(0.001 / 4)


def test_arrivals_wait_for_those_before(instrument, machine, target):
    """At 90 % of what the candidate can answer most answers take longer than a run, and service times do not."""
    bench = instrument(targets=[target("fp32", scenario=Scenario(name="server", rate=900.0))], seconds=20.0)
    bench.run()
    (result,) = bench.results()
    assert [[len(block) for block in blocks] for blocks in result.blocks_s] == [[900] * BLOCKS] * 5
    assert {sample for blocks in result.services_s for block in blocks for sample in block} == {0.001}
    # Mean latency of an M/D/1 queue: s (2 - rho) / (2 (1 - rho)) (Pollaczek and Khinchine).
    assert result.latency.mean == pytest.approx(0.001 * 1.1 / 0.2, rel=0.3)
    assert (result.alone, result.throughput, result.unanswered) == (None, None, (0,) * 5)
    assert (result.validity, result.warnings) == ("valid", ())


def test_rate_beyond_the_capacity_is_found_out(instrument, machine, target):
    """The queue would grow for ever: what was measured says more about the length of the benchmark."""
    bench = instrument(targets=[target("fp32", scenario=Scenario(name="server", rate=8000.0))], seconds=4.0)
    bench.run()
    (result,) = bench.results()
    assert sum(result.unanswered) > 1000
    assert [warning.code for warning in result.warnings] == ["overload"]
    assert result.validity == "invalid"


@pytest.mark.parametrize(("bound", "rho"), [(0.005, 0.5608), (0.01, 0.7735)])
def test_search_lands_at_the_capacity(instrument, machine, target, bound, rho):
    """Within 3 % of the rate at which 99 % of the answers of an M/D/1 queue come in time (Erlang 1909)."""
    bench = instrument(targets=[target("fp32", scenario=Scenario(name="server", bound=bound))], seconds=40.0)
    bench.run()
    (result,) = bench.results()
    assert result.rate.value * 0.001 == pytest.approx(rho, rel=0.03)
    assert len(result.rates) == 5
    assert 0.001 < result.late < 0.03
    assert (result.validity, result.warnings) == ("valid", ())


def test_search_without_an_answer_fails_with_the_reason(instrument, machine, target):
    """A bound shorter than a run."""
    bench = instrument(targets=[target("fp32", scenario=Scenario(name="server", bound=0.0005))])
    bench.run()
    assert bench.results()[0].failure == (
        "no rate keeps the bound: more than 1% of the answers take longer than 500 µs even if nobody waits; "
        "give a longer time"
    )


def test_search_that_live_runs_contradict_is_invalid(target):
    """Late answers are counted where they happened, whatever the service times say."""
    found = Findings(rates=[100.0])
    for _ in range(5):
        found.begin()
        found.add(Block((20_000_000,) * 10 + (1_000_000,) * 90, 0.1, (1_000_000,) * 100), Usage())
    result = found.result(target("fp32", scenario=SEARCH), complete=True, mode="burst")
    assert "late" in [warning.code for warning in result.warnings]
    assert result.validity == "invalid"


def test_profile_is_taken_where_memory_is_known_already(instrument, machine, tmp_path):
    """Its second session must not count; the file's name is the candidate's."""
    bench = instrument("fp32", traces=tmp_path)
    bench.run()
    first = [do for do, _ in machine.log][:6]
    assert first == ["load", "exercise", "memory", "check", "profile", "quit"]
    traces = [request["trace"] for do, request in machine.requests if do == "profile"]
    assert traces == [str(tmp_path / "fp32-on-cpu.json")]
    assert bench.results()[0].operators[0].op == "MatMul"


def test_sustained_mode_heats_up_first(instrument, machine):
    """Once, in a process of its own whose figures are not used."""
    bench = instrument("fp32", mode="sustained")
    bench.run()
    assert [request["least_s"] for do, request in machine.requests if do == "warm_up"] == [HEATING_S] + [0.0] * 5
    assert len(bench.results()[0].load_s) == 5
    assert not machine.alive


def test_what_arrived_is_told(machine, target):
    """After each process of a candidate, and when one fails."""
    machine.fail["int8"] = "check"
    counts = []
    bench = Instrument(
        [target("fp32"), target("int8")],
        text_workload("golden", ["a"]),
        Settings(seconds=1.0, processes=3),
        spawn=machine.spawn,
        read_sensors=machine.read_sensors,
        arrived=lambda: counts.append([len(row.alone_s) for row in bench.results()]),
    )
    bench.run()
    assert counts == [[0, 0], [1, 0], [2, 0], [3, 0]]


@pytest.mark.parametrize("moment", [3, 10, 30, 45, 60])
@pytest.mark.parametrize("scenario", [Scenario(), SEARCH, SERVER])
def test_resumed_benchmark_measures_the_rest(instrument, machine, target, moment, scenario):
    """Finished processes are kept, one that was cut off is measured again, and the result has all of them."""
    targets = [target("fp32", scenario=scenario), target("int8", scenario=scenario)]
    first = instrument(targets=targets)
    steps = []

    def interrupt(step):
        steps.append(step)
        if len(steps) == moment:
            raise KeyboardInterrupt

    first._progress = interrupt
    with pytest.raises(KeyboardInterrupt):
        first.run()
    before = first.results()
    machine.log.clear()
    second = instrument(targets=targets, known=before)
    second.run()
    for result, old in zip(second.results(), before, strict=True):
        assert [len(blocks) for blocks in result.blocks_s] == [BLOCKS] * 5
        assert len(result.load_s) == len(result.cpu_s) == len(result.usages) == 5
        kept = max(0, sum(len(blocks) == BLOCKS for blocks in old.blocks_s) - 1)
        assert result.blocks_s[:kept] == old.blocks_s[:kept]
    starts = [do for do, _ in machine.log].count("warm_up")
    assert starts >= 10 - sum(len(row.blocks_s) for row in before)
    assert starts <= 10 - sum(max(0, len(row.blocks_s) - 1) for row in before)


def test_resumed_benchmark_keeps_failures(instrument, machine):
    """What failed has failed; it is not tried again."""
    machine.fail["int8"] = "block"
    first = instrument("fp32", "int8")
    first.run()
    machine.fail.clear()
    second = instrument("fp32", "int8", known=first.results())
    second.run()
    assert second.results()[1].failure == "the worker crashed during 'block' (SIGSEGV)"

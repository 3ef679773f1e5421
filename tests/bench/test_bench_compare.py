"""``ortolan compare``: two result files, their verdicts, and files that are refused."""

import json

import pytest
from click.testing import CliRunner

from ortolan.errors import StorageError, UsageError
from ortolan.hardware.facts import Hardware
from ortolan_bench import result_json
from ortolan_bench.compare_cli import RegressionError, compare
from ortolan_bench.comparison_report import markdown, render
from ortolan_bench.result_json import ResultFileError
from ortolan_bench.scenarios import Scenario
from ortolan_bench.stored import IncomparableError, compare_results, require_of_one_run
from ortolan_bench.validity import Warning as BenchWarning


def hardware(**changes):
    from ortolan.hardware.probe import probe

    return Hardware.from_json({**probe().to_json(), **changes})


@pytest.fixture
def stored(finished, tmp_path):
    """Writes a result file: per variant, the latency of its processes in seconds."""

    def write(name, latencies, *, machine=None, processes=5, measured=None, **changes):
        machine = machine or hardware()
        samples = {
            variant: [[latency * (1 + 0.002 * (i - 2))] * 100 for i in range(measured or processes)] if latency else []
            for variant, latency in latencies.items()
        }
        facts = {"started": name, "kernel": "6.12.25", "hardware": machine.to_json(), "state": {"load": name}}
        environment = {**facts, **changes.pop("environment", {})}
        result = finished(samples, hardware_id=machine.id, environment=environment, processes=processes, **changes)
        path = tmp_path / f"{name}.json"
        result_json.write(result, path)
        return path

    return write


def run(*arguments):
    return CliRunner().invoke(compare, [str(argument) for argument in arguments], catch_exceptions=False)


def compared(base, new, **settings):
    return compare_results(result_json.read(base), result_json.read(new), **settings)


def test_slower_result_is_called_different(stored):
    """By how much and with which interval, in one line per figure and one sentence."""
    outcome = run(stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 1.2e-3}))
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("median latency")]
    assert line.split("  ")[:1] == ["median latency"]
    assert "1.00 ms" in line
    assert "1.20 ms" in line
    assert "different: 20% slower" in line
    assert "the new result is 20% slower than the base" in outcome.stdout
    assert outcome.exit_code == 0


def test_file_compared_with_itself_is_the_same(stored):
    """Nothing is different, whatever the figure."""
    path = stored("a", {"fp32": 1e-3, "int8": 5e-4})
    report = compared(path, path)
    assert len(report.comparisons) == 2
    assert not [row for each in report.comparisons for row in each.figures if row.verdict == "different"]
    assert all(each.figure("latency_p50_s").verdict == "same" for each in report.comparisons)


def test_json_has_the_documented_schema(stored):
    """Every key of the module's docstring, and no key it does not name."""
    outcome = run(stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 1.2e-3}), "--json")
    content = json.loads(outcome.stdout)
    assert list(content) == [
        *("schema", "design", "confidence", "tolerance", "base", "new", "comparisons"),
        *("fail_above", "regressions", "notes", "raw"),
    ]
    assert (content["schema"], content["design"], content["raw"]) == ("ortolan.compare/1", "stored", None)
    (comparison,) = content["comparisons"]
    first = comparison["figures"][0]
    assert list(first) == [
        *("figure", "base", "new", "change", "low", "high", "processes", "verdict", "better", "more_processes")
    ]
    assert (first["figure"], first["verdict"], first["better"]) == ("latency_p50_s", "different", False)
    assert first["low"] < 0.2 < first["high"]
    assert list(content["base"]) == ["source", "digest", "runtime", "hardware_id", "workload", "started", "complete"]


def test_unknown_interval_is_null_in_json(stored):
    """JSON has no infinity."""
    one = [stored(name, {"fp32": latency}, processes=1) for name, latency in (("a", 1e-3), ("b", 2e-3))]
    first = json.loads(run(*one, "--json").stdout)["comparisons"][0]["figures"][0]
    assert (first["low"], first["high"], first["verdict"], first["more_processes"]) == (None, None, "cannot tell", 4)


def test_markdown_is_a_table(stored):
    """One per pair of candidates, which a forge renders."""
    outcome = run(stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 1.2e-3}), "--markdown")
    lines = outcome.stdout.splitlines()
    assert "### fp32 on cpu" in lines
    assert "| figure | base | new | change | 95% interval | verdict |" in lines
    assert any(line.startswith("| median latency | 1.00 ms | 1.20 ms | +20.0% |") for line in lines)


def test_report_can_be_ascii(stored):
    """For terminals that show nothing else."""
    path = stored("a", {"fp32": 1e-5})
    assert "µ" in render(compared(path, path))
    assert render(compared(path, path), unicode=False).isascii()
    assert "10.0 us" in render(compared(path, path), unicode=False)


@pytest.mark.parametrize(("latency", "worse"), [(1.2e-3, True), (1.02e-3, False), (0.8e-3, False)])
def test_fail_above(stored, latency, worse):
    """Only what is different, and worse by more than the limit, exits 1; the table is shown before."""
    paths = stored("a", {"fp32": 1e-3}), stored("b", {"fp32": latency})
    if not worse:
        assert run(*paths, "--fail-above", "5%").exit_code == 0
        return
    with pytest.raises(RegressionError, match=r"worse by more than 5\.0%: median latency of fp32 on cpu by 20\.0%"):
        run(*paths, "--fail-above", "5%")
    assert RegressionError.exit_status == 1


def test_fail_above_says_what_it_cannot_tell(finished, stored):
    """It passes, but not silently."""
    outcome = run(stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 1e-3}), "--fail-above", "0.5%")
    assert outcome.exit_code == 0
    assert "passed, but cannot tell: median latency of fp32 on cpu" in outcome.stderr


def test_invalid_result_never_wins_and_never_passes(stored):
    """Faster or not, there is no verdict; a check that needs one fails."""
    warning = BenchWarning("load", "invalid", "others used the CPU: stop them")
    paths = stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 1e-4}, validity="invalid", warnings=[warning])
    outcome = run(*paths)
    assert "INVALID" in outcome.stdout
    assert "no verdict: fp32 on cpu: invalid: others used the CPU: stop them" in outcome.stdout
    assert "faster" not in outcome.stdout
    with pytest.raises(RegressionError, match="no verdict on fp32 on cpu"):
        run(*paths, "--fail-above", "50%")


def test_failed_candidate_has_no_verdict(stored):
    """The reason is passed on, the others are compared."""
    base = stored("a", {"fp32": 1e-3, "int8": 1e-3})
    new = stored("b", {"fp32": 1e-3, "int8": None}, failures={"int8": "the worker hung"})
    first, second = compared(base, new).comparisons
    assert first.problems == ()
    assert second.problems == ("int8 on cpu: failed: the worker hung",)


def test_candidates_are_matched_by_what_ran(stored):
    """Those that only one file has are named; two single ones belong together whatever they are."""
    both = compared(stored("a", {"fp32": 1e-3, "fp16": 1e-3}), stored("b", {"int8": 1e-3, "fp32": 1e-3}))
    assert [(row.base, row.new) for row in both.comparisons] == [("fp32 on cpu", "fp32 on cpu")]
    assert both.notes == ("only in the base: fp16 on cpu", "only in the new result: int8 on cpu")
    single = compared(stored("c", {"fp32": 1e-3}), stored("d", {"int8": 1e-3}))
    assert [(row.base, row.new) for row in single.comparisons] == [("fp32 on cpu", "int8 on cpu")]


def test_runs_of_a_virtual_machine_differ_by_more(stored):
    """Its host changes its speed between runs, and no guest sees why: the same change is less surprising there."""
    both = {"fp32": 1e-3}, {"fp32": 1.08e-3}
    own = compared(*(stored(name, samples) for name, samples in zip("ab", both, strict=True)))
    facts = {"hypervisor": "QEMU"}
    guest = compared(*(stored(name, samples, environment=facts) for name, samples in zip("cd", both, strict=True)))
    (ours,), (theirs,) = own.comparisons, guest.comparisons
    assert ours.figure("latency_p50_s").verdict == "different"
    assert theirs.figure("latency_p50_s").verdict == "cannot tell"


def test_no_common_candidate_is_refused(stored):
    """Both lists are named."""
    base, new = stored("a", {"fp32": 1e-3, "fp16": 1e-3}), stored("b", {"int8": 1e-3})
    with pytest.raises(IncomparableError, match="the base has fp32 on cpu, fp16 on cpu, the new result int8 on cpu"):
        compared(base, new)


def test_what_else_differs_is_said(stored):
    """Not what differs between any two runs."""
    base = stored("a", {"fp32": 1e-3})
    new = stored("b", {"fp32": 1e-3}, environment={"kernel": "6.18.1"}, digest="e" * 64, complete=False)
    assert compared(base, new).notes == (
        "the new result was interrupted before its end",
        "digest: dddddddddddddddd in the base, eeeeeeeeeeeeeeee in the new result",
        "kernel: 6.12.25 in the base, 6.18.1 in the new result",
    )


def test_other_hardware_needs_to_be_asked_for(stored):
    """A difference between machines says nothing about models."""
    paths = stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 2e-3}, machine=hardware(architecture="riscv64"))
    with pytest.raises(IncomparableError, match=r"the results come from different hardware .* give --cross-hardware"):
        run(*paths)
    assert "different: 100% slower" in run(*paths, "--cross-hardware").stdout


@pytest.mark.parametrize("changes", [{"workload": "other.txt"}, {"workload_count": 8}, {"workload_kind": "tensors"}])
def test_other_inputs_are_refused(stored, changes):
    """Whatever makes them others."""
    with pytest.raises(IncomparableError, match="the inputs differ: 16 inputs of golden"):
        run(stored("a", {"fp32": 1e-3}), stored("b", {"fp32": 1e-3}, **changes))


def test_candidate_twice_was_merged_by_hand(stored, tmp_path):
    """One run measures each once."""
    document = json.loads(stored("a", {"fp32": 1e-3}).read_text())
    document["results"] *= 2
    path = tmp_path / "merged.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ResultFileError, match=r"merged\.json: fp32 on cpu is there more than once: .* merged by hand"):
        run(path, path)


@pytest.mark.parametrize("processes", [4, 10])
def test_other_number_of_processes_was_merged_by_hand(stored, processes):
    """The run says how many it had."""
    path = stored("a", {"fp32": 1e-3}, processes=processes, measured=5)
    with pytest.raises(ResultFileError, match=f"figures of 5 processes where the run had {processes}"):
        run(path, path)


def test_facts_of_another_machine_were_merged_by_hand(stored):
    """The id follows from the facts."""
    path = stored("a", {"fp32": 1e-3})
    document = json.loads(path.read_text())
    document["hardware_id"] = "f" * 16
    path.write_text(json.dumps(document))
    with pytest.raises(ResultFileError, match=r"its hardware_id .* does not follow from environment\.hardware"):
        run(path, path)
    document["environment"]["hardware"] = {"board": 5}
    path.write_text(json.dumps(document))
    with pytest.raises(ResultFileError, match=r"results\[0\]\.run: expected .* results were merged by hand"):
        run(path, path)


def test_interrupted_run_may_have_fewer_processes(stored, finished):
    """It was not merged by hand."""
    path = stored("a", {"fp32": 1e-3}, processes=10, measured=5, complete=False)
    require_of_one_run(result_json.read(path), str(path))


def test_damaged_files_are_refused(stored, tmp_path):
    """Another schema version, a truncated file, a missing one."""
    good = stored("a", {"fp32": 1e-3})
    other = tmp_path / "other.json"
    other.write_text(good.read_text().replace('"ortolan.bench/', '"ortolan.bench/9'))
    with pytest.raises(ResultFileError, match="expected schema"):
        run(good, other)
    other.write_text(good.read_text()[:500])
    with pytest.raises(ResultFileError, match="truncated"):
        run(other, good)
    with pytest.raises(StorageError, match=r"none\.json: No such file"):
        run(good, tmp_path / "none.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-above", "five"], "expected a share such as 1% or 0.01, got 'five'"),
        (["--fail-above", "500%"], "expected a share of at most 100%"),
        (["--fail-above", "-5%"], "expected a share such as 1% or 0.01"),
    ],
)
def test_misuse_is_one_clear_line(stored, arguments, message):
    """Misuse exits 2."""
    path = stored("a", {"fp32": 1e-3})
    with pytest.raises(UsageError, match=message):
        run(path, path, *arguments)


def test_pipe_in_a_name_does_not_break_markdown(stored):
    """It is escaped."""
    path = stored("a", {"a|b": 1e-3})
    assert "### a\\|b on cpu" in markdown(compared(path, path))


def test_search_is_compared_by_its_rate(stored):
    """Its latencies come from whatever rates were tried."""
    row = {"scenario": Scenario(name="server", bound=0.01)}
    sides = [
        stored(name, {"fp32": 1e-3}, row={**row, "rates": tuple(rate * (1 + 0.002 * i) for i in range(5))})
        for name, rate in (("a", 100.0), ("b", 80.0))
    ]
    (comparison,) = compared(*sides).comparisons
    assert comparison.figure("latency_p50_s") is None
    assert comparison.headline.figure.title == "highest rate"
    assert (comparison.headline.verdict, comparison.headline.worsening) == ("different", pytest.approx(0.25))
    assert "fp32 on cpu, 99% in 10 ms" in run(*sides).stdout


def test_other_scenario_is_another_candidate(stored):
    """Latencies of batches are not those of single inputs."""
    base = stored("a", {"fp32": 1e-3})
    new = stored("b", {"fp32": 1e-3}, row={"scenario": Scenario(name="offline", at_once=8)})
    with pytest.raises(IncomparableError, match="the base has fp32 on cpu, the new result fp32 on cpu, batch 8"):
        compared(base, new)


def test_batches_are_compared_by_inputs_per_second(stored):
    """A batch of eight is eight inputs; CPU time is per input too."""
    row = {"scenario": Scenario(name="offline", at_once=8)}
    (comparison,) = compared(stored("a", {"fp32": 1e-3}, row=row), stored("b", {"fp32": 2e-3}, row=row)).comparisons
    assert comparison.figure("throughput_per_s").base == pytest.approx(8000)
    assert comparison.figure("cpu_per_input_s").change == pytest.approx(1.0)
    assert comparison.figure("disk_bytes").verdict == "same"


def test_candidate_of_another_run_was_merged_by_hand(stored, tmp_path):
    """Of the same machine, with the same settings: only the time tells."""
    ours, theirs = (
        json.loads(stored(name, {variant: 1e-3}, environment={"started": started}).read_text())
        for name, variant, started in (("a", "fp32", "2026-11-25T10:00:00Z"), ("b", "int8", "2026-11-25T11:00:00Z"))
    )
    path = tmp_path / "merged.json"
    path.write_text(json.dumps({**ours, "results": ours["results"] + theirs["results"]}))
    with pytest.raises(ResultFileError, match=r"results\[1\]\.run: expected .* results were merged by hand"):
        run(path, path)

"""``--against``: pairs of processes that take turns."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ortolan.errors import MeasurementError, UnknownNameError, UsageError
from ortolan_bench.against import AgainstInterrupted, Other, parse_other, run_against
from ortolan_bench.cli import InvalidMeasurementError, bench
from ortolan_bench.compare_cli import RegressionError
from ortolan_bench.measure import BLOCKS
from ortolan_bench.result_json import from_json

QUICK = ["--seconds", "0.1", "--processes", "2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int8", Other(variant="int8")),
        ("variant=int8", Other(variant="int8")),
        ("threads=1", Other(threads=1)),
        ("provider=cuda, threads=2", Other(provider="cuda", threads=2)),
        (".", Other(bundle=Path())),
        ("bundle=old.bundle,variant=fp32", Other(bundle=Path("old.bundle"), variant="fp32")),
        (f"python={sys.executable}", Other(python=Path(sys.executable))),
    ],
)
def test_other_is_read(text, expected):
    """A variant or a path alone, or keys with values."""
    assert parse_other(text, ["fp32", "int8"]) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "int9",
            r"'int9' is neither a variant \(fp32, int8\) nor a path; expected one of these, or KEY=VALUE with bundle",
        ),
        ("", "'' is neither a variant"),
        ("variant=", "expected variant once and with a value"),
        ("int8,variant=fp32", "expected variant once and with a value"),
        ("threads=many", "expected threads=NUMBER, got 'many'"),
        ("threads=-1", "expected threads=NUMBER, got '-1'"),
        ("python=nowhere/python", "python=nowhere/python is no program; give a path"),
    ],
)
def test_other_that_makes_no_sense(text, message):
    """What was expected, and what was found."""
    with pytest.raises(UsageError, match=message):
        parse_other(text, ["fp32", "int8"])


def test_unknown_key_is_suggested():
    """The nearest one."""
    with pytest.raises(UnknownNameError, match="unknown key of --against 'thread'; did you mean 'threads'"):
        parse_other("thread=1", [])


@pytest.fixture
def against(linear_bundle, machine):
    """Compares variants of a bundle on a fake machine."""

    def run(other="twin", **settings):
        values = {"variants": ["fp32"], "spawn": machine.spawn, "spawn_other": machine.spawn, "seconds": 1.0}
        return run_against(linear_bundle, other, read_sensors=machine.read_sensors, **{**values, **settings})

    return run


def test_slow_side_is_found(against, machine):
    """The one asked about is new, OTHER is the base."""
    machine.runs_ns = {"fp32": 1_050_000, "twin": 1_000_000}
    (comparison,) = against().comparisons
    row = comparison.figure("latency_p50_s")
    assert (comparison.new, comparison.base) == ("fp32 on cpu", "twin on cpu")
    assert (row.verdict, row.change, row.processes) == ("different", pytest.approx(0.05), (20, 20))


def test_both_sides_take_turns_while_both_live(against, machine):
    """A B B A within each pair, and it is drawn by lot who begins."""
    against(processes=12)
    variants = [variant for do, variant in machine.log if do == "block"]
    pairs = [variants[i : i + 2 * BLOCKS] for i in range(0, len(variants), 2 * BLOCKS)]
    for pair in pairs:
        turns = [tuple(pair[i : i + 2]) for i in range(0, len(pair), 2)]
        assert all(set(turn) == {"fp32", "twin"} for turn in turns)
        assert all(later == earlier[::-1] for earlier, later in zip(turns[::2], turns[1::2], strict=True))
    assert len(pairs) == 12
    assert {pair[0] for pair in pairs} == {"fp32", "twin"}
    assert not machine.alive


def test_slowing_machine_does_not_look_like_a_difference(against, machine):
    """Every run takes a little longer than the one before it, by half over all: both sides feel it alike."""
    machine.runs_ns = dict.fromkeys(["fp32", "twin"], lambda _: 1_000_000 * (1 + 0.02 * machine.seconds))
    (comparison,) = against(seconds=10.0).comparisons
    row = comparison.figure("latency_p50_s")
    assert row.verdict == "same"
    assert row.within < 0.01


def test_every_candidate_meets_its_counterpart(against):
    """A pair of equal ones is left out if there are others."""
    report = against("threads=1", variants=["fp32", "twin"], threads=[1, 2])
    assert [(row.base, row.new) for row in report.comparisons] == [
        ("fp32 on cpu, 1 thread", "fp32 on cpu, 2 threads"),
        ("twin on cpu, 1 thread", "twin on cpu, 2 threads"),
    ]
    (alike,) = against("fp32").comparisons
    assert (alike.base, alike.new) == ("fp32 on cpu", "fp32 on cpu")


def test_another_bundle(against, linear_bundle, tmp_path):
    """Its variant of the same name; both are named."""
    other = tmp_path / "old.bundle"
    other.symlink_to(linear_bundle)
    (comparison,) = against(str(other)).comparisons
    assert (comparison.base, comparison.new) == ("fp32 on cpu (old.bundle)", "fp32 on cpu (linear.bundle)")


def test_bare_model_against_a_bundle(linear_bundle, linear_model, tmp_path, machine):
    """Of several variants one must be named."""
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear_model())
    spawns = {"spawn": machine.spawn, "spawn_other": machine.spawn}
    with pytest.raises(UsageError, match=r"has several variants: add variant=fp32\|twin\|broken"):
        run_against(path, str(linear_bundle), **spawns)
    report = run_against(path, f"{linear_bundle},variant=twin", read_sensors=machine.read_sensors, **spawns)
    assert report.comparisons[0].base == "twin on cpu (linear.bundle)"


def test_failing_side_ends_the_pair(against, machine):
    """Nothing is timed for nothing, and the reason is the result."""
    machine.fail["twin"] = "check"
    report = against()
    assert report.comparisons[0].problems == ("twin on cpu: failed: the worker crashed during 'check' (SIGSEGV)",)
    assert not [do for do, _ in machine.log if do == "block"]
    assert not report.comparable


def test_busy_machine_gives_no_verdict(against, machine):
    """However large the difference."""
    machine.others = 1.0
    machine.runs_ns = {"fp32": 2_000_000}
    (comparison,) = against().comparisons
    assert {row.verdict for row in comparison.figures if row.figure.between} == {"invalid"}
    assert "twin on cpu and fp32 on cpu: invalid" in comparison.problems[0]


def test_interruption_compares_what_there_is(against, machine):
    """With fewer pairs; no worker stays behind."""
    calls = []

    def runs_ns(_):
        calls.append(1)
        if len(calls) == 12 * 2 * BLOCKS * 12:
            raise KeyboardInterrupt
        return 1_000_000

    machine.runs_ns = dict.fromkeys(["fp32", "twin"], runs_ns)
    with pytest.raises(AgainstInterrupted) as caught:
        against(seconds=1.0)
    report = caught.value.report
    assert not report.base.complete
    assert report.notes == ("it was interrupted before its end",)
    assert 8 <= report.comparisons[0].figure("latency_p50_s").processes[0] < 20
    assert not machine.alive


def test_command_writes_samples_of_both_sides(linear_bundle, tmp_path):
    """With real processes; the file holds two results that can be read again."""
    path = tmp_path / "r.json"
    command = [str(linear_bundle), "--variant", "fp32", "--against", "twin", *QUICK, "-o", str(path)]
    outcome = CliRunner().invoke(bench, command, catch_exceptions=False)
    assert outcome.exit_code == 0
    assert "fp32 on cpu compared with twin on cpu" in outcome.stdout
    assert "2 pairs of processes, taking turns" in outcome.stdout
    content = json.loads(path.read_text())
    base, new = (from_json(content["raw"][side]) for side in ("base", "new"))
    assert (base.results[0].variant, new.results[0].variant) == ("twin", "fp32")
    assert [[len(blocks) for blocks in side.results[0].blocks_s] for side in (base, new)] == [[BLOCKS] * 2] * 2


def test_another_environment_runs_this_ortolan(linear_bundle, tmp_path):
    """Another Python, with packages of its own, starts the worker of the Ortolan that asks."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$1" >>"{tmp_path}/log"; exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    command = [str(linear_bundle), "--variant", "fp32", "--against", f"python={python}", *QUICK, "--json"]
    content = json.loads(CliRunner().invoke(bench, command, catch_exceptions=False).stdout)
    assert content["comparisons"][0]["base"] == f"fp32 on cpu in {python}"
    assert content["base"]["runtime"] == content["new"]["runtime"]
    assert len(content["raw"]["base"]["results"][0]["raw"]["load_s"]) == 2
    assert (tmp_path / "log").read_text().split() == ["-E"] * 3  # one for memory and golden answers, two timed


def test_environment_without_onnxruntime_says_so(linear_bundle, tmp_path):
    """The other side's last words are the reason."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # -S: without installed packages
    python.chmod(0o755)
    command = [str(linear_bundle), "--variant", "fp32", "--against", f"python={python}", *QUICK]
    with pytest.raises(
        MeasurementError,
        match=r"nothing could be compared: fp32 on cpu in .*/python: failed: ModuleNotFoundError: .*numpy",
    ):
        CliRunner().invoke(bench, command, catch_exceptions=False)


def test_strict_and_fail_above_exit_with_one(linear_bundle):
    """Two pairs leave the validity unknown; answers that are wrong leave no verdict."""
    command = [str(linear_bundle), "--variant", "fp32", "--against", "twin", *QUICK]
    with pytest.raises(InvalidMeasurementError, match="--strict: not valid: twin on cpu, fp32 on cpu"):
        CliRunner().invoke(bench, [*command, "--strict"], catch_exceptions=False)
    assert (InvalidMeasurementError.exit_status, RegressionError.exit_status) == (1, 1)


@pytest.mark.parametrize("option", [["--fail-above", "5%"], ["--markdown"]])
def test_options_of_a_comparison_need_one(linear_bundle, option):
    """What they would apply to is named."""
    with pytest.raises(UsageError, match="need --against OTHER"):
        CliRunner().invoke(bench, [str(linear_bundle), *option, *QUICK], catch_exceptions=False)


def test_both_sides_run_the_same_inputs_equally_often(against, machine):
    """The slower one's warm-up says how often: a median of more samples is not the same figure."""
    machine.warm_up_s = {"fp32": 1e-3, "twin": 2e-3}
    report = against(processes=10)
    counts = {
        len(block) for side in (report.base, report.new) for blocks in side.results[0].blocks_s for block in blocks
    }
    assert counts == {12}  # 25 ms of 2 ms each, in whole rounds through three inputs

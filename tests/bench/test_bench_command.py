"""``ortolan bench`` and ``run_bench``, with real worker processes and a real model."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ortolan.choose.measurements import load_summaries
from ortolan.errors import InputError, MeasurementError, StorageError, UnknownNameError, UsageError
from ortolan_bench import BenchInterrupted, result_json, run_bench
from ortolan_bench.cli import InvalidMeasurementError, bench
from ortolan_bench.result_json import from_json, read
from ortolan_bench.subject import Subject

QUICK = ["--seconds", "0.05", "--processes", "1"]


def test_bundle_is_measured_and_remembered(linear_bundle):
    """Right variants get figures that the runtime finds again; a wrong one fails before it is timed."""
    result = run_bench(linear_bundle, seconds=0.05, processes=1)
    fp32, twin, broken = result.results
    assert (fp32.failure, twin.failure) == (None, None)
    assert fp32.fidelity.n == 3
    assert fp32.latency.count >= 4
    assert fp32.memory.peak_rss > 10_000_000
    assert len(fp32.import_s) == len(fp32.load_s) == len(fp32.first_run_s) == 1
    assert broken.failure.startswith("it does not give the golden answers: 66.7% of 3 decisions changed")
    assert broken.blocks_s == ()
    (summary,) = load_summaries([fp32.variant_digest], result.hardware_id)
    assert summary.samples == fp32.latency.count
    assert result.runtime_id.startswith("onnxruntime ")
    assert result.environment["hardware"]["architecture"]


def test_invalid_measurement_does_not_displace_a_better_one(linear_bundle, machine):
    """A busy hour must not undo what a quiet one found; the next quiet one does replace it."""

    def remembered(others, run_ns):
        machine.others = others
        machine.runs_ns["fp32"] = run_ns
        result = run_bench(linear_bundle, variants=["fp32"], spawn=machine.spawn, read_sensors=machine.read_sensors)
        (summary,) = load_summaries([result.results[0].variant_digest], result.hardware_id)
        return summary.validity, summary.p50

    assert remembered(1.0, 4_000_000) == ("invalid", pytest.approx(0.004))
    assert remembered(0.0, 1_000_000) == ("valid", pytest.approx(0.001))
    assert remembered(1.0, 4_000_000) == ("valid", pytest.approx(0.001))
    assert remembered(0.0, 2_000_000) == ("valid", pytest.approx(0.002))


def test_command_prints_table_and_writes_file(linear_bundle, tmp_path):
    """The answer on standard output, where the file is on standard error."""
    path = tmp_path / "r.json"
    outcome = CliRunner().invoke(
        bench, [str(linear_bundle), "--variant", "fp32", *QUICK, "-o", str(path)], catch_exceptions=False
    )
    assert outcome.exit_code == 0
    assert "fp32 on cpu" in outcome.stdout
    assert "samples and environment" not in outcome.stdout
    assert [row.variant for row in read(path).results] == ["fp32"]


def test_bare_model_as_json(linear_model, tmp_path):
    """Inputs are generated; the JSON is a result file."""
    path = tmp_path / "linear.onnx"
    path.write_bytes(linear_model())
    outcome = CliRunner().invoke(bench, [str(path), "--json", "--threads", "1,2", *QUICK], catch_exceptions=False)
    result = from_json(json.loads(outcome.stdout))
    assert (result.workload_kind, result.complete) == ("generated", True)
    assert [(row.variant, row.candidate.config.threads) for row in result.results] == [("linear", 1), ("linear", 2)]
    assert all(row.failure is None and row.fidelity is None for row in result.results)


def test_strict_fails_with_status_one(linear_bundle):
    """One process is too few to be valid."""
    with pytest.raises(InvalidMeasurementError, match="fp32 on cpu") as caught:
        CliRunner().invoke(bench, [str(linear_bundle), "--variant", "fp32", "--strict", *QUICK], catch_exceptions=False)
    assert caught.value.exit_status == 1


def test_nothing_measured_is_an_error(linear_bundle):
    """With every reason."""
    with pytest.raises(MeasurementError, match="no candidate could be measured: it does not give the golden answers"):
        CliRunner().invoke(bench, [str(linear_bundle), "--variant", "broken", *QUICK], catch_exceptions=False)


def test_inputs_of_another_kind_are_refused(linear_bundle, tmp_path):
    """The reason says what to give instead."""
    path = tmp_path / "texts.txt"
    path.write_text("one\ntwo\n")
    with pytest.raises(InputError, match=r"this model takes tensors; expected an \.npz file"):
        run_bench(linear_bundle, variants=["fp32"], inputs=path, seconds=0.05, processes=1)


def test_inputs_of_another_shape_fail_the_candidate(linear_bundle, tmp_path):
    """The model knows best what it takes; the rest would go on."""
    path = tmp_path / "wide.npz"
    np.savez(path, x=np.zeros((3, 5), np.float32))
    result = run_bench(linear_bundle, variants=["fp32"], inputs=path, seconds=0.05, processes=1)
    assert "expected" in result.results[0].failure
    assert result.results[0].blocks_s == ()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--variant", "fp23"], UnknownNameError, "unknown variant 'fp23'; did you mean 'fp32'?"),
        (["--provider", "cdua"], UnknownNameError, "unknown provider 'cdua'"),
        (["--provider", "cpu,"], UsageError, "--provider: expected names separated by commas, got 'cpu,'"),
        (["--threads", "two"], UsageError, "--threads: expected numbers separated by commas, got 'two'"),
        (["--threads", "0"], UsageError, "expected 1 to 1024 threads, got 0"),
        (["--seconds", "0"], UsageError, "expected more than 0 and at most 86400 seconds per candidate, got 0"),
        (["--seconds", "1e9"], UsageError, "expected more than 0 and at most 86400 seconds per candidate, got 1e+09"),
        (["--seconds", "nan"], UsageError, "seconds per candidate, got nan"),
        (["--processes", "0"], UsageError, "expected 1 to 1000 processes, got 0"),
        (["--scenario", "sever:5ms"], UnknownNameError, "unknown scenario 'sever'; did you mean 'server'?"),
        (["--scenario", "server:0/s"], UsageError, "expected one arrival a minute to 1000000 a second"),
        (["--resume"], UsageError, "--resume: which benchmark? name its result file with -o"),
        (["--trace", "/proc/none/traces"], StorageError, "cannot write traces to /proc/none/traces"),
        (["--inputs", "none.txt"], StorageError, "none.txt: cannot be read: No such file or directory"),
        (["-o", "none/r.json"], StorageError, "cannot write none/r.json: none: no such directory"),
    ],
)
def test_misuse_is_one_clear_line(linear_bundle, arguments, error, message):
    """Found before anything is measured."""
    with pytest.raises(error) as caught:
        CliRunner().invoke(bench, [str(linear_bundle), *arguments], catch_exceptions=False)
    assert message in str(caught.value)


def test_every_scenario_on_a_real_model(linear_bundle, tmp_path):
    """Batches are stacked, arrivals served, a rate found; the trace is there, and the figures as a table."""
    scenarios = ["multi-stream:2", "offline:1,3", "server:200/s", "server:100ms"]
    options = [part for scenario in scenarios for part in ("--scenario", scenario)]
    command = [str(linear_bundle), "--variant", "fp32", *options, "--trace", str(tmp_path / "traces"), "--csv", *QUICK]
    outcome = CliRunner().invoke(bench, command, catch_exceptions=False)
    rows = list(csv.DictReader(io.StringIO(outcome.stdout)))
    assert [row["failure"] for row in rows] == [""] * 5
    assert [row["scenario.name"] for row in rows] == ["multi-stream", "offline", "offline", "server", "server"]
    assert [row["scenario.at_once"] for row in rows] == ["2", "1", "3", "1", "1"]
    assert float(rows[4]["rate_per_s.value"]) > 10
    assert all(int(row["peak_rss_bytes"]) > 10_000_000 for row in rows)
    assert len(list((tmp_path / "traces").iterdir())) == 5


def test_generated_inputs_of_a_bundle(linear_bundle):
    """In place of its golden ones, with the sizes that the bundle declares."""
    result = run_bench(linear_bundle, variants=["fp32"], inputs="generated", seconds=0.05, processes=1)
    assert (result.workload, result.workload_count, result.results[0].failure) == ("generated", 16, None)


def test_all_providers_are_those_installed(linear_bundle):
    """Of which a variant gets only those it is made for."""
    targets = Subject(linear_bundle).targets(None, ["all"], [None])
    assert {target.candidate.config.provider for target in targets} == {"cpu"}
    assert [target.variant for target in targets] == ["fp32", "twin", "broken"]


def test_missing_bundle(tmp_path):
    """The path and the reason."""
    with pytest.raises(StorageError, match="No such file or directory"):
        run_bench(tmp_path / "none.bundle")


def test_interrupted_api_carries_the_result(linear_bundle, machine):
    """Whoever calls it keeps what was measured, and still sees a KeyboardInterrupt."""
    machine.fail["twin"] = "interrupt warm_up"
    with pytest.raises(BenchInterrupted) as caught:
        run_bench(linear_bundle, variants=["fp32", "twin"], spawn=machine.spawn)
    assert not caught.value.result.complete
    assert caught.value.result.results[0].memory.peak_rss == 50_000_000
    assert not machine.alive


def test_ctrl_c_writes_the_result_and_leaves_no_worker(linear_bundle, tmp_path):
    """A real SIGINT in the middle of a long benchmark."""
    path = tmp_path / "r.json"
    command = [sys.executable, "-m", "ortolan", "bench", str(linear_bundle), "--variant", "fp32,twin", "-o", str(path)]
    with subprocess.Popen([*command, "--seconds", "600"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        workers = set()
        deadline = time.monotonic() + 60
        # Two alive at the same time: the first round has begun.
        while len(workers) < 2 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
            workers = _children(running.pid)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130, err
    assert b"Traceback" not in err
    assert b"interrupted" in err
    assert b"fp32 on cpu" in out or b"twin" in out or b"golden" in out
    assert not read(path).complete
    assert workers
    # One that was just being started ends by itself, when it finds its parent gone.
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def test_interrupted_benchmark_is_gone_on_with(linear_bundle, machine, tmp_path, monkeypatch):
    """The file holds what had arrived; with --resume the rest is measured, and only the rest."""
    monkeypatch.setattr("ortolan_bench.bench.WorkerProcess", lambda **_: machine.spawn())
    path = tmp_path / "r.json"
    command = [str(linear_bundle), "--variant", "fp32,twin", "--seconds", "1", "-o", str(path), "--resume"]
    machine.interrupt_after = 60
    outcome = CliRunner().invoke(bench, command)
    assert outcome.exit_code == 130
    assert "the same command with --resume goes on" in outcome.stderr
    before = read(path)
    assert not before.complete
    started = len(machine.log)
    outcome = CliRunner().invoke(bench, command, catch_exceptions=False)
    assert outcome.exit_code == 0
    after = read(path)
    assert after.complete
    assert [len(row.blocks_s) for row in after.results] == [5, 5]
    assert len(machine.log) - started < started
    assert len(after.environment["resumed"]) == 1
    assert after.environment["started"] == before.environment["started"]
    with pytest.raises(UsageError, match="holds a benchmark that ran to its end"):
        CliRunner().invoke(bench, command, catch_exceptions=False)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["--variant", "fp32"], "candidates"),
        (["--seconds", "2"], "seconds"),
        (["--processes", "6"], "processes"),
        (["--mode", "sustained"], "mode"),
        (["--inputs", "generated"], "inputs"),
        (["--scenario", "multi-stream:2"], "candidates"),
    ],
)
def test_another_benchmark_is_not_gone_on_with(linear_bundle, machine, tmp_path, monkeypatch, change, what):
    """What differs is named."""
    monkeypatch.setattr("ortolan_bench.bench.WorkerProcess", lambda **_: machine.spawn())
    path = tmp_path / "r.json"
    command = [str(linear_bundle), "--variant", "fp32,twin", "--seconds", "1", "-o", str(path)]
    machine.interrupt_after = 40
    CliRunner().invoke(bench, command)
    with pytest.raises(UsageError, match=f"the interrupted benchmark had other {what}"):
        CliRunner().invoke(bench, [*command, "--resume", *change], catch_exceptions=False)


def test_another_onnxruntime_does_not_go_on(linear_bundle, machine, tmp_path):
    """Half of the processes on one version and half on another would be neither."""
    machine.interrupt_after = 40
    with pytest.raises(BenchInterrupted) as caught:
        run_bench(linear_bundle, variants=["fp32"], seconds=1.0, spawn=machine.spawn)
    machine.runtime_id = "fake 2.0"
    with pytest.raises(UsageError, match=r"ran on fake 1\.0, this is fake 2\.0"):
        run_bench(linear_bundle, variants=["fp32"], seconds=1.0, spawn=machine.spawn, known=caught.value.result)
    assert not machine.alive


def test_full_disk_costs_no_measurement(linear_bundle, machine, tmp_path, monkeypatch):
    """What cannot be written on the way is written at the end, or said then, after the table."""
    monkeypatch.setattr("ortolan_bench.bench.WorkerProcess", lambda **_: machine.spawn())
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) <= limit:
            raise OSError(28, os.strerror(28))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    path = tmp_path / "r.json"
    command = [str(linear_bundle), "--variant", "fp32", "--seconds", "1", "-o", str(path)]
    limit = 1
    CliRunner().invoke(bench, command, catch_exceptions=False)
    assert read(path).complete
    path.unlink()
    limit = 10**6
    with CliRunner().isolation() as (out, *_), pytest.raises(StorageError, match="No space left on device"):
        bench.main(command, standalone_mode=False)
    assert b"fp32 on cpu" in out.getvalue()
    assert not [entry.name for entry in tmp_path.iterdir() if "r.json" in entry.name]


def test_ctrl_c_while_the_result_is_written_is_no_loss(linear_bundle, machine, tmp_path, monkeypatch):
    """The file is complete, as if it had come a moment later."""
    monkeypatch.setattr("ortolan_bench.bench.WorkerProcess", lambda **_: machine.spawn())
    path, write = tmp_path / "r.json", result_json.write

    def impatient(result, path):
        os.kill(os.getpid(), signal.SIGINT)
        write(result, path)

    monkeypatch.setattr("ortolan_bench.cli.Keeper", lambda _: lambda _: None)
    monkeypatch.setattr(result_json, "write", impatient)
    outcome = CliRunner().invoke(bench, [str(linear_bundle), "--variant", "fp32", "--seconds", "1", "-o", str(path)])
    assert outcome.exit_code == 0
    assert read(path).complete
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5, 2.5])
def test_ctrl_c_at_any_moment_leaves_nothing_behind(linear_bundle, tmp_path, seconds):
    """No worker, no half-written file; what there is of a result can be read."""
    path = tmp_path / "r.json"
    command = [sys.executable, "-m", "ortolan", "bench", str(linear_bundle), "--variant", "fp32,twin", "-o", str(path)]
    with subprocess.Popen([*command, "--seconds", "0.5"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        time.sleep(seconds)
        workers = _children(running.pid)
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert b"Traceback" not in err
    assert running.returncode == 130, err
    deadline = time.monotonic() + 20
    while any(map(_is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)  # one that had just been started ends by itself as soon as it can
    assert not [pid for pid in workers if _is_alive(pid)]
    assert {entry.name for entry in tmp_path.iterdir()} <= {"linear.bundle", "r.json", "state"}
    if path.exists():
        assert not read(path).complete


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid):
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found |= {int(child) for child in task.read_text().split()}
    return found


def test_worker_imports_stay_light():
    """A worker's memory and import time are the runtime's, not the instrument's."""
    code = "import sys, ortolan_bench.worker, ortolan_bench.timing; print([m for m in sys.modules if m in %r])"
    heavy = ["numpy", "onnxruntime", "click", "statistics", "fractions", "decimal", "random", "subprocess", "tempfile"]
    out = subprocess.run([sys.executable, "-c", code % heavy], check=True, capture_output=True, env=os.environ)
    assert out.stdout.strip() == b"[]"

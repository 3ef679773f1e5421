"""Result files."""

import csv
import io
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.errors import StorageError
from ortolan_bench import result_csv, result_json
from ortolan_bench.protocol import OperatorTime
from ortolan_bench.result_json import ResultFileError
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors.accelerator import AcceleratorMemory
from ortolan_bench.validity import Warning as BenchWarning

SAMPLES = {"fp32": [[1e-3 * (1 + i % 7 / 100) for i in range(40)]] * 5, "int8": []}


@pytest.fixture
def document(finished):
    """A whole result as plain data."""
    return json.loads(result_json.dumps(finished(SAMPLES, failures={"int8": "the worker hung"})))


def test_round_trip(finished, tmp_path):
    """What is written is what is read, raw samples and warnings included."""
    result = finished(SAMPLES, failures={"int8": "x"}, warnings=[BenchWarning("load", "invalid", "stop them")])
    path = tmp_path / "r.json"
    result_json.write(result, path)
    assert result_json.read(path) == result
    assert [entry.name for entry in tmp_path.iterdir()] == ["r.json"]


def test_keys_name_their_units(document):
    """The documented keys of the schema."""
    first = document["results"][0]
    assert document["schema"] == "ortolan.bench/2"
    assert first["latency_s"]["p50"] == pytest.approx(1.03e-3)
    assert first["latency_s"]["p90_upper"] >= first["latency_s"]["p90"]
    assert "p99" not in first["latency_s"]  # 200 samples are too few
    assert first["peak_rss_bytes"] == 61_000_000
    assert (first["variant"], first["provider"], first["threads"], first["validity"]) == ("fp32", "cpu", None, "valid")
    assert first["throughput_per_s"] == pytest.approx(1 / first["latency_s"]["mean"])


def test_samples_stay_on_one_line(finished):
    """A file with many samples can still be read by people."""
    text = result_json.dumps(finished(SAMPLES))
    assert max(line.count(",") for line in text.splitlines()) >= 39
    assert text.count("\n") < 450


@pytest.mark.parametrize(
    ("schema", "advice"),
    [
        ("ortolan.bench/1", "it was written by an older Ortolan: measure again with this one"),
        ("ortolan.bench/10", "it was written by a newer Ortolan: update this one"),
        ("ortolan.check/1", "it is no result of `ortolan bench`"),
        (None, "it is no result of `ortolan bench`"),
    ],
)
def test_other_schema_version_is_refused(document, schema, advice):
    """Both versions are named, and what to do."""
    document["schema"] = schema
    with pytest.raises(ResultFileError) as caught:
        result_json.from_json(document, "r.json")
    assert str(caught.value) == f"r.json: expected schema 'ortolan.bench/2', found {schema!r}; {advice}"


@pytest.mark.parametrize("keep", [0, 1, 100, 2000])
def test_truncated_file_is_refused(finished, tmp_path, keep):
    """Wherever it was cut."""
    path = tmp_path / "r.json"
    path.write_text(result_json.dumps(finished(SAMPLES))[:keep])
    with pytest.raises(ResultFileError, match="not a result file, or a truncated one"):
        result_json.read(path)


def test_edited_median_is_refused(document):
    """The figures follow from the samples."""
    document["results"][0]["latency_s"]["p50"] = 1e-6
    with pytest.raises(
        ResultFileError, match=r"results\[0\]\.latency_s\.p50: expected 0\.00103.* as in the raw samples"
    ):
        result_json.from_json(document)


def test_samples_merged_by_hand_are_refused(document):
    """Samples of another run are seen even where the median stays."""
    document["results"][0]["raw"]["latency_s"].append([[5.0] * 40])
    raw = document["results"][0]["raw"]
    for key in ("cpu_s", "unanswered", "conditions"):
        raw[key].append(raw[key][-1])
    with pytest.raises(ResultFileError, match=r"results\[0\]\.latency_s\.samples: expected 240 as in the raw samples"):
        result_json.from_json(document)


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("complete",), 1, "complete: expected bool, got int"),
        (("results", 0, "raw", "load_s"), [-1.0], "results[0].raw.load_s[0]: expected 0 to 1e+09, got -1"),
        (("results", 0, "raw", "load_s"), ["1"], "results[0].raw.load_s[0]: expected number, got str"),
        (("results", 0, "validity"), "fine", "results[0].validity"),
        (("results", 0, "extra"), 1, "results[0].extra: unknown key"),
        (("settings", "processes"), 0, "settings.processes: expected 1 to"),
        (("workload", "kind"), "video", "workload.kind"),
        (("environment",), [], "environment: expected object, got array"),
    ],
)
def test_wrong_values_are_refused_with_their_place(document, place, value, problem):
    """The dotted path and what was found."""
    *way, last = place
    target = document
    for key in way:
        target = target[key]
    target[last] = value
    with pytest.raises(ResultFileError) as caught:
        result_json.from_json(document)
    assert problem in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
@settings(max_examples=60, deadline=None)
def test_anything_else_is_refused(data):
    """No other error comes out, whatever goes in."""
    with pytest.raises(ResultFileError):
        result_json.from_json(data)


def test_no_space_leaves_the_old_file(finished, tmp_path, monkeypatch):
    """A full disk is one clear line, and nothing half-written stays."""
    path = tmp_path / "r.json"
    path.write_text("old")

    def full(_descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError) as caught:
        result_json.write(finished(SAMPLES), path)
    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("r.json", "old")]


def test_unwritable_target_is_found_before_measuring(tmp_path):
    """A typing error in the path must not cost a benchmark."""
    with pytest.raises(StorageError, match="no such directory"):
        result_json.check_target(tmp_path / "none" / "r.json")
    with pytest.raises(StorageError, match="it is a directory"):
        result_json.check_target(tmp_path)


def test_measurements_are_what_choosing_needs(finished):
    """One per measured candidate; samples per process, peak memory, and that the answers were right."""
    (measurement,) = finished(SAMPLES, failures={"int8": "x"}).measurements
    assert measurement.candidate.name == "fp32 on cpu"
    assert [len(process) for process in measurement.samples] == [40] * 5
    assert (measurement.peak_memory, measurement.faithful, measurement.workload) == (61_000_000, True, "golden")


def test_interrupted_benchmark_is_not_remembered(finished):
    """Some candidates have more blocks than others then."""
    assert finished(SAMPLES, complete=False).measurements == ()


SERVED = {
    "scenario": Scenario(name="server", bound=0.01),
    "services_s": (((0.001,) * 40,),) * 5,
    "rates": (100.0, 101.0, 102.0, 103.0, 104.0),
    "alone_s": ((0.0005,) * 40,) * 5,
    "operators": (OperatorTime("MatMul", "CPUExecutionProvider", 2, 1e-4),),
    "unanswered": (3, 0, 0, 0, 0),
    "accelerator": AcceleratorMemory("NVML", 123, 456),
}


def test_every_figure_of_a_search_survives(finished, tmp_path):
    """Scenario, rates, service times, operators, conditions and all."""
    result = finished({"fp32": SAMPLES["fp32"]}, row=SERVED, mode="sustained")
    path = tmp_path / "r.json"
    result_json.write(result, path)
    assert result_json.read(path) == result
    (row,) = json.loads(path.read_text())["results"]
    assert row["scenario"] == {"name": "server", "at_once": 1, "rate_per_s": None, "bound_s": 0.01}
    assert row["rate_per_s"] == {"value": 102.0, "low": 100.0, "high": 104.0, "coverage": 0.9375}
    assert row["late_share"] == pytest.approx(3 / 203)
    assert row["throughput_per_s"] is None
    assert row["cpu_s_per_input"] == pytest.approx(2 * 1.03e-3, rel=0.01)
    assert row["model_latency_s"]["p50"] == 0.0005
    assert row["disk_bytes"] == 1_400_000
    assert row["conditions"]["cpu_s"]["others"] == 0.125


def test_throughput_counts_inputs_and_not_batches(finished):
    """Eight inputs in a batch are eight times as many."""
    (row,) = finished({"fp32": [[0.5] * 10]}, row={"scenario": Scenario(name="offline", at_once=8)}).results
    assert (row.throughput, row.inputs, row.name) == (16.0, 80, "fp32 on cpu, batch 8")


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("cpu_s", [[1.0]] * 4, "raw.cpu_s: expected entries for blocks [1, 1, 1, 1, 1], found [1, 1, 1, 1]"),
        ("service_s", [[[1.0]]] * 5, "raw.service_s: expected one entry per latency"),
        ("unanswered", [0], "raw.conditions: expected entries for 5 processes, found 5 and 1: changed by hand"),
        ("settled", [1], "raw.settled[0]: expected bool, got int"),
    ],
)
def test_lists_that_do_not_belong_together_are_refused(document, key, value, problem):
    """Pieces of another run are seen by their number."""
    document["results"][0]["raw"][key] = value
    with pytest.raises(ResultFileError) as caught:
        result_json.from_json(document)
    assert problem in str(caught.value)


def test_only_single_stream_is_remembered(finished):
    """Choosing compares latencies of one input; a batch's would mislead it."""
    result = finished({"fp32": SAMPLES["fp32"]}, row={"scenario": Scenario(name="multi-stream", at_once=4)})
    assert result.measurements == ()


def test_table_for_spreadsheets(finished):
    """One line per result, an empty cell for what is not known, the failure among the cells."""
    text = result_csv.dumps(finished(SAMPLES, failures={"int8": "the worker hung, and more"}))
    first, second = csv.DictReader(io.StringIO(text))
    assert float(first["latency_s.p50"]) == pytest.approx(1.03e-3)
    assert (first["latency_s.p99"], first["scenario.name"], first["disk_bytes"]) == ("", "single-stream", "1400000")
    assert (second["failure"], second["latency_s.p50"]) == ("the worker hung, and more", "")

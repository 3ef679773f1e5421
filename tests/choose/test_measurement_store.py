"""Measurements are kept per variant and machine, summed up for loading, and damaged files are passed over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.choose.measurements import (
    MAX_SAMPLES,
    candidate_digest,
    candidate_digests,
    from_json,
    load_measurements,
    load_summaries,
    store,
    summarize,
    to_json,
)
from ortolan.errors import MeasurementError
from ortolan.types import Candidate, Interval, Measurement, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.bundle.description import Manifest

    Measured = Callable[..., Measurement]

_seconds = st.floats(min_value=0, max_value=1e6)
_measurements = st.builds(
    Measurement,
    candidate=st.builds(
        Candidate,
        st.just((("model", "fp32"),)),
        st.builds(
            SessionConfig,
            provider=st.sampled_from(["cpu", "cuda-or-cpu"]),
            provider_options=st.sampled_from([(), (("device_id", "0"),)]),
            threads=st.none() | st.integers(1, 64),
            spinning=st.booleans(),
            arena=st.booleans(),
            mmap=st.booleans(),
            prepack=st.booleans(),
        ),
    ),
    variant_digest=st.just("a" * 64),
    workload=st.sampled_from(["golden", "eigene Texte"]),
    hardware_id=st.just("0" * 16),
    runtime_id=st.just("onnxruntime 1.32.0"),
    load=st.lists(_seconds, max_size=3).map(tuple),
    first_run=st.lists(_seconds, max_size=3).map(tuple),
    samples=st.lists(st.lists(_seconds, max_size=5).map(tuple), max_size=4).map(tuple),
    peak_memory=st.none() | st.integers(0, 2**40),
    validity=st.sampled_from(["valid", "invalid", "unknown"]),
    warnings=st.sampled_from([(), ("the clock dropped; cool it",)]),
    faithful=st.none() | st.booleans(),
)


@given(_measurements)
@settings(max_examples=50, deadline=None)
def test_measurements_survive_json(measurement: Measurement) -> None:
    """What is written is read back equal."""
    assert from_json(json.loads(json.dumps(to_json(measurement)))) == measurement


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "measurement.format: expected 1 to 1, got 2"),
        ({"samples": [[0.1, "fast"]]}, "measurement.samples[0][1]: expected number, got str"),
        ({"samples": [[-0.1]]}, "measurement.samples[0][0]: expected 0 to 1e+09, got -0.1"),
        ({"validity": "good"}, "measurement.validity: expected 'valid' or 'invalid' or 'unknown', got \"good\""),
        ({"faithful": 1}, "measurement.faithful: expected bool, got int"),
    ],
)
def test_wrong_measurements_name_the_place(measured: Measured, change: dict[str, object], message: str) -> None:
    """Errors carry the dotted path."""
    with pytest.raises(MeasurementError) as caught:
        from_json({**to_json(measured("fp32", 1e-3, 1e-3)), **change})

    assert str(caught.value) == f"not a measurement that can be read: {message}"


def test_stored_measurement_is_found_again(measured: Measured) -> None:
    """Under its variant's digest and its machine's id, and nowhere else."""
    measurement = measured("fp32", 1e-3, 2e-3)

    store(measurement)

    assert load_measurements([measurement.variant_digest], measurement.hardware_id) == (measurement,)
    assert load_summaries([measurement.variant_digest], measurement.hardware_id) == (summarize(measurement),)
    assert load_summaries([measurement.variant_digest], "f" * 16) == ()
    assert load_summaries(["f" * 64], measurement.hardware_id) == ()


def test_digests_with_the_same_first_digits_are_told_apart(measured: Measured) -> None:
    """Files are named by part of the digest only."""
    measurement = measured("fp32", 1e-3, 2e-3)
    store(measurement)

    other = measurement.variant_digest[:16] + "f" * 48

    assert load_summaries([other], measurement.hardware_id) == ()


def test_newer_measurement_replaces_the_older(measured: Measured) -> None:
    """Of the same candidate, workload and runtime; another workload stands beside it."""
    old, new = measured("fp32", 1e-3, 2e-3), measured("fp32", 3e-3, 3e-3)
    other = measured("fp32", 9e-3, 9e-3, workload="mine")
    for measurement in (old, other, new):
        store(measurement)

    assert load_measurements([old.variant_digest], old.hardware_id) == (other, new)
    assert [one.p50 for one in load_summaries([old.variant_digest], old.hardware_id)] == [9e-3, 3e-3]


def test_summaries_of_one_runtime(measured: Measured) -> None:
    """Another version of onnxruntime may be faster or slower."""
    measurement = measured("fp32", 1e-3, 2e-3)
    store(measurement)

    assert load_summaries([measurement.variant_digest], measurement.hardware_id, "onnxruntime 1.20.1") == ()
    assert len(load_summaries([measurement.variant_digest], measurement.hardware_id, "onnxruntime 1.32.0")) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"format": 1, "entries": [{}]}', '{"format": 9, "entries": []}'])
def test_damaged_files_are_passed_over(measured: Measured, state_dir: Path, damage: str) -> None:
    """They hide what they held and nothing else, and are written anew by the next measurement."""
    measurement = measured("fp32", 1e-3, 2e-3)
    store(measurement)
    for path in state_dir.rglob("*.json"):
        path.write_text(damage)

    assert load_summaries([measurement.variant_digest], measurement.hardware_id) == ()
    assert load_measurements([measurement.variant_digest], measurement.hardware_id) == ()
    store(measurement)
    assert load_measurements([measurement.variant_digest], measurement.hardware_id) == (measurement,)


def test_one_damaged_entry_leaves_the_others(measured: Measured, state_dir: Path) -> None:
    """Entries are read one by one."""
    store(measured("fp32", 1e-3, 2e-3))
    measurement = measured("fp32", 1e-3, 2e-3, workload="mine")
    store(measurement)
    (path,) = state_dir.rglob("*.summary.json")
    content = json.loads(path.read_text())
    content["entries"][0]["p50"] = "fast"
    path.write_text(json.dumps(content))

    assert load_summaries([measurement.variant_digest], measurement.hardware_id) == (summarize(measurement),)


def test_long_runs_are_thinned_in_the_store_but_not_in_the_summary(measured: Measured) -> None:
    """The state directory of a small device stays small."""
    samples = tuple(1e-6 * number for number in range(3 * MAX_SAMPLES))
    measurement = measured("fp32", 0, 0, samples=(samples,))

    store(measurement)

    (kept,) = load_measurements([measurement.variant_digest], measurement.hardware_id)
    (summary,) = load_summaries([measurement.variant_digest], measurement.hardware_id)
    assert len(kept.samples[0]) == MAX_SAMPLES
    assert summary.samples == 3 * MAX_SAMPLES


def test_summary_of_two_processes(measured: Measured) -> None:
    """Medians over all samples and of each process."""
    summary = summarize(measured("fp32", 0, 0, samples=((1.0, 2.0, 3.0), (5.0, 7.0))))

    assert summary is not None
    assert (summary.p50, summary.p90, summary.processes) == (3.0, 7.0, Interval(2.0, 6.0))
    assert (summary.load, summary.first_run) == (pytest.approx(0.15), 0.01)


def test_ninetieth_percentile_needs_64_samples(measured: Measured) -> None:
    """With fewer the largest sample stands for it."""
    few, many = tuple(map(float, range(63))), tuple(map(float, range(101)))

    assert summarize(measured("fp32", 0, 0, samples=(few,))).p90 == 62.0  # type: ignore[union-attr] # has samples
    assert summarize(measured("fp32", 0, 0, samples=(many,))).p90 == 90.0  # type: ignore[union-attr] # has samples


def test_no_samples_no_summary(measured: Measured) -> None:
    """A run that ended before its first sample says nothing of speed."""
    assert summarize(measured("fp32", 0, 0, samples=((), ()))) is None


def test_digest_of_a_candidate(manifest: Callable[..., Manifest], candidate: Callable[..., Candidate]) -> None:
    """That of its variant, so that subsets of the bundle keep their measurements."""
    bundle = manifest()

    assert candidate_digest(bundle, candidate("int8")) == bundle.variant_digest(bundle.variant("int8"))
    assert candidate_digests(bundle) == tuple(
        bundle.variant_digest(bundle.variant(name)) for name in ("fp32", "fp16", "int8")
    )

"""The report as people read it."""

import pytest

from ortolan_bench.report import format_latency, render
from ortolan_bench.validity import Warning as BenchWarning

LOAD = BenchWarning("load", "invalid", "other processes used 50% of the CPU time (limit 10%): stop them")


def spread(middle, factors=(1, 1, 1, 1, 1)):
    """Five processes of 200 samples, each within 10 % of its ``factor * middle``."""
    return [[factor * middle * (1 + (i % 21 - 10) / 100) for i in range(200)] for factor in factors]


def test_whole_report(finished):
    """Table, distributions on one axis, and conclusion."""
    assert render(finished({"fp32": spread(100e-6), "int8": spread(50e-6)})).splitlines() == [
        "sentiment.bundle · golden: 16 texts, one at a time, text to answer",
        "5 processes per candidate, interleaved · onnxruntime 1.32.0 · Raspberry Pi 5 Model B, 4 cores",
        "",
        "candidate         median            p90            p99     load  first run  peak memory",
        "fp32 on cpu  99.5 µs ±0%    108 ≤109 µs    110 ≤110 µs  12.3 ms     500 µs        61 MB",
        "int8 on cpu  49.8 µs ±0%  54.0 ≤54.5 µs  55.0 ≤55.0 µs  12.3 ms     500 µs        61 MB",
        "±: 94% interval over the processes; ≤: upper bound, 99% confidence",
        "",
        "distribution  45.0 µs         log scale         110 µs  runs/s  result",
        "fp32 on cpu                                  ▆█▆▆▆▅█▅█  10,028  valid",
        "int8 on cpu   █▆▆▆▆▅█▅█                                 20,055  valid",
        "",
        "fastest: int8 on cpu; fp32 on cpu takes 2.00x as long",
    ]


def test_ascii_report_loses_no_information(finished):
    """A pipe or terminal without UTF-8 gets the same lines in ASCII."""
    result = finished({"fp32": spread(100e-6), "int8": spread(50e-6)})
    plain, rich = render(result, unicode=False), render(result)
    assert plain.isascii()
    assert "?" not in plain
    assert [len(line) for line in plain.splitlines()] == [len(line) for line in rich.splitlines()]
    assert "49.8 us ~0%" in plain


def test_failed_candidate_is_named_with_its_reason(finished):
    """The rest is shown as usual."""
    text = render(finished({"fp32": spread(1e-3), "int8": []}, failures={"int8": "the worker hung"}))
    assert "failed: int8 on cpu: the worker hung" in text
    assert "fp32 on cpu  995 µs" in text


def test_candidate_that_failed_on_the_way_keeps_its_figures(finished):
    """They are marked as those of a failure, and do not win."""
    text = render(finished({"fp32": spread(1e-3), "int8": spread(1e-4)}, failures={"int8": "out of memory"}))
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("int8")] == ["MB", "failed"]
    assert "fastest" not in text


def test_nothing_measured_is_no_table(finished):
    """Only the reasons remain."""
    text = render(finished({"int8": []}, failures={"int8": "the worker hung"}))
    assert text.splitlines()[-1] == "failed: int8 on cpu: the worker hung"
    assert "median" not in text


def test_warning_of_all_is_said_once(finished):
    """One line says who is meant and what to do."""
    result = finished({"fp32": spread(1e-3), "int8": spread(5e-4)}, validity="invalid", warnings=[LOAD])
    lines = render(result).splitlines()
    assert [line for line in lines if line.startswith("invalid")] == [f"invalid: all: {LOAD.text}"]
    assert sum("INVALID" in line for line in lines) == 2


def test_invalid_result_does_not_win(finished):
    """However fast."""
    result = finished({"fp32": spread(1e-3), "int8": spread(5e-4)}, validity="invalid", warnings=[LOAD])
    assert render(result).splitlines()[-1] == "no order: an invalid result does not win"


def test_overlapping_processes_are_not_ranked(finished):
    """What differs from process to process as much as between candidates is no difference."""
    result = finished({"fp32": spread(1e-3, (1.0, 0.9, 1.1, 1.0, 1.0)), "int8": spread(0.95e-3)})
    assert render(result).splitlines()[-1] == (
        "int8 on cpu and fp32 on cpu cannot be told apart here: the ranges of their processes' medians overlap"
    )


def test_few_samples_have_no_percentiles(finished):
    """A dash instead of a figure that cannot be known; one process has no interval."""
    text = render(finished({"fp32": [[0.5] * 10]}, processes=1))
    assert "fp32 on cpu  500 ms    -    -  12.3 ms" in text
    assert "one process: no interval" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.234e-9, "1.23 ns"),
        (51.24e-6, "51.2 µs"),
        (999.4e-6, "999 µs"),
        (999.9e-6, "1.00 ms"),
        (9.996e-3, "10.0 ms"),
        (2.5, "2.50 s"),
        (0.0, "0 ns"),
    ],
)
def test_latency_has_three_digits_and_a_unit(seconds, text):
    """Also where rounding carries into the next unit."""
    assert format_latency(seconds) == text

"""The report as people read it."""

from dataclasses import replace

import pytest

from ortolan.types import Candidate, SessionConfig
from ortolan_bench.protocol import OperatorTime
from ortolan_bench.report import format_latency, render
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Usage
from ortolan_bench.validity import Warning as BenchWarning

LOAD = BenchWarning("load", "invalid", "other processes used 50% of the CPU time (limit 10%): stop them")


def spread(middle, factors=(1, 1, 1, 1, 1)):
    """Five processes of 200 samples, each within 10 % of its ``factor * middle``."""
    return [[factor * middle * (1 + (i % 21 - 10) / 100) for i in range(200)] for factor in factors]


def test_whole_report(finished):
    """Table, distributions on one axis, and conclusion."""
    assert render(finished({"fp32": spread(100e-6), "int8": spread(50e-6)})).splitlines() == [
        "sentiment.bundle · golden: 16 texts, text to answer",
        "5 processes per candidate, interleaved · onnxruntime 1.32.0 · Raspberry Pi 5 Model B, 4 cores",
        "",
        "single-stream: one input at a time",
        "candidate         median            p90            p99     load  first run  peak memory",
        "fp32 on cpu  99.5 µs ±0%    108 ≤109 µs    110 ≤110 µs  12.3 ms     500 µs        61 MB",
        "int8 on cpu  49.8 µs ±0%  54.0 ≤54.5 µs  55.0 ≤55.0 µs  12.3 ms     500 µs        61 MB",
        "±: 94% interval over the processes; ≤: upper bound, 99% confidence",
        "",
        "distribution  45.0 µs         log scale         110 µs  inputs/s  CPU/input  on disk  result",
        "fp32 on cpu                                  ▆█▆▆▆▅█▅█    10,028     199 µs   1.4 MB  valid",
        "int8 on cpu   █▆▆▆▆▅█▅█                                   20,055    99.7 µs   1.4 MB  valid",
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


def test_offline_sweep_says_which_batch_answers_most(finished):
    """Each batch size is a row; the rate counts inputs, and the best usable one is named."""
    one, eight = (
        finished({"fp32": spread(seconds)}, row={"scenario": Scenario(name="offline", at_once=batch)}).results[0]
        for batch, seconds in ((1, 1e-3), (8, 2e-3))
    )
    text = render(finished({}, results=(one, eight)))
    assert "offline: in batches; latency of a batch" in text
    assert "fp32 on cpu, batch 8  1.99 ms" in text
    assert text.splitlines()[-1] == "most per second: fp32 on cpu, batch 8: 4,011 inputs/s"


def searched(finished, rates, **changes):
    row = {"scenario": Scenario(name="server", bound=0.01), "rates": rates, **changes}
    return finished({"fp32": spread(1e-3)}, row=row).results[0]


def test_search_is_summed_up_in_a_sentence(finished):
    """The rate with its interval, the bound, and what live runs say of it."""
    text = render(finished({}, results=(searched(finished, (99.0, 100.0, 101.0)),)))
    assert text.splitlines()[-1] == (
        "highest rate: fp32 on cpu: 100/s ±1% for 99% of the answers within 10 ms; of those of live runs 0.0% were late"
    )


def test_searches_are_ranked_by_rate(finished):
    """Not by latency, which is at the bound for all; intervals that overlap are no order."""
    first = searched(finished, (99.0, 100.0, 101.0))
    other = replace(first, candidate=Candidate((("model", "int8"),), SessionConfig()), rates=(149.0, 150.0, 151.0))
    assert render(finished({}, results=(first, other))).splitlines()[-1] == (
        "highest rate: int8 on cpu, 1.50x that of fp32 on cpu"
    )
    close = replace(other, rates=(98.0, 102.0, 104.0))
    assert render(finished({}, results=(first, close))).splitlines()[-1] == (
        "the rates of int8 on cpu and fp32 on cpu cannot be told apart here"
    )


def test_model_alone_and_operators_are_shown(finished):
    """What pre- and post-processing add, and where the model's time goes."""
    operators = tuple(OperatorTime(f"Op{i}", "CPUExecutionProvider", 1, 1e-6) for i in range(6))
    operators = (OperatorTime("MatMul", "CPUExecutionProvider", 3, 4e-6), *operators)
    text = render(finished({"fp32": spread(1e-3)}, row={"alone_s": ((25e-6,) * 3,), "operators": operators}))
    assert "model alone" in text
    assert "25.0 µs" in text
    assert (
        "operators: fp32 on cpu: MatMul 40% (3x), Op0 10% (1x), Op1 10% (1x), Op2 10% (1x), Op3 10% (1x), 2 more"
        in text
    )


def test_conclusions_name_their_scenario(finished):
    """Where there are several."""
    pair = finished({"fp32": spread(1e-3), "int8": spread(5e-4)}).results
    more = tuple(replace(row, scenario=Scenario(name="multi-stream", at_once=4)) for row in pair[:1])
    assert render(finished({}, results=(*pair, *more))).splitlines()[-1] == (
        "single-stream: fastest: int8 on cpu; fp32 on cpu takes 2.00x as long"
    )


def test_conditions_are_one_line(finished):
    """Heat, clock and power, as far as the machine tells; nothing where it hides them all."""
    usages = tuple(
        Usage(
            seconds=1.0,
            temperature_first_c=48.0,
            temperature_highest_c=61.0 + i,
            clocks_hz=(1_800_000_000 - i * 100_000_000,),
            counted_j=6.2,
            meter="RAPL package-0",
        )
        for i in range(5)
    )
    text = render(finished({"fp32": spread(1e-3)}, row={"usages": usages}))
    assert (
        "conditions: 48 °C at first, 65 °C at most; clock 1.40 to 1.80 GHz; 6.2 to 6.2 W (RAPL package-0)"
    ) in text.splitlines()
    assert "energy/input" in text
    assert "conditions" not in render(finished({"fp32": spread(1e-3)}))


def test_bound_far_away_has_a_unit_of_its_own(finished):
    """Thousands of microseconds are milliseconds."""
    samples = [[100e-6] * 181 + [50e-3] * 19] * 5
    assert "100 µs ≤50.0 ms" in render(finished({"fp32": samples}))

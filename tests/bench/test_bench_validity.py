"""Whether a result can be relied on."""

import pytest

from ortolan_bench.sensors import Usage
from ortolan_bench.validity import TABLE, Evidence, judge

QUIET = Usage(total_s=10.0, others_s=0.1, stolen_s=0.0, swapped_pages=0)
STEADY = [[1.0, 1.01, 0.99, 1.0]] * 5


def evidence(**changes):
    values = {"usage": QUIET, "block_levels_s": STEADY, "settled": [True] * 5, "samples": 1000}
    return Evidence(**{**values, **changes})


def test_quiet_machine_is_valid():
    """Nothing to say."""
    assert judge(evidence()) == ("valid", ())


@pytest.mark.parametrize(
    ("changes", "verdict", "text"),
    [
        (
            {"usage": Usage(total_s=10.0, others_s=0.0, stolen_s=0.31, swapped_pages=0)},
            "invalid",
            "the hypervisor took 3.1% of the CPU time for other guests (limit 2.0%): "
            "measure on hardware of your own or at a quieter hour",
        ),
        (
            {"usage": Usage(total_s=10.0, others_s=5.0, stolen_s=0.0, swapped_pages=0)},
            "invalid",
            "other processes used 50% of the CPU time (limit 10%): stop them, or measure when the machine is idle",
        ),
        (
            {"usage": Usage(total_s=10.0, others_s=0.0, stolen_s=0.0, swapped_pages=500)},
            "invalid",
            "500 pages were swapped in or out (limit 64): free memory, or measure fewer candidates at once",
        ),
        (
            {"block_levels_s": [[1.0, 1.2, 1.4, 1.6]] * 5},
            "invalid",
            "the latency moved by 60% between blocks of one process (limit 10%): "
            "let the machine cool down, fix its clock, or measure longer with --seconds",
        ),
        (
            {"settled": [False, False, False, True, True]},
            "invalid",
            "in 60% of the processes the latency had not settled when the warm-up ended (limit 50%): "
            "stop other work on the machine and measure again",
        ),
        (
            {"block_levels_s": STEADY[:4]},
            "unknown",
            "fewer than 5 processes were measured: how much they differ is not known; give --processes 5 or more",
        ),
        (
            {"samples": 63},
            "unknown",
            "fewer than 64 runs were measured, so no percentile is given: measure longer with --seconds",
        ),
        (
            {"complete": False},
            "unknown",
            "the benchmark was interrupted before this candidate was finished: run it again",
        ),
    ],
)
def test_each_row_says_what_was_found_and_what_to_do(changes, verdict, text):
    """One row of the table each."""
    found, warnings = judge(evidence(**changes))
    assert (found, [str(warning) for warning in warnings]) == (verdict, [text])


def test_hidden_counters_make_the_result_unknown():
    """A container without /proc/stat cannot tell who else was running."""
    verdict, warnings = judge(evidence(usage=Usage(total_s=None, others_s=None, stolen_s=None, swapped_pages=None)))
    assert verdict == "unknown"
    assert [warning.code for warning in warnings] == ["steal", "load", "swap"]


def test_too_little_observed_is_unknown_and_not_invalid():
    """A few milliseconds are below what the kernel's ticks can tell."""
    verdict, _ = judge(evidence(usage=Usage(total_s=0.04, others_s=0.02, stolen_s=0.0, swapped_pages=0)))
    assert verdict == "unknown"


def test_invalid_outweighs_unknown():
    """Both are reported, the worse decides."""
    verdict, warnings = judge(
        evidence(samples=3, usage=Usage(total_s=10.0, others_s=9.0, stolen_s=0.0, swapped_pages=0))
    )
    assert verdict == "invalid"
    assert [warning.code for warning in warnings] == ["load", "samples"]


def test_one_process_that_drifts_among_five_is_no_verdict():
    """The typical process decides; a single disturbed one shows in the interval of the median."""
    assert judge(evidence(block_levels_s=[*STEADY[:4], [1.0, 3.0]]))[0] == "valid"


def test_codes_are_unique():
    """A code names one row."""
    assert len({row.code for row in TABLE}) == len(TABLE)

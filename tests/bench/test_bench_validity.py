"""Whether a result can be relied on."""

from dataclasses import replace
from random import Random

import pytest

from ortolan_bench.sensors import Usage
from ortolan_bench.statistics import level
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
        (
            {"usage": replace(QUIET, total_s=80.0, others_s=5.0, seconds=5.0)},
            "invalid",
            "other processes kept 1.0 cores busy (limit 0.5): stop them, or measure when the machine is idle",
        ),
        (
            {"usage": replace(QUIET, others_s=0.9, worker_s=4.0, waited_s=1.0)},
            "invalid",
            "the worker's threads waited 18% of their time for a core that others had (limit 3%): "
            "stop other processes, or give fewer --threads than there are cores",
        ),
        (
            {"usage": replace(QUIET, worker_s=4.0, stopped_s=1.0)},
            "invalid",
            "the processor quota of this container or service was used up, and stopped it for 20% of its time (limit "
            "2%): give it more or fewer --threads, or measure what it can keep up, in sustained mode",
        ),
        (
            {"usage": replace(QUIET, seconds=5.0, major_faults=50)},
            "invalid",
            "the worker had to wait for 10.0 pages a second from storage (limit 2.0): the memory is too small for the "
            "model and all else; free some, or measure fewer candidates at once",
        ),
        (
            {"usage": replace(QUIET, throttling=("under-voltage",))},
            "invalid",
            "the supply voltage was too low, for which the board slows down: "
            "use the power supply and cable made for it",
        ),
        (
            {"usage": replace(QUIET, throttling=("clock capped", "throttled"))},
            "invalid",
            "the processor was throttled (clock capped, throttled): cool it, or measure what it can keep up, in "
            "sustained mode",
        ),
        (
            {"usage": replace(QUIET, clocks_hz=(1_800_000_000,) * 7 + (1_500_000_000,))},
            "invalid",
            "in 12% of the blocks the clock was more than 10% below its highest, 1800 MHz (limit 10%): "
            "cool the machine, or set a fixed clock",
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


@pytest.mark.parametrize(
    "changes",
    [
        {"throttling": ("throttled", "clock lowered by the kernel for heat")},
        {"worker_s": 4.0, "stopped_s": 1.0},
        {"clocks_hz": (1_800_000_000, 1_000_000_000, 1_000_000_000)},
    ],
)
def test_throttled_steady_state_is_the_result_in_sustained_mode(changes):
    """A board without a fan is measured as it runs in the field."""
    found = evidence(usage=replace(QUIET, **changes))
    assert judge(found, mode="burst")[0] == "invalid"
    assert judge(found, mode="sustained") == ("valid", ())


def test_a_weak_supply_is_no_steady_state():
    """Under-voltage is a fault in either mode."""
    found = evidence(usage=replace(QUIET, throttling=("throttled", "under-voltage")))
    verdict, warnings = judge(found, mode="sustained")
    assert (verdict, [warning.code for warning in warnings]) == ("invalid", ["under-voltage"])


def test_still_heating_is_unknown_in_sustained_mode_only():
    """What it can keep up is not reached; in burst mode it may heat as it likes."""
    found = evidence(usage=replace(QUIET, temperature_first_c=48.0, temperature_last_c=70.0))
    assert judge(found, mode="burst") == ("valid", ())
    verdict, warnings = judge(found, mode="sustained")
    assert verdict == "unknown"
    assert str(warnings[0]) == (
        "the processor was 22 °C warmer after the last block than before the first (limit 5): "
        "what it can keep up is not reached; measure longer with --seconds"
    )


def test_streams_that_wait_for_each_other_are_no_fault():
    """More threads than cores wait although nobody else runs."""
    assert judge(evidence(usage=replace(QUIET, others_s=0.02, worker_s=9.0, waited_s=20.0))) == ("valid", ())


def test_one_slow_clock_among_twenty_is_no_verdict():
    """The governor may have slowed down before the clock was read."""
    assert judge(evidence(usage=replace(QUIET, clocks_hz=(1_800_000_000,) * 19 + (600_000_000,))))[0] == "valid"


def test_few_page_faults_in_a_short_run_are_no_verdict():
    """Rates of less than a second say nothing."""
    assert judge(evidence(usage=replace(QUIET, seconds=0.1, major_faults=2)))[0] == "valid"


def test_what_a_machine_does_not_show_is_no_verdict():
    """Without thermometers, clocks, throttle flags, waits and faults a result may be valid; the drift tells."""
    hidden = replace(QUIET, waited_s=None, major_faults=None, throttling=None, clocks_hz=())
    assert judge(evidence(usage=hidden), mode="burst") == ("valid", ())
    assert judge(evidence(usage=hidden), mode="sustained") == ("valid", ())


def test_quantities_every_machine_has_say_what_is_missing():
    """Each row that makes a result unknown for it has words for it."""
    assert {row.code for row in TABLE if row.unknown} == {"steal", "load", "swap"}


def test_load_is_said_once():
    """A busy core of two is a large share; the row for machines of many cores need not repeat it."""
    _, warnings = judge(evidence(usage=replace(QUIET, others_s=5.0, seconds=5.0)))
    assert [warning.code for warning in warnings] == ["load"]


def levels(run, processes=5, blocks=4, runs=200):
    """Levels of blocks whose samples ``run(random, process, block, number)`` gives, in seconds."""
    random = Random(7)
    return [
        [level([run(random, process, block, number) for number in range(runs)], 1) for block in range(blocks)]
        for process in range(processes)
    ]


def codes(run, **changes):
    return [warning.code for warning in judge(evidence(block_levels_s=levels(run, **changes)))[1]]


def test_trace_that_drifts():
    """A clock that goes down by 5 % from block to block."""
    assert codes(lambda random, _process, block, _number: (1 + 0.05 * block) * random.uniform(0.99, 1.01)) == [
        "unstable"
    ]


def test_trace_with_bursts():
    """Now and then ten slow runs in a row: the percentiles show them, the level of a block does not move."""
    assert codes(lambda random, _process, _block, number: 3.0 if number % 50 < 10 else random.uniform(0.99, 1.01)) == []


def test_trace_with_two_modes_within_a_process():
    """Threads that are placed now here, now there: half of the blocks are slower by a third."""
    assert codes(lambda random, _process, block, _number: random.uniform(0.99, 1.01) * (1 + block % 2 / 3)) == [
        "unstable"
    ]


def test_trace_with_two_modes_between_processes():
    """Each process is steady in its own mode: the interval over the processes shows it."""
    assert codes(lambda random, process, _block, _number: random.uniform(0.99, 1.01) * (1 + process % 2 / 3)) == []


def test_trace_with_a_heavy_tail():
    """Pareto with infinite variance above a steady floor."""
    assert codes(lambda random, *_: 1 + 0.02 * random.paretovariate(1.1)) == []


def autocorrelated(coefficient):
    """An AR(1) process of 3 % innovations."""
    state = [0.0]

    def run(random, *_):
        state[0] = coefficient * state[0] + random.gauss(0, 0.03)
        return 1.5 + state[0]

    return run


def test_trace_with_autocorrelation():
    """A short memory averages out within a block; a long one moves whole blocks, and is found."""
    assert codes(autocorrelated(0.5)) == []
    assert codes(autocorrelated(0.999), runs=400) == ["unstable"]

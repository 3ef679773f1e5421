"""Whether two results differ: effect, interval and verdict of each figure."""

import pytest

from ortolan.types import Candidate, SessionConfig
from ortolan_bench.comparison import ERROR, compare, shares
from ortolan_bench.figures import FIGURES, Figure
from ortolan_bench.protocol import MemoryUse
from ortolan_bench.result import CandidateResult
from ortolan_bench.validity import Warning as BenchWarning


def result_of(blocks, **changes):
    """A result with these latencies, everything else being equal."""
    count = len(blocks)
    values = {
        "candidate": Candidate((("model", "fp32"),), SessionConfig()),
        "variant_digest": "d" * 64,
        "import_s": (0.2,) * count,
        "load_s": (0.01,) * count,
        "first_run_s": (0.002,) * count,
        "blocks_s": tuple(tuple(tuple(block) for block in process) for process in blocks),
        "validity": "valid",
    }
    return CandidateResult(**{**values, **changes})


def judged(base, new, design="paired", **changes):
    return compare(base, new, design=design, inputs=1, names=("base", "new"), **changes)


def called(comparison):
    return any(row.verdict == "different" for row in comparison.figures)


def steady(latency, processes=20, spread=0.0, count=12):
    """Processes of one latency, alternately a little above and below."""
    factors = [1 + spread * (1 if i % 2 else -1) for i in range(processes)]
    return [[[latency * factor] * count] * 2 for factor in factors]


def test_processes_are_the_unit_not_samples():
    """Ten thousand samples of two processes that disagree prove nothing."""
    base = result_of([[[1.00e-3] * 5000], [[1.05e-3] * 5000]])
    new = result_of([[[1.02e-3] * 5000], [[1.07e-3] * 5000]])
    row = judged(base, new, "stored").figure("latency_p50_s")
    assert row.verdict == "cannot tell"
    assert row.processes == (2, 2)


def test_same_says_within_how_much():
    """The interval's farther end, in either direction."""
    row = judged(result_of(steady(1e-3, spread=0.002)), result_of(steady(1e-3, spread=-0.002))).figure("latency_p50_s")
    assert row.verdict == "same"
    assert row.within == max(abs(row.low), abs(row.high)) <= 0.01


def test_tolerance_decides_what_is_the_same():
    """An interval that reaches beyond it cannot tell, and says how many more would."""
    base, new = result_of(steady(1e-3, spread=0.01)), result_of(steady(1e-3, spread=-0.01))
    assert judged(base, new).figure("latency_p50_s").verdict == "same"
    row = judged(base, new, tolerance=0.001).figure("latency_p50_s")
    assert row.verdict == "cannot tell"
    assert row.more is None or row.more > 100


def test_few_pairs_ask_for_as_many_as_an_interval_needs():
    """The first may miss in 2.5 %, which 2**-6 undercuts; the other four in 0.625 %, which 2**-8 undercuts."""
    comparison = judged(result_of(steady(1e-3, processes=3)), result_of(steady(1.2e-3, processes=3)))
    assert [(row.verdict, row.more) for row in comparison.figures] == [("cannot tell", 4), *[("cannot tell", 6)] * 4]


def test_all_intervals_hold_together():
    """The errors add up to 5 %, however many figures there are."""
    assert list(shares(1)) == [ERROR]
    for count in (2, 5, 9):
        assert sum(shares(count)) == pytest.approx(ERROR)
        assert max(shares(count)) == ERROR / 2


def test_one_process_asks_for_five():
    """As the validity table does."""
    base, new = (result_of(steady(latency, processes=1)) for latency in (1e-3, 2e-3))
    row = judged(base, new, "stored").figure("latency_p50_s")
    assert (row.verdict, row.more, row.change) == ("cannot tell", 4, pytest.approx(1.0))


def test_throughput_falls_when_latency_grows():
    """Less of it is worse, by the same factor."""
    comparison = judged(result_of(steady(1e-3)), result_of(steady(1.25e-3)))
    row = comparison.figure("throughput_per_s")
    assert (row.change, row.worsening) == (pytest.approx(-0.2), pytest.approx(0.25))
    assert {found.figure.key for found in comparison.worse(0.2)} == {"latency_p50_s", "throughput_per_s"}
    assert comparison.worse(0.3) == ()
    assert judged(result_of(steady(1.25e-3)), result_of(steady(1e-3))).worse(0.0) == ()


@pytest.mark.parametrize(
    ("count", "titles"), [(10, {"p90 latency", "p99 latency"}), (40, {"p99 latency"}), (400, set())]
)
def test_percentiles_need_samples_in_every_process(count, titles):
    """What is left out is said, with the number needed."""
    comparison = judged(result_of(steady(1e-3, count=count)), result_of(steady(1e-3, count=count)))
    assert {title for title, _ in comparison.missing} == titles
    assert all("samples per process: measure longer" in reason for _, reason in comparison.missing)


def test_figure_of_one_side_is_named():
    """A container may hide the memory of one."""
    use = MemoryUse(61_000_000, None, None, None)
    comparison = judged(result_of(steady(1e-3), memory=use), result_of(steady(1e-3)))
    assert ("peak memory", "only measured for base") in comparison.missing


@pytest.mark.parametrize(
    ("peak", "verdict"), [(62_000_000, "same"), (62_500_000, "cannot tell"), (70_000_000, "different")]
)
def test_single_readings_may_differ_a_little(peak, verdict):
    """Memory is read once: three percent are no difference, and what they leave open is added."""
    sides = [result_of(steady(1e-3), memory=MemoryUse(size, None, None, None)) for size in (61_000_000, peak)]
    assert judged(*sides).figure("peak_rss_bytes").verdict == verdict


@pytest.mark.parametrize("validity", ["valid", "invalid"])
def test_invalid_never_wins(validity):
    """However fast it is; its figures are shown without a verdict."""
    warning = BenchWarning("load", "invalid", "others used the CPU: stop them")
    new = result_of(steady(1e-4), validity=validity, warnings=(warning,))
    comparison = judged(result_of(steady(1e-3)), new)
    assert called(comparison) == (validity == "valid")
    if validity == "invalid":
        assert {row.verdict for row in comparison.figures} == {"invalid"}
        assert comparison.problems == ("new: invalid: others used the CPU: stop them",)


def test_what_cannot_vary_needs_no_valid_run():
    """A size is a size."""
    (median,) = (row for row in FIGURES if row.key == "latency_p50_s")
    size = Figure(key="size_bytes", title="size", unit="bytes", single=lambda row: len(row.variant_digest), between=0.0)
    sides = result_of(steady(1e-3)), result_of(steady(1e-3), validity="invalid", variant_digest="d" * 32)
    assert [row.verdict for row in judged(*sides, figures=[median, size]).figures] == ["invalid", "different"]


def test_failed_side_has_no_verdict():
    """The reason is passed on."""
    comparison = judged(result_of(steady(1e-3)), result_of([], failure="the worker hung", validity="invalid"))
    assert comparison.problems == ("new: failed: the worker hung",)
    assert comparison.figures == ()


def test_burst_in_one_block_of_each_side_is_ignored():
    """A pair's ratio is the median of its blocks' ratios."""
    quiet, burst = [1e-3] * 12, [3e-3] * 12
    base = result_of([[burst, quiet, quiet, quiet]] * 20)
    new = result_of([[quiet, quiet, quiet, burst]] * 20)
    assert judged(base, new).figure("latency_p50_s").change == 0


def test_block_cut_short_is_compared_with_as_much_of_the_other():
    """The first runs of a block are slower; a side that had time for nothing else is not slower."""
    block = [2e-3, 2e-3, 1e-3, 1e-3, *[1e-3] * 8]
    comparison = judged(result_of([[block] * 4] * 20), result_of([[block[:4]] * 4] * 20))
    assert [row.change for row in comparison.figures[:2]] == [0, 0]


def test_unfinished_pair_counts_as_far_as_both_sides_went():
    """After an interruption one side may have a block or a process more."""
    blocks = steady(1e-3)
    comparison = judged(result_of(blocks), result_of([*blocks[:18], blocks[18][:1]]))
    assert comparison.figure("latency_p50_s").processes == (19, 19)

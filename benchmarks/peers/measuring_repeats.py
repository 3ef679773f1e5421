"""Stored results: how often ``ortolan compare`` calls repeated runs of one thing different.

    python benchmarks/peers/measuring_repeats.py [BUNDLE|MODEL.onnx] [--variant NAME] [--runs 15] [--keep DIR] [--quick]

Runs ``ortolan bench`` again and again (5 processes, 5 s of steady state: about 10 s a run), and compares every run with
every other: 15 runs make 105 pairs, 20 make 190. A pair counts as different if any of its figures does. Prints too how
much processes and runs differ for each figure, beside the share that ``ortolan_bench.figures`` allows runs. Exit status
1 if more than 5 % of the pairs are called different, or if fewer than 100 pairs (``--quick``: any) have valid results.

With ``--keep`` the results are kept, and those already there are used before new ones are measured.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import Counter
from itertools import combinations
from math import log
from pathlib import Path

from measuring_model import make_model

from ortolan_bench import run_bench
from ortolan_bench.figures import figures_for
from ortolan_bench.result_json import read, write
from ortolan_bench.stored import compare_results

MOST_DIFFERENT = 0.05
FEWEST_PAIRS = 100


def measure(path: Path, variant: str | None, directory: Path, runs: int, seconds: float) -> list:
    """The results in ``directory``, after adding as many as are missing."""
    files = sorted(directory.glob("run-*.json"))
    for number in range(len(files), runs):
        start = time.monotonic()
        variants = None if variant is None else [variant]
        result = run_bench(path, variants=variants, seconds=seconds, processes=5, seed=number, store=False)
        files.append(directory / f"run-{number:03}.json")
        write(result, files[-1])
        row = result.results[0]
        p50 = "failed" if row.latency is None else f"{row.latency.p50.value * 1e6:.1f} us"
        print(f"run {number + 1:3}: {p50:>12}  {row.validity}  {time.monotonic() - start:.1f} s", flush=True)
    return [read(file) for file in files[:runs]]


def components(results: list) -> None:
    """How much each figure varies between processes, and between runs beyond that."""
    print(f"\n{'figure':16} {'between processes':>18} {'between runs':>13} {'allowed':>8}")
    for figure in figures_for(guest=results[0].environment.get("hypervisor") is not None):
        values = [figure.values(result.results[0], result.workload_count) for result in results]
        logs = [[log(value) for value in run] for run in values if run]
        if len(logs) < 2:
            continue
        means = [statistics.fmean(run) for run in logs]
        within = statistics.fmean(statistics.variance(run) for run in logs) if len(logs[0]) > 1 else 0.0
        between = max(0.0, statistics.variance(means) - within / len(logs[0]))
        print(f"{figure.title:16} {within**0.5:18.2%} {between**0.5:13.2%} {figure.between:8.1%}")


def main() -> int:
    """Measure, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="bundle or model (default: made here)")
    parser.add_argument("--variant", help="variant of the bundle (default: its first)")
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=5.0, help="of steady state per run (default 5)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where results are kept")
    parser.add_argument("--quick", action="store_true", help="4 runs of 0.5 s: tries the script, proves nothing")
    arguments = parser.parse_args()
    runs, seconds = (4, 0.5) if arguments.quick else (arguments.runs, arguments.seconds)

    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.path or make_model(temporary)
        directory = arguments.keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        results = measure(path, arguments.variant, directory, runs, seconds)

    components(results)
    judged = different = median_different = 0
    figures: Counter[str] = Counter()
    for base, new in combinations(results, 2):
        comparison = compare_results(base, new).comparisons[0]
        if comparison.problems:
            continue
        called = [row.figure.title for row in comparison.figures if row.verdict == "different"]
        figures.update(called)
        judged += 1
        different += bool(called)
        median_different += "median latency" in called
    invalid = sum(result.results[0].validity == "invalid" for result in results)
    share = different / judged if judged else 0.0
    print(f"\n{len(results)} runs ({invalid} invalid), {judged} pairs of valid runs")
    print(f"called different in any figure: {different} ({share:.1%}), in the median latency: {median_different}")
    for title, count in figures.most_common():
        print(f"  {title}: {count}")
    enough = judged >= (1 if arguments.quick else FEWEST_PAIRS)
    met = enough and share <= MOST_DIFFERENT
    why = "" if enough else f" (fewer than {FEWEST_PAIRS} valid pairs: measure on a quiet machine, or more --runs)"
    print(f"target <= {MOST_DIFFERENT:.0%} of at least {FEWEST_PAIRS} pairs: {'met' if met else 'MISSED'}{why}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

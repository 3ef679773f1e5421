"""``ortolan bench --against``: how often it finds a slow-down of known size, and one that is not there.

    python benchmarks/peers/measuring_against.py [BUNDLE|MODEL.onnx] [--variant NAME] [--trials 10] [--quick]

Resampled: ``--stock`` pairs of processes of the same thing are measured once (60: two minutes). From them 20 pairs are
drawn again and again, their sides exchanged at random (they are equal), one side multiplied by 1.00, 1.02 and 1.05, and
compared as the command compares them.

Live: for each of these sizes, ``--trials`` whole comparisons of 20 pairs and 10 s of steady state a side (10: 30
comparisons of about 40 s, 20 minutes), where one side's worker waits after each run until it has taken 1.00, 1.02 or
1.05 times as long. An invalid comparison finds nothing.

A false alarm is any figure called different; a slow-down is found if the median latency is called different and
slower. Exit status 1 if a target is missed: 5 % found in at least 90 %, 2 % in at least 50 %, false alarms in at most
5 % of the resampled comparisons; of 10 live ones at most one false alarm, since more would come by chance in one of
eleven tries at 5 %.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from math import log
from pathlib import Path

from measuring_model import make_model

from ortolan_bench.against import PAIRS, SECONDS, run_against
from ortolan_bench.comparison import pair_differences, shares
from ortolan_bench.figures import FIGURES
from ortolan_bench.process import WorkerProcess
from ortolan_bench.shift import paired_shift
from ortolan_bench.subject import Subject

EFFECTS = (0.0, 0.02, 0.05)
FEWEST_FOUND = {0.02: 0.5, 0.05: 0.9}
MOST_ALARMS = 0.05
SLOW_WORKER = str(Path(__file__).with_name("measuring_slow_worker.py"))


def spawn(factor: float) -> WorkerProcess:
    """A worker whose runs take ``factor`` times as long."""
    return WorkerProcess([sys.executable, SLOW_WORKER, str(factor)])


def trial(path: Path, variant: str | None, effect: float, seed: int, pairs: int, seconds: float):
    """One whole comparison, the new side slower by ``effect``; and the seconds a side took."""
    start = time.monotonic()
    report = run_against(
        path,
        f"bundle={path}",
        variants=None if variant is None else [variant],
        seconds=seconds,
        processes=pairs,
        threads=[1],  # a pool of threads would get the time that the slow side waits
        seed=seed,
        spawn=lambda: spawn(1 + effect),
        spawn_other=lambda: spawn(1.0),
    )
    return report, (time.monotonic() - start) / 2


def stock(path: Path, variant: str | None, pairs: int, seconds: float) -> dict[str, list[float]]:
    """Per figure, the differences of ``pairs`` pairs of equal processes."""
    report, side_s = trial(path, variant, 0.0, 1000, pairs, seconds)
    base, new = report.base.results[0], report.new.results[0]
    inputs = report.new.workload_count
    found = {row.key: pair_differences(row, base, new, inputs) for row in FIGURES if row.single is None}
    found = {key: differences for key, differences in found.items() if len(differences) == pairs}
    print(f"stock: {pairs} pairs in {2 * side_s:.0f} s, validity {base.validity} and {new.validity}", flush=True)
    for key, differences in found.items():
        spread = (sum(d * d for d in differences) / len(differences)) ** 0.5
        print(f"  {key:18} root mean square of the differences {spread:.2%}")
    return found


def resampled(differences: dict[str, list[float]], effect: float, draws: int, pairs: int) -> tuple[float, float]:
    """Share of the draws in which the slow-down is found, and in which any figure is called different."""
    chance = random.Random(int(effect * 1000))
    available = len(differences["latency_p50_s"])
    errors = dict(zip(differences, shares(len(differences)), strict=True))
    slow = {row.key: 1 if row.lower_is_better else -1 for row in FIGURES}
    steady = {row.key for row in FIGURES if row.of_samples is not None}
    found = alarms = 0
    for _ in range(draws):
        chosen = [(chance.randrange(available), chance.choice((-1, 1))) for _ in range(pairs)]
        any_apart = False
        for key, values in differences.items():
            added = slow[key] * log(1 + effect) if key in steady else 0.0
            shift = paired_shift([sign * values[index] + added for index, sign in chosen], errors[key])
            any_apart |= shift.apart
            found += key == "latency_p50_s" and shift.low > 0
        alarms += any_apart
    return found / draws, alarms / draws


def live(path: Path, variant: str | None, effect: float, trials: int, pairs: int, seconds: float) -> tuple[int, int]:
    """How many of ``trials`` comparisons find the slow-down, and in how many any figure is called different."""
    found = alarms = 0
    for number in range(trials):
        report, side_s = trial(path, variant, effect, number + round(1e5 * effect), pairs, seconds)
        (comparison,) = report.comparisons
        row = comparison.figure("latency_p50_s")
        called = [figure.figure.title for figure in comparison.figures if figure.verdict == "different"]
        found += row is not None and row.verdict == "different" and row.change > 0
        alarms += bool(called)
        if row is None:
            print(f"  {effect:.0%}: {'; '.join(comparison.problems)}", flush=True)
            continue
        print(
            f"  {effect:.0%}: change {row.change:+.2%} [{row.low:+.2%}, {row.high:+.2%}] {row.verdict}"
            f"{' (' + ', '.join(called) + ')' if called else ''}, {side_s:.1f} s a side",
            flush=True,
        )
        for problem in comparison.problems:
            print(f"      {problem}", flush=True)
    return found, alarms


def main() -> int:
    """Measure, resample, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="bundle or model (default: made here)")
    parser.add_argument("--variant", help="variant of the bundle (default: its first)")
    parser.add_argument("--trials", type=int, default=10, help="live comparisons of each size (default 10)")
    parser.add_argument("--stock", type=int, default=60, help="pairs to draw from (default 60)")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="12 pairs of 0.1 s, one trial: tries the script")
    arguments = parser.parse_args()
    trials, stocked = (1, 12) if arguments.quick else (arguments.trials, arguments.stock)
    pairs, seconds = (12, 1.2) if arguments.quick else (PAIRS, SECONDS)

    missed = []
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.path or make_model(temporary)
        variants = Subject(path).targets(None, ["cpu"], [None])
        variant = arguments.variant or variants[0].variant
        differences = stock(path, variant, stocked, seconds / pairs * stocked)
        for effect in EFFECTS:
            found, alarms = resampled(differences, effect, arguments.draws, pairs)
            value, met, target = (
                (alarms, alarms <= MOST_ALARMS, f"<= {MOST_ALARMS:.0%} false alarms")
                if effect == 0
                else (found, found >= FEWEST_FOUND[effect], f">= {FEWEST_FOUND[effect]:.0%} found")
            )
            print(
                f"resampled, {effect:.0%} slower: {value:.1%}  target {target}: {'met' if met else 'MISSED'}",
                flush=True,
            )
            missed += [] if met else [target]
        for effect in EFFECTS:
            found, alarms = live(path, variant, effect, trials, pairs, seconds)
            count = alarms if effect == 0 else found
            most = max(1, trials // 10)
            met = alarms <= most if effect == 0 else found >= FEWEST_FOUND[effect] * trials
            target = f"<= {most} false alarms" if effect == 0 else f">= {FEWEST_FOUND[effect]:.0%} found"
            print(
                f"live, {effect:.0%} slower: {count} of {trials}  target {target}: {'met' if met else 'MISSED'}",
                flush=True,
            )
            missed += [] if met else [target]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

"""A busy loop on one core: whether a run beside it differs from a quiet one, and if so, whether it says it is invalid.

    python benchmarks/peers/measuring_busy.py [BUNDLE|MODEL.onnx] [--variant NAME] [--rounds 5] [--quick]

In each round ``ortolan bench`` runs once alone and twice beside a loop that keeps one core busy (5 processes, 5 s:
about 10 s a run). The medians of the quiet and a disturbed run, and those of both disturbed runs, must agree within
3 %, or one of the two must be marked invalid. Exit status 1 if any pair neither agrees nor says so: a silently wrong
number.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from measuring_model import make_model

from ortolan_bench import run_bench

if TYPE_CHECKING:
    from collections.abc import Iterator

AGREE = 0.03


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep the first usable core busy."""
    core = min(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, [{core}])\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as loop:
        try:
            yield
        finally:
            loop.kill()


def measure(path: Path, variant: str | None, seconds: float, seed: int):
    """The first candidate's result."""
    variants = None if variant is None else [variant]
    return run_bench(path, variants=variants, seconds=seconds, processes=5, seed=seed, store=False).results[0]


def main() -> int:
    """Measure in rounds and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="bundle or model (default: made here)")
    parser.add_argument("--variant", help="variant of the bundle (default: its first)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s")
    arguments = parser.parse_args()
    rounds, seconds = (1, 1.0) if arguments.quick else (arguments.rounds, 5.0)

    wrong = 0
    with tempfile.TemporaryDirectory() as temporary:
        path = arguments.path or make_model(temporary)
        for number in range(rounds):
            quiet = measure(path, arguments.variant, seconds, number)
            with busy_core():
                beside = [measure(path, arguments.variant, seconds, number + offset) for offset in (1000, 2000)]
            for what, first, second in (("quiet, busy", quiet, beside[0]), ("busy, busy", *beside)):
                if first.latency is None or second.latency is None:
                    print(f"round {number + 1}, {what}: failed: {first.failure or second.failure}", flush=True)
                    wrong += 1
                    continue
                before, after = first.latency.p50.value, second.latency.p50.value
                ratio = max(before, after) / min(before, after) - 1
                marked = "invalid" in (first.validity, second.validity)
                verdict = "agree" if ratio <= AGREE else "differ, marked invalid" if marked else "SILENTLY WRONG"
                wrong += verdict == "SILENTLY WRONG"
                print(
                    f"round {number + 1}, {what}: {before * 1e6:.1f} us ({first.validity}), {after * 1e6:.1f} us "
                    f"({second.validity}), {ratio:.1%} apart: {verdict}",
                    flush=True,
                )
    print(f"target: medians within {AGREE:.0%} or marked invalid: {'MISSED' if wrong else 'met'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""A text classifier answered by scikit-learn and by its Ortolan bundle, side by side on the same reviews.

    python benchmarks/peers/scikit_learn_text.py                         # the demo's model and held-out reviews
    python benchmarks/peers/scikit_learn_text.py --joblib MODEL.joblib --samples TEXTS.csv --bundle MODEL.bundle

In one process both answer single reviews in turn, in blocks of 50, and batches of 1,000 in turn. Start-up and memory
come from fresh processes, started in turn. Labels are compared on all reviews. Prints medians and ratios beside the
targets; exit status 1 if one is missed. Needs ``pip install 'ortolan[cpu,sklearn]'``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib

import ortolan
from ortolan.bundle.archive import subset
from ortolan.bundle.directory import open_bundle

BLOCK = 50
BATCH = 1000

# OpenBLAS reads these at start-up; a value left over from another experiment would slow one side only.
CLEARED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

MEMORY = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')), flush=True)"
SCIKIT_LEARN = f"""
import json, sys
import joblib
texts = json.loads(sys.stdin.readline())
model = joblib.load(sys.argv[1])
model.predict_proba(texts[:1])
print("answered", flush=True)
for text in texts:
    model.predict_proba([text])
{MEMORY}
"""
ORTOLAN = f"""
import json, sys
import ortolan
texts = json.loads(sys.stdin.readline())
model = ortolan.load(sys.argv[1], variant=sys.argv[2] or None)
model.predict(texts[0])
print("answered", flush=True)
for text in texts:
    model.predict(text)
{MEMORY}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: both figures, their ratio, and the target that the ratio is held against."""

    name: str
    theirs: str
    ours: str
    ratio: float
    target: str
    met: bool


def main() -> int:
    """Run everything and print the table."""
    options = _options()
    with tempfile.TemporaryDirectory() as directory:
        if options.joblib is None:
            source, reviews, bundle = _demo(Path(directory))
        else:
            source, reviews, bundle = options.joblib, _texts(options.samples), options.bundle
        rows = [
            *_latencies(source, reviews, bundle, options),
            *_processes(source, reviews, bundle, options),
            *_sizes(source, bundle, Path(directory)),
        ]
    print(f"{'':34} {'scikit-learn':>14} {'Ortolan':>14} {'ratio':>8}   target")
    for row in rows:
        mark = "met" if row.met else "MISSED"
        print(f"{row.name:34} {row.theirs:>14} {row.ours:>14} {row.ratio:>8.2f}   {row.target:9} {mark}")
    return 0 if all(row.met for row in rows) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--joblib", type=Path, help="the scikit-learn pipeline; its code is run")
    parser.add_argument("--samples", type=Path, help="CSV file with a column text")
    parser.add_argument("--bundle", type=Path, help="the pipeline's bundle")
    parser.add_argument("--variant", default="", help="variant to load; what Ortolan chooses by default")
    parser.add_argument("--processes", type=int, default=7, help="fresh processes per side")
    parser.add_argument("--batches", type=int, default=11, help="batches of 1,000 per side")
    options = parser.parse_args()
    given = [value is not None for value in (options.joblib, options.samples, options.bundle)]
    if any(given) and not all(given):
        parser.error("--joblib, --samples and --bundle belong together")
    return options


def _demo(directory: Path) -> tuple[Path, list[str], Path]:
    """The demo's model, its held-out reviews, and the bundle made of them."""
    from ortolan_convert.convert import convert
    from ortolan_convert.demo import train

    trained = train(directory)
    bundle = directory / "sentiment.bundle"
    convert(trained.artifact, bundle, samples=trained.samples, trust=True)
    return trained.artifact, _texts(trained.samples), bundle


def _texts(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def _latencies(source: Path, reviews: list[str], bundle: Path, options: argparse.Namespace) -> list[Row]:
    pipeline = joblib.load(source)
    with ortolan.load(bundle, ortolan.TextClassifier, variant=options.variant or None) as model:
        print(
            f"scikit-learn pipeline {source.name} and {bundle.name}, {model.plan.chosen.name}, {len(reviews)} reviews"
        )
        wanted = pipeline.predict(reviews).tolist()
        batch = [answer.label for answer in model.predict_batch(reviews)]
        single = [model.predict(review).label for review in reviews]
        different = sum(len({*labels}) > 1 for labels in zip(wanted, batch, single, strict=True))
        theirs, ours = _single_seconds(pipeline, model, reviews)
        many_theirs, many_ours = _batch_seconds(pipeline, model, reviews, options.batches)
    one, many = statistics.median(theirs) / statistics.median(ours), _ratio(many_theirs, many_ours)
    return [
        Row("labels that differ", "0", str(different), float(different), "= 0", different == 0),
        Row("one review, median", _micro(theirs), _micro(ours), one, ">= 8", one >= 8),
        Row(f"batch of {BATCH}, median", _milli(many_theirs), _milli(many_ours), many, ">= 3", many >= 3),
    ]


def _single_seconds(pipeline: Any, model: Any, reviews: list[str]) -> tuple[list[float], list[float]]:
    """Seconds of every single call: blocks of 50 reviews in turn, each side first in every other block."""
    theirs: list[float] = []
    ours: list[float] = []
    sides = [(theirs, lambda review: pipeline.predict_proba([review])), (ours, model.predict)]
    for number, (start, stop) in enumerate(pairwise(range(0, len(reviews) + 1, BLOCK))):
        for seconds, call in sides if number % 2 else sides[::-1]:
            for review in reviews[start:stop]:
                begin = time.perf_counter()
                call(review)
                seconds.append(time.perf_counter() - begin)
    return theirs, ours


def _batch_seconds(pipeline: Any, model: Any, reviews: list[str], count: int) -> tuple[list[float], list[float]]:
    batch = (reviews * (BATCH // len(reviews) + 1))[:BATCH]
    theirs: list[float] = []
    ours: list[float] = []
    for _ in range(count):
        for seconds, call in ((theirs, pipeline.predict_proba), (ours, model.predict_batch)):
            begin = time.perf_counter()
            call(batch)
            seconds.append(time.perf_counter() - begin)
    return theirs, ours


def _processes(source: Path, reviews: list[str], bundle: Path, options: argparse.Namespace) -> list[Row]:
    """Start to first answer, and the peak of resident memory after 50 more, of fresh processes started in turn."""
    sides = {
        "theirs": [sys.executable, "-c", SCIKIT_LEARN, str(source)],
        "ours": [sys.executable, "-c", ORTOLAN, str(bundle), options.variant],
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    memory: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.processes):
        for name, command in sides.items():
            start, peak = _first_answer(command, reviews[:BLOCK])
            seconds[name].append(start)
            memory[name].append(peak)
    start, peak = _ratio(seconds["theirs"], seconds["ours"]), _ratio(memory["ours"], memory["theirs"])
    return [
        Row(
            "process start to first answer",
            _milli(seconds["theirs"]),
            _milli(seconds["ours"]),
            start,
            ">= 5",
            start >= 5,
        ),
        Row("peak resident memory", _mega(memory["theirs"]), _mega(memory["ours"]), peak, "<= 0.40", peak <= 0.40),
    ]


def _first_answer(command: list[str], texts: list[str]) -> tuple[float, float]:
    """Seconds from the start of a process to its first answer, and its peak of resident memory in bytes."""
    environment = {name: value for name, value in os.environ.items() if name not in CLEARED}
    begin = time.perf_counter()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        process.stdin.write(json.dumps(texts) + "\n")
        process.stdin.flush()
        answered = process.stdout.readline()
        seconds = time.perf_counter() - begin
        peak = process.stdout.readline()
    if process.returncode != 0 or answered != "answered\n":
        raise RuntimeError(f"{command[3:]}: the process failed with status {process.returncode}")
    return seconds, int(peak) * 1024.0


def _sizes(source: Path, bundle: Path, directory: Path) -> list[Row]:
    """Bytes of the bundle with each variant alone."""
    theirs = source.stat().st_size
    rows = []
    for variant in open_bundle(bundle).manifest.components[0].variants:
        target = directory / f"{variant.name}.bundle"
        subset(bundle, [variant.name], target)
        ours = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        ratio = ours / theirs
        rows.append(
            Row(f"bytes on disk, {variant.name}", _mega([theirs]), _mega([ours]), ratio, "<= 0.55", ratio <= 0.55)
        )
    return rows


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(above) / statistics.median(below)


def _micro(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e6:.1f} us"


def _milli(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1e3:.1f} ms"


def _mega(numbers: list[float]) -> str:
    return f"{statistics.median(numbers) / 1e6:.2f} MB"


if __name__ == "__main__":
    if any(name in os.environ for name in CLEARED):
        kept = {name: value for name, value in os.environ.items() if name not in CLEARED}
        os.execve(sys.executable, [sys.executable, *sys.argv], kept)
    sys.exit(main())

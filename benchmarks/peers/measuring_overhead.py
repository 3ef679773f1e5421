"""What the instrument adds: ``ortolan bench``'s single-stream loop beside a bare loop on the same model, in turn.

    python benchmarks/peers/measuring_overhead.py [BUNDLE|MODEL.onnx] [--pairs 8] [--blocks 20] [--block-s 0.1]

Without a model: one node on 4 numbers (where every nanosecond shows) and on 200,000. For each pair a worker process of
the instrument and a process with a bare loop are started; their blocks take turns, first one first and then the other.
Prints the median of both sides over the pairs, and the median of the pairs' ratios with its range; then what a call of
nothing costs in the instrument's loop, all told. Exit status 1 if a target is missed. About two minutes.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from onnxruntime_call import one_node_model

from ortolan_bench.process import WorkerProcess
from ortolan_bench.statistics import quantile
from ortolan_bench.subject import Subject
from ortolan_bench.timing import run_block

MOST = 0.03
"""By how much a percentile may differ."""
MOST_ADDED_S = 1e-6
"""What the instrument may add to a sample."""

BARE = """
import json, sys
from time import perf_counter_ns
import ortolan

def loop(call, inputs, at, count):
    samples = []
    for i in range(at, at + count):
        x = inputs[i % len(inputs)]
        start = perf_counter_ns()
        call(x)
        samples.append(perf_counter_ns() - start)
    return samples

path, variant, message = json.loads(sys.argv[1])
model = ortolan.load(path, variant=variant, provider="cpu")
if message["kind"] == "text":
    call, inputs = model.predict, message["texts"]
else:
    from pathlib import Path
    from ortolan_bench.workload import read_npz
    call, inputs = model.run, read_npz(Path(message["path"]), model.inputs)
at = 0
for line in sys.stdin:
    print(json.dumps(loop(call, inputs, at, int(line))), flush=True)
    at += int(line)
"""


class Bare:
    """A process with nothing but a loop."""

    def __init__(self, path: str, variant: str | None, message: dict) -> None:
        command = [sys.executable, "-c", BARE, json.dumps([path, variant, message])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.block(1000 if message["kind"] == "text" else 100)

    def block(self, count: int) -> list[int]:
        """Nanoseconds of so many runs."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Instrument:
    """A worker of the instrument."""

    def __init__(self, path: str, variant: str | None, message: dict) -> None:
        self.worker = WorkerProcess()
        request = {"path": path, "variant": variant, "provider": "cpu", "threads": None}
        self.worker.ask("load", timeout=60, workload=message, at_once=1, **request)
        self.mean_s = self.worker.ask("warm_up", timeout=60, limit_s=3.0, least_s=0.0)["mean_s"]
        self.at = 0

    def block(self, count: int) -> list[int]:
        """Nanoseconds of so many runs."""
        reply = self.worker.ask("block", timeout=60, count=count, offset=self.at, limit_s=30.0)
        self.at += count
        return reply["samples_ns"]

    def close(self) -> None:
        self.worker.close()


def one_pair(path: str, variant: str | None, message: dict, blocks: int, block_s: float) -> dict[str, list[float]]:
    """Seconds of all samples of both sides, measured in turn."""
    ours, bare = Instrument(path, variant, message), Bare(path, variant, message)
    try:
        count = max(1, round(block_s / ours.mean_s))
        samples: dict[str, list[float]] = {"instrument": [], "bare": []}
        for block in range(blocks):
            sides = [("instrument", ours), ("bare", bare)]
            for name, side in reversed(sides) if block % 2 else sides:
                samples[name] += [ns * 1e-9 for ns in side.block(count)]
        return samples
    finally:
        ours.close()
        bare.close()


def compare(title: str, path: str, variant: str | None, message: dict, arguments: argparse.Namespace) -> bool:
    """Print the percentiles of both sides; whether they agree."""
    figures: dict[str, dict[str, list[float]]] = {q: {"instrument": [], "bare": []} for q in ("p50", "p90")}
    for _ in range(arguments.pairs):
        for side, samples in one_pair(path, variant, message, arguments.blocks, arguments.block_s).items():
            ordered = sorted(samples)
            for name, q in (("p50", 0.5), ("p90", 0.9)):
                figures[name][side].append(quantile(ordered, q))
    good = True
    for name, sides in figures.items():
        ratios = sorted(a / b for a, b in zip(sides["instrument"], sides["bare"], strict=True))
        ratio = statistics.median(ratios)
        met = abs(ratio - 1) <= MOST
        good &= met
        print(
            f"{title:34} {name}  instrument {statistics.median(sides['instrument']) * 1e6:9.2f} µs  "
            f"bare {statistics.median(sides['bare']) * 1e6:9.2f} µs  "
            f"ratio {ratio:.3f} [{ratios[0]:.3f}, {ratios[-1]:.3f}]  "
            f"target within {MOST:.0%}: {'met' if met else 'MISSED'}"
        )
    return good


def added() -> bool:
    """Print what the loop costs when nothing is called; whether that is little enough."""

    def nothing(_: object) -> None:
        return

    count, wall, inside = 100_000, [], []
    for _ in range(20):
        start = time.perf_counter()
        samples = run_block(nothing, ["x"], count, limit_ns=10**12)
        wall.append((time.perf_counter() - start) / count)
        inside.append(statistics.median(samples) * 1e-9)
    cost = statistics.median(wall)
    met = cost <= MOST_ADDED_S
    print(
        f"{'a call of nothing':27} {cost * 1e6:.3f} µs per sample, of which {statistics.median(inside) * 1e6:.3f} µs "
        f"timed  <= {MOST_ADDED_S * 1e6:.0f} µs: {'met' if met else 'MISSED'}"
    )
    return met


def main() -> int:
    """Measure, print, and say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="a bundle (its first variant and golden inputs) or a bare model")
    parser.add_argument("--pairs", type=int, default=8, help="pairs of processes (default 8)")
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each process (default 20)")
    parser.add_argument("--block-s", type=float, default=0.1, help="seconds of a block (default 0.1)")
    parser.add_argument("--quick", action="store_true", help="two pairs of four short blocks: does it work at all?")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.blocks, arguments.block_s = 2, 4, 0.02
    good = added()
    with tempfile.TemporaryDirectory() as directory:
        if arguments.path:
            subject = Subject(arguments.path)
            target, workload = subject.targets(None, ["cpu"], [None])[0], subject.workload(None)
            good &= compare(target.name, target.path, target.variant, workload.message(), arguments)
        else:
            model = Path(directory, "one.onnx")
            model.write_bytes(one_node_model())
            for rows in (1, 50_000):
                data = Path(directory, f"{rows}.npz")
                np.savez(data, **{f"{i:04}/x": np.random.rand(rows, 4).astype(np.float32) for i in range(8)})
                message = {"kind": "tensors", "texts": [], "path": str(data), "dims": {}}
                good &= compare(f"one node, float32[{rows}, 4]", str(model), None, message, arguments)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

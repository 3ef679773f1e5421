"""One model called from many threads: ``Model.run`` beside ``InferenceSession.run``, and two models in one process.

    python benchmarks/peers/concurrency.py [--threads 1,2,4,8] [--seconds 1.5] [--rounds 5] [--width 256]

Both run the same network of ten dense layers, with one thread of their own, so that callers alone make the
parallelism, and with as many as there are processors. Ways are timed in turn, in shuffled order. Prints runs per second
and the ratio to onnxruntime's for each number of callers, then how many threads the process has with one and with two
models loaded. Exit status 1 if a ratio is below 0.9, or if the second model adds more than half as many threads as
there are processors. Needs onnx.
"""

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import ortolan
from ortolan.engine import default_threads

LAYERS = 10
LOWEST = 0.9


def network(width: int, path: Path) -> None:
    """Dense layers with a Relu each: float32[rows, width] -> the same."""
    draw = np.random.default_rng(0)
    lines = [f"m{i} = MatMul({f'r{i - 1}' if i else 'x'}, w{i}) r{i} = Relu(m{i})" for i in range(LAYERS)]
    body = " ".join([*lines, f"y = Identity(r{LAYERS - 1})"])
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> g (float[rows, {width}] x) => (float[rows, {width}] y) {{ {body} }}'
    )
    for i in range(LAYERS):
        weights = draw.standard_normal((width, width), np.float32) / width
        model.graph.initializer.append(numpy_helper.from_array(weights, f"w{i}"))
    onnx.save(model, path)


def runs_per_second(call: Callable[[], object], callers: int, seconds: float) -> float:
    """With so many threads calling until the time is over."""
    counts = [0] * callers
    stop = threading.Event()

    def work(caller: int) -> None:
        while not stop.is_set():
            call()
            counts[caller] += 1

    threads = [threading.Thread(target=work, args=(caller,)) for caller in range(callers)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def bare(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """onnxruntime's session, with the options that Ortolan has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def tasks() -> int:
    """Threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def scaling(path: Path, threads: int, arguments: argparse.Namespace) -> bool:
    """Print runs per second for each number of callers; whether none is too slow."""
    x = np.ones((8, arguments.width), np.float32)
    theirs, model = bare(path, threads), ortolan.load(path, threads=threads)
    if not np.allclose(theirs.run(None, {"x": x})[0], model.run({"x": x})["y"], atol=1e-6):
        raise SystemExit("the answers differ")
    ways = {"onnxruntime": lambda: theirs.run(None, {"x": x}), "ortolan": lambda: model.run({"x": x})}
    good = True
    for callers in map(int, arguments.threads.split(",")):
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(arguments.rounds):
            for name in random.sample(list(ways), len(ways)):
                found[name].append(runs_per_second(ways[name], callers, arguments.seconds / arguments.rounds))
        base, ours = (statistics.median(found[name]) for name in ways)
        good &= ours >= LOWEST * base
        print(
            f"{callers:3} callers, runs of {threads} threads: onnxruntime {base:8.0f}/s  ortolan {ours:8.0f}/s  "
            f"{ours / base:.2f}x"
        )
    model.close()
    return good


def main() -> int:
    """Time, count, print, and say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", default="1,2,4,8", help="numbers of callers, comma-separated")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each way and number of callers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=256, help="of the layers")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "layers.onnx")
        network(arguments.width, path)
        cores = default_threads()
        met = [scaling(path, threads, arguments) for threads in dict.fromkeys((1, cores))]
        before = tasks()
        first = ortolan.load(path)
        one = tasks()
        second = ortolan.load(path)
        two = tasks()
        print(f"threads: {before} before, {one} with one model loaded, {two} with two; {cores} processors")
        met.append(two - one < max(1, cores // 2))
        for model in (first, second):
            model.close()
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a call costs: ``Model.run`` and ``Bound`` beside ``InferenceSession.run``, on a model of one node.

    python benchmarks/peers/onnxruntime_call.py [--blocks 200] [--calls 200]

The ways are timed in turn, in blocks, in shuffled order, so that all see the same machine. Prints the median of the
blocks and the ratio to onnxruntime's own call, with a 95 % interval from resampled blocks. Exit status 1 if a target
is missed. Needs no package but ortolan and onnxruntime.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

import ortolan

TARGETS = {"Model.run": 1.0, "Bound": 0.5}
BASE = "InferenceSession.run"


def one_node_model() -> bytes:
    """ONNX of ``y = x + x`` with x: float32[n, 4], as raw protobuf: the onnx package is not needed."""

    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2, len(content)]) + content

    def integer(number: int, value: int) -> bytes:
        return bytes([number << 3, value])

    def value_info(name: bytes) -> bytes:
        shape = field(1, field(2, b"n")) + field(1, integer(1, 4))
        return field(1, name) + field(2, field(1, integer(1, 1) + field(2, shape)))

    node = field(1, b"x") + field(1, b"x") + field(2, b"y") + field(4, b"Add")
    graph = field(1, node) + field(2, b"g") + field(11, value_info(b"x")) + field(12, value_info(b"y"))
    return integer(1, 8) + field(7, graph) + field(8, field(1, b"") + integer(2, 17))


def seconds_per_call(call: object, calls: int) -> float:
    """Mean of one block."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def interval(samples: list[float], base: list[float], draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the ratio of the medians, from resampled rounds."""
    rounds = list(zip(samples, base, strict=True))
    ratios = []
    for _ in range(draws):
        ours, theirs = zip(*random.choices(rounds, k=len(rounds)), strict=True)
        ratios.append(statistics.median(ours) / statistics.median(theirs))
    ratios.sort()
    return ratios[int(0.025 * draws)], ratios[int(0.975 * draws)]


def main() -> int:
    """Time, print, and say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=200, help="rounds of one block for each way (default 200)")
    parser.add_argument("--calls", type=int, default=200, help="calls in a block (default 200)")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "one.onnx")
        path.write_bytes(one_node_model())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        theirs = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = ortolan.load(path, threads=1)

        x = np.arange(4, dtype=np.float32).reshape(1, 4)
        feeds = {"x": x}
        bound = model.bind(feeds)
        binding = theirs.io_binding()
        y = np.empty_like(x)
        binding.bind_cpu_input("x", x)
        binding.bind_output("y", "cpu", 0, np.float32, y.shape, y.ctypes.data)
        ways = {
            BASE: lambda: theirs.run(None, feeds),
            "InferenceSession.run_with_iobinding": lambda: theirs.run_with_iobinding(binding),
            "Model.run": lambda: model.run(feeds),
            "Bound": bound,
        }
        bound()
        theirs.run_with_iobinding(binding)
        for answer in (theirs.run(None, feeds)[0], model.run(feeds)["y"], bound.outputs["y"], y):
            if not np.array_equal(answer, x + x):
                raise SystemExit(f"wrong answer: {answer}")

        for call in ways.values():
            seconds_per_call(call, 2000)
        samples: dict[str, list[float]] = {name: [] for name in ways}
        order = list(ways)
        for _ in range(arguments.blocks):
            random.shuffle(order)
            for name in order:
                samples[name].append(seconds_per_call(ways[name], arguments.calls))
        model.close()

    print(f"onnxruntime {onnxruntime.__version__}, numpy {np.__version__}, Python {sys.version.split()[0]}")
    missed = []
    for name, values in samples.items():
        median = statistics.median(values)
        ratio = median / statistics.median(samples[BASE])
        low, high = interval(values, samples[BASE])
        target = TARGETS.get(name)
        verdict = "" if target is None else f"  target <= {target}: {'met' if ratio <= target else 'MISSED'}"
        print(f"{name:36} {median * 1e6:6.2f} µs  {ratio:5.2f}x [{low:.2f}, {high:.2f}]{verdict}")
        if target is not None and ratio > target:
            missed.append(name)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

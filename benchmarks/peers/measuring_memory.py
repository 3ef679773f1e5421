"""Peak memory as the instrument tells it, beside ``/usr/bin/time -v`` of a bare script that does the same.

    python benchmarks/peers/measuring_memory.py [BUNDLE|MODEL.onnx]... [--repeat 3]

Without a model: weights of 1 and of 64 MB (needs the package onnx). The bare script imports ortolan, loads the model
and asks each input once. Its figure is "Maximum resident set size" of GNU time, or the same number from the kernel
(getrusage's ru_maxrss of the child) where that program is missing. Both sides in turn; prints medians and their ratio.
Exit status 1 if they differ by more than 3 %. About half a minute.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ortolan_bench import run_bench
from ortolan_bench.findings import Target
from ortolan_bench.subject import Subject

MOST = 0.03
"""By how much the figures may differ."""

BARE = """
import json, sys
import ortolan
path, variant, texts, data = json.loads(sys.argv[1])
model = ortolan.load(path, variant=variant, provider="cpu")
if texts:
    for text in texts:
        model.predict(text)
else:
    import numpy as np
    arrays = np.load(data)
    for key in arrays.files:
        model.run({key.partition("/")[2]: arrays[key]})
"""


def bare_peak(target: Target, texts: list[str], data: str | None) -> int:
    """Bytes that the bare script had resident at most."""
    program = [sys.executable, "-c", BARE, json.dumps([target.path, target.variant, texts, data])]
    timer = shutil.which("time")
    if timer is not None:
        said = subprocess.run([timer, "-v", *program], check=True, stderr=subprocess.PIPE, text=True).stderr
        return int(re.search(r"Maximum resident set size \(kbytes\): (\d+)", said)[1]) * 1024
    # A child starts with its parent's peak until it executes the program: a shell in between is small.
    child = subprocess.Popen(["/bin/sh", "-c", 'exec "$@"', "sh", *program])
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit("the bare script failed")
    return used.ru_maxrss * 1024


def compare(path: Path, inputs: Path | None, repeat: int) -> bool:
    """Print both figures of each variant; whether they agree."""
    subject = Subject(path)
    workload = subject.workload(inputs)
    good = True
    for target in subject.targets(None, ["cpu"], [None]):
        variants = None if target.variant is None else [target.variant]
        ours, theirs = [], []
        for _ in range(repeat):
            (row,) = run_bench(path, variants=variants, inputs=inputs, seconds=0.02, processes=1, store=False).results
            if row.memory is None or row.memory.peak_rss is None:
                raise SystemExit(f"{row.name}: no figure: {row.failure}")
            ours.append(row.memory.peak_rss)
            theirs.append(
                bare_peak(target, list(workload.texts), None if workload.path is None else str(workload.path))
            )
        ratio = statistics.median(ours) / statistics.median(theirs)
        met = abs(ratio - 1) <= MOST
        good &= met
        print(
            f"{path.name + ' ' + target.name:40} instrument {statistics.median(ours) / 1e6:7.1f} MB  "
            f"bare script {statistics.median(theirs) / 1e6:7.1f} MB  ratio {ratio:.3f}  "
            f"target within {MOST:.0%}: {'met' if met else 'MISSED'}"
        )
    return good


def generated(directory: Path, megabytes: int) -> tuple[Path, Path]:
    """A model ``y = x @ w`` with so many megabytes of weights, and eight inputs for it."""
    from onnx import TensorProto, helper, numpy_helper

    rows = 512
    columns = megabytes * 1_000_000 // 4 // rows
    weights = numpy_helper.from_array(np.random.default_rng(0).random((rows, columns), np.float32), "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", rows])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", columns])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path, data = directory / f"weights-{megabytes}MB.onnx", directory / f"{megabytes}.npz"
    path.write_bytes(model.SerializeToString())
    np.savez(data, **{f"{i:04}/x": np.random.default_rng(i).random((1, rows), np.float32) for i in range(8)})
    return path, data


def main() -> int:
    """Measure, print, and say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, help="bundles (golden inputs, every variant)")
    parser.add_argument("--repeat", type=int, default=3, help="processes of each side (default 3)")
    parser.add_argument("--quick", action="store_true", help="one process of each side: does it work at all?")
    arguments = parser.parse_args()
    repeat = 1 if arguments.quick else arguments.repeat
    if arguments.paths:
        met = [compare(path, None, repeat) for path in arguments.paths]
        return 0 if all(met) else 1
    with tempfile.TemporaryDirectory() as directory:
        models = [generated(Path(directory), size) for size in (1, 64)]
        met = [compare(path, data, repeat) for path, data in models]
        return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Conversion of the real models, by Ortolan and by the tool that people reach for otherwise, with its default recipe.

    python benchmarks/peers/conversion.py [--only NAME,...] [--repeats 3] [--cache DIR]

For each model: how far each side's ONNX files are from the source framework's own answers, the time of the whole
conversion in a fresh process, its peak resident memory, and the bytes of the files. Ortolan's time includes what the
others leave out: asking the source, comparing every variant with it, and writing a bundle.

The peers: tf2onnx for TensorFlow and TFLite, torch.onnx.export (its default exporter) for PyTorch and Hugging Face
directories, skl2onnx for scikit-learn; then, for int8, onnxruntime's quantize_dynamic with its defaults. The sides take
turns; medians are printed. Parity is the largest difference of a number relative to the larger of 1 and the largest of
its output, over real inputs: a recording, crops of photographs, sentences, passwords.

Trees and boosting have ``conversion_trees.py`` beside this, random scikit-learn pipelines ``conversion_pipelines.py``.
Models come from PyPI; SmolLM2, a GGUF file, is not among the kinds that are converted. Needs ``pip install
'ortolan[boosting,cpu,image,tensorflow,transformers]' skl2onnx``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from conversion_cases import CASES, Case, graphs

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "PYTHONWARNINGS": "ignore"}


def child(action: str, cache: Path, room: Path, case: Case) -> None:
    """One side's conversion, or the judgement of what it left."""
    if action == "judge":
        print(json.dumps(case.judge(cache, room)))
    else:
        (case.ours if action == "ours" else case.theirs)(cache, room)


@dataclass
class Outcome:
    """Of one side."""

    seconds: list[float]
    peaks: list[float]
    parity: str = ""
    size: str = ""


def run(action: str, cache: Path, room: Path, case: Case) -> tuple[float, float, str, str]:
    """Seconds, peak resident bytes, output and (if it failed) the last line of its error, of a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", action, str(cache), str(room), case.name]
    log = room.parent / "log"
    started = time.perf_counter()
    with log.open("wb") as errors, (room.parent / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ, **QUIET})
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    lines = log.read_text(errors="replace").strip().splitlines()
    failure = (lines[-1] if lines else f"exit status {process.returncode}") if process.returncode else ""
    return seconds, usage.ru_maxrss * 1024.0, (room.parent / "output").read_text(errors="replace"), failure


def measured(case: Case, cache: Path, repeats: int) -> dict[str, Outcome]:
    """Both sides in turn; the last result of each is judged."""
    sides = {"ours": Outcome([], []), "theirs": Outcome([], [])}
    for turn in range(repeats):
        for side, outcome in sides.items():
            if outcome.parity.startswith("fails"):
                continue
            with tempfile.TemporaryDirectory(prefix="ortolan-conversion-") as top:
                room = Path(top) / "room"
                room.mkdir()
                seconds, peak, _, failure = run(side, cache, room, case)
                if failure:
                    outcome.parity = f"fails: {failure[:160]}"
                    continue
                outcome.seconds.append(seconds)
                outcome.peaks.append(peak)
                if turn == repeats - 1:
                    sizes = {n: sum(f.stat().st_size for f in _files(p)) for n, p in graphs(room).items()}
                    outcome.size = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in sizes.items())
                    *_, text, failure = run("judge", cache, room, case)
                    outcome.parity = f"not judged: {failure[:160]}" if failure else json.loads(text.splitlines()[-1])
    return sides


def _files(model: Path) -> list[Path]:
    """A model's files: in a bundle its whole directory, else those whose names begin like its own."""
    return list(model.parent.iterdir() if model.name == "model.onnx" else model.parent.glob(f"{model.stem}.onnx*"))


def main() -> int:
    """Convert and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of models, or beginnings, by comma")
    parser.add_argument("--repeats", type=int, default=3, help="conversions by each side (default 3)")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "ortolan-peers", help="of packages")
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    wanted = [word.strip().lower() for word in given.only.split(",") if word.strip()]
    failed = 0
    for case in CASES:
        if wanted and not any(case.name.lower().startswith(word) for word in wanted):
            continue
        print(f"\n{case.name}")
        sides = measured(case, given.cache, given.repeats)
        for side, outcome in sides.items():
            name = "Ortolan" if side == "ours" else case.peer
            if not outcome.seconds:
                print(f"  {name:18} {outcome.parity}")
                failed += side == "ours"
                continue
            time_s, peak = statistics.median(outcome.seconds), max(outcome.peaks)
            print(f"  {name:18} {time_s:6.1f} s  {peak / 1e6:6.0f} MB  MB: {outcome.size}\n  {'':18} {outcome.parity}")
        if all(outcome.seconds for outcome in sides.values()):
            ours, theirs = (sides[side] for side in ("ours", "theirs"))
            ratio = statistics.median(ours.seconds) / statistics.median(theirs.seconds)
            print(f"  {'ratio':18} {ratio:6.2f} x time, {max(ours.peaks) / max(theirs.peaks):.2f} x memory", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        action, cache, room, name = sys.argv[2:]
        try:
            child(action, Path(cache), Path(room), next(case for case in CASES if case.name == name))
        except Exception as error:  # noqa: BLE001 - a side that fails is a result, whatever its reason
            traceback.print_exc()
            reason = " ".join(str(error).split())
            print(f"{type(error).__name__}: {reason}", file=sys.stderr)
            sys.exit(1)
    else:
        sys.exit(main())

"""all-MiniLM-L6-v2, from the start of a process to the first vector: Ortolan and its peers, in turn.

    python benchmarks/peers/minilm_start.py [--model DIR] [--bundle DIR] [--processes 9]

Each side is a fresh process that imports what it needs, loads the model and embeds one sentence; its own start is
included, its exit is not. Every file is in the page cache, compiled Python files are there, and the bundle was verified
before. Peers and files: see ``minilm.py`` beside this. Prints medians and ratios beside the targets; exit status 1 if
one is missed. Needs ``pip install 'ortolan[cpu,transformers]' fastembed``.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import minilm

SENTENCE = "The quick brown fox jumps over the lazy dog."
TAIL = f"\nembed({SENTENCE!r})\nprint('answered', flush=True)\n"
TARGETS = [
    minilm.Target("Ortolan fp32", "bare onnxruntime", 1.10),
    minilm.Target("Ortolan fp32", "fastembed", 0.50),
    minilm.Target("Ortolan fp32", "transformers + torch", 0.12),
    minilm.Target("Ortolan fp32", "bare, mapped"),
    minilm.Target("Ortolan int8", "bare, mapped int8"),
]


def seconds(side: list[str]) -> float:
    """From the start of a process to the line that it prints after its first vector."""
    words, environment = minilm.command(side, TAIL), minilm.environment()
    begin = time.perf_counter()
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        if process.stdout is None or process.stdout.readline() != b"answered\n":
            raise SystemExit("a process failed")
        return time.perf_counter() - begin


def main() -> int:
    """Run everything and print the figures."""
    parser = minilm.options(__doc__)
    parser.add_argument("--processes", type=int, default=9, help="fresh processes of each side (default 9)")
    given = parser.parse_args()
    with minilm.workroom() as room:
        files = minilm.prepare(given, Path(room))
        scripts = files.commands()
        figures: dict[str, list[float]] = {name: [] for name in scripts}
        # One more: the first writes compiled files and the stamp of the verification.
        for turn in range(given.processes + 1):
            for name, script in scripts.items():
                found = seconds(script)
                if turn:
                    figures[name].append(found)
    return minilm.report(figures, "ms", 1e3, TARGETS)


if __name__ == "__main__":
    sys.exit(main())

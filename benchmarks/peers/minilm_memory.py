"""all-MiniLM-L6-v2, memory of a process that embeds sentences: Ortolan and its peers.

    python benchmarks/peers/minilm_memory.py [--model DIR] [--bundle DIR] [--processes 3]

Peak resident memory (VmHWM) of fresh processes that load the model: up to the first vector, and after 50 sentences.
The second is larger where weights are mapped: the pages of the words that came up are counted, 64 KB for each that is
touched, though the system can take them back at any time.

For int8 also the model's own private bytes: by how much Private_Dirty of smaps_rollup grew from the moment that Python,
numpy, onnxruntime and tokenizers were imported to the end. Peers and files: see ``minilm.py`` beside this. Prints
medians and ratios beside the targets; exit status 1 if one is missed. Needs
``pip install 'ortolan[cpu,transformers]' fastembed``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import minilm

COUNT = 50
TAIL = f"""
import json
{minilm.MEASURE}
texts = json.load(sys.stdin)
embed("The quick brown fox jumps over the lazy dog.")
measure("status", "VmHWM:")
for text in texts:
    embed(text)
measure("status", "VmHWM:")
"""
BEFORE = f"import numpy, onnxruntime, tokenizers\n{minilm.MEASURE}\nmeasure('smaps_rollup', 'Private_Dirty:')\n"
AFTER = "measure('smaps_rollup', 'Private_Dirty:')\n"
PEAKS = [
    minilm.Target("Ortolan fp32", "bare onnxruntime", 0.60),
    minilm.Target("Ortolan int8", "bare onnxruntime", 0.45),
    minilm.Target("Ortolan fp32", "fastembed", 0.55),
    minilm.Target("Ortolan fp32", "bare, mapped"),
    minilm.Target("Ortolan int8", "bare, mapped int8"),
]
PRIVATE = [minilm.Target("Ortolan int8, low_memory", "Ortolan int8", 0.60)]


def main() -> int:
    """Run everything and print the figures."""
    parser = minilm.options(__doc__)
    parser.add_argument("--processes", type=int, default=3, help="fresh processes of each side (default 3)")
    given = parser.parse_args()
    with minilm.workroom() as room:
        files = minilm.prepare(given, Path(room))
        texts = minilm.sentences(Path(room), COUNT)
        sides = files.commands()
        first: dict[str, list[float]] = {name: [] for name in sides}
        later: dict[str, list[float]] = {name: [] for name in sides}
        private: dict[str, list[float]] = {name: [] for name in sides if name.startswith("Ortolan int8")}
        minilm.run(sides["Ortolan fp32"], tail=TAIL)  # verifies the bundle, which later processes need not
        for _ in range(given.processes):
            for name, side in sides.items():
                one, many = (float(word) for word in minilm.run(side, tail=TAIL, texts=texts))
                first[name].append(one)
                later[name].append(many)
                if name in private:
                    watched = [side[0], side[1].replace("#LOAD", BEFORE), *side[2:]]
                    before, *_, after = (float(word) for word in minilm.run(watched, tail=TAIL + AFTER, texts=texts))
                    private[name].append(after - before)
    print("peak resident memory, first vector")
    missed = minilm.report(first, "MB", 1e-6, PEAKS)
    print("peak resident memory, after 50 sentences")
    minilm.report(later, "MB", 1e-6, [])
    print("private bytes of the model")
    return minilm.report(private, "MB", 1e-6, PRIVATE) or missed


if __name__ == "__main__":
    sys.exit(main())

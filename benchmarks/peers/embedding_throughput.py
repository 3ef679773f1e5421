"""all-MiniLM-L6-v2 in fp32, 2,000 sentences of mixed length: Ortolan's ``embed_batch`` beside fastembed's ``embed``.

    python benchmarks/peers/embedding_throughput.py [--model DIR] [--bundle DIR] [--processes 3] [--count 2000]

Each side is a fresh process that loads the model, embeds 64 sentences to warm up, then all of them, with its defaults
(fastembed: batches of 256 in the order given, each padded to its longest; ``--batch`` changes that). The processes run
in turn. The vectors of both sides are compared. Peers and files: see ``minilm.py`` beside this. Prints medians and the
ratio beside the target; exit status 1 if it is missed. Needs ``pip install 'ortolan[cpu,transformers]' fastembed``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import minilm
import numpy as np

TAIL = """
import json, time
import numpy as np
texts = json.load(sys.stdin)
many(texts[:64])
begin = time.perf_counter()
vectors = many(texts)
print(time.perf_counter() - begin, flush=True)
np.save(sys.argv[-1], vectors)
"""
OURS = "\nmany = model.embed_batch\n"
THEIRS = "\ndef many(texts):\n    return np.array(list(model.embed(texts, batch_size={batch})))\n"
TARGETS = [minilm.Target("Ortolan fp32", "fastembed", 1.3, at_least=True)]


def main() -> int:
    """Run everything and print the figures."""
    parser = minilm.options(__doc__)
    parser.add_argument("--processes", type=int, default=3, help="fresh processes of each side (default 3)")
    parser.add_argument("--count", type=int, default=2000, help="number of sentences (default 2000)")
    parser.add_argument("--batch", type=int, default=256, help="fastembed's batch size (default 256, as its own)")
    given = parser.parse_args()
    with minilm.workroom() as room:
        files = minilm.prepare(given, Path(room))
        texts = minilm.sentences(Path(room), given.count)
        scripts = files.commands()
        sides = {
            "fastembed": (scripts["fastembed"], THEIRS.format(batch=given.batch)),
            "Ortolan fp32": (scripts["Ortolan fp32"], OURS),
            "Ortolan int8": (scripts["Ortolan int8"], OURS),
        }
        figures: dict[str, list[float]] = {name: [] for name in sides}
        vectors = {}
        for _ in range(given.processes):
            for name, (script, many) in sides.items():
                with tempfile.NamedTemporaryFile(suffix=".npy", dir=room) as file:
                    (taken,) = minilm.run([*script, file.name], tail=many + TAIL, texts=texts)
                    vectors[name] = np.load(file.name)
                figures[name].append(given.count / float(taken))
    for name in ("Ortolan fp32", "Ortolan int8"):
        cosine = (vectors[name] * vectors["fastembed"]).sum(axis=1)
        print(f"{name}: smallest cosine to fastembed's vectors {cosine.min():.6f}")
    return minilm.report(figures, "sentences/s", 1.0, TARGETS)


if __name__ == "__main__":
    sys.exit(main())

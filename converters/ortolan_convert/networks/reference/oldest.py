"""The oldest onnxruntime that runs a model: found by trying where old ones are at hand, else from its operators."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import numpy as np

from ortolan.engine.installation import parse_version
from ortolan_convert.provenance import installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.types import Array

INTERPRETERS = "ORTOLAN_ONNXRUNTIMES"
"""Environment variable: Python interpreters with other versions of onnxruntime, separated as in PATH."""
SECONDS = 300
"""What loading and running a model once may take."""

MIN_ONNXRUNTIME: tuple[tuple[int, int, str], ...] = (
    (21, 10, "1.20.0"),
    (22, 10, "1.21.0"),
    (23, 11, "1.23.0"),
    (25, 13, "1.24.1"),
    (26, 13, "1.25.0"),
)
"""Newest opset, newest IR version, and the first onnxruntime that loads both; found by trying."""

OPERATORS: Mapping[str, str] = {
    "ai.onnx.ml::TreeEnsemble": "1.21.0",
    "com.microsoft::MoE": "1.23.0",
    "com.microsoft::QMoE": "1.23.0",
    "com.microsoft::CausalConvWithState": "1.26.0",
    "com.microsoft::LinearAttention": "1.26.0",
}
"""Operators whose first version has a kernel on the CPU since a later onnxruntime than 1.20, and that onnxruntime; what
the kernel registries of 1.20.1, 1.21.1, 1.22.1, 1.23.2, 1.24.1, 1.25.0 and 1.26.0 have."""
SINCE_FLOOR = frozenset(
    (
        "BranchwiseRMSNorm",
        "EngramGate",
        "GatedAdd",
        "GatedDeltaNet",
        "GatedRMSNorm",
        "GatherPacked",
        "HyperConnectionPostMix",
        "HyperConnectionPreMix",
        "LinearAttentionGate",
        "MRotaryEmbedding",
        "MoEGroupRouter",
        "NGramHashMapping",
        "ScaledSiLU",
        "VarlenCausalConvWithState",
        "VarlenNGramHashMapping",
    )
)
"""Operators of com.microsoft that 1.26.0 lacks and 1.32.0 has: the installed onnxruntime is the oldest known to run."""
_PROGRAM = """
import json, sys
import numpy, onnxruntime
onnxruntime.set_default_logger_severity(4)
answer = {"version": onnxruntime.__version__, "runs": False}
try:
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    with numpy.load(sys.argv[2], allow_pickle=False) as feeds:
        session.run(None, {one.name: feeds[str(i)] for i, one in enumerate(session.get_inputs())})
    answer["runs"] = True
except Exception as error:
    answer["said"] = str(error)
print(json.dumps(answer))
"""


def from_operators(model: OnnxModel) -> str:
    """Oldest onnxruntime by the versions and operators that a model is of; beyond the tables the installed one."""
    opset = max(model.opsets.get("", 1), model.opsets.get("ai.onnx", 1))
    here = installed("onnxruntime") or MIN_ONNXRUNTIME[-1][2]
    fits = (version for newest, ir, version in MIN_ONNXRUNTIME if opset <= newest and model.ir_version <= ir)
    needed = [next(fits, here)]
    for operator in model.operators:
        if operator in OPERATORS:
            needed.append(OPERATORS[operator])
        elif operator.startswith("com.microsoft::") and operator.partition("::")[2] in SINCE_FLOOR:
            needed.append(here)
    return max(needed, key=parse_version)


def oldest(path: Path, model: OnnxModel, feeds: Mapping[str, Array], room: Path) -> tuple[str, str | None]:
    """Oldest onnxruntime that runs a model, and what a user should know about it.

    Args:
        path: the ONNX file.
        model: what it says of itself.
        feeds: a sample, to run it once.
        room: an existing directory, for scratch files.
    """
    said = from_operators(model)
    sample = room / "sample.npz"
    try:
        arrays = {str(i): feeds[spec.name] for i, spec in enumerate(model.inputs)}
        np.savez(sample, allow_pickle=False, **{name: _plain(array) for name, array in arrays.items()})
        tried = sorted(_tried(path, sample), key=lambda pair: parse_version(pair[0]))
    finally:
        sample.unlink(missing_ok=True)
    if not tried:
        return said, None
    return _settled(said, tried, installed("onnxruntime") or said)


def _settled(said: str, tried: Iterable[tuple[str, bool]], here: str) -> tuple[str, str | None]:
    """The oldest version from which on all that were tried run the model."""
    found, failed = here, None
    for version, runs in sorted(tried, key=lambda pair: parse_version(pair[0]), reverse=True):
        if not runs:
            failed = version
            break
        found = version
    if parse_version(said) <= parse_version(found) and (failed is None or parse_version(failed) < parse_version(said)):
        # What was tried agrees with the tables, which know versions between those that are at hand.
        return said, None
    if failed is not None and parse_version(failed) >= parse_version(said):
        return found, f"onnxruntime {failed} was tried and does not run the model; the oldest that does is {found}"
    return found, None


def _tried(path: Path, sample: Path) -> Iterator[tuple[str, bool]]:
    for interpreter in filter(None, os.environ.get(INTERPRETERS, "").split(os.pathsep)):
        command = [interpreter, "-c", _PROGRAM, str(path), str(sample)]
        environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False, env=environment
            )
            answer = json.loads(done.stdout.splitlines()[-1])
            yield str(answer["version"]), bool(answer["runs"])
        except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, KeyError):
            continue


def _plain(array: Array) -> Array:
    return array.astype(np.str_) if array.dtype.hasobject else array

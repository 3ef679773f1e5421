"""Models whose memory is known, and processes that load and run them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that no other test sees."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def model_of() -> Callable[..., onnx.ModelProto]:
    """A model from ONNX text: ``graph`` without its header, arrays as further constants."""

    def make(graph: str, **weights: np.ndarray) -> onnx.ModelProto:
        model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : 18, "com.microsoft" : 1]>\n{graph}')
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
        return model

    return make


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Writes a model; ``external=True`` puts its weights beside it."""

    def save(model: onnx.ModelProto, name: str = "model.onnx", *, external: bool = False) -> Path:
        path = tmp_path / name
        if external:
            onnx.save(model, path, save_as_external_data=True, location=f"{name}.bin", size_threshold=1024)
            (tmp_path / f"{name}.bin").chmod(0o644)
        else:
            onnx.save(model, path)
        return path

    return save


@pytest.fixture
def layers(model_of: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
    """``depth`` dense layers of ``width`` with a Relu each: float32[rows, width] -> the same."""

    def make(depth: int, width: int) -> onnx.ModelProto:
        random = np.random.default_rng(0)
        lines, last = [], "x"
        for index in range(depth):
            lines += [f"m{index} = MatMul({last}, w{index})", f"r{index} = Relu(m{index})"]
            last = f"r{index}"
        body = "\n".join([*lines, f"y = Identity({last})"])
        weights = {f"w{index}": random.standard_normal((width, width), np.float32) / width for index in range(depth)}
        return model_of(f"layers (float[rows, {width}] x) => (float[rows, {width}] y) {{\n{body}\n}}", **weights)

    return make


@pytest.fixture
def in_process(tmp_path: Path) -> Callable[..., dict[str, object]]:
    """Runs Python in a process of its own and gives the JSON it prints last; ``before`` goes before the command."""

    def run(code: str, *arguments: object, before: tuple[str, ...] = ()) -> dict[str, object]:
        script = tmp_path / "script.py"
        script.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [*before, sys.executable, str(script), *map(str, arguments)], capture_output=True, text=True, check=False
        )
        found: dict[str, object] = {"status": done.returncode, "stderr": done.stderr}
        if done.returncode == 0:
            found |= json.loads(done.stdout.splitlines()[-1])
        return found

    return run

"""onnxruntime's telemetry stays off."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import onnx
import pytest

if TYPE_CHECKING:
    from pathlib import Path

LOAD = """
import os, sys
import ortolan
with ortolan.load(sys.argv[1]) as model:
    model.run({"x": __import__("numpy").ones(2, "float32")})
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of one node."""
    text = '<ir_version: 10, opset_import: ["": 21]> g (float[N] x) => (float[N] y) { y = Relu(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "relu.onnx")
    return tmp_path / "relu.onnx"


def _load(model: Path, home: Path, **variables: str) -> str:
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LD_LIBRARY_PATH", "PYTHONPATH"}}
    env = kept | {"HOME": str(home), "ORTOLAN_STATE_DIR": str(home / "state")} | variables
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(model)], env=env, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_nothing_is_left_in_the_home_directory(model: Path, tmp_path: Path) -> None:
    """Newer wheels would leave an identifier of the device and a queue of events in ~/.cache."""
    assert _load(model, tmp_path / "home") == "1"
    assert [path.name for path in (tmp_path / "home").iterdir() if path.name != "state"] == []


def test_a_user_may_allow_it(model: Path, tmp_path: Path) -> None:
    """What the environment says is left alone."""
    assert _load(model, tmp_path / "home", ORT_DISABLE_TELEMETRY="0", CI="true") == "0"

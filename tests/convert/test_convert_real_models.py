"""Real models of others, taken from the package registry when the tests run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

import ortolan
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def magika(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """magika's file-type classifier (Apache-2.0): int32[N, 2048] -> float32[N, 214]."""
    room = tmp_path_factory.mktemp("magika")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(room), "magika==1.0.3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"the package registry gives no magika: {done.stderr.strip().splitlines()[-1]}")
    with zipfile.ZipFile(next(room.glob("magika-*"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("model.onnx"))
        (room / "model.onnx").write_bytes(wheel.read(name))
    return room / "model.onnx"


def test_a_foreign_model_becomes_a_bundle(magika: Path, tmp_path: Path) -> None:
    """It answers as onnxruntime alone does, passes its golden samples, and keeps its size."""
    report = convert(magika, tmp_path / "magika.bundle")
    assert [variant.name for variant in report.variants] == ["fp32"]
    session = onnxruntime.InferenceSession(str(magika))
    name = session.get_inputs()[0].name
    feeds = {name: np.random.default_rng(0).integers(0, 257, (3, 2048), np.int32)}
    (expected,) = session.run(None, feeds)
    with ortolan.load(tmp_path / "magika.bundle") as model:
        assert model.task == "tensor"
        np.testing.assert_allclose(next(iter(model.run(feeds).values())), expected, atol=1e-6)
        assert model.check().drop == 0


def test_a_foreign_model_loads_bare(magika: Path) -> None:
    """The file alone is enough."""
    with ortolan.load(magika) as model:
        assert (model.inputs[0].dtype, model.inputs[0].shape[1]) == ("int32", 2048)
        bound = model.bind({model.inputs[0].name: np.zeros((1, 2048), np.int32)})
        bound()
        assert bound.outputs[model.outputs[0].name].shape == (1, 214)

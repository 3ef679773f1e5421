"""magika's file-type classifier (Apache-2.0), a foreign ONNX file: int32[N, 2048] -> float32[N, 214]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest

import ortolan
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def magika(registry: Callable[..., Path]) -> Path:
    """Its model.onnx."""
    (model,) = (registry("magika==1.0.3") / "magika").rglob("model.onnx")
    return model


def test_a_foreign_model_becomes_a_bundle(magika: Path, tmp_path: Path) -> None:
    """It answers as onnxruntime alone does, passes its golden samples, and has smaller variants that do, too."""
    report = convert(magika, tmp_path / "magika.bundle")
    assert [(one.name, one.left_out) for one in report.variants] == [("fp32", None), ("fp16", None), ("int8", None)]
    sizes = [one.bytes for one in report.variants]
    assert sizes[1] < 0.55 * sizes[0]
    assert sizes[2] < 0.3 * sizes[0]
    session = onnxruntime.InferenceSession(str(magika))
    name = session.get_inputs()[0].name
    feeds = {name: np.random.default_rng(0).integers(0, 257, (3, 2048), np.int32)}
    (expected,) = session.run(None, feeds)
    for variant, allowed in (("fp32", 1e-6), ("fp16", 1e-3), ("int8", 0.02)):
        with ortolan.load(tmp_path / "magika.bundle", variant=variant) as model:
            assert model.task == "tensor"
            np.testing.assert_allclose(next(iter(model.run(feeds).values())), expected, atol=allowed)
            assert model.check().drop == 0


def test_a_foreign_model_loads_bare(magika: Path) -> None:
    """The file alone is enough."""
    with ortolan.load(magika) as model:
        assert (model.inputs[0].dtype, model.inputs[0].shape[1]) == ("int32", 2048)
        bound = model.bind({model.inputs[0].name: np.zeros((1, 2048), np.int32)})
        bound()
        assert bound.outputs[model.outputs[0].name].shape == (1, 214)

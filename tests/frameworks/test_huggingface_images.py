"""Small classifiers of images of many architectures, from their directories to answers, beside transformers itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
from ortolan.errors import ConversionError, ParityError, TaskMismatchError, TrustRequiredError, UnsupportedError
from ortolan.inputs.image_geometry import Placement, cropped
from ortolan.tasks.golden import agrees
from ortolan_convert.convert import convert
from ortolan_convert.sources.huggingface.image_processor import LEVELS, check_pixels, image_input, made_up_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

SIDE = 32
SQUARE = {"height": SIDE, "width": SIDE}
SHORTEST = {"size": {"shortest_edge": SIDE}}
CROPPED = {"size": {"shortest_edge": 37}, "crop_size": SQUARE}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": SIDE,
    "patch_size": 8,
    "initializer_range": 0.1,
}
STAGES = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
SWIN = {"image_size": SIDE, "patch_size": 4, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
ARCHITECTURES: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    "ViT": (VIT, "ViT", {"size": SQUARE}),
    "DeiT": (VIT, "DeiT", {"size": {"height": 36, "width": 36}, "crop_size": SQUARE}),
    "Beit": (VIT | {"use_relative_position_bias": True}, "Beit", {"size": SQUARE}),
    "ResNet": (STAGES | {"layer_type": "basic"}, "ConvNext", SHORTEST),
    "ConvNext": ({"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}, "ConvNext", SHORTEST),
    "RegNet": (STAGES | {"groups_width": 8}, "ConvNext", SHORTEST),
    "MobileNetV2": ({"image_size": SIDE, "depth_multiplier": 0.25}, "MobileNetV2", CROPPED),
    "EfficientNet": (
        {"image_size": SIDE, "width_coefficient": 0.25, "depth_coefficient": 0.2, "hidden_dim": 320},
        "EfficientNet",
        {"size": SQUARE},
    ),
    "Swin": (SWIN, "ViT", {"size": SQUARE}),
}
"""Name in transformers -> configuration of a small model, its image processor, and that one's options."""
LABELS = {"id2label": {0: "crane", 1: "tabby, tabby cat", 2: "crane"}}


@pytest.fixture(scope="module", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state directory of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTOLAN_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of images of several sizes."""
    directory = tmp_path_factory.mktemp("images")
    for number, image in enumerate(made_up_images(3)):
        image.save(directory / f"{number}.png")
    return directory


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a bundle goes."""
    return tmp_path / "out.bundle"


def processor_of(name: str, **options: Any) -> Any:
    """An image processor of transformers, with Pillow."""
    return getattr(transformers, f"{name}ImageProcessorPil")(**options)


def saved(path: Path, name: str, row: tuple[dict[str, Any], str, dict[str, Any]], **more: Any) -> Path:
    """A directory as transformers saves it, of random weights."""
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForImageClassification")(
        getattr(transformers, f"{name}Config")(**(row[0] | LABELS | more))
    ).eval()
    with torch.no_grad():
        for buffer_name, buffer in model.named_buffers():
            if "running" in buffer_name:
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    model.save_pretrained(path)
    processor_of(row[1], **row[2]).save_pretrained(path)
    return path


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_classes_are_the_source_s(name: str, tmp_path: Path, target: Path, images: Path) -> None:
    """From the files of images on both sides, alone and for every class."""
    path = saved(tmp_path / "source", name, ARCHITECTURES[name])
    report = convert(path, target, samples=images, quantize=[])
    assert report.task == "image-classification"
    assert report.provenance.framework == "transformers"
    source = getattr(transformers, f"{name}ForImageClassification").from_pretrained(path).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(path, backend="pil")
    with ortolan.load(target, ortolan.ImageClassifier) as model:
        assert agrees(model.check(), report.bundle.manifest.variant("fp32").info.fidelity)
        for file in sorted(images.iterdir()):
            from PIL import Image

            with Image.open(file) as image, torch.inference_mode():
                logits = source(**processor(images=image, return_tensors="pt")).logits[0]
            scores = torch.softmax(logits, dim=0).numpy()
            answer = model.predict(file)
            assert answer.index == int(scores.argmax())
            assert answer.label == LABELS["id2label"][answer.index]
            assert {one.index: one.score for one in answer.top} == pytest.approx(dict(enumerate(scores)), abs=1e-4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("Beit", {}),
        ("Beit", {"do_center_crop": True, "crop_size": {"height": 191, "width": 192}}),
        ("Bit", {}),
        ("CLIP", {"size": {"shortest_edge": 225}}),
        ("CLIP", {"crop_size": {"height": 301, "width": 227}}),
        ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
        ("DeiT", {}),
        ("EfficientNet", {}),
        ("EfficientNet", {"rescale_offset": True, "rescale_factor": 1 / 127.5, "include_top": False}),
        ("Levit", {}),
        ("MobileNetV1", {}),
        ("MobileNetV2", {"size": {"shortest_edge": 255}}),
        ("MobileViT", {"size": {"shortest_edge": 288}}),
        ("MobileViT", {"size": {"shortest_edge": 288}, "do_flip_channel_order": False}),
        ("PoolFormer", {}),
        ("PoolFormer", {"crop_pct": None}),
        ("PoolFormer", {"size": {"height": 224, "width": 224}, "crop_pct": 0.95}),
        ("Pvt", {}),
        ("Segformer", {}),
        ("Siglip", {}),
        ("ViT", {}),
        ("ViT", {"resample": 0}),
        ("ViT", {"resample": 1, "do_normalize": False}),
        ("ViT", {"resample": 4, "do_rescale": False}),
        ("ViT", {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"height": 200, "width": 301}}),
    ],
)
def test_pixels_are_the_processor_s(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Of images larger and smaller than the model's, of odd sizes, in color and gray."""
    processor = processor_of(name, **options)
    for channels in (3, 1) if name == "ViT" and "image_mean" not in options else (3,):
        if channels == 1:
            processor.image_mean, processor.image_std = [0.5], [0.5]
        found = image_input(processor, channels, tmp_path)
        assert check_pixels(processor, found, made_up_images(channels), tmp_path) <= LEVELS


def test_a_crop_rounded_down() -> None:
    """Half of an odd difference, on either side of zero, as transformers has it."""
    for have, want, offset in ((7, 4, -1), (9, 4, -2), (8, 4, -2), (4, 7, 2), (4, 8, 2)):
        placed = cropped(Placement(image=(have, have), resized=(have, have), canvas=(have, have)), want, want, "down")
        assert placed.offset == (offset, offset)


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        (
            "ImageGPT",
            {},
            UnsupportedError,
            "the image processor ImageGPTImageProcessor cannot be converted",
        ),
        ("ViT", {"do_pad": True}, UnsupportedError, "do_pad: images that are filled up"),
        ("ViT", {"do_resize": False}, UnsupportedError, "images keep their own size"),
        ("CLIP", {"do_center_crop": False}, UnsupportedError, "only the shorter side of images gets a size (224)"),
        (
            "ViT",
            {"size": {"shortest_edge": 224, "longest_edge": 300}},
            UnsupportedError,
            "size: expected height and width, or a shortest_edge alone",
        ),
        ("ConvNext", {"do_center_crop": True, "crop_size": SQUARE}, UnsupportedError, "no do_center_crop"),
        ("ViT", {"rescale_factor": 0}, ConversionError, "rescale_factor: expected a number above 0"),
        ("ViT", {"image_mean": [0.5, 0.5]}, ConversionError, "image_mean: expected 3 numbers"),
        ("ViT", {"resample": 9}, ConversionError, "resample: expected a number of Pillow's, found 9"),
    ],
)
def test_options_that_cannot_be_converted(
    name: str, options: dict[str, Any], kind: type[Exception], message: str, tmp_path: Path
) -> None:
    """Are named."""
    processor = processor_of(name)
    for key, value in options.items():
        setattr(processor, key, value)
    with pytest.raises(kind) as caught:
        image_input(processor, 3, tmp_path)
    assert message in str(caught.value)


def test_other_pixels_are_found(tmp_path: Path) -> None:
    """A processor that does more than it says."""
    processor = processor_of("ViT", size=SQUARE)
    found = image_input(processor, 3, tmp_path)
    other = {**found, "resize": {**found["resize"], "interpolation": "bicubic"}}  # type: ignore[dict-item]
    with pytest.raises(ParityError, match=r"ViTImageProcessorPil makes other pixels of an image of \d+x\d+"):
        check_pixels(processor, other, made_up_images(3), tmp_path)
    smaller = {**found, "resize": {"to": "exact", "size": [SIDE, SIDE - 1]}}
    with pytest.raises(ParityError, match=r"becomes \[1, 3, 32, 32\] at the source, \[1, 3, 32, 31\] here"):
        check_pixels(processor, smaller, made_up_images(3), tmp_path)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT over gray images whose labels may hold at once."""
    row = (VIT | {"num_channels": 1}, "ViT", {"size": SQUARE, "image_mean": [0.5], "image_std": [0.25]})
    return saved(tmp_path_factory.mktemp("vit") / "source", "ViT", row, problem_type="multi_label_classification")


def copied(source: Path, target: Path, **changes: Any) -> Path:
    """A copy of a directory, with other values in a JSON file."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    for name, values in changes.items():
        file = target / f"{name}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return target


def test_gray_images_of_several_labels(vit: Path, target: Path) -> None:
    """One channel, and a sigmoid; made-up images where there are no samples."""
    config = convert(vit, target, quantize=[]).bundle.manifest.task.config
    assert (config["activation"], config["input"]["color"]) == ("sigmoid", "gray")  # type: ignore[index]
    source = transformers.ViTForImageClassification.from_pretrained(vit).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(vit, backend="pil")
    with ortolan.load(target, ortolan.ImageClassifier) as model, torch.inference_mode():
        for image in made_up_images(1):
            scores = torch.sigmoid(source(**processor(images=image, return_tensors="pt")).logits[0]).numpy()
            top = model.predict(image).top
            assert {one.index: one.score for one in top} == pytest.approx(dict(enumerate(scores)), abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"preprocessor_config": {"auto_map": {"AutoImageProcessor": "own.X"}}}, TrustRequiredError, "code of its own"),
        ({"preprocessor_config": {"size": {"height": 40, "width": 40}}}, UnsupportedError, "does not take images of"),
        ({"config": {"problem_type": "regression"}}, UnsupportedError, "problem_type 'regression' cannot be converted"),
        ({"config": {"num_channels": 4}}, UnsupportedError, "images of 4 channels cannot be converted"),
    ],
)
def test_directories_that_cannot_be_converted(
    vit: Path, tmp_path: Path, target: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Are refused with the reason, and nothing is written."""
    path = copied(vit, tmp_path / "source", **changes)
    with pytest.raises(kind) as caught:
        convert(path, target)
    assert message in str(caught.value)
    assert not target.exists()


def test_a_missing_processor(vit: Path, tmp_path: Path, target: Path) -> None:
    """Nothing else says what becomes of an image."""
    path = copied(vit, tmp_path / "source")
    (path / "preprocessor_config.json").unlink()
    with pytest.raises(ConversionError, match=r"expected preprocessor_config\.json, which says what becomes"):
        convert(path, target)
    with pytest.raises(TaskMismatchError):
        convert(vit, target, task="embedding")


def test_images_that_are_none(vit: Path, tmp_path: Path, target: Path) -> None:
    """Samples are read as images."""
    directory = tmp_path / "images"
    directory.mkdir()
    (directory / "a.png").write_text("no image")
    with pytest.raises(ortolan.errors.InputError, match=r"a\.png: expected an image"):
        convert(vit, target, samples=directory)


def test_made_up_images_are_what_they_say() -> None:
    """Noise in several sizes, the same every time."""
    first, second = made_up_images(3), made_up_images(3)
    assert [image.size for image in first] == [image.size for image in second]
    assert all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in zip(first, second, strict=True))

"""The image processor of a Hugging Face directory as the ``input`` of an image task.

Processors of these classes are known; what each does is written down here as transformers does it with Pillow, and
compared with its own pixels before anything is converted (`check_pixels`). Their classes for torchvision resize
differently, by up to a few levels of 255 in single pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, ParityError, UnsupportedError
from ortolan.inputs.image import ImageEncoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

LEVELS = 0.01
"""Of 255, what a pixel may differ by: rounding of float32 alone adds less."""
_INTERPOLATIONS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's number."""
_SIZES = ((224, 224), (640, 427), (427, 643), (301, 299), (50, 71), (331, 997))
"""(width, height) of the images that are compared, some smaller than what models take."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a processor does, in this order. Sizes are (height, width).

    Args:
        resize: to one size, or the shorter side to a length; None for not at all.
        crop: around the center.
        scale: that pixels are multiplied with.
        mean: that is subtracted then.
        std: that is divided by at last.
        color: the channels' order.
    """

    resize: tuple[int, int] | int | None
    crop: tuple[int, int] | None
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    color: str


def image_input(processor: Any, channels: int, where: Path) -> dict[str, object]:
    """The ``input`` object of a task's configuration.

    Args:
        processor: of transformers, with Pillow.
        channels: that the model takes, 1 or 3.
        where: for messages.

    Raises:
        UnsupportedError: a processor or option that cannot be converted; the message names it.
        ConversionError: a damaged value.
    """
    name = type(processor).__name__.removesuffix("Pil").removesuffix("Fast")
    steps_of = _PROCESSORS.get(name)
    if steps_of is None:
        raise UnsupportedError(
            f"{where}: the image processor {name} cannot be converted; known: {', '.join(sorted(_PROCESSORS))}"
        )
    if channels not in (1, 3):
        raise UnsupportedError(f"{where}: images of {channels} channels cannot be converted; expected 1 or 3")
    if getattr(processor, "do_pad", None):
        raise UnsupportedError(f"{where}: do_pad: images that are filled up cannot be converted")
    steps = steps_of(processor, channels, where)
    if steps.resize is None and steps.crop is None:
        raise UnsupportedError(f"{where}: images keep their own size; expected do_resize or do_center_crop")
    if isinstance(steps.resize, int) and steps.crop is None:
        raise UnsupportedError(
            f"{where}: only the shorter side of images gets a size ({steps.resize}), so that each has another shape; "
            "expected height and width, or do_center_crop"
        )
    interpolation = _interpolation(processor, where)
    resize: dict[str, object] | None = None
    if isinstance(steps.resize, int):
        resize = {"to": "shortest", "size": steps.resize, "interpolation": interpolation}
    elif steps.resize is not None:
        resize = {"to": "exact", "size": list(steps.resize), "interpolation": interpolation}
    return {
        "kind": "image",
        "color": "gray" if channels == 1 else steps.color,
        "layout": "nchw",
        "dtype": "float32",
        **({} if resize is None else {"resize": resize}),
        **({} if steps.crop is None else {"crop": list(steps.crop), "crop_rounding": "down"}),
        "scale": steps.scale,
        "mean": list(steps.mean),
        "std": list(steps.std),
    }


def check_pixels(processor: Any, task_input: Mapping[str, object], images: Sequence[Any], where: Path) -> float:
    """Compare what the runtime makes of images with what the processor makes of them.

    Args:
        processor: of transformers.
        task_input: see `image_input`.
        images: Pillow images of mode RGB or L.
        where: for messages.

    Returns:
        The largest difference, in levels of 255.

    Raises:
        ParityError: it is more than rounding.
    """
    encoder = ImageEncoder.open({"input": task_input})
    config = encoder.config
    worst = 0.0
    for image in images:
        ours = encoder.encode(image)[0]
        theirs = np.asarray(processor(images=image, return_tensors="np")["pixel_values"])
        if ours.shape != theirs.shape:
            raise ParityError(
                f"{where}: an image of {image.size[0]}x{image.size[1]} becomes {list(theirs.shape)} at the source, "
                f"{list(ours.shape)} here"
            )
        gaps = np.abs(ours.astype(np.float64) - theirs).max(axis=(0, 2, 3))
        levels = float((gaps * np.array(config.std) / config.scale).max())
        if not levels <= LEVELS:
            raise ParityError(
                f"{where}: {type(processor).__name__} makes other pixels of an image of {image.size[0]}x"
                f"{image.size[1]} than the runtime does: by {levels:.3g} of 255"
            )
        worst = max(worst, levels)
    return worst


def made_up_images(channels: int) -> list[Any]:
    """Pillow images of noise and rectangles in several sizes."""
    from PIL import Image

    random = np.random.default_rng(0)
    found = []
    for width, height in _SIZES:
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        pixels[height // 4 : height // 2, width // 3 :] = random.integers(0, 256, 3)
        image = Image.fromarray(pixels)
        found.append(image.convert("L") if channels == 1 else image)
    return found


def _plain(processor: Any, channels: int, where: Path) -> Steps:
    """What most do."""
    size = _size(processor, "size", where) if processor.do_resize else {}
    crop = _size(processor, "crop_size", where) if processor.do_center_crop else {}
    resize: tuple[int, int] | int | None = None
    if processor.do_resize and "shortest_edge" in size and not size.keys() & {"height", "width", "longest_edge"}:
        resize = size["shortest_edge"]
    elif processor.do_resize:
        resize = _sides(size, "size", where)
    scale = _number(processor.rescale_factor, "rescale_factor", where) if processor.do_rescale else 1.0
    mean, std = (0.0,) * channels, (1.0,) * channels
    if processor.do_normalize:
        mean = _numbers(processor.image_mean, channels, "image_mean", where)
        std = _numbers(processor.image_std, channels, "image_std", where)
    return Steps(resize, _sides(crop, "crop_size", where) if crop else None, scale, mean, std, "rgb")


def _convnext(processor: Any, channels: int, where: Path) -> Steps:
    """Below 384 a margin is cut off; from there on images are squeezed."""
    plain = _plain(processor, channels, where)
    side = plain.resize
    if not isinstance(side, int) or plain.crop is not None:
        raise UnsupportedError(f"{where}: size: expected shortest_edge and no do_center_crop for this processor")
    if side >= 384:
        return replace(plain, resize=(side, side))
    return replace(plain, resize=int(side / _number(processor.crop_pct, "crop_pct", where)), crop=(side, side))


def _efficientnet(processor: Any, channels: int, where: Path) -> Steps:
    """Pixels may be moved by 1, and are divided by the deviation twice for classification."""
    plain = _plain(processor, channels, where)
    moved = 1.0 if processor.rescale_offset and processor.do_rescale else 0.0
    std = plain.std
    if processor.include_top:
        once = _numbers(processor.image_std, channels, "image_std", where)
        std = tuple(one * other for one, other in zip(plain.std, once, strict=True))
    return replace(plain, mean=tuple(value + moved for value in plain.mean), std=std)


def _levit(processor: Any, channels: int, where: Path) -> Steps:
    """The shorter side becomes 256 for 224, and so on."""
    plain = _plain(processor, channels, where)
    return replace(plain, resize=int(256 / 224 * plain.resize)) if isinstance(plain.resize, int) else plain


def _poolformer(processor: Any, channels: int, where: Path) -> Steps:
    """A margin is cut off."""
    plain = _plain(processor, channels, where)
    if processor.crop_pct is None or plain.resize is None:
        return plain
    share = _number(processor.crop_pct, "crop_pct", where)
    if isinstance(plain.resize, int):
        return replace(plain, resize=int(plain.resize / share))
    height, width = (int(side / share) for side in plain.resize)
    return replace(plain, resize=height if height == width else (height, width))


def _mobilevit(processor: Any, channels: int, where: Path) -> Steps:
    """The channels may be blue first."""
    return replace(_plain(processor, channels, where), color="bgr" if processor.do_flip_channel_order else "rgb")


_PROCESSORS: Mapping[str, Callable[[Any, int, Path], Steps]] = {
    "BeitImageProcessor": _plain,
    "BitImageProcessor": _plain,
    "CLIPImageProcessor": _plain,
    "ConvNextImageProcessor": _convnext,
    "DeiTImageProcessor": _plain,
    "EfficientNetImageProcessor": _efficientnet,
    "LevitImageProcessor": _levit,
    "MobileNetV1ImageProcessor": _plain,
    "MobileNetV2ImageProcessor": _plain,
    "MobileViTImageProcessor": _mobilevit,
    "PoolFormerImageProcessor": _poolformer,
    "PvtImageProcessor": _plain,
    "SegformerImageProcessor": _plain,
    "SiglipImageProcessor": _plain,
    "ViTImageProcessor": _plain,
}
"""Class of a processor -> what it does."""


def _size(processor: Any, key: str, where: Path) -> dict[str, int]:
    value = getattr(processor, key, None)
    if value is None:
        raise ConversionError(f"{where}: {key}: expected a size, found none")
    pairs = dict(value) if isinstance(value, Mapping) else {name: getattr(value, name) for name in _SIDES}
    return {name: side for name, side in pairs.items() if side is not None}


_SIDES = ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")


def _sides(size: Mapping[str, int], key: str, where: Path) -> tuple[int, int]:
    if size.keys() != {"height", "width"}:
        found = ", ".join(size)
        raise UnsupportedError(f"{where}: {key}: expected height and width, or a shortest_edge alone, found {found}")
    return int(size["height"]), int(size["width"])


def _interpolation(processor: Any, where: Path) -> str:
    number = int(processor.resample) if processor.resample is not None else 2
    if not 0 <= number < len(_INTERPOLATIONS):
        raise ConversionError(f"{where}: resample: expected a number of Pillow's, found {number}")
    return _INTERPOLATIONS[number]


def _number(value: object, key: str, where: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ConversionError(f"{where}: {key}: expected a number above 0, found {value!r}")
    return float(value)


def _numbers(value: object, channels: int, key: str, where: Path) -> tuple[float, ...]:
    many = [value] * channels if isinstance(value, int | float) else value
    if not isinstance(many, list | tuple) or len(many) != channels:
        raise ConversionError(f"{where}: {key}: expected {channels} numbers, found {value!r}")
    return tuple(float(one) for one in many)

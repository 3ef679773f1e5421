"""The configuration of an image model's input, as it stands in a bundle's task configuration.

::

    input:
      kind: image
      color: rgb               # channels of the model's input: rgb, bgr or gray
      layout: nchw             # or nhwc
      dtype: float32           # or uint8
      resize: {to: shortest, size: 256, interpolation: bicubic}
      crop: [224, 224]         # [height, width] around the center
      crop_rounding: nearest   # of half the difference, as torchvision; or down, as transformers
      scale: 0.00392156862745098
      mean: [0.485, 0.456, 0.406]
      std: [0.229, 0.224, 0.225]

``resize.to`` is one of

- ``exact``, with ``size: [height, width]``: that size, whatever the aspect ratio becomes;
- ``shortest``, with ``size``: the shorter side becomes ``size``, the other is rounded down;
- ``letterbox``, with ``size: [height, width]`` and ``place: center`` or ``corner`` (top left): as large as fits, the
  rest is filled with ``fill``; ``enlarge: false`` leaves smaller images as they are;
- ``bounded``, with ``shortest``, ``longest`` and ``multiple``: enlarged until the shorter side is ``shortest``, reduced
  until the longer one is ``longest``, then each side is rounded to a multiple;
- ``height``, with ``height``, ``min_width``, ``max_width`` and ``multiple``: that height; the width keeps the aspect
  ratio up to ``max_width`` and is filled up to a multiple with ``fill``.

Without ``resize`` an image must have the right size already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, cast

from ortolan.bundle.fields import Record, array, choice, integer, mismatch, number, optional
from ortolan.errors import ManifestError
from ortolan.inputs.image_geometry import (
    Bounded,
    Exact,
    FixedHeight,
    Letterbox,
    Shortest,
    Unresized,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ortolan.bundle.fields import Convert
    from ortolan.inputs.image_geometry import CropRounding, Resize

T = TypeVar("T")

Color = Literal["rgb", "bgr", "gray"]
ArrayOrder = Literal["rgb", "bgr", "rgba", "bgra"]
Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]

ARRAY_ORDERS = ("rgb", "bgr", "rgba", "bgra")
MAX_SIDE = 1 << 14
"""Longest side of a model's input."""
MAX_PIXELS = 1 << 26
"""Most pixels of an image that is decoded, unless the configuration says otherwise: 8192 x 8192."""
_DECODABLE = 178_956_970
"""Pixels of the largest image that Pillow opens without an error: twice its MAX_IMAGE_PIXELS."""

_KEYS = (
    "kind",
    "color",
    "layout",
    "dtype",
    "resize",
    "crop",
    "crop_rounding",
    "fill",
    "scale",
    "mean",
    "std",
    "array_order",
    "background",
    "max_pixels",
)
_INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
_POINTWISE = ("nearest", "bilinear", "bicubic")
"""Interpolations that exist without smoothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """What turns an image into the tensor of a model.

    Args:
        color: the model's channels.
        layout: order of the model's axes.
        dtype: element type of the model's input.
        resize: how the image is brought to size.
        interpolation: as Pillow's resampling of that name.
        antialias: whether the filter is widened when an image is reduced, as Pillow's ``resize`` does; without, only
            the nearest pixels count, as in OpenCV's ``resize``: ``bilinear`` is its ``INTER_LINEAR`` within 1,
            ``nearest`` its ``INTER_NEAREST_EXACT``; ``bicubic`` stays Pillow's, whose coefficient is -0.5, not -0.75.
        crop: (height, width) cut out around the center afterwards; None for no crop.
        crop_rounding: how half of an odd difference is rounded.
        fill: color of what the image does not cover, 0 to 255 for each of the model's channels, before normalisation.
        scale: what pixels are multiplied with.
        mean: what is subtracted then, for each of the model's channels.
        std: what is divided by at last, for each of the model's channels.
        array_order: channels of arrays that come without a declaration of their own.
        background: RGB color that transparent pixels are laid upon; None to ignore transparency, as
            ``PIL.Image.convert`` does.
        max_pixels: most pixels of an image before and after resizing.
    """

    color: Color
    layout: Literal["nchw", "nhwc"]
    dtype: Literal["float32", "uint8"]
    resize: Resize
    interpolation: Interpolation
    antialias: bool
    crop: tuple[int, int] | None
    crop_rounding: CropRounding
    fill: tuple[float, ...]
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    array_order: ArrayOrder
    background: tuple[int, ...] | None
    max_pixels: int

    @property
    def channels(self) -> int:
        """Number of the model's channels."""
        return 1 if self.color == "gray" else 3

    @property
    def size(self) -> tuple[int | None, int | None]:
        """(height, width) of every tensor; None for what follows the image."""
        if self.crop is not None:
            return self.crop
        if isinstance(self.resize, Exact | Letterbox):
            return self.resize.height, self.resize.width
        return (self.resize.height if isinstance(self.resize, FixedHeight) else None), None

    @property
    def largest(self) -> tuple[int | None, int | None]:
        """(height, width) that no tensor exceeds; None where there is no bound."""
        if isinstance(self.resize, Bounded):
            return self.resize.largest, self.resize.largest
        if isinstance(self.resize, FixedHeight):
            return self.resize.height, self.resize.max_width
        return self.size


def parse_image_config(config: Mapping[str, object], at: str = "task.config") -> ImageConfig:
    """The ``"input"`` object of a task's configuration, checked.

    Raises:
        ManifestError: a missing, unknown or wrong value, with its dotted path.
    """
    raw, at = config.get("input"), f"{at}.input"
    if not isinstance(raw, dict):
        raise ManifestError(at, f"expected an object, found {type(raw).__name__}")
    if raw.get("kind") != "image":
        raise ManifestError(f"{at}.kind", f"expected 'image', found {raw.get('kind')!r}")
    record = Record(raw, at, _KEYS)
    color = cast("Color", record.get("color", choice(("rgb", "bgr", "gray"))))
    channels = 1 if color == "gray" else 3
    how = _resize(raw["resize"], f"{at}.resize") if raw.get("resize") is not None else _UNRESIZED
    resize, interpolation, antialias = how
    crop = given_or(record, raw, "crop", optional(_size), None)
    if crop is not None and isinstance(resize, Letterbox | Bounded | FixedHeight):
        raise ManifestError(f"{at}.crop", "expected no crop after a resize that fills or bounds the image")
    parsed = ImageConfig(
        color=color,
        layout=cast('Literal["nchw", "nhwc"]', record.get("layout", choice(("nchw", "nhwc")))),
        dtype=cast('Literal["float32", "uint8"]', record.get("dtype", choice(("float32", "uint8")))),
        resize=resize,
        interpolation=interpolation,
        antialias=antialias,
        crop=crop,
        crop_rounding=cast(
            "CropRounding", given_or(record, raw, "crop_rounding", choice(("nearest", "down")), "nearest")
        ),
        fill=given_or(record, raw, "fill", array(number(0, 255), channels, channels), (0.0,) * channels),
        scale=given_or(record, raw, "scale", number(1e-9, 1e9), 1.0),
        mean=given_or(record, raw, "mean", array(number(-1e9, 1e9), channels, channels), (0.0,) * channels),
        std=given_or(record, raw, "std", array(number(1e-9, 1e9), channels, channels), (1.0,) * channels),
        array_order=cast("ArrayOrder", given_or(record, raw, "array_order", choice(ARRAY_ORDERS), "rgb")),
        background=given_or(record, raw, "background", optional(array(integer(0, 255), 3, 3)), None),
        max_pixels=given_or(record, raw, "max_pixels", integer(1, _DECODABLE), MAX_PIXELS),
    )
    if parsed.dtype == "uint8":
        _check_plain(parsed, at)
    return parsed


def given_or(record: Record, raw: Mapping[str, object], key: str, convert: Convert[T], default: T) -> T:
    """The converted value of a key, or what stands for it when it is left out."""
    return record.get(key, convert) if key in raw else default


def flag(value: object, at: str) -> bool:
    """True or false.

    Raises:
        ManifestError: it is neither.
    """
    if not isinstance(value, bool):
        mismatch("bool", value, at)
    return value


def _check_plain(config: ImageConfig, at: str) -> None:
    """Pixels go to a uint8 input as they are."""
    if config.scale != 1 or any(config.mean) or any(value != 1 for value in config.std):
        raise ManifestError(f"{at}.dtype", "expected float32 with scale, mean or std; a uint8 input takes the pixels")
    if any(value != int(value) for value in config.fill):
        raise ManifestError(f"{at}.fill", f"expected whole numbers for a uint8 input, found {list(config.fill)}")


_Resizing = tuple["Resize", Interpolation, bool]
_UNRESIZED: _Resizing = (Unresized(), "bilinear", True)


def _resize(value: object, at: str) -> _Resizing:
    if not isinstance(value, dict):
        mismatch("object", value, at)
    kind = value.get("to")
    if not isinstance(kind, str) or kind not in _RESIZES:
        raise ManifestError(f"{at}.to", f"expected one of {', '.join(_RESIZES)}, found {kind!r}")
    keys, build = _RESIZES[kind]
    record = Record(value, at, ("to", "interpolation", "antialias", *keys))
    interpolation = cast("Interpolation", given_or(record, value, "interpolation", choice(_INTERPOLATIONS), "bilinear"))
    antialias = given_or(record, value, "antialias", flag, True)
    if not antialias and interpolation not in _POINTWISE:
        raise ManifestError(f"{at}.antialias", f"expected true with {interpolation}: it exists with smoothing only")
    return build(record, value), interpolation, antialias


def _size(value: object, at: str) -> tuple[int, int]:
    height, width = array(integer(1, MAX_SIDE), 2, 2)(value, at)
    return height, width


def _exact(record: Record, raw: Mapping[str, object]) -> Exact:  # noqa: ARG001 - as the others
    return Exact(*record.get("size", _size))


def _shortest(record: Record, raw: Mapping[str, object]) -> Shortest:  # noqa: ARG001 - as the others
    return Shortest(record.get("size", integer(1, MAX_SIDE)))


def _letterbox(record: Record, raw: Mapping[str, object]) -> Letterbox:
    height, width = record.get("size", _size)
    place = given_or(record, raw, "place", choice(("center", "corner")), "center")
    return Letterbox(height, width, centered=place == "center", enlarge=given_or(record, raw, "enlarge", flag, True))


def _bounded(record: Record, raw: Mapping[str, object]) -> Bounded:  # noqa: ARG001 - as the others
    multiple = record.get("multiple", integer(1, MAX_SIDE))
    shortest = record.get("shortest", integer(multiple, MAX_SIDE))
    return Bounded(shortest, record.get("longest", integer(shortest, MAX_SIDE)), multiple)


def _fixed_height(record: Record, raw: Mapping[str, object]) -> FixedHeight:  # noqa: ARG001 - as the others
    multiple = record.get("multiple", integer(1, MAX_SIDE))
    least = record.get("min_width", integer(1, MAX_SIDE))
    most = record.get("max_width", integer(least, MAX_SIDE))
    for name, width in (("min_width", least), ("max_width", most)):
        if width % multiple:
            raise ManifestError(f"{record.at}.{name}", f"expected a multiple of {multiple}, found {width}")
    return FixedHeight(record.get("height", integer(1, MAX_SIDE)), least, most, multiple)


_RESIZES: dict[str, tuple[tuple[str, ...], Callable[[Record, Mapping[str, object]], Resize]]] = {
    "exact": (("size",), _exact),
    "shortest": (("size",), _shortest),
    "letterbox": (("size", "place", "enlarge"), _letterbox),
    "bounded": (("shortest", "longest", "multiple"), _bounded),
    "height": (("height", "min_width", "max_width", "multiple"), _fixed_height),
}
"""``resize.to`` -> its keys, and what reads them."""

"""Images of every origin as plain 8 bit pixels: files, encoded bytes, Pillow's images, numpy arrays."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ortolan.choose.units import format_size
from ortolan.errors import InputError, InputTypeError, MemoryBudgetError, MissingPackageError, StorageError
from ortolan.hardware.probe import available_memory

if TYPE_CHECKING:
    from typing import BinaryIO, TypeAlias

    from numpy.typing import NDArray
    from PIL import Image as PillowImage

    from ortolan.inputs.image_config import ImageConfig

    ImageLike: TypeAlias = (
        "str | os.PathLike[str] | bytes | bytearray | memoryview | PillowImage.Image | NDArray[np.uint8] | ImageArray"
    )
    """What can be asked: a path, the bytes of an image file, a Pillow image, or pixels."""

Order = Literal["gray", "rgb", "bgr", "rgba", "bgra"]

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF")
"""Pillow's readers that are used. Some of the others start programs or read further files."""

_ORIENTATION = 0x0112
"""EXIF tag; value -> name of Pillow's transposition that shows the image upright."""
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
_CHANNELS = {"gray": 1, "rgb": 3, "bgr": 3, "rgba": 4, "bgra": 4}
_SMALL = 16 << 20
"""Bytes of pixels that are decoded without asking how much memory is left, which takes longer than a small image."""
_SIXTEEN_BITS = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_LUMINANCE = {"r": 19595, "g": 38470, "b": 7471}
"""ITU-R 601-2 times 2**16, as in Pillow's conversion to L."""


@dataclass(frozen=True, slots=True)
class ImageArray:
    """Pixels with their order of channels, for arrays that are not in the order that the bundle declares.

    ``ImageArray(frame, "bgr")`` is how OpenCV's frames are given to any model.

    Args:
        array: uint8 [height, width, channels], or [height, width] for gray; rows may be padded (a strided array).
        order: what the channels are.
    """

    array: NDArray[np.uint8]
    order: Order = "rgb"


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image of 8 bit gray or color pixels.

    Args:
        size: (width, height).
        order: of the color channels, ``"gray"`` for one channel.
        content: a Pillow image of mode L or RGB, or an array [height, width] or [height, width, 3].
    """

    size: tuple[int, int]
    order: Literal["gray", "rgb", "bgr"]
    content: Any

    def resized(self, size: tuple[int, int], interpolation: str, *, antialias: bool) -> NDArray[np.uint8]:
        """The pixels at (width, height) as an array [height, width] or [height, width, 3].

        Raises:
            MissingPackageError: Pillow is needed and not installed.
        """
        if size == self.size:
            return np.asarray(self.content)
        what = f"an image of {self.size[0]}x{self.size[1]} pixels, to resize it to {size[0]}x{size[1]},"
        image = pillow(what)
        content = image.fromarray(self.content) if isinstance(self.content, np.ndarray) else self.content
        resample = image.Resampling[interpolation.upper()]
        if antialias:
            return np.asarray(content.resize(size, resample))
        across, down = self.size[0] / size[0], self.size[1] / size[1]
        return np.asarray(content.transform(size, image.Transform.AFFINE, (across, 0, 0, 0, down, 0), resample))


def read_image(x: object, config: ImageConfig) -> Pixels:
    """The pixels of an image, upright, in gray if the model takes gray. Of several pages or frames the first counts.

    Raises:
        InputTypeError: ``x`` is no image, or an array that is not uint8.
        InputError: damaged, truncated, empty or too large, or pixels without a known range.
        StorageError: a file that cannot be opened.
        MemoryBudgetError: too little memory is left to decode it.
        MissingPackageError: Pillow is needed and not installed.
    """
    if isinstance(x, ImageArray):
        return _from_array(x.array, x.order, config)
    if isinstance(x, np.ndarray):
        return _from_array(x, "gray" if x.ndim == 2 or x.shape[-1:] == (1,) else config.array_order, config)
    if isinstance(x, (str, os.PathLike)):
        return _from_path(x, config)
    if isinstance(x, (bytes, bytearray, memoryview)):
        return _from_file(BytesIO(bytes(x)), "the image", config)
    loaded = sys.modules.get("PIL.Image")
    if loaded is not None and isinstance(x, loaded.Image):
        return _from_pillow(x, "the image", config)
    raise InputTypeError(
        "expected an image: a path, the bytes of an image file, a Pillow image or a uint8 array, "
        f"found {'None' if x is None else type(x).__name__}"
    )


def pillow(what: str) -> Any:
    """The module ``PIL.Image``; ``what`` begins the message if it is missing.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingPackageError(
            f"{what} needs Pillow, which is not installed: pip install 'ortolan[image]'; "
            "uint8 arrays of the model's own size work without"
        ) from error
    return Image


def _from_path(path: str | os.PathLike[str], config: ImageConfig) -> Pixels:
    name = os.fspath(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(path).open("rb"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"cannot open the image {name!r}: {reason}") from error
        return _from_file(file, repr(name), config)


def _from_file(file: BinaryIO, name: str, config: ImageConfig) -> Pixels:
    image = pillow("an image file")
    try:
        opened = image.open(file, formats=FORMATS)
    except (image.DecompressionBombError, image.DecompressionBombWarning) as error:
        raise InputError(f"{name}: {_too_large(config)}, found far more") from error
    except image.UnidentifiedImageError as error:
        raise InputError(f"{name}: expected an image file ({', '.join(FORMATS)}), or its header is damaged") from error
    except Exception as error:
        raise InputError(f"{name}: expected an image file ({', '.join(FORMATS)}): {_reason(error)}") from error
    with opened:
        return _from_pillow(opened, name, config)


def _from_pillow(opened: PillowImage.Image, name: str, config: ImageConfig) -> Pixels:
    width, height = opened.size
    if width * height > config.max_pixels:
        raise InputError(f"{name}: {_too_large(config)}, found {width}x{height}")
    try:
        _require_memory(opened, 1 if opened.mode in ("L", "RGB") else 2, name)
        opened.load()
        plain = _plain(_upright(opened, name), name, config)
        if config.color == "gray" and plain.mode != "L":
            plain = plain.convert("L")
    except (InputError, MemoryBudgetError):
        raise
    except MemoryError as error:
        raise MemoryBudgetError(f"{name}: no memory is left to decode {width}x{height} pixels") from error
    except Exception as error:
        raise InputError(f"{name}: the image is damaged or truncated: {_reason(error)}") from error
    if not all(plain.size):
        raise InputError(f"{name}: expected an image of one pixel or more, found {width}x{height}")
    return Pixels(plain.size, "gray" if plain.mode == "L" else "rgb", plain)


def _require_memory(image: PillowImage.Image, copies: int, name: str) -> None:
    """Check that an image's pixels have room so many times: Pillow keeps four bytes of each.

    Raises:
        MemoryBudgetError: they have not.
    """
    width, height = image.size
    size = 4 * width * height
    room = available_memory() if size > _SMALL else None
    if room is not None and copies * size > room:
        raise MemoryBudgetError(
            f"{name}: {width}x{height} pixels take {format_size(copies * size)} to decode or turn, "
            f"{format_size(room)} are available; reduce the image first"
        )


def _upright(image: PillowImage.Image, name: str) -> PillowImage.Image:
    # Pillow turns TIFF files itself, and before 11 it left the tag. To give a PNG's tags it decodes the whole file.
    method = None if image.format == "TIFF" else _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    if method is None:
        return image
    _require_memory(image, 1, name)
    return image.transpose(pillow("an image file").Transpose[method])


def _plain(image: PillowImage.Image, name: str, config: ImageConfig) -> PillowImage.Image:
    """The image in mode L or RGB."""
    mode = image.mode
    if config.background is not None and (mode in _ALPHA or "transparency" in image.info):
        rgba = _convert(image, "RGBA")
        return _rebuilt(_laid_upon(np.asarray(rgba), config.background))
    if mode in ("L", "RGB"):
        return image
    if mode in _SIXTEEN_BITS:
        values = np.asarray(image)
        if values.size and not 0 <= int(values.min()) <= int(values.max()) <= 0xFFFF:
            raise InputError(f"{name}: expected pixels of 8 or 16 bits, found values outside 0 to 65535")
        return _rebuilt((values >> 8).astype(np.uint8))
    if mode == "LAB":
        raise InputError(f"{name}: expected gray, color or CMYK pixels, found CIELAB; convert the image first")
    if mode == "F":
        raise InputError(f"{name}: expected pixels of 8 or 16 bits, found floating-point pixels of unknown range")
    if mode in ("1", "LA", "La"):
        return _convert(image, "L")
    return _convert(image, "RGB")


def _convert(image: PillowImage.Image, mode: str) -> PillowImage.Image:
    """Conversion by way of the modes that Pillow needs in between."""
    if image.mode in ("La", "RGBa"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


def _rebuilt(array: NDArray[np.uint8]) -> PillowImage.Image:
    rebuilt: PillowImage.Image = pillow("an image file").fromarray(array)
    return rebuilt


def _from_array(array: object, order: str, config: ImageConfig) -> Pixels:
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise InputTypeError(f"expected a numpy array of uint8, found {type(array).__name__}")
    if order not in _CHANNELS:
        raise InputError(f"expected an order of channels among {', '.join(_CHANNELS)}, found {order!r}")
    if array.dtype != np.uint8:
        raise InputTypeError(f"expected a uint8 array of pixels from 0 to 255, found {array.dtype.str!r}")
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels != _CHANNELS[order] or not array.size:
        wanted = "[height, width]" if order == "gray" else f"[height, width, {_CHANNELS[order]}]"
        raise InputError(
            f"expected {order} pixels {wanted}, found {list(array.shape)}"
            "; ImageArray(array, order) declares another order of channels"
        )
    height, width = array.shape[:2]
    if order == "gray":
        return Pixels((width, height), "gray", array.reshape(height, width))
    if channels == 4:
        array = array[..., :3] if config.background is None else _laid_upon(array, _in_order(config.background, order))
    kind: Literal["rgb", "bgr"] = "rgb" if order.startswith("rgb") else "bgr"
    if config.color == "gray":
        return Pixels((width, height), "gray", _luminance(array, kind))
    return Pixels((width, height), kind, array)


def _in_order(rgb: tuple[int, ...], order: str) -> tuple[int, ...]:
    return rgb if order.startswith("rgb") else rgb[::-1]


def _laid_upon(pixels: NDArray[np.uint8], background: tuple[int, ...]) -> NDArray[np.uint8]:
    """[height, width, 4] with alpha last, laid upon a color in the same order of channels."""
    laid = np.empty((*pixels.shape[:2], 3), np.uint8)
    for row, below in zip(pixels, laid, strict=True):  # row by row, as the products take four times the memory
        alpha = row[:, 3:].astype(np.uint32)
        below[...] = (row[:, :3] * alpha + np.array(background, np.uint32) * (255 - alpha) + 127) // 255
    return laid


def _luminance(pixels: NDArray[np.uint8], order: str) -> NDArray[np.uint8]:
    weights = [_LUMINANCE[channel] for channel in order]
    total = np.full(pixels.shape[:2], 0x8000, np.uint32)
    for i, weight in enumerate(weights):
        total += np.multiply(pixels[..., i], weight, dtype=np.uint32)
    gray: NDArray[np.uint8] = (total >> 16).astype(np.uint8)
    return gray


def _too_large(config: ImageConfig) -> str:
    return f"expected an image of at most {config.max_pixels} pixels"


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

"""Whether there is memory to decode an image: a small file may hold a very large one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.choose.units import format_size
from ortolan.errors import MemoryBudgetError
from ortolan.hardware.probe import available_memory

if TYPE_CHECKING:
    from PIL import Image as PillowImage

SMALL = 16 << 20
"""Bytes of pixels that are decoded without asking how much memory is left, which takes longer than a small image. For a
larger one there must be room for this much more: it is resized while it is there."""

_BUFFERED = {"TIFF": 2, "WEBP": 4}
"""Formats whose decoders have buffers of their own -> how many times the memory of the pixels they take in all."""
_PROGRESSIVE = 3
"""The same for progressive JPEG, of which libjpeg keeps all coefficients. All these are the most that was measured with
Pillow 13 on 20 million pixels; other formats took 1."""


def depth(image: PillowImage.Image) -> int:
    """Bytes that Pillow keeps of a pixel."""
    return 1 if image.mode in ("1", "L", "P") else 4


def bytes_to_decode(image: PillowImage.Image, *, decoded: bool) -> int:
    """Bytes of each pixel that decoding an image and bringing it to mode L or RGB take.

    Args:
        image: not decoded yet, or
        decoded: already in memory.
    """
    times = _PROGRESSIVE if image.info.get("progressive") else _BUFFERED.get(image.format or "", 1)
    return (0 if decoded else times * depth(image)) + (0 if image.mode in ("L", "RGB") else 4)


def require_room(image: PillowImage.Image, per_pixel: int, name: str) -> None:
    """Check that there is room for so many bytes of each pixel.

    Raises:
        MemoryBudgetError: there is not.
    """
    width, height = image.size
    size = per_pixel * width * height
    room = available_memory() if size > SMALL else None
    if room is not None and size + SMALL > room:
        raise MemoryBudgetError(
            f"{name}: {width}x{height} pixels take {format_size(size)} to decode or turn, "
            f"{format_size(room)} are available; reduce the image first"
        )

"""Images to the tensors of a model: resized, cropped, laid out and normalised as the bundle declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError
from ortolan.inputs.image_config import parse_image_config
from ortolan.inputs.image_geometry import Placement, cropped
from ortolan.inputs.image_source import read_image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan.inputs.image_config import ImageConfig
    from ortolan.inputs.image_source import Pixels
    from ortolan.types import Array


class ImageEncoder:
    """One image to one tensor. Thread-safe."""

    def __init__(self, config: ImageConfig) -> None:
        """Args:
        config: what is done to an image.
        """
        self.config = config
        # (pixel * scale - mean) / std as one product and one sum per channel.
        self._factors = tuple(np.float32(config.scale / std) for std in config.std)
        self._terms = tuple(np.float32(-mean / std) for mean, std in zip(config.mean, config.std, strict=True))
        self._fill = tuple(
            np.float32((fill * config.scale - mean) / std)
            for fill, mean, std in zip(config.fill, config.mean, config.std, strict=True)
        )

    @classmethod
    def open(cls, config: Mapping[str, object]) -> ImageEncoder:
        """From a task's configuration.

        Raises:
            ManifestError: its ``"input"`` object is wrong.
        """
        return cls(parse_image_config(config))

    def encode(self, x: object) -> tuple[Array, Placement]:
        """The tensor of an image, with a first axis of length 1, and where on it the image lies.

        Raises:
            InputTypeError, InputError, StorageError, MissingPackageError: as `read_image`.
            InputError: the image would become larger than ``max_pixels``.
        """
        pixels = read_image(x, self.config)
        placement = self.place(*pixels.size)
        tensor = self._empty(placement.canvas)
        self._draw(pixels, placement, self._planes(tensor))
        return tensor, placement

    def place(self, width: int, height: int) -> Placement:
        """Where an image of this size comes to lie.

        Raises:
            InputError: it would become larger than ``max_pixels``.
        """
        placement = self.config.resize.place(width, height)
        if placement.resized[0] * placement.resized[1] > self.config.max_pixels:
            raise InputError(
                f"an image of {width}x{height} pixels would become {placement.resized[0]}x{placement.resized[1]}, "
                f"more than {self.config.max_pixels} pixels; crop it first"
            )
        if self.config.crop is None:
            return placement
        height, width = self.config.crop
        return cropped(placement, width, height, self.config.crop_rounding)

    def normalized(self, image: NDArray[np.uint8]) -> Array:
        """The tensor of pixels [height, width, channels] that are the model's own in size and order."""
        height, width = image.shape[:2]
        tensor = self._empty((width, height))
        for channel, plane in enumerate(self._planes(tensor)):
            self._write(image[..., channel], plane, channel)
        return tensor

    def _empty(self, canvas: tuple[int, int]) -> NDArray[Any]:
        """A tensor for one image on a canvas of (width, height), not initialised."""
        width, height = canvas
        channels = self.config.channels
        shape = (1, channels, height, width) if self.config.layout == "nchw" else (1, height, width, channels)
        return np.empty(shape, self.config.dtype)

    def _draw(self, pixels: Pixels, placement: Placement, planes: NDArray[Any]) -> None:
        """Write the channels [channels, height, width]."""
        config = self.config
        source = pixels.resized(placement.resized, config.interpolation, antialias=config.antialias)
        across, from_x = _overlap(placement.offset[0], placement.resized[0], placement.canvas[0])
        down, from_y = _overlap(placement.offset[1], placement.resized[1], placement.canvas[1])
        if (placement.canvas[0], placement.canvas[1]) != (across.stop - across.start, down.stop - down.start):
            for plane, value in zip(planes, self._fill, strict=True):
                plane[...] = value
        source = source[from_y, from_x]
        for channel, (plane, name) in enumerate(zip(planes, _names(config.color), strict=True)):
            values = source if pixels.order == "gray" else source[..., pixels.order.index(name)]
            self._write(values, plane[down, across], channel)

    def _planes(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """The channels [channels, height, width] of a tensor, as a view."""
        planes: NDArray[Any] = tensor[0] if self.config.layout == "nchw" else tensor[0].transpose(2, 0, 1)
        return planes

    def _write(self, values: NDArray[np.uint8], target: NDArray[Any], channel: int) -> None:
        """Normalised pixels of one channel."""
        target[...] = values
        if self.config.dtype == "float32":
            target *= self._factors[channel]
            target += self._terms[channel]


def _overlap(offset: int, length: int, canvas: int) -> tuple[slice, slice]:
    """The part of the canvas that an image covers in one direction, and the part of the image that lies there."""
    start, stop = max(offset, 0), min(offset + length, canvas)
    return slice(start, stop), slice(start - offset, stop - offset)


def _names(color: str) -> str:
    return "g" if color == "gray" else color

"""Where an image comes to lie in the tensor of a model, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """An image, resized and laid onto a canvas. All lengths are pixels.

    Args:
        image: (width, height) of the original, after any EXIF rotation.
        resized: (width, height) it is resized to.
        canvas: (width, height) of the model's input.
        offset: (left, top) of the resized image on the canvas; negative where it is cropped.
    """

    image: tuple[int, int]
    resized: tuple[int, int]
    canvas: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    def to_image(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points on the canvas, [..., 2] as (x, y), in the original image's coordinates."""
        scale = np.divide(self.image, self.resized)
        moved: NDArray[np.float64] = (np.asarray(points, np.float64) - self.offset) * scale
        return moved

    def to_canvas(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Points of the original image, [..., 2] as (x, y), in the canvas's coordinates."""
        scale = np.divide(self.resized, self.image)
        moved: NDArray[np.float64] = np.asarray(points, np.float64) * scale + self.offset
        return moved


@dataclass(frozen=True, slots=True)
class Unresized:
    """The image as it is."""

    def place(self, width: int, height: int) -> Placement:
        """The placement of an image of this size."""
        return Placement(image=(width, height), resized=(width, height), canvas=(width, height))


@dataclass(frozen=True, slots=True)
class Exact:
    """To one size, whatever the aspect ratio becomes."""

    height: int
    width: int

    def place(self, width: int, height: int) -> Placement:
        """The placement of an image of this size."""
        size = self.width, self.height
        return Placement(image=(width, height), resized=size, canvas=size)


@dataclass(frozen=True, slots=True)
class Shortest:
    """The shorter side to one size, the aspect ratio kept; the longer side is rounded down, as in torchvision."""

    size: int

    def place(self, width: int, height: int) -> Placement:
        """The placement of an image of this size."""
        shorter = min(width, height)
        size = self.size * width // shorter, self.size * height // shorter
        return Placement(image=(width, height), resized=size, canvas=size)


@dataclass(frozen=True, slots=True)
class Letterbox:
    """As large as fits into a size, the aspect ratio kept.

    Args:
        height: of the canvas.
        width: of the canvas.
        centered: whether the image lies in the middle of the canvas, or else in its top left corner.
        enlarge: whether an image that is smaller is enlarged.
    """

    height: int
    width: int
    centered: bool = True
    enlarge: bool = True

    def place(self, width: int, height: int) -> Placement:
        """The placement of an image of this size."""
        ratio = min(self.width / width, self.height / height)
        if not self.enlarge:
            ratio = min(ratio, 1.0)
        resized = max(round(width * ratio), 1), max(round(height * ratio), 1)
        offset = ((self.width - resized[0]) // 2, (self.height - resized[1]) // 2) if self.centered else (0, 0)
        return Placement(image=(width, height), resized=resized, canvas=(self.width, self.height), offset=offset)


@dataclass(frozen=True, slots=True)
class Bounded:
    """Both sides within bounds and multiples of a number, the aspect ratio nearly kept.

    Args:
        shortest: the image is enlarged until its shorter side is at least this.
        longest: it is reduced until its longer side is at most this, whatever the shorter one becomes.
        multiple: what each side is rounded to a multiple of.
    """

    shortest: int
    longest: int
    multiple: int

    def place(self, width: int, height: int) -> Placement:
        """The placement of an image of this size."""
        ratio = min(max(self.shortest / min(width, height), 1.0), self.longest / max(width, height))
        size = self._side(width * ratio), self._side(height * ratio)
        return Placement(image=(width, height), resized=size, canvas=size)

    @property
    def largest(self) -> int:
        """Longest side that an image may become."""
        return self._side(self.longest)

    def _side(self, length: float) -> int:
        return max(round(int(length) / self.multiple), 1) * self.multiple


@dataclass(frozen=True, slots=True)
class FixedHeight:
    """To one height; the width follows the aspect ratio, and the canvas is as wide as the next multiple.

    Args:
        height: of the image and the canvas.
        min_width: narrowest canvas.
        max_width: widest canvas; an image that would be wider is squeezed.
        multiple: what the canvas's width is rounded up to a multiple of.
    """

    height: int
    min_width: int
    max_width: int
    multiple: int

    def place(self, width: int, height: int) -> Placement:
        """The placement of an image of this size."""
        resized = min(-(-self.height * width // height), self.max_width)
        canvas = max(-(-resized // self.multiple) * self.multiple, self.min_width)
        return Placement(image=(width, height), resized=(resized, self.height), canvas=(canvas, self.height))


Resize = Unresized | Exact | Shortest | Letterbox | Bounded | FixedHeight


CropRounding = Literal["nearest", "down"]


def cropped(placement: Placement, width: int, height: int, rounding: CropRounding = "nearest") -> Placement:
    """The same with a canvas of this size around its center.

    Args:
        placement: of the image.
        width: of the canvas.
        height: of the canvas.
        rounding: what is done to half of an odd difference: to the nearest even number, as in torchvision's
            ``center_crop``, or down, as in transformers'.
    """
    centered = _centered if rounding == "nearest" else _centered_down
    offset = (
        placement.offset[0] + centered(placement.canvas[0], width),
        placement.offset[1] + centered(placement.canvas[1], height),
    )
    return Placement(image=placement.image, resized=placement.resized, canvas=(width, height), offset=offset)


def _centered(have: int, want: int) -> int:
    return -round((have - want) / 2) if have >= want else (want - have) // 2


def _centered_down(have: int, want: int) -> int:
    return -((have - want) // 2)

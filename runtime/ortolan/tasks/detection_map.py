"""The ``map`` head of object detection: a probability per pixel; every connected region is an object.

::

    head:
      kind: map
      output: maps            # float32[batch, 1, height, width]; may be left out if it is the only output
      threshold: 0.3          # pixels above it belong to an object
      dilate: 2               # side of the square that the regions are dilated with; 1 for none
      rectangle: smallest     # smallest (turned) or upright
      min_side: 3             # of a region's rectangle, in pixels of the map; shorter ones are noise
      box_threshold: 0.5      # least mean probability inside the rectangle
      unclip: 1.6             # area / perimeter times this is what every side is moved outwards by
      max_boxes: 1000         # the likeliest ones are kept

This is the post-processing of Differentiable Binarization (Liao et al., AAAI 2020), which PP-OCR uses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ortolan.bundle.fields import Record, choice, integer, number
from ortolan.errors import BundleError
from ortolan.inputs.image_config import given_or
from ortolan.tasks.labels import only_output
from ortolan.tasks.regions import dilated, mean_inside, regions, smallest_rectangle, upright_rectangle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan.inputs.image_geometry import Placement
    from ortolan.tasks.regions import Region
    from ortolan.types import Array, Dim, Session

KEYS = (
    "kind",
    "output",
    "threshold",
    "dilate",
    "rectangle",
    "min_side",
    "box_threshold",
    "unclip",
    "max_boxes",
)
_GROWN_MIN_SIDE = 2
"""How much longer than ``min_side`` a side must be once the rectangle has grown; as in PaddleOCR."""


@dataclass(frozen=True, slots=True)
class Found:
    """Objects on a canvas.

    Args:
        corners: float64[n, 4, 2] as (x, y), clockwise from the top left.
        scores: float64[n].
        classes: int64[n].
    """

    corners: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MapHead:
    """Regions of a probability map; the fields are those of the configuration above."""

    output: str
    threshold: float
    dilate: int
    smallest: bool
    min_side: float
    box_threshold: float
    unclip: float
    max_boxes: int

    classes = 1
    """Number of classes: a map tells one from the background."""

    @classmethod
    def open(cls, raw: Mapping[str, object], at: str, session: Session) -> MapHead:
        """From the ``"head"`` object of a task's configuration.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: a model whose output is no map.
        """
        record = Record(raw, at, KEYS)
        spec = only_output(session, raw.get("output"), f"{at}.output")
        if spec.dtype != "float32" or not _is_map(spec.shape):
            raise BundleError(f"model: expected a map float32[batch, 1, height, width], found {spec}")
        return cls(
            output=spec.name,
            threshold=record.get("threshold", number(0, 1)),
            dilate=given_or(record, raw, "dilate", integer(1, 64), 1),
            smallest=record.get("rectangle", choice(("smallest", "upright"))) == "smallest",
            min_side=given_or(record, raw, "min_side", number(0, 1e6), 3.0),
            box_threshold=record.get("box_threshold", number(0, 1)),
            unclip=record.get("unclip", number(0, 100)),
            max_boxes=given_or(record, raw, "max_boxes", integer(1, 100_000), 1000),
        )

    def find(self, outputs: Mapping[str, Array], row: int, placement: Placement) -> Found:
        """The objects of one image, from top to bottom.

        Raises:
            BundleError: the map has not the size of the image.
        """
        values = np.asarray(outputs[self.output][row, 0], np.float32)
        width, height = placement.canvas
        if values.ndim != 2 or not values.size:
            raise BundleError(f"model: expected a map [height, width] for every image, found {list(values.shape)}")
        mask = dilated(values > self.threshold, self.dilate)
        boxes = [box for region in regions(mask) if (box := self._box(region, values)) is not None]
        if not boxes:
            return Found(np.zeros((0, 4, 2)), np.zeros(0), np.zeros(0, np.int64))
        scores = np.array([score for _, score in boxes])
        kept = np.sort(np.argsort(-scores, kind="stable")[: self.max_boxes])
        # A map may be coarser than the canvas.
        scale = np.array([width / values.shape[1], height / values.shape[0]])
        corners = np.stack([corners for corners, _ in boxes])[kept] * scale
        return Found(corners, scores[kept], np.zeros(len(kept), np.int64))

    def _box(self, region: Region, values: NDArray[np.float32]) -> tuple[NDArray[np.float64], float] | None:
        """Corners and score of a region's rectangle; None if it is noise."""
        upright = upright_rectangle(region)
        # No rectangle of the region has a larger area, so that its shorter side is below the root of this.
        if upright.sides[0] * upright.sides[1] < self.min_side**2:
            return None
        rectangle = smallest_rectangle(region) if self.smallest else upright
        if min(rectangle.sides) < self.min_side:
            return None
        score = mean_inside(values, rectangle.corners())
        if not score >= self.box_threshold:
            return None
        along, across = rectangle.sides
        grown = rectangle.grown(along * across * self.unclip / (2 * (along + across)) if along + across else 0.0)
        if min(grown.sides) < self.min_side + _GROWN_MIN_SIDE:
            return None
        return grown.corners(), score


def _is_map(shape: tuple[Dim, ...] | None) -> bool:
    return shape is None or (len(shape) == 4 and (shape[1] == 1 or not isinstance(shape[1], int)))

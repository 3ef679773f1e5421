"""Task ``object-detection``: an image to the objects in it, each with its place in the original image.

::

    task: object-detection
    config:
      input: {kind: image, …}     # ortolan.inputs.image_config says what it takes
      head: {kind: map, …}        # ortolan.tasks.detection_map; or kind: boxes, ortolan.tasks.detection_boxes
      labels: labels.txt          # an asset with one label a line or a JSON list; or the list itself; or null
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ortolan.bundle.fields import Record
from ortolan.errors import BundleError, ManifestError
from ortolan.tasks.detection_boxes import BoxesHead
from ortolan.tasks.detection_map import MapHead
from ortolan.tasks.image_input import ImageInput, ImageRunner
from ortolan.tasks.labels import read_labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.inputs.image_geometry import Placement
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.types import Array, Session

_KEYS = ("input", "head", "labels")
_HEADS: dict[object, type[MapHead | BoxesHead]] = {"map": MapHead, "boxes": BoxesHead}

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Detection:
    """An object. Coordinates are pixels of the original image, upright after any EXIF rotation.

    Args:
        label: name of its class; the number where the bundle has no labels.
        index: number of its class, from 0.
        score: 0 to 1.
        box: (left, top, right, bottom), within the image.
        corners: four points (x, y), clockwise from the top left; of a turned rectangle where the head gives those.
    """

    label: str | int
    index: int
    score: float
    box: tuple[float, float, float, float]
    corners: tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True)
class Detections:
    """The answer to one image.

    Args:
        objects: of a map from top to bottom, of boxes the best first.
        width: of the image that the coordinates belong to.
        height: of it.
    """

    objects: tuple[Detection, ...]
    width: int
    height: int


class ObjectDetectionRunner(ImageRunner[Detections]):
    """Image -> tensor -> what the head makes of the outputs -> back to the original image's coordinates."""

    metric: Metric = "tensor"

    def __init__(
        self, session: Session, image_input: ImageInput, head: MapHead | BoxesHead, labels: Sequence[str] | None
    ) -> None:
        """Args:
        session: the model.
        image_input: image to the model's input.
        head: outputs to objects.
        labels: label of each class, or None.
        """
        super().__init__(session, image_input)
        self._head = head
        self._labels = labels

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> ObjectDetectionRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        session = sessions["model"]
        config = dict(task.config)
        Record(config, "task.config", _KEYS)
        raw, at = config.get("head"), "task.config.head"
        if not isinstance(raw, dict):
            raise ManifestError(at, f"expected an object, found {type(raw).__name__}")
        if not isinstance(raw.get("kind"), str) or raw["kind"] not in _HEADS:
            raise ManifestError(f"{at}.kind", f"expected 'map' or 'boxes', found {raw.get('kind')!r}")
        head = _HEADS[raw["kind"]].open(raw, at, session)
        labels = read_labels(config.get("labels"), "task.config.labels", read_asset)
        if labels is not None and head.classes is not None and head.classes != len(labels):
            raise BundleError(f"model: expected {len(labels)} classes, as many as labels, found {head.classes}")
        return cls(session, ImageInput.open(config, session), head, labels)

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[Detections]:
        """The answers to the images at ``encoded.rows``."""
        placements = cast("list[Placement]", encoded.context)
        return [self._detections(outputs, row, placement) for row, placement in enumerate(placements)]

    def _detections(self, outputs: Mapping[str, Array], row: int, placement: Placement) -> Detections:
        found = self._head.find(outputs, row, placement)
        corners = placement.to_image(found.corners).clip(0, placement.image)
        low, high = corners.min(axis=1), corners.max(axis=1)
        visible = np.flatnonzero((high > low).all(axis=1))[: self._head.max_boxes]
        objects = [
            self._detection(int(found.classes[i]), float(found.scores[i]), [*low[i].tolist(), *high[i].tolist()], quad)
            for i, quad in zip(visible.tolist(), corners[visible].tolist(), strict=True)
        ]
        return Detections(tuple(objects), *placement.image)

    def _detection(self, index: int, score: float, box: list[float], corners: Any) -> Detection:
        labels = self._labels
        if labels is not None and not 0 <= index < len(labels):
            raise BundleError(f"model: expected a class from 0 to {len(labels) - 1}, found {index}")
        points = tuple((x, y) for x, y in corners)
        label: str | int = index if labels is None else labels[index]
        return Detection(label, index, score, tuple(box), points)  # type: ignore[arg-type]  # four of each, by shape

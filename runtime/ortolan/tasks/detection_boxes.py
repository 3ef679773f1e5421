"""The ``boxes`` head of object detection: the model gives boxes and scores, many of them for the same object.

::

    head:
      kind: boxes
      # either one output, float32[batch, n, columns], or [batch, columns, n] with transposed: true
      output: output0
      columns: [box, scores]         # or [box, objectness, scores], or [box, score, class]
      transposed: false
      # or several: float32[batch, n, 4], float32[batch, n, classes], or [batch, n] beside classes [batch, n]
      boxes: boxes
      scores: scores
      classes: classes
      format: cxcywh                 # or xyxy, or xywh
      coordinates: pixels            # of the model's input; or normalized, 0 to 1
      activation: none               # sigmoid or softmax, if the graph has none
      background: 0                  # a class that means nothing; may be left out
      threshold: 0.25                # least score
      iou: 0.45                      # most overlap of two boxes of a class; null if the graph suppressed them
      max_candidates: 1000           # the best ones go into non-maximum suppression
      max_boxes: 300                 # the best ones are kept

Every box has one class, its best. Boxes must be decoded: anchors and strides belong into the graph. Columns of box and
scores were tried on a real detector, CenterFace; the other layouts on generated models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ortolan.bundle.fields import Record, choice, integer, number, optional
from ortolan.errors import BundleError, ManifestError
from ortolan.inputs.image_config import flag, given_or
from ortolan.tasks.detection_map import Found
from ortolan.tasks.labels import named, only_output, scores_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan.inputs.image_geometry import Placement
    from ortolan.tasks.labels import Activation
    from ortolan.types import Array, Session

KEYS = (
    "kind",
    "output",
    "columns",
    "transposed",
    "boxes",
    "scores",
    "classes",
    "format",
    "coordinates",
    "activation",
    "background",
    "threshold",
    "iou",
    "max_candidates",
    "max_boxes",
)
_COLUMNS = (["box", "scores"], ["box", "objectness", "scores"], ["box", "score", "class"])


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxesHead:
    """Boxes with scores; the fields are those of the configuration above."""

    output: str | None
    columns: tuple[str, ...]
    transposed: bool
    boxes: str
    scores: str
    chosen: str | None
    """Output of the class of each box; None if the scores are per class."""
    format: str
    normalized: bool
    activation: Activation
    background: int | None
    threshold: float
    iou: float | None
    max_candidates: int
    max_boxes: int
    classes: int | None
    """Number of classes; None where the model's declared shapes do not tell."""

    @classmethod
    def open(cls, raw: Mapping[str, object], at: str, session: Session) -> BoxesHead:
        """From the ``"head"`` object of a task's configuration.

        Raises:
            ManifestError: a wrong configuration.
            BundleError: a model without these outputs.
        """
        record = Record(raw, at, KEYS)
        together = "boxes" not in raw
        columns = ("box", "scores") if not together else _columns(raw.get("columns"), f"{at}.columns")
        for key in ("output", "columns") if not together else ("scores", "classes"):
            if key in raw:
                raise ManifestError(f"{at}.{key}", "expected either one output with columns, or boxes and scores")
        output = only_output(session, raw.get("output"), f"{at}.output") if together else None
        boxes = output or only_output(session, record.get("boxes", named), f"{at}.boxes")
        scores = output or only_output(session, record.get("scores", named), f"{at}.scores")
        chosen = only_output(session, raw["classes"], f"{at}.classes").name if raw.get("classes") is not None else None
        transposed = given_or(record, raw, "transposed", flag, False)
        per_class = chosen is None and "class" not in columns
        wide = scores.shape[1 if transposed else -1] if scores.shape is not None and len(scores.shape) == 3 else None
        other = 0 if output is None else 4 + ("objectness" in columns)
        return cls(
            output=None if output is None else output.name,
            columns=columns,
            transposed=transposed,
            boxes=boxes.name,
            scores=scores.name,
            chosen=chosen,
            format=record.get("format", choice(("xyxy", "xywh", "cxcywh"))),
            normalized=record.get("coordinates", choice(("pixels", "normalized"))) == "normalized",
            activation=cast("Activation", record.get("activation", choice(("softmax", "sigmoid", "none")))),
            background=given_or(record, raw, "background", optional(integer(0, 1 << 20)), None),
            threshold=record.get("threshold", number(0, 1)),
            iou=record.get("iou", optional(number(0, 1))),
            max_candidates=given_or(record, raw, "max_candidates", integer(1, 100_000), 1000),
            max_boxes=given_or(record, raw, "max_boxes", integer(1, 100_000), 300),
            classes=wide - other if per_class and isinstance(wide, int) else None,
        )

    def find(self, outputs: Mapping[str, Array], row: int, placement: Placement) -> Found:
        """The objects of one image, the best first; more than ``max_boxes``, some of which may lie outside the image.

        Raises:
            BundleError: outputs of other shapes than the configuration says.
        """
        boxes, scores, classes = self._rows(outputs, row)
        # NaN is not above the threshold.
        likely = np.flatnonzero((scores >= self.threshold) & np.isfinite(boxes).all(axis=1))
        if self.background is not None:
            likely = likely[classes[likely] != self.background]
        best = likely[np.argsort(-scores[likely], kind="stable")[: self.max_candidates]]
        corners = _corners(boxes[best], self.format)
        if self.normalized:
            corners *= np.tile(placement.canvas, 2)
        kept = np.arange(len(best)) if self.iou is None else suppressed(corners, classes[best], self.iou)
        x0, y0, x1, y1 = corners[kept].T
        quads = np.stack((np.stack((x0, x1, x1, x0), 1), np.stack((y0, y0, y1, y1), 1)), axis=2)
        return Found(quads, scores[best][kept], classes[best][kept])

    def _rows(
        self, outputs: Mapping[str, Array], row: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Boxes [n, 4], the best score of each [n], and its class [n]."""
        if self.output is not None:
            table = _table(outputs[self.output][row], transposed=self.transposed)
            boxes, rest = table[:, :4], table[:, 4:]
        else:
            boxes = _table(outputs[self.boxes][row], transposed=self.transposed)
            scores = outputs[self.scores][row]
            rest = scores[:, None] if scores.ndim == 1 else _table(scores, transposed=self.transposed)
        least = {"scores": 1, "objectness": 2, "score": 2}[self.columns[1]]
        if boxes.shape[1] != 4 or rest.shape[1] < least or len(rest) != len(boxes):
            raise BundleError(
                "model: expected 4 numbers and the scores of each box, "
                f"found {list(boxes.shape)} and {list(rest.shape)}"
            )
        boxes, rest = np.asarray(boxes, np.float64), np.asarray(rest, np.float64)
        if self.columns[1] == "score":
            return boxes, scores_of(rest[:, :1], self.activation)[:, 0], _whole(rest[:, 1])
        if self.chosen is not None:
            classes = _whole(outputs[self.chosen][row].reshape(-1))
            if len(classes) != len(boxes):
                raise BundleError(f"model: expected a class for each of {len(boxes)} boxes, found {len(classes)}")
            return boxes, scores_of(rest, self.activation)[:, 0], classes
        objectness = self.columns[1] == "objectness"
        scores = scores_of(rest[:, 1:] if objectness else rest, self.activation)
        if objectness:
            scores = scores * scores_of(rest[:, :1], "none" if self.activation == "none" else "sigmoid")
        if self.background is not None and self.background < scores.shape[1]:
            scores[:, self.background] = -1.0
        classes = scores.argmax(axis=1)
        return boxes, scores[np.arange(len(scores)), classes], classes


def suppressed(boxes: NDArray[np.float64], classes: NDArray[np.int64], iou: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: positions of the boxes that no better one of their class overlaps.

    Args:
        boxes: [n, 4] as (x0, y0, x1, y1), the best first.
        classes: [n].
        iou: most intersection over union with a box that is kept.
    """
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        others = boxes[left]
        low, high = np.maximum(others[:, :2], boxes[best, :2]), np.minimum(others[:, 2:], boxes[best, 2:])
        shared = np.maximum(high - low, 0).prod(axis=1)
        overlap = shared > iou * (areas[left] + areas[best] - shared)
        left = left[~(overlap & (classes[left] == classes[best]))]
    return np.array(kept, np.int64)


def _corners(boxes: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    """Boxes of any format as (x0, y0, x1, y1), in a new array."""
    if form == "xyxy":
        return np.array(boxes)
    size = boxes[:, 2:]
    low = boxes[:, :2] - size / 2 if form == "cxcywh" else boxes[:, :2]
    corners: NDArray[np.float64] = np.concatenate((low, low + size), axis=1)
    return corners


def _table(array: Array, *, transposed: bool) -> NDArray[np.float64]:
    if array.ndim != 2:
        raise BundleError(f"model: expected a row of numbers for each box, found {list(array.shape)} for an image")
    table: NDArray[np.float64] = array.T if transposed else array  # type: ignore[assignment]  # of the output's dtype
    return table


def _whole(numbers: Array) -> NDArray[np.int64]:
    values = np.asarray(numbers, np.float64)
    whole: NDArray[np.int64] = np.where(np.isfinite(values), values, -1).astype(np.int64)
    return whole


def _columns(value: object, at: str) -> tuple[str, ...]:
    if value not in _COLUMNS:
        raise ManifestError(at, f"expected one of {', '.join(str(columns) for columns in _COLUMNS)}, found {value!r}")
    return tuple(cast("list[str]", value))

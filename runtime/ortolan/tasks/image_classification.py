"""Task ``image-classification``: an image to the likeliest of several classes.

::

    task: image-classification
    config:
      input: {kind: image, …}        # ortolan.inputs.image_config says what it takes
      output: logits                 # may be left out if the model has one output: float[batch, classes]
      activation: softmax            # softmax, sigmoid, or none if the graph's numbers are the scores
      labels: labels.txt             # an asset with one label a line or a JSON list; or the list itself; or null
      top: 5                         # how many classes an answer has
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from ortolan.bundle.fields import Record, choice, integer
from ortolan.errors import BundleError
from ortolan.inputs.image_config import given_or
from ortolan.tasks.image_input import ImageInput, ImageRunner
from ortolan.tasks.labels import only_output, read_labels, scores_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.labels import Activation
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.types import Array, Session

TOP = 5
_KEYS = ("input", "output", "activation", "labels", "top")


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """A class with its score.

    Args:
        label: name of the class; its number where the bundle has no labels.
        index: number of the class, from 0.
        score: 0 to 1 after softmax or sigmoid; without, what the model gives.
    """

    label: str | int
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class ImageClassification:
    """The answer to one image.

    Args:
        label: the class with the highest score; its number where the bundle has no labels.
        index: number of that class, from 0; the first of several equal ones.
        score: its score.
        top: the best classes, best first.
    """

    label: str | int
    index: int
    score: float
    top: tuple[ScoredClass, ...]


class ImageClassificationRunner(ImageRunner[ImageClassification]):
    """Image -> tensor -> scores -> the best classes."""

    metric: Metric = "label"

    def __init__(
        self,
        session: Session,
        image_input: ImageInput,
        *,
        output: str,
        activation: Activation,
        labels: Sequence[str] | None,
        top: int,
    ) -> None:
        """Args:
        session: the model.
        image_input: image to the model's input.
        output: name of the output float[batch, classes].
        activation: what makes scores of its numbers.
        labels: label of each class, or None.
        top: number of classes in an answer.
        """
        super().__init__(session, image_input)
        self._output = output
        self._activation = activation
        self._labels = labels
        self._top = top

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> ImageClassificationRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        session = sessions["model"]
        config = dict(task.config)
        record = Record(config, "task.config", _KEYS)
        spec = only_output(session, config.get("output"), "task.config.output")
        if spec.dtype != "float32" or (spec.shape is not None and len(spec.shape) != 2):
            raise BundleError(f"model: expected an output float32[batch, classes], found {spec}")
        labels = read_labels(config.get("labels"), "task.config.labels", read_asset)
        classes = None if spec.shape is None else spec.shape[1]
        if labels is not None and isinstance(classes, int) and classes != len(labels):
            raise BundleError(f"model: expected {len(labels)} classes, as many as labels, found {spec}")
        return cls(
            session,
            ImageInput.open(config, session),
            output=spec.name,
            activation=cast("Activation", record.get("activation", choice(("softmax", "sigmoid", "none")))),
            labels=labels,
            top=given_or(record, config, "top", integer(1, 1000), TOP),
        )

    def decode(
        self,
        outputs: Mapping[str, Array],
        encoded: Encoded,  # noqa: ARG002 - part of Runner
    ) -> list[ImageClassification]:
        """The answers to the images at ``encoded.rows``."""
        return [self._answer(row) for row in outputs[self._output]]

    def decide(self, row: Mapping[str, Array]) -> int:
        """Number of the class with the largest score, the first of several equal ones."""
        return int(row[self._output].argmax())

    def _answer(self, numbers: Array) -> ImageClassification:
        if numbers.ndim != 1 or (self._labels is not None and len(numbers) != len(self._labels)):
            wanted = "" if self._labels is None else f"{len(self._labels)} "
            raise BundleError(f"model: expected {wanted}numbers for every image, found {list(numbers.shape)}")
        scores = scores_of(numbers, self._activation)
        count = min(self._top, len(scores))
        # Only the best are sorted; of equal ones the first comes first.
        best = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else np.arange(count)
        order = best[np.lexsort((best, -scores[best]))].tolist()
        top = tuple(ScoredClass(i if self._labels is None else self._labels[i], i, float(scores[i])) for i in order)
        return ImageClassification(top[0].label, top[0].index, top[0].score, top)

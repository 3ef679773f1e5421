"""Task ``text-classification``: a text to one of several labels.

Its configuration::

    {"labels": ["neg", "pos"],
     "input": {"kind": "ngrams", ...},     # or "ngram-sets", "tokens": see ortolan.inputs.config, .ngram_sets, .tokens
     "decision": "scores",                 # or "probabilities": the output whose largest value decides; or "label":
                                           # an output int64[batch] with the position of the label
     "logits": "logits"}                   # may be left out: an output that is both, probabilities by its softmax
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ortolan.bundle.fields import Record
from ortolan.errors import BundleError, ManifestError
from ortolan.tasks.runner import require_outputs
from ortolan.tasks.texts import open_text_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.tasks.texts import TextTensors
    from ortolan.types import Array, RunControl, Session

_KEYS = ("labels", "input", "decision", "logits")

Label = str | int | float | bool
"""A label as the training data had it."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one text.

    Args:
        label: the label decided on.
        score: its probability, or its decision score if the source model has no probabilities.
        probabilities: probability of each label, in the model's order of labels; None if the source has none.
        scores: decision score of each label, in the same order. A binary model's are ``-s`` and ``s``.
    """

    label: Label
    score: float
    probabilities: Mapping[Label, float] | None
    scores: Mapping[Label, float]


class TextClassificationRunner:
    """Text -> features or tokens -> model -> label."""

    metric: Metric = "label"

    def __init__(
        self,
        session: Session,
        text_input: TextTensors,
        labels: Sequence[Label],
        decision: Literal["scores", "probabilities", "label"],
        *,
        has_probabilities: bool,
        logits: str | None = None,
    ) -> None:
        """Args:
        session: the model, with outputs of floats [batch, len(labels)].
        text_input: text to the model's inputs.
        labels: label of each column.
        decision: the output whose largest value decides; the first of several equal ones. ``label`` is one that has
            the position itself, int64[batch].
        has_probabilities: whether the model has an output ``probabilities`` beside ``scores``.
        logits: the output that scores and probabilities are made of; None if the model has them under these names.
        """
        self.session = session
        self.labels = tuple(labels)
        self.decision = decision
        self._input = text_input
        self._has_probabilities = has_probabilities
        self._logits = logits

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> TextClassificationRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        Record(task.config, "task.config", _KEYS)
        labels = _labels(task.config.get("labels"))
        decision, logits = task.config.get("decision"), task.config.get("logits")
        if decision != "scores" and decision != "probabilities" and decision != "label":
            raise ManifestError(
                "task.config.decision", f"expected 'scores', 'probabilities' or 'label', found {decision!r}"
            )
        if logits is not None and not isinstance(logits, str):
            raise ManifestError("task.config.logits", f"expected the name of an output, found {logits!r}")
        text_input = open_text_input(task.config, len(labels), sessions, read_asset)
        session = sessions["model"]
        has_probabilities = logits is not None or any(spec.name == "probabilities" for spec in session.outputs)
        if logits is not None:
            read = [logits]
        else:
            read = ["scores", *(["probabilities"] if has_probabilities or decision == "probabilities" else [])]
        require_outputs(session, dict.fromkeys(read, len(labels)))
        if decision == "label":
            _require_label(session)
        return cls(session, text_input, labels, decision, has_probabilities=has_probabilities, logits=logits)

    def text_feeds(self, text: str) -> dict[str, Array]:
        """The tensors of one text; see `ortolan.tasks.runner.TakesTexts`."""
        return self._input.one(text)

    def encode(self, xs: Sequence[str]) -> Iterator[Encoded]:
        """The runs that together answer all texts; see `ortolan.tasks.runner.Runner`."""
        return self._input.batches(xs)

    def decode(
        self,
        outputs: Mapping[str, Array],
        encoded: Encoded,  # noqa: ARG002 - part of Runner
    ) -> list[Classification]:
        """The answers to the texts at ``encoded.rows``."""
        outputs = self._named(outputs)
        deciding = outputs[self.decision]
        best = [self._checked(i) for i in deciding.tolist()] if deciding.ndim == 1 else deciding.argmax(axis=1).tolist()
        scores = outputs["scores"].tolist()
        if not self._has_probabilities:
            return [self._classification(*row, None) for row in zip(best, scores, strict=True)]
        return [self._classification(*row) for row in zip(best, scores, outputs["probabilities"].tolist(), strict=True)]

    def decide(self, row: Mapping[str, Array]) -> int:
        """Index of the label: the largest value of the deciding output, the first of several equal ones."""
        deciding = row[self._logits or self.decision]
        return int(deciding.argmax()) if deciding.ndim else self._checked(int(deciding))

    def warm_up(self) -> None:
        """Answer an empty text."""
        self.answer("")

    def answer(self, x: str, control: RunControl | None = None) -> Classification:
        """The label of one text.

        Raises:
            InputTypeError: it is no str.
            SessionError: the model failed.
        """
        outputs = self._named(self.session.run(self._input.one(x), control))
        deciding = outputs[self.decision][0]
        best = int(deciding.argmax()) if deciding.ndim else self._checked(int(deciding))
        probabilities = outputs["probabilities"][0].tolist() if self._has_probabilities else None
        return self._classification(best, outputs["scores"][0].tolist(), probabilities)

    def _checked(self, position: int) -> int:
        """A position that the model gave, if there is such a label."""
        if not 0 <= position < len(self.labels):
            raise BundleError(f"model: answered label {position}, expected 0 to {len(self.labels) - 1}")
        return position

    def _named(self, outputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """The outputs under the names ``scores`` and ``probabilities``."""
        if self._logits is None:
            return outputs
        scores = np.asarray(outputs[self._logits], np.float32)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return {"scores": scores, "probabilities": powers / powers.sum(axis=1, keepdims=True)}

    def _classification(
        self, best: int, scores: Sequence[float], probabilities: Sequence[float] | None
    ) -> Classification:
        labels = self.labels
        by_label = dict(zip(labels, scores, strict=True))
        if probabilities is None:
            return Classification(labels[best], scores[best], None, by_label)
        return Classification(
            labels[best], probabilities[best], dict(zip(labels, probabilities, strict=True)), by_label
        )


def _require_label(session: Session) -> None:
    spec = next((spec for spec in session.outputs if spec.name == "label"), None)
    if spec is None or spec.dtype != "int64" or spec.shape is None or len(spec.shape) != 1:
        raise BundleError(f"model: expected an output 'label' int64 of shape [batch], found {spec or 'none'}")


def _labels(value: object) -> tuple[Label, ...]:
    path = "task.config.labels"
    if not isinstance(value, list) or len(value) < 2:
        raise ManifestError(path, "expected a list of two labels or more")
    for i, label in enumerate(value):
        if not isinstance(label, str | int | float | bool):
            raise ManifestError(f"{path}[{i}]", f"expected str, int, float or bool, found {type(label).__name__}")
    if len(set(value)) < len(value):
        raise ManifestError(path, "expected distinct labels, found one twice")
    return tuple(value)

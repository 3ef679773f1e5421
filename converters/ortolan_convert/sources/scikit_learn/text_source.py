"""A scikit-learn text pipeline: its linear model, its features, and its own answers to compare with."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.parity import Answers
from ortolan_convert.sources.scikit_learn.older import probabilities
from ortolan_convert.sources.scikit_learn.text_calibrated import step_sizes
from ortolan_convert.sources.scikit_learn.text_features import check_callables, text_features
from ortolan_convert.sources.scikit_learn.text_models import CLUSTERERS, convert_estimator
from ortolan_convert.sources.scikit_learn.text_pipeline import assemble
from ortolan_convert.text.calibration import has_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.sources.scikit_learn.artifact import Artifact
    from ortolan_convert.sources.scikit_learn.text_features import TextFeatures
    from ortolan_convert.sources.scikit_learn.text_pipeline import TextPipeline
    from ortolan_convert.text.linear import Linear

CHUNK = 1000
"""Texts that scikit-learn answers at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSource:
    """A fitted text pipeline in Ortolan's terms.

    Args:
        pipeline: the fitted estimators.
        version: of the scikit-learn it was made with; None if it does not say.
        features: how texts become features.
        linear: the model over them.
        labels: of a classifier; empty for a clusterer.
        decided_by: the numbers its labels follow from: ``scores``, ``probabilities`` or ``distances``.
    """

    pipeline: TextPipeline
    version: str | None
    features: TextFeatures
    linear: Linear
    labels: tuple[str | int | float | bool, ...]
    decided_by: str

    @property
    def task(self) -> str:
        """Name of the task."""
        return "text-classification" if self.labels else "clustering"

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that took part."""
        return ("scikit-learn", "joblib", "scipy", *([] if self.features.spec.tokenizer is None else ["jieba"]))

    @property
    def names(self) -> Sequence[object]:
        """What each label index stands for."""
        return self.labels or range(len(self.linear.bias))

    def answers(self, texts: Sequence[str]) -> Answers:
        """scikit-learn's own answers.

        Raises:
            ConversionError: it fails, as it may with an artifact of another version.
        """
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                parts = [self._ask(list(texts[at : at + CHUNK])) for at in range(0, len(texts), CHUNK)]
        except Exception as error:
            import sklearn

            raise ConversionError(
                f"scikit-learn {sklearn.__version__} cannot run this artifact, made with version "
                f"{self.version or 'unknown'}: {one_line(error)}"
            ) from error
        labels = np.concatenate([part.labels for part in parts])
        numbers = {name: np.concatenate([part.numbers[name] for part in parts]) for name in parts[0].numbers}
        slacks = [part.slack for part in parts if part.slack is not None]
        return Answers(labels, numbers, self.decided_by, np.concatenate(slacks) if slacks else None)

    def _ask(self, texts: list[str]) -> Answers:
        features: Any = texts
        for step in self.pipeline.steps[:-1]:
            features = step.estimator.transform(features)
        model = self.pipeline.model.estimator
        predicted = model.predict(features)
        if self.decided_by == "distances":
            distances = np.asarray(model.transform(features), np.float64)
            return Answers(np.asarray(predicted, np.int64), {"distances": distances}, self.decided_by)
        numbers: dict[str, NDArray[Any]] = {}
        if hasattr(model, "predict_proba"):
            numbers["probabilities"] = probabilities(model, features)
        if hasattr(model, "decision_function"):
            scores = np.asarray(model.decision_function(features), np.float64)
            numbers["scores"] = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
        elif self.decided_by == "scores":
            numbers["scores"] = np.asarray(model.predict_log_proba(features), np.float64)
        index = {label: position for position, label in enumerate(model.classes_.tolist())}
        labels = np.array([index[label] for label in np.asarray(predicted).tolist()], np.int64)
        slack = step_sizes(model, features) if has_steps(self.linear.head) else None
        return Answers(labels, numbers, self.decided_by, slack)


def read_text_source(artifacts: Sequence[Artifact]) -> TextSource:
    """The text source that the artifacts make up together.

    Raises:
        UnsupportedError: a step, an option or a callable outside what is supported.
        ConversionError: a part is missing, not fitted, or does not fit the others.
    """
    place, version = ", ".join(artifact.name for artifact in artifacts), _version(artifacts)
    try:
        pipeline = assemble(artifacts)
        place = pipeline.model.place
        return _source(pipeline, version)
    except OrtolanError:
        raise
    except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
        import sklearn

        raise ConversionError(
            f"{place}: made with scikit-learn {version or 'of an unknown version'}, which the installed "
            f"{sklearn.__version__} does not understand ({one_line(error)}); "
            f"convert it where scikit-learn {version or 'of that version'} is installed"
        ) from error


def _version(artifacts: Sequence[Artifact]) -> str | None:
    return next((artifact.version for artifact in artifacts if artifact.version), None)


def _source(pipeline: TextPipeline, version: str | None) -> TextSource:
    model = pipeline.model
    converted = convert_estimator(model.estimator, model.place)
    check_callables(model)
    features = text_features(pipeline.vectorizer, pipeline.transformers)
    clusters = model.kind in CLUSTERERS
    return TextSource(
        pipeline=pipeline,
        version=version,
        features=features.restricted(converted.linear.used),
        linear=converted.linear,
        labels=() if clusters else _labels(model.estimator.classes_, model.place),
        decided_by="distances" if clusters else "scores" if converted.by_decision else "probabilities",
    )


def _labels(classes: Any, place: str) -> tuple[str | int | float | bool, ...]:
    labels = np.asarray(classes).tolist()
    for label in labels:
        if not isinstance(label, str | int | float | bool):
            raise UnsupportedError(f"{place}: label {label!r} is neither text nor number")
    if len(labels) < 2:
        raise UnsupportedError(f"{place}: expected two labels or more, found {labels}")
    return tuple(labels)

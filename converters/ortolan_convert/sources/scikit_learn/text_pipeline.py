"""Puts the steps of a text pipeline in order, from one file or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.sources.scikit_learn.text_models import class_path, is_known, is_refused, is_sklearn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ortolan_convert.sources.scikit_learn.artifact import Artifact

HASHING = "HashingVectorizer"
VECTORIZERS = frozenset({"CountVectorizer", "TfidfVectorizer", HASHING})
SELECTORS = frozenset(
    {
        "SelectKBest",
        "SelectPercentile",
        "SelectFpr",
        "SelectFdr",
        "SelectFwe",
        "GenericUnivariateSelect",
        "SelectFromModel",
        "VarianceThreshold",
    }
)
TFIDF = "TfidfTransformer"
SEARCHES = frozenset({"GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"})


@dataclass(frozen=True, slots=True)
class Step:
    """A fitted estimator and where it stands, for messages."""

    place: str
    estimator: Any

    @property
    def kind(self) -> str:
        """Name of its class."""
        return type(self.estimator).__name__

    @property
    def features(self) -> int | None:
        """How many features it takes; None if it does not say."""
        return getattr(self.estimator, "n_features_in_", None)

    @property
    def width(self) -> int:
        """Of a vectorizer, how many features it gives."""
        if self.kind == HASHING:
            return int(self.estimator.n_features)
        return len(self.estimator.get_feature_names_out())


@dataclass(frozen=True, slots=True)
class TextPipeline:
    """A vectorizer, transformers of its features, and a model."""

    vectorizer: Step
    transformers: tuple[Step, ...]
    model: Step

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in order."""
        return (self.vectorizer, *self.transformers, self.model)


def takes_texts(artifacts: Sequence[Artifact]) -> bool:
    """Whether a vectorizer of texts is among the steps that follow each other."""
    return any(step.kind in VECTORIZERS for artifact in artifacts for step in _flatten(artifact))


def is_linear(artifacts: Sequence[Artifact]) -> bool:
    """Whether these are the steps, and none but those, that a model over features of words is read from."""
    before = VECTORIZERS | SELECTORS | {TFIDF}
    return all(step.kind in before or is_known(step.estimator) for artifact in artifacts for step in _flatten(artifact))


def cannot_take_words(artifacts: Sequence[Artifact]) -> bool:
    """Whether there is a model that refuses sparse features: it was trained on others."""
    return any(is_refused(step.estimator) for artifact in artifacts for step in _flatten(artifact))


def is_vectorizer(estimator: object) -> bool:
    """Whether it makes features of words of texts."""
    return type(estimator).__name__ in VECTORIZERS and is_sklearn(estimator)


def takes_texts_alone(model: Any) -> bool:
    """Whether a whole model takes texts, not rows of a table: a vectorizer is in it, and no number of columns known."""
    if getattr(model, "n_features_in_", None) is not None or not hasattr(model, "get_params"):
        return False
    return any(map(is_vectorizer, (model, *model.get_params(deep=True).values())))


def assemble(artifacts: Sequence[Artifact]) -> TextPipeline:
    """The pipeline that the artifacts make up together, whatever their order.

    Raises:
        UnsupportedError: a step that is not known.
        ConversionError: a part is missing, given twice, or does not fit the others.
    """
    steps = [step for artifact in artifacts for step in _flatten(artifact)]
    for step in steps:
        _check_known(step)
        _check_fitted(step)
    vectorizers = [step for step in steps if step.kind in VECTORIZERS]
    transformers = [step for step in steps if step.kind in SELECTORS or step.kind == TFIDF]
    models = [step for step in steps if step not in vectorizers and step not in transformers]
    names = ", ".join(artifact.name for artifact in artifacts)
    for found, what in ((vectorizers, "vectorizer"), (models, "model")):
        if len(found) > 1:
            raise ConversionError(f"{names}: expected one {what}, found {len(found)}: {_list(found)}")
    if not vectorizers:
        raise ConversionError(_without_vectorizer(names, [*transformers, *models]))
    if not models:
        raise ConversionError(
            f"{names}: {_list(steps)} without a model; give the model's file too: ortolan convert VECTORIZER MODEL"
        )
    pipeline = TextPipeline(vectorizers[0], tuple(transformers), models[0])
    if len(artifacts) > 1:
        pipeline = TextPipeline(vectorizers[0], tuple(_in_order(pipeline)), models[0])
    elif tuple(steps) != pipeline.steps:
        raise UnsupportedError(
            f"{names}: the steps are not in the order vectorizer, transformers, model: {_list(steps)}"
        )
    _check_fit(pipeline)
    return pipeline


def _flatten(artifact: Artifact) -> Iterator[Step]:
    yield from _steps(artifact.content, f"{artifact.name}: ", f"{artifact.name}: the object")


def _steps(value: Any, prefix: str, place: str) -> Iterator[Step]:
    kind = type(value).__name__
    if is_sklearn(value) and kind == "Pipeline":
        for name, inner in value.steps:
            if inner is not None and inner != "passthrough":
                yield from _steps(inner, prefix, f"{prefix}step {name!r}")
    elif is_sklearn(value) and kind in SEARCHES:
        if not hasattr(value, "best_estimator_"):
            raise ConversionError(f"{place}: {kind} is not fitted, or was not told to refit the best estimator")
        yield from _steps(value.best_estimator_, prefix, f"{place}, best estimator")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _steps(inner, prefix, f"{prefix}entry {key!r}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _steps(inner, prefix, f"{prefix}entry {index}")
    else:
        yield Step(place, value)


def _check_known(step: Step) -> None:
    """A transformer that is not known would be taken for a model; what is no estimator for one too."""
    known = step.kind in VECTORIZERS | SELECTORS | {TFIDF}
    if known and is_sklearn(step.estimator):
        return
    if not hasattr(step.estimator, "predict") or (known and not is_sklearn(step.estimator)):
        raise UnsupportedError(
            f"{step.place}: {class_path(step.estimator)} is not supported; known before the model: "
            f"{', '.join(sorted(VECTORIZERS))}, {TFIDF}, {', '.join(sorted(SELECTORS))}"
        )


def _check_fitted(step: Step) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        if step.kind in VECTORIZERS:
            step.width  # noqa: B018 - asks for the vocabulary
        else:
            check_is_fitted(step.estimator)
    except NotFittedError:
        raise ConversionError(f"{step.place}: {step.kind} is not fitted; save it after training") from None
    except (AttributeError, TypeError) as error:
        raise UnsupportedError(f"{step.place}: {class_path(step.estimator)} cannot be used: {error}") from None


def _without_vectorizer(names: str, steps: Sequence[Step]) -> str:
    takes = next((f" over {step.features} features" for step in steps if step.features is not None), "")
    return (
        f"{names}: {_list(steps)}{takes}, without its vectorizer; "
        f"give the vectorizer's file too: ortolan convert VECTORIZER MODEL"
    )


def _list(steps: Sequence[Step]) -> str:
    return ", ".join(step.kind for step in steps)


def _in_order(pipeline: TextPipeline) -> list[Step]:
    """Transformers from separate files: each takes what the one before it gives."""
    width = pipeline.vectorizer.width
    left, ordered = list(pipeline.transformers), []
    while left:
        fitting = [step for step in left if step.features in {None, width}] or left
        # A selector narrows: if both fit, weighting comes first.
        step = next((step for step in fitting if step.kind == TFIDF), fitting[0])
        left.remove(step)
        ordered.append(step)
        width = _width_after(step, width)
    return ordered


def _width_after(step: Step, width: int) -> int:
    return int(step.estimator.get_support().sum()) if step.kind in SELECTORS else width


def _check_fit(pipeline: TextPipeline) -> None:
    width = pipeline.vectorizer.width
    for step in pipeline.steps[1:]:
        if step.features is not None and step.features != width:
            raise ConversionError(
                f"{step.place}: {step.kind} takes {step.features} features, but what comes before it gives {width}; "
                f"they were not trained together"
            )
        width = _width_after(step, width)

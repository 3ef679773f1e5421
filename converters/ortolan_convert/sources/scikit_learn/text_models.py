"""scikit-learn's linear estimators as :class:`~ortolan_convert.text.linear.Linear` models, one row per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.heads import Decision, Distances, LogLikelihood, Member, OneVsRest
from ortolan_convert.sources.scikit_learn.older import is_former_binary_softmax, is_former_one_vs_rest, modernize
from ortolan_convert.text.linear import Linear

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan_convert.heads import Link


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted scikit-learn estimator, and where it stands, for messages, e.g. ``step 'svc'``."""

    model: Any
    place: str


@dataclass(frozen=True, slots=True)
class Converted:
    """An estimator's linear model.

    Args:
        linear: the model.
        by_decision: whether the source picks its label by decision function; otherwise by probabilities.
    """

    linear: Linear
    by_decision: bool = True


def class_path(value: object) -> str:
    """Module and name of a value's class, e.g. ``sklearn.svm._classes.SVC``."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def is_sklearn(value: object) -> bool:
    """Whether the value's class is scikit-learn's own, not a subclass made elsewhere."""
    return type(value).__module__.partition(".")[0] == "sklearn"


def is_known(estimator: object) -> bool:
    """Whether there is a row for its class."""
    return type(estimator).__name__ in _READERS and is_sklearn(estimator)


def is_refused(estimator: object) -> bool:
    """Whether there is a reason why its class cannot have features of words."""
    return type(estimator).__name__ in _REFUSALS and is_sklearn(estimator)


def convert_estimator(estimator: object, place: str) -> Converted:
    """The linear model of a fitted estimator.

    Args:
        estimator: a fitted scikit-learn estimator.
        place: where it stands, for messages, e.g. ``step 'svc'``.

    Raises:
        UnsupportedError: no row for its class, or an option that is not supported.
    """
    name = type(estimator).__name__
    reader = _READERS.get(name) if is_sklearn(estimator) else None
    if reader is None:
        why = f" ({_REFUSALS[name]})" if name in _REFUSALS and is_sklearn(estimator) else ""
        raise UnsupportedError(f"{place}: {class_path(estimator)} is not supported{why}; known: {', '.join(_READERS)}")
    modernize(estimator)
    converted = reader(Fitted(estimator, place))
    linear = converted.linear
    if not (np.isfinite(linear.coefficients).all() and np.isfinite(linear.bias).all()):
        raise UnsupportedError(f"{place}: {name} has coefficients that are not finite; train it with smoothing")
    return converted


def _linear(coefficients: Any, bias: Any, head: Any, **options: Any) -> Linear:
    rows = np.atleast_2d(np.asarray(coefficients.toarray() if hasattr(coefficients, "toarray") else coefficients))
    bias = np.broadcast_to(np.asarray(bias, np.float64).reshape(-1), (rows.shape[0],))
    return Linear(coefficients=rows.astype(np.float64), bias=bias.copy(), head=head, **options)


def _decision(model: Any, link: Link | None) -> Converted:
    return Converted(_linear(model.coef_, model.intercept_, Decision(link)))


def _logistic(fitted: Fitted) -> Converted:
    if len(fitted.model.classes_) == 2:
        return _decision(fitted.model, "double-sigmoid" if is_former_binary_softmax(fitted.model) else "sigmoid")
    return _decision(fitted.model, "one-vs-rest" if is_former_one_vs_rest(fitted.model) else "softmax")


def _linear_svc(fitted: Fitted) -> Converted:
    return _decision(fitted.model, None)


def _sgd(fitted: Fitted) -> Converted:
    binary = len(fitted.model.classes_) == 2
    links: dict[str, Link] = {
        "log_loss": "sigmoid" if binary else "one-vs-rest",
        "modified_huber": "modified-huber",
    }
    return _decision(fitted.model, links.get(fitted.model.loss))


def _ridge(fitted: Fitted) -> Converted:
    if fitted.model._label_binarizer.y_type_.startswith("multilabel"):  # noqa: SLF001 - RidgeClassifier's only record of it
        raise UnsupportedError(f"{fitted.place}: a multi-label {type(fitted.model).__name__} is not supported")
    return _decision(fitted.model, None)


def _naive_bayes(log_probabilities: Any, bias: Any, **options: Any) -> Converted:
    # What is the same for all classes cancels in the softmax; without it the sums stay small and exact.
    centered = log_probabilities - log_probabilities.mean(axis=0)
    bias = bias - bias.mean()
    return Converted(_linear(centered, bias, LogLikelihood(), **options))


def _multinomial_nb(fitted: Fitted) -> Converted:
    return _naive_bayes(fitted.model.feature_log_prob_, fitted.model.class_log_prior_)


def _complement_nb(fitted: Fitted) -> Converted:
    prior = fitted.model.class_log_prior_ if len(fitted.model.classes_) == 1 else np.zeros(len(fitted.model.classes_))
    return _naive_bayes(fitted.model.feature_log_prob_, prior)


def _bernoulli_nb(fitted: Fitted) -> Converted:
    absent = np.log(1 - np.exp(fitted.model.feature_log_prob_))
    bias = fitted.model.class_log_prior_ + absent.sum(axis=1)
    threshold = None if fitted.model.binarize is None else float(fitted.model.binarize)
    return _naive_bayes(fitted.model.feature_log_prob_ - absent, bias, threshold=threshold)


def _one_vs_rest(fitted: Fitted) -> Converted:
    if fitted.model.multilabel_:
        raise UnsupportedError(f"{fitted.place}: a multi-label OneVsRestClassifier is not supported")
    parts = [
        convert_estimator(inner, f"{fitted.place}, class {label!r}")
        for inner, label in zip(fitted.model.estimators_, fitted.model.classes_, strict=False)
    ]
    linears = [part.linear for part in parts]
    members = stack_members(linears)
    has_decision = hasattr(fitted.model.estimators_[0], "decision_function")
    head = OneVsRest(members, "decision" if has_decision else "probabilities", hasattr(fitted.model, "predict_proba"))
    return Converted(join_linears(linears, head, fitted.place), has_decision)


def _clusters(fitted: Fitted) -> Converted:
    centers = fitted.model.cluster_centers_
    return Converted(_linear(centers, np.zeros(len(centers)), Distances(), every_feature=True))


def _calibrated(fitted: Fitted) -> Converted:
    from ortolan_convert.sources.scikit_learn.text_calibrated import convert_calibrated

    return convert_calibrated(fitted)


def stack_members(linears: Sequence[Linear]) -> tuple[Member, ...]:
    """Heads of inner classifiers whose coefficients are stacked in this order."""
    ends = np.cumsum([len(linear.bias) for linear in linears])
    return tuple(
        Member(int(end) - len(linear.bias), int(end), linear.head) for linear, end in zip(linears, ends, strict=True)
    )


def join_linears(linears: Sequence[Linear], head: Any, place: str) -> Linear:
    """One model with the columns of all, and ``head`` over them."""
    thresholds = {linear.threshold for linear in linears}
    if len(thresholds) > 1 or any(linear.every_feature for linear in linears):
        raise UnsupportedError(f"{place}: its inner classifiers differ in kind, which is not supported")
    return Linear(
        coefficients=np.concatenate([linear.coefficients for linear in linears]),
        bias=np.concatenate([linear.bias for linear in linears]),
        head=head,
        threshold=thresholds.pop(),
    )


_READERS: dict[str, Callable[[Fitted], Converted]] = {
    "LogisticRegression": _logistic,
    "LogisticRegressionCV": _logistic,
    "LinearSVC": _linear_svc,
    "SGDClassifier": _sgd,
    "RidgeClassifier": _ridge,
    "RidgeClassifierCV": _ridge,
    "MultinomialNB": _multinomial_nb,
    "ComplementNB": _complement_nb,
    "BernoulliNB": _bernoulli_nb,
    "CalibratedClassifierCV": _calibrated,
    "OneVsRestClassifier": _one_vs_rest,
    "KMeans": _clusters,
    "MiniBatchKMeans": _clusters,
}

_REFUSALS = {
    "GaussianNB": "it cannot take the vectorizer's sparse features",
    "CategoricalNB": "it cannot take the vectorizer's sparse features",
}

CLUSTERERS = frozenset({"KMeans", "MiniBatchKMeans"})
"""Estimators whose task is clustering."""

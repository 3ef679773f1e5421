"""Fitted estimators of older scikit-learn versions, as the installed one expects them."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RIDGES = frozenset({"RidgeClassifier", "RidgeClassifierCV"})


def modernize(estimator: Any) -> None:
    """Add what the installed version reads and an older one kept elsewhere.

    ``RidgeClassifier.classes_`` was a property over the label binarizer; now it is set when fitted. Options that came
    later get their defaults: they steer training only.
    """
    for name, option in signature(type(estimator).__init__).parameters.items():
        if option.default is not option.empty and not hasattr(estimator, name):
            setattr(estimator, name, option.default)
    if type(estimator).__name__ in _RIDGES and not hasattr(estimator, "classes_"):
        estimator.classes_ = estimator._label_binarizer.classes_  # noqa: SLF001 - where older versions have it


def feature_count(estimator: Any) -> int | None:
    """How many features an estimator takes; None if it does not say.

    CatBoost 1.2 forgets it when it is pickled, and says 0; it knows the features' names. A vector machine with a kernel
    of one's own keeps the shape of its training data alone.
    """
    count = getattr(estimator, "n_features_in_", getattr(estimator, "shape_fit_", (None, None))[1])
    if count == 0:
        count = len(getattr(estimator, "feature_names_", ())) or None
    return None if count is None else int(count)


def is_former_one_vs_rest(model: Any) -> bool:
    """Whether this is a logistic regression of several classes with one-vs-rest probabilities, gone since 1.8."""
    if not type(model).__name__.startswith("LogisticRegression") or len(model.classes_) == 2:
        return False
    mode = getattr(model, "multi_class", "auto")
    return mode == "ovr" or (mode in {"auto", "deprecated", "warn"} and model.solver == "liblinear")


def is_former_binary_softmax(model: Any) -> bool:
    """Whether this is a logistic regression of two classes with the softmax of ``[-z, z]``, gone since 1.8."""
    if not type(model).__name__.startswith("LogisticRegression") or len(model.classes_) != 2:
        return False
    return bool(getattr(model, "multi_class", "auto") == "multinomial")


def probabilities(model: Any, features: Any) -> NDArray[Any]:
    """float64 [n, classes]: what the model's own version answers.

    Args:
        model: a fitted classifier with ``predict_proba``.
        features: sparse [n, features].
    """
    from scipy.special import expit

    if is_former_binary_softmax(model):
        doubled = 2 * np.asarray(model.decision_function(features), np.float64)
        return np.stack([expit(-doubled), expit(doubled)], axis=1)
    if not is_former_one_vs_rest(model):
        return np.asarray(model.predict_proba(features), np.float64)
    positive = expit(np.asarray(model.decision_function(features), np.float64))
    total = positive.sum(axis=1, keepdims=True)
    shares: NDArray[Any] = np.where(total == 0, 1 / positive.shape[1], positive / np.where(total == 0, 1, total))
    return shares


def row_probabilities(model: Any, table: Any) -> NDArray[Any]:
    """float64 [n, classes]: what a classifier over a table answers, in its own version's way where known."""
    if type(model).__name__.startswith("LogisticRegression"):
        return probabilities(model, table)
    return np.asarray(model.predict_proba(table), np.float64)

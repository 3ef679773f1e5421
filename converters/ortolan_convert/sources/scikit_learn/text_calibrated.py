"""``CalibratedClassifierCV`` over linear classifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.scikit_learn.text_models import (
    Converted,
    class_path,
    convert_estimator,
    is_sklearn,
    join_linears,
    stack_members,
)
from ortolan_convert.text.calibration import Averaged, Isotonic, PerClass, Platt, Temperature

DECISION_ROUNDING = 1e-6
"""Relative rounding of a decision value summed from float32 features (2^-24 each)."""
SATURATION_ROUNDING = 1e-11
"""Rounding of a probability near 0 or 1 that comes from log likelihoods of thousands (2^-53 of each)."""

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.heads import Member
    from ortolan_convert.sources.scikit_learn.text_models import Fitted
    from ortolan_convert.text.calibration import Calibrator


def convert_calibrated(fitted: Fitted) -> Converted:
    """The linear model of a fitted ``CalibratedClassifierCV``: its inner classifiers side by side.

    Raises:
        UnsupportedError: an inner classifier or a calibration method outside what is supported.
    """
    estimator, place = fitted.model, fitted.place
    inner = [unwrapped(part.estimator) for part in estimator.calibrated_classifiers_]
    linears = [convert_estimator(model, f"{place}, inner classifier").linear for model in inner]
    members = stack_members(linears)
    parts = tuple(
        calibrated_part(part, model, member, list(estimator.classes_), place)
        for part, model, member in zip(estimator.calibrated_classifiers_, inner, members, strict=True)
    )
    return Converted(join_linears(linears, Averaged(parts), place), by_decision=False)


def step_sizes(estimator: Any, features: Any) -> NDArray[Any]:
    """float64 [n]: how much the probabilities of samples move with the rounding of what isotonic calibrators are given.

    A calibrator may rise by a tenth between two values that differ in their last digits only: what a sample there gets
    depends on the order of a sum, in scikit-learn too.

    Args:
        estimator: a fitted ``CalibratedClassifierCV``.
        features: sparse [n, features].
    """
    total = np.zeros(features.shape[0])
    for part in estimator.calibrated_classifiers_:
        model = unwrapped(part.estimator)
        if hasattr(model, "decision_function"):
            values = np.asarray(model.decision_function(features), np.float64)
            rounding = DECISION_ROUNDING * np.maximum(1.0, np.abs(values))
        else:
            values = np.asarray(model.predict_proba(features), np.float64)
            values = values[:, 1:] if values.shape[1] == 2 else values
            rounding = SATURATION_ROUNDING + DECISION_ROUNDING * values * (1 - values)
        values, rounding = (array.reshape(len(total), -1) for array in (values, rounding))
        for column, calibrator in enumerate(part.calibrators):
            if type(calibrator).__name__ == "IsotonicRegression":
                ends = [calibrator.predict(values[:, column] + sign * rounding[:, column]) for sign in (-1, 1)]
                total += np.abs(ends[1] - ends[0])
    # Twice, because normalizing over the classes adds what the sum moves.
    return 2 * total / len(estimator.calibrated_classifiers_)


def unwrapped(estimator: Any) -> Any:
    """What a FrozenEstimator holds, or the estimator itself."""
    while type(estimator).__name__ == "FrozenEstimator" and is_sklearn(estimator):
        estimator = estimator.estimator
    return estimator


def calibrated_part(part: Any, model: Any, member: Member, classes: list[Any], place: str) -> PerClass | Temperature:
    by_decision = hasattr(model, "decision_function")
    if part.method == "temperature":
        return Temperature(member, by_decision, float(part.calibrators[0].beta_))
    positions = [classes.index(label) for label in model.classes_]
    if len(classes) == 2:
        positions = [1]
    calibrators = tuple(
        (position, _calibrator(calibrator, place))
        for position, calibrator in zip(positions, part.calibrators, strict=False)
    )
    return PerClass(member, by_decision, calibrators, len(classes))


def _calibrator(calibrator: Any, place: str) -> Calibrator:
    name = type(calibrator).__name__
    if is_sklearn(calibrator) and name == "_SigmoidCalibration":
        return Platt(float(calibrator.a_), float(calibrator.b_))
    if is_sklearn(calibrator) and name == "IsotonicRegression":
        x, y = (np.asarray(values, np.float64) for values in (calibrator.X_thresholds_, calibrator.y_thresholds_))
        return Isotonic(x, y)
    raise UnsupportedError(f"{place}: calibrator {class_path(calibrator)} is not supported")

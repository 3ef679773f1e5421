"""Answers that rounding decides: of several equally near neighbours, which ones count."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.sources.scikit_learn.inner import estimators_in
from ortolan_convert.sources.scikit_learn.registry import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

TWINS = 12
"""How many copies are asked."""
SHIFT = 1e-12
"""How far their training data is moved, relative to the spread of each column: more than distances are rounded."""
_NEIGHBORS = frozenset({"KNeighborsClassifier", "KNeighborsRegressor", "KNNImputer"})
_CENTERED = frozenset({"BisectingKMeans", "KMeans", "MiniBatchKMeans"})


def twins_of(model: Any) -> list[Any]:
    """Copies of a fitted estimator whose neighbours are moved by a trifle and in another order; none if it has none.

    Where their answers differ from the estimator's, several rows of the training data are equally near, and which of
    them count is not defined: not even scikit-learn's own algorithms agree.
    """
    if not any(True for _ in _neighbors(model)):
        return []
    copies = []
    for seed in range(TWINS):
        twin = copy.deepcopy(model)
        for one in list(_neighbors(twin)):
            _move(one, seed)
        # Distances to centers come from differences of large squares, and what is left of small ones is rounding.
        for one in estimators_in(twin):
            if key_of(one) in _CENTERED and hasattr(one, "cluster_centers_"):
                one.cluster_centers_ = _moved(one.cluster_centers_, np.random.default_rng(seed))
        copies.append(twin)
    return copies


def _move(model: Any, seed: int) -> None:
    stored = model._fit_X  # noqa: SLF001 - where it is kept
    random = np.random.default_rng(seed)
    if hasattr(stored, "toarray"):  # sparse, as features of words are: zeros stay
        moved: Any = stored.copy()
        moved.data = moved.data * (1 + SHIFT * random.standard_normal(moved.data.shape))
    else:
        known = np.asarray(stored, np.float64)
        moved = known + SHIFT * np.nanmax(np.abs(known), axis=0, initial=0.0) * random.standard_normal(known.shape)
    # Rows that share no feature with what is asked are all 1 away from it by angle, moved or not.
    order = random.permutation(moved.shape[0])
    moved = moved[order]
    names = getattr(model, "feature_names_in_", None)
    if key_of(model) == "KNNImputer":
        model.fit(moved)
    else:
        answers = model._y[order]  # noqa: SLF001 - where it is kept
        classes = getattr(model, "classes_", None)
        model.fit(moved, answers if classes is None else classes[answers])
    if names is not None:
        model.feature_names_in_ = names


def _moved(points: NDArray[Any], random: np.random.Generator) -> NDArray[Any]:
    """The points, each moved by a trifle."""
    largest = np.nanmax(np.abs(points), axis=0, initial=0.0)
    moved: NDArray[Any] = points + SHIFT * largest * random.standard_normal(points.shape)
    return moved


def _neighbors(model: Any) -> Iterator[Any]:
    """The fitted estimators inside another one that look for neighbours."""
    return (one for one in estimators_in(model) if key_of(one) in _NEIGHBORS and hasattr(one, "_fit_X"))

"""scikit-learn's trees beside their graphs: thresholds and their neighbours, missing values, categories, damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas import DataFrame, Series
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.session import run_model
from ortolan_convert.sources.scikit_learn.artifact import Artifact
from ortolan_convert.sources.scikit_learn.table_source import read_table_source
from ortolan_convert.tables.bundle import build_table
from ortolan_convert.tables.rows import as_lists, made_up_rows
from ortolan_convert.trees.joining import Tree, joined
from ortolan_convert.trees.splits import at_most_in_float32, less_in_float32

if TYPE_CHECKING:
    from collections.abc import Callable

IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
HOLES = (np.where(np.random.default_rng(0).random(CANCER[0].shape) < 0.1, np.nan, CANCER[0]), CANCER[1])
CODES = DIABETES[0].copy()
CODES[:, 1] = np.random.default_rng(1).integers(0, 20, len(CODES)) * 3 + 1
MIXED = DataFrame(
    {
        "town": Series(np.random.default_rng(2).choice(["x", "yy", "w", None], len(CODES)), dtype="category"),
        "age": CODES[:, 0],
        "code": Series(CODES[:, 1].astype(int), dtype="category"),
    }
)
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)

MODELS: dict[str, tuple[Callable[[], Any], tuple[Any, Any]]] = {
    "tree": (lambda: DecisionTreeClassifier(random_state=0), IRIS),
    "tree with missing values": (lambda: DecisionTreeClassifier(random_state=0), HOLES),
    "regression tree": (lambda: DecisionTreeRegressor(random_state=0, max_depth=5), DIABETES),
    "forest": (lambda: RandomForestClassifier(20, random_state=0), CANCER),
    "extra trees": (lambda: ExtraTreesClassifier(20, random_state=0), IRIS),
    "forest of several targets": (lambda: RandomForestRegressor(10, random_state=0), load_linnerud(return_X_y=True)),
    "boosting": (lambda: GradientBoostingClassifier(n_estimators=20, random_state=0), CANCER),
    "boosting, three classes": (lambda: GradientBoostingClassifier(n_estimators=10, random_state=0), IRIS),
    "boosting, exponential": (lambda: GradientBoostingClassifier(loss="exponential", n_estimators=9), CANCER),
    "boosting, regression": (lambda: GradientBoostingRegressor(n_estimators=20, random_state=0), DIABETES),
    "isolation forest": (lambda: IsolationForest(n_estimators=20, random_state=0, max_features=0.5), CANCER),
    "histograms": (lambda: HistGradientBoostingClassifier(max_iter=20), HOLES),
    "histograms, three classes": (lambda: HistGradientBoostingClassifier(max_iter=10), IRIS),
    "histograms, gamma": (lambda: HistGradientBoostingRegressor(max_iter=10, loss="gamma"), DIABETES),
    "histograms, categories": (
        lambda: HistGradientBoostingRegressor(max_iter=10, categorical_features=[1]),
        (CODES, DIABETES[1] + CODES[:, 1] % 4 * 80),
    ),
    "histograms, categories that are strings": (
        lambda: HistGradientBoostingRegressor(max_iter=10),
        (MIXED, DIABETES[1] + CODES[:, 1] % 4 * 80 + (MIXED["town"] == "x") * 90),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_scikit_learn_does(name: str) -> None:
    """Equal labels, and numbers to 1e-9, on thresholds, their neighbours, and what else the model takes."""
    make, (x, y) = MODELS[name]
    source = read_table_source([Artifact("model", make().fit(x, y), None)])
    rows = made_up_rows(source.columns, 3000)
    built, task = build_table(source)
    outputs = run_model(built.data, task, {}, as_lists(rows, source.columns))
    expected = source.ask(rows)
    for key, numbers in expected.numbers.items():
        np.testing.assert_allclose(outputs[key], numbers, rtol=1e-9, atol=1e-9)
    if source.labels:
        found = (
            np.searchsorted(source.labels, outputs["label"])
            if "label" in outputs
            else outputs["probabilities"].argmax(axis=1)
        )
        np.testing.assert_array_equal(found, expected.labels)


def test_made_up_rows_lie_on_thresholds() -> None:
    """The columns say what their trees compare with."""
    source = read_table_source([Artifact("model", DecisionTreeClassifier(random_state=0).fit(*IRIS), None)])
    assert all(column.kind == "number" for column in source.columns)
    assert any(column.values for column in source.columns)


@given(threshold=FINITE, x=FINITE)
def test_a_comparison_in_float32_becomes_one_in_float64(threshold: float, x: float) -> None:
    """For any number, and for those at the limit itself."""
    limit = float(at_most_in_float32(np.array([threshold]))[0])
    with np.errstate(over="ignore"):
        for value in (x, limit, np.nextafter(limit, np.inf), np.nextafter(limit, -np.inf)):
            assert (float(np.float32(value)) <= threshold) == (value <= limit)


@given(threshold=st.floats(allow_nan=False, allow_infinity=False, width=32), x=FINITE)
def test_less_in_float32_becomes_at_most_in_float64(threshold: float, x: float) -> None:
    """For any number, and for those at the limit itself."""
    limit = float(less_in_float32(np.array([threshold], np.float32))[0])
    with np.errstate(over="ignore"):
        for value in (x, limit, np.nextafter(limit, np.inf), np.nextafter(limit, -np.inf)):
            assert (np.float32(value) < np.float32(threshold)) == (value <= limit)


def _tree(left: list[int], right: list[int], feature: int = 0, value: float = 1.0) -> Tree:
    leaf = np.array(left) < 0
    return Tree(
        feature=np.where(leaf, -1, feature),
        threshold=np.zeros(len(left)),
        left=np.array(left),
        right=np.array(right),
        values=np.where(leaf, value, 0.0) * np.arange(len(left)),
    )


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        (_tree([1, -1, -1], [3, -1, -1]), "a child is outside of it"),
        (_tree([0, -1, -1], [2, -1, -1]), "a child is outside of it, or its root"),
        (_tree([1, -1, -1], [1, -1, -1]), "two branches lead to one node"),
        (_tree([1, 2, 1, -1], [3, 3, 3, -1]), "two branches lead to one node"),
        (_tree([1, -1, -1], [2, -1, -1], feature=7), "a column that is none of the 2"),
        (_tree([1, -1, -1], [2, -1, -1], value=np.nan), "not finite"),
    ],
)
def test_a_damaged_tree_is_refused(tree: Tree, reason: str) -> None:
    """Children out of range, cycles, columns that are not there, values that are no numbers."""
    with pytest.raises(ConversionError, match=reason):
        joined([tree], [0], [0.0], "model", features=2)


def test_a_tree_too_deep_to_load_is_refused() -> None:
    """onnxruntime walks down by recursion."""
    deep = 10_001
    left_deep, right_deep = np.full(deep, -1), np.full(deep, -1)
    inner = np.arange(0, deep - 2, 2)
    left_deep[inner], right_deep[inner] = inner + 1, inner + 2
    with pytest.raises(UnsupportedError, match="more than 4096 levels"):
        joined([_tree(left_deep.tolist(), right_deep.tolist())], [0], [0.0], "model", features=1)


def test_what_boosting_begins_with_must_be_the_same_for_all_rows() -> None:
    """An estimator as init is refused by name."""
    model = GradientBoostingRegressor(n_estimators=2, init=DecisionTreeRegressor()).fit(*DIABETES)
    with pytest.raises(UnsupportedError, match="option init, a DecisionTreeRegressor; leave init out"):
        read_table_source([Artifact("model", model, None)])

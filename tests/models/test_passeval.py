"""passeval, a forest of 100 trees that rates passwords, as classification and regression; a regression on diabetes."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

import ortolan
import ortolan_convert
from ortolan.errors import InputError, InputTypeError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

CONFIG = Path(ortolan_convert.__path__[0], "examples", "tabular-classification-passeval.yaml")
TIE = 1e-6
"""Labels whose probabilities are nearer than this are decided by the order of summing."""


@pytest.fixture(scope="module")
def forest(registry: Callable[[str], Path]) -> Any:
    """scikit-learn's own model."""
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was trained with an older scikit-learn
        return joblib.load(registry("passeval==0.2.0") / "passeval" / "passeval_model.pkl")


@pytest.fixture(scope="module")
def onnx_file(forest: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    skl2onnx = pytest.importorskip("skl2onnx")
    path = tmp_path_factory.mktemp("passeval") / "passeval.onnx"
    example = np.zeros((1, 10), np.float32)
    converted = skl2onnx.to_onnx(forest, example, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    path.write_bytes(converted.SerializeToString())
    return path


@pytest.fixture(scope="module")
def rows() -> Any:
    """Float64 rows: such as passwords give, and others far away from them."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 12, (5000, 4))
    length = counts.sum(axis=1, keepdims=True)
    entropy = random.uniform(0, 4, (5000, 1)).round(4)
    unique = random.integers(0, length + 1)
    flags = (counts[:, [0, 2, 3]] > 0).astype(int)
    likely = np.hstack([length, counts, entropy, unique, flags]).astype(np.float64)
    return np.vstack([likely, random.uniform(-5, 40, (5000, 10))])


@pytest.fixture(scope="module")
def model(onnx_file: Path) -> Iterator[ortolan.TabularClassifier]:
    bundle = onnx_file.with_suffix(".bundle")
    convert(onnx_file, bundle, config=CONFIG)
    with ortolan.load(bundle, ortolan.TabularClassifier) as loaded:
        yield loaded


def test_it_answers_as_scikit_learn_does(model: ortolan.TabularClassifier, forest: Any, rows: Any) -> None:
    """10,000 rows: every label but those of ties, and every probability."""
    answers = model.predict_batch(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows have no names here
        expected = forest.predict_proba(rows)
    found = np.array([list((a.probabilities or {}).values()) for a in answers])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = first - second > TIE
    assert clear.mean() > 0.99
    labels = np.array([a.label for a in answers])
    np.testing.assert_array_equal(labels[clear], forest.classes_[expected.argmax(axis=1)][clear])
    assert len(np.unique(labels)) == 3


def test_rows_of_any_form_are_the_same(model: ortolan.TabularClassifier, forest: Any, rows: Any) -> None:
    """By name, in order, alone or together."""
    names = list(forest.feature_names_in_)
    some = rows[::100]
    answers = model.predict_batch(some)
    assert answers == model.predict_batch([dict(zip(names, row, strict=True)) for row in some.tolist()])
    for row, answer in zip(some, answers, strict=True):
        alone = model.predict(dict(zip(reversed(names), reversed(row.tolist()), strict=True)))
        assert alone.probabilities == pytest.approx(answer.probabilities, abs=1e-6)
    assert model.check().drop == 0


def test_faults_name_the_feature(model: ortolan.TabularClassifier, forest: Any) -> None:
    """What an application would get wrong first."""
    row: dict[str, Any] = dict.fromkeys(forest.feature_names_in_, 1)
    with pytest.raises(InputTypeError, match=r"feature 'entropy': expected a number, found str '1\.5'"):
        model.predict({**row, "entropy": "1.5"})
    with pytest.raises(InputError, match="feature 'entropy': expected a number, found nan; the model does not take"):
        model.predict({**row, "entropy": float("nan")})
    with pytest.raises(InputError, match="missing: 'entropy'"):
        model.predict({name: value for name, value in row.items() if name != "entropy"})


def test_its_probabilities_are_a_regression_of_three_targets(forest: Any, onnx_file: Path, rows: Any) -> None:
    """Numbers by name, the same as scikit-learn's; a bundle may have another task than its model was trained for."""
    task = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    columns = task["config"]["columns"]
    config = {"columns": columns, "output": "probabilities", "targets": ["weak", "medium", "strong"]}
    description = onnx_file.with_name("regression.yaml")
    description.write_text(yaml.safe_dump({"task": "tabular-regression", "config": config}), encoding="utf-8")
    bundle = convert(onnx_file, onnx_file.with_name("regression.bundle"), config=description).bundle.path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows have no names here
        expected = forest.predict_proba(rows[::50])
    with ortolan.load(bundle, ortolan.TabularRegressor) as regressor:
        answers = regressor.predict_batch(rows[::50])
        found = np.array([[one.values[name] for name in config["targets"]] for one in answers])
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert [one.value for one in answers] == found[:, 0].tolist()
        assert regressor.check().drop == 0


def test_a_pipeline_on_real_data_predicts_what_scikit_learn_predicts(tmp_path: Path) -> None:
    """Scikit-learn's diabetes data, with an imputer, a scaler and a ridge regression: an input for each column."""
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.compose import ColumnTransformer
    from sklearn.datasets import load_diabetes
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_diabetes(scaled=False)
    names, table, progression = data.feature_names, data.data.astype(np.float32), data.target
    bmi = names.index("bmi")
    table[::7, bmi] = np.nan
    imputed = ("bmi", make_pipeline(SimpleImputer(), StandardScaler()), [bmi])
    prepared = ColumnTransformer([imputed], remainder=StandardScaler())
    pipeline = make_pipeline(prepared, Ridge()).fit(table[:300], progression[:300])
    types = [(name, skl2onnx.common.data_types.FloatTensorType([None, 1])) for name in names]
    converted = skl2onnx.convert_sklearn(pipeline, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3})
    (tmp_path / "diabetes.onnx").write_bytes(converted.SerializeToString())
    features = [{"name": name, "input": name, "missing": "allow" if name == "bmi" else "refuse"} for name in names]
    config = {"columns": {"features": features, "cast": "round"}, "output": "variable", "targets": ["progression"]}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"task": "tabular-regression", "config": config}))
    with (tmp_path / "held-out.csv").open("w", newline="", encoding="utf-8") as file:
        cells = [["" if np.isnan(value) else repr(float(value)) for value in row] for row in table[300:]]
        csv.writer(file).writerows([names, *cells])
    report = convert(
        tmp_path / "diabetes.onnx",
        tmp_path / "diabetes.bundle",
        config=tmp_path / "task.yaml",
        samples=tmp_path / "held-out.csv",
    )
    with ortolan.load(report.bundle.path, ortolan.TabularRegressor) as model:
        answers = model.predict_batch(model.read_table(tmp_path / "held-out.csv"))
        found = [one.values["progression"] for one in answers]
        np.testing.assert_allclose(found, pipeline.predict(table[300:]), rtol=1e-4)
        assert len(found) == 142
        assert np.corrcoef(found, progression[300:])[0, 1] > 0.6
        assert model.check().drop == 0

"""scikit-learn models over tables: from the artifact to a bundle that answers rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
import skops.io
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import ortolan
from ortolan.errors import ConversionError, InputError, TaskMismatchError, TrustRequiredError, UnsupportedError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

    Convert = Callable[..., ConversionReport]


@pytest.fixture(scope="session")
def iris() -> tuple[Any, Any]:
    """The flowers as a data frame, and their names."""
    frame, numbers = load_iris(return_X_y=True, as_frame=True)
    frame.columns = ["sl", "sw", "pl", "pw"]
    return frame, np.array(["setosa", "versicolor", "virginica"], object)[numbers]


@pytest.fixture
def flowers(iris: Any, converted: Convert) -> ConversionReport:
    """A bundle of a scaler and logistic regression."""
    return converted(make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris))


def test_a_classifier_answers_as_its_source(iris: Any, flowers: ConversionReport) -> None:
    """Labels are equal, probabilities within a millionth; rows go in by name, as a list and as an array."""
    source = make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris)
    with ortolan.load(flowers.bundle.path, ortolan.TabularClassifier) as model:
        answers = model.predict_batch(iris[0].to_numpy())
        assert [answer.label for answer in answers] == source.predict(iris[0]).tolist()
        found = [list((answer.probabilities or {}).values()) for answer in answers]
        np.testing.assert_allclose(found, source.predict_proba(iris[0]), atol=1e-12)
        named = model.predict({"pw": 0.2, "sl": 5.1, "sw": 3.5, "pl": 1.4})
        assert named == model.predict([5.1, 3.5, 1.4, 0.2])
        assert named.label == "setosa"
        assert model.check().drop == 0


def test_a_regression_has_a_number_for_each_target(iris: Any, converted: Convert) -> None:
    """Two targets give two numbers."""
    values = iris[0].to_numpy()
    source = LinearRegression().fit(values[:, :2], values[:, 2:])
    report = converted(source)
    assert report.task == "tabular-regression"
    with ortolan.load(report.bundle.path, ortolan.TabularRegressor) as model:
        answer = model.predict([5.0, 3.0])
    np.testing.assert_allclose(list(answer.values.values()), source.predict([[5.0, 3.0]])[0], rtol=1e-12)


def test_clusters_of_rows(iris: Any, converted: Convert) -> None:
    """The nearest center and all distances."""
    source = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(iris[0].to_numpy())
    report = converted(source)
    with ortolan.load(report.bundle.path, ortolan.Clusterer) as model:
        answers = model.predict_batch(iris[0].to_numpy())
        assert model.takes_rows
    assert [answer.label for answer in answers] == source.predict(iris[0].to_numpy()).tolist()
    np.testing.assert_allclose(answers[0].distances, source.transform(iris[0].to_numpy())[0], rtol=1e-9)


def test_samples_by_column_name(iris: Any, flowers: ConversionReport, tmp_path: Path) -> None:
    """Columns stand in any order; the column of labels gives the accuracy."""
    frame, labels = iris
    path = tmp_path / "rows.csv"
    frame[["pw", "pl", "sw", "sl"]].assign(label=labels).to_csv(path, index=False)
    report = convert(tmp_path / "part0.joblib", tmp_path / "again.bundle", trust=True, samples=path)
    fidelity = report.variants[0].fidelity
    assert fidelity is not None
    assert (fidelity.n, fidelity.drop, fidelity.inputs) == (150, 0, "samples")
    assert report.accuracy == report.variants[0].accuracy == pytest.approx(0.97, abs=0.02)
    assert flowers.accuracy is None


@pytest.mark.parametrize("kind", ["npy", "npz", "columns.npz", "jsonl"])
def test_samples_as_arrays_and_lines(iris: Any, flowers: ConversionReport, tmp_path: Path, kind: str) -> None:
    """A matrix, arrays by column name and lines of JSON say the same."""
    path = tmp_path / f"rows.{kind}"
    matrix, labels = iris[0].to_numpy(), iris[1].astype(str)
    if kind == "npy":
        np.save(path, matrix)
    elif kind == "npz":
        np.savez(path, x=matrix, label=labels)
    elif kind == "columns.npz":
        np.savez(path, label=labels, **{name: matrix[:, i] for i, name in enumerate(iris[0].columns)})
    else:
        rows = [{**row, "label": label} for row, label in zip(iris[0].to_dict("records"), labels, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = convert(tmp_path / "part0.joblib", tmp_path / "again.bundle", trust=True, samples=path)
    assert flowers.task == report.task
    assert (report.accuracy is None) == (kind == "npy")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sl,sw,pl\n1,2,3\n", "missing: 'pw'"),
        ("sl,sw,pl,pw,extra\n1,2,3,4,5\n", "unknown: 'extra'"),
        ("sl,sw,pl,pw\n1,2,3,four\n", "row 0, feature 'pw': expected a number, found 'four'"),
        ("sl,sw,pl,pw\n1,2,3,\n", "row 0, feature 'pw': expected a number, found None"),
        ("sl,sw,pl,pw,label\n1,2,3,4,rose\n", r"column 'label': expected labels of the model \(setosa, versicolor"),
        ("sl,sw,pl,pw\n", "at least one row"),
    ],
)
def test_samples_that_do_not_fit(flowers: ConversionReport, tmp_path: Path, content: str, message: str) -> None:
    """Each fault is named with its place."""
    path = tmp_path / "rows.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "part0.joblib", tmp_path / "again.bundle", trust=True, samples=path)
    assert flowers.bundle.path.exists()
    assert not (tmp_path / "again.bundle").exists()


def test_texts_as_samples(flowers: ConversionReport, tmp_path: Path) -> None:
    """A model over rows says which files it takes."""
    (tmp_path / "texts.txt").write_text("a text\n")
    with pytest.raises(InputError, match=r"expected samples as \.csv, \.tsv, \.jsonl, \.npy or \.npz, found '\.txt'"):
        convert(tmp_path / "part0.joblib", tmp_path / "o.bundle", trust=True, samples=tmp_path / "texts.txt")
    assert flowers.variants


def test_parts_saved_apart(iris: Any, tmp_path: Path) -> None:
    """A scaler and a model in two files are one pipeline."""
    frame, labels = iris
    scaler = StandardScaler().fit(frame)
    model = LogisticRegression().fit(scaler.transform(frame), labels)
    for name, part in {"model": model, "scaler": scaler}.items():
        joblib.dump(part, tmp_path / f"{name}.joblib")
    report = convert([tmp_path / "model.joblib", tmp_path / "scaler.joblib"], tmp_path / "o.bundle", trust=True)
    with ortolan.load(report.bundle.path, ortolan.TabularClassifier) as loaded:
        found = [answer.label for answer in loaded.predict_batch(frame.to_numpy())]
    assert found == model.predict(scaler.transform(frame)).tolist()


def test_columns_that_the_model_does_not_use(iris: Any, converted: Convert) -> None:
    """They may stand in a row or be left out."""
    chosen = make_column_transformer((StandardScaler(), ["pl"]), ("passthrough", [3]))
    source = make_pipeline(chosen, LogisticRegression()).fit(*iris)
    report = converted(source)
    with ortolan.load(report.bundle.path, ortolan.TabularClassifier) as model:
        answer = model.predict({"pl": 1.4, "pw": 0.2})
        assert answer == model.predict({"pl": 1.4, "pw": 0.2, "sl": "whatever", "sw": None})
        assert answer == model.predict([5.0, None, 1.4, 0.2])
        with pytest.raises(InputError, match="missing: 'pw'"):
            model.predict({"pl": 1.4})


def test_another_task(converted: Convert, iris: Any) -> None:
    """The task that is expected must be the one that is found."""
    with pytest.raises(TaskMismatchError, match="'tabular-regression', found one for 'tabular-classification'"):
        converted(LogisticRegression().fit(*iris), task="tabular-regression")


def test_no_smaller_variants(converted: Convert, iris: Any) -> None:
    """Who asks for one is told that there is none."""
    report = converted(LogisticRegression().fit(*iris), quantize=["int8"])
    assert [variant.name for variant in report.variants] == ["fp64"]
    assert any(warning.startswith("no int8 variant was made") for warning in report.warnings)


def test_what_cannot_predict(converted: Convert, iris: Any) -> None:
    """It is refused by name, with the reason."""
    with pytest.raises(UnsupportedError, match=r"DBSCAN is not supported: .*cannot predict for other rows"):
        converted(DBSCAN().fit(iris[0]))


def test_python_functions(converted: Convert, iris: Any) -> None:
    """They cannot be converted; the message names the function and its step."""
    source = make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()).fit(*iris)
    with pytest.raises(UnsupportedError, match=r"step 'functiontransformer', option 'func': calls .*log1p"):
        converted(source)


def test_a_model_that_is_not_fitted(converted: Convert) -> None:
    """It says so."""
    with pytest.raises(ConversionError, match="LogisticRegression is not fitted; save it after training"):
        converted(LogisticRegression())


def test_a_class_made_elsewhere(converted: Convert, iris: Any) -> None:
    """A subclass may do anything: it is refused."""
    source = LogisticRegression().fit(*iris)
    source.__class__ = Strange
    with pytest.raises(UnsupportedError, match=r"Strange is not supported"):
        converted(source)


def test_a_model_that_rounding_decides(converted: Convert) -> None:
    """Neighbours that are nearly always tied leave nothing to compare."""
    features = np.random.default_rng(0).integers(0, 2, (200, 3)).astype(float)
    source = KNeighborsRegressor(3).fit(features, np.arange(200.0))
    with pytest.raises(UnsupportedError, match=r"rows several neighbours are equally near, and rounding decides"):
        converted(source)


def test_skops_files(iris: Any, tmp_path: Path) -> None:
    """Numbers need no trust; trees do, because compiled code follows what the file says."""
    for name, model in {"linear": LogisticRegression(), "tree": DecisionTreeClassifier(max_depth=2)}.items():
        skops.io.dump(model.fit(*iris), tmp_path / name)
    assert convert(tmp_path / "linear", tmp_path / "o.bundle").task == "tabular-classification"
    with pytest.raises(TrustRequiredError, match=r"holds sklearn\.tree\._tree\.Tree, whose compiled code"):
        convert(tmp_path / "tree", tmp_path / "p.bundle")
    assert convert(tmp_path / "tree", tmp_path / "p.bundle", trust=True).task == "tabular-classification"


class Strange(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """Not scikit-learn's own."""

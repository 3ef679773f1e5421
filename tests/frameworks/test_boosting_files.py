"""Files of XGBoost, LightGBM and CatBoost beside their libraries: objectives, missing values, categories, damage."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

import ortolan
from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.convert import convert
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.request import Request
from ortolan_convert.session import run_model
from ortolan_convert.sources.boosting.xgboost import exp_in_float32
from ortolan_convert.sources.recognise import recognise
from ortolan_convert.tables.bundle import build_table
from ortolan_convert.tables.rows import as_lists, made_up_rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.tables.source import TableSource

pd = pytest.importorskip("pandas")
xgboost = pytest.importorskip("xgboost")
lightgbm = pytest.importorskip("lightgbm")
catboost = pytest.importorskip("catboost")

IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
HOLES = (np.where(np.random.default_rng(0).random(CANCER[0].shape) < 0.1, np.nan, CANCER[0]), CANCER[1])
QUIET: dict[str, Any] = {"verbose": 0, "allow_writing_files": False, "iterations": 20}


def _mixed() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(DIABETES[0][:, :3], columns=list("abc"))
    frame["city"] = pd.Categorical(random.choice(["x", "yy", "w", "z"], len(frame)))
    frame["size"] = pd.Categorical(random.integers(0, 12, len(frame)) * 2)
    return frame, DIABETES[1] + frame["size"].astype(int) % 7 * 20 + (frame["city"] == "x") * 50


MODELS: dict[str, tuple[Callable[[], Any], tuple[Any, Any], str]] = {
    "xgboost": (lambda: xgboost.XGBClassifier(n_estimators=20), HOLES, "json"),
    "xgboost, ubj": (lambda: xgboost.XGBClassifier(n_estimators=10), IRIS, "ubj"),
    "xgboost, hinge": (lambda: xgboost.XGBClassifier(objective="binary:hinge", n_estimators=9), CANCER, "json"),
    "xgboost, dart": (lambda: xgboost.XGBClassifier(booster="dart", rate_drop=0.3, n_estimators=9), CANCER, "json"),
    "xgboost, poisson": (lambda: xgboost.XGBRegressor(objective="count:poisson", n_estimators=9), DIABETES, "json"),
    "xgboost, categories": (lambda: xgboost.XGBRegressor(enable_categorical=True, n_estimators=9), _mixed(), "json"),
    "lightgbm": (lambda: lightgbm.LGBMClassifier(n_estimators=20, verbose=-1), HOLES, "txt"),
    "lightgbm, iris": (lambda: lightgbm.LGBMClassifier(n_estimators=9, verbose=-1), IRIS, "txt"),
    "lightgbm, zeros": (
        lambda: lightgbm.LGBMClassifier(n_estimators=9, verbose=-1, zero_as_missing=True),
        (np.where(np.random.default_rng(1).random(CANCER[0].shape) < 0.2, 0, HOLES[0] - 10), CANCER[1]),
        "txt",
    ),
    "lightgbm, categories": (lambda: lightgbm.LGBMRegressor(n_estimators=9, verbose=-1), _mixed(), "txt"),
    "catboost": (lambda: catboost.CatBoostClassifier(nan_mode="Max", **QUIET), HOLES, "cbm"),
    "catboost, iris": (lambda: catboost.CatBoostClassifier(**QUIET), IRIS, "cbm"),
    "catboost, many trees": (lambda: catboost.CatBoostClassifier(**QUIET | {"iterations": 350}), HOLES, "cbm"),
    "catboost, many trees, iris": (lambda: catboost.CatBoostClassifier(**QUIET | {"iterations": 500}), IRIS, "cbm"),
    "catboost, many trees, regression": (
        lambda: catboost.CatBoostRegressor(**QUIET | {"iterations": 350}),
        DIABETES,
        "cbm",
    ),
    "catboost, lossguide": (lambda: catboost.CatBoostRegressor(grow_policy="Lossguide", **QUIET), DIABETES, "cbm"),
}


def _saved(name: str, directory: Path) -> tuple[Any, Path]:
    make, (x, y), suffix = MODELS[name]
    model = make().fit(x, y)
    path = directory / f"model.{suffix}"
    (model.booster_ if suffix == "txt" else model).save_model(str(path))
    return model, path


def _read(path: Path) -> TableSource:
    from importlib import import_module

    from ortolan_convert.sources.kinds import KINDS

    kind = recognise(path)
    module, _, function = str(KINDS[kind].reader).partition(":")
    source: TableSource = getattr(import_module(module), function)(
        Request(artifacts=((path, kind),), target=path, progress=lambda _: None)
    )
    return source


@pytest.mark.parametrize("name", MODELS)
def test_it_answers_as_its_library_does(name: str, tmp_path: Path) -> None:
    """Equal labels and numbers to 1e-6 on thresholds, their neighbours, missing values, infinities and categories."""
    _, path = _saved(name, tmp_path)
    source = _read(path)
    rows = made_up_rows(source.columns, 3000)
    built, task = build_table(source)
    outputs = run_model(built.data, task, {}, as_lists(rows, source.columns))
    expected = source.ask(rows)
    for key, numbers in expected.numbers.items():
        np.testing.assert_allclose(outputs[key], numbers, rtol=1e-6, atol=1e-7)
    if source.labels:
        np.testing.assert_array_equal(outputs["probabilities"].argmax(axis=1), expected.labels)


@pytest.mark.parametrize(
    "name", ["catboost, many trees", "catboost, many trees, iris", "catboost, many trees, regression"]
)
def test_one_row_takes_another_way_to_the_same_answers(name: str, tmp_path: Path) -> None:
    """Many symmetric trees are not walked down for a single row."""
    _, path = _saved(name, tmp_path)
    source = _read(path)
    rows = made_up_rows(source.columns, 1000)
    built, task = build_table(source)
    assert built.one_apart
    outputs = run_model(built.data, task, {}, as_lists(rows, source.columns), one_by_one=True)
    expected = source.ask(rows)
    for key, numbers in expected.numbers.items():
        np.testing.assert_allclose(outputs[key], numbers, rtol=1e-9, atol=1e-12)
    if source.labels:
        np.testing.assert_array_equal(outputs["probabilities"].argmax(axis=1), expected.labels)


def test_a_file_becomes_a_classifier(tmp_path: Path) -> None:
    """From the library's file to a label on the device."""
    model, path = _saved("catboost, iris", tmp_path)
    convert(path, tmp_path / "iris.bundle")
    with ortolan.load(tmp_path / "iris.bundle", ortolan.TabularClassifier) as classifier:
        answer = classifier.predict(IRIS[0][70])
        assert answer.label == model.predict(IRIS[0][70:71])[0, 0]
        assert classifier.check().drop == 0


def test_the_estimator_of_a_library_is_converted_in_a_pipeline(tmp_path: Path) -> None:
    """Behind a scaler, read from a pickle."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for estimator in (
        xgboost.XGBClassifier(n_estimators=5),
        lightgbm.LGBMClassifier(n_estimators=5, verbose=-1),
        catboost.CatBoostClassifier(**QUIET),
    ):
        pipeline = make_pipeline(StandardScaler(), estimator).fit(*IRIS)
        joblib.dump(pipeline, tmp_path / "model.joblib")
        convert(tmp_path / "model.joblib", tmp_path / "model.bundle", trust=True, overwrite=True)
        with ortolan.load(tmp_path / "model.bundle", ortolan.TabularClassifier) as classifier:
            found = list((classifier.predict(IRIS[0][80]).probabilities or {}).values())
        np.testing.assert_allclose(found, pipeline.predict_proba(IRIS[0][80:81])[0], rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        lightgbm.LGBMClassifier(n_estimators=9, verbose=-1),
        lightgbm.LGBMRegressor(n_estimators=9, verbose=-1),
        xgboost.XGBClassifier(n_estimators=9, enable_categorical=True),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_pickled_estimator_with_categories_of_a_data_frame(model: Any, tmp_path: Path) -> None:
    """It answers as the library does, by its own labels."""
    frame, numbers = _mixed()
    target: Any = numbers
    if hasattr(model, "predict_proba"):
        target = np.where(numbers > np.median(numbers), 1, 0)
        if type(model).__name__ == "LGBMClassifier":
            target = np.array(["low", "high"])[target]
    model.fit(frame, target)
    joblib.dump(model, tmp_path / "model.joblib")
    bundle = convert(tmp_path / "model.joblib", tmp_path / "out.bundle", trust=True).bundle.path
    rows = [{**row, "size": float(row["size"])} for row in frame.to_dict("records")]
    with ortolan.load(bundle) as loaded:
        answers: Any = loaded.predict_batch(rows)  # type: ignore[attr-defined]  # of tables
    if hasattr(model, "predict_proba"):
        found = np.array([list(answer.probabilities.values()) for answer in answers])
        np.testing.assert_allclose(found, model.predict_proba(frame), atol=1e-6)
        assert [answer.label for answer in answers] == model.predict(frame).tolist()
    else:
        np.testing.assert_allclose([answer.value for answer in answers], model.predict(frame), rtol=1e-6)


def test_exponentials_are_the_c_librarys() -> None:
    """XGBoost's probabilities follow from its expf; where a float32 lies between two results, theirs counts."""
    expf = ctypes.CDLL(ctypes.util.find_library("m")).expf
    expf.restype, expf.argtypes = ctypes.c_float, [ctypes.c_float]
    graph = GraphBuilder("float64")
    power = graph.input("power", "float32", ("batch", 1))
    graph.output(exp_in_float32(graph, power), "exp")
    values = np.concatenate([np.random.default_rng(0).uniform(-90, 88, 50_000), [0, -0.0, 1, -104, 88.7]])
    values = values.astype(np.float32)
    session = onnxruntime.InferenceSession(graph.build({"batch": 1}).data)
    (found,) = session.run(None, {"power": values[:, None]})
    np.testing.assert_array_equal(found[:, 0], np.array([expf(float(value)) for value in values], np.float32))


def test_categories_that_xgboost_cuts_short_are_refused(tmp_path: Path) -> None:
    """Its file counts letters where it should count bytes."""
    frame, y = _mixed()
    frame["city"] = frame["city"].cat.rename_categories({"w": "Zürich"})
    model = xgboost.XGBRegressor(enable_categorical=True, n_estimators=2).fit(frame, y)
    model.save_model(str(tmp_path / "model.json"))
    with pytest.raises(UnsupportedError, match="categories with letters beyond ASCII"):
        convert(tmp_path / "model.json", tmp_path / "o.bundle")


def test_linear_trees_of_lightgbm_are_refused(tmp_path: Path) -> None:
    """By name, with what to do."""
    model = lightgbm.LGBMRegressor(n_estimators=3, linear_tree=True, verbose=-1).fit(*DIABETES)
    model.booster_.save_model(str(tmp_path / "model.txt"))
    with pytest.raises(UnsupportedError, match="train with linear_tree=false"):
        convert(tmp_path / "model.txt", tmp_path / "o.bundle")


@pytest.mark.parametrize("name", ["xgboost", "xgboost, ubj", "lightgbm", "catboost"])
def test_a_file_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    """One line, and the process lives on."""
    _, path = _saved(name, tmp_path)
    data = path.read_bytes()
    for share in (0.1, 0.5, 0.99):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(ConversionError, match=r"^[^\n]+$"):
            convert(path, tmp_path / "o.bundle")


@pytest.mark.parametrize("name", ["xgboost, ubj", "catboost, iris"])
def test_a_file_that_ends_its_library_does_not_end_this_process(name: str, tmp_path: Path) -> None:
    """Flipped bits: each file is refused or converted."""
    _, path = _saved(name, tmp_path)
    data = path.read_bytes()
    random = np.random.default_rng(3)
    for _ in range(4):
        damaged = bytearray(data)
        for place in random.integers(100, len(data), 12).tolist():
            damaged[place] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(damaged)
        try:
            _read(path)
        except OrtolanError as error:
            assert "\n" not in str(error)

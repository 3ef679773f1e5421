"""Categories of CatBoost beside the library: questions for one, counters of one or several, categories never met."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

import ortolan
from ortolan.errors import ConversionError, UnsupportedError
from ortolan.inputs.cityhash import category_hash
from ortolan_convert.convert import convert
from ortolan_convert.request import Request
from ortolan_convert.session import run_model
from ortolan_convert.sources.boosting.catboost import read_model, read_table_model
from ortolan_convert.sources.boosting.catboost_counters import Above, Same
from ortolan_convert.sources.boosting.catboost_hashes import strings_with
from ortolan_convert.tables.bundle import build_table
from ortolan_convert.tables.rows import as_lists, made_up_rows

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.sources.boosting.catboost_categories import Categories
    from ortolan_convert.tables.source import TableSource

pd = pytest.importorskip("pandas")
catboost = pytest.importorskip("catboost")

CATEGORIES = ["size", "shop", "number", "open"]
TARGETS = ("binary", "three", "number")


def _table(seed: int = 0, count: int = 1200) -> tuple[Any, dict[str, Any]]:
    """Few and many categories, strings, whole numbers and truth values, among numbers with holes."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "size": random.choice(["S", "M", "L"], count),
            "x": random.normal(size=count),
            "shop": random.choice([f"Köln {i}" for i in range(40)], count),
            "number": random.integers(-5, 60, count),
            "z": np.where(random.random(count) < 0.1, np.nan, random.normal(size=count)),
            "open": random.random(count) < 0.5,
        }
    )
    score = (
        frame["number"] % 3
        + (frame["x"] > 0) * 1.0
        + (frame["size"] == "S") * frame["open"]
        + frame["shop"].str[5:].astype(int) % 5
        + frame["z"].fillna(2)
    )
    three = pd.qcut(score, 3, labels=["low", "middle", "high"]).astype(str)
    return frame, {"binary": (score > score.median()).astype(int), "three": three, "number": score}


def _trained(target: str, **options: Any) -> Any:
    frame, targets = _table()
    make = catboost.CatBoostRegressor if target == "number" else catboost.CatBoostClassifier
    settings = {"iterations": 25, "verbose": 0, "allow_writing_files": False, "cat_features": CATEGORIES, **options}
    return make(random_seed=1, thread_count=2, **settings).fit(frame, targets[target])


def _read(model: Any, directory: Path) -> TableSource:
    path = directory / "model.cbm"
    model.save_model(str(path))
    return read_table_model(Request(artifacts=((path, "catboost"),), target=path, progress=lambda _: None))


def _categories(model: Any) -> Categories:
    return read_model(model, "model").categories


def _with_training_rows(source: TableSource) -> dict[str, Any]:
    """Made-up rows, unknown categories among them, and those of other training data."""
    rows = made_up_rows(source.columns, 3000)
    frame, _ = _table(seed=7)
    texts = {
        name: frame[name].map(lambda value: value if isinstance(value, str) else str(int(value))).to_numpy(object)
        for name in CATEGORIES
    }
    return {name: np.concatenate([rows[name], texts.get(name, frame[name].to_numpy())]) for name in rows}


def _check(source: TableSource, rows: dict[str, Any]) -> None:
    built, task = build_table(source)
    outputs = run_model(built.data, task, {}, as_lists(rows, source.columns))
    expected = source.ask(rows)
    for key, numbers in expected.numbers.items():
        np.testing.assert_allclose(outputs[key], numbers, rtol=1e-6, atol=1e-6)
    if source.labels:
        np.testing.assert_array_equal(outputs["probabilities"].argmax(axis=1), expected.labels)


ALL_KINDS = {
    "simple_ctr": ["Buckets", "Counter", "BinarizedTargetMeanValue", "Borders"],
    "combinations_ctr": [
        "Buckets:Prior=2",
        "Counter:CtrBorderCount=5",
        "BinarizedTargetMeanValue:Prior=0.5",
        "Borders",
    ],
    "max_ctr_complexity": 3,
    "depth": 7,
    "nan_mode": "Max",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one at a time": {"one_hot_max_size": 2, "max_ctr_complexity": 1},
    "questions only": {"one_hot_max_size": 80},
    "deep combinations": {"max_ctr_complexity": 6, "depth": 8},
    "all kinds of counters": ALL_KINDS,
    "shifted priors": {"simple_ctr": "Borders:Prior=-1:Prior=3:CtrBorderCount=7"},
    "few hashes kept": {"one_hot_max_size": 3, "max_ctr_complexity": 5, "ctr_leaf_count_limit": 20},
    "trees of any form": {"grow_policy": "Lossguide", "counter_calc_method": "Full"},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", OPTIONS)
def test_it_answers_as_catboost_does(name: str, target: str, tmp_path: Path) -> None:
    """Equal labels and numbers to 1e-6 on known, unknown and combined categories, thresholds and missing numbers."""
    source = _read(_trained(target, **OPTIONS[name]), tmp_path)
    _check(source, _with_training_rows(source))


@pytest.mark.parametrize("options", [{}, {"max_ctr_complexity": 4, "depth": 8}])
def test_nothing_but_categories(options: dict[str, Any], tmp_path: Path) -> None:
    """No column of numbers, and no names."""
    random = np.random.default_rng(0)
    first, second = random.integers(0, 30, 1200), random.integers(0, 50, 1200)
    rows = [[f"a{one}", other] for one, other in zip(first.tolist(), second.tolist(), strict=True)]
    model = catboost.CatBoostRegressor(iterations=20, verbose=0, allow_writing_files=False, thread_count=2, **options)
    source = _read(model.fit(rows, first % 4 * (second % 3), cat_features=[0, 1]), tmp_path)
    assert [column.kind for column in source.columns] == ["hashed", "hashed"]
    texts = {"x0": [row[0] for row in rows], "x1": [str(row[1]) for row in rows]}
    _check(source, {name: np.array(values, object) for name, values in texts.items()})


def test_categories_that_no_tree_asks_for(tmp_path: Path) -> None:
    """Each stands once in the training data: nothing of them is in the model, and a note says so."""
    numbers = np.random.default_rng(0).integers(0, 50, 800)
    rows = [[f"only {i}", float(number)] for i, number in enumerate(numbers)]
    model = catboost.CatBoostRegressor(
        iterations=10, verbose=0, allow_writing_files=False, thread_count=2, simple_ctr="Counter"
    )
    source = _read(model.fit(rows, numbers, cat_features=[0]), tmp_path)
    assert any("no known category of column 'x0'" in note for note in source.notes)
    _check(source, made_up_rows(source.columns, 500))


def test_targets_cut_into_several_classes(tmp_path: Path) -> None:
    """Counters of a regression look at more than one border of its target."""
    source = _read(_trained("number", simple_ctr=["Borders:TargetBorderCount=5"]), tmp_path)
    _check(source, _with_training_rows(source))


def test_kinds_of_counters_that_a_gpu_makes(tmp_path: Path) -> None:
    """FloatTargetMeanValue and FeatureFreq, written into a model: CatBoost evaluates them on any processor."""
    kinds = ["BinarizedTargetMeanValue", "Counter"]
    model = _trained("number", simple_ctr=kinds, combinations_ctr=kinds)
    model.save_model(str(tmp_path / "cpu.json"), format="json")
    text = (tmp_path / "cpu.json").read_text(encoding="utf-8")
    content = json.loads(text.replace(kinds[0], "FloatTargetMeanValue").replace(kinds[1], "FeatureFreq"))
    random = np.random.default_rng(0)
    for identifier, table in content["ctr_data"].items():
        if "FloatTargetMeanValue" in identifier:
            sums = table["hash_map"][1 :: table["hash_stride"]]
            changed = (np.array(sums) * random.uniform(0.2, 1.1, len(sums))).astype(np.float32)
            table["hash_map"][1 :: table["hash_stride"]] = changed.astype(float).tolist()
    (tmp_path / "gpu.json").write_text(json.dumps(content), encoding="utf-8")
    gpu = catboost.CatBoostRegressor()
    gpu.load_model(str(tmp_path / "gpu.json"), format="json")
    frame, _ = _table()
    assert np.abs(gpu.predict(frame) - model.predict(frame)).max() > 0.1
    assert {one["ctr_type"] for one in content["features_info"]["ctrs"]} == {"FloatTargetMeanValue", "FeatureFreq"}
    source = _read(gpu, tmp_path)
    _check(source, _with_training_rows(source))


def test_combinations_hold_categories_numbers_and_questions() -> None:
    """The tests above would be void if no model had any."""
    found = _categories(_trained("number", **OPTIONS["deep combinations"]))
    kinds = {type(part) for one in found.combinations for part in one.parts}
    assert kinds == {int, Above, Same}
    assert max(sum(isinstance(part, int) for part in one.parts) for one in found.combinations) > 1


def test_made_up_strings_have_the_hashes_that_training_met(tmp_path: Path) -> None:
    """So that made-up rows go where known categories go, though the file does not hold the categories."""
    source = _read(_trained("binary"), tmp_path)
    frame, _ = _table()
    known = {column.name: {category_hash(str(value)) for value in column.values} for column in source.columns}
    assert known["size"] == {category_hash(value) for value in frame["size"]}
    assert known["shop"] == {category_hash(value) for value in frame["shop"]}
    assert known["number"] == {category_hash(str(value)) for value in frame["number"]}
    assert not set(frame["shop"]) & set(source.columns[2].values)
    assert any("hashes of categories" in note for note in source.notes)


def test_any_hash_has_a_string() -> None:
    """A printable one."""
    hashes = np.random.default_rng(0).integers(-(2**31), 2**31, 200)
    strings = strings_with(hashes)
    assert [category_hash(text) for text in strings] == hashes.tolist()
    assert all(text.isprintable() for text in strings)


def test_hashes_of_any_string_are_those_of_catboost(tmp_path: Path) -> None:
    """Strings of all lengths and alphabets, beside those that CatBoost writes with a model."""
    random = np.random.default_rng(0)
    letters = np.array(list("abcXYZ 09-é中\U0001f600"))
    strings = ["".join(random.choice(letters, length)) for length in range(1, 160)]
    pool = catboost.Pool([[text] for text in strings] * 2, list(range(2 * len(strings))), cat_features=[0])
    model = catboost.CatBoostRegressor(iterations=1, verbose=0, allow_writing_files=False).fit(pool)
    model.save_model(str(tmp_path / "model.json"), format="json", pool=pool)
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    written = {one["value"]: int(one["hash"]) % 2**32 for one in content["features_info"]["cat_features_hash"]}
    assert {text: category_hash(text) % 2**32 for text in strings} == written


@pytest.mark.parametrize("form", ["cbm", "joblib"])
def test_from_the_file_to_the_device(form: str, tmp_path: Path) -> None:
    """Rows by name, with categories as they are in a data frame, some of them never met."""
    model = _trained("three")
    path = tmp_path / f"model.{form}"
    if form == "cbm":
        model.save_model(str(path))
    else:
        joblib.dump(model, path)
    frame, _ = _table(seed=3)
    frame.loc[:40, "shop"] = "Bonn"
    frame.loc[30:80, "number"] = 1234
    expected, labels = model.predict_proba(frame), model.predict(frame).ravel()
    report = convert(path, tmp_path / "shops.bundle", trust=form == "joblib")
    assert any("same hashes" in warning for warning in report.warnings)
    with ortolan.load(tmp_path / "shops.bundle", ortolan.TabularClassifier) as classifier:
        assert classifier.check().drop == 0
        found = [classifier.predict(row) for row in frame.to_dict("records")]
    assert [one.label for one in found] == labels.tolist()
    probabilities = [[(one.probabilities or {})[label] for label in model.classes_.tolist()] for one in found]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6, atol=1e-9)


def test_samples_have_the_categories(tmp_path: Path) -> None:
    """From a file of rows, whose numbers may be categories; nothing is said of made-up ones then."""
    model = _trained("binary")
    model.save_model(str(tmp_path / "model.cbm"))
    frame, targets = _table()
    labelled = frame.assign(open=frame["open"].astype(int), label=targets["binary"])
    labelled.to_csv(tmp_path / "rows.csv", index=False)
    labelled.to_json(tmp_path / "rows.jsonl", orient="records", lines=True)
    right = float((model.predict(frame) == targets["binary"]).mean())
    for name in ("rows.csv", "rows.jsonl"):
        report = convert(tmp_path / "model.cbm", tmp_path / "o.bundle", samples=tmp_path / name, overwrite=True)
        assert report.accuracy == pytest.approx(right)
        assert not report.warnings


def test_counters_that_the_export_confuses_are_refused(tmp_path: Path) -> None:
    """CatBoost's JSON has one table where the model has two."""
    model = _trained("number", simple_ctr=["Borders:TargetBorderCount=1", "Borders:TargetBorderCount=6"])
    with pytest.raises(UnsupportedError, match="several counters of one type that divide the target differently"):
        _read(model, tmp_path)


def test_categories_behind_other_steps_are_refused(tmp_path: Path) -> None:
    """By name, with what to do."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    frame, targets = _table()
    model = catboost.CatBoostRegressor(
        cat_features=CATEGORIES, iterations=3, verbose=0, allow_writing_files=False, thread_count=2
    )
    pipeline = make_pipeline(FunctionTransformer(), model).fit(frame, targets["number"])
    joblib.dump(pipeline, tmp_path / "model.joblib")
    with pytest.raises(UnsupportedError, match="CatBoostRegressor with categories in column 'size', 'shop'"):
        convert(tmp_path / "model.joblib", tmp_path / "o.bundle", trust=True)


def test_columns_of_texts_are_refused(tmp_path: Path) -> None:
    """Beside categories too."""
    frame, targets = _table()
    frame["review"] = np.where(frame["x"] > 0, "good and cheap", "bad and dear")
    model = catboost.CatBoostClassifier(
        cat_features=CATEGORIES,
        text_features=["review"],
        iterations=3,
        verbose=0,
        allow_writing_files=False,
        thread_count=2,
    ).fit(frame, targets["binary"])
    with pytest.raises(UnsupportedError, match="column 'review' holds text or embeddings"):
        _read(model, tmp_path)


@pytest.mark.parametrize("damage", ["border", "index", "element", "stride", "class"])
def test_a_damaged_export_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Splits that are none of their counter, columns out of range, tables of another width."""
    model = _trained("three")
    model.save_model(str(tmp_path / "model.json"), format="json")
    content = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    counter = content["features_info"]["ctrs"][0]
    if damage == "border":
        counter["borders"] = [border + 0.5 for border in counter["borders"]]
    elif damage == "index":
        counter["elements"][0]["cat_feature_index"] = 99
    elif damage == "element":
        counter["elements"] = []
    elif damage == "stride":
        content["ctr_data"][counter["identifier"]]["hash_stride"] = 1
    else:
        counter["target_border_idx"] = 99
    monkeypatch.setattr(json, "loads", lambda _: content)
    with pytest.raises(ConversionError, match="a CatBoost model that is damaged"):
        read_model(model, "model")

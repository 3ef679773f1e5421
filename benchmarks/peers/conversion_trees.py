"""Trees and boosting answered by their libraries and by their Ortolan bundles: labels, numbers, time of one row.

    python benchmarks/peers/conversion_trees.py [--rows 100000] [--blocks 60] [--only NAME] [--passeval MODEL.pkl]

The models are trained here on scikit-learn's bundled data; passeval's forest is taken from its package
(``passeval==0.2.0``) if its file is given. Each is converted with `ortolan_convert.convert.convert`. Then both sides
answer the same rows: random ones, each threshold and its neighbours in float32 and float64, missing values and
infinities where the library takes them. A label that differs is a tie if the source's own two best numbers are nearer
than 1e-12 of the largest (1e-6 where the library sums in float32). Single rows are timed in turn, in blocks, in
shuffled order: the library's ``predict``; the fastest of its documented calls for one row (``predict_proba``, and of a
booster ``Booster.predict`` or ``inplace_predict``), which is found first; ``Model.predict`` and ``Model.run``. Prints
medians and how many times faster than the library's ``predict``, and than its fastest call, they are. The exit status
is 1 if the target for ``predict`` is missed, or labels or numbers differ.
Needs ``pip install 'ortolan[cpu,convert,sklearn,boosting]'``.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np

import ortolan
from ortolan_convert.convert import convert
from ortolan_convert.request import Request
from ortolan_convert.sources.boosting import catboost, lightgbm, xgboost
from ortolan_convert.sources.recognise import recognise
from ortolan_convert.sources.scikit_learn.artifact import read_artifact
from ortolan_convert.sources.scikit_learn.table_source import read_table_source
from ortolan_convert.tables.rows import as_lists, made_up_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ortolan_convert.tables.source import TableSource

FASTER = 5.0
"""How many times faster than the library a single row is to be answered."""
CLOSE = 1e-6
"""Largest relative difference of a number."""
TINY = 1e-9
"""Numbers below this share of the largest of their kind are compared as if they were as large."""
BATCH = 4096
READERS = {
    "xgboost-json": xgboost.read_table_model,
    "xgboost-ubj": xgboost.read_table_model,
    "lightgbm": lightgbm.read_table_model,
    "catboost": catboost.read_table_model,
}
TIES = {"xgboost": 1e-6}
"""How near two numbers of a tie are, by framework."""


@dataclass(frozen=True)
class Case:
    """A trained model, the file it was saved to, and rows to time."""

    name: str
    model: Any
    path: Path
    rows: Any


def cases(directory: Path, passeval: Path | None) -> Iterator[Case]:
    """Train and save."""
    from catboost import CatBoostClassifier, CatBoostRegressor
    from lightgbm import LGBMClassifier, LGBMRegressor
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        HistGradientBoostingRegressor,
        IsolationForest,
        RandomForestClassifier,
        RandomForestRegressor,
    )
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier, XGBRegressor

    cancer, iris, digits, diabetes = (
        load(return_X_y=True) for load in (load_breast_cancer, load_iris, load_digits, load_diabetes)
    )
    holes = (np.where(np.random.default_rng(0).random(cancer[0].shape) < 0.1, np.nan, cancer[0]), cancer[1])
    quiet: dict[str, Any] = {"verbose": 0, "allow_writing_files": False}
    if passeval is not None:
        yield Case(
            "passeval's forest", joblib.load(passeval), passeval, np.random.default_rng(0).uniform(0, 20, (99, 10))
        )
    plain = {
        "decision tree": (DecisionTreeClassifier(random_state=0), cancer),
        "random forest": (RandomForestClassifier(random_state=0), cancer),
        "random forest, digits": (RandomForestClassifier(random_state=0), digits),
        "random forest, regression": (RandomForestRegressor(random_state=0), diabetes),
        "extra trees": (ExtraTreesClassifier(random_state=0), iris),
        "gradient boosting": (GradientBoostingClassifier(random_state=0), cancer),
        "isolation forest": (IsolationForest(random_state=0), cancer),
        "hist gradient boosting": (HistGradientBoostingClassifier(random_state=0), holes),
        "hist gradient boosting, iris": (HistGradientBoostingClassifier(random_state=0), iris),
        "hist gradient boosting, regression": (HistGradientBoostingRegressor(random_state=0), diabetes),
    }
    boosted = {
        "XGBoost": (XGBClassifier(), holes, "json"),
        "XGBoost, digits": (XGBClassifier(), digits, "ubj"),
        "XGBoost, regression": (XGBRegressor(), diabetes, "ubj"),
        "LightGBM": (LGBMClassifier(verbose=-1), holes, "txt"),
        "LightGBM, iris": (LGBMClassifier(verbose=-1), iris, "txt"),
        "LightGBM, regression": (LGBMRegressor(verbose=-1), diabetes, "txt"),
        "CatBoost": (CatBoostClassifier(**quiet), holes, "cbm"),
        "CatBoost, iris": (CatBoostClassifier(**quiet), iris, "cbm"),
        "CatBoost, regression": (CatBoostRegressor(**quiet), diabetes, "cbm"),
    }
    for i, (name, (model, (x, y))) in enumerate(plain.items()):
        path = directory / f"plain{i}.joblib"
        joblib.dump(model.fit(x, y), path)
        yield Case(name, model, path, x)
    for i, (name, (model, (x, y), suffix)) in enumerate(boosted.items()):
        path = directory / f"boosted{i}.{suffix}"
        model.fit(x, y)
        (model.booster_ if suffix == "txt" else model).save_model(str(path))
        yield Case(name, model, path, x)


def source_of(path: Path) -> TableSource:
    """The library's model, to be asked."""
    kind = recognise(path)
    if kind == "pickle":
        return read_table_source([read_artifact(path, kind, trust=True)])
    return READERS[kind](Request(artifacts=((path, kind),), target=path, progress=lambda _: None))


def compare(source: TableSource, model: ortolan.Model, count: int) -> tuple[int, int, float]:
    """Labels that differ but for ties, ties that differ, and the largest relative difference."""
    rows = made_up_rows(source.columns, count, seed=7)
    expected = source.ask(rows)
    matrix = np.array(as_lists(rows, source.columns), np.float64)
    found: dict[str, list[Any]] = {}
    for start in range(0, count, BATCH):
        for name, values in model.run({"numbers": matrix[start : start + BATCH]}).items():
            found.setdefault(name, []).append(values)
    outputs = {name: np.concatenate(parts) for name, parts in found.items()}
    worst = 0.0
    for name, numbers in expected.numbers.items():
        scale = np.maximum(np.abs(numbers), TINY * np.abs(numbers).max())
        worst = max(worst, float((np.abs(numbers - outputs[name]) / scale).max()))
    if source.task == "tabular-regression":
        return 0, 0, worst
    position = {label: i for i, label in enumerate(source.labels)}
    deciding = outputs.get("probabilities", outputs.get("scores"))
    labels = (
        np.array([position[label] for label in outputs["label"].tolist()])
        if "label" in outputs
        else np.asarray(deciding).argmax(axis=1)
    )
    differ = np.flatnonzero(labels != expected.labels)
    numbers = expected.numbers[expected.decided_by]
    gap = np.abs(numbers[differ, labels[differ]] - numbers[differ, expected.labels[differ]])
    near = gap <= TIES.get(source.framework, 1e-12) * np.abs(numbers[differ]).max(axis=1, initial=0.0)
    return int((~near).sum()), int(near.sum()), worst


def seconds_per_call(call: Callable[[Any], object], rows: list[Any]) -> float:
    """Mean over the rows."""
    start = time.perf_counter()
    for row in rows:
        call(row)
    return (time.perf_counter() - start) / len(rows)


def fastest_call(case: Case, rows: list[Any]) -> Callable[[Any], object]:
    """The library's documented call that answers one row soonest."""
    calls = [case.model.predict]
    if hasattr(case.model, "predict_proba"):
        calls.append(case.model.predict_proba)
    if hasattr(case.model, "booster_"):
        calls.append(case.model.booster_.predict)
    if hasattr(case.model, "get_booster"):
        calls.append(case.model.get_booster().inplace_predict)
    best = [min(seconds_per_call(call, rows) for _ in range(5)) for call in calls]
    return calls[best.index(min(best))]


def single_rows(case: Case, model: Any, blocks: int) -> dict[str, float]:
    """Median seconds of one row, by way."""
    whole = np.ascontiguousarray(case.rows[:40], np.float64)
    pairs = [whole[i : i + 1] for i in range(len(whole))]
    lists = [row.tolist() for row in whole]
    feeds = [{"numbers": pair} for pair in pairs]
    ways: dict[str, tuple[Callable[[Any], object], list[Any]]] = {
        "library": (case.model.predict, pairs),
        "fastest": (fastest_call(case, pairs[:10]), pairs),
        "predict": (model.predict, lists),
        "run": (model.run, feeds),
    }
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for call, rows in ways.values():
        seconds_per_call(call, rows[:10])
    order = list(ways)
    for _ in range(blocks):
        random.shuffle(order)
        for name in order:
            call, rows = ways[name]
            few = random.sample(rows, 5 if name in ("library", "fastest") else 20)
            samples[name].append(seconds_per_call(call, few))
    return {name: statistics.median(values) for name, values in samples.items()}


def main() -> int:
    """Convert, compare, time, print, and say whether the targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows to compare on (default 100000)")
    parser.add_argument("--blocks", type=int, default=60, help="rounds of one block for each way (default 60)")
    parser.add_argument("--only", help="models whose name has this in it")
    parser.add_argument("--passeval", type=Path, help="passeval_model.pkl out of passeval==0.2.0")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    missed = []
    print(
        f"{'':36}{'labels equal':>16} {'ties':>5} {'difference':>11}{'library':>11}{'its fastest':>12}"
        f"{'predict':>11}{'faster than both':>18}{'run':>11}{'faster than both':>18}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        for case in cases(Path(temporary), arguments.passeval):
            if arguments.only and arguments.only.lower() not in case.name.lower():
                continue
            bundle = convert(case.path, Path(temporary, "o.bundle"), trust=True, overwrite=True).bundle.path
            with ortolan.load(bundle) as model:
                wrong, ties, worst = compare(source_of(case.path), model, arguments.rows)
                times = single_rows(case, model, arguments.blocks)
            ratios = {
                way: [times[library] / times[way] for library in ("library", "fastest")] for way in ("predict", "run")
            }
            print(
                f"{case.name:36}{arguments.rows - wrong - ties:>9}/{arguments.rows:<6} {ties:>5} {worst:>11.1e}"
                f"{times['library'] * 1e6:>8.1f} µs{times['fastest'] * 1e6:>9.1f} µs"
                + "".join(
                    f"{times[way] * 1e6:>8.1f} µs" + "".join(f"{ratio:>8.1f}x" for ratio in ratios[way])
                    for way in ("predict", "run")
                ),
                flush=True,
            )
            if wrong or not worst <= CLOSE or ratios["predict"][0] < FASTER:
                missed.append(case.name)
    print(f"targets: labels equal but for ties, difference <= {CLOSE:g}, predict >= {FASTER:g}x faster")
    print(f"missed: {', '.join(missed)}" if missed else "all met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

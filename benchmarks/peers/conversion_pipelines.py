"""Pipelines of scikit-learn drawn at random from the supported steps, converted and compared on rows never seen.

    python benchmarks/peers/conversion_pipelines.py                  # 100 pipelines, the same ones every time
    python benchmarks/peers/conversion_pipelines.py --seed 7 --count 20

Each is trained on two thirds of one of scikit-learn's bundled data sets, some columns made strings and some values made
missing, saved with joblib and converted by the public function. The bundle then answers the held-out rows and rows on
and beside the thresholds and categories that the model knows. A decision is changed if the label differs and the
source's own numbers for both labels are not equal to a millionth; rows where several neighbours are equally near to the
last digits have no answer to compare and are counted apart. Prints a line for each pipeline, and totals; exit status 1
if a decision changed, or a pipeline was neither converted nor refused by name.

Needs ``pip install 'ortolan[cpu,sklearn]'``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from sklearn import (
    calibration,
    cluster,
    datasets,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    mixture,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.pipeline import make_pipeline

import ortolan
from ortolan.errors import OrtolanError, UnsupportedError
from ortolan_convert.convert import convert
from ortolan_convert.sources.scikit_learn.artifact import Artifact
from ortolan_convert.sources.scikit_learn.table_source import read_table_source
from ortolan_convert.tables.rows import as_lists, made_up_rows

ROWS = 600
"""Of a data set, at most: nearest neighbours and kernels look at all of them."""
BOUNDARY_ROWS = 2000
TIE = 1e-6
MISSING = 0.06
"""Share of the values made missing, where some are."""

Draw = np.random.Generator
Make = Callable[[Draw], Any]


@dataclass(frozen=True)
class Data:
    """A data set: columns by name, what is to be predicted, and which columns are strings."""

    name: str
    frame: pd.DataFrame
    target: Any
    strings: tuple[str, ...]
    missing: bool


def seed(random: Draw) -> int:
    return int(random.integers(1 << 30))


def one_of(*values: Any) -> Make:
    return lambda random: values[int(random.integers(len(values)))]


SCALERS: Sequence[Make] = (
    lambda r: preprocessing.StandardScaler(with_mean=bool(r.integers(2))),
    lambda r: preprocessing.MinMaxScaler(clip=bool(r.integers(2))),
    lambda _: preprocessing.MaxAbsScaler(),
    lambda _: preprocessing.RobustScaler(),
    lambda _: preprocessing.PowerTransformer(),
    lambda r: preprocessing.QuantileTransformer(
        n_quantiles=40, output_distribution=one_of("uniform", "normal")(r), random_state=seed(r)
    ),
    lambda r: preprocessing.KBinsDiscretizer(4, encode=one_of("ordinal", "onehot-dense")(r), quantile_method="linear"),
    lambda _: preprocessing.FunctionTransformer(),
    lambda r: preprocessing.SplineTransformer(n_knots=4, extrapolation=one_of("constant", "linear", "periodic")(r)),
)
ENCODERS: Sequence[Make] = (
    lambda r: preprocessing.OneHotEncoder(handle_unknown=one_of("error", "ignore")(r)),
    lambda _: preprocessing.OneHotEncoder(drop="first"),
    lambda _: preprocessing.OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.3),
    lambda _: preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    lambda _: preprocessing.OrdinalEncoder(),
    lambda r: preprocessing.TargetEncoder(random_state=seed(r)),
)
IMPUTERS: Sequence[Make] = (
    lambda r: impute.SimpleImputer(strategy=one_of("mean", "median", "most_frequent")(r)),
    lambda _: impute.SimpleImputer(strategy="median", add_indicator=True),
    lambda _: impute.SimpleImputer(strategy="constant", fill_value=-1.0),
    lambda r: impute.KNNImputer(n_neighbors=4, weights=one_of("uniform", "distance")(r)),
)
MIDDLES: Sequence[Make] = (
    lambda _: preprocessing.StandardScaler(),
    lambda _: preprocessing.Normalizer(),
    lambda _: preprocessing.Binarizer(threshold=0.3),
    lambda r: preprocessing.PolynomialFeatures(2, interaction_only=bool(r.integers(2))),
    lambda r: decomposition.PCA(2, whiten=bool(r.integers(2)), random_state=seed(r)),
    lambda _: decomposition.IncrementalPCA(2),
    lambda r: decomposition.TruncatedSVD(2, random_state=seed(r)),
    lambda r: decomposition.FastICA(2, random_state=seed(r), max_iter=500),
    lambda r: decomposition.NMF(2, random_state=seed(r)) if r.random() < 0.3 else decomposition.PCA(2),
    lambda _: feature_selection.VarianceThreshold(),
    lambda r: cluster.KMeans(4, n_init=1, random_state=seed(r)),
)
CHOOSERS: Sequence[Make] = (
    lambda _: feature_selection.SelectKBest(k=3),
    lambda _: feature_selection.SelectPercentile(),
)
SMALL_CLASSIFIERS: Sequence[Make] = (
    lambda _: linear_model.LogisticRegression(max_iter=200),
    lambda r: linear_model.SGDClassifier(
        loss=one_of("hinge", "log_loss", "modified_huber")(r), random_state=seed(r), max_iter=50
    ),
    lambda r: linear_model.Perceptron(random_state=seed(r)),
    lambda _: linear_model.RidgeClassifier(),
    lambda r: svm.LinearSVC(random_state=seed(r), max_iter=500),
    lambda _: naive_bayes.GaussianNB(),
    lambda _: naive_bayes.BernoulliNB(),
    lambda r: tree.DecisionTreeClassifier(max_depth=5, random_state=seed(r)),
    lambda r: svm.SVC(kernel=one_of("rbf", "linear", "poly", "sigmoid")(r)),
    lambda r: neighbors.KNeighborsClassifier(4, weights=one_of("uniform", "distance")(r)),
)
CLASSIFIERS: Sequence[Make] = (
    *SMALL_CLASSIFIERS,
    lambda r: ensemble.RandomForestClassifier(12, max_depth=7, random_state=seed(r)),
    lambda r: ensemble.ExtraTreesClassifier(12, max_depth=7, random_state=seed(r)),
    lambda r: ensemble.GradientBoostingClassifier(n_estimators=10, random_state=seed(r)),
    lambda r: ensemble.HistGradientBoostingClassifier(max_iter=10, random_state=seed(r)),
    lambda _: discriminant_analysis.LinearDiscriminantAnalysis(),
    lambda _: discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    lambda _: svm.NuSVC(nu=0.1),
    lambda r: svm.SVC(probability=True, random_state=seed(r)) if r.random() < 0.3 else svm.SVC(break_ties=True),
    lambda _: neighbors.NearestCentroid(),
    lambda r: neural_network.MLPClassifier((8,), max_iter=40, random_state=seed(r)),
    lambda r: ensemble.VotingClassifier(
        [("a", small(r)), ("b", tree.DecisionTreeClassifier(max_depth=4, random_state=seed(r))), ("c", small(r))]
    ),
    lambda _: ensemble.VotingClassifier(
        [("a", linear_model.LogisticRegression()), ("b", naive_bayes.GaussianNB())], voting="soft", weights=[1, 2]
    ),
    lambda r: ensemble.StackingClassifier([("a", small(r)), ("b", small(r))], cv=3, passthrough=bool(r.integers(2))),
    lambda r: ensemble.BaggingClassifier(small(r), 4, max_features=0.7, random_state=seed(r)),
    lambda r: ensemble.AdaBoostClassifier(n_estimators=8, random_state=seed(r)),
    lambda r: multiclass.OneVsRestClassifier(small(r)),
    lambda r: multiclass.OneVsOneClassifier(small(r)),
    lambda r: calibration.CalibratedClassifierCV(small(r), cv=3, method=one_of("sigmoid", "isotonic")(r)),
)
SMALL_REGRESSORS: Sequence[Make] = (
    lambda _: linear_model.LinearRegression(),
    lambda _: linear_model.Ridge(),
    lambda _: linear_model.Lasso(alpha=0.1),
    lambda _: linear_model.ElasticNet(alpha=0.1),
    lambda r: tree.DecisionTreeRegressor(max_depth=5, random_state=seed(r)),
    lambda r: neighbors.KNeighborsRegressor(4, weights=one_of("uniform", "distance")(r)),
)
REGRESSORS: Sequence[Make] = (
    *SMALL_REGRESSORS,
    lambda r: ensemble.RandomForestRegressor(12, max_depth=7, random_state=seed(r)),
    lambda r: ensemble.ExtraTreesRegressor(12, max_depth=7, random_state=seed(r)),
    lambda _: linear_model.BayesianRidge(),
    lambda r: neural_network.MLPRegressor(hidden_layer_sizes=(8,), max_iter=40, random_state=seed(r)),
    lambda r: ensemble.BaggingRegressor(regressor(r), 4, random_state=seed(r)),
    lambda _: TransformedTargetRegressor(linear_model.Ridge(), transformer=preprocessing.StandardScaler()),
)
ONE_TARGET: Sequence[Make] = (
    *REGRESSORS,
    lambda r: ensemble.GradientBoostingRegressor(n_estimators=10, random_state=seed(r)),
    lambda r: ensemble.HistGradientBoostingRegressor(max_iter=10, random_state=seed(r)),
    lambda _: svm.SVR(),
    lambda _: linear_model.HuberRegressor(max_iter=300),
    lambda _: linear_model.PoissonRegressor(),
    lambda r: ensemble.VotingRegressor([("a", regressor(r)), ("b", regressor(r))]),
    lambda r: ensemble.StackingRegressor([("a", regressor(r)), ("b", regressor(r))], cv=3),
    lambda r: ensemble.AdaBoostRegressor(n_estimators=8, random_state=seed(r)),
)
OTHERS: Sequence[Make] = (
    lambda r: cluster.KMeans(4, n_init=2, random_state=seed(r)),
    lambda r: cluster.MiniBatchKMeans(4, n_init=2, random_state=seed(r)),
    lambda r: mixture.GaussianMixture(
        3, covariance_type=one_of("full", "tied", "diag", "spherical")(r), random_state=0
    ),
    lambda r: ensemble.IsolationForest(n_estimators=20, random_state=seed(r)),
    lambda _: svm.OneClassSVM(nu=0.2),
    lambda _: cluster.DBSCAN(),
    lambda _: cluster.AgglomerativeClustering(3),
)


def small(random: Draw) -> Any:
    return SMALL_CLASSIFIERS[int(random.integers(len(SMALL_CLASSIFIERS)))](random)


def regressor(random: Draw) -> Any:
    return SMALL_REGRESSORS[int(random.integers(len(SMALL_REGRESSORS)))](random)


def drawn(makers: Sequence[Make], random: Draw) -> Any:
    return makers[int(random.integers(len(makers)))](random)


LOADERS = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "diabetes": datasets.load_diabetes,
    "linnerud": datasets.load_linnerud,
}


def data_of(random: Draw) -> Data:
    """One of the data sets, of many rows some, with some columns made strings and some values made missing."""
    name = list(LOADERS)[int(random.choice(len(LOADERS), p=[0.22, 0.2, 0.2, 0.08, 0.22, 0.08]))]
    found = LOADERS[name](as_frame=True)
    frame = found.data.copy()
    rows = random.permutation(len(frame))[:ROWS]
    frame, target = frame.iloc[rows].reset_index(drop=True), np.asarray(found.target)[rows]
    if name in ("iris", "wine", "breast cancer") and random.random() < 0.5:
        target = np.asarray(found.target_names, object)[target]
    strings: tuple[str, ...] = ()
    if name != "digits" and random.random() < 0.5:
        strings = tuple(random.choice(frame.columns, 2, replace=False).tolist())
        for column in strings:
            ranks = pd.qcut(frame[column].rank(method="first"), 4, labels=False)
            frame[column] = pd.Series(np.array(["low", "middling", "high", "très haut"], object)[ranks], dtype=object)
    missing = name not in ("digits", "linnerud") and random.random() < 0.4
    if missing:
        for column in frame.columns:
            frame.loc[random.random(len(frame)) < MISSING, column] = None if column in strings else np.nan
    return Data(name, frame, target, strings, missing)


def pipeline_of(data: Data, random: Draw) -> Any:
    """Imputers and scalers of the numbers, encoders of the strings, up to two steps over all of them, and a model."""
    numbers = [column for column in data.frame.columns if column not in data.strings]
    before = [*([drawn(IMPUTERS, random)] if data.missing else []), drawn(SCALERS, random)]
    encoder = drawn(ENCODERS, random)
    fill = [impute.SimpleImputer(strategy="most_frequent")] if data.missing and random.random() < 0.6 else []
    steps: list[Any] = []
    if data.strings:
        chosen = [column for column in numbers if random.random() < 0.85] or numbers
        columns = [
            (make_pipeline(*before), chosen),
            (make_pipeline(*fill, encoder) if fill else encoder, list(data.strings)),
        ]
        steps.append(make_column_transformer(*columns, sparse_threshold=0))
        if data.missing and not fill:
            steps.append(impute.SimpleImputer(strategy="constant", fill_value=-1.0))
    elif data.missing or random.random() < 0.8:
        steps += before
    for _ in range(int(random.integers(3))):
        if random.random() < 0.5:
            steps.append(drawn(MIDDLES, random))
    kind = random.random()
    if kind < 0.12:
        return make_pipeline(*steps, drawn(OTHERS, random))
    if random.random() < 0.15 and data.name != "linnerud":
        steps.append(drawn(CHOOSERS, random))
    if data.name == "linnerud":
        model = drawn(REGRESSORS, random)
    elif data.name == "diabetes":
        model = drawn(ONE_TARGET, random)
    else:
        model = drawn(CLASSIFIERS, random)
    return make_pipeline(*steps, model)


@dataclass
class Outcome:
    """What became of a pipeline."""

    pipeline: str
    data: str
    rows: int = 0
    changed: int = 0
    tied: int = 0
    worst: float = 0.0
    refused: str = ""
    failed: str = ""


def judged(model: Any, data: Data, held: pd.DataFrame, room: Path) -> Outcome:
    """Convert, ask both, compare."""
    outcome = Outcome(
        described(model), data.name + ("+strings" if data.strings else "") + ("+missing" if data.missing else "")
    )
    path, target = room / "model.joblib", room / "model.bundle"
    joblib.dump(model, path)
    try:
        convert(path, target, trust=True, overwrite=True)
        source = read_table_source([Artifact("model", model, None)])
    except UnsupportedError as error:
        outcome.refused = str(error).partition("; known")[0].removeprefix("model.joblib: ")
        return outcome
    except OrtolanError as error:
        outcome.failed = f"{type(error).__name__}: {error}"
        return outcome
    rows = made_up_rows(source.columns, BOUNDARY_ROWS, seed=1)
    usable = usable_rows(source, held)
    both = {name: np.concatenate([usable[name], values]) for name, values in rows.items()}
    answers = source.ask(both)
    with ortolan.load(target) as bundle:
        found: list[Any] = bundle.predict_batch(as_lists(both, source.columns))  # type: ignore[attr-defined]
    outcome.rows = len(found)
    open_rows = np.zeros(len(found), bool) if answers.slack is None else np.isinf(answers.slack)
    if source.task != "tabular-regression":
        labels = list(source.labels) or list(range(next(iter(answers.numbers.values())).shape[1]))
        ours = np.array([labels.index(answer.label) for answer in found])
        differ = ours != answers.labels
        tied = differ & (open_rows | level(answers, ours))
        outcome.changed, outcome.tied = int((differ & ~tied).sum()), int((tied | open_rows).sum())
    else:
        outcome.tied = int(open_rows.sum())
    gaps = [relative(expected, numbers_of(name, found)) for name, expected in answers.numbers.items()]
    if gaps:
        outcome.worst = float(np.where(open_rows, 0.0, np.max(gaps, axis=0)).max())
    return outcome


def usable_rows(source: Any, held: pd.DataFrame) -> dict[str, Any]:
    """The held-out rows by column; rows with missing values where the source takes none are left out."""
    used = [column for column in source.columns if column.kind != "unused"]
    keep = np.ones(len(held), bool)
    for column in used:
        if not column.missing:
            keep &= held[column.name].notna().to_numpy()
    made = {}
    for column in used:
        values = held[column.name][keep]
        if column.kind == "number":
            made[column.name] = values.to_numpy(np.float64)
        else:
            texts = np.empty(len(values), object)
            texts[:] = [value if isinstance(value, str) else None for value in values]
            made[column.name] = texts
    return made


def level(answers: Any, ours: Any) -> Any:
    """Where the source's own numbers for its label and for the other one are equal to a millionth."""
    numbers = answers.numbers.get(answers.decided_by)
    if numbers is None:
        return np.zeros(len(ours), bool)
    rows = np.arange(len(ours))
    gap = np.abs(numbers[rows, ours] - numbers[rows, answers.labels])
    return gap <= TIE * np.maximum(1.0, np.abs(numbers).max(axis=1))


def numbers_of(name: str, found: Sequence[Any]) -> Any:
    """What the bundle answered with, as the source's numbers of that name."""
    if name == "values":
        return np.array([list(answer.values.values()) for answer in found])
    if name == "distances":
        return np.array([answer.distances for answer in found])
    if name == "probabilities":
        return np.array([list(answer.probabilities.values()) for answer in found])
    return np.array([list(answer.scores.values()) for answer in found])


def relative(expected: Any, ours: Any) -> Any:
    """The largest difference of each row, relative to its largest number where that is above 1."""
    with np.errstate(invalid="ignore"):
        gap = np.where(expected == ours, 0.0, np.abs(expected - ours))
    return (gap / np.maximum(1.0, np.abs(expected).max(axis=1, keepdims=True))).max(axis=1)


def described(model: Any) -> str:
    """The names of the steps."""
    kind = type(model).__name__
    if kind == "Pipeline":
        return " > ".join(described(step) for _, step in model.steps)
    if kind == "ColumnTransformer":
        return "[" + " | ".join(described(step) for _, step, _ in model.transformers) + "]"
    inner = [step for _, step in getattr(model, "estimators", None) or ()]
    inner += [model.estimator] if getattr(model, "estimator", None) is not None else []
    return kind + (f"({', '.join(described(one) for one in inner)})" if inner else "")


def trained(number: int, first: int) -> tuple[Any, Data, pd.DataFrame]:
    """A pipeline trained on two thirds of its data, and the rest; what fails to train is drawn again."""
    random = np.random.default_rng((first, number))
    while True:
        data = data_of(random)
        model = pipeline_of(data, random)
        order = random.permutation(len(data.frame))
        cut = 2 * len(order) // 3
        try:
            model.fit(data.frame.iloc[order[:cut]], data.target[order[:cut]])
        except (ValueError, np.linalg.LinAlgError):
            continue
        return model, data, data.frame.iloc[order[cut:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="number of the one pipeline to look at")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    began = time.perf_counter()
    outcomes = []
    print(f"{'':>4} {'rows':>5} {'changed':>7} {'tied':>5} {'worst':>8}  data, pipeline")
    with tempfile.TemporaryDirectory() as room:
        for number in range(options.count) if options.only is None else [options.only]:
            one = judged(*trained(number, options.seed), Path(room))
            outcomes.append(one)
            figures = f"{one.rows:5} {one.changed:7} {one.tied:5} {one.worst:8.1e}"
            if one.refused or one.failed:
                figures = f"{'refused' if one.refused else 'FAILED':<28}"
            print(f"{number:4} {figures}  {one.data}: {one.pipeline}", flush=True)
            if one.refused or one.failed:
                print(f"{'':5}{one.refused or one.failed}", flush=True)
    count = Counter("failed" if one.failed else "refused" if one.refused else "converted" for one in outcomes)
    changed = sum(one.changed for one in outcomes)
    print(
        f"{len(outcomes)} pipelines: {count['converted']} converted, {count['refused']} refused by name, "
        f"{count['failed']} failed; {sum(one.rows for one in outcomes):,} rows compared, {changed} decisions changed, "
        f"{sum(one.tied for one in outcomes):,} rows tied; worst difference "
        f"{max((one.worst for one in outcomes), default=0):.1e}; {time.perf_counter() - began:.0f} s"
    )
    return 1 if changed or count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""Every step of scikit-learn that is known: its bundle's graph answers as the step itself, on and beside the edges."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from sklearn import (
    calibration,
    cluster,
    cross_decomposition,
    datasets,
    decomposition,
    discriminant_analysis,
    dummy,
    ensemble,
    feature_selection,
    frozen,
    impute,
    kernel_ridge,
    linear_model,
    mixture,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    random_projection,
    svm,
)
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from ortolan.errors import ParityError, UnsupportedError
from ortolan_convert.session import run_model
from ortolan_convert.sources.scikit_learn.artifact import Artifact
from ortolan_convert.sources.scikit_learn.table_source import read_table_source
from ortolan_convert.tables.bundle import build_table
from ortolan_convert.tables.exam import compared
from ortolan_convert.tables.parity import gate_rows
from ortolan_convert.tables.rows import as_lists, made_up_rows

if TYPE_CHECKING:
    from ortolan_convert.tables.source import TableSource

IRIS = datasets.load_iris(return_X_y=True)
WINE = datasets.load_wine(return_X_y=True)
DIABETES = tuple(part[:150] for part in datasets.load_diabetes(return_X_y=True))
ROWS = 200


def checked(model: Any, rows: int = ROWS) -> TableSource:
    """The source of a fitted model, whose graph was found to agree with it.

    Raises:
        ParityError: it does not.
    """
    source = read_table_source([Artifact("model", model, None)])
    graph, task = build_table(source)
    asked = made_up_rows(source.columns, rows)
    listed = as_lists(asked, source.columns)
    answers = source.ask(asked)
    gate_rows(answers, compared(source, answers, run_model(graph.data, task, {}, listed)), listed, source.labels)
    return source


def fitted(model: Any, data: Any) -> Any:
    """The model, trained without a word on how well that went."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*data)


def named(model: Any) -> str:
    return " ".join(str(model).split())[:60]


TRANSFORMERS = [
    preprocessing.StandardScaler(with_mean=False),
    preprocessing.StandardScaler(with_std=False),
    preprocessing.MinMaxScaler(),
    preprocessing.MinMaxScaler(clip=True),
    preprocessing.MaxAbsScaler(),
    preprocessing.RobustScaler(),
    preprocessing.RobustScaler(with_centering=False),
    preprocessing.Normalizer(),
    preprocessing.Normalizer("l1"),
    preprocessing.Normalizer("max"),
    preprocessing.PowerTransformer(),
    preprocessing.PowerTransformer(standardize=False),
    preprocessing.QuantileTransformer(n_quantiles=30),
    preprocessing.QuantileTransformer(n_quantiles=30, output_distribution="normal"),
    preprocessing.Binarizer(threshold=3),
    preprocessing.KBinsDiscretizer(4, encode="ordinal", quantile_method="linear"),
    preprocessing.KBinsDiscretizer(3, quantile_method="linear"),
    preprocessing.PolynomialFeatures(2),
    preprocessing.PolynomialFeatures(3, interaction_only=True, include_bias=False),
    preprocessing.PolynomialFeatures((2, 3)),
    preprocessing.SplineTransformer(n_knots=4),
    preprocessing.SplineTransformer(n_knots=4, degree=2, extrapolation="linear", include_bias=False),
    preprocessing.SplineTransformer(n_knots=3, degree=1, knots="quantile"),
    preprocessing.SplineTransformer(n_knots=4, extrapolation="continue"),
    preprocessing.FunctionTransformer(),
    feature_selection.SelectKBest(k=2),
    feature_selection.VarianceThreshold(0.3),
    feature_selection.RFE(Ridge(), n_features_to_select=2),
    feature_selection.SelectFromModel(Ridge()),
    decomposition.PCA(2),
    decomposition.PCA(2, whiten=True),
    decomposition.IncrementalPCA(2),
    decomposition.FastICA(2, random_state=0),
    decomposition.TruncatedSVD(2, random_state=0),
    random_projection.GaussianRandomProjection(2, random_state=0),
    random_projection.SparseRandomProjection(2, random_state=0),
    discriminant_analysis.LinearDiscriminantAnalysis(),
    discriminant_analysis.LinearDiscriminantAnalysis(solver="eigen"),
    cluster.KMeans(3, random_state=0),
    FeatureUnion([("a", StandardScaler()), ("b", decomposition.PCA(1)), ("c", "drop")], transformer_weights={"a": 2.0}),
    frozen.FrozenEstimator(StandardScaler().fit(*IRIS)),
    "passthrough",
]


@pytest.mark.parametrize("step", TRANSFORMERS, ids=named)
def test_transformers(step: Any) -> None:
    """What a linear model makes of their features is what it makes of the graph's."""
    checked(fitted(make_pipeline(step, LogisticRegression()), IRIS))


CLASSIFIERS = [
    LogisticRegression(),
    linear_model.LogisticRegressionCV(cv=2, Cs=2, l1_ratios=(0,), use_legacy_attributes=False),
    linear_model.SGDClassifier(loss="log_loss", random_state=0),
    linear_model.SGDClassifier(loss="modified_huber", random_state=0),
    linear_model.SGDClassifier(random_state=0),
    linear_model.Perceptron(),
    linear_model.RidgeClassifier(),
    svm.LinearSVC(),
    discriminant_analysis.LinearDiscriminantAnalysis(),
    discriminant_analysis.LinearDiscriminantAnalysis(solver="lsqr"),
    discriminant_analysis.QuadraticDiscriminantAnalysis(),
    naive_bayes.GaussianNB(),
    naive_bayes.BernoulliNB(binarize=2.0),
    svm.SVC(),
    svm.SVC(kernel="linear"),
    svm.SVC(kernel="poly", degree=2),
    svm.SVC(kernel="sigmoid"),
    svm.SVC(break_ties=True),
    svm.NuSVC(nu=0.2),
    neighbors.KNeighborsClassifier(),
    neighbors.KNeighborsClassifier(3, weights="distance"),
    neighbors.KNeighborsClassifier(algorithm="brute", weights="distance"),
    neighbors.KNeighborsClassifier(metric="cosine"),
    neighbors.KNeighborsClassifier(metric="cosine", weights="distance"),
    neighbors.NearestCentroid(),
    neighbors.NearestCentroid(metric="manhattan"),
    neighbors.NearestCentroid(priors="empirical"),
    neural_network.MLPClassifier((5,), max_iter=30, random_state=0),
    neural_network.MLPClassifier((5, 4), activation="tanh", max_iter=30, random_state=0),
    ensemble.VotingClassifier([("a", LogisticRegression()), ("b", naive_bayes.GaussianNB()), ("c", svm.SVC())]),
    ensemble.VotingClassifier(
        [("a", LogisticRegression()), ("b", naive_bayes.GaussianNB())], voting="soft", weights=[1, 2]
    ),
    ensemble.StackingClassifier([("a", LogisticRegression()), ("b", svm.SVC())], cv=2),
    ensemble.StackingClassifier([("a", naive_bayes.GaussianNB())], cv=2, passthrough=True, stack_method="predict"),
    ensemble.BaggingClassifier(LogisticRegression(), 3, max_features=0.6, random_state=0),
    ensemble.BaggingClassifier(svm.LinearSVC(), 3, random_state=0),
    ensemble.AdaBoostClassifier(LogisticRegression(), n_estimators=4, random_state=0),
    multiclass.OneVsRestClassifier(LogisticRegression()),
    multiclass.OneVsRestClassifier(svm.LinearSVC()),
    multiclass.OneVsRestClassifier(naive_bayes.GaussianNB()),
    multiclass.OneVsOneClassifier(LogisticRegression()),
    multiclass.OneVsOneClassifier(naive_bayes.GaussianNB()),
    multiclass.OutputCodeClassifier(LogisticRegression(), random_state=0),
    calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2),
    calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic", cv=2),
    calibration.CalibratedClassifierCV(LogisticRegression(), method="temperature", cv=2),
    dummy.DummyClassifier(),
]


@pytest.mark.parametrize("several", [True, False], ids=["three classes", "two classes"])
@pytest.mark.parametrize("model", CLASSIFIERS, ids=named)
def test_classifiers(model: Any, several: bool) -> None:
    """Labels and numbers are the classifier's own; names of classes too."""
    features, labels = IRIS
    names = np.array(["first", "second", "third"], object)[labels]
    if not several:
        features, names = features[labels > 0], names[labels > 0]
    source = checked(fitted(model, (features, names)))
    assert source.labels == tuple(sorted(set(names.tolist())))


def test_a_classifier_that_was_trained_before_it_was_calibrated() -> None:
    """FrozenEstimator stands around it."""
    checked(fitted(calibration.CalibratedClassifierCV(frozen.FrozenEstimator(LogisticRegression().fit(*IRIS))), IRIS))


REGRESSORS = [
    linear_model.LinearRegression(),
    Ridge(),
    linear_model.LassoCV(cv=2),
    linear_model.ElasticNet(0.1),
    linear_model.BayesianRidge(),
    linear_model.HuberRegressor(),
    linear_model.TheilSenRegressor(max_subpopulation=50, random_state=0),
    linear_model.RANSACRegressor(random_state=0),
    linear_model.SGDRegressor(random_state=0),
    linear_model.PoissonRegressor(),
    linear_model.GammaRegressor(),
    linear_model.TweedieRegressor(power=0),
    cross_decomposition.PLSRegression(2),
    svm.SVR(),
    svm.NuSVR(kernel="poly"),
    svm.LinearSVR(),
    kernel_ridge.KernelRidge(kernel="rbf"),
    kernel_ridge.KernelRidge(),
    neighbors.KNeighborsRegressor(),
    neighbors.KNeighborsRegressor(weights="distance", p=1),
    neighbors.KNeighborsRegressor(metric="cosine"),
    neural_network.MLPRegressor(hidden_layer_sizes=(5,), max_iter=30, random_state=0),
    ensemble.VotingRegressor([("a", Ridge()), ("b", svm.SVR())], weights=[1, 3]),
    ensemble.StackingRegressor([("a", Ridge()), ("b", svm.SVR())], cv=2),
    ensemble.BaggingRegressor(Ridge(), 3, random_state=0),
    ensemble.AdaBoostRegressor(Ridge(), n_estimators=4, random_state=0),
    TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
    TransformedTargetRegressor(Ridge(), transformer=preprocessing.MinMaxScaler()),
    TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1),
    dummy.DummyRegressor(strategy="median"),
]


@pytest.mark.parametrize("model", REGRESSORS, ids=named)
def test_regressors(model: Any) -> None:
    """Values are the regressor's own to a millionth."""
    source = checked(fitted(make_pipeline(StandardScaler(), model), DIABETES))
    assert source.targets == ("value",)


@pytest.mark.parametrize(
    "model",
    [
        Ridge(),
        neighbors.KNeighborsRegressor(),
        multioutput.MultiOutputRegressor(svm.SVR()),
        neural_network.MLPRegressor(hidden_layer_sizes=(4,), max_iter=20, random_state=0),
        linear_model.MultiTaskLasso(),
        dummy.DummyRegressor(),
    ],
    ids=named,
)
def test_several_targets(model: Any) -> None:
    """Each has a column of its own."""
    source = checked(fitted(make_pipeline(StandardScaler(), model), datasets.load_linnerud(return_X_y=True)))
    assert source.targets == ("value0", "value1", "value2")


@pytest.mark.parametrize(
    ("model", "labels"),
    [
        (mixture.GaussianMixture(3, random_state=0), (0, 1, 2)),
        (mixture.GaussianMixture(3, covariance_type="tied", random_state=0), (0, 1, 2)),
        (mixture.GaussianMixture(3, covariance_type="diag", random_state=0), (0, 1, 2)),
        (mixture.GaussianMixture(3, covariance_type="spherical", random_state=0), (0, 1, 2)),
        (svm.OneClassSVM(nu=0.2), (-1, 1)),
        (cluster.MiniBatchKMeans(3, random_state=0), ()),
        (cluster.BisectingKMeans(7, random_state=0), ()),
        (cluster.BisectingKMeans(1, random_state=0), ()),
    ],
    ids=named,
)
def test_models_without_labels_to_learn(model: Any, labels: tuple[int, ...]) -> None:
    """Mixtures number their components, outlier detectors say -1 and 1, clusters are distances."""
    assert checked(fitted(make_pipeline(StandardScaler(), model), (IRIS[0],))).labels == labels


def holes(features: Any) -> Any:
    """The features with a tenth of them missing."""
    return np.where(np.random.default_rng(0).random(features.shape) < 0.1, np.nan, features)


@pytest.mark.parametrize(
    "imputer",
    [
        impute.SimpleImputer(),
        impute.SimpleImputer(strategy="median", add_indicator=True),
        impute.SimpleImputer(strategy="constant", fill_value=-1),
        impute.KNNImputer(),
        impute.KNNImputer(weights="distance", add_indicator=True),
        make_union(impute.SimpleImputer(), impute.MissingIndicator()),
    ],
    ids=named,
)
def test_missing_numbers(imputer: Any) -> None:
    """They may stand in every column, and the imputer fills them as it does."""
    model = make_pipeline(imputer, StandardScaler(), LogisticRegression())
    source = checked(fitted(model, (holes(IRIS[0]), IRIS[1])))
    assert all(column.missing for column in source.columns)


def test_missing_numbers_that_have_another_form() -> None:
    """An imputer may take a number for missing."""
    features = IRIS[0].round()
    model = make_pipeline(impute.SimpleImputer(missing_values=3, strategy="median"), LogisticRegression())
    assert not any(column.missing for column in checked(fitted(model, (features, IRIS[1]))).columns)


def test_missing_values_are_refused_where_the_model_refuses_them() -> None:
    """Found out by asking."""
    assert not any(column.missing or column.infinite for column in checked(LogisticRegression().fit(*IRIS)).columns)


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Two columns of strings, one of them with missing ones, whole numbers as categories, and numbers."""
    random = np.random.default_rng(0)
    size = len(IRIS[0])
    return pd.DataFrame(
        {
            "color": pd.Series(random.choice(["red", "green", "très bleu"], size), dtype=object),
            "length": IRIS[0][:, 2],
            "kind": random.choice([1, 2, 5], size),
            "town": pd.Series(random.choice(["Graz", "Wien", None], size, p=[0.5, 0.4, 0.1]), dtype=object),
        }
    )


ENCODERS = [
    OneHotEncoder(),
    OneHotEncoder(handle_unknown="ignore"),
    OneHotEncoder(drop="first"),
    OneHotEncoder(drop="if_binary", handle_unknown="ignore"),
    OneHotEncoder(min_frequency=52, handle_unknown="infrequent_if_exist"),
    OneHotEncoder(max_categories=2, handle_unknown="infrequent_if_exist"),
    OrdinalEncoder(),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    preprocessing.TargetEncoder(random_state=0),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=named)
def test_encoders(encoder: Any, frame: pd.DataFrame) -> None:
    """Categories that are strings or numbers; unknown ones are refused where the encoder refuses them."""
    columns = make_column_transformer((encoder, ["color", "kind"]), (StandardScaler(), ["length"]))
    source = checked(fitted(make_pipeline(columns, LogisticRegression()), (frame, IRIS[1])))
    color, _, kind, town = source.columns
    assert (color.kind, kind.kind, town.kind) == ("string", "number", "unused")
    assert color.closed == kind.closed == (getattr(encoder, "handle_unknown", "ignore") == "error")


@pytest.mark.parametrize(
    "step",
    [
        OneHotEncoder(),
        OrdinalEncoder(encoded_missing_value=-2),
        make_pipeline(impute.SimpleImputer(missing_values=None, strategy="most_frequent"), OneHotEncoder()),
        make_pipeline(
            impute.SimpleImputer(missing_values=None, strategy="constant", fill_value="?"),
            OneHotEncoder(handle_unknown="ignore"),
        ),
        make_pipeline(impute.SimpleImputer(strategy="most_frequent"), OneHotEncoder()),
    ],
    ids=named,
)
def test_missing_strings(step: Any, frame: pd.DataFrame) -> None:
    """A category of their own, or filled; as the training data had them."""
    columns = make_column_transformer((step, ["town", "color"]), (StandardScaler(), ["length"]))
    source = checked(fitted(make_pipeline(columns, LogisticRegression()), (frame, IRIS[1])))
    assert source.columns[3].missing


def test_arrays_of_objects(frame: pd.DataFrame) -> None:
    """Columns go by position, and what is left passes through."""
    table = frame.drop(columns="town").to_numpy()
    columns = make_column_transformer((OneHotEncoder(), [0, -1]), remainder="passthrough")
    source = checked(fitted(make_pipeline(columns, LogisticRegression()), (table, IRIS[1])))
    assert [column.name for column in source.columns] == ["x0", "x1", "x2"]
    assert [column.kind for column in source.columns] == ["string", "number", "number"]


@pytest.mark.parametrize(
    "columns",
    [
        make_column_selector(dtype_include="number"),
        slice("length", "kind"),
        slice(1, 3),
        [False, True, True, False],
        ["length", "kind"],
    ],
    ids=str,
)
def test_ways_to_choose_columns(columns: Any, frame: pd.DataFrame) -> None:
    """By a function of the data, by names, positions or a mask."""
    chosen = make_column_transformer((StandardScaler(), columns), (OneHotEncoder(), ["color"]))
    source = checked(fitted(make_pipeline(chosen, LogisticRegression()), (frame, IRIS[1])))
    assert [column.kind for column in source.columns] == ["string", "number", "number", "unused"]


def test_a_column_cannot_be_both(frame: pd.DataFrame) -> None:
    """Of strings and of numbers."""
    table = frame.assign(kind=frame["kind"].astype(str).astype(object))
    columns = make_column_transformer((OneHotEncoder(), ["kind"]), ("passthrough", ["kind"]))
    with pytest.raises(UnsupportedError, match="column 'kind' is used both as"):
        checked(fitted(make_pipeline(columns, LogisticRegression()), (table, IRIS[1])))


REFUSED = [
    (svm.SVC(probability=True), "option 'probability': libsvm finds these by an iteration"),
    (svm.SVC(kernel=lambda a, b: a @ b.T), "option 'kernel': a function is not supported"),
    (dummy.DummyClassifier(strategy="uniform"), "option 'strategy': 'uniform' answers at random"),
    (neighbors.KNeighborsClassifier(metric="chebyshev"), "option 'metric': chebyshev is not supported"),
    (neighbors.KNeighborsClassifier(weights=np.exp), "option 'weights': calls a Python function"),
    (make_pipeline(decomposition.NMF(2), LogisticRegression()), "NMF is not supported: it finds its answer by"),
    (
        make_pipeline(preprocessing.SplineTransformer(extrapolation="periodic"), LogisticRegression()),
        "option 'extrapolation': 'periodic' is not supported",
    ),
    (make_pipeline(preprocessing.PowerTransformer("box-cox"), LogisticRegression()), "takes positive numbers only"),
    (cluster.AgglomerativeClustering(3), "cannot predict for other rows"),
    (cluster.OPTICS(), "cannot predict for other rows"),
    (multioutput.ClassifierChain(LogisticRegression()), "several labels at once"),
    (TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=abs), "option 'inverse_func': calls a Python"),
]


@pytest.mark.parametrize(("model", "message"), REFUSED, ids=[named(model) for model, _ in REFUSED])
def test_refusals(model: Any, message: str) -> None:
    """What cannot be repeated exactly is refused by name, with its option."""
    target = np.eye(3)[IRIS[1]] if isinstance(model, multioutput.ClassifierChain) else IRIS[1]
    with pytest.raises(UnsupportedError, match=message):
        checked(fitted(model, (IRIS[0] + 0.1, target)))


def test_neighbors_that_are_equally_near() -> None:
    """Where rounding decides which of them count, there is nothing to compare."""
    features = np.repeat(np.arange(12.0), 4).reshape(-1, 1)
    model = neighbors.KNeighborsClassifier(3).fit(features, np.tile([0, 1], 24))
    source = checked(model)
    slack = source.ask({"x0": np.array([2.0, 2.5])}).slack
    assert slack is not None
    assert np.isinf(slack).all()


def test_a_graph_that_disagrees_is_refused() -> None:
    """The gate finds a change of the source behind its back."""
    model = LogisticRegression().fit(*IRIS)
    source = read_table_source([Artifact("model", model, None)])
    graph, task = build_table(source)
    model.coef_ = model.coef_ * 1.0001
    asked = made_up_rows(source.columns, ROWS)
    answers, listed = source.ask(asked), as_lists(asked, source.columns)
    with pytest.raises(ParityError, match="disagrees with its source on"):
        gate_rows(answers, compared(source, answers, run_model(graph.data, task, {}, listed)), listed, source.labels)

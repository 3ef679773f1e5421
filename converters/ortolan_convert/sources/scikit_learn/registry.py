"""What is known of scikit-learn and of the libraries whose estimators work as its own: a row for each class.

To add a class, write a function and name it here; it is imported when an artifact has such an estimator:

- in :data:`TRANSFORMS`: ``(graph, fitted, features) -> features``, see :data:`~.steps.Transform`; one that leaves zeros
  alone also in :data:`SPARSE`;
- in :data:`MODELS`: ``(graph, fitted, features) -> Prediction``, see :data:`~.steps.Predict`.

A class of scikit-learn goes by its name, one of another library by ``package.Class``. Before the function is called
the estimator is known to be fitted, to take as many features as there are, and to have the options of the installed
version. What a function cannot do it refuses with `UnsupportedError`, beginning with ``fitted.place``. Inner estimators
go through `transformed` and `predicted` of `ortolan_convert.sources.scikit_learn.compose`. Features are taken apart and
made with `ortolan_convert.sources.scikit_learn.features`; `draw_from` there tells made-up rows of thresholds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ortolan.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ortolan_convert.sources.scikit_learn.steps import Predict, Transform

_HERE = "ortolan_convert.sources.scikit_learn"

TRANSFORMS: Mapping[str, str] = {
    "Pipeline": "compose:pipeline_features",
    "ColumnTransformer": "compose:column_transformer",
    "FeatureUnion": "compose:feature_union",
    "FrozenEstimator": "wrappers:frozen_transformer",
    "FunctionTransformer": "scalers:function_transformer",
    "StandardScaler": "scalers:standard_scaler",
    "MinMaxScaler": "scalers:min_max_scaler",
    "MaxAbsScaler": "scalers:max_abs_scaler",
    "RobustScaler": "scalers:robust_scaler",
    "Normalizer": "scalers:normalizer",
    "Binarizer": "scalers:binarizer",
    "PowerTransformer": "scalers:power_transformer",
    "QuantileTransformer": "scalers:quantile_transformer",
    "KBinsDiscretizer": "scalers:k_bins",
    "PolynomialFeatures": "scalers:polynomial_features",
    "SplineTransformer": "splines:spline_features",
    "OneHotEncoder": "encoders:encode",
    "OrdinalEncoder": "encoders:encode",
    "TargetEncoder": "encoders:encode",
    "SimpleImputer": "imputers:simple_imputer",
    "MissingIndicator": "imputers:missing_indicator",
    "KNNImputer": "imputers:knn_imputer",
    "GenericUnivariateSelect": "selectors:selector",
    "RFE": "selectors:selector",
    "RFECV": "selectors:selector",
    "SelectFdr": "selectors:selector",
    "SelectFpr": "selectors:selector",
    "SelectFromModel": "selectors:selector",
    "SelectFwe": "selectors:selector",
    "SelectKBest": "selectors:selector",
    "SelectPercentile": "selectors:selector",
    "SequentialFeatureSelector": "selectors:selector",
    "VarianceThreshold": "selectors:selector",
    "PCA": "selectors:principal_components",
    "IncrementalPCA": "selectors:principal_components",
    "TruncatedSVD": "selectors:truncated_svd",
    "FastICA": "selectors:independent_components",
    "GaussianRandomProjection": "selectors:random_projection",
    "SparseRandomProjection": "selectors:random_projection",
    "LinearDiscriminantAnalysis": "selectors:discriminant_features",
    "BisectingKMeans": "selectors:cluster_distances",
    "KMeans": "selectors:cluster_distances",
    "MiniBatchKMeans": "selectors:cluster_distances",
    "CountVectorizer": "text_steps:vectorize",
    "HashingVectorizer": "text_steps:vectorize",
    "TfidfVectorizer": "text_steps:vectorize",
}
"""Class -> ``module:function``, the module below this package."""

SPARSE: Mapping[str, str] = {
    "Binarizer": "text_steps:binarize",
    "MaxAbsScaler": "text_steps:scale",
    "Normalizer": "text_steps:normalize",
    "RobustScaler": "text_steps:scale",
    "StandardScaler": "text_steps:scale",
    "TfidfTransformer": "text_steps:weigh",
}
"""Of transformers that can keep features sparse: what does so where some features are of words, in place of the row in
:data:`TRANSFORMS`. The others select, multiply, or make them dense."""

MODELS: Mapping[str, str] = {
    "Pipeline": "compose:pipeline_prediction",
    "LinearRegression": "linear_models:linear_regression",
    "Ridge": "linear_models:linear_regression",
    "RidgeCV": "linear_models:linear_regression",
    "Lasso": "linear_models:linear_regression",
    "LassoCV": "linear_models:linear_regression",
    "ElasticNet": "linear_models:linear_regression",
    "ElasticNetCV": "linear_models:linear_regression",
    "Lars": "linear_models:linear_regression",
    "LarsCV": "linear_models:linear_regression",
    "LassoLars": "linear_models:linear_regression",
    "LassoLarsCV": "linear_models:linear_regression",
    "LassoLarsIC": "linear_models:linear_regression",
    "OrthogonalMatchingPursuit": "linear_models:linear_regression",
    "OrthogonalMatchingPursuitCV": "linear_models:linear_regression",
    "BayesianRidge": "linear_models:linear_regression",
    "ARDRegression": "linear_models:linear_regression",
    "HuberRegressor": "linear_models:linear_regression",
    "TheilSenRegressor": "linear_models:linear_regression",
    "SGDRegressor": "linear_models:linear_regression",
    "PassiveAggressiveRegressor": "linear_models:linear_regression",
    "LinearSVR": "linear_models:linear_regression",
    "QuantileRegressor": "linear_models:linear_regression",
    "MultiTaskLasso": "linear_models:linear_regression",
    "MultiTaskLassoCV": "linear_models:linear_regression",
    "MultiTaskElasticNet": "linear_models:linear_regression",
    "MultiTaskElasticNetCV": "linear_models:linear_regression",
    "PoissonRegressor": "linear_models:generalized_regression",
    "GammaRegressor": "linear_models:generalized_regression",
    "TweedieRegressor": "linear_models:generalized_regression",
    "PLSRegression": "linear_models:partial_least_squares",
    "RANSACRegressor": "linear_models:consensus_regression",
    "LogisticRegression": "linear_models:logistic_regression",
    "LogisticRegressionCV": "linear_models:logistic_regression",
    "LinearSVC": "linear_models:margin_classifier",
    "Perceptron": "linear_models:margin_classifier",
    "PassiveAggressiveClassifier": "linear_models:margin_classifier",
    "RidgeClassifier": "linear_models:margin_classifier",
    "RidgeClassifierCV": "linear_models:margin_classifier",
    "SGDClassifier": "linear_models:gradient_descent_classifier",
    "LinearDiscriminantAnalysis": "linear_models:linear_discriminants",
    "QuadraticDiscriminantAnalysis": "bayes:quadratic_discriminants",
    "GaussianNB": "bayes:gaussian",
    "MultinomialNB": "bayes:multinomial",
    "ComplementNB": "bayes:complement",
    "BernoulliNB": "bayes:bernoulli",
    "GaussianMixture": "bayes:mixture",
    "SVC": "vector_machines:support_vector_classifier",
    "NuSVC": "vector_machines:support_vector_classifier",
    "SVR": "vector_machines:support_vector_regression",
    "NuSVR": "vector_machines:support_vector_regression",
    "OneClassSVM": "vector_machines:one_class",
    "KernelRidge": "vector_machines:kernel_ridge",
    "KNeighborsClassifier": "neighbors:neighbors_classifier",
    "KNeighborsRegressor": "neighbors:neighbors_regressor",
    "NearestCentroid": "neighbors:nearest_centroid",
    "MLPClassifier": "neural:perceptron_classifier",
    "MLPRegressor": "neural:perceptron_regressor",
    "VotingClassifier": "ensembles:voting_classifier",
    "VotingRegressor": "ensembles:voting_regressor",
    "StackingClassifier": "ensembles:stacking_classifier",
    "StackingRegressor": "ensembles:stacking_regressor",
    "BaggingClassifier": "ensembles:bagging_classifier",
    "BaggingRegressor": "ensembles:bagging_regressor",
    "AdaBoostClassifier": "ensembles:boosted_classifier",
    "AdaBoostRegressor": "ensembles:boosted_regressor",
    "OneVsRestClassifier": "ensembles:one_vs_rest",
    "OneVsOneClassifier": "ensembles:one_vs_one",
    "OutputCodeClassifier": "ensembles:output_code",
    "MultiOutputRegressor": "ensembles:several_regressions",
    "CalibratedClassifierCV": "wrappers:calibrated_classifier",
    "FrozenEstimator": "wrappers:frozen_model",
    "TransformedTargetRegressor": "wrappers:transformed_target",
    "_ConstantPredictor": "wrappers:constant_classifier",
    "DummyClassifier": "wrappers:dummy_classifier",
    "DummyRegressor": "wrappers:dummy_regressor",
    "BisectingKMeans": "clusters:bisecting_k_means",
    "KMeans": "clusters:k_means",
    "MiniBatchKMeans": "clusters:k_means",
    "DecisionTreeClassifier": "trees:tree_classifier",
    "DecisionTreeRegressor": "trees:tree_regressor",
    "ExtraTreeClassifier": "trees:tree_classifier",
    "ExtraTreeRegressor": "trees:tree_regressor",
    "RandomForestClassifier": "trees:forest_classifier",
    "RandomForestRegressor": "trees:forest_regressor",
    "ExtraTreesClassifier": "trees:forest_classifier",
    "ExtraTreesRegressor": "trees:forest_regressor",
    "GradientBoostingClassifier": "trees:boosting_classifier",
    "GradientBoostingRegressor": "trees:boosting_regressor",
    "IsolationForest": "trees:isolation_forest",
    "HistGradientBoostingClassifier": "hist_gradient_boosting:classifier",
    "HistGradientBoostingRegressor": "hist_gradient_boosting:regressor",
    "xgboost.XGBClassifier": "boosting:xgboost_model",
    "xgboost.XGBRegressor": "boosting:xgboost_model",
    "xgboost.XGBRFClassifier": "boosting:xgboost_model",
    "xgboost.XGBRFRegressor": "boosting:xgboost_model",
    "xgboost.XGBRanker": "boosting:xgboost_model",
    "lightgbm.LGBMClassifier": "boosting:lightgbm_model",
    "lightgbm.LGBMRegressor": "boosting:lightgbm_model",
    "lightgbm.LGBMRanker": "boosting:lightgbm_model",
    "catboost.CatBoostClassifier": "boosting:catboost_model",
    "catboost.CatBoostRegressor": "boosting:catboost_model",
    "catboost.CatBoostRanker": "boosting:catboost_model",
}
"""Class -> ``module:function``, the module below this package."""

SEARCHES = frozenset({"GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"})
"""What stands for its best estimator."""

_CANNOT_PREDICT = "it labels the data it was trained on and cannot predict for other rows"
_SEVERAL = "several labels at once are not supported; convert a classifier for each"
_ITERATES = "it finds its answer by an iteration, which a graph cannot repeat exactly"
REFUSED: Mapping[str, str] = {
    "DBSCAN": _CANNOT_PREDICT,
    "HDBSCAN": _CANNOT_PREDICT,
    "OPTICS": _CANNOT_PREDICT,
    "AgglomerativeClustering": _CANNOT_PREDICT,
    "SpectralClustering": _CANNOT_PREDICT,
    "ClassifierChain": _SEVERAL,
    "MultiOutputClassifier": _SEVERAL,
    "NMF": _ITERATES,
    "MiniBatchNMF": _ITERATES,
    "LatentDirichletAllocation": _ITERATES,
    "IterativeImputer": _ITERATES,
    "DictionaryLearning": _ITERATES,
    "SparsePCA": _ITERATES,
    "FeatureAgglomeration": "merging features is not supported; train without it",
}
"""Class -> why it cannot be converted."""

PACKAGES = frozenset({"sklearn", "xgboost", "lightgbm", "catboost"})
"""Whose classes are known; a subclass made elsewhere may do anything."""


def key_of(estimator: object) -> str | None:
    """The name that an estimator's class goes by in the tables; None if it was made elsewhere."""
    package = type(estimator).__module__.partition(".")[0]
    if package not in PACKAGES:
        return None
    name = type(estimator).__name__
    return name if package == "sklearn" else f"{package}.{name}"


def transform_of(estimator: object, place: str, *, sparse: bool = False) -> Transform:
    """The function that converts a transformer.

    Args:
        estimator: the transformer.
        place: where it stands, for messages.
        sparse: whether some of the features are of words.

    Raises:
        UnsupportedError: there is none.
    """
    found: Transform = _function({**TRANSFORMS, **SPARSE} if sparse else TRANSFORMS, estimator, place, "transformers")
    return found


def predict_of(estimator: object, place: str) -> Predict:
    """The function that converts a model.

    Raises:
        UnsupportedError: there is none.
    """
    found: Predict = _function(MODELS, estimator, place, "models")
    return found


def _function(table: Mapping[str, str], estimator: object, place: str, what: str) -> Any:
    key = key_of(estimator)
    if key is None or key not in table:
        kind = type(estimator)
        why = f": {REFUSED[key]}" if key is not None and key in REFUSED else ""
        known = "" if why else f"; known {what}: {', '.join(sorted(name for name in table if name[0] != '_'))}"
        raise UnsupportedError(f"{place}: {kind.__module__}.{kind.__qualname__} is not supported{why}{known}")
    module, _, function = table[key].partition(":")
    return getattr(import_module(f"{_HERE}.{module}"), function)

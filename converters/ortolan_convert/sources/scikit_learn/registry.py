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
    "FunctionTransformer": "scalers:function_transformer",
    "StandardScaler": "scalers:standard_scaler",
    "CountVectorizer": "text_steps:vectorize",
    "HashingVectorizer": "text_steps:vectorize",
    "TfidfVectorizer": "text_steps:vectorize",
}
"""Class -> ``module:function``, the module below this package."""

_CHOOSE = "text_steps:choose"
SPARSE: Mapping[str, str] = {
    "Binarizer": "text_steps:binarize",
    "GenericUnivariateSelect": _CHOOSE,
    "MaxAbsScaler": "text_steps:scale",
    "Normalizer": "text_steps:normalize",
    "RobustScaler": "text_steps:scale",
    "SelectFdr": _CHOOSE,
    "SelectFpr": _CHOOSE,
    "SelectFromModel": _CHOOSE,
    "SelectFwe": _CHOOSE,
    "SelectKBest": _CHOOSE,
    "SelectPercentile": _CHOOSE,
    "StandardScaler": "text_steps:scale",
    "TfidfTransformer": "text_steps:weigh",
    "TruncatedSVD": "text_steps:reduce_by_svd",
    "VarianceThreshold": _CHOOSE,
}
"""Of transformers that keep features sparse where some of them are features of words: the same, in place of
:data:`TRANSFORMS`. Of the others, `dense` makes columns of such features too."""

MODELS: Mapping[str, str] = {
    "Pipeline": "compose:pipeline_prediction",
    "LinearRegression": "linear_models:linear_regression",
    "LogisticRegression": "linear_models:logistic_regression",
    "KMeans": "clusters:k_means",
}
"""Class -> ``module:function``, the module below this package."""

SEARCHES = frozenset({"GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"})
"""What stands for its best estimator."""

_CANNOT_PREDICT = "it labels the data it was trained on and cannot predict for other rows"
REFUSED: Mapping[str, str] = {
    "DBSCAN": _CANNOT_PREDICT,
    "HDBSCAN": _CANNOT_PREDICT,
    "OPTICS": _CANNOT_PREDICT,
    "AgglomerativeClustering": _CANNOT_PREDICT,
    "FeatureAgglomeration": "merging features is not supported; train without it",
    "SpectralClustering": _CANNOT_PREDICT,
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
        known = "" if why else f"; known {what}: {', '.join(sorted(table))}"
        raise UnsupportedError(f"{place}: {kind.__module__}.{kind.__qualname__} is not supported{why}{known}")
    module, _, function = table[key].partition(":")
    return getattr(import_module(f"{_HERE}.{module}"), function)

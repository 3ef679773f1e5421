"""The scikit-learn classes of XGBoost, LightGBM and CatBoost: their boosters, read as their files are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import compared, where
from ortolan_convert.sources.boosting import catboost, lightgbm, xgboost
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Prediction
from ortolan_convert.sources.scikit_learn.trees import matrix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted
    from ortolan_convert.tables.source import TableSource


def xgboost_model(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """XGBClassifier, XGBRegressor, XGBRanker and the forests of these."""
    return _predicted(graph, fitted, features, _xgboost(fitted), absent_zeros=parts.leave_zeros_out(features))


def lightgbm_model(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """LGBMClassifier, LGBMRegressor, LGBMRanker."""
    return _predicted(graph, fitted, features, _lightgbm(fitted))


def catboost_model(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """CatBoostClassifier, CatBoostRegressor, CatBoostRanker."""
    model = catboost.read_model(fitted.model, fitted.place)
    if model.table.hashed:
        names = ", ".join(repr(model.table.names[column]) for column in model.table.hashed)
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} with categories in column {names} behind other steps; "
            "convert it alone, for the columns that it takes: model.save_model('model.cbm')"
        )
    return _predicted(graph, fitted, features, model)


def with_categories(fitted: Fitted) -> TableSource | None:
    """A model of these libraries that stands alone and has columns of categories, else None.

    It takes the table as its library does: none of scikit-learn's steps stands between them.
    """
    library, model = type(fitted.model).__module__.partition(".")[0], fitted.model
    if library == "catboost" and model.get_cat_feature_indices():
        return catboost.table_source(model, fitted.place, sampled=False)
    labels = tuple(np.asarray(getattr(model, "classes_", ())).tolist())
    if library == "lightgbm" and model.__sklearn_is_fitted__() and (light := _lightgbm(fitted)).table.categories:
        return lightgbm.table_source(model.booster_, light, labels)
    if library == "xgboost" and model.__sklearn_is_fitted__() and (extreme := _xgboost(fitted)).table.categories:
        return xgboost.table_source(model.get_booster(), extreme, labels)
    return None


def _lightgbm(fitted: Fitted) -> lightgbm.LightGBMModel:
    return lightgbm.parse_model(fitted.model.booster_.model_to_string().encode(), fitted.place)


def _xgboost(fitted: Fitted) -> xgboost.XGBoostModel:
    missing = getattr(fitted.model, "missing", None)
    if missing is not None and missing == missing:
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} takes {missing!r} for a missing value; "
            "train it with missing=np.nan"
        )
    return xgboost.parse_model(bytes(fitted.model.get_booster().save_raw("ubj")), fitted.place)


def _predicted(
    graph: GraphBuilder, fitted: Fitted, features: Features, model: Any, *, absent_zeros: bool = False
) -> Prediction:
    """The model's answers to features that are numbers.

    Args:
        graph: to add to.
        fitted: the estimator.
        features: what it sees.
        model: its booster.
        absent_zeros: whether zeros are missing values: to XGBoost what a sparse matrix does not store is missing.
    """
    if model.table.categories:
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} with categories of a data frame behind other steps; "
            "convert it alone, for the columns that it takes"
        )
    if len(model.table.names) != parts.width(features):
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} takes {len(model.table.names)} columns, found "
            f"{parts.width(features)}"
        )
    x = matrix(graph, features, model.trees)
    if absent_zeros:
        x = where(graph, compared(graph, "Equal", x, 0.0), np.nan, x)
    found: Mapping[str, Value] = model.build(graph, x)
    numbers = {name: graph.cast(value, "float64") for name, value in found.items() if name != "label"}
    return Prediction(**numbers, label=found.get("label"), by_scores="probabilities" not in found and "scores" in found)

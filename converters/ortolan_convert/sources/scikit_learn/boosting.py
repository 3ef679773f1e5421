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


def xgboost_model(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """XGBClassifier, XGBRegressor, XGBRanker and the forests of these."""
    if getattr(fitted.model, "missing", None) is not None and fitted.model.missing == fitted.model.missing:
        raise UnsupportedError(
            f"{fitted.place}: {type(fitted.model).__name__} takes {fitted.model.missing!r} for a missing value; "
            "train it with missing=np.nan"
        )
    booster = fitted.model.get_booster()
    model = xgboost.parse_model(bytes(booster.save_raw("ubj")), fitted.place)
    return _predicted(graph, fitted, features, model, absent_zeros=parts.leave_zeros_out(features))


def lightgbm_model(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """LGBMClassifier, LGBMRegressor, LGBMRanker."""
    text = fitted.model.booster_.model_to_string()
    return _predicted(graph, fitted, features, lightgbm.parse_model(text.encode(), fitted.place))


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


def takes_categories(model: Any) -> bool:
    """Whether this is a model of CatBoost with columns of categories, not a pipeline that holds one."""
    return type(model).__module__.partition(".")[0] == "catboost" and bool(model.get_cat_feature_indices())


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
            f"{fitted.place}: {type(fitted.model).__name__} with categories of a data frame; save its booster and "
            "convert that file: model.booster_.save_model('model.txt') of LightGBM, model.save_model('model.json') of "
            "XGBoost"
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

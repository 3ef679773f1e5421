"""Steps after and beside each other: pipelines, column transformers, unions; each step by its row in the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.older import feature_count, modernize
from ortolan_convert.sources.scikit_learn.registry import REFUSED, SEARCHES, key_of, predict_of, transform_of
from ortolan_convert.sources.scikit_learn.steps import Fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ortolan_convert.graph import GraphBuilder
    from ortolan_convert.sources.scikit_learn.steps import Features, Prediction

_NOTHING = (None, "passthrough")


def transformed(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The features that any transformer makes.

    Raises:
        UnsupportedError: a class or an option that is not known.
        ConversionError: it is not fitted, or was trained on another number of features.
    """
    fitted = best(fitted)
    function = transform_of(fitted.model, fitted.place, sparse=parts.is_sparse(features))
    _check(fitted, features)
    made: Features = _explained(fitted, lambda: function(graph, fitted, features))
    return made


def predicted(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """What any model answers.

    Raises:
        UnsupportedError: a class or an option that is not known.
        ConversionError: it is not fitted, or was trained on another number of features.
    """
    fitted = best(fitted)
    function = predict_of(fitted.model, fitted.place)
    _check(fitted, features)
    answer: Prediction = _explained(fitted, lambda: function(graph, fitted, features))
    return answer


def refuse_what_cannot_predict(fitted: Fitted) -> None:
    """Say why a class of the registry's refusals cannot be converted.

    Raises:
        UnsupportedError: it is one of them.
    """
    if key_of(fitted.model) in REFUSED:
        predict_of(fitted.model, fitted.place)


def refuse_first_step(fitted: Fitted) -> None:
    """Say so if what sees the table first is a class that is not known.

    Raises:
        UnsupportedError: it is.
    """
    while key_of(fitted.model) == "Pipeline":
        fitted = _steps(fitted)[0]
        if key_of(fitted.model) != "Pipeline" and not hasattr(fitted.model, "predict"):
            transform_of(fitted.model, fitted.place)


def best(fitted: Fitted) -> Fitted:
    """What a search stands for: its best estimator; anything else is itself.

    Raises:
        ConversionError: the search has none.
    """
    while key_of(fitted.model) in SEARCHES:
        if not hasattr(fitted.model, "best_estimator_"):
            kind = type(fitted.model).__name__
            raise ConversionError(f"{fitted.place}: {kind} is not fitted, or was not told to refit the best estimator")
        fitted = Fitted(fitted.model.best_estimator_, f"{fitted.place}, best estimator")
    return fitted


def _check(fitted: Fitted, features: Features) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    name = type(fitted.model).__name__
    modernize(fitted.model)
    try:
        check_is_fitted(fitted.model)
    except NotFittedError:
        raise ConversionError(f"{fitted.place}: {name} is not fitted; save it after training") from None
    except TypeError as error:
        raise UnsupportedError(f"{fitted.place}: {name} cannot be used: {error}") from None
    wanted, found = feature_count(fitted.model), parts.width(features)
    if wanted is not None and wanted != found:
        raise ConversionError(
            f"{fitted.place}: {name} takes {wanted} features, but what comes before it gives {found}; "
            f"they were not trained together"
        )


def _explained(fitted: Fitted, convert: Any) -> Any:
    """What a row of the registry makes; an attribute that this version of the estimator does not have is explained."""
    try:
        return convert()
    except OrtolanError as error:
        if fitted.place.partition(":")[0] in str(error):
            raise
        raise type(error)(f"{fitted.place}: {error}") from None
    except AttributeError as error:
        raise ConversionError(
            f"{fitted.place}: {type(fitted.model).__name__} was saved by a version of its library that the installed "
            f"one does not fit ({error})"
        ) from None


def pipeline_features(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The steps of a pipeline of transformers, one after the other."""
    for step in _steps(fitted):
        features = transformed(graph, step, features)
    return features


def pipeline_prediction(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """The transformers of a pipeline, then its model."""
    *before, last = _steps(fitted, whole=True)
    for step in before:
        features = transformed(graph, step, features)
    return predicted(graph, last, features)


def _steps(fitted: Fitted, *, whole: bool = False) -> list[Fitted]:
    """The steps that do something.

    Raises:
        ConversionError: the last step is no model where one is due.
    """
    steps = fitted.model.steps
    if whole and (not steps or steps[-1][1] in _NOTHING):
        raise ConversionError(f"{fitted.place}: the pipeline ends without a model; save it with its model")
    prefix = f"{fitted.place.rpartition(': ')[0]}: " if fitted.place.endswith("the object") else f"{fitted.place}, "
    return [Fitted(step, f"{prefix}step {name!r}") for name, step in steps if step not in _NOTHING]


def feature_union(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Several transformers of the same features, side by side, weighted."""
    weights = fitted.model.transformer_weights or {}
    made: list[Any] = []
    for name, step in fitted.model.transformer_list:
        if step == "drop":
            continue
        if step in _NOTHING:
            found = features
        else:
            found = transformed(graph, Fitted(step, f"{fitted.place}, part {name!r}"), features)
        made += _weighted(graph, found, weights.get(name))
    return tuple(made)


def column_transformer(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Transformers of some columns each, side by side, weighted; columns by position, name, mask or slice."""
    weights = fitted.model.transformer_weights or {}
    made: list[Any] = []
    for name, step, columns in fitted.model.transformers_:
        places = _places(fitted, columns)
        if (isinstance(step, str) and step == "drop") or not places:
            continue
        chosen = parts.select(graph, features, places)
        if not isinstance(step, str):
            chosen = transformed(graph, Fitted(step, f"{fitted.place}, part {name!r}"), chosen)
        made += _weighted(graph, chosen, weights.get(name))
    if not getattr(fitted.model, "sparse_output_", False):
        made = [part.with_zeros() if isinstance(part, parts.Scalable) else part for part in made]
    return tuple(made)


def _places(fitted: Fitted, columns: Any) -> Sequence[int]:
    """Positions of a column transformer's selection; it was resolved when fitted, callables included."""
    count = fitted.model.n_features_in_
    if isinstance(columns, str | int | np.integer):
        columns = [columns]
    if isinstance(columns, slice):
        if any(isinstance(end, str) for end in (columns.start, columns.stop)):
            names = _names(fitted)
            start = None if columns.start is None else names.index(columns.start)
            stop = None if columns.stop is None else names.index(columns.stop) + 1
            columns = slice(start, stop, columns.step)
        places: Sequence[int] = list(range(count))[columns]
        return places
    listed = list(_plain(columns))
    if listed and all(isinstance(one, bool) for one in listed):
        return [index for index, chosen in enumerate(listed) if chosen]
    if any(isinstance(one, str) for one in listed):
        names = _names(fitted)
        return [names.index(one) for one in listed]
    return [one % count for one in listed]


def _plain(columns: Iterable[Any]) -> Iterable[Any]:
    return (one.item() if isinstance(one, np.generic) else one for one in columns)


def _names(fitted: Fitted) -> list[str]:
    return [str(name) for name in fitted.model.feature_names_in_]


def _weighted(graph: GraphBuilder, features: Features, weight: float | None) -> Features:
    if weight is None or not parts.width(features):
        return features
    scalable = [part for part in features if isinstance(part, parts.Scalable)]
    if len(scalable) == len(features):
        return tuple(part.scaled(np.full(part.width, float(weight))) for part in scalable)
    return (parts.Dense(graph.node("Mul", parts.dense(graph, features), graph.number(float(weight)))),)

"""Transformers that keep some of the features, or project all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.clusters import euclidean

if TYPE_CHECKING:
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def selector(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """The features that were selected.

    Raises:
        UnsupportedError: none was.
    """
    kept = np.flatnonzero(fitted.model.get_support()).tolist()
    if not kept:
        raise UnsupportedError(f"{fitted.place}: {type(fitted.model).__name__} keeps no features")
    return parts.select(graph, features, kept)


def principal_components(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``x components - mean components``, whitened if asked for."""
    model = fitted.model
    if model.mean_ is not None:
        spread = np.sqrt(np.abs(model.explained_variance_)[:, None] * model.components_**2).sum(axis=0)
        parts.draw_from(features, [(m - 3 * s, m, m + 3 * s) for m, s in zip(model.mean_, spread, strict=True)])
    value = _projected(graph, features, model.components_.T)
    if model.mean_ is not None:
        value = binary(graph, "Sub", value, np.asarray(model.mean_ @ model.components_.T).reshape(-1))
    if model.whiten:
        scale = np.sqrt(model.explained_variance_)
        value = binary(graph, "Div", value, np.maximum(scale, np.finfo(scale.dtype).eps))
    return (parts.Dense(value),)


def truncated_svd(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``x components``."""
    return (parts.Dense(_projected(graph, features, fitted.model.components_.T)),)


def independent_components(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``(x - mean) components``."""
    value = parts.dense(graph, features)
    if fitted.model.whiten:
        value = binary(graph, "Sub", value, fitted.model.mean_)
    return (parts.Dense(_projected(graph, (parts.Dense(value),), fitted.model.components_.T)),)


def random_projection(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """``x components``."""
    components = fitted.model.components_
    dense = components.toarray() if hasattr(components, "toarray") else components
    return (parts.Dense(_projected(graph, features, dense.T)),)


def discriminant_features(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Linear discriminants: ``(x - xbar) scalings``, the first ones.

    Raises:
        UnsupportedError: a solver that has none.
    """
    model = fitted.model
    if model.solver == "lsqr":
        raise UnsupportedError(f"{fitted.place}: the solver 'lsqr' cannot transform")
    value: Any = parts.dense(graph, features)
    scalings = model.scalings_[:, : model._max_components]  # noqa: SLF001 - how many it keeps
    if model.solver == "svd":
        value = binary(graph, "Sub", value, model.xbar_)
    return (parts.Dense(_projected(graph, (parts.Dense(value),), scalings)),)


def cluster_distances(graph: GraphBuilder, fitted: Fitted, features: Features) -> Features:
    """Distances to the centers of clusters."""
    parts.draw_from(features, fitted.model.cluster_centers_.T)
    return (parts.Dense(euclidean(graph, parts.dense(graph, features), fitted.model.cluster_centers_)),)


def _projected(graph: GraphBuilder, features: Features, weights: Any) -> Value:
    return parts.product(graph, features, np.asarray(weights, np.float64))

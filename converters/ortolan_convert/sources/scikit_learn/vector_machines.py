"""Support vector machines with kernels, as libsvm computes them: votes of pairs, and the sums that break ties."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import binary, columns, compared, position, reduced, times
from ortolan_convert.heads import both_sides
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.steps import Prediction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Fitted


def support_vector_classifier(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """SVC and NuSVC.

    Raises:
        UnsupportedError: a kernel of one's own, or probabilities: libsvm finds them by an iteration that stops early.
    """
    model = fitted.model
    if getattr(model, "probability", False) is True:
        raise UnsupportedError(
            f"{fitted.place}, option 'probability': libsvm finds these by an iteration that stops early, which a graph "
            f"cannot repeat; train with probability=False, or calibrate with CalibratedClassifierCV"
        )
    count = len(model.classes_)
    pairs = list(combinations(range(count), 2))
    # Positive means the first class of a pair; scikit-learn's public attributes have the opposite sign for one pair.
    values = _decided(graph, fitted, features, _pair_weights(model, pairs))
    if count == 2:
        return Prediction(scores=both_sides(graph, graph.node("Neg", values)), by_scores=True)
    first = graph.cast(compared(graph, "Greater", values, 0.0), "float64")
    votes = pair_votes(graph, first, pairs, count)
    sums = pair_sums(graph, values, pairs, count)
    label = position(graph, "ArgMax", votes)
    shrunk = binary(graph, "Div", sums, binary(graph, "Mul", binary(graph, "Add", graph.node("Abs", sums), 1.0), 3.0))
    ranked = graph.node("Add", votes, shrunk)
    if model.decision_function_shape == "ovr":
        label = position(graph, "ArgMax", ranked) if model.break_ties else label
        return Prediction(scores=ranked, label=label, by_scores=True)
    raise UnsupportedError(f"{fitted.place}, option 'decision_function_shape': 'ovo' is not supported; use 'ovr'")


def support_vector_regression(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """SVR and NuSVR."""
    model = fitted.model
    return Prediction(values=_decided(graph, fitted, features, _dual(model).T))


def one_class(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """OneClassSVM: -1 is an outlier, 1 is none."""
    model = fitted.model
    value = _decided(graph, fitted, features, _dual(model).T)
    return Prediction(scores=both_sides(graph, value), by_scores=True)


def kernel_ridge(graph: GraphBuilder, fitted: Fitted, features: Features) -> Prediction:
    """Ridge regression over a kernel."""
    model = fitted.model
    gamma = 1.0 / model.n_features_in_ if model.gamma is None else float(model.gamma)
    kernel = _kernels(graph, fitted, features, np.asarray(model.X_fit_, np.float64), gamma)
    weights = np.asarray(model.dual_coef_, np.float64)
    return Prediction(values=times(graph, kernel, weights.reshape(len(weights), -1)))


def pair_votes(graph: GraphBuilder, first: Value, pairs: Any, count: int) -> Value:
    """float64 [batch, classes]: how many pairs each class won.

    Args:
        graph: to add to.
        first: float64 [batch, pairs], 1 where the first class of the pair won, else 0.
        pairs: the classes of each pair.
        count: number of classes.
    """
    won = np.zeros((len(pairs), count))
    for index, (one, other) in enumerate(pairs):
        won[index, one], won[index, other] = 1.0, -1.0
    seconds = np.bincount([other for _, other in pairs], minlength=count).astype(np.float64)
    return binary(graph, "Add", times(graph, first, won), seconds)


def pair_sums(graph: GraphBuilder, values: Value, pairs: Any, count: int) -> Value:
    """float64 [batch, classes]: what the pairs' decision values, positive for the first class, add up to for each."""
    signs = np.zeros((len(pairs), count))
    for index, (one, other) in enumerate(pairs):
        signs[index, one], signs[index, other] = 1.0, -1.0
    return times(graph, values, signs)


def _pair_weights(model: Any, pairs: Any) -> NDArray[Any]:
    """float64 [vectors, pairs]: the weight of each support vector in the decision of each pair."""
    coefficients = _dual(model)
    ends = np.cumsum(model._n_support)  # noqa: SLF001 - vectors of each class
    starts = ends - model._n_support  # noqa: SLF001
    weights = np.zeros((coefficients.shape[1], len(pairs)))
    for index, (one, other) in enumerate(pairs):
        for owner, row in ((one, other - 1), (other, one)):
            chosen = slice(int(starts[owner]), int(ends[owner]))
            weights[chosen, index] = coefficients[row, chosen]
    return weights


def _intercepts(model: Any) -> NDArray[Any]:
    return np.asarray(model._intercept_, np.float64)


def _dual(model: Any) -> NDArray[Any]:
    """float64 [k, vectors]: libsvm's coefficients."""
    dual = model._dual_coef_
    return np.asarray(dual.toarray() if hasattr(dual, "toarray") else dual, np.float64)


def _decided(graph: GraphBuilder, fitted: Fitted, features: Features, weights: NDArray[Any]) -> Value:
    """float64 [batch, k]: kernels of each row and each vector times float64 [vectors, k], and the intercepts.

    Raises:
        UnsupportedError: another kernel, or sparse vectors that are too large.
    """
    model = fitted.model
    vectors = model.support_vectors_
    if hasattr(vectors, "toarray"):  # features of words, for example
        if model.kernel == "linear":
            products = parts.product(graph, features, np.asarray(vectors.T @ weights, np.float64))
            return binary(graph, "Add", products, _intercepts(model))
        if vectors.shape[0] * vectors.shape[1] > MOST_NUMBERS:
            raise UnsupportedError(
                f"{fitted.place}: {vectors.shape[0]:,} support vectors of {vectors.shape[1]:,} features each, zeros "
                f"included; expected at most {MOST_NUMBERS:,} numbers. Use kernel='linear', or fewer features"
            )
        vectors = vectors.toarray()
    gamma = float(model._gamma)  # noqa: SLF001 - "scale" and "auto" as they were resolved
    kernel = _kernels(graph, fitted, features, np.asarray(vectors, np.float64), gamma)
    return binary(graph, "Add", times(graph, kernel, weights), _intercepts(model))


def _kernels(graph: GraphBuilder, fitted: Fitted, features: Features, vectors: NDArray[Any], gamma: float) -> Value:
    """float64 [batch, vectors]: the kernel of each row and each vector.

    Raises:
        UnsupportedError: another kernel.
    """
    model = fitted.model
    if model.kernel not in ("linear", "rbf", "poly", "polynomial", "sigmoid"):
        name = model.kernel if isinstance(model.kernel, str) else "a function"
        raise UnsupportedError(
            f"{fitted.place}, option 'kernel': {name} is not supported; use linear, rbf, poly or sigmoid"
        )
    parts.draw_from(features, vectors.T)
    value = parts.dense(graph, features)
    if model.kernel == "rbf":
        return graph.node("Exp", binary(graph, "Mul", squared_distances(graph, value, vectors), -gamma))
    dots = times(graph, value, vectors.T)
    if model.kernel == "linear":
        return dots
    scaled = binary(graph, "Add", binary(graph, "Mul", dots, gamma), float(model.coef0))
    if model.kernel == "sigmoid":
        return graph.node("Tanh", scaled)
    if float(model.degree).is_integer() and 1 <= model.degree <= 8:
        power = scaled
        for _ in range(int(model.degree) - 1):
            power = graph.node("Mul", power, scaled)
        return power
    return binary(graph, "Pow", scaled, float(model.degree))


MOST_NUMBERS = 1 << 24
"""Numbers of all support vectors together, 128 MB, where their zeros were not stored."""
WIDE = 1 << 15
"""Numbers that a row's differences from all vectors may have; beyond, squares and products are summed apart."""


def squared_distances(graph: GraphBuilder, value: Value, vectors: NDArray[Any]) -> Value:
    """float64 [batch, vectors]: squares of Euclidean distances, of differences where they are not too many."""
    if vectors.size <= WIDE:
        total: Value | None = None
        for index in range(vectors.shape[1]):
            gap = binary(graph, "Sub", columns(graph, value, [index]), np.ascontiguousarray(vectors[:, index]))
            square = graph.node("Mul", gap, gap)
            total = square if total is None else graph.node("Add", total, square)
        if total is not None:
            return total
    own = reduced(graph, "ReduceSum", graph.node("Mul", value, value))
    twice = times(graph, value, -2.0 * vectors.T)
    apart = binary(graph, "Add", binary(graph, "Add", twice, np.square(vectors).sum(axis=1)), own)
    return binary(graph, "Max", apart, 0.0)

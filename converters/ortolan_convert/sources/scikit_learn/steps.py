"""What scikit-learn's steps are made of in a graph: features going through them, predictions coming out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted estimator.

    Args:
        model: the estimator.
        place: where it stands, for messages, e.g. ``model.joblib: step 'svc'``.
    """

    model: Any
    place: str


class Part(Protocol):
    """Some of the features that a step sees, side by side.

    What scikit-learn computes on features is float64 unless a step says otherwise: trees see float32.
    """

    @property
    def width(self) -> int:
        """How many features."""

    def dense(self, graph: GraphBuilder) -> Value:
        """float64 [batch, width]."""

    def select(self, graph: GraphBuilder, places: Sequence[int]) -> Part:
        """Some of these features, in this order."""

    def product(self, graph: GraphBuilder, weights: NDArray[Any]) -> Value:
        """float64 [batch, columns]: the features times float64 [width, columns]. Sparse parts do it without `dense`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model answers, each float64 [batch, n] but for the label; None for what it does not have.

    Args:
        probabilities: one column per class.
        scores: of a classifier its decision function, one column per class; a binary one's are ``[-s, s]``.
        label: int64 [batch], position of the class, where it does not follow from the largest probability or score.
        by_scores: whether the label is the class of the largest score rather than of the largest probability.
        values: of a regression, one column per target.
        distances: of a clusterer, one column per center.
    """

    probabilities: Value | None = None
    scores: Value | None = None
    label: Value | None = None
    by_scores: bool = False
    values: Value | None = None
    distances: Value | None = None


if TYPE_CHECKING:
    Features = tuple[Part, ...]
    """All features that a step sees, in order."""
    Transform = Callable[[GraphBuilder, Fitted, Features], Features]
    """A transformer of features; there is one function for each class, by name in a table."""
    Predict = Callable[[GraphBuilder, Fitted, Features], Prediction]
    """A model; there is one function for each class, by name in a table."""

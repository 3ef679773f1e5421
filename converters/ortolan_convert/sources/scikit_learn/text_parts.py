"""Features of words as parts of a graph: few of many are not zero, so they stay pairs of ids and values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.text.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.text_features import TextFeatures

    Store = Callable[[NDArray[Any]], Weights]
    """float64 [columns, features] coefficients as a variant stores them."""

WIDEST = 65_536
"""Most features that are written out with their zeros, for models that look at every one."""


def as_float64(coefficients: NDArray[Any]) -> Weights:
    """Coefficients [columns, features] stored as they are."""
    return Weights(precision="fp64", stored=np.ascontiguousarray(coefficients.T, np.float64), compute="float64")


@dataclass(slots=True)
class Vectorized:
    """A vectorizer of a text column, as a graph has it.

    Args:
        column: the text column's name.
        features: how texts become the vectorizer's features.
        place: where the vectorizer stands, for messages.
        used: bool [features], those that something in the graph looked at.
    """

    column: str
    features: TextFeatures
    place: str
    used: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedText:
    """A vectorizer of a text column, as a bundle has it.

    Args:
        column: the text column's name.
        config: one of the ``sets`` of `ortolan.inputs.ngram_sets`.
        assets: by path below ``assets/``.
        order: int64 [ids], the vectorizer's feature that each id of the model's inputs is.
        features: how texts become the vectorizer's features.
    """

    column: str
    config: dict[str, object]
    assets: dict[str, bytes]
    order: NDArray[Any]
    features: TextFeatures


@dataclass(slots=True)
class TextInputs:
    """The vectorizers of a graph, in the order in which it meets them.

    A graph is built twice: first to see which features matter, then with those alone.

    Args:
        store: how tables of coefficients are stored.
        packed: what the first graph came to; None while it is built.
        tables: how many tables of coefficients the graph has.
    """

    store: Store
    packed: Sequence[PackedText] | None = None
    vectorizers: list[Vectorized] = field(default_factory=list)
    tables: int = 0

    @property
    def probing(self) -> bool:
        """Whether this is the first time: nothing of size is put into the graph."""
        return self.packed is None

    def add(self, graph: GraphBuilder, column: str, features: TextFeatures, place: str) -> TextPart:
        """The features of one more vectorizer as inputs of the graph: ``text<i>.ids`` and ``text<i>.values``."""
        index = len(self.vectorizers)
        width = len(features.position)
        order = np.arange(width) if self.packed is None else self.packed[index].order
        one = Vectorized(column, features, place, np.zeros(width, bool))
        self.vectorizers.append(one)
        name = input_name(index)
        ids = graph.input(f"{name}.ids", "int64", ("batch", f"{name}.terms"))
        values = graph.input(f"{name}.values", "float64", ("batch", f"{name}.terms"))
        # Padding has the id 0, so there is one.
        positions = np.asarray(order if len(order) else [-1], np.int64)
        return TextPart(self, one, ids, values, positions, positions, width)

    def pack(self) -> tuple[PackedText, ...]:
        """The vectorizers with the features that the graph looked at.

        Raises:
            UnsupportedError: a vocabulary that is too large, weights that are not finite.
        """
        packed = []
        for index, one in enumerate(self.vectorizers):
            name = input_name(index)
            config, files, order = one.features.restricted(one.used).packed()
            packed.append(
                PackedText(
                    column=one.column,
                    config={"name": name, "ngrams": config},
                    assets={f"{name}/{path}": content for path, content in files.items()},
                    order=order,
                    features=one.features,
                )
            )
        return tuple(packed)


def input_name(index: int) -> str:
    """What the inputs of a graph's vectorizer begin with."""
    return f"text{index}"


@dataclass(frozen=True, slots=True)
class TextPart:
    """Features of words: a `Part` that is mostly zeros.

    Steps that know how to leave it so are in `ortolan_convert.sources.scikit_learn.text_steps`.

    Args:
        inputs: the graph's vectorizers.
        vectorizer: the one they come from.
        ids: int64 [batch, terms].
        values: float64 [batch, terms].
        vectorized: int64 [ids], the vectorizer's own feature that each id is, or -1.
        positions: int64 [ids], the feature of this part that each id is, or -1.
        width: how many features.
        factors: float64 [ids] that values are to be multiplied by; None for 1.
        leaves_zeros_out: whether scikit-learn stores it without its zeros, which some libraries take for missing.
    """

    inputs: TextInputs
    vectorizer: Vectorized
    ids: Value
    values: Value
    vectorized: NDArray[Any]
    positions: NDArray[Any]
    width: int
    factors: NDArray[Any] | None = None
    leaves_zeros_out: bool = True
    is_sparse: ClassVar[bool] = True

    @property
    def is_signed(self) -> bool:
        """Whether values may be negative."""
        return self.vectorizer.features.spec.hashed == "signed"

    def select(self, graph: GraphBuilder, places: Sequence[int] | NDArray[Any]) -> TextPart:  # noqa: ARG002 - of Part
        """Some of these features, in this order; none twice."""
        chosen = np.asarray(places, np.int64)
        if len(np.unique(chosen)) < len(chosen):
            raise UnsupportedError(f"{self.vectorizer.place}: its features are taken twice, which is not supported")
        renumbered = np.full(self.width + 1, -1, np.int64)
        renumbered[chosen] = np.arange(len(chosen))
        return replace(self, positions=renumbered[self.positions], width=len(chosen))

    def scaled(self, factors: NDArray[Any]) -> TextPart:
        """The features multiplied by float64 [width]."""
        padded = np.append(np.asarray(factors, np.float64), 0.0)[self.positions]
        return replace(self, factors=padded if self.factors is None else self.factors * padded)

    def with_zeros(self) -> TextPart:
        """The same where scikit-learn stores all of it."""
        return replace(self, leaves_zeros_out=False)

    def weighed(self, graph: GraphBuilder) -> Value:
        """float64 [batch, terms]: the values; 0 where an id is no feature of this part."""
        self._note(self.positions >= 0)
        gone = (self.positions < 0).any()
        if self.factors is None and not gone:
            return self.values
        factors = np.ones(len(self.positions)) if self.factors is None else self.factors
        table = graph.constant(self._small(np.where(self.positions < 0, 0.0, factors)))
        return graph.node("Mul", self.values, graph.node("Gather", table, self.ids, shape=self.ids.shape, axis=0))

    def revalued(self, values: Value) -> TextPart:
        """The same features with these values, what `scaled` asked for included."""
        return replace(self, values=values, factors=None)

    def product(self, graph: GraphBuilder, weights: NDArray[Any]) -> Value:
        """float64 [batch, columns]: the features times float64 [width, columns]; rows of a table, summed."""
        weights = np.asarray(weights, np.float64)
        self._note(np.append((weights != 0).any(axis=1), False)[self.positions])
        if self.inputs.probing:
            rows = np.zeros((1, weights.shape[1]))
        else:
            rows = np.where(self.positions[:, None] < 0, 0.0, weights.take(np.maximum(self.positions, 0), axis=0))
            if self.factors is not None:
                rows *= self.factors[:, None]
        stored = self.inputs.store(rows.T)
        self.inputs.tables += 1
        columns = weights.shape[1]
        gathered = graph.node(
            "Gather", graph.constant(stored.stored), self.ids, shape=(*self.ids.shape, columns), axis=0
        )
        gathered = graph.cast(gathered, "float64")
        axis = graph.constant(np.array([1], np.int64))
        row = graph.node("Unsqueeze", self.values, axis, shape=("batch", 1, self.ids.shape[1]))
        total = graph.node("MatMul", row, gathered, shape=("batch", 1, columns))
        total = graph.node("Squeeze", total, axis, shape=("batch", columns))
        return total if stored.scale is None else graph.node("Mul", total, graph.vector(stored.scale))

    def dense(self, graph: GraphBuilder) -> Value:
        """float64 [batch, width].

        Raises:
            UnsupportedError: more than `WIDEST` features.
        """
        if self.width > WIDEST:
            raise UnsupportedError(
                f"{self.vectorizer.place}: gives {self.width:,} features to a step that looks at every one; expected "
                f"at most {WIDEST:,}, limit them with max_features or n_features, or select some (SelectKBest) first"
            )
        values = self.weighed(graph)
        # One more column takes what is no feature of this part, and is cut off.
        columns = np.where(self.positions < 0, self.width, self.positions)
        places = graph.node(
            "Gather", graph.constant(self._small(columns)), self.ids, dtype="int64", shape=self.ids.shape, axis=0
        )
        ends = [graph.constant(np.array([number], np.int64)) for number in (0, 1, self.width + 1)]
        shape = graph.node("Shape", self.ids, dtype="int64", shape=(2,))
        batch = graph.node("Slice", shape, ends[0], ends[1], shape=(1,))
        whole = graph.node("Concat", batch, ends[2], shape=(2,), axis=0)
        zeros = graph.node("Expand", graph.number(0.0), whole, shape=("batch", self.width + 1))
        filled = graph.node("ScatterElements", zeros, places, values, axis=1, reduction="add")
        last = graph.constant(np.array([self.width], np.int64))
        return graph.node("Slice", filled, ends[0], last, ends[1], shape=("batch", self.width))

    def _note(self, matters: NDArray[np.bool_]) -> None:
        """Remember which of the vectorizer's features matter."""
        own = self.vectorized[matters & (self.vectorized >= 0)]
        self.vectorizer.used[own] = True

    def _small(self, table: NDArray[Any]) -> NDArray[Any]:
        """The table, or its first row where nothing is run."""
        return table[:1] if self.inputs.probing else table

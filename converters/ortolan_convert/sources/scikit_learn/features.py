"""Features between steps: columns of the table, tensors of numbers, columns of strings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.arithmetic import columns, joined, times

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.scikit_learn.steps import Features, Part
    from ortolan_convert.sources.scikit_learn.text_parts import TextInputs


@dataclass(slots=True)
class RawColumn:
    """A column of the table, and what the steps say of it while a graph is built.

    Args:
        name: the column's.
        kind: what consumes it; None if nothing does.
        values: known categories, thresholds, values of the training data: what made-up rows draw from.
        closed: whether the source refuses all but ``values``.
        none: what stands for a missing string in the source: None or NaN.
        only_utf8: whether texts in it must have a UTF-8 form.
    """

    name: str
    kind: str | None = None
    values: list[Any] = field(default_factory=list)
    closed: bool = False
    none: Any = np.nan
    only_utf8: bool = False


@dataclass(slots=True)
class RawTable:
    """The table as a graph sees it.

    Args:
        columns: all of them, in the order of the model.
        numbers: float64 [batch, n]: the columns at ``places``, side by side.
        places: for each column of numbers its place there.
        strings: object [batch, 1] by the column's position.
        texts: the vectorizers of columns of texts.
    """

    columns: Sequence[RawColumn]
    numbers: Value | None
    places: Mapping[int, int]
    strings: dict[int, Value]
    texts: TextInputs | None = None

    def use(self, index: int, kind: str, place: str = "") -> None:
        """Note what a column holds.

        Raises:
            UnsupportedError: something else uses it as another kind.
        """
        column = self.columns[index]
        if column.kind not in (None, kind):
            at = f"{place}: " if place else ""
            raise UnsupportedError(f"{at}column {column.name!r} is used both as {column.kind}s and as {kind}s")
        column.kind = kind


@dataclass(frozen=True, slots=True)
class RawColumns:
    """Columns as they stand in the table: numbers or strings, by what consumes them."""

    table: RawTable
    chosen: tuple[int, ...]

    @property
    def width(self) -> int:
        """How many features."""
        return len(self.chosen)

    def dense(self, graph: GraphBuilder) -> Value:
        """float64 [batch, width]: the columns as numbers."""
        for index in self.chosen:
            self.table.use(index, "number")
        numbers = self.table.numbers
        if numbers is None:
            raise UnsupportedError("the table has no columns of numbers")
        return columns(graph, numbers, [self.table.places[index] for index in self.chosen])

    def product(self, graph: GraphBuilder, weights: NDArray[Any]) -> Value:
        """float64 [batch, columns]: the features times the weights."""
        return times(graph, self.dense(graph), weights)

    def select(self, graph: GraphBuilder, places: Sequence[int]) -> Part:  # noqa: ARG002 - part of Part
        """Some of these columns."""
        return RawColumns(self.table, tuple(self.chosen[place] for place in places))

    def column(self, graph: GraphBuilder, place: int) -> Value:
        """object [batch, 1]: a column as strings."""
        index = self.chosen[place]
        self.table.use(index, "string")
        if index not in self.table.strings:  # while the kinds are not known yet
            self.table.strings[index] = graph.input(f"column.{index}", "object", ("batch", 1))
        return self.table.strings[index]

    def origin(self, place: int) -> RawColumn:
        """The column of the table."""
        return self.table.columns[self.chosen[place]]


@dataclass(frozen=True, slots=True)
class Dense:
    """Numbers side by side.

    Args:
        value: float64 [batch, width].
        origins: for each the table's column whose values these are, unless missing; empty if they are not a column's.
    """

    value: Value
    origins: tuple[RawColumn | None, ...] = ()

    @property
    def width(self) -> int:
        """How many features."""
        return int(self.value.shape[1])

    def dense(self, graph: GraphBuilder) -> Value:  # noqa: ARG002 - part of Part
        """float64 [batch, width]."""
        return self.value

    def product(self, graph: GraphBuilder, weights: NDArray[Any]) -> Value:
        """float64 [batch, columns]: the features times the weights."""
        return times(graph, self.value, weights)

    def select(self, graph: GraphBuilder, places: Sequence[int]) -> Part:
        """Some of these features."""
        origins = tuple(self.origins[place] for place in places) if self.origins else ()
        return Dense(columns(graph, self.value, places), origins)

    def origin(self, place: int) -> RawColumn | None:
        """The column of the table whose values a feature has."""
        return self.origins[place] if self.origins else None


@dataclass(frozen=True, slots=True)
class Strings:
    """Columns of strings, after a step that keeps them strings: object [batch, 1] each."""

    columns: tuple[Value, ...]
    origins: tuple[RawColumn | None, ...]

    @property
    def width(self) -> int:
        """How many features."""
        return len(self.columns)

    def dense(self, graph: GraphBuilder) -> Value:  # noqa: ARG002 - part of Part
        """Strings are no numbers."""
        raise UnsupportedError("strings reach a step that takes numbers; encode them first")

    def product(self, graph: GraphBuilder, weights: NDArray[Any]) -> Value:  # noqa: ARG002 - part of Part
        """Strings are no numbers."""
        return self.dense(graph)

    def select(self, graph: GraphBuilder, places: Sequence[int]) -> Part:  # noqa: ARG002 - part of Part
        """Some of these columns."""
        return Strings(tuple(self.columns[p] for p in places), tuple(self.origins[p] for p in places))

    def column(self, graph: GraphBuilder, place: int) -> Value:  # noqa: ARG002 - as raw columns
        """object [batch, 1]."""
        return self.columns[place]

    def origin(self, place: int) -> RawColumn | None:
        """The column of the table whose values a feature has."""
        return self.origins[place]


@runtime_checkable
class Scalable(Protocol):
    """A part of few numbers among many zeros, that can be multiplied and stays what it is."""

    @property
    def width(self) -> int:
        """How many features."""

    def scaled(self, factors: NDArray[Any]) -> Part:
        """The features multiplied by float64 [width]."""

    def with_zeros(self) -> Part:
        """The same where scikit-learn stores all of it."""


def leave_zeros_out(features: Features) -> bool:
    """Whether scikit-learn stores the features without their zeros: a single such part makes all of them so."""
    return any(getattr(part, "leaves_zeros_out", False) for part in features)


def is_sparse(features: Features) -> bool:
    """Whether some of the features are of words."""
    return any(getattr(part, "is_sparse", False) for part in features)


def width(features: Features) -> int:
    """How many features there are."""
    return sum(part.width for part in features)


def dense(graph: GraphBuilder, features: Features) -> Value:
    """float64 [batch, width]: all features side by side."""
    values = [part.dense(graph) for part in _merged(features) if part.width]
    if not values:
        raise UnsupportedError("a step takes no features at all")
    return joined(graph, values)


def product(graph: GraphBuilder, features: Features, weights: NDArray[Any]) -> Value:
    """float64 [batch, columns]: all features times float64 [width, columns]. Sparse parts are not made dense for it."""
    total: Value | None = None
    start = 0
    for part in _merged(features):
        if not part.width:
            continue
        partial = part.product(graph, weights[start : start + part.width])
        start += part.width
        total = partial if total is None else graph.node("Add", total, partial)
    if total is None:
        raise UnsupportedError("a step takes no features at all")
    return total


def select(graph: GraphBuilder, features: Features, places: Sequence[int]) -> Features:
    """Some of the features, in this order."""
    owners = [(part, i) for part in features for i in range(part.width)]
    runs: list[tuple[Part, list[int]]] = []
    for place in places:
        part, i = owners[place]
        if runs and runs[-1][0] is part:
            runs[-1][1].append(i)
        else:
            runs.append((part, [i]))
    return tuple(part if chosen == list(range(part.width)) else part.select(graph, chosen) for part, chosen in runs)


def string_column(graph: GraphBuilder, features: Features, place: int) -> Value | None:
    """object [batch, 1]: a feature as strings, :data:`~ortolan_convert.tables.source.MISSING` where one is missing.

    None if the feature is a number whatever is asked.
    """
    part, i = _owner(features, place)
    column = getattr(part, "column", None)
    found: Value | None = None if column is None else column(graph, i)
    return found


def origin(features: Features, place: int) -> RawColumn | None:
    """The column of the table whose values a feature has; None if a step made them."""
    part, i = _owner(features, place)
    asked = getattr(part, "origin", None)
    found: RawColumn | None = None if asked is None else asked(i)
    return found


def draw_from(features: Features, values: Iterable[Sequence[Any] | NDArray[Any]]) -> None:
    """Tell the table's columns what made-up rows should draw from: thresholds, categories, usual values.

    Args:
        features: what a step sees; those that are no columns of the table are passed over.
        values: for each feature some values.
    """
    for place, known in enumerate(values):
        column = origin(features, place)
        if column is not None and not column.closed:
            column.values.extend(np.asarray(known).tolist())


def _merged(features: Features) -> list[Part]:
    """The parts, with neighbours of the same table as one."""
    merged: list[Part] = []
    for part in features:
        last = merged[-1] if merged else None
        if isinstance(part, RawColumns) and isinstance(last, RawColumns) and last.table is part.table:
            merged[-1] = replace(last, chosen=(*last.chosen, *part.chosen))
        else:
            merged.append(part)
    return merged


def _owner(features: Features, place: int) -> tuple[Part, int]:
    for part in features:
        if place < part.width:
            return part, place
        place -= part.width
    raise IndexError(f"there is no feature {place} more")

"""What CatBoost asks of categories, as columns of numbers that its trees compare: answers to questions, counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.graph import ML
from ortolan_convert.sources.boosting.catboost_counters import Above, Same
from ortolan_convert.sources.boosting.catboost_hashes import coefficients, solved, strings_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.sources.boosting.catboost_counters import Combination, Counter

MOST_KNOWN = 256
"""Most categories of a column that made-up rows draw from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Categories:
    """The columns that follow those of numbers: an answer, 0 or 1, for each question, then the counters.

    Args:
        columns: where the columns of categories stand in the table.
        numbers: how many columns of numbers there are.
        asked: questions that trees ask.
        combinations: what is hashed together.
        counters: on these.
    """

    columns: tuple[int, ...]
    numbers: int
    asked: tuple[Same, ...]
    combinations: tuple[Combination, ...]
    counters: tuple[Counter, ...]

    @property
    def width(self) -> int:
        """How many columns the trees see."""
        return self.numbers + len(self.asked) + len(self.counters)

    def borders(self, column: int) -> list[float]:
        """Thresholds of a column of numbers in combinations."""
        parts = (part for one in self.combinations for part in one.parts)
        return [part.threshold for part in parts if isinstance(part, Above) and part.column == column]

    def known(self) -> dict[int, tuple[str, ...]]:
        """Strings for each column of categories whose hashes the model knows.

        Counters of a single category tell the hashes of the column; those of combinations do when the rest is known.
        """
        found: dict[int, NDArray[Any]] = {}
        for place in range(len(self.columns)):
            values = [one.value for one in self.asked if one.category == place]
            for one in self.combinations:
                if one.parts == (place,):
                    values += (solved(one.keys, one.parts, {}, len(one.keys)) or (0, np.zeros(0)))[1].tolist()
            if values:
                found[place] = np.unique(np.array(values, np.int64))
        answers = np.array([0, 1], np.int64)
        again = True
        while again:
            again = False
            for one in self.combinations:
                parts = [part if isinstance(part, int) else -1 - i for i, part in enumerate(one.parts)]
                more = solved(one.keys, parts, found | {part: answers for part in parts if part < 0}, MOST_KNOWN)
                if more is not None and len(more[1]):
                    found[more[0]] = more[1]
                    again = True
        spread = {place: np.linspace(0, len(values) - 1, MOST_KNOWN).astype(int) for place, values in found.items()}
        return {place: strings_with(values[np.unique(spread[place])]) for place, values in found.items()}

    def matrix(self, graph: GraphBuilder, numbers: Value | None, hashes: Sequence[Value]) -> Value:
        """float64 [batch, width]: the columns of numbers, and those that follow them.

        Args:
            graph: to add to.
            numbers: float64 [batch, numbers].
            hashes: int64 [batch, 1] of each column of categories.
        """
        batch = hashes[0].shape[0]
        together = graph.node("Concat", *hashes, shape=(batch, len(hashes)), axis=1)
        found = [] if numbers is None else [numbers]
        if self.asked:
            found.append(graph.cast(_same(graph, together, self.asked), "float64"))
        if self.counters:
            found.append(graph.cast(self._counted(graph, numbers, together), "float64"))
        if not found:
            return graph.cast(together, "float64")
        return graph.node("Concat", *found, shape=(batch, self.width), axis=1) if len(found) > 1 else found[0]

    def _counted(self, graph: GraphBuilder, numbers: Value | None, hashes: Value) -> Value:
        """float32 [batch, counters]. All combinations are looked up together, each in its own stretch of the rows."""
        batch = hashes.shape[0]
        parts, places = self._parts(graph, numbers, hashes)
        salts, keys = _salted(self.combinations)
        sums = graph.constant(salts)
        for i in range(max(len(one.parts) for one in self.combinations)):
            used = [one.parts[i] if i < len(one.parts) else None for one in self.combinations]
            factors = [coefficients(len(one.parts))[i] if i < len(one.parts) else 0 for one in self.combinations]
            columns = _columns(graph, parts, [places[part] if part is not None else 0 for part in used])
            # Additions and products of int64 wrap around; onnxruntime 1.32 sums int64 in float64, and rounds.
            terms = graph.node("Mul", columns, graph.constant(np.array(factors, np.int64)))
            sums = graph.node("Add", terms, sums, shape=terms.shape)
        row = graph.node(
            "LabelEncoder",
            sums,
            domain=ML,
            keys_int64s=keys.tolist() or [0],
            values_int64s=list(range(len(keys))) or [-1],
            default_int64=-1,
        )
        counts = np.array([len(one.keys) for one in self.combinations], np.int64)
        of = np.array([one.combination for one in self.counters], np.int64)
        # A row of another combination is no row.
        first, count = (np.cumsum(counts) - counts)[of], counts[of]
        start = np.cumsum(count + 1) - count - 1
        place = graph.node("Sub", _columns(graph, row, of.tolist()), graph.constant(first))
        known = graph.node(
            "And",
            graph.node("GreaterOrEqual", place, graph.constant(np.zeros(1, np.int64)), dtype="bool"),
            graph.node("Less", place, graph.constant(count), dtype="bool"),
        )
        place = graph.node("Add", place, graph.constant(start))
        place = graph.node("Where", known, place, graph.constant(start + count), dtype="int64")
        values = np.concatenate([np.append(one.values, one.other) for one in self.counters]).astype(np.float32)
        shape = (batch, len(self.counters))
        return graph.node("Gather", graph.constant(values), place, shape=shape, dtype="float32", axis=0)

    def _parts(
        self, graph: GraphBuilder, numbers: Value | None, hashes: Value
    ) -> tuple[Value, dict[int | Above | Same, int]]:
        """int64 [batch, n]: all that combinations are made of, and which column of it each part is."""
        used = dict.fromkeys(part for one in self.combinations for part in one.parts)
        above = [part for part in used if isinstance(part, Above)]
        same = [part for part in used if isinstance(part, Same)]
        found = [hashes]
        if above and numbers is not None:
            found.append(graph.cast(_above(graph, numbers, above), "int64"))
        if same:
            found.append(graph.cast(_same(graph, hashes, same), "int64"))
        order: list[int | Above | Same] = [*range(hashes.shape[1]), *above, *same]  # type: ignore[arg-type]
        shape = (hashes.shape[0], len(order))
        joined = graph.node("Concat", *found, shape=shape, axis=1) if len(found) > 1 else hashes
        return joined, {part: i for i, part in enumerate(order)}


def _columns(graph: GraphBuilder, value: Value, places: Sequence[int]) -> Value:
    """Some columns of [batch, n]."""
    chosen = graph.constant(np.array(places, np.int64))
    return graph.node("Gather", value, chosen, shape=(value.shape[0], len(places)), axis=1)


def _same(graph: GraphBuilder, hashes: Value, asked: Sequence[Same]) -> Value:
    """Bool [batch, n]."""
    columns = _columns(graph, hashes, [one.category for one in asked])
    return graph.node("Equal", columns, graph.constant(np.array([one.value for one in asked], np.int64)), dtype="bool")


def _above(graph: GraphBuilder, numbers: Value, asked: Sequence[Above]) -> Value:
    """Bool [batch, n]."""
    columns = _columns(graph, numbers, [one.column for one in asked])
    limits = graph.constant(np.array([one.threshold for one in asked], np.float64))
    found = graph.node("Greater", columns, limits, dtype="bool")
    missing = np.array([one.missing for one in asked], bool)
    if not missing.any():
        return found
    unknown = graph.node("And", graph.node("IsNaN", columns, dtype="bool"), graph.constant(missing))
    return graph.node("Or", found, unknown)


def _salted(combinations: Sequence[Combination]) -> tuple[NDArray[Any], NDArray[Any]]:
    """int64: a number for each combination, and the keys of all with it added, no two of which are the same."""
    random = np.random.default_rng(0)
    while True:
        salts = random.integers(-(1 << 63), (1 << 63) - 1, len(combinations), np.int64)
        with np.errstate(over="ignore"):
            keys = np.concatenate([one.keys + salt for one, salt in zip(combinations, salts, strict=True)])
        if len(np.unique(keys)) == len(keys):
            return salts, keys

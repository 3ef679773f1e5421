"""What the files of boosting libraries have in common: columns of numbers and categories, and what to ask with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.graph import ML
from ortolan_convert.tables.source import Column, TableSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.tables.source import Rows
    from ortolan_convert.trees.ensemble import Trees

MOST_VALUES = 256
"""Most thresholds of a column that made-up rows draw from."""


@dataclass(frozen=True, slots=True)
class BoostingTable:
    """The columns of a model.

    Args:
        names: of the columns, in the order of the model.
        categories: of columns that hold some, by position: all strings or all numbers, in the order of their codes.
        place: of the model, for messages.
        hashed: columns of categories that the model knows by their hashes: strings that have some of these.
    """

    names: tuple[str, ...]
    categories: Mapping[int, tuple[Any, ...]]
    place: str
    hashed: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse what no bundle can have.

        Raises:
            UnsupportedError: categories that are neither strings nor numbers, or two columns of one name.
        """
        for column, known in self.categories.items():
            if not (self.is_strings(column) or all(_is_number(value) for value in known)):
                raise UnsupportedError(
                    f"{self.place}: column {self.names[column]!r} has categories that are neither all strings nor all "
                    "numbers"
                )
        seen: set[str] = set()
        for name in self.names:
            if name in seen:
                raise UnsupportedError(f"{self.place}: two columns are called {name!r}; rename them and train again")
            seen.add(name)

    def is_strings(self, column: int) -> bool:
        """Whether a column holds categories that are strings."""
        known = self.categories.get(column)
        return bool(known) and all(isinstance(value, str) for value in cast("tuple[Any, ...]", known))

    def places(self) -> NDArray[Any]:
        """int64 [columns]: where each column stands in :meth:`matrix`: numbers first, then strings."""
        strings = np.array(
            [column in self.hashed or self.is_strings(column) for column in range(len(self.names))], bool
        )
        return np.argsort(np.argsort(strings, kind="stable"), kind="stable")

    def columns(self, trees: Trees, *, infinite: bool, closed: bool) -> tuple[Column, ...]:
        """The table's columns.

        Args:
            trees: over :meth:`matrix`.
            infinite: whether the library takes infinities.
            closed: whether it refuses categories that it does not know.
        """
        places = self.places()
        found = []
        for i, name in enumerate(self.names):
            known = self.categories.get(i)
            kind = "string" if self.is_strings(i) else "number"
            if i in self.hashed:
                found.append(Column(name=name, kind="hashed", values=self.hashed[i], hash="catboost"))
            elif known is None:
                limits = trees.thresholds(int(places[i]))
                limits = limits[np.isfinite(limits)]
                chosen = limits[
                    np.unique(np.linspace(0, max(len(limits) - 1, 0), MOST_VALUES).astype(int))[: len(limits)]
                ]
                found.append(Column(name=name, missing=True, infinite=infinite, values=tuple(chosen.tolist())))
            else:
                values = tuple(known) if kind == "string" else tuple(float(value) for value in known)
                found.append(
                    Column(name=name, kind=kind, missing=True, values=values, closed=closed)  # type: ignore[arg-type]
                )
        return tuple(found)

    def matrix(self, graph: GraphBuilder, numbers: Value | None, others: Mapping[str, Value]) -> Value:
        """float64 [batch, columns]: numbers, then the codes of strings; NaN for those that are missing or unknown."""
        parts = [] if numbers is None else [numbers]
        for i, name in enumerate(self.names):
            if self.is_strings(i):
                known = list(self.categories[i])
                code = graph.node(
                    "LabelEncoder",
                    others[name],
                    dtype="float32",
                    domain=ML,
                    keys_strings=known,
                    values_floats=[float(code) for code in range(len(known))],
                    default_float=float("nan"),
                )
                parts.append(graph.cast(code, "float64"))
        if len(parts) == 1:
            return parts[0]
        return graph.node("Concat", *parts, shape=(parts[0].shape[0], len(self.names)), axis=1)

    def frame(self, rows: Rows) -> Any:
        """The rows as the library takes them: a float64 matrix, or a data frame if there are categories.

        With hashed ones it is a matrix of objects.
        """
        if self.hashed:
            return np.stack([np.asarray(rows[name], object) for name in self.names], axis=1)
        if not self.categories:
            return np.stack([np.asarray(rows[name], np.float64) for name in self.names], axis=1)
        import pandas as pd

        columns = {}
        for i, name in enumerate(self.names):
            columns[name] = rows[name]
            if i in self.categories:
                known = pd.Index(list(self.categories[i]))
                columns[name] = pd.Categorical.from_codes(known.get_indexer(pd.Index(rows[name])), known)
        return pd.DataFrame(columns)


def source_of(
    library: str, version: str, trees: Trees, labels: tuple[Label, ...], *, notes: tuple[str, ...] = (), **parts: Any
) -> TableSource:
    """What becomes a bundle: a classifier if there are labels, else a regression of as many targets as outputs.

    Args:
        library: its package.
        version: of the library that wrote the model, or that reads it.
        trees: of the model.
        labels: of a classifier.
        notes: see `TableSource`.
        parts: ``columns``, ``ask`` and ``build`` of the `TableSource`.
    """
    targets = tuple(f"target{i}" for i in range(trees.outputs)) if trees.outputs > 1 else ("target",)
    return TableSource(
        framework=library,
        version=version,
        packages=(library,),
        task="tabular-classification" if labels else "tabular-regression",
        labels=labels,
        targets=() if labels else targets,
        notes=notes,
        **parts,
    )


def column_names(found: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The names, or ``x0``, ``x1``, … where there are none."""
    return tuple(found) if found else tuple(f"x{i}" for i in range(count))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

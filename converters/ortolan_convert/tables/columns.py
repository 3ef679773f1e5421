"""A table's columns as inputs of a graph, and as a bundle's task configuration describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ortolan.errors import UnsupportedError
from ortolan.inputs.column_config import MAX_FEATURES, MAX_VALUES
from ortolan.types import TensorSpec
from ortolan_convert.tables.source import MISSING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.tables.source import Column

NUMBERS = "numbers"
"""Name of the input that takes all columns of numbers side by side."""


def declare_inputs(graph: GraphBuilder, columns: Sequence[Column]) -> tuple[Value | None, dict[str, Value]]:
    """The inputs: one value for all number columns, and one for each other column by its name."""
    count = sum(column.kind == "number" for column in columns)
    numbers = graph.input(NUMBERS, "float64", ("batch", count)) if count else None
    others = {
        column.name: graph.input(input_name(column), "object" if column.kind == "string" else "int64", ("batch", 1))
        for column in columns
        if column.kind in ("string", "hashed")
    }
    return numbers, others


def input_name(column: Column) -> str:
    """Name of the input that takes a column of its own. No node of a graph has a dot in its name."""
    return f"column.{column.name}"


def text_inputs(column: Column) -> list[TensorSpec]:
    """The inputs that take a column of texts; none for other columns."""
    sets = [] if column.text is None else cast("list[dict[str, str]]", column.text["sets"])
    return [
        TensorSpec(f"{one['name']}.{part}", dtype, ("batch", f"{one['name']}.terms"))
        for one in sets
        for part, dtype in (("ids", "int64"), ("values", "float64"))
    ]


def columns_config(columns: Sequence[Column]) -> dict[str, object]:
    """The ``columns`` object of a task's configuration; see `ortolan.inputs.column_config`.

    Raises:
        UnsupportedError: more columns than a bundle may have.
    """
    if len(columns) > MAX_FEATURES:
        raise UnsupportedError(
            f"the model takes {len(columns):,} columns; expected at most {MAX_FEATURES:,}. If they are the features of "
            f"a text vectorizer, give its file too: ortolan convert VECTORIZER MODEL"
        )
    config: dict[str, object] = {"cast": "round", "features": [_feature(column) for column in columns]}
    if any(column.kind == "number" for column in columns):
        config["input"] = NUMBERS
    return config


def _feature(column: Column) -> object:
    if column.kind == "unused":
        return {"name": column.name, "unused": True}
    if column.kind == "text":
        return {"name": column.name, "text": column.text}
    if column.kind == "hashed":
        return {"name": column.name, "input": input_name(column), "hash": column.hash}
    entry: dict[str, object] = {"name": column.name}
    if column.kind != "number":
        entry["input"] = input_name(column)
    if column.missing:
        entry["missing"] = "allow"
        if column.kind == "string":
            entry["missing_as"] = MISSING
    if column.infinite:
        entry["infinite"] = "allow"
    if column.closed:
        if len(column.values) > MAX_VALUES:
            raise UnsupportedError(
                f"column {column.name!r} has {len(column.values):,} categories; expected at most {MAX_VALUES:,}"
            )
        entry["values"] = list(column.values)
    return entry if len(entry) > 1 else column.name

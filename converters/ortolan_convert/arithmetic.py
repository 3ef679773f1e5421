"""Nodes that follow numpy's rules of shapes: one call for what takes several lines with a builder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value


def binary(graph: GraphBuilder, operator: str, left: Any, right: Any) -> Value:
    """Two operands, each a value, a number or an array; the shape is broadcast."""
    one, other = _value(graph, left), _value(graph, right)
    return graph.node(operator, one, other, shape=broadcast(one.shape, other.shape))


def compared(graph: GraphBuilder, operator: str, left: Any, right: Any) -> Value:
    """bool: ``Equal``, ``Less``, ``Greater``, ``LessOrEqual`` or ``GreaterOrEqual``."""
    one, other = _value(graph, left), _value(graph, right)
    return graph.node(operator, one, other, shape=broadcast(one.shape, other.shape), dtype="bool")


def where(graph: GraphBuilder, condition: Value, yes: Any, no: Any) -> Value:
    """Elements of ``yes`` where the condition holds, else of ``no``."""
    one, other = _value(graph, yes), _value(graph, no)
    shape = broadcast(condition.shape, broadcast(one.shape, other.shape))
    return graph.node("Where", condition, one, other, shape=shape, dtype=one.dtype)


def reduced(graph: GraphBuilder, operator: str, value: Value, axis: int = 1, *, keep: bool = True) -> Value:
    """``ReduceSum``, ``ReduceMax``, … along an axis."""
    shape = (*value.shape[:axis], *((1,) if keep else ()), *value.shape[axis + 1 :])
    return graph.node(operator, value, integers(graph, axis), shape=shape, keepdims=int(keep))


def position(graph: GraphBuilder, operator: Literal["ArgMax", "ArgMin"], value: Value) -> Value:
    """int64 [batch]: column of a row's largest or smallest number, the first of several."""
    return graph.node(operator, value, shape=value.shape[:1], dtype="int64", axis=1, keepdims=0)


def joined(graph: GraphBuilder, values: Sequence[Value]) -> Value:
    """[batch, n] of each side by side."""
    if len(values) == 1:
        return values[0]
    total = sum(int(value.shape[1]) for value in values)
    return graph.node("Concat", *values, shape=(values[0].shape[0], total), axis=1)


def columns(graph: GraphBuilder, value: Value, places: Sequence[int] | NDArray[Any]) -> Value:
    """[batch, len(places)]: some columns, in this order."""
    if list(places) == list(range(int(value.shape[1]))):
        return value
    chosen = graph.constant(np.array(places, np.int64))
    return graph.node("Gather", value, chosen, shape=(value.shape[0], len(places)), axis=1)


def row_of(graph: GraphBuilder, table: NDArray[Any], index: Value) -> Value:
    """[batch, …]: for each index int64 [batch] its row of a table."""
    stored = graph.constant(table)
    return graph.node("Gather", stored, index, shape=(index.shape[0], *table.shape[1:]), dtype=stored.dtype, axis=0)


def times(graph: GraphBuilder, value: Value, weights: NDArray[Any]) -> Value:
    """float64 [batch, m]: the product with float64 [n, m]."""
    matrix = graph.constant(np.asarray(weights, np.float64))
    return graph.node("MatMul", value, matrix, shape=(value.shape[0], int(weights.shape[1])))


def integers(graph: GraphBuilder, *numbers: int) -> Value:
    """A constant int64 vector."""
    return graph.constant(np.array(numbers, np.int64))


def flat(graph: GraphBuilder, value: Value) -> Value:
    """[batch, 1] -> [batch]."""
    return graph.node("Squeeze", value, integers(graph, 1), shape=value.shape[:1])


def column(graph: GraphBuilder, value: Value) -> Value:
    """[batch] -> [batch, 1]."""
    return graph.node("Unsqueeze", value, integers(graph, 1), shape=(*value.shape, 1))


def log1p(graph: GraphBuilder, value: Value) -> Value:
    """``log(1 + x)``, exact for small x too (Kahan's way: the rounding of 1 + x cancels)."""
    total = binary(graph, "Add", value, 1.0)
    rounded = binary(graph, "Sub", total, 1.0)
    tiny = compared(graph, "Equal", rounded, 0.0)
    safe = where(graph, tiny, 1.0, rounded)
    scaled = binary(graph, "Div", binary(graph, "Mul", graph.node("Log", total), value), safe)
    return where(graph, tiny, value, scaled)


def expm1(graph: GraphBuilder, value: Value) -> Value:
    """``exp(x) - 1``, exact for small x too (Kahan's way)."""
    power = graph.node("Exp", value)
    rounded = binary(graph, "Sub", power, 1.0)
    tiny = compared(graph, "Equal", rounded, 0.0)
    small = compared(graph, "Less", graph.node("Abs", value), 1.0)
    safe = where(graph, small, where(graph, tiny, 1.0, graph.node("Log", power)), 1.0)
    scaled = binary(graph, "Div", binary(graph, "Mul", rounded, value), safe)
    return where(graph, tiny, value, where(graph, small, scaled, rounded))


def broadcast(one: Sequence[int | str], other: Sequence[int | str]) -> tuple[int | str, ...]:
    """The shape that two broadcast to."""
    length = max(len(one), len(other))
    pairs = zip((1,) * (length - len(one)) + tuple(one), (1,) * (length - len(other)) + tuple(other), strict=True)
    return tuple(b if a == 1 else a for a, b in pairs)


def _value(graph: GraphBuilder, operand: Any) -> Value:
    if isinstance(operand, int | float | np.ndarray | np.generic):
        array = np.asarray(operand)
        return graph.constant(array.astype(np.float64) if array.dtype.kind in "fiu" else array)
    value: Value = operand
    return value

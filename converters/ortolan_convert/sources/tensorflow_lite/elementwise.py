"""TensorFlow Lite's operators on single numbers, and their broadcasting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ortolan_convert.sources.tensorflow_lite.file import Operator
    from ortolan_convert.sources.tensorflow_lite.graph import LiteGraph

    Convert = Callable[[LiteGraph, Operator], None]
    Formula = Callable[..., str]
    """Graph, operator and names of the inputs to the name of the result."""


def elementwise(formula: Formula, graph: LiteGraph, operator: Operator) -> None:
    """Convert an operator on single numbers in whatever order of axes its inputs are in."""
    inputs = [number for number in operator.inputs if number >= 0]
    first = any(graph.is_first(number) for number in inputs) and all(graph.is_image(number) for number in inputs)
    names = [graph.channels_first(number) if first else graph.value(number) for number in inputs]
    result = formula(graph, operator, *names)
    code = getattr(operator.options, "fusedActivationFunction", 0)
    result = graph.activated(result, code, operator)
    if first:
        graph.set_first(operator.outputs[0], result)
    else:
        graph.set(operator.outputs[0], result)


def _is_integer(graph: LiteGraph, operator: Operator) -> bool:
    tensor = graph.tensor(operator.inputs[0])
    return tensor.quantization is None and "int" in tensor.dtype


def _node(kind: str, graph: LiteGraph, _: Operator, *names: str) -> str:
    return graph.node(kind, *names)


def _negated(kind: str, graph: LiteGraph, _: Operator, *names: str) -> str:
    return graph.node("Not", graph.node(kind, *names))


def _clip(low: float, high: float, graph: LiteGraph, operator: Operator, name: str) -> str:
    """Relu and its kin, which a quantized output's rounding may already do."""
    code = {(0.0, np.inf): 1, (-1.0, 1.0): 2, (0.0, 6.0): 3}[(low, high)]
    return graph.activated(name, code, operator)


def _reciprocal_root(graph: LiteGraph, _: Operator, name: str) -> str:
    return graph.node("Reciprocal", graph.node("Sqrt", name))


def _square(graph: LiteGraph, _: Operator, name: str) -> str:
    return graph.node("Mul", name, name)


def _squared_difference(graph: LiteGraph, operator: Operator, one: str, other: str) -> str:
    return _square(graph, operator, graph.node("Sub", one, other))


def _leaky(graph: LiteGraph, operator: Operator, name: str) -> str:
    return graph.node("LeakyRelu", name, alpha=float(operator.options.alpha))


def _gelu(graph: LiteGraph, operator: Operator, name: str) -> str:
    return graph.node("Gelu", name, approximate="tanh" if operator.options.approximate else "none")


def _floor_divide(graph: LiteGraph, operator: Operator, one: str, other: str) -> str:
    if not _is_integer(graph, operator):
        return _node("Floor", graph, operator, graph.node("Div", one, other))
    wide = [graph.cast(name, "float64") for name in (one, other)]
    return graph.cast(graph.node("Floor", graph.node("Div", *wide)), graph.tensor(operator.outputs[0]).dtype)


def _floor_modulo(graph: LiteGraph, operator: Operator, one: str, other: str) -> str:
    if _is_integer(graph, operator):
        return _node("Mod", graph, operator, one, other)
    whole = graph.node("Floor", graph.node("Div", one, other))
    return _node("Sub", graph, operator, one, graph.node("Mul", whole, other))


def _add_all(graph: LiteGraph, operator: Operator, *names: str) -> str:
    return _node("Sum", graph, operator, *names)


def _cast(graph: LiteGraph, operator: Operator, name: str) -> str:
    wanted = graph.tensor(operator.outputs[0])
    dtype = "float32" if wanted.quantization is not None else wanted.dtype
    if dtype not in {"float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"}:
        raise graph.refuse(operator, f"a cast to {dtype}")
    return graph.cast(name, dtype)


def _same(graph: LiteGraph, operator: Operator, name: str) -> str:
    return _node("Identity", graph, operator, name)


def _dequantize(graph: LiteGraph, operator: Operator) -> None:
    """Integers or float16 to float32. Constants in float16 stay as they are, to be arranged by who takes them."""
    source = operator.inputs[0]
    data = graph.known(source)
    if data is not None and data.dtype == np.float16:
        graph.alias(operator.outputs[0], data)
        return
    if graph.tensor(source).dtype == "float16":
        graph.set(operator.outputs[0], graph.cast(graph.value(source), "float32"))
        return
    elementwise(_same, graph, operator)


def _select(graph: LiteGraph, operator: Operator, condition: str, one: str, other: str) -> str:
    return _node("Where", graph, operator, condition, one, other)


def _select_rows(graph: LiteGraph, operator: Operator) -> None:
    """The older selection, where a vector chooses whole rows."""
    ranks = [graph.rank(number) for number in operator.inputs]
    condition, *others = (graph.value(number) for number in operator.inputs)
    if ranks[0] == 1 and ranks[1] > 1:
        condition = graph.node("Unsqueeze", condition, graph.constant(list(range(1, ranks[1])), "int64"))
    graph.set(operator.outputs[0], graph.node("Where", condition, *others))


def _prelu(graph: LiteGraph, operator: Operator, name: str, slope: str) -> str:
    return _node("PRelu", graph, operator, name, slope)


def _nodes(kinds: Mapping[str, str]) -> dict[str, Convert]:
    return {name: partial(elementwise, partial(_node, kind)) for name, kind in kinds.items()}


def _formulas(formulas: Mapping[str, Formula]) -> dict[str, Convert]:
    return {name: partial(elementwise, formula) for name, formula in formulas.items()}


_SAME: Sequence[str] = ("ABS", "ADD", "CEIL", "COS", "DIV", "ELU", "EQUAL", "EXP", "FLOOR", "GREATER", "LESS", "LOG")

OPERATORS: Mapping[str, Convert] = {
    **_nodes({name: name.capitalize() for name in _SAME}),
    **_nodes(
        {
            "MUL": "Mul",
            "NEG": "Neg",
            "POW": "Pow",
            "ROUND": "Round",
            "SIGN": "Sign",
            "SIN": "Sin",
            "SQRT": "Sqrt",
            "SUB": "Sub",
            "TANH": "Tanh",
            "LOGISTIC": "Sigmoid",
            "HARD_SWISH": "HardSwish",
            "MAXIMUM": "Max",
            "MINIMUM": "Min",
            "GREATER_EQUAL": "GreaterOrEqual",
            "LESS_EQUAL": "LessOrEqual",
            "LOGICAL_AND": "And",
            "LOGICAL_OR": "Or",
            "LOGICAL_NOT": "Not",
        }
    ),
    **_formulas(
        {
            "NOT_EQUAL": partial(_negated, "Equal"),
            "RELU": partial(_clip, 0.0, np.inf),
            "RELU6": partial(_clip, 0.0, 6.0),
            "RELU_N1_TO_1": partial(_clip, -1.0, 1.0),
            "RSQRT": _reciprocal_root,
            "SQUARE": _square,
            "SQUARED_DIFFERENCE": _squared_difference,
            "LEAKY_RELU": _leaky,
            "GELU": _gelu,
            "PRELU": _prelu,
            "FLOOR_DIV": _floor_divide,
            "FLOOR_MOD": _floor_modulo,
            "ADD_N": _add_all,
            "CAST": _cast,
            "QUANTIZE": _same,
            "SELECT_V2": _select,
        }
    ),
    "DEQUANTIZE": _dequantize,
    "SELECT": _select_rows,
}
"""By TensorFlow Lite's names."""

"""Quantiles of the normal distribution as nodes: the Cephes library's ``ndtri``, which scipy uses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ortolan_convert.arithmetic import binary, compared, where
from ortolan_convert.heads import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan_convert.graph import GraphBuilder, Value

_MIDDLE = (
    (
        -5.99633501014107895267e1,
        9.80010754185999661536e1,
        -5.66762857469070293439e1,
        1.39312609387279679503e1,
        -1.23916583867381258016e0,
    ),
    (
        1.0,
        1.95448858338141759834e0,
        4.67627912898881538453e0,
        8.63602421390890590575e1,
        -2.25462687854119370527e2,
        2.00260212380060660359e2,
        -8.20372256168333339912e1,
        1.59056225126211695515e1,
        -1.18331621121330003142e0,
    ),
)
_TAIL = (
    (
        4.05544892305962419923e0,
        3.15251094599893866154e1,
        5.71628192246421288162e1,
        4.40805073893200834700e1,
        1.46849561928858024014e1,
        2.18663306850790267539e0,
        -1.40256079171354495875e-1,
        -3.50424626827848203418e-2,
        -8.57456785154685413611e-4,
    ),
    (
        1.0,
        1.57799883256466749731e1,
        4.53907635128879210584e1,
        4.13172038254672030440e1,
        1.50425385692907503408e1,
        2.50464946208309415979e0,
        -1.42182922854787788574e-1,
        -3.80806407691578277194e-2,
        -9.33259480895457427372e-4,
    ),
)
"""Numerators and denominators, highest power first; the tail's hold down to exp(-32)."""
_EDGE = 0.13533528323661269189
"""exp(-2): where the tail begins."""


def normal_quantile(graph: GraphBuilder, share: Value, least: float) -> Value:
    """[batch, 1]: the number below which a share of a standard normal distribution lies, shares limited at both ends.

    Args:
        graph: to add to.
        share: float64 [batch, 1], 0 to 1.
        least: smallest share, at least 1e-13; the largest is 1 minus that.
    """
    limited = clipped(graph, share, least, 1 - least)
    upper = compared(graph, "Greater", limited, 1 - _EDGE)
    low = where(graph, upper, binary(graph, "Sub", 1.0, limited), limited)
    centered = binary(graph, "Sub", low, 0.5)
    square = graph.node("Mul", centered, centered)
    ratio = binary(graph, "Mul", square, _ratio(graph, square, _MIDDLE))
    middle = binary(graph, "Add", centered, graph.node("Mul", centered, ratio))
    middle = binary(graph, "Mul", middle, math.sqrt(2 * math.pi))
    far = graph.node("Sqrt", binary(graph, "Mul", graph.node("Log", low), -2.0))
    first = binary(graph, "Sub", far, binary(graph, "Div", graph.node("Log", far), far))
    inverse = binary(graph, "Div", 1.0, far)
    second = graph.node("Mul", inverse, _ratio(graph, inverse, _TAIL))
    tail = graph.node("Neg", graph.node("Sub", first, second))
    found = where(graph, compared(graph, "Greater", low, _EDGE), middle, tail)
    return where(graph, upper, graph.node("Neg", found), found)


def _ratio(graph: GraphBuilder, value: Value, terms: tuple[Sequence[float], Sequence[float]]) -> Value:
    """A quotient of polynomials, by Horner's rule."""
    made = []
    for coefficients in terms:
        total = binary(graph, "Add", binary(graph, "Mul", value, coefficients[0]), coefficients[1])
        for coefficient in coefficients[2:]:
            total = binary(graph, "Add", graph.node("Mul", total, value), coefficient)
        made.append(total)
    return graph.node("Div", *made)

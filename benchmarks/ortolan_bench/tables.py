"""Quantities and tables as people read them, in plain text. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def format_latency(seconds: float) -> str:
    """Three significant digits with a unit: ``"51.2 µs"``."""
    number, unit = scaled(seconds, unit_of(seconds))
    return f"{number} {unit}"


def unit_of(seconds: float) -> tuple[str, float]:
    """Name and seconds of the unit that suits a duration."""
    # 999.6 µs rounds to 1000: the next larger unit is used from there.
    return next((unit for unit in _UNITS if seconds >= 0.9995 * unit[1]), _UNITS[-1])


def scaled(seconds: float, unit: tuple[str, float]) -> tuple[str, str]:
    """A duration's number in a unit, with three significant digits, and the unit's name."""
    value = seconds / unit[1]
    digits = 0 if value >= 99.95 or value == 0 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}", unit[0]


def aligned(table: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns two spaces apart; those in ``left`` begin together, the others end together."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)

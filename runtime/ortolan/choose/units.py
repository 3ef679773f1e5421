"""Quantities as people write them: sizes, durations, rates and shares, read strictly and shown briefly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ortolan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.types import Interval

_SIZES = {
    "": 1.0,
    "b": 1.0,
    "k": 1e3,
    "kb": 1e3,
    "m": 1e6,
    "mb": 1e6,
    "g": 1e9,
    "gb": 1e9,
    "kib": 2.0**10,
    "mib": 2.0**20,
    "gib": 2.0**30,
}
_DURATIONS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "min": 60.0,
    "h": 3600.0,
}
_RATES = {
    "bit": 1.0,
    "kbit": 1e3,
    "mbit": 1e6,
    "gbit": 1e9,
    "bps": 1.0,
    "kbps": 1e3,
    "mbps": 1e6,
    "gbps": 1e9,
    "bit/s": 1.0,
    "kbit/s": 1e3,
    "mbit/s": 1e6,
    "gbit/s": 1e9,
    "kb/s": 8e3,
    "mb/s": 8e6,
    "gb/s": 8e9,
}
_SHARES = {"": 1.0, "%": 0.01}
_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?|\.[0-9]{1,18})\s*([^\s0-9.]*)")
_LARGEST = 2**62  # of bytes; beyond is a slip of the keyboard


def parse_size(text: str) -> int:
    """Bytes of ``"200MB"`` (decimal), ``"64MiB"`` (binary) or ``"1048576"``; rounded down, at least 1.

    Raises:
        UsageError: not a size above zero.
    """
    size = int(_parse(text, _SIZES, "a size such as 200MB or 64MiB"))
    if not 1 <= size <= _LARGEST:
        raise UsageError(f"expected a size of at least one byte and at most 4 EiB, got {text!r}")
    return size


def parse_duration(text: str) -> float:
    """Seconds of ``"50ms"``, ``"1.5s"`` or ``"2min"``. A unit is needed: who writes 50 may mean milliseconds.

    Raises:
        UsageError: not a duration above zero.
    """
    return _positive(_parse(text, _DURATIONS, "a duration with its unit such as 50ms or 2s"), text, "a duration")


def parse_rate(text: str) -> float:
    """Bits per second of ``"1Mbit"``, ``"500kbps"`` or ``"2MB/s"``. A unit is needed: bits and bytes are mixed up.

    Raises:
        UsageError: not a rate above zero.
    """
    return _positive(_parse(text, _RATES, "a rate with its unit such as 1Mbit or 2MB/s"), text, "a rate")


def parse_share(text: str) -> float:
    """A share from 0 to 1 of ``"1%"`` or ``"0.01"``.

    Raises:
        UsageError: not a share from 0 to 1.
    """
    share = _parse(text, _SHARES, "a share such as 1% or 0.01")
    if share > 1:
        raise UsageError(f"expected a share of at most 100%, got {text!r}")
    return share


def format_size(size: float) -> str:
    """E.g. ``"61 MB"``; decimal units, two significant digits below ten."""
    return _format(size, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0)))


def format_duration(seconds: float) -> str:
    """E.g. ``"1.9 ms"``."""
    if seconds >= 120:
        return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
    return _format(seconds, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)))


def format_rate(bits_per_s: float) -> str:
    """E.g. ``"1 Mbit/s"``."""
    return _format(bits_per_s, (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3), ("bit/s", 1.0)))


def format_share(share: float) -> str:
    """E.g. ``"0.12 %"``."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def format_range(interval: Interval, unit: str) -> str:
    """Both ends in the unit that suits the upper one: ``"52-70 MB"``. ``unit`` is ``"bytes"`` or ``"s"``."""
    show = format_size if unit == "bytes" else format_duration
    high = show(interval.high)
    number, _, name = high.partition(" ")
    scale = interval.high / float(number) if float(number) else 1.0
    low = _digits(interval.low / scale)
    return high if low == number else f"{low}-{number} {name}"


def _parse(text: str, units: Mapping[str, float], wanted: str) -> float:
    match = _QUANTITY.fullmatch(text.strip())
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise UsageError(f"expected {wanted}, got {text!r}")
    return float(match[1]) * factor


def _positive(value: float, text: str, what: str) -> float:
    if value <= 0:
        raise UsageError(f"expected {what} above zero, got {text!r}")
    return value


def _format(value: float, units: tuple[tuple[str, float], ...]) -> str:
    # 999.6 kB rounds to 1000: the next larger unit is used from there.
    name, scale = next((unit for unit in units if value >= 0.9995 * unit[1]), units[-1])
    return f"{_digits(value / scale)} {name}"


def _digits(value: float) -> str:
    """Two significant digits below ten, whole numbers above, no trailing zeros."""
    if value >= 9.95 or value == 0:
        return f"{value:.0f}"
    return f"{float(f'{value:.2g}'):g}"

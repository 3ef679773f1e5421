"""Quantities are read strictly and shown briefly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.choose import units
from ortolan.errors import UsageError
from ortolan.types import Interval

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("200MB", 200_000_000),
        ("64MiB", 67_108_864),
        ("1048576", 1_048_576),
        ("1.5 kB", 1500),
        ("2g", 2_000_000_000),
        (".5k", 500),
        ("3b", 3),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Decimal and binary units, and bytes without one."""
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-1MB", "1e3", "nan", "inf", "0", "0.5", "1 2", "5XB", "1MBit", "9" * 18 + "GB"]
)
def test_what_is_no_size(text: str) -> None:
    """Signs, exponents, unknown units and less than a byte are refused."""
    with pytest.raises(UsageError, match=r"expected a size"):
        units.parse_size(text)


def test_message_of_a_wrong_size_shows_examples() -> None:
    """The message says what would have been right."""
    with pytest.raises(UsageError) as caught:
        units.parse_size("lots")

    assert str(caught.value) == "expected a size such as 200MB or 64MiB, got 'lots'"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("0.05s", 0.05), ("250us", 250e-6), ("250µs", 250e-6), ("2min", 120), ("1h", 3600)],
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds without a unit."""
    assert units.parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "rate"), [("1Mbit", 1e6), ("500kbps", 5e5), ("2MB/s", 1.6e7), ("1.5 Mbit/s", 1.5e6), ("300bps", 300)]
)
def test_rates(text: str, rate: float) -> None:
    """Bits per second; bytes are eight of them."""
    assert units.parse_rate(text) == pytest.approx(rate)


def test_rate_without_a_unit_is_refused() -> None:
    """Bits and bytes would be mixed up."""
    with pytest.raises(UsageError) as caught:
        units.parse_rate("1000000")

    assert str(caught.value) == "expected a rate with its unit such as 1Mbit or 2MB/s, got '1000000'"


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.01", 0.01), ("0", 0.0), ("100%", 1.0)])
def test_shares(text: str, share: float) -> None:
    """Percent, or a number from 0 to 1."""
    assert units.parse_share(text) == pytest.approx(share)


def test_share_above_one_is_refused() -> None:
    """``5`` is meant as 5 %."""
    with pytest.raises(UsageError, match=r"expected a share of at most 100%, got '5'"):
        units.parse_share("5")


@given(st.floats(min_value=1e-9, max_value=1e12))
@settings(max_examples=200, deadline=None)
def test_shown_sizes_and_durations_are_read_back(value: float) -> None:
    """What is printed can be given as an option, and is right to 5 %."""
    assert units.parse_duration(units.format_duration(value)) == pytest.approx(value, rel=0.05)
    size = max(1.0, value)
    assert units.parse_size(units.format_size(size).replace("bytes", "B")) == pytest.approx(size, rel=0.05, abs=1)


@pytest.mark.parametrize("parse", [units.parse_size, units.parse_duration, units.parse_rate, units.parse_share])
@given(text=st.text(max_size=20) | st.from_regex(r"[0-9]{1,20}(\.[0-9]+)? ?[A-Za-z%/]{0,6}", fullmatch=True))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_quantity_or_a_usage_error(parse: Callable[[str], float], text: str) -> None:
    """No other error leaves the parsers, and its message is one line."""
    try:
        assert 0 <= parse(text) < float("inf")
    except UsageError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 bytes"),
        (999.4, "999 bytes"),
        (999.6, "1 kB"),
        (61_400_000, "61 MB"),
        (1_900_000, "1.9 MB"),
        (2e9, "2 GB"),
    ],
)
def test_shown_sizes(value: float, shown: str) -> None:
    """Two significant digits below ten, whole numbers above, and never 1000 of a unit."""
    assert units.format_size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.9e-3, "1.9 ms"), (52e-6, "52 µs"), (90, "90 s"), (600, "10 min"), (9000, "2.5 h"), (3e-10, "0.3 ns")],
)
def test_shown_durations(value: float, shown: str) -> None:
    """The unit suits the size."""
    assert units.format_duration(value) == shown


@pytest.mark.parametrize(
    ("interval", "unit", "shown"),
    [
        (Interval(52e6, 70.4e6), "bytes", "52-70 MB"),
        (Interval(20e-6, 1.9e-3), "s", "0.02-1.9 ms"),
        (Interval(5e6, 5e6), "bytes", "5 MB"),
        (Interval(0, 0), "bytes", "0 bytes"),
    ],
)
def test_shown_ranges(interval: Interval, unit: str, shown: str) -> None:
    """Both ends in the unit of the upper one; equal ends once."""
    assert units.format_range(interval, unit) == shown

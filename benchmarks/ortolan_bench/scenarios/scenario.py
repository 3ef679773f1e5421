"""A scenario: read from the command line, as JSON, and as what a worker is asked to do in one block. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast, get_args

from ortolan.choose.units import format_duration, parse_duration
from ortolan.errors import UnknownNameError, UsageError
from ortolan_bench.scenarios.arrivals import poisson

if TYPE_CHECKING:
    from collections.abc import Callable

Name = Literal["single-stream", "multi-stream", "offline", "server"]

BATCHES = (1, 2, 4, 8, 16, 32)
"""Batch sizes of the offline scenario when none are given."""

MAX_AT_ONCE = 65_536
"""Most inputs that are asked at once."""

MIN_RATE = 1 / 60
"""Fewest arrivals per second: one a minute; with fewer the benchmark would mostly wait."""

MAX_RATE = 1e6
"""Most arrivals per second: beyond, the loop itself would be what is measured."""

MAX_BOUND_S = 3600.0
"""Longest bound of a latency: an hour."""

BOUND_QUANTILE = 0.99
"""Share of the answers that must keep the bound: LoadGen's default for the server scenario."""

MAX_BLOCK_SAMPLES = 12_500
"""Samples of a block at most: a result file stays within some megabytes per candidate however fast it is."""

LIMIT = 4
"""A block that takes this many times its planned seconds ends early."""

LEAD_IN = 0.2
"""Share of a block's arrivals that only fill the queue, and are answered but not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """How inputs arrive.

    Args:
        name: of the scenario.
        at_once: inputs asked together: of multi-stream, and the batch of offline; otherwise 1.
        rate: arrivals per second, of server; None to find the highest that keeps ``bound``.
        bound: seconds within which 99 % of the answers must come, of server; None without a search.
    """

    name: Name = "single-stream"
    at_once: int = 1
    rate: float | None = None
    bound: float | None = None

    @property
    def searches(self) -> bool:
        """Whether the highest rate is looked for."""
        return self.bound is not None

    @property
    def label(self) -> str:
        """What distinguishes it among results of one candidate; empty for single-stream."""
        return _LABELS[self.name](self)

    def block(self, number: int, *, count: int, seconds: float, rate: float | None, seed: int) -> dict[str, object]:
        """What a worker is asked for in one block.

        Args:
            number: of the block, over all processes: each goes on through the inputs where the last one ended, and has
                arrivals of its own.
            count: queries to be measured when one follows the other.
            seconds: the block should last.
            rate: arrivals per second, of server; otherwise None.
            seed: of the benchmark.
        """
        if rate is None:
            return {"count": count, "offset": number * count, "limit_s": LIMIT * seconds}
        count = min(MAX_BLOCK_SAMPLES, max(1, round(rate * seconds)))
        lead = round(count * LEAD_IN)
        arrivals = poisson(count + lead, rate, seed * 1_000_003 + number)
        return {
            "arrivals_ns": [round(second * 1e9) for second in arrivals],
            "lead": lead,
            "offset": number * (count + lead),
            "limit_s": LIMIT * max(seconds, (count + lead) / rate),
        }


def parse(text: str) -> tuple[Scenario, ...]:
    """The scenarios that ``multi-stream:4``, ``offline:1,8``, ``server:50/s`` and the like mean, in the order given.

    Raises:
        UnknownNameError: no such scenario.
        UsageError: a number, rate or time that makes no sense.
    """
    name, colon, detail = text.strip().partition(":")
    if name not in _READERS:
        raise UnknownNameError("scenario", name, list(_READERS))
    return _READERS[name](detail if colon else None)


def named(name: str) -> Name:
    """The name, typed; it is one of them."""
    return cast("Name", name)


NAMES: tuple[str, ...] = get_args(Name)


def _single(detail: str | None) -> tuple[Scenario, ...]:
    if detail is not None:
        raise UsageError(f"single-stream takes no number, got {detail!r}; multi-stream:N asks N inputs at once")
    return (Scenario(),)


def _multi(detail: str | None) -> tuple[Scenario, ...]:
    counts = _counts("multi-stream", detail or "")
    return tuple(Scenario(name="multi-stream", at_once=count) for count in counts)


def _offline(detail: str | None) -> tuple[Scenario, ...]:
    batches = BATCHES if detail is None else _counts("offline", detail)
    return tuple(Scenario(name="offline", at_once=batch) for batch in batches)


def _server(detail: str | None) -> tuple[Scenario, ...]:
    text = detail or ""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?/s", text):
        rate = float(text[:-2])
        if not MIN_RATE <= rate <= MAX_RATE:
            raise UsageError(f"server: expected one arrival a minute to {MAX_RATE:.0f} a second, got {text}")
        return (Scenario(name="server", rate=rate),)
    try:
        bound = parse_duration(text)
    except UsageError as error:
        raise UsageError(
            f"server: expected a rate such as server:50/s, or the time within which 99% of the answers must come, such "
            f"as server:20ms, to find the highest rate; got {text!r}"
        ) from error
    if bound > MAX_BOUND_S:
        raise UsageError(f"server: expected a bound of at most an hour, got {text}")
    return (Scenario(name="server", bound=bound),)


def _counts(name: str, text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(re.fullmatch(r"[0-9]{1,9}", part.strip()) for part in parts):
        raise UsageError(f"{name}: expected numbers of inputs such as {name}:1,8, got {text!r}")
    counts = tuple(dict.fromkeys(int(part) for part in parts))
    if not all(1 <= count <= MAX_AT_ONCE for count in counts):
        raise UsageError(f"{name}: expected 1 to {MAX_AT_ONCE} inputs at once, got {text}")
    return counts


def _server_label(scenario: Scenario) -> str:
    if scenario.bound is not None:
        return f"{BOUND_QUANTILE:.0%} in {format_duration(scenario.bound)}"
    return f"{scenario.rate:g}/s"


_READERS: dict[str, Callable[[str | None], tuple[Scenario, ...]]] = {
    "single-stream": _single,
    "multi-stream": _multi,
    "offline": _offline,
    "server": _server,
}

_LABELS: dict[str, Callable[[Scenario], str]] = {
    "single-stream": lambda _: "",
    "multi-stream": lambda scenario: f"{scenario.at_once} at once",
    "offline": lambda scenario: f"batch {scenario.at_once}",
    "server": _server_label,
}

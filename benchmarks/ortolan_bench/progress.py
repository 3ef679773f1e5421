"""How far a benchmark is, and how long it will take. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a benchmark stands.

    Args:
        done: steps done.
        total: steps in all.
        seconds_left: estimate; None before there is anything to estimate from.
        doing: the step that starts now, a few words.
    """

    done: int
    total: int
    seconds_left: float | None
    doing: str


class Estimate:
    """Time left, from the mean duration of each kind of step so far."""

    def __init__(self, remaining: dict[str, int], expected_s: dict[str, float]) -> None:
        """Args are per kind of step: how many there are, and seconds expected before any was seen."""
        self._remaining = dict(remaining)
        self._expected_s = dict(expected_s)
        self._seen: dict[str, tuple[int, float]] = {}
        self.done = 0
        self.total = sum(remaining.values())

    def finish(self, kind: str, seconds: float) -> None:
        """One step of a kind took so long."""
        count, total = self._seen.get(kind, (0, 0.0))
        self._seen[kind] = (count + 1, total + seconds)
        self.skip(kind)

    def skip(self, kind: str) -> None:
        """One step of a kind will not be done."""
        self._remaining[kind] -= 1
        self.done += 1

    def seconds_left(self) -> float | None:
        """None until one step is done."""
        if not self._seen:
            return None
        return sum(count * self._mean(kind) for kind, count in self._remaining.items())

    def _mean(self, kind: str) -> float:
        count, total = self._seen.get(kind, (0, 0.0))
        return total / count if count else self._expected_s.get(kind, 0.0)

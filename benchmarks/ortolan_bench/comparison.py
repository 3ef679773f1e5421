"""Whether two results differ, figure by figure: effect, interval, verdict. Pure.

Latencies are compared as ratios, that is by differences of logarithms. The unit is the process, or the pair of
processes that took turns: samples within a process say nothing about the next process. All intervals of a comparison
hold together with 95 % (Bonferroni): the first figure, which the conclusion is about, may miss in half of the 5 %,
the others share the other half. So a comparison of equal things calls any figure different in at most one of twenty
cases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, inf, isfinite, log, log1p
from statistics import median
from typing import TYPE_CHECKING, Literal

from ortolan_bench.figures import FIGURES, Figure
from ortolan_bench.shift import Shift, fewest_pairs, more_pairs, more_processes, paired_shift, welch_shift

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ortolan_bench.result import BenchResult, CandidateResult

Verdict = Literal["different", "same", "cannot tell", "invalid"]
Design = Literal["paired", "stored"]

ERROR = 0.05
"""How often a comparison of equal things may call any of its figures different."""

TOLERANCE = 0.05
"""Difference that is still the same, unless the caller says what matters to him."""

MOST_PROCESSES = 1000
"""Beyond, measuring more is no advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureComparison:
    """One figure of both results.

    Args:
        figure: which.
        base: its value in the base: the median over the processes.
        new: in the new result.
        change: new / base - 1.
        low: lower end of the interval of ``change``; -1 if nothing is known.
        high: upper end; infinity if nothing is known.
        processes: of base and new, or the number of pairs twice.
        verdict: different if the interval leaves out 0; same if it lies within the tolerance.
        more: with "cannot tell": about how many more processes a side would tell; None if no sensible number would.
    """

    figure: Figure
    base: float
    new: float
    change: float
    low: float
    high: float
    processes: tuple[int, int]
    verdict: Verdict
    more: int | None = None

    @property
    def within(self) -> float:
        """The largest change that the interval leaves possible, in either direction."""
        return max(abs(self.low), abs(self.high))

    @property
    def worsening(self) -> float:
        """By which share it became worse: 0.05 if a latency grew or a throughput fell by the factor 1.05."""
        factor = 1 + self.change
        return (factor if self.figure.lower_is_better else 1 / factor) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two candidates.

    Args:
        base: name of the one that is compared with.
        new: name of the other.
        figures: those that both have.
        missing: (title, why) of those that cannot be compared.
        problems: why the comparison has no verdict: a failed or invalid side; empty if it has.
    """

    base: str
    new: str
    figures: tuple[FigureComparison, ...]
    missing: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()

    def figure(self, key: str) -> FigureComparison | None:
        """The one with this key, None if it was not compared."""
        return next((row for row in self.figures if row.figure.key == key), None)

    @property
    def headline(self) -> FigureComparison | None:
        """What the conclusion is about: the median latency, or the rate of a search; None if neither was compared."""
        return self.figure("rate_per_s") or self.figure("latency_p50_s")

    def worse(self, limit: float) -> tuple[FigureComparison, ...]:
        """The figures that are different, and worse by more than ``limit``."""
        return tuple(row for row in self.figures if row.verdict == "different" and row.worsening > limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Two results compared, candidate by candidate.

    Args:
        design: pairs of processes that took turns, or two results measured on their own.
        base: the result that is compared with.
        new: the other.
        tolerance: largest change that counts as the same.
        comparisons: one per pair of candidates.
        notes: what a reader should know: what else differs, candidates that only one has.
    """

    design: Design
    base: BenchResult
    new: BenchResult
    tolerance: float
    comparisons: tuple[Comparison, ...]
    notes: tuple[str, ...] = ()

    @property
    def comparable(self) -> bool:
        """Whether both sides of any comparison have been timed; they may still be invalid."""
        return any(row.headline is not None for row in self.comparisons)


def compare(
    base: CandidateResult,
    new: CandidateResult,
    *,
    design: Design,
    inputs: int,
    names: tuple[str, str],
    tolerance: float = TOLERANCE,
    figures: Sequence[Figure] = FIGURES,
) -> Comparison:
    """Compare two candidates' results.

    Args:
        base: the one compared with.
        new: the other.
        design: ``"paired"`` if the n-th processes of both lived together and took turns, block by block.
        inputs: number of inputs the runs walked through.
        names: of base and new.
        tolerance: largest change that counts as the same.
        figures: rows of the table.
    """
    problems = _problems((base, names[0]), (new, names[1]))
    there, missing = [], []
    for figure in figures:
        values = figure.values(base, inputs), figure.values(new, inputs)
        if all(values):
            there.append((figure, values))
        elif any(values):
            missing.append((figure.title, f"only measured for {names[0] if values[0] else names[1]}"))
        elif figure.fewest > 1 and figure.applies(base.scenario) and base.processes_s and new.processes_s:
            missing.append((figure.title, f"needs {figure.fewest} samples per process: measure longer with --seconds"))
    rows = []
    errors = shares(sum(figure.single is None for figure, _ in there))
    for figure, values in there:
        error = ERROR if figure.single is not None else next(errors)
        if figure.single is not None:
            row = _single(figure, values, tolerance)
        elif design == "paired":
            row = _paired(figure, pair_differences(figure, base, new, inputs), values, error, tolerance)
        else:
            row = _stored(figure, values, error, tolerance)
        rows.append(row)
    if problems:
        # What cannot vary, such as a size on disk, needs no valid run.
        rows = [replace(row, verdict="invalid", more=None) if row.figure.between else row for row in rows]
    return Comparison(
        base=names[0], new=names[1], figures=tuple(rows), missing=tuple(missing), problems=tuple(problems)
    )


def shares(figures: int) -> Iterator[float]:
    """How often the interval of each of so many figures may miss, so that all hold together with 1 - ERROR."""
    yield ERROR / 2 if figures > 1 else ERROR
    for _ in range(figures - 1):
        yield ERROR / 2 / (figures - 1)


def pair_differences(figure: Figure, base: CandidateResult, new: CandidateResult, inputs: int) -> list[float]:
    """Per pair of processes, the logarithm of new / base: the median over their blocks, which one burst cannot move."""
    pairs = figure.pairs(base, new, inputs)
    return [median(log(after / before) for before, after in blocks) for blocks in pairs]


def _problems(*sides: tuple[CandidateResult, str]) -> list[str]:
    """Why there is no verdict: one sentence per kind of reason, with the first side's words."""
    names: dict[tuple[str, ...], list[str]] = {}
    words: dict[tuple[str, ...], str] = {}
    for result, name in sides:
        bad = [warning for warning in result.warnings if warning.verdict == "invalid"]
        if result.failure is not None:
            kind, text = [result.failure], f"failed: {result.failure}"
        elif not result.processes_s and all(side.failure is None for side, _ in sides):
            kind, text = [], "without samples"
        elif result.validity == "invalid" and result.processes_s:
            kind = [warning.code for warning in bad] or ["invalid"]
            text = f"invalid: {'; '.join(warning.text for warning in bad) or 'no reason is given'}"
        else:
            continue
        names.setdefault(tuple(kind), []).append(name)
        words.setdefault(tuple(kind), text)
    return [f"{' and '.join(dict.fromkeys(names[kind]))}: {text}" for kind, text in words.items()]


def _paired(
    figure: Figure,
    differences: Sequence[float],
    values: tuple[Sequence[float], Sequence[float]],
    error: float,
    tolerance: float,
) -> FigureComparison:
    shift = Shift(log(median(values[1]) / median(values[0])), -inf, inf)
    if differences:
        shift = paired_shift(differences, error)
    verdict, pairs = _verdict(shift, tolerance), len(differences)
    more: int | None = None
    if verdict == "cannot tell":
        known = isfinite(shift.half)
        more = more_pairs(shift, _wanted(shift, tolerance), pairs) if known else fewest_pairs(error) - pairs
    return _row(figure, values, shift, verdict, (pairs, pairs), more)


def _stored(
    figure: Figure, values: tuple[Sequence[float], Sequence[float]], error: float, tolerance: float
) -> FigureComparison:
    base, new = ([log(value) for value in side] for side in values)
    shift = welch_shift(base, new, error, figure.between)
    verdict = _verdict(shift, tolerance)
    more: int | None = None
    if verdict == "cannot tell":
        fewest = min(len(base), len(new))
        known = isfinite(shift.half)
        more = more_processes(base, new, error, figure.between, _wanted(shift, tolerance)) if known else 5 - fewest
    return _row(figure, values, shift, verdict, (len(base), len(new)), more)


def _single(figure: Figure, values: tuple[Sequence[float], Sequence[float]], tolerance: float) -> FigureComparison:
    estimate, reach = log(values[1][0] / values[0][0]), log1p(figure.between)
    shift = Shift(estimate, estimate - reach, estimate + reach)
    return _row(figure, values, shift, _verdict(shift, tolerance), (1, 1), None)


def _row(
    figure: Figure,
    values: tuple[Sequence[float], Sequence[float]],
    shift: Shift,
    verdict: Verdict,
    processes: tuple[int, int],
    more: int | None,
) -> FigureComparison:
    return FigureComparison(
        figure=figure,
        base=median(values[0]),
        new=median(values[1]),
        change=exp(shift.estimate) - 1,
        low=exp(shift.low) - 1,
        high=exp(shift.high) - 1,
        processes=processes,
        verdict=verdict,
        more=None if more is None or more > MOST_PROCESSES else more,
    )


def _verdict(shift: Shift, tolerance: float) -> Verdict:
    if shift.apart:
        return "different"
    return "same" if max(exp(shift.high) - 1, 1 - exp(shift.low)) <= tolerance else "cannot tell"


def _wanted(shift: Shift, tolerance: float) -> float:
    """Half an interval that would tell: it leaves out 0, or lies within the tolerance."""
    return max(abs(shift.estimate), log1p(tolerance) - abs(shift.estimate))

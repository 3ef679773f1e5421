"""Comparing two stored results: whether they may be, which candidates belong together, what else differs. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ortolan.errors import ManifestError, MeasurementError
from ortolan.hardware.facts import Hardware
from ortolan_bench.comparison import TOLERANCE, Report, compare
from ortolan_bench.figures import figures_for
from ortolan_bench.result_json import ResultFileError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ortolan_bench.result import BenchResult, CandidateResult

_OF_THE_MOMENT = ("started", "command", "state")
"""Parts of the environment that differ between any two runs."""

_MOST_DIFFERENCES = 12


class IncomparableError(MeasurementError, ValueError):
    """Two results that do not answer the same question."""


def compare_results(
    base: BenchResult, new: BenchResult, *, cross_hardware: bool = False, tolerance: float = TOLERANCE
) -> Report:
    """Compare two stored results, candidate by candidate.

    Candidates of the same variants and settings belong together; if each result has a single one, these two do.

    Args:
        base: the one compared with.
        new: the other.
        cross_hardware: whether they may come from different hardware.
        tolerance: largest change that counts as the same.

    Raises:
        IncomparableError: other inputs, other hardware, no candidate in common.
    """
    _require_same_question(base, new, cross_hardware)
    together, alone = _match(base, new)
    guest = any(result.environment.get("hypervisor") is not None for result in (base, new))
    comparisons = [
        compare(
            ours,
            theirs,
            design="stored",
            inputs=base.workload_count,
            names=(ours.name, theirs.name),
            tolerance=tolerance,
            figures=figures_for(guest=guest),
        )
        for ours, theirs in together
    ]
    return Report(
        design="stored",
        base=base,
        new=new,
        tolerance=tolerance,
        comparisons=tuple(comparisons),
        notes=(*_incomplete(base, new), *alone, *_differences(base, new)),
    )


def require_of_one_run(result: BenchResult, name: str) -> None:
    """Refuse a file that one benchmark cannot have written.

    Raises:
        ResultFileError: a candidate twice, figures of more or fewer processes than the run had, or the facts of a
            machine under the id of another.
    """
    rows = Counter((row.candidate, row.scenario) for row in result.results)
    twice = [row.name for row in result.results if rows[row.candidate, row.scenario] > 1]
    if twice:
        raise ResultFileError(f"{name}: {twice[0]} is there more than once: results were merged by hand")
    for row in result.results:
        counts = {len(values) for values in (row.import_s, row.load_s, row.first_run_s, row.blocks_s)}
        whole = result.complete and row.failure is None
        if max(counts) > result.processes or (whole and counts != {result.processes}):
            raise ResultFileError(
                f"{name}: {row.name} has figures of {max(counts)} processes where the run had "
                f"{result.processes}: results were merged by hand"
            )
    try:
        machine = Hardware.from_json(result.environment.get("hardware"))
    except ManifestError as error:
        raise ResultFileError(f"{name}: environment.hardware: {error}") from error
    if machine.id != result.hardware_id:
        raise ResultFileError(
            f"{name}: its hardware_id {result.hardware_id} does not follow from environment.hardware, which is "
            f"{machine.id}: results were merged by hand"
        )


def _require_same_question(base: BenchResult, new: BenchResult, cross_hardware: bool) -> None:
    questions = [(row.workload, row.workload_kind, row.workload_count) for row in (base, new)]
    if questions[0] != questions[1]:
        shown = [f"{count} inputs of {name} ({kind})" for name, kind, count in questions]
        raise IncomparableError(
            f"the inputs differ: {shown[0]} in the base, {shown[1]} in the new result; "
            "measure both with the same --inputs"
        )
    if base.hardware_id != new.hardware_id and not cross_hardware:
        raise IncomparableError(
            f"the results come from different hardware ({base.hardware_id} and {new.hardware_id}), so a difference "
            "says nothing about the models; give --cross-hardware to compare the machines"
        )


def _match(
    base: BenchResult, new: BenchResult
) -> tuple[list[tuple[CandidateResult, CandidateResult]], tuple[str, ...]]:
    """Which belong together, and a note on those that are alone."""
    others = {(row.candidate, row.scenario): row for row in new.results}
    keys = [(row.candidate, row.scenario) for row in base.results]
    together = [(row, others[key]) for row, key in zip(base.results, keys, strict=True) if key in others]
    if not together and len(base.results) == len(new.results) == 1:
        single = base.results[0], new.results[0]
        together = [single] if single[0].scenario == single[1].scenario else []
    if not together:
        shown = [", ".join(row.name for row in side.results) or "none" for side in (base, new)]
        raise IncomparableError(
            f"no candidate in common: the base has {shown[0]}, the new result {shown[1]}; "
            "measure the same one in both, or one in each"
        )
    matched = {id(row) for pair in together for row in pair}
    alone = [
        f"only in the {name}: {', '.join(names)}"
        for name, side in (("base", base), ("new result", new))
        if (names := [row.name for row in side.results if id(row) not in matched])
    ]
    return together, tuple(alone)


def _incomplete(base: BenchResult, new: BenchResult) -> list[str]:
    sides = (("base", base), ("new result", new))
    return [f"the {name} was interrupted before its end" for name, side in sides if not side.complete]


def _differences(base: BenchResult, new: BenchResult) -> list[str]:
    """What else than the candidates may explain a difference."""
    sides = [dict(_facts(side)) for side in (base, new)]
    found = []
    for key in sorted({*sides[0], *sides[1]}):
        before, after = (side.get(key) for side in sides)
        if before != after:
            found.append(f"{key}: {_shown(before)} in the base, {_shown(after)} in the new result")
    more = len(found) - _MOST_DIFFERENCES
    return [*found[:_MOST_DIFFERENCES], *([f"and {more} more facts differ"] if more > 0 else [])]


def _facts(result: BenchResult) -> Iterator[tuple[str, object]]:
    yield "digest", result.digest[:16]
    environment = {key: value for key, value in result.environment.items() if key not in _OF_THE_MOMENT}
    yield from _leaves(environment)


def _leaves(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"

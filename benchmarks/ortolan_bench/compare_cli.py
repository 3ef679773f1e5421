"""``ortolan compare``, and what ``ortolan bench --against`` shows: whether one result is better than another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import click

from ortolan.choose.units import parse_share
from ortolan.errors import MeasurementError
from ortolan_bench.comparison import TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan_bench.comparison import Report
    from ortolan_bench.progress import Progress
    from ortolan_bench.scenarios import Scenario
    from ortolan_bench.validity import Mode


class Request(TypedDict, total=False):
    """What ``bench`` passes on to `bench.run_bench` and `against.run_against`."""

    variants: Sequence[str] | None
    providers: Sequence[str]
    threads: Sequence[int | None]
    scenarios: Sequence[Scenario]
    inputs: Path | None
    seconds: float
    processes: int
    mode: Mode
    progress: Callable[[Progress], None] | None


class RegressionError(MeasurementError):
    """With ``--fail-above``: something became worse by more than the limit, or whether it did cannot be judged."""

    exit_status = 1


fail_above_option = click.option(
    "--fail-above",
    metavar="SHARE",
    help="Exit with status 1 if any figure is different and worse by more than this, e.g. 5%, or if there is no "
    "verdict because a result failed or is invalid. Also what counts as the same.",
)


@click.command()
@click.argument("base", metavar="BASE.json", type=click.Path(path_type=Path))
@click.argument("new", metavar="NEW.json", type=click.Path(path_type=Path))
@click.option("--cross-hardware", is_flag=True, help="Compare results from different machines.")
@fail_above_option
@click.option("--json", "form", flag_value="json", help="Print the comparison as JSON (schema ortolan.compare/1).")
@click.option("--markdown", "form", flag_value="markdown", help="Print the comparison as Markdown.")
def compare(base: Path, new: Path, cross_hardware: bool, fail_above: str | None, form: str | None) -> None:
    """Compare two result files of `ortolan bench -o`, figure by figure.

    Each figure is different, the same within a few percent, or cannot be told, with a 95 % interval of the change from
    BASE to NEW. How much processes differ, and runs among themselves, is part of it. Invalid results never win. To
    find small differences, `ortolan bench --against` measures both in turns.
    """
    from ortolan_bench.result_json import read
    from ortolan_bench.stored import compare_results, require_of_one_run

    limit = parse_limit(fail_above)
    results = [read(path) for path in (base, new)]
    for path, result in zip((base, new), results, strict=True):
        require_of_one_run(result, str(path))
    report = compare_results(*results, cross_hardware=cross_hardware, tolerance=limit or TOLERANCE)
    deliver(report, limit, show=shower(form))
    judge(report, limit)


def parse_limit(text: str | None) -> float | None:
    """The share given to ``--fail-above``; None if it was not given."""
    return None if text is None else parse_share(text)


def shower(form: str | None) -> Callable[[Report, float | None], str]:
    """How a report is to be shown: ``"json"``, ``"markdown"``, or None for text."""
    if form == "json":
        from ortolan_bench.comparison_json import dumps

        return dumps
    from ortolan_bench import comparison_report

    if form == "markdown":
        return lambda report, _limit: comparison_report.markdown(report) + "\n"
    return lambda report, _limit: comparison_report.render(report, unicode=_can_show_signs()) + "\n"


def bench_against(
    path: Path,
    other: str,
    request: Request,
    *,
    limit: float | None,
    strict: bool,
    show: Callable[[Report, float | None], str],
    output: Path | None,
) -> None:
    """``ortolan bench --against``: measure, show, write, judge.

    Raises:
        MeasurementError: nothing could be compared.
        RegressionError: what ``--fail-above`` says.
        InvalidMeasurementError: with ``strict``, a side is not valid.
    """
    from ortolan_bench.against import AgainstInterrupted, run_against
    from ortolan_bench.cli import InvalidMeasurementError

    interrupted = None
    try:
        report = run_against(path, other, tolerance=limit or TOLERANCE, **request)
    except AgainstInterrupted as error:
        report, interrupted = error.report, error
    if request.get("progress") is not None:
        click.echo("\r\033[K", nl=False, err=True)
    deliver(report, limit, show=show, output=output)
    if interrupted is not None:
        raise interrupted
    if not report.comparable:
        raise MeasurementError(f"nothing could be compared: {report.comparisons[0].problems[0]}")
    judge(report, limit)
    poor = [side for side in (report.base, report.new) if any(row.validity != "valid" for row in side.results)]
    if strict and poor:
        names = dict.fromkeys(row.name for side in poor for row in side.results if row.validity != "valid")
        raise InvalidMeasurementError(f"--strict: not valid: {', '.join(names)}; the reasons are with the results")


def deliver(
    report: Report, limit: float | None, *, show: Callable[[Report, float | None], str], output: Path | None = None
) -> None:
    """Print a report, then write it with its samples if there is a file for it."""
    from ortolan_bench.comparison_json import dumps
    from ortolan_bench.result_json import write_text

    click.echo(show(report, limit), nl=False)
    if output is not None:
        write_text(dumps(report, limit), output)
        click.echo(f"comparison and samples: {output}", err=True)


def judge(report: Report, limit: float | None) -> None:
    """What ``--fail-above`` says.

    Raises:
        RegressionError: worse by more than the limit, or no verdict.
    """
    if limit is None:
        return
    for row in report.comparisons:
        if row.problems:
            raise RegressionError(f"--fail-above: no verdict on {row.new}: {row.problems[0]}")
    worse = [
        f"{figure.figure.title} of {row.new} by {figure.worsening:.1%}"
        for row in report.comparisons
        for figure in row.worse(limit)
    ]
    if worse:
        raise RegressionError(f"--fail-above: worse by more than {limit:.1%}: {', '.join(worse)}")
    unclear = [
        f"{figure.figure.title} of {row.new}"
        for row in report.comparisons
        for figure in row.figures
        if figure.verdict == "cannot tell"
    ]
    if unclear:
        click.echo(f"--fail-above: passed, but cannot tell: {', '.join(unclear)}", err=True)


def _can_show_signs() -> bool:
    try:
        "µ·…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True

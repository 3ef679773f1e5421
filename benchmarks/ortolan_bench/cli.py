"""``ortolan bench``: measure every variant of a bundle on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ortolan.errors import MeasurementError, UsageError
from ortolan_bench.compare_cli import (
    Request,
    bench_against,
    fail_above_option,
    markdown_option,
    parse_limit,
    shower,
)

if TYPE_CHECKING:
    from ortolan_bench.progress import Progress
    from ortolan_bench.result import BenchResult

_INTERRUPTED = 130  # what shells expect of a program ended by SIGINT: 128 + 2


class InvalidMeasurementError(MeasurementError):
    """With ``--strict``: a result that failed, is invalid, or whose validity is unknown."""

    exit_status = 1


@click.command()
@click.argument("path", metavar="BUNDLE|MODEL.onnx", type=click.Path(path_type=Path))
@click.option("--provider", default="cpu", show_default=True, metavar="NAME,…|all", help="Execution providers.")
@click.option("--variant", default="all", show_default=True, metavar="NAME,…|all", help="Variants of the bundle.")
@click.option("--threads", metavar="N,…", help="Intra-op threads.  [default: what the process may use]")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Inputs: .txt, .csv, .tsv or .jsonl (column text), or .npz.  [default: golden samples]",
)
@click.option("--seconds", type=float, help="Steady state per candidate.  [default: 5; with --against 10]")
@click.option("--processes", type=int, help="Worker processes per candidate.  [default: 5; with --against 20]")
@click.option(
    "--against",
    metavar="OTHER",
    help="Compare with OTHER, in pairs of processes that take turns: a variant, another bundle's path, or KEY=VALUE,… "
    "with bundle, variant, provider, threads, python (of an environment with another onnxruntime).",
)
@fail_above_option
@click.option("--strict", is_flag=True, help="Exit with status 1 unless every result is valid.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON (schema ortolan.bench/1).")
@markdown_option
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="RESULT.json", help="Write the result, samples included."
)
def bench(
    path: Path,
    provider: str,
    variant: str,
    threads: str | None,
    inputs: Path | None,
    seconds: float | None,
    processes: int | None,
    against: str | None,
    fail_above: str | None,
    strict: bool,
    as_json: bool,
    markdown: bool,
    output: Path | None,
) -> None:
    """Measure latency and memory of every variant on this machine.

    Each candidate (variant, provider, threads) runs in several worker processes, interleaved with the others in random
    order. Answers are compared with the golden samples before anything is timed. What was measured is remembered, so
    that loading and `ortolan select` choose by it.
    """
    from ortolan_bench.bench import BenchInterrupted, run_bench
    from ortolan_bench.result_json import check_target

    if against is None and (fail_above is not None or markdown):
        raise UsageError("--fail-above and --markdown need --against OTHER: there is nothing to compare with")
    if output is not None:
        check_target(output)
    show = _show_progress if sys.stderr.isatty() else None
    request = Request(
        variants=None if variant == "all" else _names(variant, "--variant"),
        providers=_names(provider, "--provider"),
        threads=_thread_counts(threads),
        inputs=inputs,
        progress=show,
    )
    if seconds is not None:
        request["seconds"] = seconds
    if processes is not None:
        request["processes"] = processes
    try:
        if against is not None:
            bench_against(
                path,
                against,
                request,
                limit=parse_limit(fail_above),
                strict=strict,
                show=shower(as_json, markdown),
                output=output,
            )
            return
        result = run_bench(path, **request)
    except BenchInterrupted as interrupted:
        _deliver(interrupted.result, as_json, output)
        click.echo("interrupted: what was measured until then is above", err=True)
        raise SystemExit(_INTERRUPTED) from None
    finally:
        if show is not None:
            click.echo("\r\033[K", nl=False, err=True)
    _deliver(result, as_json, output)
    _judge(result, strict)


def _deliver(result: BenchResult, as_json: bool, output: Path | None) -> None:
    from ortolan_bench.report import render
    from ortolan_bench.result_json import dumps, write

    # Shown first: a full disk must not cost what was measured.
    click.echo(dumps(result) if as_json else render(result, unicode=_can_show_blocks()), nl=not as_json)
    if output is not None:
        write(result, output)
        click.echo(f"samples and environment: {output}", err=True)


def _judge(result: BenchResult, strict: bool) -> None:
    if not result.measured:
        first, *others = dict.fromkeys(row.failure or "no samples" for row in result.results)
        more = f" (and {len(others)} more reasons with the results)" if others else ""
        raise MeasurementError(f"no candidate could be measured: {first}{more}")
    poor = [row.candidate.name for row in result.results if row.failure is not None or row.validity != "valid"]
    if strict and poor:
        raise InvalidMeasurementError(f"--strict: not valid: {', '.join(poor)}; the reasons are with the results")


def _names(text: str, option: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise UsageError(f"{option}: expected names separated by commas, got {text!r}")
    return names


def _thread_counts(text: str | None) -> tuple[int | None, ...]:
    if text is None:
        return (None,)
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--threads: expected numbers separated by commas, got {text!r}") from None


def _can_show_blocks() -> bool:
    try:
        "µ▁█≤±".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _show_progress(progress: Progress) -> None:
    left = "" if progress.seconds_left is None else f", about {progress.seconds_left:.0f} s left"
    share = progress.done / progress.total
    bar = ("#" * round(share * 20)).ljust(20, ".")
    click.echo(f"\r\033[K[{bar}] {progress.doing}{left}", nl=False, err=True)

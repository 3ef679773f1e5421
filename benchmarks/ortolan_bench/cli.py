"""``ortolan bench``: measure every variant of a bundle on this machine."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from ortolan.errors import MeasurementError, StorageError, UsageError
from ortolan_bench.compare_cli import (
    Request,
    bench_against,
    fail_above_option,
    parse_limit,
    shower,
)

if TYPE_CHECKING:
    from ortolan_bench.progress import Progress
    from ortolan_bench.result import BenchResult
    from ortolan_bench.scenarios import Scenario
    from ortolan_bench.validity import Mode

    Form = Literal["text", "json", "csv", "markdown"]

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
    "--scenario",
    "scenarios",
    multiple=True,
    default=("single-stream",),
    metavar="SCENARIO",
    help="How inputs arrive; may be given several times.  [default: single-stream]",
)
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    metavar="DATA",
    help="Inputs: texts (.txt, .csv, .tsv, .jsonl), rows (.csv, .tsv), an image or sound (.wav) or a directory of "
    "them, tensors (.npz), or the word generated.  [default: golden samples]",
)
@click.option("--seconds", type=float, help="Steady state per candidate and scenario.  [default: 5; with --against 10]")
@click.option("--processes", type=int, help="Worker processes per candidate.  [default: 5; with --against 20]")
@click.option(
    "--mode",
    type=click.Choice(["burst", "sustained"]),
    default="burst",
    show_default=True,
    help="burst: throttling makes a result invalid. sustained: heat up first, and measure what the board can hold.",
)
@click.option(
    "--trace",
    "traces",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also tell the time per operator; onnxruntime's traces go to DIR, for ui.perfetto.dev.",
)
@click.option(
    "--against",
    metavar="OTHER",
    help="Compare with OTHER, in pairs of processes that take turns: a variant, another bundle's path, or KEY=VALUE,… "
    "with bundle, variant, provider, threads, python (of an environment with another onnxruntime).",
)
@fail_above_option
@click.option("--strict", is_flag=True, help="Exit with status 1 unless every result is valid.")
@click.option("--json", "form", flag_value="json", help="Print the result as JSON (schema ortolan.bench/2).")
@click.option("--csv", "form", flag_value="csv", help="Print the figures as comma-separated values.")
@click.option("--markdown", "form", flag_value="markdown", help="Print the comparison as Markdown, with --against.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="RESULT.json",
    help="Write the result, samples included, as it arrives.",
)
@click.option("--resume", is_flag=True, help="Go on with the interrupted benchmark in RESULT.json, same arguments.")
def bench(
    path: Path,
    provider: str,
    variant: str,
    threads: str | None,
    scenarios: tuple[str, ...],
    inputs: Path | None,
    seconds: float | None,
    processes: int | None,
    mode: Mode,
    traces: Path | None,
    against: str | None,
    fail_above: str | None,
    strict: bool,
    form: Form | None,
    output: Path | None,
    resume: bool,
) -> None:
    """Measure latency, throughput and memory of every variant on this machine.

    Each candidate (variant, provider, threads) runs in several worker processes, interleaved with the others in random
    order. Answers are compared with the golden samples before anything is timed. What was measured is remembered, so
    that loading and `ortolan select` choose by it.

    \b
    Scenarios:
      single-stream    one input, and the next when it is answered
      multi-stream:4   four inputs at once, and the next when all are answered
      offline          throughput and memory in batches of 1, 2, … 32; offline:1,64 chooses
      server:50/s      Poisson arrivals, 50 a second; latencies include waiting
      server:20ms      the highest rate at which 99% of the answers come within 20 ms
    """
    from ortolan_bench.bench import BenchInterrupted, run_bench
    from ortolan_bench.result_json import check_target

    if resume and output is None:
        raise UsageError("--resume: which benchmark? name its result file with -o")
    if against is None and (fail_above is not None or form == "markdown"):
        raise UsageError("--fail-above and --markdown need --against OTHER: there is nothing to compare with")
    if output is not None:
        check_target(output)
    known = _known(output) if resume and output is not None else None
    show = _show_progress if sys.stderr.isatty() else None
    request = Request(
        variants=None if variant == "all" else _names(variant, "--variant"),
        providers=_names(provider, "--provider"),
        threads=_thread_counts(threads),
        scenarios=_scenarios(scenarios),
        inputs=inputs,
        mode=mode,
        progress=show,
    )
    if seconds is not None:
        request["seconds"] = seconds
    if processes is not None:
        request["processes"] = processes
    try:
        if against is not None:
            if resume or traces is not None or form == "csv":
                raise UsageError("--against cannot be used with --resume, --trace or --csv")
            limit = parse_limit(fail_above)
            bench_against(path, against, request, limit=limit, strict=strict, show=shower(form), output=output)
            return
        arrived = None if output is None else Keeper(output)
        result = run_bench(path, **request, traces=traces, known=known, arrived=arrived)
    except BenchInterrupted as interrupted:
        _deliver(interrupted.result, form or "text", output, show)
        more = "" if output is None else "; the same command with --resume goes on"
        click.echo(f"interrupted: what was measured until then is above{more}", err=True)
        raise SystemExit(_INTERRUPTED) from None
    except BaseException:
        _clear(show)
        raise
    _deliver(result, form or "text", output, show)
    _judge(result, strict)


class Keeper:
    """Writes what is known so far to a file, whenever something has arrived; seldom enough not to be felt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._next = 0.0

    def __call__(self, result: BenchResult) -> None:
        """Write it, unless the last writing was long in relation to the time since. A full disk is told at the end."""
        from time import monotonic

        from ortolan_bench.result_json import write

        begin = monotonic()
        if begin < self._next:
            return
        # There may be space again: only the last attempt, when all is measured, raises.
        with suppress(StorageError):
            write(result, self._path)
        end = monotonic()
        self._next = end + 20 * (end - begin)


def _known(output: Path) -> BenchResult | None:
    """The interrupted benchmark in a file; None if there is none yet."""
    from ortolan_bench.result_json import read

    if not output.exists():
        return None
    known = read(output)
    if known.complete:
        raise UsageError(
            f"--resume: {output} holds a benchmark that ran to its end; give another file to measure again"
        )
    return known


def _deliver(result: BenchResult, form: Form, output: Path | None, show: object) -> None:
    from ortolan_bench import report, result_csv, result_json

    _clear(show)
    # Ctrl-C, or another one, must not cost what was measured.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        # Shown first: a full disk must not cost it either.
        if form == "text":
            click.echo(report.render(result, unicode=_can_show_blocks()))
        else:
            click.echo(result_json.dumps(result) if form == "json" else result_csv.dumps(result), nl=False)
        if output is not None:
            result_json.write(result, output)
            click.echo(f"samples and environment: {output}", err=True)
    finally:
        signal.signal(signal.SIGINT, handler)


def _judge(result: BenchResult, strict: bool) -> None:
    if not result.measured:
        first, *others = dict.fromkeys(row.failure or "no samples" for row in result.results)
        more = f" (and {len(others)} more reasons with the results)" if others else ""
        raise MeasurementError(f"no candidate could be measured: {first}{more}")
    poor = [row.name for row in result.results if row.failure is not None or row.validity != "valid"]
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


def _scenarios(texts: tuple[str, ...]) -> tuple[Scenario, ...]:
    from ortolan_bench.scenarios import parse

    return tuple(scenario for text in texts for scenario in parse(text))


def _can_show_blocks() -> bool:
    try:
        "µ▁█≤±".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _show_progress(progress: Progress) -> None:
    from ortolan.choose.units import format_duration

    left = "" if progress.seconds_left is None else f", about {format_duration(max(1.0, progress.seconds_left))} left"
    share = progress.done / progress.total
    bar = ("#" * round(share * 20)).ljust(20, ".")
    click.echo(f"\r\033[K[{bar}] {progress.doing}{left}", nl=False, err=True)


def _clear(show: object) -> None:
    if show is not None:
        click.echo("\r\033[K", nl=False, err=True)

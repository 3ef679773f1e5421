"""A result as people read it: a table, the distributions as small histograms, and what to make of it all. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ortolan.choose.units import format_size
from ortolan_bench.statistics import histogram, quantile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan_bench.result import BenchResult, CandidateResult, Latency

BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*%#"
WIDTH = 40
"""Characters of a histogram."""

_ASCII = str.maketrans({"µ": "u", "±": "~", "≤": "<", "·": "-", "…": "~", "×": "x"})
_MARKS = {"valid": "valid", "invalid": "INVALID", "unknown": "unknown"}


def render(result: BenchResult, *, unicode: bool = True) -> str:
    """The whole report.

    Args:
        result: what was found.
        unicode: whether the output can show more than ASCII.
    """
    bars = BARS if unicode else ASCII_BARS
    names = {id(row): row.candidate.name for row in result.results}
    measured = [row for row in result.results if row.latency is not None]
    parts = [_heading(result)]
    if measured:
        parts += [_figures(measured, names), _distributions(measured, names, bars)]
    notes = [*_failures(result.results, names), *_warnings(result.results, names), *_conclusion(result)]
    if notes:
        parts.append("\n".join(notes))
    text = "\n\n".join(parts)
    return text if unicode else text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def format_latency(seconds: float) -> str:
    """Three significant digits with a unit: ``"51.2 µs"``."""
    number, unit = _scaled(seconds, _unit(seconds))
    return f"{number} {unit}"


_KINDS = {
    "text": ("text", "text to answer"),
    "files": ("file", "file to answer"),
    "rows": ("row", "row to answer"),
    "tensors": ("input", "tensors to tensors"),
    "generated": ("generated input", "tensors to tensors"),
}
"""Kind of workload -> what one of its inputs is called, and what is timed."""


def _heading(result: BenchResult) -> str:
    many = "s" if result.processes != 1 else ""
    inputs, end_to_end = _KINDS[result.workload_kind]
    inputs += "s" if result.workload_count != 1 else ""
    workload = f"{result.workload_count} {inputs}"
    if result.workload_kind != "generated":
        workload = f"{result.workload}: {workload}"
    return (
        f"{result.source} · {workload}, one at a time, {end_to_end}\n"
        f"{result.processes} process{'es' if many else ''} per candidate, interleaved · {result.runtime_id}"
        f"{_machine(result.environment)}"
    )


def _machine(environment: Mapping[str, object]) -> str:
    hardware = environment.get("hardware")
    if not isinstance(hardware, dict):
        return ""
    cores = [kind for kind in hardware.get("cores") or () if isinstance(kind, dict)]
    name = hardware.get("board") or hardware.get("processor") or (cores[0].get("part") if cores else None)
    count = environment.get("cores_usable")
    parts = [str(name)] if name else []
    parts += [f"{count} core{'s' if count != 1 else ''}"] if count else []
    return " · " + ", ".join(parts) if parts else ""


def _figures(rows: Sequence[CandidateResult], names: Mapping[int, str]) -> str:
    table = [("candidate", "median", "p90", "p99", "load", "first run", "peak memory")]
    for row in rows:
        latency = row.latency
        if latency is None:
            continue
        memory = row.memory.peak_rss if row.memory else None
        table.append(
            (
                names[id(row)],
                _median_text(latency),
                _bounded(latency, "p90"),
                _bounded(latency, "p99"),
                _middle(row.load_s),
                _middle(row.first_run_s),
                "-" if memory is None else format_size(memory),
            )
        )
    return f"{_aligned(table)}\n{_legend(rows)}"


def _legend(rows: Sequence[CandidateResult]) -> str:
    """What the signs of the table mean."""
    coverage = min(latency.p50.coverage for row in rows if (latency := row.latency) is not None)
    signs = [f"±: {coverage:.0%} interval over the processes"] if coverage else []
    if any(latency.percentiles for row in rows if (latency := row.latency) is not None):
        signs.append("≤: upper bound, 99% confidence")
    return "; ".join(signs) or "one process: no interval"


def _distributions(rows: Sequence[CandidateResult], names: Mapping[int, str], bars: str) -> str:
    pooled = {id(row): sorted(sample for process in row.processes_s for sample in process) for row in rows}
    low = min(samples[0] for samples in pooled.values())
    # The slowest thousandth would stretch the axis until nothing can be seen: it counts in the last class.
    high = max(quantile(samples, 0.999) for samples in pooled.values())
    axis = _axis(format_latency(low), format_latency(high))
    table = [("distribution", axis, "runs/s", "result")]
    for row in rows:
        counts = histogram(pooled[id(row)], low, high, WIDTH)
        most = max(counts)
        drawn = "".join(bars[math.ceil(count / most * (len(bars) - 1))] for count in counts)
        latency = row.latency
        rate = "-" if latency is None or not latency.mean else f"{1 / latency.mean:,.0f}"
        mark = "failed" if row.failure is not None else _MARKS[row.validity]
        table.append((names[id(row)], drawn, rate, mark))
    return _aligned(table, left=(0, 1, 3))


def _axis(low: str, high: str) -> str:
    middle = "log scale"
    room = WIDTH - len(low) - len(high) - len(middle)
    return f"{low}{' ' * (room // 2)}{middle}{' ' * (room - room // 2)}{high}"


def _failures(rows: Sequence[CandidateResult], names: Mapping[int, str]) -> list[str]:
    return [f"failed: {names[id(row)]}: {row.failure}" for row in rows if row.failure is not None]


def _warnings(rows: Sequence[CandidateResult], names: Mapping[int, str]) -> list[str]:
    """One line per kind of warning: the first candidate's words, and who else."""
    grouped: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        for warning in row.warnings:
            grouped.setdefault((warning.verdict, warning.code), []).append((names[id(row)], warning.text))
    lines = []
    for (verdict, _), found in sorted(grouped.items(), key=lambda item: ("invalid", "unknown").index(item[0][0])):
        name, text = found[0]
        if len(found) == len(rows) > 1:
            name = f"all ({name} first)" if len({text for _, text in found}) > 1 else "all"
        elif len(found) > 1:
            name = ", ".join(name for name, _ in found)
        lines.append(f"{verdict}: {name}: {text}")
    return lines


def _conclusion(result: BenchResult) -> list[str]:
    """Which is fastest, as far as the processes' medians can tell; invalid results never win."""
    usable = [
        (latency.p50, row)
        for row in result.results
        if row.failure is None and row.validity != "invalid" and (latency := row.latency) is not None
    ]
    if len(usable) < 2:
        return ["no order: an invalid result does not win"] if len(result.measured) > 1 else []
    (best, first), (second, other) = sorted(usable, key=lambda pair: pair[0].value)[:2]
    if best.high < second.low:
        ratio = second.value / best.value
        return [f"fastest: {first.candidate.name}; {other.candidate.name} takes {ratio:.2f}x as long"]
    return [
        f"{first.candidate.name} and {other.candidate.name} cannot be told apart here: "
        "the ranges of their processes' medians overlap"
    ]


def _median_text(latency: Latency) -> str:
    """``51.2 µs ±1.8 %``: half the interval, relative to the median; without the latter for a single process."""
    p50 = latency.p50
    text = format_latency(p50.value)
    if p50.coverage == 0 or p50.value <= 0:
        return text
    half = max(p50.high - p50.value, p50.value - p50.low) / p50.value
    return f"{text} ±{half * 100:.2g}%" if half < 0.095 else f"{text} ±{half * 100:.0f}%"


def _bounded(latency: Latency, name: str) -> str:
    """``63.1 ≤64.0 µs``: the percentile, and its upper bound with 99 % confidence."""
    found = latency.percentile(name)
    if found is None:
        return "-"
    unit = _unit(found.value)
    return f"{_scaled(found.value, unit)[0]} ≤{_scaled(found.upper, unit)[0]} {unit[0]}"


def _middle(values: Sequence[float]) -> str:
    return format_latency(sorted(values)[(len(values) - 1) // 2]) if values else "-"


_UNITS = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9))


def _unit(seconds: float) -> tuple[str, float]:
    # 999.6 µs rounds to 1000: the next larger unit is used from there.
    return next((unit for unit in _UNITS if seconds >= 0.9995 * unit[1]), _UNITS[-1])


def _scaled(seconds: float, unit: tuple[str, float]) -> tuple[str, str]:
    value = seconds / unit[1]
    digits = 0 if value >= 99.95 or value == 0 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f}", unit[0]


def _aligned(table: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
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

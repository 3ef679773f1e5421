"""A result as people read it: a table, the distributions as small histograms, and what to make of it all. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ortolan.choose.units import format_duration, format_size
from ortolan_bench.scenarios.scenario import BOUND_QUANTILE
from ortolan_bench.statistics import histogram, quantile
from ortolan_bench.tables import aligned, format_latency, scaled, unit_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan_bench.result import BenchResult, CandidateResult, Latency
    from ortolan_bench.scenarios import Scenario
    from ortolan_bench.statistics import MedianInterval

__all__ = ["format_latency", "render"]

BARS = " ▁▂▃▄▅▆▇█"
ASCII_BARS = " .:-=+*%#"
WIDTH = 40
"""Characters of a histogram."""

OPERATORS = 5
"""Operators named per candidate; the JSON has them all."""

NAMED = 3
"""Candidates named in one warning; of more the first, and how many they are."""

_ASCII = str.maketrans({"µ": "u", "±": "~", "≤": "<", "·": "-", "…": "~", "×": "x", "°": " "})
_MARKS = {"valid": "valid", "invalid": "INVALID", "unknown": "unknown"}
_TITLES = {
    "single-stream": "single-stream: one input at a time",
    "multi-stream": "multi-stream: several inputs at once; latency until all are answered",
    "offline": "offline: in batches; latency of a batch",
    "server": "server: Poisson arrivals; latency from arrival to answer",
}
_INPUTS = {
    "text": ("text", "text to answer"),
    "rows": ("row", "row to answer"),
    "files": ("file", "file to answer"),
    "tensors": ("input", "tensors to tensors"),
    "generated": ("generated input", "tensors to tensors"),
}
"""Kind of workload -> what one input is called, and what is timed."""


def render(result: BenchResult, *, unicode: bool = True) -> str:
    """The whole report.

    Args:
        result: what was found.
        unicode: whether the output can show more than ASCII.
    """
    bars = BARS if unicode else ASCII_BARS
    parts = [_heading(result)]
    for name, title in _TITLES.items():
        rows = [row for row in result.results if row.scenario.name == name and row.latency is not None]
        if rows:
            parts += [f"{title}\n{_figures(rows)}", _distributions(rows, bars)]
    notes = [
        *_operators(result.results),
        *_conditions(result.results),
        *_failures(result.results),
        *_warnings(result.results),
        *_searches(result.results),
        *_conclusions(result),
    ]
    if notes:
        parts.append("\n".join(notes))
    text = "\n\n".join(parts)
    return text if unicode else text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def _heading(result: BenchResult) -> str:
    noun, timed = _INPUTS[result.workload_kind]
    workload = f"{result.workload_count} {noun}{'s' if result.workload_count != 1 else ''}"
    if result.workload_kind != "generated":
        workload = f"{result.workload}: {workload}"
    many = "es" if result.processes != 1 else ""
    sustained = " · sustained: heated up first" if result.mode == "sustained" else ""
    return (
        f"{result.source} · {workload}, {timed}\n"
        f"{result.processes} process{many} per candidate, interleaved · {result.runtime_id}"
        f"{_machine(result.environment)}{sustained}"
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


def _figures(rows: Sequence[CandidateResult]) -> str:
    alone = any(row.alone is not None for row in rows)
    columns = ("median", "p90", "p99", *(("model alone",) if alone else ()), "load", "first run", "peak memory")
    table = [("candidate", *columns)]
    for row in rows:
        latency = row.latency
        if latency is None:
            continue
        memory = row.memory.peak_rss if row.memory else None
        table.append(
            (
                row.name,
                _median_text(latency.p50),
                _bounded(latency, "p90"),
                _bounded(latency, "p99"),
                *((_alone(row),) if alone else ()),
                _middle(row.load_s),
                _middle(row.first_run_s),
                "-" if memory is None else format_size(memory),
            )
        )
    return f"{aligned(table)}\n{_legend(rows)}"


def _legend(rows: Sequence[CandidateResult]) -> str:
    """What the signs of the table mean."""
    coverage = min(latency.p50.coverage for row in rows if (latency := row.latency) is not None)
    signs = [f"±: {coverage:.0%} interval over the processes"] if coverage else []
    if any(latency.percentiles for row in rows if (latency := row.latency) is not None):
        signs.append("≤: upper bound, 99% confidence")
    return "; ".join(signs) or "one process: no interval"


def _distributions(rows: Sequence[CandidateResult], bars: str) -> str:
    pooled = {id(row): sorted(sample for process in row.processes_s for sample in process) for row in rows}
    low = min(samples[0] for samples in pooled.values())
    # The slowest thousandth would stretch the axis until nothing can be seen: it counts in the last class.
    high = max(quantile(samples, 0.999) for samples in pooled.values())
    axis = _axis(format_latency(low), format_latency(high))
    energy = any(row.energy_per_input is not None for row in rows)
    columns = ("inputs/s", "CPU/input", *(("energy/input",) if energy else ()), "on disk", "result")
    table = [("distribution", axis, *columns)]
    for row in rows:
        counts = histogram(pooled[id(row)], low, high, WIDTH)
        most = max(counts)
        drawn = "".join(bars[math.ceil(count / most * (len(bars) - 1))] for count in counts)
        cpu, joules = row.cpu_per_input, row.energy_per_input
        table.append(
            (
                row.name,
                drawn,
                _rate(row),
                "-" if cpu is None else format_latency(cpu),
                *(("-" if joules is None else _joules(joules),) if energy else ()),
                "-" if row.disk_bytes is None else format_size(row.disk_bytes),
                "failed" if row.failure is not None else _MARKS[row.validity],
            )
        )
    return aligned(table, left=(0, 1, len(table[0]) - 1))


def _axis(low: str, high: str) -> str:
    middle = "log scale"
    room = WIDTH - len(low) - len(high) - len(middle)
    return f"{low}{' ' * (room // 2)}{middle}{' ' * (room - room // 2)}{high}"


def _operators(rows: Sequence[CandidateResult]) -> list[str]:
    """One line per profiled candidate: where the model's time goes."""
    lines = []
    for row in rows:
        total = sum(operator.seconds for operator in row.operators)
        if total:
            named = [f"{one.op} {one.seconds / total:.0%} ({one.nodes}x)" for one in row.operators[:OPERATORS]]
            more = len(row.operators) - OPERATORS
            lines.append(f"operators: {row.name}: {', '.join(named)}{f', {more} more' if more > 0 else ''}")
    return lines


def _conditions(rows: Sequence[CandidateResult]) -> list[str]:
    """One line on heat, clock and power while blocks were timed, as far as the machine tells."""
    usages = [row.usage for row in rows if row.usages]
    warmest = [usage.temperature_highest_c for usage in usages if usage.temperature_highest_c is not None]
    clocks = [clock for usage in usages for clock in usage.clocks_hz]
    powers = [(usage.meter, usage.power_w) for usage in usages if usage.power_w is not None]
    parts = []
    if warmest:
        first = next(usage.temperature_first_c for usage in usages if usage.temperature_first_c is not None)
        parts.append(f"{first:.0f} °C at first, {max(warmest):.0f} °C at most")
    if clocks:
        parts.append(f"clock {min(clocks) / 1e9:.2f} to {max(clocks) / 1e9:.2f} GHz")
    if powers:
        watts = [power for _, power in powers]
        parts.append(f"{min(watts):.3g} to {max(watts):.3g} W ({powers[0][0]})")
    return [f"conditions: {'; '.join(parts)}"] if parts else []


def _failures(rows: Sequence[CandidateResult]) -> list[str]:
    return [f"failed: {row.name}: {row.failure}" for row in rows if row.failure is not None]


def _warnings(rows: Sequence[CandidateResult]) -> list[str]:
    """One line per kind of warning: the first candidate's words, and who else."""
    grouped: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for row in rows:
        for warning in row.warnings:
            grouped.setdefault((warning.verdict, warning.code), []).append((row.name, warning.text))
    lines = []
    for (verdict, _), found in sorted(grouped.items(), key=lambda item: ("invalid", "unknown").index(item[0][0])):
        name, text = found[0]
        if len(found) == len(rows) > 1:
            name = f"all ({name} first)" if len({text for _, text in found}) > 1 else "all"
        elif len(found) > NAMED:
            name = f"{len(found)} of {len(rows)} ({name} first)"
        elif len(found) > 1:
            name = "; ".join(name for name, _ in found)
        lines.append(f"{verdict}: {name}: {text}")
    return lines


def _searches(rows: Sequence[CandidateResult]) -> list[str]:
    """What the searches for the highest rate found."""
    lines = []
    for row in rows:
        rate, bound, late = row.rate, row.scenario.bound, row.late
        if rate is not None and bound is not None and late is not None:
            found = f"{_significant(rate.value)}/s{_spread(rate)}"
            doubt = "" if _usable(row) else " (INVALID)"
            lines.append(
                f"highest rate: {row.candidate.name}: {found}{doubt} for {BOUND_QUANTILE:.0%} of the answers within "
                f"{format_duration(bound)}; of those of live runs {late:.1%} were late"
            )
    return lines


def _conclusions(result: BenchResult) -> list[str]:
    """Which is fastest in each scenario, and which batch answers most."""
    scenarios = dict.fromkeys(row.scenario for row in result.results)
    found = {
        scenario: _conclusion([row for row in result.results if row.scenario == scenario]) for scenario in scenarios
    }
    if len({tuple(lines) for lines in found.values()}) == 1:
        lines = next(iter(found.values()))
    else:
        lines = [f"{_title(scenario)}: {line}" for scenario, lines in found.items() for line in lines]
    batches = [row for row in result.results if row.scenario.name == "offline" and _usable(row) and row.throughput]
    if len({row.scenario for row in batches}) > 1:
        best = max(batches, key=lambda row: row.throughput or 0.0)
        lines.append(f"most per second: {best.name}: {_rate(best)} inputs/s")
    return lines


def _title(scenario: Scenario) -> str:
    return f"{scenario.name}, {scenario.label}" if scenario.label else scenario.name


def _usable(row: CandidateResult) -> bool:
    """Whether it may win."""
    return row.failure is None and row.validity != "invalid" and row.latency is not None


def _conclusion(rows: Sequence[CandidateResult]) -> list[str]:
    """Which is fastest, as far as the processes' medians can tell; invalid results never win."""
    measured = [row for row in rows if row.failure is None and row.processes_s]
    if sum(map(_usable, rows)) < 2:
        return ["no order: an invalid result does not win"] if len(measured) > 1 else []
    rates = [(rate, row) for row in rows if _usable(row) and (rate := row.rate) is not None]
    if rates:
        (best, first), (second, other) = sorted(rates, key=lambda pair: -pair[0].value)[:2]
        if best.low > second.high:
            ratio = best.value / second.value
            return [f"highest rate: {first.candidate.name}, {ratio:.2f}x that of {other.candidate.name}"]
        return [f"the rates of {first.candidate.name} and {other.candidate.name} cannot be told apart here"]
    usable = [(latency.p50, row) for row in rows if _usable(row) and (latency := row.latency) is not None]
    (best, first), (second, other) = sorted(usable, key=lambda pair: pair[0].value)[:2]
    if best.high < second.low:
        ratio = second.value / best.value
        return [f"fastest: {first.candidate.name}; {other.candidate.name} takes {ratio:.2f}x as long"]
    return [
        f"{first.candidate.name} and {other.candidate.name} cannot be told apart here: "
        "the ranges of their processes' medians overlap"
    ]


def _median_text(p50: MedianInterval) -> str:
    """``51.2 µs ±1.8 %``: half the interval, relative to the median; without the latter for a single process."""
    return f"{format_latency(p50.value)}{_spread(p50)}"


def _spread(interval: MedianInterval) -> str:
    if interval.coverage == 0 or interval.value <= 0:
        return ""
    half = max(interval.high - interval.value, interval.value - interval.low) / interval.value
    return f" ±{half * 100:.2g}%" if half < 0.095 else f" ±{half * 100:.0f}%"


def _bounded(latency: Latency, name: str) -> str:
    """``63.1 ≤64.0 µs``: the percentile, and its upper bound with 99 % confidence; ``352 µs ≤7.52 ms`` if it is far."""
    found = latency.percentile(name)
    if found is None:
        return "-"
    unit = unit_of(found.value)
    if found.upper >= 1000 * unit[1]:
        return f"{format_latency(found.value)} ≤{format_latency(found.upper)}"
    return f"{scaled(found.value, unit)[0]} ≤{scaled(found.upper, unit)[0]} {unit[0]}"


def _alone(row: CandidateResult) -> str:
    return "-" if row.alone is None else format_latency(row.alone.p50.value)


def _rate(row: CandidateResult) -> str:
    """Inputs per second: answered one query after the other, arriving, or found."""
    rate = row.throughput or (row.rate.value if row.rate is not None else row.scenario.rate)
    return "-" if rate is None else _significant(rate)


def _significant(number: float) -> str:
    """Whole above a hundred, three digits below."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _joules(joules: float) -> str:
    return f"{joules:.3g} J" if joules >= 1 else f"{joules * 1e3:.3g} mJ"


def _middle(values: Sequence[float]) -> str:
    return format_latency(sorted(values)[(len(values) - 1) // 2]) if values else "-"

"""Comparisons as people read them: a table per pair of candidates, verdicts in words, as text or Markdown. Pure."""

from __future__ import annotations

from math import ceil, isfinite
from typing import TYPE_CHECKING

from ortolan.choose.units import format_size
from ortolan.cli.tables import table, wrapped
from ortolan_bench.comparison import ERROR
from ortolan_bench.report import format_latency

if TYPE_CHECKING:
    from ortolan_bench.comparison import Comparison, FigureComparison, Report
    from ortolan_bench.figures import Unit

_ASCII = str.maketrans({"µ": "u", "·": "-", "…": "~"})
_WORDS: dict[Unit, tuple[str, str]] = {
    "s": ("faster", "slower"),
    "1/s": ("lower", "higher"),
    "bytes": ("less", "more"),
    "J": ("less", "more"),
}
"""Of a unit: what a smaller and a larger value is called."""


def render(report: Report, *, unicode: bool = True) -> str:
    """The whole report as text of at most 100 columns; ``unicode`` is whether more than ASCII can be shown."""
    parts = ["\n".join(_heading(report))]
    for row in report.comparisons:
        head, *rows = _rows(row, report)
        title = f"{row.new} compared with {row.base}" if row.new != row.base else row.new
        lines = [title, *(table(head, rows) if rows else [])]
        parts.append("\n".join([*lines, *wrapped(conclusion(row, report))]))
    notes = [line for note in _notes(report) for line in wrapped(note)]
    text = "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])
    return text if unicode else text.translate(_ASCII).encode("ascii", "replace").decode("ascii")


def markdown(report: Report) -> str:
    """The whole report as Markdown: a heading and a table per pair of candidates."""
    lines = [*_heading(report)]
    for row in report.comparisons:
        head, *rows = _rows(row, report)
        title = f"{row.new} compared with {row.base}" if row.new != row.base else row.new
        drawn = [_cells(head), "|" + " --- |" * len(head), *map(_cells, rows), ""] if rows else []
        lines += ["", f"### {_escaped(title)}", "", *drawn, _escaped(conclusion(row, report))]
    notes = _notes(report)
    return "\n".join([*lines, *([""] if notes else []), *(f"- {_escaped(note)}" for note in notes)])


def conclusion(row: Comparison, report: Report) -> str:
    """One sentence on the median latency or the highest rate, or why there is none."""
    if row.problems:
        return f"no verdict: {'; '.join(row.problems)}"
    found = row.headline
    if found is None:
        return "no verdict: there is nothing to compare"
    name, base = (row.new, row.base) if row.new != row.base else ("the new result", "the base")
    if found.verdict == "different":
        word = _WORDS["s"][found.worsening > 0]
        return f"{name} is {_share(abs(found.change))} {word} than {base}"
    if found.verdict == "same":
        return f"{name} is as fast as {base}, within {_share(found.within, up=True)}"
    return f"whether {name} is faster than {base} cannot be told: {_advice(found, report)}"


def _heading(report: Report) -> list[str]:
    first = report.new
    # A base of the same files differs in its settings, which its name shows.
    sources = first.source if first.source == report.base.source else f"{first.source} against {report.base.source}"
    runtimes = first.runtime_id
    if runtimes != report.base.runtime_id:
        runtimes = f"{first.runtime_id} against {report.base.runtime_id}"
    inputs = f"{first.workload}: {first.workload_count} input{'s' if first.workload_count != 1 else ''}"
    how = {
        "paired": f"{first.processes} pair{'s' if first.processes != 1 else ''} of processes, taking turns",
        "stored": f"{first.processes} and {report.base.processes} processes, each result measured on its own",
    }[report.design]
    return [f"{sources} · {inputs}", f"{how} · {runtimes}"]


def _rows(row: Comparison, report: Report) -> list[tuple[str, ...]]:
    head = ("figure", "base", "new", "change", f"{1 - ERROR:.0%} interval", "verdict")
    return [head, *(_row(found, report) for found in row.figures)]


def _row(found: FigureComparison, report: Report) -> tuple[str, ...]:
    unit = found.figure.unit
    interval = "unknown"
    if isfinite(found.high):
        interval = f"{_signed(found.low)} to {_signed(found.high)}"
    return (
        found.figure.title,
        _value(found.base, unit),
        _value(found.new, unit),
        _signed(found.change),
        interval,
        _verdict(found, report),
    )


def _verdict(found: FigureComparison, report: Report) -> str:
    if found.verdict == "different":
        return f"different: {_share(abs(found.change))} {_WORDS[found.figure.unit][found.change > 0]}"
    if found.verdict == "same":
        return f"same within {_share(found.within, up=True)}" if found.within else "the same"
    if found.verdict == "invalid":
        return "INVALID"
    return f"cannot tell: {_advice(found, report)}"


def _advice(found: FigureComparison, report: Report) -> str:
    if found.more is not None:
        return f"measure {found.more} more process{'' if found.more == 1 else 'es'}"
    if found.figure.single is not None:
        return "readings vary by that much"
    return "too noisy here" if report.design == "paired" else "stored runs vary by that much; try --against"


def _notes(report: Report) -> list[str]:
    missing = dict.fromkeys(f"{title}: {reason}" for row in report.comparisons for title, reason in row.missing)
    return [*(f"not compared: {text}" for text in missing), *report.notes]


def _value(value: float, unit: Unit) -> str:
    if unit == "s":
        return format_latency(value)
    if unit == "bytes":
        return format_size(value)
    return f"{value:.3g} J" if unit == "J" else f"{value:,.0f}/s" if value >= 100 else f"{value:.3g}/s"


def _signed(change: float) -> str:
    shown = round(change * 100, 1 if abs(change) < 1 else None) + 0.0  # + 0.0: no minus sign before a zero
    return f"{shown:+.1f}%" if abs(change) < 1 else f"{shown:+.0f}%"


def _share(share: float, *, up: bool = False) -> str:
    """``"1.3%"``; a bound is rounded up."""
    tenths = share * 1000
    shown = (ceil(tenths - 1e-9) if up else round(tenths)) / 10
    return f"{shown:g}%" if shown < 10 else f"{shown:.0f}%"


def _cells(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")

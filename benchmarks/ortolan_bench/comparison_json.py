"""Comparisons as JSON: the schema ``ortolan.compare/1``, for machines to read.

Shares are fractions, times seconds, memory bytes::

    {"schema": "ortolan.compare/1",
     "design": "paired",                        pairs of processes that took turns; "stored": two result files
     "confidence": 0.95,                        with which all intervals of a comparison hold together
     "tolerance": 0.05,                         largest change that counts as the same
     "base": {"source": "old.bundle", "digest": "…", "runtime": "onnxruntime 1.32.0", "hardware_id": "…",
              "workload": "golden", "started": "2026-01-31T12:00:00+00:00", "complete": true},
     "new": {…},                                likewise
     "comparisons": [
       {"base": "fp32 on cpu", "new": "int8 on cpu",
        "problems": [],                         why there is no verdict: a side failed or is invalid
        "figures": [
          {"figure": "latency_p50_s",           see figures.FIGURES
           "base": 0.00102, "new": 0.00107,     medians over the processes
           "change": 0.051, "low": 0.046, "high": 0.057,       new / base - 1, and its interval; null: unknown
           "processes": [20, 20],
           "verdict": "different",              "different", "same", "cannot tell" or "invalid"
           "better": false,                     null unless different
           "more_processes": null}],            with "cannot tell": how many more would tell; null: none would
        "missing": [{"figure": "p99 latency", "reason": "…"}]}],
     "fail_above": 0.05,                        limit that was asked for, or null
     "regressions": [{"new": "int8 on cpu", "figure": "latency_p50_s"}],       different, and worse by more than that
     "notes": ["…"],                            what else differs between the two
     "raw": {"base": {…}, "new": {…}}}          of a paired comparison: both results with their samples, as in
                                                result_json; null if these are files of their own
"""

from __future__ import annotations

from math import inf, isfinite
from typing import TYPE_CHECKING

from ortolan_bench import result_json
from ortolan_bench.comparison import ERROR

if TYPE_CHECKING:
    from ortolan_bench.comparison import Comparison, FigureComparison, Report
    from ortolan_bench.result import BenchResult

SCHEMA = "ortolan.compare/1"
"""Name and version of the schema."""


def to_json(report: Report, fail_above: float | None = None) -> dict[str, object]:
    """Plain data of the schema above; ``fail_above`` is the limit of the regressions, None for no limit."""
    raw = {"base": result_json.to_json(report.base), "new": result_json.to_json(report.new)}
    limit = inf if fail_above is None else fail_above
    worse = [(row, figure) for row in report.comparisons for figure in row.worse(limit)]
    return {
        "schema": SCHEMA,
        "design": report.design,
        "confidence": 1 - ERROR,
        "tolerance": report.tolerance,
        "base": _side(report.base),
        "new": _side(report.new),
        "comparisons": [_comparison(row) for row in report.comparisons],
        "fail_above": fail_above,
        "regressions": [{"new": row.new, "figure": figure.figure.key} for row, figure in worse],
        "notes": list(report.notes),
        "raw": raw if report.design == "paired" else None,
    }


def dumps(report: Report, fail_above: float | None = None) -> str:
    """The schema as text: indented, but every list of numbers on one line."""
    return result_json.indented(to_json(report, fail_above))


def _side(result: BenchResult) -> dict[str, object]:
    return {
        "source": result.source,
        "digest": result.digest,
        "runtime": result.runtime_id,
        "hardware_id": result.hardware_id,
        "workload": result.workload,
        "started": result.environment.get("started"),
        "complete": result.complete,
    }


def _comparison(row: Comparison) -> dict[str, object]:
    return {
        "base": row.base,
        "new": row.new,
        "problems": list(row.problems),
        "figures": [_figure(figure) for figure in row.figures],
        "missing": [{"figure": title, "reason": reason} for title, reason in row.missing],
    }


def _figure(row: FigureComparison) -> dict[str, object]:
    known = isfinite(row.high)
    return {
        "figure": row.figure.key,
        "base": row.base,
        "new": row.new,
        "change": row.change,
        "low": row.low if known else None,
        "high": row.high if known else None,
        "processes": list(row.processes),
        "verdict": row.verdict,
        "better": row.worsening < 0 if row.verdict == "different" else None,
        "more_processes": row.more,
    }

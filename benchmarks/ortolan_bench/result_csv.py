"""A result as a table for spreadsheets: one line per candidate and scenario, figures in SI units. Pure."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from ortolan_bench import candidate_json
from ortolan_bench.statistics import PERCENTILES

if TYPE_CHECKING:
    from ortolan_bench.result import BenchResult

_LATENCY = (
    *("p50", "p50_low", "p50_high"),
    *(f"{name}{end}" for name, _, _ in PERCENTILES for end in ("", "_upper")),
    *("mean", "min", "max", "samples"),
)
_PLAIN = ("variant", "provider", "threads")
_SCENARIO = ("name", "at_once", "rate_per_s", "bound_s")
_FIGURES = (
    *("throughput_per_s", "late_share", "unanswered", "import_s", "load_s", "first_run_s", "cpu_s_per_input"),
    *("energy_j_per_input", "peak_rss_bytes", "rss_bytes", "pss_bytes", "private_bytes", "disk_bytes"),
)


def dumps(result: BenchResult) -> str:
    """Comma-separated values with a line of names; an empty cell where a figure is not known.

    Names are those of the schema, e.g. ``latency_s.p50``, ``scenario.at_once``, ``peak_rss_bytes``.
    """
    rows = [_row(candidate_json.to_json(row)) for row in result.results]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _row(data: dict[str, Any]) -> dict[str, object]:
    """One line; None becomes an empty cell."""
    row: dict[str, object] = {name: data[name] for name in _PLAIN}
    row |= {f"scenario.{name}": data["scenario"][name] for name in _SCENARIO}
    row |= {name: data[name] for name in ("validity", "failure")}
    row["warnings"] = " ".join(warning["code"] for warning in data["warnings"])
    for key in ("latency_s", "model_latency_s"):
        figures = data[key] or {}
        row |= {f"{key}.{name}": figures.get(name) for name in _LATENCY}
    rate = data["rate_per_s"] or {}
    row |= {f"rate_per_s.{name}": rate.get(name) for name in ("value", "low", "high")}
    return row | {name: data[name] for name in _FIGURES}

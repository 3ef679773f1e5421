"""The measuring instrument: how fast a bundle's variants are on this machine, and whether to believe the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ortolan_bench.bench import BenchInterrupted, run_bench
    from ortolan_bench.result import BenchResult, CandidateResult

__all__ = ["BenchInterrupted", "BenchResult", "CandidateResult", "run_bench"]

_HOMES = {
    "BenchInterrupted": "ortolan_bench.bench",
    "BenchResult": "ortolan_bench.result",
    "CandidateResult": "ortolan_bench.result",
    "run_bench": "ortolan_bench.bench",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: worker processes must stay light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

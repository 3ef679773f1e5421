"""A worker whose runs take ``FACTOR`` times as long as they would: ``measuring_slow_worker.py FACTOR PARENT_PID``.

It waits, busy, after each call until the factor is reached: a slow-down of known size for ``measuring_against.py``.
With the factor 1 it only has the same code path.
"""

from __future__ import annotations

import sys
from time import perf_counter_ns
from typing import Any

from ortolan_bench import worker


class Slowed:
    """A model whose ``run`` and ``predict`` take longer; everything else is the model's."""

    def __init__(self, model: Any, factor: float) -> None:
        self._model = model
        self._factor = factor

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return _slowed(found, self._factor) if name in ("run", "predict") else found


def _slowed(call: Any, factor: float) -> Any:
    def slow(*arguments: Any, **options: Any) -> Any:
        start = perf_counter_ns()
        answer = call(*arguments, **options)
        now = perf_counter_ns()
        end = start + (now - start) * factor
        while now < end:
            now = perf_counter_ns()
        return answer

    return slow


if __name__ == "__main__":
    worker.main(
        lambda *arguments, **options: Slowed(worker.load_model(*arguments, **options), float(sys.argv[1])),
        parent=int(sys.argv[2]),
    )

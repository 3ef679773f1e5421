"""Keep onnxruntime's memory arena from growing with the rarest shapes.

The arena takes whole regions from the system, puts each tensor where it fits best, and gives nothing back while the
session lives: one large batch among a thousand small ones stays for good, and between ever new shapes it fragments. Of
MiniLM over batches of changing length private bytes rose by 4 to 10 % between the 200th call and the 1,000th.
"""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.engine import allocator
from ortolan.engine.installation import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ortolan.types import SessionConfig, TensorSpec

EVERY = 64
"""Runs between two looks at the process's memory; must be a power of two. A look takes 10 us."""
SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
TOLERATED = 1.01
"""Growth of the whole that is left alone."""
PATIENCE = 8
"""So many looks in a row that find more than usual make it the usual."""
_STATM = Path("/proc/self/statm")


class Arena:
    """Looks after the arena of one session on the CPU provider.

    Every `EVERY` runs the process's anonymous memory is read. If it is above the usual, the run that is due gives the
    arena's free regions back to the system at its end; the next ones take what they need anew.

    Args:
        run: ``InferenceSession.run``.
        shared: the run options that all runs share which have none of their own.
    """

    __slots__ = ("_floor", "_next", "_run", "_shared", "_shrinking", "_tries", "_usual")

    def __init__(self, run: Callable[..., Any], shared: Any) -> None:
        self._run = run
        self._shared = shared
        self._shrinking = onnxruntime().RunOptions()
        self._shrinking.add_run_config_entry(*SHRINK)
        self._next = count(1).__next__
        self._floor = anonymous_bytes()  # without activations
        self._usual: int | None = None  # above the floor
        self._tries = 0

    def run(self, names: object, feeds: object, options: Any) -> Any:
        """As ``InferenceSession.run``. Thread-safe."""
        if self._next() & (EVERY - 1) or not self._has_grown():
            return self._run(names, feeds, options)
        if options is self._shared:
            options = self._shrinking
        else:
            options.add_run_config_entry(*SHRINK)
        found = self._run(names, feeds, options)
        allocator.give_back()
        self._floor = anonymous_bytes()  # the application may have grown too
        return found

    def _has_grown(self) -> bool:
        found, floor = anonymous_bytes(), self._floor
        if found is None or floor is None:
            return False
        used = found - floor
        if self._usual is None or found <= TOLERATED * (floor + self._usual):
            self._usual = used if self._usual is None else min(self._usual, used)
            self._tries = 0
        else:
            self._tries += 1
            if self._tries > PATIENCE:
                self._usual, self._tries = used, 0
        return self._tries > 0


def creeps(config: SessionConfig, inputs: Iterable[TensorSpec]) -> bool:
    """Whether a session has an arena on the CPU provider, and inputs whose shapes may change."""
    free = any(spec.shape is None or any(not isinstance(dim, int) for dim in spec.shape) for spec in inputs)
    return config.arena and config.provider == "cpu" and free


def anonymous_bytes() -> int | None:
    """Memory of this process that no file stands behind; None where the system hides it."""
    try:
        words = _STATM.read_text(encoding="ascii").split()
        return (int(words[1]) - int(words[2])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None

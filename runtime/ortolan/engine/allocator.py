"""The C library's allocator: onnxruntime leaves it to the library when freed memory goes back to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""``M_MMAP_THRESHOLD`` and ``M_ARENA_MAX`` of glibc's malloc.h."""
SMALL_BYTES = 128 * 1024
"""glibc's own first threshold: larger blocks are mapped from the system one by one and unmapped when they are freed."""


def give_back() -> None:
    """Return free memory to the system: what loading a model took and needs no more.

    Of a model of 20 MB that stores its weights in the .onnx file 20 to 60 MB, in 1 to 4 ms. Does nothing where the C
    library has no ``malloc_trim``.
    """
    trim = getattr(_library(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def stay_small() -> None:
    """From now on return large blocks when they are freed, and let threads share small ones, in the whole process.

    By default glibc raises its threshold to the largest block that was freed (up to 32 MiB), and keeps what lies below
    it: half as much again as a model's activations need. The price is that such blocks are zeroed anew each time. Each
    thread gets an arena of its own, from which others take nothing: 2 MB with all-MiniLM-L6-v2 and two threads.
    """
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, SMALL_BYTES)
        mallopt(_ARENA_MAX, 1)


@cache
def _library() -> Any:
    try:
        return ctypes.CDLL(None)
    except OSError:
        return None

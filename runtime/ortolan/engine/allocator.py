"""The C library's allocator: onnxruntime leaves it to the library when freed memory goes back to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of glibc's malloc.h."""
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
    """From now on return large blocks as soon as they are freed, in the whole process.

    By default glibc raises its threshold to the largest block that was freed (up to 32 MiB), and keeps what lies below
    it: half as much again as a model's activations need. The price is that such blocks are zeroed anew each time.
    """
    mallopt = getattr(_library(), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, SMALL_BYTES)


@cache
def _library() -> Any:
    try:
        return ctypes.CDLL(None)
    except OSError:
        return None

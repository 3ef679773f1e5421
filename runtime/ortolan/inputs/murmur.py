"""MurmurHash3 (x86, 32 bits) of many pieces of one buffer at once: the hash of scikit-learn's HashingVectorizer.

The algorithm is Austin Appleby's, in the public domain: https://github.com/aappleby/smhasher, MurmurHash3.cpp.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONG = 256
"""Bytes from which a piece is hashed on its own: numpy's call per four bytes only pays for many pieces at a time."""

_C1, _C2 = np.uint32(0xCC9E2D51), np.uint32(0x1B873593)
_M1, _M2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_FIVE, _ADDED = np.uint32(5), np.uint32(0xE6546B64)
_TAIL_MASKS = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)


def murmur3_32(data: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The hashes, with seed 0, of pieces of a buffer.

    Args:
        data: the buffer.
        starts: int64[n], where each piece begins.
        lengths: int64[n], bytes of each; pieces may overlap.

    Returns:
        uint32[n].
    """
    # The four bytes from every position on as a number, and a few zeros to read beyond the end.
    words = np.ndarray((len(data) + 1,), "<u4", data + b"\0\0\0\0", 0, (1,)).astype(np.uint32)
    mixed = _mixed(words)
    blocks = lengths >> 2
    hashes = np.zeros(len(starts), np.uint32)
    short = lengths < LONG
    longest = int(blocks.max(initial=0, where=short))
    fewest = int(blocks.min(initial=longest))
    for k in range(fewest):
        hashes = _stirred(hashes ^ mixed.take(starts + 4 * k))
    active = short.nonzero()[0]
    for k in range(fewest, longest):
        active = active[blocks.take(active) > k]
        hashes[active] = _stirred(hashes.take(active) ^ mixed.take(starts.take(active) + 4 * k))
    for i in (~short).nonzero()[0].tolist():
        start = int(starts[i])
        hashes[i] = _long(int(hashes[i]), mixed[start + 4 * fewest : start + 4 * int(blocks[i]) : 4].tolist())
    hashes ^= _mixed(words.take(starts + (blocks << 2)) & _TAIL_MASKS.take(lengths & 3))
    hashes ^= lengths.astype(np.uint32)
    hashes ^= hashes >> np.uint32(16)
    hashes *= _M1
    hashes ^= hashes >> np.uint32(13)
    hashes *= _M2
    hashes ^= hashes >> np.uint32(16)
    return hashes


def _mixed(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    words = words * _C1
    words = (words << np.uint32(15)) | (words >> np.uint32(17))
    words *= _C2
    return words


def _stirred(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    hashes = (hashes << np.uint32(13)) | (hashes >> np.uint32(19))
    hashes *= _FIVE
    hashes += _ADDED
    return hashes


def _long(state: int, mixed: list[int]) -> int:
    """The state after a long piece's words."""
    for word in mixed:
        state ^= word
        state = (((state << 13) | (state >> 19)) * 5 + 0xE6546B64) & 0xFFFFFFFF
    return state

"""CatBoost's hashes of categories: how several become one, and strings that have a given one.

Combined hashes follow CalcHash in CatBoost's catboost/libs/model/hash.h: ``h = m * (h + m * part)`` for each part, from
0 on, modulo 2**64. That is a sum of the parts, each times a power of ``m``.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.inputs.cityhash import MIXING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MULTIPLIER = 0x4906BA494954CB65
"""``m``."""
TRIES = 1 << 14
"""Candidates for a string that are looked at together; one of 3,000 is printable."""
ROUNDS = 64
"""Most times that so many are looked at."""
MOST_ANSWERS = 1 << 12
"""Most combinations of what is known that :func:`solved` goes through."""

_ALL = 1 << 64


def coefficients(count: int) -> NDArray[Any]:
    """int64 [count]: what each part is multiplied with, so that the sum is the combined hash."""
    powers = [pow(MULTIPLIER, count + 1 - i, _ALL) for i in range(count)]
    return np.array(powers, np.uint64).view(np.int64)


def solved(
    keys: NDArray[Any], parts: Sequence[int], known: Mapping[int, NDArray[Any]], limit: int
) -> tuple[int, NDArray[Any]] | None:
    """The hashes of the one part of combined hashes whose values are not known.

    Args:
        keys: int64 [n], combined hashes.
        parts: what was combined.
        known: part -> its possible values, int64.
        limit: most keys to look at.

    Returns:
        The part, and int64 [m], its values; None unless there is exactly one such part.
    """
    missing = [i for i, part in enumerate(parts) if part not in known]
    if len(missing) != 1:
        return None
    (place,) = missing
    factors = coefficients(len(parts))
    inverse = np.uint64(pow(int(factors.view(np.uint64)[place]), -1, _ALL))
    others = [known[part][:limit].tolist() for i, part in enumerate(parts) if i != place]
    if math.prod(len(values) for values in others) > MOST_ANSWERS:
        return None
    weights = np.delete(factors, place).view(np.uint64)
    found = []
    with np.errstate(over="ignore"):
        for values in product(*others):
            rest = (np.array(values, np.int64).view(np.uint64) * weights).sum(dtype=np.uint64)
            candidates = ((keys[:limit].view(np.uint64) - rest) * inverse).view(np.int64)
            found.append(candidates[candidates == candidates.astype(np.int32)])
    return parts[place], np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)


def strings_with(hashes: NDArray[Any]) -> tuple[str, ...]:
    """A printable string for each hash, which CatBoost cannot tell from the category it was trained with.

    The hash of 16 bytes is made of its two halves by steps that can all be undone. So the second half is the hash's own
    digits, the upper half of the 64 bits is drawn until the first half that follows is printable.

    Args:
        hashes: int64 [n], as :func:`ortolan.inputs.cityhash.category_hash` gives them.
    """
    return tuple(found for one in hashes.tolist() if (found := _string_with(one & 0xFFFFFFFF)) is not None)


def _string_with(low: int) -> str | None:
    digits = f"{low:08x}".encode()
    second = int.from_bytes(digits, "little")
    shifted = (second + 16) % _ALL
    turned = np.uint64((shifted >> 16 | shifted << 48) % _ALL)
    random = np.random.default_rng(low)
    for _ in range(ROUNDS):
        high = random.integers(0, 1 << 32, TRIES, np.uint64) << np.uint64(32)
        joined = (high | np.uint64(low)) ^ np.uint64(second)
        first = _undone(turned ^ _undone(_divided(joined))) ^ turned
        letters = first.astype("<u8").view(np.uint8).reshape(-1, 8)
        fine = np.flatnonzero(((letters >= 0x20) & (letters < 0x7F)).all(axis=1))
        if len(fine):
            return str(letters[fine[0]].tobytes() + digits, "ascii")
    return None


def _divided(values: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        found: NDArray[Any] = values * np.uint64(pow(MIXING, -1, _ALL))
    return found


def _undone(values: NDArray[Any]) -> NDArray[Any]:
    """What became these values by a multiplication, and by its upper bits being folded onto its lower ones."""
    return _divided(values ^ values >> np.uint64(47))

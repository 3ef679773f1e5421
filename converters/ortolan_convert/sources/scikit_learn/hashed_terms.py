"""Terms that fall into given buckets of a hash table: hashing keeps no vocabulary, and texts are made up of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.inputs.murmur import murmur3_32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan.inputs.config import NgramConfig

TRIED = 200_000
"""How many terms are hashed; a model that was trained uses some thousands of about a million buckets."""
MOST = 4_000
"""How many terms are given."""
_LETTERS = "etaoinshrdlucmfwypvbgkqjxz"
_OTHERS = "0123456789 .,!'éüñабвгдеж的一是不了人我在有他"


def terms_in_buckets(config: NgramConfig, used: NDArray[np.bool_]) -> tuple[tuple[str, ...], NDArray[Any]]:
    """Terms that the analyzer may produce, the same ones every time.

    Args:
        config: the options.
        used: bool [buckets], which of them a term must fall into.

    Returns:
        Up to `MOST` terms, and int64, the bucket of each.
    """
    random = np.random.default_rng(0)
    words = config.analyzer == "word"
    alphabet = np.array(list(_LETTERS if words else _LETTERS + _OTHERS))
    shortest, longest = (2, 7) if words else (config.ngram_range[0], min(config.ngram_range[1], 7))
    lengths = random.integers(min(shortest, longest), longest + 1, TRIED)
    characters = "".join(alphabet[random.integers(0, len(alphabet), int(lengths.sum()))].tolist())
    ends = lengths.cumsum()
    starts = zip((ends - lengths).tolist(), ends.tolist(), strict=True)
    terms = list(dict.fromkeys(characters[start:end] for start, end in starts))
    raws = [term.encode() for term in terms]
    sizes = np.fromiter(map(len, raws), np.int64, len(raws))
    hashes = murmur3_32(b"".join(raws), sizes.cumsum() - sizes, sizes).view(np.int32).astype(np.int64)
    buckets = np.abs(hashes) % config.features
    found = np.flatnonzero(used[buckets])[:MOST]
    return tuple(terms[index] for index in found.tolist()), buckets[found]

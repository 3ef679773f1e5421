"""A packed table of words: looked up by checksum, held in four flat arrays instead of a Python dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from ortolan.errors import BundleError
from ortolan.inputs.assets import read_array, smallest_unsigned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset

MAX_EQUAL_CHECKSUMS = 64
"""More words than this never share a CRC-32 by chance; a bound on the work of one look-up."""


def encode_word(word: str) -> bytes:
    """UTF-8, lone surrogates included."""
    return word.encode("utf-8", "surrogatepass")


class Words:
    """Words with the ids 1 to n in order of (CRC-32, UTF-8 bytes); 0 is the id of every other word."""

    def __init__(self, checksums: NDArray[np.uint32], lengths: NDArray[Any], blob: bytes) -> None:
        """Args:
        checksums: uint32[n], CRC-32 of each word's bytes, ascending.
        lengths: unsigned[n], length of each word in bytes.
        blob: the words' bytes one after another.
        """
        self._checksums = checksums
        self._blob = blob
        self._ends = np.concatenate(([0], lengths.cumsum(dtype=np.int64))).astype(smallest_unsigned(len(blob)))

    def __len__(self) -> int:
        return len(self._checksums)

    @classmethod
    def read(cls, read_asset: ReadAsset) -> Words:
        """From ``ngrams/word_checksums.npy``, ``ngrams/word_lengths.npy`` and ``ngrams/words.npy``.

        Raises:
            BundleError: damaged or contradicting files.
        """
        checksums = read_array(read_asset, "ngrams/word_checksums.npy", "uint32")
        lengths = read_array(read_asset, "ngrams/word_lengths.npy", "uint8 uint16 uint32")
        blob = read_array(read_asset, "ngrams/words.npy", "uint8").tobytes()
        if len(lengths) != len(checksums) or int(lengths.sum(dtype=np.uint64)) != len(blob):
            raise BundleError("assets/ngrams/word_lengths.npy: does not fit word_checksums.npy and words.npy")
        if (checksums[1:] < checksums[:-1]).any():
            raise BundleError("assets/ngrams/word_checksums.npy: expected ascending values")
        if (checksums[MAX_EQUAL_CHECKSUMS:] == checksums[:-MAX_EQUAL_CHECKSUMS]).any():
            raise BundleError(f"assets/ngrams/word_checksums.npy: more than {MAX_EQUAL_CHECKSUMS} equal values")
        return cls(checksums, lengths, blob)

    @classmethod
    def pack(cls, words: Sequence[str]) -> tuple[list[str], dict[str, NDArray[Any]]]:
        """Distinct words in order of their ids, and the arrays that :meth:`read` reads, by asset path."""
        keyed = sorted((crc32(raw), raw, word) for word in words for raw in (encode_word(word),))
        lengths = np.array([len(raw) for _, raw, _ in keyed], np.int64)
        arrays: dict[str, NDArray[Any]] = {
            "ngrams/word_checksums.npy": np.array([checksum for checksum, _, _ in keyed], np.uint32),
            "ngrams/word_lengths.npy": lengths.astype(smallest_unsigned(int(lengths.max(initial=0)))),
            "ngrams/words.npy": np.frombuffer(b"".join(raw for _, raw, _ in keyed), np.uint8),
        }
        return [word for _, _, word in keyed], arrays

    def lookup(self, tokens: list[str]) -> list[int]:
        """The id of each token, 0 for those not in the table."""
        found = [0] * len(tokens)
        if not tokens or not len(self._checksums):
            return found
        raws = [token.encode("utf-8", "surrogatepass") for token in tokens]
        wanted = np.fromiter(map(crc32, raws), np.uint32, len(raws))
        at = self._checksums.searchsorted(wanted)
        hits = (self._checksums.take(at, mode="clip") == wanted).nonzero()[0]
        first = at.take(hits)
        starts, ends = self._ends.take(first).tolist(), self._ends.take(first + 1, mode="clip").tolist()
        blob = self._blob
        for i, index, start, end in zip(hits.tolist(), first.tolist(), starts, ends, strict=True):
            raw = raws[i]
            found[i] = index + 1 if blob[start:end] == raw else self._walk(index + 1, raw)
        return found

    def _walk(self, index: int, raw: bytes) -> int:
        """The id of ``raw`` among the words from ``index`` on that share its checksum, else 0."""
        checksum = crc32(raw)
        while index < len(self._checksums) and int(self._checksums[index]) == checksum:
            if self._blob[int(self._ends[index]) : int(self._ends[index + 1])] == raw:
                return index + 1
            index += 1
        return 0

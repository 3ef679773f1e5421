"""Files nobody trusts, read within bounds."""

from __future__ import annotations

from typing import IO

from ortolan.errors import ConversionError

LARGEST_STRING = 1 << 30
"""Bytes of one string in a pickle."""
MOST_BYTES = 1 << 32
"""Bytes that are read in all, decompressed."""
PIECE = 1 << 20
"""Bytes that are read at once."""


class BoundedStream:
    """A stream of a file nobody trusts: no read allocates more than is there."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._read = 0

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes.

        Raises:
            ConversionError: more than the bounds allow.
        """
        if size > LARGEST_STRING:
            raise ConversionError(f"a pickle with a string of {size} bytes, which is not looked into")
        pieces, left = [], size
        while left > 0 and (piece := self._stream.read(min(left, PIECE))):
            pieces.append(piece)
            left -= len(piece)
        self._count(size - left)
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Leave out bytes."""
        while size > 0 and (piece := self._stream.read(min(size, PIECE))):
            size -= len(piece)
            self._count(len(piece))

    def readline(self) -> bytes:
        """Up to the end of the line."""
        line = self._stream.readline(PIECE)
        self._count(len(line))
        return line

    def _count(self, size: int) -> None:
        self._read += size
        if self._read > MOST_BYTES:
            raise ConversionError(f"a pickle of more than {MOST_BYTES} bytes, which is not looked into")

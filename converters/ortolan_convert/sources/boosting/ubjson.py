"""Reads UBJSON, the binary form of JSON that XGBoost writes: with typed arrays, and bounds on everything."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from ortolan.errors import ConversionError

DEEPEST = 64
"""Most levels of objects in objects."""

_NUMBERS = {
    b"i": ">i1",
    b"U": ">u1",
    b"I": ">i2",
    b"l": ">i4",
    b"L": ">i8",
    b"d": ">f4",
    b"D": ">f8",
}
_SINGLE = {b"Z": None, b"T": True, b"F": False}


def read_ubjson(data: bytes, place: str) -> Any:
    """The value that the bytes hold. Typed arrays of numbers become numpy arrays.

    Raises:
        ConversionError: no UBJSON, or cut short.
    """
    reader = _Reader(data)
    try:
        value = reader.value(reader.take(1), 0)
    except (struct.error, ValueError, KeyError, IndexError, OverflowError) as error:
        raise ConversionError(
            f"{place}: its UBJSON is damaged or cut short at byte {reader.position} of {len(data)} ({error})"
        ) from None
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.position = 0

    def take(self, count: int) -> bytes:
        if count < 0 or self.position + count > len(self._data):
            raise ValueError(f"expected {count} more bytes")
        found = bytes(self._data[self.position : self.position + count])
        self.position += count
        return found

    def value(self, mark: bytes, depth: int) -> Any:
        """A value of a type."""
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} levels")
        if mark in _NUMBERS:
            kind = np.dtype(_NUMBERS[mark])
            return np.frombuffer(self.take(kind.itemsize), kind)[0].item()
        if mark == b"S":
            return self.take(self.length()).decode()
        if mark == b"C":
            return self.take(1).decode()
        if mark == b"[":
            return self.array(depth)
        if mark == b"{":
            return self.object(depth)
        return _SINGLE[mark]

    def length(self) -> int:
        mark = self.take(1)
        if mark not in (b"i", b"U", b"I", b"l", b"L"):
            raise ValueError("expected a length")
        count = self.value(mark, 0)
        if not 0 <= count <= len(self._data):
            raise ValueError(f"a length of {count}")
        return int(count)

    def array(self, depth: int) -> Any:
        mark = self.take(1)
        if mark == b"$":
            kind = self.take(1)
            if self.take(1) != b"#":
                raise ValueError("a typed array without a length")
            count = self.length()
            if kind in _NUMBERS:
                dtype = np.dtype(_NUMBERS[kind])
                return np.frombuffer(self.take(count * dtype.itemsize), dtype).astype(dtype.newbyteorder("="))
            return [self.value(kind, depth + 1) for _ in range(count)]
        if mark == b"#":
            return [self.value(self.take(1), depth + 1) for _ in range(self.length())]
        found = []
        while mark != b"]":
            found.append(self.value(mark, depth + 1))
            mark = self.take(1)
        return found

    def object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        mark = self.take(1)
        if mark == b"#":
            for _ in range(self.length()):
                key = self.take(self.length()).decode()
                found[key] = self.value(self.take(1), depth + 1)
            return found
        while mark != b"}":
            self.position -= 1
            key = self.take(self.length()).decode()
            found[key] = self.value(self.take(1), depth + 1)
            mark = self.take(1)
        return found

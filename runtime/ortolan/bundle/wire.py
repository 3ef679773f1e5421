"""Protobuf's wire format, read from untrusted bytes without copying them. Everything is bounded.

Only what ONNX uses: no groups. See https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ortolan.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types."""
PACKED = 8
"""In a schema: a repeated varint field, element by element or packed."""
MAX_FIELDS = 20_000_000
"""Most fields of one file: some ten seconds of reading. The largest usual models have a tenth of it."""

Span = tuple[int, int]
"""First byte of a nested message or string, and the byte after its last."""


class Buffer(Protocol):
    """Bytes, or a mapped file."""

    def __getitem__(self, index: int, /) -> int:
        """One byte."""

    def __len__(self) -> int:
        """Number of bytes."""


class Fields:
    """The wanted fields of one message: varints as they are, the rest as spans, in the order of the file."""

    __slots__ = ("_numbers", "_spans", "at")

    def __init__(self, at: int, numbers: dict[int, list[int]], spans: dict[int, list[Span]]) -> None:
        self.at = at
        self._numbers = numbers
        self._spans = spans

    def number(self, field: int, default: int = 0) -> int:
        """A varint as signed 64-bit integer; the last one counts."""
        return signed(self._numbers[field][-1]) if field in self._numbers else default

    def numbers(self, field: int) -> list[int]:
        """A repeated varint as signed 64-bit integers."""
        return [signed(value) for value in self._numbers.get(field, ())]

    def spans(self, field: int) -> list[Span]:
        """All occurrences of a string or message."""
        return self._spans.get(field, [])

    def span(self, field: int) -> Span | None:
        """The string or message of a field that occurs once.

        Raises:
            ModelFileError: it occurs twice. Protobuf would merge the two, which nobody writes and which could hide one.
        """
        spans = self._spans.get(field)
        if spans is None:
            return None
        if len(spans) > 1:
            raise damaged(f"field {field} occurs {len(spans)} times, expected once", spans[1][0])
        return spans[0]


class Wire:
    """A reader of messages within one buffer; counts the fields it has seen.

    Args:
        buffer: the whole file.
        max_fields: how many fields may be read in all.
    """

    __slots__ = ("_buffer", "_left", "_max_fields")

    def __init__(self, buffer: Buffer, max_fields: int = MAX_FIELDS) -> None:
        self._buffer = buffer
        self._left = max_fields
        self._max_fields = max_fields

    def message(self, span: Span, schema: Mapping[int, int]) -> Fields:
        """The fields of a message that are in ``schema`` (field number -> wire type); others are skipped.

        Raises:
            ModelFileError: the bytes are no message, or a field has another wire type than the schema says.
        """
        position, end = span
        numbers: dict[int, list[int]] = {}
        spans: dict[int, list[Span]] = {}
        while position < end:
            at = position
            self._left -= 1
            if self._left < 0:
                raise damaged(f"more than {self._max_fields} fields", at)
            key, position = self.varint(position, end)
            field, wire = key >> 3, key & 7
            if not 0 < field < 2**29:
                raise damaged(f"field number {field}", at)
            wanted = schema.get(field)
            if wire == VARINT:
                value, position = self.varint(position, end)
                if wanted in {VARINT, PACKED}:
                    numbers.setdefault(field, []).append(value)
                    continue
            elif wire == LENGTH:
                length, start = self.varint(position, end)
                position = start + length
                if position > end:
                    raise damaged(f"field {field} has {length} bytes, but only {end - start} are left", at)
                if wanted == LENGTH:
                    spans.setdefault(field, []).append((start, position))
                    continue
                if wanted == PACKED:
                    numbers.setdefault(field, []).extend(self._packed(start, position))
                    continue
            elif wire in {FIXED32, FIXED64}:
                position += 4 if wire == FIXED32 else 8
                if position > end:
                    raise damaged(f"field {field} is cut off", at)
            else:
                raise damaged(f"field {field} has wire type {wire}, which ONNX does not use", at)
            if wanted is not None:
                raise damaged(
                    f"field {field} has wire type {wire}, expected {LENGTH if wanted == LENGTH else VARINT}", at
                )
        return Fields(span[0], numbers, spans)

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """An unsigned integer of at most 64 bits, and the position after it."""
        buffer = self._buffer
        at = position
        result = shift = 0
        while position < end:
            byte = buffer[position]
            position += 1
            result |= (byte & 0x7F) << shift
            if byte < 0x80:
                if result >= 2**64:
                    raise damaged("an integer of more than 64 bits", at)
                return result, position
            shift += 7
            if shift == 70:
                raise damaged("an integer of more than 10 bytes", at)
        raise damaged("an integer is cut off", at)

    def _packed(self, position: int, end: int) -> list[int]:
        values = []
        while position < end:
            self._left -= 1
            if self._left < 0:
                raise damaged(f"more than {self._max_fields} fields", position)
            value, position = self.varint(position, end)
            values.append(value)
        return values


def signed(value: int) -> int:
    """An unsigned 64-bit integer as two's complement."""
    return value - 2**64 if value >= 2**63 else value


def damaged(problem: str, at: int) -> ModelFileError:
    """The error for what was found at a byte."""
    return ModelFileError(f"{problem} (at byte {at})")

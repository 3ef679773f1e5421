"""Strict reading of hardware described as plain data, in profiles and in result files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

from ortolan.bundle.fields import Convert, Record, array, integer, mapping, optional, raw_object, text
from ortolan.hardware.facts import Cache, Cores, Hardware

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

words = text(re.compile(r"[^\x00-\x1f\x7f]{1,500}"), "1 to 500 characters without control characters")
"""Converter of a line of text."""


def parse_hardware(data: object, at: str = "hardware") -> Hardware:
    """Hardware from what ``Hardware.to_json`` writes; every key but ``architecture`` may be missing.

    Raises:
        ManifestError: unknown keys or wrong types, with the dotted path.
    """
    record = partial(data, at, Hardware.__dataclass_fields__)
    return Hardware(
        board=record.get("board", optional(words)),
        processor=record.get("processor", optional(words)),
        architecture=record.get("architecture", words),
        cores=record.get("cores", _listed(_cores)),
        features=record.get("features", _listed(words)),
        ram_bytes=record.get("ram_bytes", optional(integer())),
        caches=record.get("caches", _listed(_cache)),
        accelerators=record.get("accelerators", _listed(words)),
        power_mode=record.get("power_mode", optional(words)),
        kernel=record.get("kernel", optional(words)),
        drivers=tuple((record.get("drivers", optional(mapping(words, words))) or {}).items()),
    )


def partial(data: object, at: str, known: Iterable[str]) -> Record:
    """A record whose missing keys read as null."""
    keys = list(known)
    return Record({**dict.fromkeys(keys), **raw_object(data, at)}, at, keys)


def _listed(of: Convert[T]) -> Convert[tuple[T, ...]]:
    return lambda value, at: () if value is None else array(of)(value, at)


def _cores(value: object, at: str) -> Cores:
    record = partial(value, at, Cores.__dataclass_fields__)
    return Cores(
        part=record.get("part", words),
        count=record.get("count", integer(1)),
        max_hz=record.get("max_hz", optional(integer(1))),
        cap_hz=record.get("cap_hz", optional(integer(1))),
        capacity=record.get("capacity", optional(integer())),
    )


def _cache(value: object, at: str) -> Cache:
    record = Record(value, at, ["level", "kind", "bytes"])
    return Cache(
        level=record.get("level", integer(1)), kind=record.get("kind", words), bytes=record.get("bytes", integer(1))
    )

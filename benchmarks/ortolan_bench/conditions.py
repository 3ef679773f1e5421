"""What the machine did while something was timed, as plain data."""

from __future__ import annotations

from dataclasses import asdict, fields

from ortolan.bundle.fields import Record, number, optional
from ortolan_bench.sensors import Usage


def usage_to_json(usage: Usage) -> dict[str, object]:
    """Keys as in `Usage`; null where the system hides it."""
    return asdict(usage)


def usage_from_json(value: object, at: str) -> Usage:
    """The inverse; ManifestError names the place."""
    names = [field.name for field in fields(Usage)]
    record = Record(value, at, names)
    found = {name: record.get(name, optional(number())) for name in names}
    pages = found.pop("swapped_pages")
    return Usage(**found, swapped_pages=None if pages is None else round(pages))

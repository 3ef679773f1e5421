"""The YAML form of a profile, read strictly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record, choice, mapping, number, optional, raw_object, text
from ortolan.hardware.description import parse_hardware, partial, words
from ortolan.hardware.profiles import Calibration, Figure, Label, Profile, Rates, Software

if TYPE_CHECKING:
    from ortolan.hardware.profiles import Source

_SMALLEST, _LARGEST = 1e-12, 1e18  # figures are divided by: neither zero nor infinite
_provider = text(re.compile(r"[a-z][a-z0-9-]{0,31}"), "a provider's short name such as 'cpu'")


def parse_profile(name: str, data: object) -> Profile:
    """A profile from plain data; keys as in ``Profile``.

    Raises:
        ManifestError: unknown or missing keys, wrong types; with the dotted path.
    """
    record = partial(data, "", [key for key in Profile.__dataclass_fields__ if key != "name"])
    return Profile(
        name=name,
        title=record.get("title", words),
        hardware=record.get("hardware", parse_hardware),
        hardware_source=record.get("hardware_source", _label),
        available_ram_bytes=record.get("available_ram_bytes", _figure),
        software=record.get("software", _software),
        calibration=record.get("calibration", _calibration),
        price_usd=record.get("price_usd", optional(_figure)),
    )


def _software(value: object, at: str) -> Software:
    record = Record(value, at, list(Software.__dataclass_fields__))
    return Software(
        os=record.get("os", _label),
        python=record.get("python", _label),
        onnxruntime=record.get("onnxruntime", mapping(_label, _provider, least=1)),
    )


def _calibration(value: object, at: str) -> Calibration:
    record = Record(value, at, list(Calibration.__dataclass_fields__))
    return Calibration(
        python_speed=record.get("python_speed", _figure),
        storage_read_bytes_s=record.get("storage_read_bytes_s", _figure),
        providers=record.get("providers", mapping(_rates, _provider, least=1)),
    )


def _rates(value: object, at: str) -> Rates:
    names = list(Rates.__dataclass_fields__)
    record = Record(value, at, names)
    return Rates(**{name: record.get(name, _figure) for name in names})


def _figure(value: object, at: str) -> Figure:
    record = _tagged(value, at)
    return Figure(
        record.get("value", number(_SMALLEST, _LARGEST)), record.get("basis", _basis), record.get("source", words)
    )


def _label(value: object, at: str) -> Label:
    record = _tagged(value, at)
    return Label(record.get("value", words), record.get("basis", _basis), record.get("source", words))


def _tagged(value: object, at: str) -> Record:
    return Record(raw_object(value, at), at, ["value", "basis", "source"])


def _basis(value: object, at: str) -> Source:
    known: dict[str, Source] = {"measured": "measured", "datasheet": "datasheet", "estimated": "estimated"}
    return known[choice(list(known))(value, at)]

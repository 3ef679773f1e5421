"""Measurements and their summaries as plain data: written here, read back strictly."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from ortolan.bundle.fields import Record, array, choice, integer, number, optional, raw_object
from ortolan.choose.summaries import Summary
from ortolan.errors import ManifestError, MeasurementError
from ortolan.hardware.description import words
from ortolan.types import Candidate, Interval, Measurement, SessionConfig, Validity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

FORMAT = 1
"""Of the JSON form of a measurement and of a summary."""


def to_json(measurement: Measurement) -> dict[str, object]:
    """Plain data that ``from_json`` reads back, samples included."""
    return {
        "format": FORMAT,
        **{key: getattr(measurement, key) for key in Measurement.__dataclass_fields__},
        "candidate": candidate_to_json(measurement.candidate),
        "load": list(measurement.load),
        "first_run": list(measurement.first_run),
        "samples": [list(process) for process in measurement.samples],
        "warnings": list(measurement.warnings),
    }


def from_json(data: object, at: str = "measurement") -> Measurement:
    """The inverse of ``to_json``.

    Raises:
        MeasurementError: anything else than what ``to_json`` writes; the message has the dotted path.
    """
    return _typed(lambda: _measurement(data, at))


def summary_to_json(summary: Summary) -> dict[str, object]:
    """Plain data that ``summary_from_json`` reads back."""
    return {
        **{key: getattr(summary, key) for key in Summary.__dataclass_fields__},
        "candidate": candidate_to_json(summary.candidate),
        "processes": [summary.processes.low, summary.processes.high],
    }


def summary_from_json(data: object, at: str = "summary") -> Summary:
    """The inverse of ``summary_to_json``.

    Raises:
        MeasurementError: anything else than what ``summary_to_json`` writes; the message has the dotted path.
    """
    return _typed(lambda: _summary(data, at))


def candidate_to_json(candidate: Candidate) -> dict[str, object]:
    """Plain data: ``variants`` maps component to variant, ``config`` has the session's settings."""
    config = asdict(candidate.config)
    config["provider_options"] = dict(candidate.config.provider_options)
    return {"variants": dict(candidate.variants), "config": config}


def candidate_from_json(data: object, at: str = "candidate") -> Candidate:
    """The inverse of ``candidate_to_json``; ManifestError names the place of anything else."""
    return _candidate(data, at)


def _typed(read: Callable[[], T]) -> T:
    try:
        return read()
    except ManifestError as error:
        raise MeasurementError(f"not a measurement that can be read: {error}") from error


def _measurement(data: object, at: str) -> Measurement:
    record = Record(data, at, ["format", *Measurement.__dataclass_fields__])
    record.get("format", integer(FORMAT, FORMAT))
    return Measurement(
        candidate=record.get("candidate", _candidate),
        variant_digest=record.get("variant_digest", words),
        workload=record.get("workload", words),
        hardware_id=record.get("hardware_id", words),
        runtime_id=record.get("runtime_id", words),
        load=record.get("load", array(_seconds)),
        first_run=record.get("first_run", array(_seconds)),
        samples=record.get("samples", array(array(_seconds, most=10**7))),
        peak_memory=record.get("peak_memory", optional(integer())),
        validity=record.get("validity", _validity),
        warnings=record.get("warnings", array(words)),
        faithful=record.get("faithful", optional(_flag)),
    )


def _summary(data: object, at: str) -> Summary:
    record = Record(data, at, list(Summary.__dataclass_fields__))
    low, high = record.get("processes", array(_seconds, least=2, most=2))
    return Summary(
        candidate=record.get("candidate", _candidate),
        variant_digest=record.get("variant_digest", words),
        workload=record.get("workload", words),
        hardware_id=record.get("hardware_id", words),
        runtime_id=record.get("runtime_id", words),
        samples=record.get("samples", integer(1)),
        p50=record.get("p50", _seconds),
        p90=record.get("p90", _seconds),
        processes=Interval(low, high),
        load=record.get("load", optional(_seconds)),
        first_run=record.get("first_run", optional(_seconds)),
        peak_memory=record.get("peak_memory", optional(integer())),
        validity=record.get("validity", _validity),
        faithful=record.get("faithful", optional(_flag)),
    )


def _candidate(value: object, at: str) -> Candidate:
    record = Record(value, at, ["variants", "config"])
    return Candidate(record.get("variants", _pairs), record.get("config", _config))


def _config(value: object, at: str) -> SessionConfig:
    record = Record(value, at, list(SessionConfig.__dataclass_fields__))
    return SessionConfig(
        provider=record.get("provider", words),
        provider_options=record.get("provider_options", _pairs),
        threads=record.get("threads", optional(integer(1))),
        spinning=record.get("spinning", _flag),
        arena=record.get("arena", _flag),
        mmap=record.get("mmap", _flag),
        prepack=record.get("prepack", _flag),
    )


def _pairs(value: object, at: str) -> tuple[tuple[str, str], ...]:
    table: Mapping[str, object] = raw_object(value, at)
    return tuple(sorted((words(key, at), words(entry, f"{at}.{key}")) for key, entry in table.items()))


def _seconds(value: object, at: str) -> float:
    return number(0, 1e9)(value, at)


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise ManifestError(at, f"expected bool, got {type(value).__name__}")
    return value


def _validity(value: object, at: str) -> Validity:
    known: dict[str, Validity] = {"valid": "valid", "invalid": "invalid", "unknown": "unknown"}
    return known[choice(list(known))(value, at)]

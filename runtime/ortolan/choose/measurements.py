"""Measurements as plain data, and their store in the state directory.

For each variant on each kind of machine there are two files: ``measurements/<hardware id>/<digest>.json`` with the
samples, and ``….summary.json``, a kilobyte per candidate, which is all that loading a model reads.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeVar

from ortolan.choose.encoding import FORMAT, from_json, summary_from_json, summary_to_json, to_json
from ortolan.choose.summaries import Summary, summarize
from ortolan.errors import MeasurementError
from ortolan.records import replace
from ortolan.types import Candidate, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ortolan.bundle.description import Manifest, Variant
    from ortolan.bundle.fields import Convert
    from ortolan.types import Measurement

__all__ = [
    "Summary",
    "candidate_digest",
    "candidate_digests",
    "from_json",
    "load_measurements",
    "load_summaries",
    "store",
    "summarize",
    "to_json",
]

T = TypeVar("T")

MAX_SAMPLES = 20_000
"""Samples per candidate that the state directory keeps, evenly chosen; result files keep all."""


def candidate_digest(manifest: Manifest, candidate: Candidate) -> str:
    """Digest that a candidate's measurements are kept under: its variant's, or one over those of all components."""
    digests = [
        manifest.variant_digest(manifest.variant(variant, component)) for component, variant in candidate.variants
    ]
    if len(digests) == 1:
        return digests[0]
    from ortolan.digest import sha256

    return sha256("\n".join(digests).encode("ascii")).hexdigest()


def candidate_digests(manifest: Manifest) -> tuple[str, ...]:
    """Digests of all combinations of the bundle's variants."""
    combinations = product(*(component.variants for component in manifest.components))
    return tuple(candidate_digest(manifest, Candidate(_named(variants), SessionConfig())) for variants in combinations)


def store(measurement: Measurement) -> None:
    """Keep a measurement in the state directory, in place of an older one of the same candidate, workload and runtime.

    Without a state directory nothing is kept.
    """
    from ortolan.state import read_json, write_json

    name = _name(measurement.hardware_id, measurement.variant_digest)
    kept = [old for old in _readable(read_json(name), from_json) if not _replaces(measurement, old)]
    kept.append(_thinned(measurement))
    write_json(name, {"format": FORMAT, "entries": [to_json(entry) for entry in kept]})
    # From the summaries of old: the kept samples of a long run are only some of them.
    summaries = [
        old for old in _readable(read_json(f"{name}.summary"), summary_from_json) if not _replaces(measurement, old)
    ]
    summary = summarize(measurement)
    if summary is not None:
        summaries.append(summary)
    write_json(f"{name}.summary", {"format": FORMAT, "entries": [summary_to_json(entry) for entry in summaries]})


def load_summaries(
    variant_digests: Iterable[str], hardware_id: str, runtime_id: str | None = None
) -> tuple[Summary, ...]:
    """Summaries of what was measured of these variants on that hardware; damaged files are passed over.

    Args:
        variant_digests: see ``candidate_digest``.
        hardware_id: ``Hardware.id``.
        runtime_id: if given, only measurements of that version of onnxruntime.
    """
    return tuple(
        entry
        for entry in _load(variant_digests, hardware_id, ".summary", summary_from_json)
        if runtime_id in (None, entry.runtime_id)
    )


def load_measurements(variant_digests: Iterable[str], hardware_id: str) -> tuple[Measurement, ...]:
    """What was measured of these variants on that hardware, with samples; damaged files are passed over."""
    return tuple(_load(variant_digests, hardware_id, "", from_json))


def _named(variants: Iterable[Variant]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((variant.component, variant.name) for variant in variants))


def _name(hardware_id: str, variant_digest: str) -> str:
    return f"measurements/{hardware_id}/{variant_digest[:16]}"


def _load(variant_digests: Iterable[str], hardware_id: str, suffix: str, read: Convert[T]) -> Iterable[T]:
    from ortolan.state import read_json

    for digest in dict.fromkeys(variant_digests):
        for entry in _readable(read_json(f"{_name(hardware_id, digest)}{suffix}"), read):
            # The file's name has only the first digits of the digest.
            if getattr(entry, "variant_digest", None) == digest and getattr(entry, "hardware_id", None) == hardware_id:
                yield entry


def _readable(data: object, read: Convert[T]) -> list[T]:
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("entries"), list):
        return []
    attempts = (_attempt(value, read) for value in data["entries"])
    return [entry for entry in attempts if entry is not None]


def _attempt(value: object, read: Convert[T]) -> T | None:
    try:
        return read(value, "entry")
    except MeasurementError:  # one damaged entry does not spoil the others
        return None


def _replaces(new: Measurement, old: Measurement | Summary) -> bool:
    return all(
        getattr(new, key) == getattr(old, key) for key in ("candidate", "variant_digest", "workload", "runtime_id")
    )


def _thinned(measurement: Measurement) -> Measurement:
    total = sum(len(process) for process in measurement.samples)
    step = -(-total // MAX_SAMPLES)
    if step <= 1:
        return measurement
    return replace(measurement, samples=tuple(process[::step] for process in measurement.samples))

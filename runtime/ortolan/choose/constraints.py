"""What a user demands of a candidate, and the reasons for which one is rejected. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.choose.units import format_duration, format_range, format_rate, format_share, format_size
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan.bundle.description import Variant
    from ortolan.hardware.profiles import Profile
    from ortolan.types import Assessment, Basis, Interval, SessionConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """Limits; None for no limit.

    Args:
        max_latency: seconds for one input.
        max_memory: bytes of peak resident memory of the process.
        max_storage: bytes on disk of the bundle with the candidate's variants alone.
        link_bits_per_s: rate of the link over which that is sent to the device.
        max_transfer_s: seconds that may take; means nothing without a link.
        max_drop: largest share of changed decisions, 0 to 1.
    """

    max_latency: float | None = None
    max_memory: int | None = None
    max_storage: int | None = None
    link_bits_per_s: float | None = None
    max_transfer_s: float | None = None
    max_drop: float | None = None


def cannot_run(variants: Sequence[Variant], config: SessionConfig, profile: Profile) -> str | None:
    """Why these variants cannot run on that hardware at all, or None."""
    names = config.provider.split("-or-")
    usable = [name for name in names if name in profile.calibration.providers]
    if not usable:
        return f"{profile.title} has no provider {config.provider}, only {', '.join(profile.calibration.providers)}"
    for variant in variants:
        made_for = [name for name in usable if name in variant.info.providers]
        if not made_for:
            return f"{variant.name} was not made for {config.provider}, only for {', '.join(variant.info.providers)}"
        reason = _too_old(variant, made_for[0], profile) or _lacks_features(variant, made_for[0], profile)
        if reason:
            return reason
    return None


def violation(
    assessment: Assessment, worst_latency: float | None, available: int | None, constraints: Constraints
) -> str | None:
    """The first constraint that a candidate misses as one sentence with its numbers, or None.

    A measured latency must keep the limit with ``worst_latency``, the 90th percentile; a predicted one with its middle,
    since its interval is wide. Memory must keep its limit with the upper end: running out of it ends the process.

    Args:
        assessment: what is known of the candidate.
        worst_latency: 90th percentile if measured.
        available: bytes that the machine can give a new process; None if unknown.
        constraints: the limits.
    """
    return (
        _drop(assessment, constraints.max_drop)
        or _memory(assessment, available, constraints.max_memory)
        or _storage(assessment, constraints)
        or _latency(assessment, worst_latency, constraints.max_latency)
    )


def _too_old(variant: Variant, provider: str, profile: Profile) -> str | None:
    newest = profile.software.onnxruntime.get(provider)
    needed = variant.info.min_onnxruntime
    if newest is None or _version(newest.value) >= _version(needed):
        return None
    return f"needs onnxruntime {needed} or newer, {profile.title} has {newest.value} for {provider}"


def _lacks_features(variant: Variant, provider: str, profile: Profile) -> str | None:
    known = profile.hardware.features
    missing = [feature for feature in variant.info.cpu_features if feature not in known]
    # An empty list of features means that they are hidden, as in some containers.
    if provider != "cpu" or not known or not missing:
        return None
    return f"needs a processor with {', '.join(missing)}, {profile.title} has {', '.join(known)}"


def _drop(assessment: Assessment, limit: float | None) -> str | None:
    if limit is None or assessment.drop <= limit:
        return None
    return f"changes {format_share(assessment.drop)} of the decisions, only {format_share(limit)} allowed"


def _memory(assessment: Assessment, available: int | None, limit: int | None) -> str | None:
    need = assessment.peak_memory
    known = [(value, word) for value, word in ((limit, "allowed"), (available, "available")) if value is not None]
    if need is None or not known:
        return None
    least, word = min(known)
    if need.high <= least:
        return None
    return f"needs up to {format_size(need.high)} of memory ({assessment.basis}), only {format_size(least)} {word}"


def _storage(assessment: Assessment, constraints: Constraints) -> str | None:
    limit = constraints.max_storage
    if limit is not None and assessment.storage > limit:
        return f"takes {format_size(assessment.storage)} of storage, only {format_size(limit)} allowed"
    seconds, longest, rate = assessment.transfer, constraints.max_transfer_s, constraints.link_bits_per_s
    if seconds is None or longest is None or rate is None or seconds <= longest:
        return None
    size = format_size(assessment.storage)
    return (
        f"takes {format_duration(seconds)} to send ({size} over {format_rate(rate)}), "
        f"only {format_duration(longest)} allowed"
    )


def _latency(assessment: Assessment, worst: float | None, limit: float | None) -> str | None:
    if limit is None:
        return None
    latency = assessment.latency
    if latency is None:
        return f"its latency is unknown, so {format_duration(limit)} cannot be promised: run `ortolan bench` there"
    if worst is not None:
        if worst <= limit:
            return None
        return (
            f"takes up to {format_duration(worst)} (measured, 90th percentile), only {format_duration(limit)} allowed"
        )
    if latency.middle <= limit:
        return None
    figures = _figures(latency, assessment.basis, "s")
    return f"takes about {format_duration(latency.middle)} ({figures}), only {format_duration(limit)} allowed"


def _figures(interval: Interval, basis: Basis, unit: str) -> str:
    return basis if interval.low == interval.high else f"{basis} {format_range(interval, unit)}"


def _version(text: str) -> tuple[int, ...]:
    digits = (part for part in text.split(".")[:3])
    return tuple(int(part) if part.isdecimal() else 0 for part in digits)

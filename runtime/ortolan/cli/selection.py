"""What ``ortolan select`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.choose import units
from ortolan.cli.tables import table, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan.bundle.directory import Bundle
    from ortolan.choose.constraints import Constraints
    from ortolan.hardware.profiles import Profile
    from ortolan.types import Assessment, Interval, Plan


def selection_lines(profile: Profile, assessments: Sequence[Assessment], plan: Plan | None) -> list[str]:
    """The table of one profile and the reasons below it."""
    linked = any(one.transfer is not None for one in assessments)
    heads = ["", "candidate", "latency", "peak memory", "storage", *(["transfer"] if linked else []), "drop", "figures"]
    rows = [_assessment_row(one, plan, linked) for one in assessments]
    where = "this machine" if profile.name == "here" else profile.name
    lines = [f"{profile.title} ({where})", *(f"  {line}" for line in table(heads, rows)), ""]
    sentences = ["nothing fits"] if plan is None else [f"chosen {plan.chosen.name}: {plan.reason}"]
    sentences += [f"not {one.candidate.name}: {one.rejection}" for one in assessments if one.rejection]
    sentences += [f"note: {note}" for note in (plan.notes if plan else ())]
    return [*lines, *(line for sentence in sentences for line in wrapped(sentence))]


def _assessment_row(one: Assessment, plan: Plan | None, linked: bool) -> list[str]:
    transfer = "" if one.transfer is None else units.format_duration(one.transfer)
    return [
        "*" if plan and one.candidate == plan.chosen else "-" if one.rejection else " ",
        one.candidate.name,
        "unknown" if one.latency is None else units.format_range(one.latency, "s"),
        "unknown" if one.peak_memory is None else units.format_range(one.peak_memory, "bytes"),
        units.format_size(one.storage),
        *([transfer] if linked else []),
        units.format_share(one.drop),
        one.basis,
    ]


def selection_json(
    bundle: Bundle,
    constraints: Constraints,
    results: Sequence[tuple[Profile, tuple[Assessment, ...], Plan | None]],
) -> dict[str, object]:
    """Schema ``ortolan.select/1``."""
    return {
        "schema": "ortolan.select/1",
        "bundle": str(bundle.path),
        "digest": bundle.digest,
        "constraints": {
            "max_latency_s": constraints.max_latency,
            "max_peak_rss_bytes": constraints.max_memory,
            "max_storage_bytes": constraints.max_storage,
            "link_bits_per_s": constraints.link_bits_per_s,
            "max_transfer_s": constraints.max_transfer_s,
            "max_drop": constraints.max_drop,
        },
        "profiles": [
            {
                "profile": profile.name,
                "title": profile.title,
                "hardware_id": profile.hardware.id,
                "chosen": plan.chosen.name if plan else None,
                "reason": plan.reason if plan else None,
                "notes": list(plan.notes) if plan else [],
                "assessments": [_assessment_json(one) for one in assessments],
            }
            for profile, assessments, plan in results
        ],
    }


def _assessment_json(one: Assessment) -> dict[str, object]:
    return {
        "candidate": one.candidate.name,
        "variants": dict(one.candidate.variants),
        "provider": one.candidate.config.provider,
        "threads": one.candidate.config.threads,
        "latency_s": _interval_json(one.latency),
        "peak_rss_bytes": _interval_json(one.peak_memory),
        "storage_bytes": one.storage,
        "transfer_s": one.transfer,
        "drop": one.drop,
        "basis": one.basis,
        "rejection": one.rejection,
    }


def _interval_json(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"low": interval.low, "high": interval.high}

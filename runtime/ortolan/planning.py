"""What to run on this machine: a bundle's variants against what is known of the machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.choose.constraints import Constraints
from ortolan.choose.cost import predict
from ortolan.choose.measurements import load_summaries
from ortolan.choose.selector import select
from ortolan.choose.units import format_size
from ortolan.engine.installation import onnxruntime, parse_version, require, runtime_id
from ortolan.engine.providers import available
from ortolan.errors import MemoryBudgetError, NoCandidateError
from ortolan.hardware.facts import HardwareState
from ortolan.hardware.probe import available_memory, probe_memory
from ortolan.hardware.profiles import here

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ortolan.bundle.description import Manifest, Variant
    from ortolan.choose.summaries import Summary
    from ortolan.hardware.profiles import Profile
    from ortolan.types import Plan, SessionConfig


def plan_for(
    manifest: Manifest,
    variant: str | None,
    config: SessionConfig,
    *,
    max_memory: int | None = None,
    tuned: bool = False,
) -> tuple[Plan, int | None]:
    """The plan for this machine, and the upper end of the peak memory it was made with, in bytes.

    Args:
        manifest: of the bundle.
        variant: the only one to consider; None for all.
        config: what was asked for.
        max_memory: bytes the process may take at its peak; None for what is free.
        tuned: whether other providers and numbers of threads may take its place: those that were measured here.

    Raises:
        UnknownNameError: an unknown variant.
        RuntimeTooOldError: every variant in question needs a newer onnxruntime.
        MemoryBudgetError: every variant would fit but for its memory.
        NoCandidateError: nothing can run here, for other reasons.
    """
    considered = manifest if variant is None else manifest.subset([variant])
    profile = here(onnxruntime=dict.fromkeys(available(), str(onnxruntime().__version__)))
    digests = [manifest.variant_digest(one) for one in _variants(considered)]
    measured = load_summaries(digests, profile.hardware.id, runtime_id())
    configs = measured_configs(config, measured) if tuned else [config]
    state = probe_memory()
    limits = Constraints(max_memory=max_memory)
    try:
        plan = select(considered, profile, state, measured, limits, configs=configs)
    except NoCandidateError as error:
        _require_new_enough(considered)
        _raise_if_memory(considered, profile, measured, configs, error)
        raise
    best = next(one for one in plan.assessments if one.candidate == plan.chosen)
    return plan, None if best.peak_memory is None else int(best.peak_memory.high)


def require_room_for_file(path: Path, max_memory: int | None) -> None:
    """Check that a bare ``.onnx`` file has a chance to fit: its weights are in memory once at least.

    Raises:
        MemoryBudgetError: the file alone is larger than what is allowed or free.
    """
    size = path.stat().st_size
    limits = [(max_memory, "allowed"), (available_memory(), "free")]
    least, word = min(((value, word) for value, word in limits if value is not None), default=(None, ""))
    if least is not None and size > least:
        raise MemoryBudgetError(f"{path} alone takes {format_size(size)} of memory, only {format_size(least)} {word}")


def _variants(manifest: Manifest) -> list[Variant]:
    return [variant for component in manifest.components for variant in component.variants]


def measured_configs(asked: SessionConfig, measured: Iterable[Summary]) -> Sequence[SessionConfig]:
    """What was asked for, then the measured configurations that differ from it only in what was left open."""
    configs = [asked]
    for summary in measured:
        config = summary.candidate.config
        threads = config.threads if asked.threads is None else asked.threads
        same_memory = (config.arena, config.prepack, config.mmap) == (asked.arena, asked.prepack, asked.mmap)
        if config.threads == threads and same_memory and config not in configs:
            configs.append(config)
    return configs


def _require_new_enough(manifest: Manifest) -> None:
    """Raise RuntimeTooOldError if it is the version of onnxruntime that rules out every variant."""
    needed = [variant.info.min_onnxruntime for variant in _variants(manifest)]
    require(min(needed, key=parse_version))


def _raise_if_memory(
    manifest: Manifest,
    profile: Profile,
    measured: Sequence[Summary],
    configs: Sequence[SessionConfig],
    error: NoCandidateError,
) -> None:
    """Raise MemoryBudgetError if a candidate would pass with more memory; it names the parts of the smallest's peak."""
    try:
        plan = select(manifest, profile, HardwareState(), measured, configs=configs)
    except NoCandidateError:
        return
    chosen = plan.chosen
    variants = [manifest.variant(name, component) for component, name in chosen.variants]
    parts = predict(manifest, variants, profile, chosen.config).parts
    listed = ", ".join(f"{name} up to {format_size(part.high)}" for name, part in parts.items())
    raise MemoryBudgetError(f"{error} ({listed}); raise max_memory, or try low_memory=True") from error

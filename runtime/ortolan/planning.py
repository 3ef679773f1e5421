"""What to run on this machine: a bundle's variants against what is known of the machine."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ortolan.choose.constraints import Constraints
from ortolan.choose.cost import (
    MEMORY_SPREAD,
    OTHER_SESSION_BYTES,
    SESSION_BYTES,
    graph_part,
    predict,
    unknown_activations,
    weight_parts,
)
from ortolan.choose.measurements import load_summaries
from ortolan.choose.selector import select
from ortolan.choose.units import format_size
from ortolan.choose.weights import weight_memory
from ortolan.engine.installation import onnxruntime, parse_version, require, runtime_id
from ortolan.engine.providers import BEST_EFFORT, available
from ortolan.errors import MemoryBudgetError, NoCandidateError
from ortolan.hardware.estimate import BASE_MEMORY_BYTES
from ortolan.hardware.facts import HardwareState
from ortolan.hardware.probe import probe_memory
from ortolan.hardware.profiles import Figure, here
from ortolan.records import dataclass, replace
from ortolan.types import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ortolan.bundle.description import Manifest, Variant
    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.choose.summaries import Summary
    from ortolan.hardware.profiles import Profile
    from ortolan.types import Plan, SessionConfig


@dataclass(frozen=True, slots=True)
class FilePlan:
    """What running a bare ``.onnx`` file takes.

    Args:
        predicted_peak: bytes, upper end.
        notes: what a user should know.
    """

    predicted_peak: int
    notes: tuple[str, ...]


def plan_for(
    manifest: Manifest,
    variant: str | None,
    config: SessionConfig,
    *,
    max_memory: int | None = None,
    tuned: bool = False,
) -> tuple[Plan, int | None, frozenset[str]]:
    """The plan for this machine, and what else was found on the way.

    Args:
        manifest: of the bundle.
        variant: the only one to consider; None for all.
        config: what was asked for.
        max_memory: bytes the process may take at its peak; None for what is free.
        tuned: whether other providers and numbers of threads may take its place: those that were measured here.

    Returns:
        the plan; the upper end of the peak memory it was made with, in bytes; and the providers on which the answers of
        its variants were found to agree with the golden samples, on this machine.

    Raises:
        UnknownNameError: an unknown variant.
        RuntimeTooOldError: every variant in question needs a newer onnxruntime.
        MemoryBudgetError: every variant would fit but for its memory.
        NoCandidateError: nothing can run here, for other reasons.
    """
    considered = manifest if variant is None else manifest.subset([variant])
    profile = here(onnxruntime=dict.fromkeys(available(), str(onnxruntime().__version__)))
    digests = [manifest.variant_digest(one) for one in _variants(considered)]
    measured = _with_best_effort(load_summaries(digests, profile.hardware.id, runtime_id()), config)
    configs = measured_configs(config, measured) if tuned else [config]
    state = probe_memory()
    profile = _in_this_process(profile, config, state.resident_bytes)
    limits = Constraints(max_memory=max_memory)
    try:
        plan = select(considered, profile, state, measured, limits, configs=configs)
    except NoCandidateError as error:
        _require_new_enough(considered)
        _raise_if_memory(considered, profile, measured, configs, max_memory, error)
        strict = config.provider.removesuffix(BEST_EFFORT)
        if strict == config.provider:
            raise
        on_cpu = replace(config, provider="cpu")
        plan, peak, compared = plan_for(manifest, variant, on_cpu, max_memory=max_memory)
        return replace(plan, notes=(f"{strict} is not used, the cpu is: {error}", *plan.notes)), peak, compared
    best = next(one for one in plan.assessments if one.candidate == plan.chosen)
    peak = None if best.peak_memory is None else int(best.peak_memory.high)
    candidates = [one.candidate for one in measured if one.faithful]
    return plan, peak, frozenset(one.config.provider for one in candidates if one.variants == plan.chosen.variants)


def plan_for_file(path: Path, model: OnnxModel, config: SessionConfig, *, max_memory: int | None = None) -> FilePlan:
    """How a bare ``.onnx`` file will run here: there is nothing to choose, but it has to fit.

    Its activations are unknown, since the shapes are, so a bound is taken for them.

    Args:
        path: the file.
        model: what it says of itself.
        config: what was asked for.
        max_memory: bytes the process may take at its peak; None for what is free.

    Raises:
        MemoryBudgetError: the prediction is more than is allowed or free.
    """
    onnxruntime()  # what it takes must be in the process already
    state = probe_memory()
    base = _session_base(config, state.resident_bytes)
    spread = MEMORY_SPREAD[base.basis]
    shapes = [spec.shape for spec in (*model.inputs, *model.outputs)]
    ends = sum(prod(dim if isinstance(dim, int) else 1 for dim in shape) * 4 for shape in shapes if shape is not None)
    activations = unknown_activations(model.weight_bytes, ends)
    weights = weight_memory(model)
    parts = {
        "process": Interval(base.value / spread, base.value * spread),
        "graph": graph_part(max(0, path.stat().st_size - weights.inside)),
        **weight_parts(weights, config),
        "activations": activations,
    }
    peak = int(sum(part.high for part in parts.values()))
    available = None if state.available_bytes is None else state.available_bytes + (state.resident_bytes or 0)
    limits = [(max_memory, "allowed"), (available, "available")]
    least, word = min(((value, word) for value, word in limits if value is not None), default=(None, ""))
    if least is not None and peak > least:
        raise MemoryBudgetError(
            f"{path} needs up to {format_size(peak)} of memory (predicted), only {format_size(least)} {word} "
            f"({_listed(parts)}); {_advice(config, max_memory)}"
        )
    note = (
        "a bare .onnx file does not say what its activations take: unknown, and put at "
        f"{format_size(activations.high)}; `ortolan convert` works them out"
    )
    return FilePlan(peak, (note,))


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


def _with_best_effort(measured: tuple[Summary, ...], config: SessionConfig) -> tuple[Summary, ...]:
    """If the CPU may take the place of a provider: also under that name, what was measured of the provider alone."""
    strict = config.provider.removesuffix(BEST_EFFORT)
    if strict == config.provider:
        return measured
    candidates = [(one, one.candidate) for one in measured if one.candidate.config.provider == strict]
    return measured + tuple(
        replace(one, candidate=replace(known, config=replace(known.config, provider=config.provider)))
        for one, known in candidates
    )


def _require_new_enough(manifest: Manifest) -> None:
    """Raise RuntimeTooOldError if it is the version of onnxruntime that rules out every variant."""
    needed = [variant.info.min_onnxruntime for variant in _variants(manifest)]
    require(min(needed, key=parse_version))


def _raise_if_memory(
    manifest: Manifest,
    profile: Profile,
    measured: Sequence[Summary],
    configs: Sequence[SessionConfig],
    max_memory: int | None,
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
    advice = _advice(chosen.config, max_memory)
    raise MemoryBudgetError(f"{error} ({_listed(parts)}); {advice}") from error


def _listed(parts: Mapping[str, Interval]) -> str:
    return ", ".join(f"{name} up to {format_size(part.high)}" for name, part in parts.items() if part.high)


def _advice(config: SessionConfig, max_memory: int | None) -> str:
    """What may help, as part of a sentence."""
    ways = ["free memory" if max_memory is None else "raise max_memory"]
    if config.arena or config.prepack:
        ways.append("try low_memory=True")
    return ", or ".join([*ways, "take a smaller variant or model"])


def _session_base(config: SessionConfig, resident: int | None) -> Figure:
    """What the process will have with a tiny model loaded: what it has now, and what opening a session adds."""
    provider = config.provider.split("-or-")[0]
    adds = SESSION_BYTES.get(provider, OTHER_SESSION_BYTES)
    if resident is None:
        return Figure(BASE_MEMORY_BYTES, "estimated", "the process's memory cannot be read here")
    # The spread is that of what is added alone: the process's own memory is known.
    most = resident + MEMORY_SPREAD["datasheet"] * adds
    return Figure(most / MEMORY_SPREAD["measured"], "measured", "this process, and what opening a session adds")


def _in_this_process(profile: Profile, config: SessionConfig, resident: int | None) -> Profile:
    """The profile with the memory of the process that asks, instead of one with nothing else in it."""
    base = _session_base(config, resident)
    providers = {name: replace(rates, memory_bytes=base) for name, rates in profile.calibration.providers.items()}
    return replace(profile, calibration=replace(profile.calibration, providers=providers))

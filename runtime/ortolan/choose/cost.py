"""Predict latency and memory of a candidate from the manifest's figures and a profile's calibration.

Latency of one input = input + calls + work, where

- input = seconds of Python to turn the raw input into tensors and the outputs into an answer / ``python_speed``;
- calls = ``call_overhead_s`` for each component;
- work = the larger of ``2 * macs / rate`` and ``bytes touched / memory_bandwidth_bytes_s`` (the roofline model,
  Williams et al., CACM 2009). A run touches each weight at most once per use: ``min(weight_bytes, macs * bytes per
  weight)``.

Peak memory = process + weights + assets + activations. Each part is an interval: a figure divided and multiplied by the
spread that its basis deserves; the sum adds up the ends. Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan.bundle.description import Variant
from ortolan.errors import UnknownNameError
from ortolan.types import Interval

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ortolan.bundle.description import Manifest
    from ortolan.hardware.profiles import Figure, Profile, Rates, Source
    from ortolan.types import SessionConfig

SPEED_SPREAD: Mapping[Source, float] = {
    "measured": 1.3,  # boards of one model differ by temperature, supply and memory vendor
    "datasheet": 3.0,  # peak rates: small shapes reach a third
    "estimated": 4.0,  # both that, and the processor is only similar
}
MEMORY_SPREAD: Mapping[Source, float] = {
    "measured": 1.1,  # allocator and library versions
    "datasheet": 1.25,
    "estimated": 1.35,  # another architecture's libraries
}
SCALED_SPREAD = 2.5
"""Of a latency measured on one machine and scaled to another by the ratio of predictions: common errors cancel."""
NOISY_SPREAD = 1.5
"""Of a latency that was measured while the machine was busy, hot or changing."""

INPUT_COSTS: Mapping[str, tuple[float, float, str]] = {
    "text-classification": (24e-6, 0.09e-6, "terms"),
    "clustering": (24e-6, 0.09e-6, "terms"),
    "tensor": (4e-6, 0.0, ""),
}
"""Task -> seconds per input, seconds per unit, dimension that counts the units. On the reference machine (one core of a
2.6 GHz AMD EPYC server, Python 3.11): the n-gram encoder on Chinese reviews, and checking one tensor."""

WEIGHT_BYTES = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.0, "uint8": 1.0, "int4": 0.5}
"""Bytes per weight by precision."""
PARALLEL_SHARE = 0.75
"""What each further core adds, where the work is large enough to be shared."""
SHARED_MACS = 2e6
"""Work below that many multiply-accumulates stays on one core: waking another takes longer."""
UNKNOWN_ACTIVATION_BYTES = 32 * 2**20
"""Upper bound taken for activations that the manifest does not know, beside the weights' own size."""
ASSET_EXPANSION = 2.0
"""Assets are mapped, or read once and copied into arrays: between one and two times their bytes."""
LOAD_COPIES = 2.0
"""While a model loads, its file's content and the session's weights are both in memory."""
PREPACK_COPIES = 1.0
"""Repacked weights stand beside the original ones until the session is complete."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a candidate will take.

    Args:
        latency: seconds for one input, end to end; None if the manifest does not know the work.
        peak_memory: bytes of peak resident memory of the process.
        parts: those bytes by what needs them.
    """

    latency: Interval | None
    peak_memory: Interval
    parts: Mapping[str, Interval]


def predict(
    manifest: Manifest, variants: Variant | Sequence[Variant], profile: Profile, config: SessionConfig
) -> Prediction:
    """Latency and memory of one input of the usual size (``manifest.dims``).

    Args:
        manifest: of the bundle.
        variants: the variant, or one for each component.
        profile: the machine.
        config: how the sessions run.

    Raises:
        UnknownNameError: the profile has no figures for the provider.
    """
    chosen = [variants] if isinstance(variants, Variant) else list(variants)
    rates = provider_rates(profile, config.provider)
    parts = _memory(manifest, chosen, rates, config)
    return Prediction(_latency(manifest, chosen, profile, config), _sum(parts.values()), parts)


def provider_rates(profile: Profile, provider: str) -> Rates:
    """Figures of the provider that a session would use on that hardware: of ``"x-or-cpu"`` x if it is there.

    Raises:
        UnknownNameError: the profile has none.
    """
    known = profile.calibration.providers
    for name in provider.split("-or-"):
        if name in known:
            return known[name]
    raise UnknownNameError("provider", provider, known)


def scaled(measured: float, there: Interval, here: Interval, *, noisy: bool = False) -> Interval:
    """A latency measured elsewhere, moved by the ratio of the predictions for here and there."""
    factor = SCALED_SPREAD * (NOISY_SPREAD if noisy else 1.0)
    return _spread(measured * here.middle / there.middle, factor)


def guided(prediction: Prediction, latency: float, peak_memory: int | None) -> Prediction:
    """A prediction where there is a measurement on that very hardware, but an invalid one.

    What invalidates it, such as other processes, spoils times and not memory.
    """
    memory = prediction.peak_memory if peak_memory is None else _spread(peak_memory, MEMORY_SPREAD["measured"])
    return Prediction(_spread(latency, NOISY_SPREAD), memory, prediction.parts)


def measured_elsewhere(peak_memory: int) -> Interval:
    """Peak memory where it was not measured, from where it was."""
    return _spread(peak_memory, MEMORY_SPREAD["estimated"])


def _latency(
    manifest: Manifest, variants: Sequence[Variant], profile: Profile, config: SessionConfig
) -> Interval | None:
    rates = provider_rates(profile, config.provider)
    fixed, each, unit = INPUT_COSTS.get(manifest.task.name, INPUT_COSTS["tensor"])
    seconds = fixed + each * manifest.dims.get(unit, 0)
    parts = [_by(seconds, profile.calibration.python_speed)]
    for variant in variants:
        work = _work(manifest, variant, profile, rates, config)
        if work is None:
            return None
        parts += [_of(rates.call_overhead_s), work]
    return _sum(parts)


def _work(
    manifest: Manifest, variant: Variant, profile: Profile, rates: Rates, config: SessionConfig
) -> Interval | None:
    if variant.info.macs is None:
        return None
    macs = variant.info.macs.at(manifest.dims)
    precision = variant.info.precision
    rate = rates.int8_ops if precision in ("int8", "uint8") else rates.fp32_flops
    speedup = _speedup(macs, profile, config)
    touched = min(variant.info.weight_bytes, macs * WEIGHT_BYTES.get(precision, 4.0))
    compute = _by(2 * macs / speedup, rate)
    traffic = _by(touched, rates.memory_bandwidth_bytes_s)
    return Interval(max(compute.low, traffic.low), max(compute.high, traffic.high))


def _speedup(macs: float, profile: Profile, config: SessionConfig) -> float:
    if not config.provider.startswith("cpu") or macs < SHARED_MACS:
        return 1.0
    cores = profile.hardware.core_count or 1
    return 1 + PARALLEL_SHARE * (min(config.threads or cores, cores) - 1)


def _memory(
    manifest: Manifest, variants: Sequence[Variant], rates: Rates, config: SessionConfig
) -> dict[str, Interval]:
    base = rates.memory_bytes
    assets = sum(entry.bytes for path, entry in manifest.files.items() if path.startswith("assets/"))
    weights = [max(variant.info.weight_bytes, manifest.files[variant.model_path].bytes) for variant in variants]
    copies = LOAD_COPIES + (PREPACK_COPIES if config.prepack else 0.0)
    return {
        "process": _spread(base.value, MEMORY_SPREAD[base.basis]),
        "weights": Interval(float(sum(weights)), copies * sum(weights)),
        "assets": Interval(float(assets), ASSET_EXPANSION * assets),
        "activations": _sum([_activations(manifest, variant, config) for variant in variants]),
    }


def _activations(manifest: Manifest, variant: Variant, config: SessionConfig) -> Interval:
    polynomial = variant.info.activation_bytes
    if polynomial is None:
        return Interval(0.0, float(max(UNKNOWN_ACTIVATION_BYTES, variant.info.weight_bytes)))
    size = polynomial.at(manifest.dims)
    # The arena grows by powers of two, and never shrinks while a session lives.
    return Interval(size, 2 * size if config.arena else size)


def _of(figure: Figure) -> Interval:
    return _spread(figure.value, SPEED_SPREAD[figure.basis])


def _by(amount: float, rate: Figure) -> Interval:
    return _spread(amount / rate.value, SPEED_SPREAD[rate.basis])


def _spread(value: float, factor: float) -> Interval:
    return Interval(value / factor, value * factor)


def _sum(parts: Collection[Interval]) -> Interval:
    return Interval(sum(part.low for part in parts), sum(part.high for part in parts))

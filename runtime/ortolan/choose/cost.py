"""Predict latency and memory of a candidate from the manifest's figures and a profile's calibration.

Latency of one input = input + calls + work, where

- input = seconds of Python to turn the raw input into tensors and the outputs into an answer / ``python_speed``;
- calls = ``call_overhead_s`` for each component;
- work = the larger of ``2 * macs / rate`` and ``bytes touched / memory_bandwidth_bytes_s`` (the roofline model,
  Williams et al., CACM 2009). A run touches each weight at most once per use: ``min(weight_bytes, macs * bytes per
  weight)``.

Peak memory is that of the whole process, from before anything is loaded to after any number of runs:

    process + graph + weights + prepacking + derived constants + assets + activations

- process: Python, numpy, onnxruntime and a tiny model; on this machine what the process has already, and what opening a
  session adds;
- graph: nodes and their attributes, of which trees of a forest are made, many times the size they have in the file;
- weights: those inside the .onnx file once, and the largest of them twice; those beside it as far as they are touched;
- prepacking: what `choose.weights` finds that onnxruntime stores anew for its kernels;
- derived constants: what it computes from constants while it loads;
- assets: the files below ``assets/``, and what the task makes of them;
- activations: the manifest's polynomial, at the usual sizes of the free dimensions and at the largest declared.

Each part is an interval: a figure divided and multiplied by the spread that its basis deserves, or the least and the
most that can be; the sum adds up the ends. Pure functions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.bundle.description import Variant, WeightMemory
from ortolan.errors import UnknownNameError
from ortolan.hardware.estimate import BASE_MEMORY_BYTES
from ortolan.records import dataclass, replace
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
FEW_MACS = 4000
"""A row of a table that takes fewer is answered by one thread.

onnxruntime shares more than 80 trees among its threads even for one row, and waking one takes as long as hundreds of
comparisons. Measured on two x86-64 cores (onnxruntime 1.32, medians of nine ensembles): one row of 300 to 2300
comparisons took 1.15 to 1.5 times as long with two threads, a batch of 1000 up to 1.15 times as long with one, since
most of its time is Python's. One row of 6000 took 1.05 to 1.1 times as long with two, a batch 1.6 times as long with
one.
"""
UNKNOWN_ACTIVATION_BYTES = 12 * 2**20
"""Taken for activations that nobody knows, at least;"""
UNKNOWN_ACTIVATION_SHARE = 0.25
"""of large models, so many bytes for each of their weights. No more than a guess: for one input of usual size."""
ARENA_GROWTH = 1.6
"""onnxruntime's arena grows by powers of two and is never defragmented: most bytes taken for each that is in use by the
manifest's figure. Measured: 0.6 to 1.5 (onnxruntime 1.32, ten models)."""
HEAP_GROWTH = 1.35
"""The same without the arena, where the C library gives large blocks back at once. Measured: 0.5 to 1.3."""
GATHERED_SHARE = 0.5
"""Of a mapped table from which rows are gathered, such as a vocabulary's: what is touched, and not taken back yet."""
ASSET_EXPANSION = 2.0
"""Assets are mapped, or read once and copied into arrays: between one and two times their bytes."""
TOKENIZER_BYTES = 10_000_000
TOKENIZER_EXPANSION = 20.0
"""What the tokenizers library takes, and for each byte of a ``tokenizer.json``: tables of strings in both directions.
Measured: 15 MB in all for MiniLM's 0.47 MB."""
REORDERED_COPIES = 2.0
"""Weights of convolutions in the new layout, at the worst moment while the graph is optimized."""
NESTED_COPIES = 1.0
"""Copies of weights in graphs within nodes, beside the first."""
GRAPH_EXPANSION = 18.0
"""What nodes and attributes take while a model loads for each byte in the file: they are parsed, copied into the graph,
and read into the kernels' own tables. Measured: 11.4 of a random forest of 132,000 nodes, 14.4 of a thousand symmetric
trees, and 17.4 where those are in a branch, which is copied once more."""
SESSION_BYTES: Mapping[str, int] = {"cpu": 16_000_000}
"""What opening and running a tiny model adds to a process that has imported onnxruntime: pages of its library, its
tables and threads. Measured with onnxruntime 1.32 on x86-64: 14 MB."""
OTHER_SESSION_BYTES = 60_000_000
"""The same for providers that were not measured; what they take on their device is theirs."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a candidate will take.

    Args:
        latency: seconds for one input, end to end; None if the manifest does not know the work.
        peak_memory: bytes of peak resident memory of the process.
        parts: those bytes by what needs them.
        beyond_usual: of the upper end what inputs of the largest declared sizes take beyond those of usual size, and
            what is in the process already beside Python and onnxruntime: a peak that was measured may know neither.
    """

    latency: Interval | None
    peak_memory: Interval
    parts: Mapping[str, Interval]
    beyond_usual: float = 0.0

    def with_peak(self, measured: Interval) -> Interval:
        """Peak memory, where it was measured: with inputs of usual size, in a process that had nothing else to do."""
        high = min(measured.high + self.beyond_usual, self.peak_memory.high)
        return Interval(measured.low, max(measured.high, high))


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
    process = MEMORY_SPREAD["measured"] * rates.memory_bytes.value
    others = max(0.0, process - MEMORY_SPREAD["datasheet"] * BASE_MEMORY_BYTES)
    growing = sum(_beyond_usual(manifest, variant, config) for variant in chosen)
    return Prediction(_latency(manifest, chosen, profile, config), _sum(parts.values()), parts, growing + others)


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


def usual_threads(manifest: Manifest, variant: Variant) -> int | None:
    """Threads of a session for which no number is asked: of runs of the usual sizes; None for what the process may use.

    Of 0 multiply-accumulates there may be other work that nobody counted.
    """
    macs = variant.info.macs
    if macs is None or not manifest.task.name.startswith("tabular-"):
        return None
    return 1 if 0 < macs.at(manifest.dims) < FEW_MACS else None


def scaled(measured: float, there: Interval, here: Interval, *, noisy: bool = False) -> Interval:
    """A latency measured elsewhere, moved by the ratio of the predictions for here and there."""
    factor = SCALED_SPREAD * (NOISY_SPREAD if noisy else 1.0)
    return _spread(measured * here.middle / there.middle, factor)


def guided(prediction: Prediction, latency: float, peak_memory: int | None) -> Prediction:
    """A prediction where there is a measurement on that very hardware, but an invalid one.

    What invalidates it, such as other processes, spoils times and not memory.
    """
    memory = prediction.peak_memory
    if peak_memory is not None:
        memory = prediction.with_peak(_spread(peak_memory, MEMORY_SPREAD["measured"]))
    return replace(prediction, latency=_spread(latency, NOISY_SPREAD), peak_memory=memory)


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
    parts = {"process": _spread(base.value, MEMORY_SPREAD[base.basis])}
    graphs = 0
    for variant in variants:
        weights = variant.info.weights or stored_weights(manifest, variant)
        graphs += max(0, manifest.files[variant.model_path].bytes - weights.inside)
        for name, part in weight_parts(weights, config).items():
            parts[name] = _sum([part, *([parts[name]] if name in parts else [])])
    parts["graph"] = graph_part(graphs)
    parts["assets"] = _assets(manifest)
    parts["activations"] = _sum([_activations(manifest, variant, config) for variant in variants])
    return parts


def stored_weights(manifest: Manifest, variant: Variant) -> WeightMemory:
    """A variant's weights as far as the sizes of its files tell: all of them may be repacked."""
    inside = manifest.files[variant.model_path].bytes
    beside = sum(
        entry.bytes
        for path, entry in manifest.files.items()
        if path.startswith(f"{variant.directory}/") and path != variant.model_path
    )
    size = max(variant.info.weight_bytes, inside) if not beside else inside
    return WeightMemory(
        inside=size,
        largest=size,
        mapped=beside,
        repacked=max(variant.info.weight_bytes, inside + beside),
        reordered=0,
        derived=0,
        nested=0,
        gathered=0,
    )


def weight_parts(weights: WeightMemory, config: SessionConfig) -> dict[str, Interval]:
    """What weights take, by what for: ``weights``, ``prepacking`` and ``derived constants``; the last two if any."""
    repacked = weights.repacked if config.prepack else 0
    packed = repacked + REORDERED_COPIES * weights.reordered
    # Of what is repacked the mapped original is not touched again.
    mapped = max(0.0, weights.mapped - repacked - weights.reordered - (1 - GATHERED_SHARE) * weights.gathered)
    parts = {"weights": Interval(float(weights.inside), float(weights.inside + weights.largest + mapped))}
    if packed:
        least = weights.mapped and min(weights.mapped, repacked)
        parts["prepacking"] = Interval(float(least), packed)
    derived = weights.derived + NESTED_COPIES * weights.nested
    if derived:
        parts["derived constants"] = Interval(weights.derived / 2, derived)
    return parts


def graph_part(size: int) -> Interval:
    """What nodes and their attributes take, of so many bytes in the file."""
    return Interval(float(size), GRAPH_EXPANSION * size)


def _assets(manifest: Manifest) -> Interval:
    sizes = {path: entry.bytes for path, entry in manifest.files.items() if path.startswith("assets/")}
    tokenizers = [size for path, size in sizes.items() if path.endswith("tokenizer.json")]
    plain = sum(sizes.values()) - sum(tokenizers)
    tables = sum(TOKENIZER_BYTES + TOKENIZER_EXPANSION * size for size in tokenizers)
    return Interval(plain + tables / 2, ASSET_EXPANSION * plain + tables)


def _activations(manifest: Manifest, variant: Variant, config: SessionConfig) -> Interval:
    polynomial = variant.info.activation_bytes
    if polynomial is None:
        return unknown_activations(variant.info.weight_bytes)
    return Interval(polynomial.at(manifest.dims), growth(config) * polynomial.at(manifest.largest))


def _beyond_usual(manifest: Manifest, variant: Variant, config: SessionConfig) -> float:
    """Bytes of activations at the largest declared sizes that there are not at the usual ones, at most."""
    polynomial = variant.info.activation_bytes
    if polynomial is None:
        return unknown_activations(variant.info.weight_bytes).high
    return growth(config) * max(0.0, polynomial.at(manifest.largest) - polynomial.at(manifest.dims))


def unknown_activations(weight_bytes: int, at_least: int = 0) -> Interval:
    """What is taken for activations that nobody knows, of a model with so many bytes of weights.

    Args:
        weight_bytes: of all weights.
        at_least: bytes of inputs and outputs.
    """
    return Interval(
        float(at_least), max(UNKNOWN_ACTIVATION_BYTES, UNKNOWN_ACTIVATION_SHARE * weight_bytes, 4.0 * at_least)
    )


def growth(config: SessionConfig) -> float:
    """Most bytes that are taken for each byte of activations in use."""
    return ARENA_GROWTH if config.arena else HEAP_GROWTH


def _of(figure: Figure) -> Interval:
    return _spread(figure.value, SPEED_SPREAD[figure.basis])


def _by(amount: float, rate: Figure) -> Interval:
    return _spread(amount / rate.value, SPEED_SPREAD[rate.basis])


def _spread(value: float, factor: float) -> Interval:
    return Interval(value / factor, value * factor)


def _sum(parts: Collection[Interval]) -> Interval:
    return Interval(sum(part.low for part in parts), sum(part.high for part in parts))

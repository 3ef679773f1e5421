"""Predictions follow the documented formulas, and move the way the hardware does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ortolan.bundle.description import FileEntry
from ortolan.choose import cost
from ortolan.choose.cost import predict
from ortolan.errors import UnknownNameError
from ortolan.hardware.profiles import load_profile
from ortolan.types import Interval, Polynomial, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.bundle.description import Manifest, VariantInfo
    from ortolan.hardware.profiles import Profile


def test_latency_is_the_sum_of_its_parts(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """Input, call and work, each spread by the basis of its figure."""
    bundle = manifest()
    rates = pi.calibration.providers["cpu"]
    fixed, each, _ = cost.INPUT_COSTS["text-classification"]
    spread = cost.SPEED_SPREAD["estimated"]

    latency = predict(bundle, bundle.variant("fp32"), pi, SessionConfig()).latency

    source = (fixed + 100 * each) / pi.calibration.python_speed.value
    compute = 2 * 200 / rates.fp32_flops.value
    traffic = 200 * 4 / rates.memory_bandwidth_bytes_s.value
    high = spread * (source + rates.call_overhead_s.value) + max(
        spread * compute, cost.SPEED_SPREAD["measured"] * traffic
    )
    assert latency is not None
    assert latency.high == pytest.approx(high)
    assert latency.low < latency.high


def test_large_models_are_bound_by_memory_or_arithmetic(
    manifest: Callable[..., Manifest], info: Callable[..., VariantInfo], pi: Profile
) -> None:
    """Ten times the multiply-accumulates take ten times the time."""
    one, ten = (
        manifest(fp32=info(weight_bytes=10**7, macs=Polynomial(((macs, ()),)))) for macs in (5 * 10**8, 5 * 10**9)
    )

    short = predict(one, one.variant("fp32"), pi, SessionConfig()).latency
    long = predict(ten, ten.variant("fp32"), pi, SessionConfig()).latency

    assert short is not None and long is not None
    assert long.middle / short.middle == pytest.approx(10, rel=0.01)


def test_threads_help_large_models_only(
    manifest: Callable[..., Manifest], info: Callable[..., VariantInfo], pi: Profile
) -> None:
    """Waking another core costs more than a small model's work."""
    large = manifest(fp32=info(weight_bytes=10**6, macs=Polynomial(((10**9, ()),))))
    small = manifest()

    def ratio(bundle: Manifest) -> float:
        one, four = (
            predict(bundle, bundle.variant("fp32"), pi, SessionConfig(threads=threads)).latency for threads in (1, 4)
        )
        assert one is not None and four is not None
        return one.middle / four.middle

    assert ratio(large) == pytest.approx(1 + 3 * cost.PARALLEL_SHARE, rel=0.01)
    assert ratio(small) == 1


def test_boards_rank_as_they_do_in_life(manifest: Callable[..., Manifest]) -> None:
    """Zero 2 W, 4, 5: each is faster than the one before."""
    bundle = manifest()
    middles = []
    for name in ("raspberry-pi-zero-2-w", "raspberry-pi-4b", "raspberry-pi-5"):
        latency = predict(bundle, bundle.variant("fp32"), load_profile(name), SessionConfig()).latency
        assert latency is not None
        middles.append(latency.middle)

    assert middles == sorted(middles, reverse=True)


def test_unknown_work_is_unknown_latency(
    manifest: Callable[..., Manifest], info: Callable[..., VariantInfo], pi: Profile
) -> None:
    """Nothing is guessed from nothing; memory is still bounded."""
    bundle = manifest(fp32=info(macs=None, activation_bytes=None))

    prediction = predict(bundle, bundle.variant("fp32"), pi, SessionConfig())

    assert prediction.latency is None
    assert prediction.parts["activations"] == Interval(0.0, float(cost.UNKNOWN_ACTIVATION_BYTES))


def test_memory_is_the_sum_of_its_parts(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """Process, weights, assets and activations."""
    bundle = manifest()

    prediction = predict(bundle, bundle.variant("fp32"), pi, SessionConfig())

    assert prediction.parts["weights"] == Interval(802_000, 2 * 802_000)
    assert prediction.parts["prepacking"] == Interval(0, 802_000)
    assert prediction.parts["assets"] == Interval(500_000, 1_000_000)
    assert prediction.parts["activations"] == Interval(1600, cost.ARENA_GROWTH * 1600)
    assert prediction.peak_memory.high == pytest.approx(sum(part.high for part in prediction.parts.values()))


def test_components_add_up(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """All are loaded at once, in one process with one set of assets."""
    bundle = manifest()
    one, other = bundle.variant("fp32"), bundle.variant("int8")

    both, first, second = (predict(bundle, names, pi, SessionConfig()).parts for names in ([one, other], one, other))

    for part in ("graph", "weights", "prepacking", "activations"):
        assert both[part].high == first[part].high + second[part].high
    for part in ("process", "assets"):
        assert both[part] == first[part] == second[part]


def test_nodes_and_attributes_take_many_times_their_size(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """What is in the file and is no tensor: a forest's trees are attributes of one node."""
    bundle = manifest()
    weights = replace(cost.stored_weights(bundle, bundle.variant("fp32")), inside=2000)
    variant = replace(bundle.variant("fp32"), info=replace(bundle.variant("fp32").info, weights=weights))

    parts = predict(bundle, variant, pi, SessionConfig()).parts

    assert parts["graph"] == Interval(800_000, cost.GRAPH_EXPANSION * 800_000)


def test_memory_is_there_for_the_largest_sizes(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """The upper end is at the sizes that the bundle was declared for, the lower at the usual ones."""
    bundle = replace(manifest(), max_dims={"batch": 8, "terms": 200})

    activations = predict(bundle, bundle.variant("fp32"), pi, SessionConfig()).parts["activations"]

    assert activations == Interval(16 * 100, cost.ARENA_GROWTH * 16 * 8 * 200)


def test_weights_beside_the_model_are_told_from_the_files(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """Where the manifest does not say more, the sizes of the variant's files do."""
    bundle = manifest()
    files = {**bundle.files, "model/fp32/model.onnx": FileEntry(1000, "0" * 64)}
    files["model/fp32/weights.bin"] = FileEntry(800_000, "0" * 64)

    parts = predict(replace(bundle, files=files), bundle.variant("fp32"), pi, SessionConfig(prepack=False)).parts

    assert parts["weights"] == Interval(1000, 2000 + 800_000)
    assert "prepacking" not in parts


def test_a_tokenizer_takes_more_than_its_file(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """The library and its tables."""
    bundle = manifest()
    files = {**bundle.files, "assets/tokenizer.json": FileEntry(400_000, "0" * 64)}

    parts = predict(replace(bundle, files=files), bundle.variant("fp32"), pi, SessionConfig()).parts

    assert parts["assets"].high == 1_000_000 + cost.TOKENIZER_BYTES + cost.TOKENIZER_EXPANSION * 400_000


def test_low_memory_settings_lower_the_prediction(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """Without prepacking and arena there are fewer copies."""
    bundle = manifest()
    usual = predict(bundle, bundle.variant("fp32"), pi, SessionConfig())

    frugal = predict(bundle, bundle.variant("fp32"), pi, SessionConfig(prepack=False, arena=False))

    assert frugal.peak_memory.high < usual.peak_memory.high


def test_best_effort_uses_what_is_there(manifest: Callable[..., Manifest], pi: Profile, orin: Profile) -> None:
    """``cuda-or-cpu`` is CUDA on a Jetson and the CPU on a Raspberry Pi."""
    config = SessionConfig(provider="cuda-or-cpu")

    assert cost.provider_rates(pi, config.provider) is pi.calibration.providers["cpu"]
    assert cost.provider_rates(orin, config.provider) is orin.calibration.providers["cuda"]


def test_provider_without_figures(manifest: Callable[..., Manifest], pi: Profile) -> None:
    """A Raspberry Pi has no CUDA."""
    bundle = manifest()

    with pytest.raises(UnknownNameError, match=r"unknown provider 'cuda'"):
        predict(bundle, bundle.variant("fp32"), pi, SessionConfig(provider="cuda"))


def test_scaling_keeps_ratios() -> None:
    """Twice as slow by prediction is twice as slow as measured."""
    moved = cost.scaled(0.010, Interval(1.0, 4.0), Interval(2.0, 8.0))

    assert moved.middle == pytest.approx(0.020)
    assert moved.high / moved.low == pytest.approx(cost.SCALED_SPREAD**2)


@pytest.mark.parametrize(
    ("task", "macs", "rows", "threads"),
    [
        ("tabular-classification", 300, 1, 1),
        ("tabular-regression", cost.FEW_MACS - 1, 1, 1),
        ("tabular-regression", cost.FEW_MACS, 1, None),
        ("tabular-regression", 300, 64, None),
        ("tabular-classification", 0, 1, None),
        ("tabular-classification", None, 1, None),
        ("text-classification", 300, 1, None),
    ],
)
def test_a_row_of_little_work_gets_one_thread(
    manifest: Callable[..., Manifest],
    info: Callable[..., VariantInfo],
    task: str,
    macs: int | None,
    rows: int,
    threads: int | None,
) -> None:
    """Of tables only, in runs of the usual size, and where the work is known."""
    work = None if macs is None else Polynomial(((macs, ("batch",)),))
    bundle = manifest(fp32=info(macs=work))
    bundle = replace(bundle, task=replace(bundle.task, name=task), dims={"batch": rows})
    assert cost.usual_threads(bundle, bundle.variant("fp32")) == threads

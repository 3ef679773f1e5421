"""Candidates are rejected with a reason, and the best of the rest is chosen by a documented rule."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ortolan.bundle.description import Component, FileEntry, Manifest, Variant
from ortolan.choose.constraints import Constraints
from ortolan.choose.cost import ARENA_GROWTH, NOISY_SPREAD, predict
from ortolan.choose.selector import Elsewhere, assess, select
from ortolan.choose.summaries import Summary, summarize
from ortolan.errors import NoCandidateError
from ortolan.hardware.facts import HardwareState
from ortolan.hardware.profiles import Label, load_profile
from ortolan.types import Assessment, Candidate, Interval, Measurement, Polynomial, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan.bundle.description import VariantInfo
    from ortolan.hardware.profiles import Profile

    Make = Callable[..., Manifest]
    Info = Callable[..., VariantInfo]
    Measured = Callable[..., Measurement]


def rejections(assessments: Sequence[Assessment]) -> dict[str, str | None]:
    """Reason by candidate."""
    return {one.candidate.name: one.rejection for one in assessments}


def names(assessments: Sequence[Assessment]) -> list[str]:
    """Variants in order."""
    return [one.candidate.variants[0][1] for one in assessments]


def _only_reference(manifest: Manifest) -> Component:
    (component,) = manifest.components
    return replace(component, variants=component.variants[:1])


def test_unmeasured_candidates_that_cannot_be_told_apart_give_the_reference(manifest: Make, pi: Profile) -> None:
    """Nothing is known that speaks for another."""
    plan = select(manifest(), pi)

    assert plan.chosen.name == "fp32 on cpu"
    assert names(plan.assessments) == ["fp32", "fp16", "int8"]
    assert plan.reason.startswith("comes first in the bundle; predicted latency ")
    assert plan.reason.endswith(" ms, which cannot be told apart from fp16 on cpu, int8 on cpu")
    assert plan.notes == (
        "nothing was measured on a Raspberry Pi Zero 2 W; `ortolan bench` run there replaces the predictions",
    )


def test_measured_faster_wins(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Ranges of medians that do not overlap are a difference."""
    measurements = [measured("fp32", 1.0e-3, 1.1e-3), measured("int8", 0.5e-3, 0.6e-3), measured("fp16", 2e-3, 2e-3)]

    plan = select(manifest(), pi, measurements=measurements)

    assert names(plan.assessments) == ["int8", "fp32", "fp16"]
    assert plan.reason == "measured fastest: 548 µs, then fp32 on cpu with 1 ms"
    assert plan.notes == ()


def test_measured_alike_gives_the_more_faithful(manifest: Make, pi: Profile, measured: Measured) -> None:
    """int8 changes some decisions and is not surely faster."""
    measurements = [measured("fp32", 1.0e-3, 1.1e-3), measured("int8", 0.9e-3, 1.05e-3)]

    plan = select(manifest(), pi, measurements=measurements)

    assert plan.chosen.name == "fp32 on cpu"
    assert plan.reason == (
        "measured latency 1 ms, which cannot be told apart from int8 on cpu; it changes fewer decisions"
    )


def test_measured_alike_and_as_faithful_gives_the_smaller(manifest: Make, pi: Profile, measured: Measured) -> None:
    """fp16 changes no decision either, and takes half the space."""
    plan = select(manifest(), pi, measurements=[measured("fp32", 1e-3, 1.1e-3), measured("fp16", 1e-3, 1.1e-3)])

    assert plan.chosen.name == "fp16 on cpu"
    assert plan.reason.endswith("which cannot be told apart from fp32 on cpu; it is smaller")


def test_measured_comes_before_predicted(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Where a prediction does not lie wholly below it."""
    plan = select(manifest(), pi, measurements=[measured("int8", 1e-3, 1.1e-3)])

    assert plan.chosen.name == "int8 on cpu"
    assert plan.reason == "the only one measured on this hardware; measured latency 1 ms"


def test_surely_faster_prediction_comes_before_measured(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Its whole interval lies below the measurement."""
    plan = select(manifest(), pi, measurements=[measured("int8", 1.0, 1.1)])

    assert plan.chosen.name == "fp32 on cpu"


def test_measurements_of_other_hardware_and_files_are_ignored(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Only what ran there, from these very files, is measured."""
    measurements = [
        measured("fp32", 1e-3, 1e-3, hardware_id="f" * 16),
        measured("fp16", 1e-3, 1e-3, variant_digest="f" * 64),
    ]

    assert {one.basis for one in assess(manifest(), pi, measurements=measurements)} == {"predicted"}


def test_invalid_measurement_guides_the_prediction(manifest: Make, pi: Profile, measured: Measured) -> None:
    """It is no measured figure, but better than none; the note says so."""
    measurements = [measured("fp32", 3e-3, 3e-3, validity="invalid")]
    assessments = assess(manifest(), pi, None, measurements, Constraints(max_storage=1_500_000))
    found = next(one for one in assessments if one.candidate.name == "fp32 on cpu")

    plan = select(replace(manifest(), components=(_only_reference(manifest()),)), pi, measurements=measurements)

    assert found.basis == "predicted"
    assert found.latency is not None
    assert (found.latency.low, found.latency.high) == (pytest.approx(2e-3), pytest.approx(4.5e-3))
    assert found.peak_memory is not None and found.peak_memory.high == pytest.approx(66_000_000)
    assert plan.notes == (
        "what was measured on a Raspberry Pi Zero 2 W is invalid and only guides the predictions; "
        "repeat `ortolan bench`",
    )


def test_invalid_measurement_does_not_replace_a_valid_one(manifest: Make, pi: Profile, measured: Measured) -> None:
    """A noisy afternoon does not undo a quiet morning."""
    measurements = [measured("int8", 1e-3, 1e-3), measured("int8", 9.0, 9.0, validity="invalid")]

    plan = select(manifest(), pi, measurements=measurements)

    assert plan.assessments[0].latency == Interval(1e-3, 1e-3)


def test_wrong_golden_answers_reject_however_fast(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Even if the measurement is invalid otherwise."""
    measurements = [measured("fp32", 1e-9, 1e-9, faithful=False, validity="invalid")]

    found = rejections(assess(manifest(), pi, measurements=measurements))

    assert found["fp32 on cpu"] == "its golden answers were wrong on this hardware"


def test_measured_figures_replace_predicted_ones(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Latency is the range of the processes' medians, memory exact."""
    assessments = assess(manifest(), pi, measurements=[measured("fp32", 1e-3, 2e-3)])

    assert assessments[0].latency == Interval(1e-3, 2e-3)
    assert assessments[0].peak_memory == Interval(60_000_000, 60_000_000)
    assert assessments[0].basis == "measured"


def test_a_peak_of_small_inputs_does_not_stand_for_large_ones(
    manifest: Make, info: Callable[..., VariantInfo], pi: Profile, measured: Measured
) -> None:
    """What the largest declared sizes take more is added; what was measured is the lower end."""
    bundle = manifest(fp32=info(activation_bytes=Polynomial(((1000.0, ("batch",)),))))
    bundle = replace(bundle, dims={"batch": 1, "terms": 1}, max_dims={"batch": 50_001, "terms": 1})
    known = measured("fp32", 1e-3, 2e-3, variant_digest=bundle.variant_digest(bundle.variant("fp32")))

    found = next(one for one in assess(bundle, pi, measurements=[known]) if one.basis == "measured")

    assert found.peak_memory == Interval(60_000_000, 60_000_000 + ARENA_GROWTH * 50_000_000)


def test_a_measured_peak_is_not_raised_above_the_prediction(
    manifest: Make, info: Callable[..., VariantInfo], pi: Profile, measured: Measured
) -> None:
    """Unless it is above it itself."""
    bundle = replace(manifest(), dims={"batch": 1, "terms": 1}, max_dims={"batch": 50_001, "terms": 1000})
    digest = bundle.variant_digest(bundle.variant("fp32"))
    predicted = predict(bundle, bundle.variant("fp32"), pi, SessionConfig()).peak_memory.high

    for peak, high in ((int(predicted) - 1000, predicted), (10**12, 10**12)):
        known = measured("fp32", 1e-3, 2e-3, variant_digest=digest, peak_memory=peak)
        found = next(one for one in assess(bundle, pi, measurements=[known]) if one.basis == "measured")
        assert found.peak_memory == Interval(peak, high)


def test_a_measured_peak_does_not_know_this_process(manifest: Make, pi: Profile, measured: Measured) -> None:
    """What the process has beside Python and onnxruntime is added."""
    rates = pi.calibration.providers["cpu"]
    large = replace(rates, memory_bytes=replace(rates.memory_bytes, value=300_000_000))
    here = replace(pi, calibration=replace(pi.calibration, providers={"cpu": large}))

    found = assess(manifest(), here, measurements=[measured("fp32", 1e-3, 2e-3)])[0]

    assert found.peak_memory is not None
    assert found.peak_memory.low == 60_000_000
    assert found.peak_memory.high > 300_000_000 - 75_000_000 + 60_000_000


def test_hidden_peak_memory_stays_predicted(manifest: Make, pi: Profile, measured: Measured) -> None:
    """Some systems hide VmHWM."""
    (first, *_) = assess(manifest(), pi, measurements=[measured("fp32", 1e-3, 2e-3, peak_memory=None)])

    assert first.peak_memory is not None and first.peak_memory.low < first.peak_memory.high


def test_too_little_memory_allowed(manifest: Make, pi: Profile) -> None:
    """The upper end of a prediction must fit; the sentence has the numbers."""
    found = rejections(assess(manifest(), pi, constraints=Constraints(max_memory=50_000_000)))

    assert found["fp32 on cpu"] == "needs up to 84 MB of memory (predicted), only 50 MB allowed"


def test_too_little_memory_available(manifest: Make, pi: Profile, measured: Measured) -> None:
    """What this process has already is its own to use."""
    measurements = [measured("fp32", 1e-3, 1e-3)]
    state = HardwareState(available_bytes=30_000_000, resident_bytes=20_000_000)

    found = rejections(assess(manifest(), pi, state, measurements))
    roomier = rejections(assess(manifest(), pi, replace(state, resident_bytes=31_000_000), measurements))

    assert found["fp32 on cpu"] == "needs up to 60 MB of memory (measured), only 50 MB available"
    assert roomier["fp32 on cpu"] is None


def test_unknown_available_memory_rejects_nothing(manifest: Make, pi: Profile) -> None:
    """No figure is made up."""
    assert set(rejections(assess(manifest(), pi, HardwareState())).values()) == {None}


def test_board_without_state_uses_its_figure(manifest: Make, pi: Profile) -> None:
    """A Zero 2 W leaves about 280 MB."""
    figure = pi.available_ram_bytes
    assert figure is not None
    small = replace(pi, available_ram_bytes=replace(figure, value=40e6))

    assert "only 40 MB available" in str(rejections(assess(manifest(), small))["fp32 on cpu"])


def test_storage_and_transfer(manifest: Make, pi: Profile) -> None:
    """Of the bundle with that variant alone; the transfer is shown even where it is no constraint."""
    bundle = manifest()
    limits = Constraints(max_storage=1_000_000, link_bits_per_s=1e6)

    assessments = assess(bundle, pi, constraints=limits)

    assert rejections(assessments)["fp32 on cpu"] == "takes 1.3 MB of storage, only 1 MB allowed"
    for one in assessments:
        assert one.storage == bundle.variant_storage(one.candidate.variants[0][1])
        assert one.transfer == one.storage * 8 / 1e6


def test_transfer_over_a_slow_link(manifest: Make, pi: Profile) -> None:
    """The sentence has size, rate and limit."""
    found = rejections(assess(manifest(), pi, constraints=Constraints(link_bits_per_s=1e5, max_transfer_s=60)))

    assert found["fp32 on cpu"] == "takes 104 s to send (1.3 MB over 100 kbit/s), only 60 s allowed"
    assert found["int8 on cpu"] is None


def test_drop_beyond_what_is_allowed(manifest: Make, pi: Profile) -> None:
    """Fidelity is compared first: a wrong answer is no bargain."""
    found = rejections(assess(manifest(), pi, constraints=Constraints(max_drop=0.001)))

    assert found == {
        "fp32 on cpu": None,
        "fp16 on cpu": None,
        "int8 on cpu": "changes 0.2 % of the decisions, only 0.1 % allowed",
    }


def test_predicted_latency_beyond_the_limit(manifest: Make, pi: Profile) -> None:
    """The middle of the interval decides, and the sentence shows all of it."""
    found = rejections(assess(manifest(), pi, constraints=Constraints(max_latency=100e-6)))

    assert found["fp32 on cpu"] == "takes about 253 µs (predicted 0.063-1 ms), only 100 µs allowed"


def test_measured_latency_must_keep_the_limit_in_nine_of_ten_runs(
    manifest: Make, pi: Profile, measured: Measured
) -> None:
    """A median below the limit is not enough."""
    samples = ((1e-3,) * 80 + (9e-3,) * 20,)
    measurements = [measured("fp32", 0, 0, samples=samples)]

    found = rejections(assess(manifest(), pi, None, measurements, Constraints(max_latency=5e-3)))

    assert found["fp32 on cpu"] == "takes up to 9 ms (measured, 90th percentile), only 5 ms allowed"


def test_unknown_latency_promises_nothing(manifest: Make, info: Info, pi: Profile) -> None:
    """It passes without a limit and is rejected with one."""
    bundle = manifest(fp32=info(macs=None))

    assert rejections(assess(bundle, pi)) == {"fp32 on cpu": None}
    assert rejections(assess(bundle, pi, constraints=Constraints(max_latency=1))) == {
        "fp32 on cpu": "its latency is unknown, so 1 s cannot be promised: run `ortolan bench` there"
    }
    assert select(bundle, pi).reason == "the only candidate; predicted latency unknown"


def test_provider_the_hardware_lacks(manifest: Make, pi: Profile) -> None:
    """A Raspberry Pi has no CUDA."""
    found = rejections(assess(manifest(), pi, configs=[SessionConfig(provider="cuda")]))

    assert found["fp32 on cuda"] == "Raspberry Pi Zero 2 W has no provider cuda, only cpu"


def test_provider_the_variant_was_not_made_for(manifest: Make, info: Info, orin: Profile) -> None:
    """What it was made for is named."""
    bundle = manifest(int8=info(precision="int8", providers=("cpu",)))

    found = rejections(assess(bundle, orin, configs=[SessionConfig(provider="cuda")]))

    assert found["int8 on cuda"] == "int8 was not made for cuda, only for cpu"


def test_onnxruntime_of_the_board_is_too_old(manifest: Make, info: Info, orin: Profile) -> None:
    """The newest that the board can have counts."""
    bundle = manifest(int4=info(min_onnxruntime="1.26.0"))

    found = rejections(assess(bundle, orin))

    assert found["int4 on cpu"] == "needs onnxruntime 1.26.0 or newer, Jetson Orin Nano 8 GB has 1.23.2 for cpu"


def test_versions_are_compared_as_numbers(manifest: Make, info: Info, pi: Profile) -> None:
    """1.9 is older than 1.20."""
    old = replace(pi.software, onnxruntime={"cpu": Label("1.9.0", "measured", "installed")})

    found = rejections(assess(manifest(fp32=info(min_onnxruntime="1.20.0")), replace(pi, software=old)))

    assert found["fp32 on cpu"] == "needs onnxruntime 1.20.0 or newer, Raspberry Pi Zero 2 W has 1.9.0 for cpu"


def test_processor_without_a_required_feature(manifest: Make, info: Info, pi: Profile) -> None:
    """Missing and present features are named; where all are hidden nothing is rejected."""
    bundle = manifest(int8=info(cpu_features=("asimddp",)))
    hidden = replace(pi, hardware=replace(pi.hardware, features=()))

    assert rejections(assess(bundle, pi)) == {
        "int8 on cpu": "needs a processor with asimddp, Raspberry Pi Zero 2 W has asimd"
    }
    assert rejections(assess(bundle, hidden)) == {"int8 on cpu": None}


def test_rejected_candidates_come_last_in_the_bundles_order(manifest: Make, pi: Profile) -> None:
    """The passing ones first."""
    plan = select(manifest(), pi, constraints=Constraints(max_storage=1_000_000))

    assert names(plan.assessments) == ["fp16", "int8", "fp32"]


def test_only_one_left(manifest: Make, pi: Profile) -> None:
    """The reason says so."""
    plan = select(manifest(), pi, constraints=Constraints(max_storage=800_000))

    assert plan.chosen.name == "int8 on cpu"
    assert plan.reason.startswith("the only one of 3 candidates that passes; predicted latency ")


def test_nothing_left_gives_every_reason(manifest: Make, info: Info, pi: Profile) -> None:
    """One sentence for each candidate."""
    bundle = manifest(fp32=info(), int8=info(precision="int8", drop=0.02))

    with pytest.raises(NoCandidateError) as caught:
        select(bundle, pi, constraints=Constraints(max_memory=10_000_000, max_drop=0.01))

    assert str(caught.value) == (
        "no variant of 'sentiment' fits Raspberry Pi Zero 2 W: "
        "fp32 on cpu needs up to 84 MB of memory (predicted), only 10 MB allowed; "
        "int8 on cpu changes 2 % of the decisions, only 1 % allowed"
    )


def test_configurations_multiply_variants(manifest: Make, orin: Profile) -> None:
    """Each variant in each configuration."""
    configs = [SessionConfig(threads=1), SessionConfig(provider="cuda")]

    assert len(assess(manifest(), orin, configs=configs)) == 6


def test_small_model_stays_off_the_gpu(manifest: Make, orin: Profile) -> None:
    """Starting kernels takes longer than the work."""
    plan = select(manifest(), orin, configs=[SessionConfig(), SessionConfig(provider="cuda")])

    assert plan.chosen.config.provider == "cpu"


def test_prediction_is_scaled_from_another_machine(manifest: Make, measured: Measured, pi: Profile) -> None:
    """What was measured there narrows the interval, and stays a prediction."""
    here = load_profile("raspberry-pi-5")
    summary = summarize(measured("fp32", 1e-3, 1e-3, hardware_id=here.hardware.id))
    assert summary is not None

    plain, scaled = (
        next(one for one in assess(manifest(), pi, elsewhere=source) if one.candidate.name == "fp32 on cpu")
        for source in (None, Elsewhere(here, (summary,)))
    )

    assert scaled.basis == "predicted"
    assert plain.latency is not None and scaled.latency is not None
    assert scaled.latency.high / scaled.latency.low < plain.latency.high / plain.latency.low
    assert scaled.latency.middle > 2e-3
    assert scaled.peak_memory is not None and scaled.peak_memory.middle == pytest.approx(60_000_000)


def test_scaled_predictions_say_from_where(manifest: Make, info: Info, measured: Measured, pi: Profile) -> None:
    """Only where the chosen candidate was measured there."""
    here = load_profile("raspberry-pi-5")
    bundle = manifest(fp32=info())
    digest = bundle.variant_digest(bundle.variant("fp32"))
    summary = summarize(measured("fp32", 1e-3, 1e-3, hardware_id=here.hardware.id, variant_digest=digest))
    assert summary is not None

    (scaled,) = select(bundle, pi, elsewhere=Elsewhere(here, (summary,))).notes
    (plain,) = select(bundle, pi, elsewhere=Elsewhere(here, (replace(summary, variant_digest="f" * 64),))).notes

    assert scaled.startswith("predictions are scaled from measurements on Raspberry Pi 5, 4 GB; nothing was measured")
    assert plain.startswith("nothing was measured on a Raspberry Pi Zero 2 W")


def test_invalid_measurements_elsewhere_widen_the_interval(manifest: Make, measured: Measured, pi: Profile) -> None:
    """By the spread of noise."""
    here = load_profile("raspberry-pi-5")
    summary = summarize(measured("fp32", 1e-3, 1e-3, hardware_id=here.hardware.id))
    assert summary is not None

    def latency(found: Summary) -> Interval:
        assessments = assess(manifest(), pi, elsewhere=Elsewhere(here, (found,)))
        interval = next(one for one in assessments if one.candidate.name == "fp32 on cpu").latency
        assert interval is not None
        return interval

    valid, noisy = latency(summary), latency(replace(summary, validity="invalid"))

    assert noisy.high == pytest.approx(NOISY_SPREAD * valid.high)
    assert noisy.low == pytest.approx(valid.low / NOISY_SPREAD)


def test_bundle_of_two_components(manifest: Make, info: Info, pi: Profile) -> None:
    """Every combination is a candidate; latency and weights add up, the process counts once."""
    one = manifest(fp32=info(), int8=info(weight_bytes=100_000))
    encoder = Variant(name="fp32", component="encoder", directory="encoder/fp32", model_file="model.onnx", info=info())
    both = replace(
        one,
        components=(Component("encoder", "encoder", (encoder,)), *one.components),
        files={**one.files, "encoder/fp32/model.onnx": FileEntry(802_000, "c" * 64)},
    )

    single, double = assess(one, pi), assess(both, pi)

    assert [one.candidate.variants for one in double] == [
        (("encoder", "fp32"), ("model", "fp32")),
        (("encoder", "fp32"), ("model", "int8")),
    ]
    assert double[0].latency is not None and single[0].latency is not None
    assert double[0].latency.middle > single[0].latency.middle
    assert double[1].storage == 500_000 + 802_000 + 102_000


def test_candidates_with_other_settings_are_other_candidates(
    manifest: Make, pi: Profile, measured: Measured, candidate: Callable[..., Candidate]
) -> None:
    """A measurement with one thread says nothing of four."""
    measurements = [measured("fp32", 1e-3, 1e-3, candidate=candidate("fp32", threads=1))]

    found = assess(manifest(), pi, None, measurements, configs=[SessionConfig(threads=4), SessionConfig(threads=1)])

    assert {one.candidate.config.threads for one in found if one.basis == "measured"} == {1}

"""Assess every way to run a bundle on some hardware, and choose one. Pure functions.

The order among candidates that pass:

1. What was measured on this hardware comes before what is only predicted, unless a predicted interval lies wholly below
   the fastest measurement.
2. Faster comes first. Two candidates whose intervals overlap cannot be told apart (for measured ones the range of the
   processes' medians counts).
3. Of measured candidates that cannot be told apart, the one that changes fewest decisions, then the smaller one. Of
   predicted ones, the one that stands first in the bundle, which is the reference: nothing is known that speaks for
   another.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from ortolan.choose.constraints import Constraints, cannot_run, violation
from ortolan.choose.cost import Prediction, guided, measured_elsewhere, predict, scaled
from ortolan.choose.measurements import candidate_digest
from ortolan.choose.summaries import Summary, summarize
from ortolan.choose.units import format_duration, format_range
from ortolan.errors import NoCandidateError
from ortolan.records import dataclass, replace
from ortolan.types import Assessment, Candidate, Interval, Plan, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ortolan.bundle.description import Manifest, Variant
    from ortolan.hardware.facts import HardwareState
    from ortolan.hardware.profiles import Profile
    from ortolan.types import Measurement

__all__ = ["Constraints", "Elsewhere", "assess", "plan", "select"]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What was measured on some machine, from which predictions for others are scaled."""

    profile: Profile
    measurements: tuple[Summary, ...]


def select(
    manifest: Manifest,
    profile: Profile,
    state: HardwareState | None = None,
    measurements: Iterable[Measurement | Summary] = (),
    constraints: Constraints | None = None,
    *,
    configs: Sequence[SessionConfig] = (SessionConfig(),),
    elsewhere: Elsewhere | None = None,
) -> Plan:
    """The candidate to run, with everything that was considered. Arguments as for `assess`.

    Raises:
        NoCandidateError: none passes; the message has the reason for each.
    """
    known = tuple(_summaries(measurements))
    assessments = assess(manifest, profile, state, known, constraints, configs=configs, elsewhere=elsewhere)
    return plan(manifest, profile, assessments, known, elsewhere=elsewhere)


def plan(
    manifest: Manifest,
    profile: Profile,
    assessments: tuple[Assessment, ...],
    measurements: Iterable[Measurement | Summary] = (),
    *,
    elsewhere: Elsewhere | None = None,
) -> Plan:
    """The plan that follows from what `assess` gave, from the same measurements.

    Raises:
        NoCandidateError: all are rejected; the message has the reason for each.
    """
    passing = [assessment for assessment in assessments if assessment.rejection is None]
    if not passing:
        reasons = "; ".join(f"{one.candidate.name} {one.rejection}" for one in assessments) or "there are no candidates"
        raise NoCandidateError(f"no variant of {manifest.package_name!r} fits {profile.title}: {reasons}")
    best = passing[0]
    here = Elsewhere(profile, tuple(_summaries(measurements)))
    sources = [source for source in (here, elsewhere) if source and _measured_on(manifest, best.candidate, source)]
    reason = _reason(passing, len(assessments))
    return Plan(best.candidate, assessments, reason, _notes(best, profile, sources[0] if sources else None))


def assess(
    manifest: Manifest,
    profile: Profile,
    state: HardwareState | None = None,
    measurements: Iterable[Measurement | Summary] = (),
    constraints: Constraints | None = None,
    *,
    configs: Sequence[SessionConfig] = (SessionConfig(),),
    elsewhere: Elsewhere | None = None,
) -> tuple[Assessment, ...]:
    """Every variant in every configuration: the passing ones best first, then the rejected ones in the bundle's order.

    Args:
        manifest: of the bundle.
        profile: the hardware.
        state: what it is doing; None takes the profile's figure for available memory.
        measurements: those of other hardware and other variants are ignored; one marked invalid only guides the
            prediction; a candidate whose golden answers were wrong is rejected.
        constraints: the limits.
        configs: the configurations to consider, the preferred one first.
        elsewhere: measurements of another machine, to predict from.
    """
    limits = constraints or Constraints()
    available = _available(profile, state)
    known = _newest(_summaries(measurements))
    assessments = []
    for variants, config in product(product(*(component.variants for component in manifest.components)), configs):
        candidate = Candidate(tuple(sorted((variant.component, variant.name) for variant in variants)), config)
        digest = candidate_digest(manifest, candidate)
        measured = known.get((digest, profile.hardware.id, candidate))
        unmeasured = _unmeasured(manifest, variants, candidate, limits)
        rejection = cannot_run(variants, config, profile)
        if rejection is None and measured is not None and measured.faithful is False:
            rejection = "its golden answers were wrong on this hardware"
        if rejection is not None:
            assessments.append(replace(unmeasured, rejection=rejection))
            continue
        usable = measured if measured is not None and measured.validity != "invalid" else None
        prediction = _predict(manifest, variants, profile, candidate, elsewhere)
        if measured is not None and usable is None:
            prediction = guided(prediction, measured.p50, measured.peak_memory)
        found = _filled(unmeasured, usable, prediction)
        worst = usable.p90 if usable else None
        assessments.append(replace(found, rejection=violation(found, worst, available, limits)))
    passing = [one for one in assessments if one.rejection is None]
    return (*_ranked(passing), *(one for one in assessments if one.rejection is not None))


def _summaries(measurements: Iterable[Measurement | Summary]) -> Iterable[Summary]:
    for measurement in measurements:
        summary = measurement if isinstance(measurement, Summary) else summarize(measurement)
        if summary is not None:
            yield summary


def _newest(summaries: Iterable[Summary]) -> dict[tuple[str, str, Candidate], Summary]:
    """By digest, hardware and candidate; a later measurement replaces an earlier one unless it is less valid."""
    found: dict[tuple[str, str, Candidate], Summary] = {}
    for summary in summaries:
        key = (summary.variant_digest, summary.hardware_id, summary.candidate)
        if key in found and summary.validity == "invalid" and summary.faithful is not False:
            continue
        found[key] = summary
    return found


def _available(profile: Profile, state: HardwareState | None) -> int | None:
    if state is not None:
        # Predictions are of a whole process: what this one has is its own to use.
        return None if state.available_bytes is None else state.available_bytes + (state.resident_bytes or 0)
    figure = profile.available_ram_bytes
    return None if figure is None else int(figure.value)


def _unmeasured(
    manifest: Manifest, variants: Sequence[Variant], candidate: Candidate, constraints: Constraints
) -> Assessment:
    storage = _storage(manifest, variants)
    rate = constraints.link_bits_per_s
    return Assessment(
        candidate=candidate,
        latency=None,
        peak_memory=None,
        storage=storage,
        transfer=None if rate is None else storage * 8 / rate,
        drop=max(variant.info.fidelity.drop for variant in variants),
        basis="predicted",
    )


def _storage(manifest: Manifest, variants: Sequence[Variant]) -> int:
    names = {variant.name for variant in variants}
    if len(names) == 1:
        return manifest.variant_storage(names.pop())
    chosen = {variant.directory for variant in variants}
    others = [
        f"{variant.directory}/"
        for component in manifest.components
        for variant in component.variants
        if variant.directory not in chosen
    ]
    return sum(entry.bytes for path, entry in manifest.files.items() if not path.startswith(tuple(others)))


def _predict(
    manifest: Manifest,
    variants: Sequence[Variant],
    profile: Profile,
    candidate: Candidate,
    elsewhere: Elsewhere | None,
) -> Prediction:
    prediction = predict(manifest, variants, profile, candidate.config)
    known = None if elsewhere is None else _measured_on(manifest, candidate, elsewhere)
    if elsewhere is None or known is None or prediction.latency is None:
        return prediction
    there = predict(manifest, variants, elsewhere.profile, candidate.config).latency
    if there is None:
        return prediction
    memory = prediction.peak_memory
    if known.peak_memory is not None:
        memory = prediction.with_peak(measured_elsewhere(known.peak_memory))
    latency = scaled(known.p50, there, prediction.latency, noisy=known.validity == "invalid")
    return replace(prediction, latency=latency, peak_memory=memory)


def _measured_on(manifest: Manifest, candidate: Candidate, machine: Elsewhere) -> Summary | None:
    if candidate.config.provider not in machine.profile.calibration.providers:
        return None
    key = (candidate_digest(manifest, candidate), machine.profile.hardware.id, candidate)
    return _newest(machine.measurements).get(key)


def _filled(assessment: Assessment, measured: Summary | None, prediction: Prediction) -> Assessment:
    if measured is None:
        return replace(assessment, latency=prediction.latency, peak_memory=prediction.peak_memory)
    peak = measured.peak_memory
    return replace(
        assessment,
        basis="measured",
        latency=measured.processes,
        peak_memory=prediction.peak_memory if peak is None else prediction.with_peak(Interval.exactly(peak)),
    )


def _ranked(passing: Sequence[Assessment]) -> list[Assessment]:
    left = list(passing)
    ranked = []
    while left:
        ranked.append(_best(left))
        left.remove(ranked[-1])
    return ranked


def _best(candidates: Sequence[Assessment]) -> Assessment:
    measured = [one for one in candidates if one.basis == "measured"]
    if not measured:
        return _contenders(candidates)[0]
    fastest = _contenders(measured)
    floor = min(_interval(one).low for one in fastest)
    surely_faster = [one for one in candidates if one.basis == "predicted" and _interval(one).high < floor]
    if surely_faster:
        return _contenders(surely_faster)[0]
    return min(fastest, key=lambda one: (one.drop, one.storage))


def _contenders(candidates: Sequence[Assessment]) -> list[Assessment]:
    """Those that cannot be told apart from the fastest, in the order given."""
    fastest = min(candidates, key=lambda one: _interval(one).middle)
    return [one for one in candidates if _interval(one).low <= _interval(fastest).high]


def _interval(assessment: Assessment) -> Interval:
    return assessment.latency or Interval.exactly(float("inf"))


def _reason(passing: Sequence[Assessment], considered: int) -> str:
    best = passing[0]
    if considered == 1:
        return f"the only candidate; {_speed(best)}"
    if len(passing) == 1:
        return f"the only one of {considered} candidates that passes; {_speed(best)}"
    rivals = [one for one in passing[1:] if one.basis == best.basis]
    if not rivals:
        return f"the only one measured on this hardware; {_speed(best)}"
    alike = [one for one in rivals if one in _contenders([best, *rivals])]
    if not alike:
        runner_up = rivals[0]
        return f"{best.basis} fastest: {_latency(best)}, then {runner_up.candidate.name} with {_latency(runner_up)}"
    names = ", ".join(one.candidate.name for one in alike[:3]) + (", …" if len(alike) > 3 else "")
    if best.basis == "measured":
        merit = "changes fewer decisions" if best.drop < alike[0].drop else "is smaller"
        if (best.drop, best.storage) == (alike[0].drop, alike[0].storage):
            merit = "comes first"
        return f"{_speed(best)}, which cannot be told apart from {names}; it {merit}"
    return f"comes first in the bundle; {_speed(best)}, which cannot be told apart from {names}"


def _speed(assessment: Assessment) -> str:
    return f"{assessment.basis} latency {_latency(assessment)}"


def _latency(assessment: Assessment) -> str:
    latency = assessment.latency
    if latency is None:
        return "unknown"
    return format_duration(latency.middle) if assessment.basis == "measured" else format_range(latency, "s")


def _notes(best: Assessment, profile: Profile, source: Elsewhere | None) -> tuple[str, ...]:
    if best.basis == "measured":
        return ()
    is_here = profile.name == "here"
    where = "here" if is_here else f"on a {profile.title}"
    if source is not None and source.profile is profile:
        return (f"what was measured {where} is invalid and only guides the predictions; repeat `ortolan bench`",)
    scaled_from = f"predictions are scaled from measurements on {source.profile.title}; " if source else ""
    bench = "`ortolan bench`" if is_here else "`ortolan bench` run there"
    return (f"{scaled_from}nothing was measured {where}; {bench} replaces the predictions",)

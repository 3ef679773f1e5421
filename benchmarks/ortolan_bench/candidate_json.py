"""One candidate's result as JSON: the entries of ``results`` in the schema of `ortolan_bench.result_json`."""

from __future__ import annotations

from dataclasses import asdict
from math import isclose
from statistics import median
from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record, array, choice, integer, number, optional, raw_object
from ortolan.choose.encoding import candidate_from_json, candidate_to_json
from ortolan.errors import ManifestError
from ortolan_bench.protocol import MemoryUse, OperatorTime, parse_fidelity
from ortolan_bench.result import CandidateResult
from ortolan_bench.scenarios import Scenario
from ortolan_bench.scenarios.scenario import NAMES, named
from ortolan_bench.sensors import usage_from_json, usage_to_json
from ortolan_bench.sensors.accelerator import AcceleratorMemory
from ortolan_bench.validity import Warning  # noqa: A004 - the field's name; nothing here uses the built-in

if TYPE_CHECKING:
    from ortolan.types import Validity
    from ortolan_bench.result import Latency

_MEMORY = tuple(MemoryUse.__dataclass_fields__)
_RAW = (
    *("import_s", "load_s", "first_run_s", "settled", "latency_s", "service_s", "model_latency_s", "cpu_s"),
    *("rate_per_s", "unanswered", "conditions"),
)
_KEYS = (
    *("variant", "provider", "threads", "variant_digest", "candidate", "scenario", "failure", "validity", "warnings"),
    *("latency_s", "model_latency_s", "throughput_per_s", "rate_per_s", "late_share", "unanswered", "import_s"),
    *("load_s", "first_run_s", "cpu_s_per_input", "energy_j_per_input", *(f"{name}_bytes" for name in _MEMORY)),
    *("accelerator", "disk_bytes", "operators", "fidelity", "conditions", "raw"),
)


def to_json(result: CandidateResult) -> dict[str, object]:
    """Plain data; figures first, then what they come from."""
    memory = {name: None if result.memory is None else getattr(result.memory, name) for name in _MEMORY}
    rate = result.rate
    return {
        "variant": result.variant,
        "provider": result.candidate.config.provider,
        "threads": result.candidate.config.threads,
        "variant_digest": result.variant_digest,
        "candidate": candidate_to_json(result.candidate),
        "scenario": scenario_to_json(result.scenario),
        "failure": result.failure,
        "validity": result.validity,
        "warnings": [asdict(warning) for warning in result.warnings],
        "latency_s": _latency_json(result.latency),
        "model_latency_s": _latency_json(result.alone),
        "throughput_per_s": result.throughput,
        "rate_per_s": None
        if rate is None
        else {"value": rate.value, "low": rate.low, "high": rate.high, "coverage": rate.coverage},
        "late_share": result.late,
        "unanswered": sum(result.unanswered),
        "import_s": _median(result.import_s),
        "load_s": _median(result.load_s),
        "first_run_s": _median(result.first_run_s),
        "cpu_s_per_input": result.cpu_per_input,
        "energy_j_per_input": result.energy_per_input,
        **{f"{name}_bytes": value for name, value in memory.items()},
        "accelerator": None
        if result.accelerator is None
        else {
            "source": result.accelerator.source,
            "process_bytes": result.accelerator.process,
            "used_bytes": result.accelerator.used,
        },
        "disk_bytes": result.disk_bytes,
        "operators": [asdict(operator) for operator in result.operators],
        "fidelity": None if result.fidelity is None else asdict(result.fidelity),
        "conditions": usage_to_json(result.usage),
        "raw": {
            "import_s": list(result.import_s),
            "load_s": list(result.load_s),
            "first_run_s": list(result.first_run_s),
            "settled": list(result.settled),
            "latency_s": [[list(block) for block in blocks] for blocks in result.blocks_s],
            "service_s": [[list(block) for block in blocks] for blocks in result.services_s],
            "model_latency_s": [list(samples) for samples in result.alone_s],
            "cpu_s": [list(blocks) for blocks in result.cpu_s],
            "rate_per_s": list(result.rates),
            "unanswered": list(result.unanswered),
            "conditions": [usage_to_json(usage) for usage in result.usages],
        },
    }


def from_json(value: object, at: str) -> CandidateResult:
    """The inverse of `to_json`; ManifestError names the place of anything else."""
    record = Record(value, at, _KEYS)
    raw = Record(record.get("raw", raw_object), f"{at}.raw", _RAW)
    seconds = array(number(0, 1e9), most=10**7)
    sizes = {name: record.get(f"{name}_bytes", optional(integer())) for name in _MEMORY}
    result = CandidateResult(
        candidate=record.get("candidate", candidate_from_json),
        variant_digest=record.get("variant_digest", text),
        scenario=record.get("scenario", scenario_from_json),
        failure=record.get("failure", optional(text)),
        import_s=raw.get("import_s", seconds),
        load_s=raw.get("load_s", seconds),
        first_run_s=raw.get("first_run_s", seconds),
        settled=raw.get("settled", array(flag)),
        blocks_s=raw.get("latency_s", array(array(seconds))),
        services_s=raw.get("service_s", array(array(seconds))),
        alone_s=raw.get("model_latency_s", array(seconds)),
        cpu_s=raw.get("cpu_s", array(seconds)),
        rates=raw.get("rate_per_s", seconds),
        unanswered=raw.get("unanswered", array(integer())),
        usages=raw.get("conditions", array(usage_from_json)),
        memory=None if not any(size is not None for size in sizes.values()) else MemoryUse(**sizes),
        accelerator=record.get("accelerator", optional(_accelerator)),
        disk_bytes=record.get("disk_bytes", optional(integer())),
        operators=record.get("operators", array(_operator)),
        fidelity=record.get("fidelity", optional(parse_fidelity)),
        validity=record.get("validity", _validity),
        warnings=record.get("warnings", array(_warning)),
    )
    _require_parallel(result, at)
    for key, expected in (("latency_s", result.latency), ("model_latency_s", result.alone)):
        _require_same_figures(record, key, _latency_json(expected), at)
    if record.get("unanswered", integer()) != sum(result.unanswered):
        raise ManifestError(f"{at}.unanswered", f"expected {sum(result.unanswered)} as in raw: changed by hand")
    if usage_to_json(record.get("conditions", usage_from_json)) != usage_to_json(result.usage):
        raise ManifestError(f"{at}.conditions", "expected the sum of those in raw: changed by hand")
    return result


def scenario_to_json(scenario: Scenario) -> dict[str, object]:
    """``{"name": "server", "at_once": 1, "rate_per_s": 50.0, "bound_s": null}``."""
    bound, rate = scenario.bound, scenario.rate
    return {"name": scenario.name, "at_once": scenario.at_once, "rate_per_s": rate, "bound_s": bound}


def scenario_from_json(value: object, at: str) -> Scenario:
    """The inverse; ManifestError names the place of anything else."""
    record = Record(value, at, ("name", "at_once", "rate_per_s", "bound_s"))
    return Scenario(
        name=named(record.get("name", choice(NAMES))),
        at_once=record.get("at_once", integer(1)),
        rate=record.get("rate_per_s", optional(number(0))),
        bound=record.get("bound_s", optional(number(0))),
    )


def text(value: object, at: str) -> str:
    """Any string."""
    if not isinstance(value, str):
        raise ManifestError(at, f"expected str, got {type(value).__name__}")
    return value


def flag(value: object, at: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ManifestError(at, f"expected bool, got {type(value).__name__}")
    return value


def _latency_json(latency: Latency | None) -> dict[str, float] | None:
    if latency is None:
        return None
    p50 = latency.p50
    figures = {"p50": p50.value, "p50_low": p50.low, "p50_high": p50.high, "p50_coverage": p50.coverage}
    for quantile in latency.percentiles:
        figures |= {quantile.name: quantile.value, f"{quantile.name}_upper": quantile.upper}
    ends = {"mean": latency.mean, "min": latency.smallest, "max": latency.largest, "samples": latency.count}
    return {**figures, **ends}


def _require_parallel(result: CandidateResult, at: str) -> None:
    """The lists with an entry per process or block must have as many as the latencies."""
    if not len(result.usages) == len(result.unanswered) == len(result.blocks_s):
        found = f"{len(result.usages)} and {len(result.unanswered)}"
        raise ManifestError(
            f"{at}.raw.conditions",
            f"expected entries for {len(result.blocks_s)} processes, found {found}: changed by hand",
        )
    shape = [len(blocks) for blocks in result.blocks_s]
    cpu = [len(blocks) for blocks in result.cpu_s]
    if cpu != shape:
        raise ManifestError(f"{at}.raw.cpu_s", f"expected entries for blocks {shape}, found {cpu}: changed by hand")
    services = [[len(block) for block in blocks] for blocks in result.services_s]
    samples = [[len(block) for block in blocks] for blocks in result.blocks_s]
    if services and services != samples:
        raise ManifestError(f"{at}.raw.service_s", "expected one entry per latency: changed by hand")


def _require_same_figures(record: Record, key: str, expected: dict[str, float] | None, at: str) -> None:
    """Compare the stored figures of the steady state with those of the samples."""
    stored = record.get(key, optional(raw_object))
    if stored is None or expected is None:
        if stored is not expected:
            raise ManifestError(f"{at}.{key}", "expected null if there are no samples, and only then")
        return
    for name in ("samples", "p50", "mean"):
        found = number(0)(stored.get(name), f"{at}.{key}.{name}")
        if not isclose(found, expected[name], rel_tol=1e-9):
            raise ManifestError(
                f"{at}.{key}.{name}",
                f"expected {expected[name]!r} as in the raw samples, got {found!r}: changed by hand",
            )


def _accelerator(value: object, at: str) -> AcceleratorMemory:
    record = Record(value, at, ("source", "process_bytes", "used_bytes"))
    return AcceleratorMemory(
        record.get("source", text),
        record.get("process_bytes", optional(integer())),
        record.get("used_bytes", integer()),
    )


def _operator(value: object, at: str) -> OperatorTime:
    record = Record(value, at, ("op", "provider", "nodes", "seconds"))
    return OperatorTime(
        record.get("op", text),
        record.get("provider", text),
        record.get("nodes", integer()),
        record.get("seconds", number(0)),
    )


def _warning(value: object, at: str) -> Warning:
    record = Record(value, at, ("code", "verdict", "text"))
    return Warning(record.get("code", text), record.get("verdict", _validity), record.get("text", text))


def _validity(value: object, at: str) -> Validity:
    known: dict[str, Validity] = {"valid": "valid", "invalid": "invalid", "unknown": "unknown"}
    return known[choice(list(known))(value, at)]


def _median(values: tuple[float, ...]) -> float | None:
    return median(values) if values else None

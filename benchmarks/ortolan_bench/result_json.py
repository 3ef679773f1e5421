"""Result files: the JSON schema ``ortolan.bench/1``, written atomically and read strictly.

Times are seconds, memory is bytes::

    {"schema": "ortolan.bench/1",
     "source": "sentiment.bundle",            path as it was given
     "digest": "…",                           of the bundle or model file
     "workload": {"name": "golden", "kind": "text", "inputs": 32},
     "settings": {"seconds": 5.0, "processes": 5, "seed": 0},
     "complete": true,                        false if it was interrupted
     "hardware_id": "…", "runtime": "onnxruntime 1.32.0",
     "environment": {…},                      see environment.record
     "results": [
       {"variant": "int8", "provider": "cpu", "threads": null,    null: what the process may use
        "variant_digest": "…",
        "candidate": {"variants": {"model": "int8"}, "config": {…}},
        "failure": null,                      or why there are no figures
        "validity": "valid",                  valid, invalid or unknown
        "warnings": [{"code": "load", "verdict": "invalid", "text": "…"}],
        "latency_s": {"p50": …, "p50_low": …, "p50_high": …, "p50_coverage": 0.9375, "p90": …, "p90_upper": …,
                      "mean": …, "min": …, "max": …, "samples": 50000},     null if there are no samples;
                                              percentiles only with enough of them
        "throughput_per_s": …,                1 / mean latency, one input at a time
        "import_s": …, "load_s": …, "first_run_s": …,             medians over the processes
        "peak_rss_bytes": …, "rss_bytes": …, "pss_bytes": …, "private_bytes": …,
        "fidelity": {"metric": "label", "n": 32, "drop": 0.0, "interval": {"low": 0.0, "high": 0.1}, "worst": 1e-7,
                     "inputs": "samples"},
        "raw": {"import_s": [one per process], "load_s": […], "first_run_s": […],
                "latency_s": [per process [per block [samples in order]]]}}]}

Reading takes what is measured from ``raw`` and computes the figures anew; a file whose stored figures do not follow
from its samples was changed by hand and is refused.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from math import isclose
from statistics import median
from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record, array, choice, integer, number, optional, raw_object
from ortolan.choose.encoding import candidate_from_json, candidate_to_json
from ortolan.errors import ManifestError, MeasurementError, StorageError
from ortolan_bench.protocol import MemoryUse, parse_fidelity
from ortolan_bench.result import BenchResult, CandidateResult
from ortolan_bench.validity import Warning  # noqa: A004 - the field's name; nothing here uses the built-in

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan.types import Validity

SCHEMA = "ortolan.bench/1"
"""Name and version of the schema."""

MAX_FILE_BYTES = 1 << 30
"""Largest result file that is read."""

_TOP = ["schema", "source", "digest", "workload", "settings", "complete", "hardware_id", "runtime", "environment"]
_TOP += ["results"]
_RESULT = ["variant", "provider", "threads", "variant_digest", "candidate", "failure", "validity", "warnings"]
_RESULT += ["latency_s", "throughput_per_s", "import_s", "load_s", "first_run_s"]
_RESULT += ["peak_rss_bytes", "rss_bytes", "pss_bytes", "private_bytes", "fidelity", "raw"]


class ResultFileError(MeasurementError, ValueError):
    """A result file that is damaged, changed by hand, or of another schema version."""


def to_json(result: BenchResult) -> dict[str, object]:
    """Plain data of the schema above."""
    return {
        "schema": SCHEMA,
        "source": result.source,
        "digest": result.digest,
        "workload": {"name": result.workload, "kind": result.workload_kind, "inputs": result.workload_count},
        "settings": {"seconds": result.seconds, "processes": result.processes, "seed": result.seed},
        "complete": result.complete,
        "hardware_id": result.hardware_id,
        "runtime": result.runtime_id,
        "environment": dict(result.environment),
        "results": [_candidate_json(candidate) for candidate in result.results],
    }


def dumps(result: BenchResult) -> str:
    """The schema as text: indented, but every list of numbers on one line."""
    return indented(to_json(result))


def indented(data: object) -> str:
    """JSON that people can read too: indented, but every list of numbers on one line."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\s+([-+0-9.eE,\s]+?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def write(result: BenchResult, path: Path) -> None:
    """Write a result file; see `write_text`."""
    write_text(dumps(result), path)


def write_text(text: str, path: Path) -> None:
    """Write a file beside its place and rename it there.

    Raises:
        StorageError: it cannot be written; an older file there is untouched.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        try:
            with partial.open("x", encoding="utf-8", errors="surrogatepass") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from error


def check_target(path: Path) -> None:
    """Find out before measuring whether a result file can be written there; StorageError if not."""
    if path.is_dir():
        raise StorageError(f"cannot write {path}: it is a directory")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        reason = "no write permission" if path.parent.is_dir() else "no such directory"
        raise StorageError(f"cannot write {path}: {path.parent}: {reason}")


def read(path: Path) -> BenchResult:
    """Read a result file.

    Raises:
        ResultFileError: it is truncated, of another schema version, or not what `write` writes.
        StorageError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ResultFileError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB, so no result of a benchmark")
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, ResultFileError):
            raise
        raise ResultFileError(f"{path}: not a result file, or a truncated one: {error}") from error
    return from_json(data, str(path))


def from_json(data: object, at: str = "result") -> BenchResult:
    """The inverse of `to_json`; ``at`` names the data in errors.

    Raises:
        ResultFileError: anything else.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise ResultFileError(f"{at}: expected schema {SCHEMA!r}, found {schema!r}; measure again with this version")
    try:
        return _result(Record(data, "", _TOP))
    except ManifestError as error:
        raise ResultFileError(f"{at}: {error}") from error


def _candidate_json(result: CandidateResult) -> dict[str, object]:
    latency = _latency_json(result)
    memory = result.memory or MemoryUse(None, None, None, None)
    return {
        "variant": result.variant,
        "provider": result.candidate.config.provider,
        "threads": result.candidate.config.threads,
        "variant_digest": result.variant_digest,
        "candidate": candidate_to_json(result.candidate),
        "failure": result.failure,
        "validity": result.validity,
        "warnings": [asdict(warning) for warning in result.warnings],
        "latency_s": latency,
        "throughput_per_s": None if latency is None or not latency["mean"] else 1 / latency["mean"],
        "import_s": _median(result.import_s),
        "load_s": _median(result.load_s),
        "first_run_s": _median(result.first_run_s),
        **{f"{key}_bytes": value for key, value in asdict(memory).items()},
        "fidelity": None if result.fidelity is None else asdict(result.fidelity),
        "raw": {
            "import_s": list(result.import_s),
            "load_s": list(result.load_s),
            "first_run_s": list(result.first_run_s),
            "latency_s": [[list(block) for block in blocks] for blocks in result.blocks_s],
        },
    }


def _latency_json(result: CandidateResult) -> dict[str, float] | None:
    latency = result.latency
    if latency is None:
        return None
    p50 = latency.p50
    figures = {"p50": p50.value, "p50_low": p50.low, "p50_high": p50.high, "p50_coverage": p50.coverage}
    for quantile in latency.percentiles:
        figures[quantile.name] = quantile.value
        figures[f"{quantile.name}_upper"] = quantile.upper
    spread = {"mean": latency.mean, "min": latency.smallest, "max": latency.largest, "samples": latency.count}
    return {**figures, **spread}


def _result(top: Record) -> BenchResult:
    workload = Record(top.get("workload", raw_object), "workload", ["name", "kind", "inputs"])
    settings = Record(top.get("settings", raw_object), "settings", ["seconds", "processes", "seed"])
    return BenchResult(
        source=top.get("source", _text),
        digest=top.get("digest", _text),
        workload=workload.get("name", _text),
        workload_kind=workload.get("kind", choice(["text", "tensors", "generated"])),
        workload_count=workload.get("inputs", integer()),
        seconds=settings.get("seconds", number(0)),
        processes=settings.get("processes", integer(1)),
        seed=settings.get("seed", integer()),
        complete=top.get("complete", _flag),
        hardware_id=top.get("hardware_id", _text),
        runtime_id=top.get("runtime", _text),
        environment=top.get("environment", raw_object),
        results=top.get("results", array(_candidate_result)),
    )


def _candidate_result(value: object, at: str) -> CandidateResult:
    record = Record(value, at, _RESULT)
    raw = Record(record.get("raw", raw_object), f"{at}.raw", ["import_s", "load_s", "first_run_s", "latency_s"])
    seconds = array(number(0, 1e9), most=10**7)

    def size(key: str) -> int | None:
        return record.get(f"{key}_bytes", optional(integer()))

    memory = MemoryUse(size("peak_rss"), size("rss"), size("pss"), size("private"))
    result = CandidateResult(
        candidate=record.get("candidate", candidate_from_json),
        variant_digest=record.get("variant_digest", _text),
        failure=record.get("failure", optional(_text)),
        import_s=raw.get("import_s", seconds),
        load_s=raw.get("load_s", seconds),
        first_run_s=raw.get("first_run_s", seconds),
        blocks_s=raw.get("latency_s", array(array(seconds))),
        memory=None if memory == MemoryUse(None, None, None, None) else memory,
        fidelity=record.get("fidelity", optional(parse_fidelity)),
        validity=record.get("validity", _validity),
        warnings=record.get("warnings", array(_warning)),
    )
    _require_same_figures(record, result, at)
    return result


def _require_same_figures(record: Record, result: CandidateResult, at: str) -> None:
    """Compare the stored figures of the steady state with those of the samples."""
    stored = record.get("latency_s", optional(raw_object))
    expected = _latency_json(result)
    if stored is None or expected is None:
        if stored is not expected:
            raise ManifestError(f"{at}.latency_s", "expected null if there are no samples, and only then")
        return
    for key in ("samples", "p50", "mean"):
        found = number(0)(stored.get(key), f"{at}.latency_s.{key}")
        if not isclose(found, expected[key], rel_tol=1e-9):
            raise ManifestError(
                f"{at}.latency_s.{key}",
                f"expected {expected[key]!r} as in the raw samples, got {found!r}: changed by hand",
            )


def _warning(value: object, at: str) -> Warning:
    record = Record(value, at, ["code", "verdict", "text"])
    return Warning(record.get("code", _text), record.get("verdict", _validity), record.get("text", _text))


def _validity(value: object, at: str) -> Validity:
    known: dict[str, Validity] = {"valid": "valid", "invalid": "invalid", "unknown": "unknown"}
    return known[choice(list(known))(value, at)]


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise ManifestError(at, f"expected str, got {type(value).__name__}")
    return value


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise ManifestError(at, f"expected bool, got {type(value).__name__}")
    return value


def _median(values: tuple[float, ...]) -> float | None:
    return median(values) if values else None

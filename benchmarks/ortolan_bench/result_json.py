"""Result files: the JSON schema ``ortolan.bench/2``, written atomically and read strictly.

Times are seconds, memory is bytes::

    {"schema": "ortolan.bench/2",
     "source": "sentiment.bundle",            path as it was given
     "digest": "…",                           of the bundle or model file
     "workload": {"name": "golden", "kind": "text", "inputs": 32},     or files, rows, tensors, generated
     "settings": {"seconds": 5.0, "processes": 5, "seed": 0, "mode": "burst"},
     "complete": true,                        false if it was interrupted
     "hardware_id": "…", "runtime": "onnxruntime 1.32.0",
     "environment": {…},                      see environment.record
     "results": [                             one per candidate and scenario
       {"variant": "int8", "provider": "cpu", "threads": null,    null: what the process may use
        "variant_digest": "…",
        "candidate": {"variants": {"model": "int8"}, "config": {…}},
        "scenario": {"name": "single-stream",               multi-stream, offline, server
                     "at_once": 1,                          inputs per query: of multi-stream, and offline's batch
                     "rate_per_s": null,                    arrivals, of server
                     "bound_s": null},                      for 99 % of the answers, of server's search
        "failure": null,                      or why there are no figures
        "validity": "valid",                  valid, invalid or unknown
        "warnings": [{"code": "load", "verdict": "invalid", "text": "…"}],
        "latency_s": {"p50": …, "p50_low": …, "p50_high": …, "p50_coverage": 0.9375, "p90": …, "p90_upper": …,
                      "mean": …, "min": …, "max": …, "samples": 50000},     per query; null if there are no samples;
                                              percentiles only with enough of them
        "model_latency_s": {…},               the same without pre- and post-processing; null for tensors
        "throughput_per_s": …,                inputs per second, one query after the other; null for server
        "rate_per_s": {"value": …, "low": …, "high": …, "coverage": 0.9375},    found by server's search, else null
        "late_share": …, "unanswered": 0,     of the live runs of a search beyond the bound; queries never answered
        "import_s": …, "load_s": …, "first_run_s": …,             medians over the processes
        "cpu_s_per_input": …, "energy_j_per_input": …,            of the whole process; of all that the meter sees
        "peak_rss_bytes": …, "rss_bytes": …, "pss_bytes": …, "private_bytes": …, "disk_bytes": …,
        "accelerator": {"source": "NVML", "process_bytes": …, "used_bytes": …},    null without one that can be asked
        "operators": [{"op": "MatMul", "provider": "CPUExecutionProvider", "nodes": 12, "seconds": …}],   with --trace
        "fidelity": {"metric": "label", "n": 32, "drop": 0.0, "interval": {"low": 0.0, "high": 0.1}, "worst": 1e-7,
                     "inputs": "samples", "slack": 1e-4},
        "conditions": {…},                    what the machine did meanwhile, see ortolan_bench.sensors.Usage
        "raw": {"import_s": [one per process], "load_s": […], "first_run_s": […], "settled": […],
                "latency_s": [per process [per block [samples in order]]],
                "service_s": [the same, of server without the waiting], "model_latency_s": [per process [samples]],
                "cpu_s": [per process [per block]], "rate_per_s": [one per process], "unanswered": […],
                "conditions": [one per process]},
        "run": "…"}]}                         digest of the environment it was measured in

Reading takes what is measured from ``raw`` and computes the figures anew; a file whose stored figures do not follow
from its samples, or whose candidates were measured in different runs, was changed by hand and is refused.
"""

from __future__ import annotations

import json
import os
import re
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from ortolan.bundle.fields import Record, array, choice, integer, number, raw_object
from ortolan.errors import ManifestError, MeasurementError, StorageError
from ortolan_bench import candidate_json
from ortolan_bench.candidate_json import flag, text
from ortolan_bench.result import BenchResult
from ortolan_bench.workload import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan_bench.result import CandidateResult
    from ortolan_bench.validity import Mode

SCHEMA = "ortolan.bench/2"
"""Name and version of the schema."""

_LINE = 120

MAX_FILE_BYTES = 1 << 30
"""Largest result file that is read."""

_TOP = ["schema", "source", "digest", "workload", "settings", "complete", "hardware_id", "runtime", "environment"]
_TOP += ["results"]


class ResultFileError(MeasurementError, ValueError):
    """A result file that is damaged, changed by hand, or of another schema version."""


def to_json(result: BenchResult) -> dict[str, object]:
    """Plain data of the schema above."""
    return {
        "schema": SCHEMA,
        "source": result.source,
        "digest": result.digest,
        "workload": {"name": result.workload, "kind": result.workload_kind, "inputs": result.workload_count},
        "settings": {
            "seconds": result.seconds,
            "processes": result.processes,
            "seed": result.seed,
            "mode": result.mode,
        },
        "complete": result.complete,
        "hardware_id": result.hardware_id,
        "runtime": result.runtime_id,
        "environment": dict(result.environment),
        "results": [{**candidate_json.to_json(row), "run": _run(result.environment)} for row in result.results],
    }


def dumps(result: BenchResult) -> str:
    """The schema as text; see `indented`."""
    return indented(to_json(result))


def indented(data: object) -> str:
    """JSON that people can read too: indented, but every list of numbers and every short plain object on one line."""
    lines: list[str] = []

    def folded(value: object) -> object:
        if not isinstance(value, (dict, list)):
            return value
        inner = list(value.values()) if isinstance(value, dict) else value
        numbers = isinstance(value, list) and all(isinstance(one, (int, float)) for one in inner)
        if inner and not any(isinstance(one, (dict, list)) for one in inner):
            line = json.dumps(value, ensure_ascii=False, allow_nan=False)
            if numbers or len(line) <= _LINE:
                lines.append(line)
                return f"\0{len(lines) - 1}\0"
        if isinstance(value, dict):
            return {key: folded(one) for key, one in value.items()}
        return [folded(one) for one in value]

    # Numbers by the thousand are written by the fast encoder, which cannot indent.
    document = json.dumps(folded(data), indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r'"\\u0000(\d+)\\u0000"', lambda found: lines[int(found[1])], document) + "\n"


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
        raise ResultFileError(f"{at}: expected schema {SCHEMA!r}, found {schema!r}; {_advice(schema)}")
    try:
        return _result(Record(data, "", _TOP))
    except ManifestError as error:
        raise ResultFileError(f"{at}: {error}") from error


def _run(environment: Mapping[str, object]) -> str:
    """What names the run that candidates were measured in: a digest of its environment, which has the time it began."""
    begun = {key: value for key, value in environment.items() if key != "resumed"}
    return sha256(json.dumps(begun, sort_keys=True).encode()).hexdigest()[:16]


def _advice(schema: object) -> str:
    """What to do with a file of another schema."""
    version = str(schema).removeprefix("ortolan.bench/")
    if version.isdigit() and int(version) > int(SCHEMA.rpartition("/")[2]):
        return "it was written by a newer Ortolan: update this one"
    if version.isdigit():
        return "it was written by an older Ortolan: measure again with this one"
    return "it is no result of `ortolan bench`"


def _result(top: Record) -> BenchResult:
    workload = Record(top.get("workload", raw_object), "workload", ["name", "kind", "inputs"])
    settings = Record(top.get("settings", raw_object), "settings", ["seconds", "processes", "seed", "mode"])
    environment = top.get("environment", raw_object)
    run = _run(environment)

    def of_this_run(value: object, at: str) -> CandidateResult:
        if not isinstance(value, dict) or "run" not in value:
            raise ManifestError(f"{at}.run", "missing")
        if value["run"] != run:
            raise ManifestError(f"{at}.run", f"expected {run}, got {value['run']!r}: results were merged by hand")
        return candidate_json.from_json({key: one for key, one in value.items() if key != "run"}, at)

    return BenchResult(
        source=top.get("source", text),
        digest=top.get("digest", text),
        workload=workload.get("name", text),
        workload_kind=workload.get("kind", choice(KINDS)),
        workload_count=workload.get("inputs", integer()),
        seconds=settings.get("seconds", number(0)),
        processes=settings.get("processes", integer(1)),
        seed=settings.get("seed", integer()),
        mode=cast("Mode", settings.get("mode", choice(["burst", "sustained"]))),
        complete=top.get("complete", flag),
        hardware_id=top.get("hardware_id", text),
        runtime_id=top.get("runtime", text),
        environment=environment,
        results=top.get("results", array(of_this_run)),
    )

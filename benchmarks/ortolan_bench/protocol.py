"""What is said between the instrument and its worker processes: one JSON object per line, on stdin and stdout.

A worker first says hello. Then it answers each request with one reply, in order::

    <- {"id": 0, "ok": {"protocol": 2, "pid": 4711, "import_s": 0.14, "runtime_id": "onnxruntime 1.32.0", …}}
    -> {"id": 1, "do": "load", "path": "x.bundle", "variant": "int8", "provider": "cpu", "threads": 2, "workload": {…},
        "at_once": 1}
    <- {"id": 1, "ok": {"load_s": 0.012, "inputs": 16}}
    -> {"id": 2, "do": "block", "count": 1000, "offset": 0, "limit_s": 2.0}
    <- {"id": 2, "ok": {"samples_ns": [51234, …], "cpu_s": 0.052}}
    -> {"id": 3, "do": "block", "arrivals_ns": [1200000, …], "lead": 20, "offset": 0, "limit_s": 2.0}
    <- {"id": 3, "ok": {"samples_ns": [51234, …], "services_ns": [49000, …], "unanswered": 0, "cpu_s": 0.052}}
    <- {"id": 3, "error": {"type": "SessionError", "message": "…"}}

Requests: ``load``, ``exercise``, ``memory``, ``check``, ``profile``, ``first_run``, ``warm_up``, ``parts``, ``block``,
``quit``. After ``parts`` a block with ``"part": "alone"`` runs the model without pre- and post-processing. Text is
ASCII-escaped, so that lone surrogates survive.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from ortolan import errors
from ortolan.errors import ManifestError, MeasurementError
from ortolan.types import SLACK, Fidelity, Interval

if TYPE_CHECKING:
    from collections.abc import Mapping

PROTOCOL = 2
"""Version of the protocol; both sides must speak the same."""


class WorkerFailed(MeasurementError):
    """A worker crashed, hung, ran out of memory, spoke garbage or refused; the message says which."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first words.

    Args:
        pid: its process.
        import_s: seconds it took to import the runtime, numpy and onnxruntime.
        runtime_id: e.g. ``"onnxruntime 1.32.0"``.
        numpy_version: e.g. ``"2.1.0"``.
    """

    pid: int
    import_s: float
    runtime_id: str
    numpy_version: str


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of a worker in bytes; None where the system hides it.

    Args:
        peak_rss: largest resident set so far (VmHWM).
        rss: resident now.
        pss: proportional set size: shared pages are divided among those who share them.
        private: pages nobody else has.
    """

    peak_rss: int | None
    rss: int | None
    pss: int | None
    private: int | None


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """What the nodes of one operator on one execution provider took.

    Args:
        op: name of the operator, e.g. ``"MatMul"``.
        provider: onnxruntime's name, e.g. ``"CPUExecutionProvider"``.
        nodes: how many nodes of it ran.
        seconds: per run of the model, on average, without the nodes that run inside of it (If, Loop, Scan).
    """

    op: str
    provider: str
    nodes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Warmed:
    """Answer to ``warm_up``: whether it settled, and the seconds one run took at its end."""

    settled: bool
    mean_s: float


@dataclass(frozen=True, slots=True)
class Block:
    """Answer to ``block``.

    Args:
        samples_ns: nanoseconds of each run; of queries that arrived from their arrival to their answer.
        cpu_s: CPU seconds of the whole process meanwhile.
        services_ns: of queries that arrived, nanoseconds from the start of their run; otherwise empty.
        unanswered: of queries that arrived, how many were not answered in time.
    """

    samples_ns: tuple[int, ...]
    cpu_s: float
    services_ns: tuple[int, ...] = ()
    unanswered: int = 0


def encode(message: Mapping[str, object]) -> bytes:
    """One line, ASCII."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def decode(line: bytes) -> dict[str, object]:
    """The JSON object of one line.

    Raises:
        WorkerFailed: it is none.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise WorkerFailed(f"the worker spoke garbage: expected a line of JSON, got {_shown(line)}") from error
    if not isinstance(message, dict):
        raise WorkerFailed(f"the worker spoke garbage: expected a JSON object, got {_shown(line)}")
    return message


def answer(message: Mapping[str, object], request_id: int) -> dict[str, object]:
    """What a reply to request ``request_id`` holds.

    Raises:
        WorkerFailed: it answers another request, reports an error, or is not a reply.
    """
    if message.get("id") != request_id:
        raise WorkerFailed(f"the worker spoke garbage: expected reply {request_id}, got {message.get('id')!r}")
    error = message.get("error")
    if isinstance(error, dict):
        kind, text = str(error.get("type")), str(error.get("message"))
        # Ortolan's own messages are whole sentences; another library's mean little without the type.
        raise WorkerFailed(text if kind == "WorkerFailed" or hasattr(errors, kind) else f"{kind}: {text}")
    ok = message.get("ok")
    if not isinstance(ok, dict):
        raise WorkerFailed(f"the worker spoke garbage: reply {request_id} has neither 'ok' nor 'error'")
    return ok


def hello(ok: Mapping[str, object]) -> Hello:
    """Read a worker's first words; WorkerFailed if it speaks another protocol."""
    if ok.get("protocol") != PROTOCOL:
        raise WorkerFailed(f"the worker speaks protocol {ok.get('protocol')!r}, expected {PROTOCOL}")
    return Hello(
        integer(ok, "pid"), number(ok, "import_s"), str(ok.get("runtime_id")), str(ok.get("numpy_version", "unknown"))
    )


def block(ok: Mapping[str, object]) -> Block:
    """Read the answer to ``block``; WorkerFailed unless it holds at least one sample and none is negative."""
    if "services_ns" not in ok:
        return Block(_nanoseconds(ok, "samples_ns"), number(ok, "cpu_s"))
    services = _nanoseconds(ok, "services_ns")
    return Block(_nanoseconds(ok, "samples_ns"), number(ok, "cpu_s"), services, integer(ok, "unanswered"))


def operators(ok: Mapping[str, object]) -> tuple[OperatorTime, ...]:
    """Read the answer to ``profile``."""
    rows = ok.get("operators")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise WorkerFailed("the worker spoke garbage: operators is not a list of objects")
    return tuple(
        OperatorTime(str(row.get("op")), str(row.get("provider")), integer(row, "nodes"), number(row, "seconds"))
        for row in rows
    )


def warmed(ok: Mapping[str, object]) -> Warmed:
    """Read the answer to ``warm_up``."""
    return Warmed(ok.get("settled") is True, number(ok, "mean_s"))


def memory_use(ok: Mapping[str, object]) -> MemoryUse:
    """Read the answer to ``memory``."""
    keys = {name: f"{name}_bytes" for name in MemoryUse.__dataclass_fields__}
    return MemoryUse(**{name: None if ok.get(key) is None else integer(ok, key) for name, key in keys.items()})


def fidelity(ok: Mapping[str, object]) -> Fidelity:
    """Read the answer to ``check``."""
    value = ok.get("fidelity")
    try:
        return parse_fidelity(value, "fidelity")
    except ManifestError as error:
        raise WorkerFailed(f"the worker spoke garbage: {error}") from error


def parse_fidelity(value: object, at: str) -> Fidelity:
    """A Fidelity from the plain data that ``dataclasses.asdict`` makes of one; ManifestError names the place."""
    from ortolan.bundle.fields import Record as Object
    from ortolan.bundle.fields import integer as whole
    from ortolan.bundle.fields import number as real

    def word(value: object, _at: str) -> str:
        return str(value)

    def interval(value: object, at: str) -> Interval:
        ends = Object(value, at, ["low", "high"])
        return Interval(ends.get("low", real(0, 1)), ends.get("high", real(0, 1)))

    record = Object(value, at, list(Fidelity.__dataclass_fields__))
    return Fidelity(
        metric=record.get("metric", word),
        n=record.get("n", whole()),
        drop=record.get("drop", real(0, 1)),
        interval=record.get("interval", interval),
        worst=record.get("worst", real(0)),
        inputs=record.get("inputs", word),
        slack=record.get("slack", real(0), SLACK),
    )


def number(ok: Mapping[str, object], key: str) -> float:
    """A non-negative, finite number of a reply."""
    value = ok.get(key)
    if type(value) not in (int, float) or not 0 <= cast("float", value) < float("inf"):
        raise WorkerFailed(f"the worker spoke garbage: {key} is {value!r}, expected a number >= 0")
    return float(cast("float", value))


def integer(ok: Mapping[str, object], key: str) -> int:
    """A non-negative integer of a reply."""
    value = ok.get(key)
    if type(value) is not int or value < 0:
        raise WorkerFailed(f"the worker spoke garbage: {key} is {value!r}, expected an integer >= 0")
    return value


def _nanoseconds(ok: Mapping[str, object], key: str) -> tuple[int, ...]:
    samples = ok.get(key)
    if not isinstance(samples, list) or not samples or not all(type(s) is int and s >= 0 for s in samples):
        raise WorkerFailed(f"the worker spoke garbage: {key} is not a list of nanoseconds")
    return tuple(samples)


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "replace")) + ("…" if len(line) > 60 else "")

"""Going on with a benchmark that was interrupted: only if it is the same one, on the same machine and runtime."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from ortolan.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan.hardware.facts import Hardware
    from ortolan_bench.findings import Target
    from ortolan_bench.measure import Settings, Worker
    from ortolan_bench.result import BenchResult
    from ortolan_bench.subject import Subject
    from ortolan_bench.workload import Workload


def require_same(
    known: BenchResult,
    *,
    subject: Subject,
    targets: Sequence[Target],
    workload: Workload,
    settings: Settings,
    hardware: Hardware,
) -> None:
    """Check that an interrupted result belongs to this request.

    Raises:
        UsageError: it does not; says what differs.
    """
    pairs: tuple[tuple[str, object, object], ...] = (
        ("bundle or model", known.digest[:12], subject.digest[:12]),
        ("machine", known.hardware_id, hardware.id),
        ("inputs", (known.workload, known.workload_count), (workload.name, workload.count)),
        ("seconds", known.seconds, settings.seconds),
        ("processes", known.processes, settings.processes),
        ("seed", known.seed, settings.seed),
        ("mode", known.mode, settings.mode),
        ("candidates", [row.name for row in known.results], [target.name for target in targets]),
    )
    for what, before, now in pairs:
        if before != now:
            raise UsageError(
                f"cannot resume: the interrupted benchmark had other {what} ({before} before, {now} now); "
                "give the same arguments, or another output file"
            )


def checked(spawn: Callable[[], Worker], known: BenchResult | None) -> Callable[[], Worker]:
    """``spawn``, refusing workers with another onnxruntime than the interrupted benchmark had.

    The function it makes raises UsageError for such a worker.
    """
    if known is None or known.runtime_id == "unknown":
        return spawn

    def same() -> Worker:
        worker = spawn()
        if worker.hello.runtime_id != known.runtime_id:
            worker.kill()
            raise UsageError(
                f"cannot resume: the interrupted benchmark ran on {known.runtime_id}, this is {worker.hello.runtime_id}"
            )
        return worker

    return same


def continued(known: BenchResult, found: BenchResult) -> BenchResult:
    """The result of both: environment of the beginning, and when it was gone on with, in what state."""
    pieces = known.environment.get("resumed", [])
    more = {key: found.environment[key] for key in ("started", "state")}
    environment = {**known.environment, "resumed": [*cast("list[object]", pieces), more]}
    runtime_id = known.runtime_id if known.runtime_id != "unknown" else found.runtime_id
    return replace(found, environment=environment, runtime_id=runtime_id)

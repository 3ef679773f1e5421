"""A benchmark from beginning to end: open, measure, judge, remember."""

from __future__ import annotations

import math
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ortolan.errors import StorageError, UsageError
from ortolan_bench.environment import record
from ortolan_bench.measure import Instrument, Settings
from ortolan_bench.process import WorkerProcess
from ortolan_bench.result import BenchResult
from ortolan_bench.resume import checked, continued, require_same
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ortolan.hardware.facts import Hardware, HardwareState
    from ortolan_bench.measure import Worker
    from ortolan_bench.progress import Progress
    from ortolan_bench.sensors import Reading
    from ortolan_bench.subject import Subject
    from ortolan_bench.validity import Mode
    from ortolan_bench.workload import Workload

MAX_SECONDS = 86_400.0
"""Longest steady state per candidate: a day."""

MAX_PROCESSES = 1000
"""Most worker processes per candidate."""


class BenchInterrupted(KeyboardInterrupt):
    """Ctrl-C while measuring; ``result`` holds what was measured until then."""

    def __init__(self, result: BenchResult) -> None:
        super().__init__("the benchmark was interrupted")
        self.result = result


def run_bench(
    path: str | Path,
    *,
    variants: Sequence[str] | None = None,
    providers: Sequence[str] = ("cpu",),
    threads: Sequence[int | None] = (None,),
    scenarios: Sequence[Scenario] = (Scenario(),),
    inputs: str | Path | None = None,
    seconds: float = 5.0,
    processes: int = 5,
    seed: int = 0,
    mode: Mode = "burst",
    traces: Path | None = None,
    timeout: float = 300.0,
    store: bool = True,
    known: BenchResult | None = None,
    progress: Callable[[Progress], None] | None = None,
    arrived: Callable[[BenchResult], None] | None = None,
    spawn: Callable[[], Worker] | None = None,
    read_sensors: Callable[[int], Reading] | None = None,
) -> BenchResult:
    """Measure every combination of variant, provider, threads and scenario of a bundle or a bare ``.onnx`` file.

    Each takes about ``seconds`` plus ``processes + 1`` starts of Python with onnxruntime.

    Args:
        path: the bundle's directory, or the model.
        variants: names; None for all.
        providers: short names of execution providers, or ``("all",)``.
        threads: numbers of intra-op threads; None for what the process may use.
        scenarios: how inputs arrive; see `ortolan_bench.scenarios`.
        inputs: data file or directory as the task takes it (see `ortolan_bench.workload.read_data`); ``"generated"``
            for tensors made from the model's declared inputs; None for a bundle's golden samples, or generated ones.
        seconds: of steady state per candidate and scenario, over all processes.
        processes: worker processes per candidate and scenario; fewer than 5 leave the validity unknown.
        seed: of the order of measurement and of arrivals.
        mode: ``"burst"``: throttling invalidates; ``"sustained"``: heat up first, and measure what can be held.
        traces: directory for onnxruntime's profile of each candidate, which also gives the time per operator.
        timeout: seconds a worker may take for one request before it counts as hung.
        store: whether the state directory remembers the measurements, for ``load`` and ``select``.
        known: an interrupted benchmark of the same request: only the rest is measured.
        progress: called before each step.
        arrived: called with everything so far when a process of a candidate has measured all it should.
        spawn: starts a worker; None for a process of its own.
        read_sensors: reads the machine's sensors, and the counters of a process; None for those of this machine.

    Returns:
        One result per candidate. A candidate that crashes, hangs, runs out of memory or disagrees with the golden
        answers is among them, with the reason.

    Raises:
        UsageError: arguments that make no sense, unknown names.
        BundleError, ModelFileError, InputError, StorageError: bundle, model or inputs cannot be used.
        BenchInterrupted: Ctrl-C; holds what was measured.
    """
    from ortolan.hardware.probe import probe, probe_state
    from ortolan_bench.subject import Subject

    check_settings(seconds, processes, seed, timeout)
    subject = Subject(path)
    targets = subject.targets(variants, providers, threads, scenarios)
    workload = subject.workload(inputs)
    if traces is not None:
        _make_directory(traces)
    hardware, state = probe(), probe_state()
    started = datetime.now(timezone.utc)
    # Half of what is available: the rest of the machine goes on living.
    room = None if state.available_bytes is None else state.available_bytes // 2
    settings = Settings(
        seconds=seconds, processes=processes, seed=seed, mode=mode, traces=traces, timeout=timeout, room=room
    )
    if known is not None:
        require_same(known, subject=subject, targets=targets, workload=workload, settings=settings, hardware=hardware)
    machine = Machine()
    instrument = Instrument(
        targets,
        workload,
        settings,
        spawn=checked(spawn or (lambda: WorkerProcess(timeout=timeout)), known),
        read_sensors=read_sensors or machine.read,
        progress=progress,
        arrived=None if arrived is None else lambda: arrived(result()),
        known=() if known is None else known.results,
    )

    def result() -> BenchResult:
        found = _result(instrument, subject, workload, settings, hardware, state, started)
        return found if known is None else continued(known, found)

    try:
        with machine:
            instrument.run()
        done = result()
        if store:
            _remember(done)
    except KeyboardInterrupt as error:
        raise BenchInterrupted(result()) from error
    return done


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot write traces to {path}: {error.strerror or error}") from error


def _result(
    instrument: Instrument,
    subject: Subject,
    workload: Workload,
    settings: Settings,
    hardware: Hardware,
    state: HardwareState,
    started: datetime,
) -> BenchResult:
    hello = instrument.hello
    runtime_id = "unknown" if hello is None else hello.runtime_id
    results = instrument.results()
    return BenchResult(
        source=str(subject.path),
        digest=subject.digest,
        workload=workload.name,
        workload_kind=workload.kind,
        workload_count=workload.count,
        seconds=settings.seconds,
        processes=settings.processes,
        seed=settings.seed,
        mode=settings.mode,
        complete=instrument.complete,
        hardware_id=hardware.id,
        runtime_id=runtime_id,
        environment=record(
            hardware=hardware,
            state=state,
            runtime_id=runtime_id,
            numpy_version="unknown" if hello is None else hello.numpy_version,
            command=sys.argv,
            started=started,
            variants={row.variant: row.variant_digest for row in results},
        ),
        results=results,
    )


def _remember(result: BenchResult) -> None:
    """Keep the measurements in the state directory; an invalid one does not displace one that is better."""
    from ortolan.choose.measurements import load_summaries, store

    for measurement in result.measurements:
        if measurement.validity == "invalid" and any(
            known.candidate == measurement.candidate
            and known.workload == measurement.workload
            and known.validity != "invalid"
            for known in load_summaries([measurement.variant_digest], result.hardware_id, result.runtime_id)
        ):
            continue
        store(measurement)


def check_settings(seconds: float, processes: int, seed: int, timeout: float) -> None:
    """UsageError for settings that make no sense."""
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS):
        raise UsageError(f"expected more than 0 and at most {MAX_SECONDS:.0f} seconds per candidate, got {seconds:g}")
    if not 1 <= processes <= MAX_PROCESSES:
        raise UsageError(f"expected 1 to {MAX_PROCESSES} processes, got {processes}")
    if seed < 0:
        raise UsageError(f"expected a seed of at least 0, got {seed}")
    if not timeout > 0:
        raise UsageError(f"expected a timeout above 0 seconds, got {timeout:g}")

"""Carries out a schedule with worker processes and collects what they report."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from ortolan_bench import protocol, sensors
from ortolan_bench.progress import Estimate, Progress
from ortolan_bench.protocol import WorkerFailed
from ortolan_bench.result import CandidateResult
from ortolan_bench.schedule import Step, block_count, schedule
from ortolan_bench.statistics import level
from ortolan_bench.validity import Evidence, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan.types import Candidate, Fidelity
    from ortolan_bench.protocol import Hello, MemoryUse
    from ortolan_bench.workload import Workload

    class Worker(Protocol):
        """A worker process, or a fake one."""

        hello: Hello

        def ask(self, do: str, *, timeout: float, **arguments: object) -> dict[str, object]: ...
        def close(self) -> None: ...
        def kill(self) -> None: ...


BLOCKS = 4
"""Blocks per process: enough to see drift within a process and to interleave, few enough to be long."""

MAX_SAMPLES = 50_000
"""Samples per process at most: a result file stays within some megabytes per candidate however fast it is."""

WARM_UP_S = 3.0
"""Seconds after which a warm-up that has not settled ends."""

EXERCISE_S = 2.0
"""Seconds for which the process whose memory is read runs through the inputs, at most once."""

_LIMIT = 4  # a block that takes this many times its planned seconds ends early


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A candidate and what a worker needs to load it.

    Args:
        candidate: what runs.
        path: of the bundle or model.
        variant: name given to ``load``; None for a bare model.
        digest: of the variant's files.
        declared: fidelity it had when it was converted; None where there are no golden answers to compare with.
        spawn: starts its workers; None for the instrument's own.
    """

    candidate: Candidate
    path: str
    variant: str | None
    digest: str
    declared: Fidelity | None
    spawn: Callable[[], Worker] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much is measured.

    Args:
        seconds: of steady state per candidate, over all its processes.
        processes: per candidate.
        seed: of the shuffling.
        timeout: seconds a worker may take to start, load, check, or beyond a block's own time.
        room: bytes the workers alive at the same time may need together; None for no limit.
        together: whether the candidates are only of use together: their blocks have the same number of runs, and when
            one fails, the rest does not go on.
    """

    seconds: float = 5.0
    processes: int = 5
    seed: int = 0
    timeout: float = 300.0
    room: int | None = None
    together: bool = False

    @property
    def block_s(self) -> float:
        """Seconds of one block."""
        return self.seconds / (self.processes * BLOCKS)


@dataclass(slots=True)
class _Findings:
    """What is known of one candidate so far."""

    failure: str | None = None
    imports: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    first_runs: list[float] = field(default_factory=list)
    settled: list[bool] = field(default_factory=list)
    blocks: list[list[tuple[float, ...]]] = field(default_factory=list)
    run_s: float | None = None
    count: int = 0
    usage: sensors.Usage = field(default_factory=sensors.Usage)
    memory: MemoryUse | None = None
    fidelity: Fidelity | None = None


class Instrument:
    """One benchmark. `run` may be interrupted at any moment; `results` gives what was measured until then."""

    def __init__(
        self,
        targets: Sequence[Target],
        workload: Workload,
        settings: Settings,
        *,
        spawn: Callable[[], Worker],
        read_sensors: Callable[[], sensors.Reading] = sensors.read,
        progress: Callable[[Progress], None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Nothing starts yet.

        Args:
            targets: what to measure.
            workload: the inputs.
            settings: how much.
            spawn: starts a worker.
            read_sensors: reads the machine's counters.
            progress: told before each step.
            clock: seconds of a monotonic clock, for the estimate of the time left.
        """
        self._targets = targets
        self._workload = workload
        self._settings = settings
        self._spawn = spawn
        self._read_sensors = read_sensors
        self._progress = progress
        self._clock = clock
        self._found = [_Findings() for _ in targets]
        self._workers: dict[int, Worker] = {}
        self.hello: Hello | None = None
        self.complete = False
        rounds = len(targets) * settings.processes
        self._estimate = Estimate(
            {"check": len(targets), "start": rounds, "block": rounds * BLOCKS},
            {"start": 1.0, "block": settings.block_s},
        )

    def run(self) -> None:
        """Measure everything. No worker is alive afterwards, however this ends."""
        try:
            for index in range(len(self._targets)):
                self._step("check", index, self._qualify)
            for step in self._plan():
                if self._settings.together and any(found.failure is not None for found in self._found):
                    break
                self._carry_out(step)
            self.complete = True
        finally:
            for index in list(self._workers):
                self._workers.pop(index).kill()

    def results(self) -> tuple[CandidateResult, ...]:
        """What was found, one result per target."""
        return tuple(self._result(target, found) for target, found in zip(self._targets, self._found, strict=True))

    def _plan(self) -> tuple[Step, ...]:
        peaks = [found.memory.peak_rss if found.memory else None for found in self._found]
        sizes = [peak or 0 for peak in peaks]
        return schedule(
            len(self._targets),
            processes=self._settings.processes,
            blocks=BLOCKS,
            seed=self._settings.seed,
            sizes=sizes,
            room=self._settings.room,
        )

    def _carry_out(self, step: Step) -> None:
        if step.action == "stop":
            worker = self._workers.pop(step.candidate, None)
            if worker is not None:
                worker.close()
        elif step.action == "start":
            self._step("start", step.candidate, self._start)
        else:
            self._step("block", step.candidate, lambda index: self._block(index, step))

    def _step(self, kind: str, index: int, action: Callable[[int], None]) -> None:
        """Do one thing for one candidate, unless it has failed; if it fails now, the others go on."""
        found = self._found[index]
        if found.failure is not None:
            self._estimate.skip(kind)
            return
        if self._progress is not None:
            doing = f"{_DOING[kind]} {self._targets[index].candidate.name}"
            left = self._estimate.seconds_left()
            self._progress(Progress(self._estimate.done, self._estimate.total, left, doing))
        start = self._clock()
        try:
            action(index)
        except WorkerFailed as error:
            found.failure = str(error)
            worker = self._workers.pop(index, None)
            if worker is not None:
                worker.kill()
        self._estimate.finish(kind, self._clock() - start)

    def _open(self, index: int) -> float:
        """Start a worker and load the candidate in it; gives the seconds of the load."""
        target = self._targets[index]
        worker = self._workers[index] = (target.spawn or self._spawn)()
        self.hello = self.hello or worker.hello
        config = target.candidate.config
        loaded = worker.ask(
            "load",
            timeout=self._settings.timeout,
            path=target.path,
            variant=target.variant,
            provider=config.provider,
            threads=config.threads,
            workload=self._workload.message(),
        )
        return protocol.number(loaded, "load_s")

    def _qualify(self, index: int) -> None:
        """In a process of its own, not timed: read the memory, then compare with the golden answers."""
        found, timeout = self._found[index], self._settings.timeout
        self._open(index)
        worker = self._workers[index]
        worker.ask("exercise", timeout=timeout + EXERCISE_S, limit_s=EXERCISE_S)
        found.memory = protocol.memory_use(worker.ask("memory", timeout=timeout))
        declared = self._targets[index].declared
        if declared is not None:
            found.fidelity = protocol.fidelity(worker.ask("check", timeout=timeout))
            _require_agreement(found.fidelity, declared)
        self._workers.pop(index).close()

    def _start(self, index: int) -> None:
        found, timeout = self._found[index], self._settings.timeout
        load_s = self._open(index)
        worker = self._workers[index]
        first_run_s = protocol.number(worker.ask("first_run", timeout=timeout), "first_run_s")
        warmed = protocol.warmed(worker.ask("warm_up", timeout=timeout + WARM_UP_S, limit_s=WARM_UP_S))
        found.imports.append(worker.hello.import_s)
        found.loads.append(load_s)
        found.first_runs.append(first_run_s)
        found.settled.append(warmed.settled)
        found.blocks.append([])
        if found.run_s is None:
            found.run_s = warmed.mean_s

    def _count(self, found: _Findings) -> int:
        """Runs per block: the same number in every process, so that each weighs the same."""
        if not found.count:
            alike = self._found if self._settings.together else [found]
            # Of candidates that are compared, the same for all: a median of more samples is another figure.
            run_s = max(one.run_s or 0.0 for one in alike)
            found.count = block_count(self._settings.block_s, run_s, self._workload.count, MAX_SAMPLES // BLOCKS)
        return found.count

    def _block(self, index: int, step: Step) -> None:
        found = self._found[index]
        limit_s = _LIMIT * self._settings.block_s
        count = self._count(found)
        before = self._read_sensors()
        reply = self._workers[index].ask(
            "block",
            timeout=self._settings.timeout + limit_s,
            count=count,
            offset=(step.process * BLOCKS + step.block) * count,
            limit_s=limit_s,
        )
        after = self._read_sensors()
        block = protocol.block(reply)
        found.blocks[-1].append(tuple(round(ns * 1e-9, 9) for ns in block.samples_ns))
        found.usage += sensors.usage(before, after, block.cpu_s)

    def _result(self, target: Target, found: _Findings) -> CandidateResult:
        evidence = Evidence(
            usage=found.usage,
            block_levels_s=[
                [level(block, self._workload.count) for block in blocks] for blocks in found.blocks if blocks
            ],
            settled=found.settled,
            samples=sum(len(block) for blocks in found.blocks for block in blocks),
            complete=self.complete,
        )
        validity, warnings = ("invalid", ()) if found.failure is not None else judge(evidence)
        return CandidateResult(
            candidate=target.candidate,
            variant_digest=target.digest,
            failure=found.failure,
            import_s=tuple(found.imports),
            load_s=tuple(found.loads),
            first_run_s=tuple(found.first_runs),
            blocks_s=tuple(tuple(blocks) for blocks in found.blocks),
            memory=found.memory,
            fidelity=found.fidelity,
            validity=validity,
            warnings=warnings,
        )


def _require_agreement(found: Fidelity, declared: Fidelity) -> None:
    from ortolan.tasks.golden import agrees

    if not agrees(found, declared):
        raise WorkerFailed(
            f"it does not give the golden answers: {found.drop:.1%} of {found.n} decisions changed, and numbers differ "
            f"by up to {found.worst:.3g} where {declared.tolerance:.3g} is allowed; convert again, or report a bug"
        )


_DOING = {"check": "checking", "start": "starting", "block": "timing"}

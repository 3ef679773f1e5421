"""Carries out a schedule with worker processes and collects what they report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol, cast

from ortolan.choose.units import format_duration
from ortolan_bench import protocol, sensors
from ortolan_bench.findings import Findings, Target, seconds
from ortolan_bench.progress import Estimate, Progress
from ortolan_bench.protocol import WorkerFailed
from ortolan_bench.scenarios import Scenario
from ortolan_bench.scenarios.queueing import capacity
from ortolan_bench.scenarios.scenario import LIMIT, MAX_BLOCK_SAMPLES, MIN_RATE
from ortolan_bench.schedule import Step, block_count, schedule
from ortolan_bench.sensors.accelerator import accelerator_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ortolan.types import Fidelity
    from ortolan_bench.protocol import Hello
    from ortolan_bench.result import CandidateResult
    from ortolan_bench.validity import Mode
    from ortolan_bench.workload import Workload

    class Worker(Protocol):
        """A worker process, or a fake one."""

        hello: Hello

        def ask(self, do: str, *, timeout: float, **arguments: object) -> dict[str, object]: ...
        def close(self) -> None: ...
        def kill(self) -> None: ...


BLOCKS = 4
"""Blocks per process: enough to see drift within a process and to interleave, few enough to be long."""

WARM_UP_S = 3.0
"""Seconds after which a warm-up that has not settled ends."""

HEATING_S = 180.0
"""Seconds of runs before the first process in ``sustained`` mode; the blocks that follow keep the board hot. Whether
that was enough is seen in the temperatures of the first block and the last."""

EXERCISE_S = 2.0
"""Seconds for which the process whose memory is read runs through the inputs, at most once."""

BUILD_S = 3600.0
"""Seconds that a request may take where a provider compiles engines: TensorRT needs minutes for a network of the usual
size, and tens of minutes on a small Jetson for a large one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much is measured.

    Args:
        seconds: of steady state per candidate and scenario, over all processes.
        processes: per candidate and scenario.
        seed: of the shuffling and of arrivals.
        mode: ``"burst"``, or ``"sustained"``: heat up first, and take throttling for what it is.
        traces: directory for onnxruntime's profiles; None for none.
        timeout: seconds a worker may take to start, load, check, or beyond a block's own time.
        room: bytes the workers alive at the same time may need together; None for no limit.
        together: whether the candidates are only of use together: their blocks have the same number of runs, and when
            one fails, the rest does not go on.
    """

    seconds: float = 5.0
    processes: int = 5
    seed: int = 0
    mode: Mode = "burst"
    traces: Path | None = None
    timeout: float = 300.0
    room: int | None = None
    together: bool = False

    @property
    def block_s(self) -> float:
        """Seconds of one block."""
        return self.seconds / (self.processes * BLOCKS)


class Instrument:
    """One benchmark. `run` may be interrupted at any moment; `results` gives what was measured until then."""

    def __init__(
        self,
        targets: Sequence[Target],
        workload: Workload,
        settings: Settings,
        *,
        spawn: Callable[[], Worker],
        read_sensors: Callable[[int], sensors.Reading],
        progress: Callable[[Progress], None] | None = None,
        arrived: Callable[[], None] | None = None,
        known: Sequence[CandidateResult] = (),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Nothing starts yet.

        Args:
            targets: what to measure.
            workload: the inputs.
            settings: how much.
            spawn: starts a worker.
            read_sensors: reads the machine's sensors, and the counters of the process with a number.
            progress: told before each step.
            arrived: told when a process has measured all its blocks, or a candidate has failed.
            known: what an interrupted benchmark of the same targets found: only the rest is measured.
            clock: seconds of a monotonic clock, for the estimate of the time left.
        """
        self._targets = targets
        self._workload = workload
        self._settings = settings
        self._spawn = spawn
        self._read_sensors = read_sensors
        self._progress = progress
        self._clock = clock
        self._arrived = arrived
        self._found = [Findings.resumed(result, BLOCKS, raw=workload.is_raw) for result in known]
        self._found = self._found or [Findings() for _ in targets]
        self._finished = [len(found.blocks) for found in self._found]
        self._workers: dict[int, Worker] = {}
        self.hello: Hello | None = None
        self.complete = False
        rounds = sum(max(0, settings.processes - done) for done in self._finished)
        checks = sum(found.memory is None for found in self._found)
        self._estimate = Estimate(
            {"check": checks, "heat": int(self._heats), "start": rounds, "block": rounds * BLOCKS, "end": rounds},
            {
                "heat": HEATING_S,
                "start": 1.0,
                "block": settings.block_s,
                "end": settings.block_s if workload.is_raw else 0.0,
            },
        )

    def run(self) -> None:
        """Measure everything. No worker is alive afterwards, however this ends."""
        try:
            for index, found in enumerate(self._found):
                if found.memory is None:
                    self._step("check", index, self._qualify)
            if self._heats:
                index = next((i for i, found in enumerate(self._found) if found.failure is None), 0)
                self._step("heat", index, self._heat)
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
        mode = self._settings.mode
        return tuple(
            found.result(target, complete=self.complete, mode=mode)
            for target, found in zip(self._targets, self._found, strict=True)
        )

    @property
    def _heats(self) -> bool:
        return self._settings.mode == "sustained"

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
        if step.process < self._finished[step.candidate]:
            return
        if step.action == "stop":
            self._step("end", step.candidate, lambda index: self._end(index, step))
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
            doing = f"{_DOING[kind]} {self._targets[index].name}"
            if kind == "check" and self._compiles(index):
                doing += " (an engine is built if there is none yet: minutes)"
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
            self._tell()
        self._estimate.finish(kind, self._clock() - start)

    def _compiles(self, index: int) -> bool:
        from ortolan.engine.providers import parse

        return parse(self._targets[index].candidate.config.provider)[0].engine_cache

    def _patience(self, index: int) -> float:
        """Seconds that a worker may take for one request."""
        return max(self._settings.timeout, BUILD_S) if self._compiles(index) else self._settings.timeout

    def _tell(self) -> None:
        if self._arrived is not None:
            self._arrived()

    def _open(self, index: int) -> float:
        """Start a worker and load the candidate in it; gives the seconds of the load."""
        target = self._targets[index]
        worker = self._workers[index] = (target.spawn or self._spawn)()
        self.hello = self.hello or worker.hello
        config = target.candidate.config
        loaded = worker.ask(
            "load",
            timeout=self._patience(index),
            path=target.path,
            variant=target.variant,
            provider=config.provider,
            threads=config.threads,
            workload=self._workload.message(),
            at_once=target.scenario.at_once,
        )
        self._found[index].inputs = max(1, protocol.integer(loaded, "inputs"))
        return protocol.number(loaded, "load_s")

    def _qualify(self, index: int) -> None:
        """In a process of its own, not timed: read the memory, then compare with the golden answers."""
        found, timeout = self._found[index], self._patience(index)
        self._open(index)
        worker = self._workers[index]
        worker.ask("exercise", timeout=timeout + EXERCISE_S, limit_s=EXERCISE_S)
        memory = protocol.memory_use(worker.ask("memory", timeout=timeout))
        found.accelerator = accelerator_memory(worker.hello.pid)
        declared = self._targets[index].declared
        if declared is not None:
            found.fidelity = protocol.fidelity(worker.ask("check", timeout=timeout))
            _require_agreement(found.fidelity, declared)
        if self._settings.traces is not None:
            trace = self._settings.traces / trace_name(self._targets[index].name)
            reply = worker.ask("profile", timeout=timeout, trace=str(trace.resolve()))
            found.operators = protocol.operators(reply)
        found.memory = memory
        self._workers.pop(index).close()

    def _heat(self, index: int) -> None:
        """Keep the machine busy until it is as hot as it gets, in a process whose figures are not used."""
        self._open(index)
        worker = self._workers[index]
        worker.ask("warm_up", timeout=self._settings.timeout + HEATING_S, limit_s=0.0, least_s=HEATING_S)
        self._workers.pop(index).close()

    def _start(self, index: int) -> None:
        found, timeout = self._found[index], self._patience(index)
        load_s = self._open(index)
        worker = self._workers[index]
        first_run_s = protocol.number(worker.ask("first_run", timeout=timeout), "first_run_s")
        warmed = protocol.warmed(worker.ask("warm_up", timeout=timeout + WARM_UP_S, limit_s=WARM_UP_S, least_s=0.0))
        found.imports.append(worker.hello.import_s)
        found.loads.append(load_s)
        found.first_runs.append(first_run_s)
        found.settled.append(warmed.settled)
        found.begin()
        if found.run_s is None:
            found.run_s = warmed.mean_s
        bound = self._targets[index].scenario.bound
        if bound is not None and found.estimate is None:
            self._first_estimate(index, bound)

    def _count(self, found: Findings) -> int:
        """Runs per block: the same number in every process, so that each weighs the same."""
        if not found.count:
            alike = self._found if self._settings.together else [found]
            # Of candidates that are compared, the same for all: a median of more samples is another figure.
            run_s = max(one.run_s or 0.0 for one in alike)
            found.count = block_count(self._settings.block_s, run_s, found.inputs, MAX_BLOCK_SAMPLES)
        return found.count

    def _first_estimate(self, index: int, bound: float) -> None:
        """A rate to begin a search with: from runs one after the other, which are not part of the result."""
        found, block_s = self._found[index], self._settings.block_s
        request = Scenario().block(0, count=self._count(found), seconds=block_s, rate=None, seed=0)
        reply = self._workers[index].ask("block", timeout=self._settings.timeout + LIMIT * block_s, **request)
        services = seconds(protocol.block(reply).samples_ns)
        found.estimate = capacity(services, bound, seed=self._settings.seed)

    def _block(self, index: int, step: Step) -> None:
        found, scenario, settings = self._found[index], self._targets[index].scenario, self._settings
        rate = scenario.rate if scenario.bound is None else self._next_rate(found, scenario.bound)
        number = step.process * BLOCKS + step.block
        request = scenario.block(
            number, count=self._count(found), seconds=settings.block_s, rate=rate, seed=settings.seed
        )
        timeout = settings.timeout + cast("float", request["limit_s"])
        worker = self._workers[index]
        before = self._read_sensors(worker.hello.pid)
        reply = worker.ask("block", timeout=timeout, **request)
        after = self._read_sensors(worker.hello.pid)
        block = protocol.block(reply)
        found.add(block, sensors.usage(before, after, block.cpu_s))

    def _next_rate(self, found: Findings, bound: float) -> float:
        found.steer(bound, self._settings.seed)
        if found.estimate is None or found.estimate < MIN_RATE:
            raise WorkerFailed(
                f"no rate keeps the bound: more than 1% of the answers take longer than {format_duration(bound)} "
                "even if nobody waits; give a longer time"
            )
        return found.estimate

    def _end(self, index: int, step: Step) -> None:
        """End a process whose blocks are measured; before that, time the model without what is around it."""
        found, scenario = self._found[index], self._targets[index].scenario
        if self._workload.is_raw and scenario.name != "server":
            self._time_alone(index)
        found.end(scenario.bound, self._settings.seed + step.process)
        self._workers.pop(index).close()
        self._tell()

    def _time_alone(self, index: int) -> None:
        found, worker, timeout = self._found[index], self._workers[index], self._settings.timeout
        if worker.ask("parts", timeout=timeout).get("alone") is not True:
            return
        limit_s = self._settings.block_s
        request = {"count": found.count, "offset": 0, "part": "alone", "limit_s": limit_s}
        reply = worker.ask("block", timeout=timeout + limit_s, **request)
        found.alone.append(seconds(protocol.block(reply).samples_ns))


def trace_name(name: str) -> str:
    """The file name of a candidate's trace: ``int8-on-cpu-batch-8.json``."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-") + ".json"


def _require_agreement(found: Fidelity, declared: Fidelity) -> None:
    from ortolan.tasks.golden import agrees

    if not agrees(found, declared):
        raise WorkerFailed(
            f"it does not give the golden answers: {found.drop:.1%} of {found.n} decisions changed, and numbers differ "
            f"by up to {found.worst:.3g} where {declared.tolerance:.3g} is allowed; convert again, or report a bug"
        )


_DOING = {"check": "checking", "heat": "heating up with", "start": "starting", "block": "timing", "end": "finishing"}

"""A fake worker process, and a fake session whose every run takes the time it is told to."""

import sys
from pathlib import Path

import pytest

from ortolan.types import Candidate, Fidelity, Interval, SessionConfig
from ortolan_bench.measure import Target
from ortolan_bench.process import WorkerProcess
from ortolan_bench.protocol import Hello, WorkerFailed
from ortolan_bench.sensors import Reading


@pytest.fixture
def start_worker():
    """Starts a process of ``fake_worker.py``; all are gone after the test."""
    started = []

    def start(behaviour="well", timeout=30.0):
        worker = WorkerProcess(
            [sys.executable, str(Path(__file__).with_name("fake_worker.py")), behaviour], timeout=timeout
        )
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.kill()


class FakeClock:
    """Nanoseconds that pass only when told."""

    def __init__(self):
        self.now = 0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    """A clock that stands still by itself."""
    return FakeClock()


class FakeMachine:
    """Workers that follow a trace, and the counters of an idle machine."""

    def __init__(self):
        self.log = []
        self.alive = set()
        self.runs_ns = {}
        self.fail = {}
        self.settled = True
        self.worst = 0.0
        self.seconds = 0.0
        self.others = 0.0

    def spawn(self):
        return FakeWorker(self)

    def read_sensors(self):
        # Two cores, of which one runs the worker.
        return Reading(
            total_s=2 * self.seconds, busy_s=(1 + self.others) * self.seconds, stolen_s=0.0, swapped_pages=7, own_s=0.0
        )


class FakeWorker:
    def __init__(self, machine):
        self.machine = machine
        self.hello = Hello(1, 0.25, "fake 1.0", "2.0.0")
        self.variant = None

    def ask(self, do, *, timeout, **arguments):
        machine = self.machine
        if do == "load":
            self.variant = arguments["variant"]
            machine.alive.add(self)
        machine.log.append((do, self.variant))
        if machine.fail.get(self.variant) == do:
            raise WorkerFailed(f"the worker crashed during '{do}' (SIGSEGV)")
        if machine.fail.get(self.variant) == f"interrupt {do}":
            raise KeyboardInterrupt
        return getattr(self, f"_{do}")(**arguments)

    def _load(self, **_):
        return {"load_s": 0.01}

    def _exercise(self, **_):
        return {"runs": 1}

    def _memory(self):
        return {
            "peak_rss_bytes": 50_000_000,
            "rss_bytes": 49_000_000,
            "pss_bytes": 40_000_000,
            "private_bytes": 30_000_000,
        }

    def _check(self):
        fidelity = {"metric": "label", "n": 4, "drop": 0.0, "interval": {"low": 0.0, "high": 0.5}, "inputs": "samples"}
        return {"fidelity": {**fidelity, "worst": self.machine.worst}}

    def _first_run(self):
        return {"first_run_s": 0.002}

    def _warm_up(self, **_):
        return {"settled": self.machine.settled, "mean_s": 1e-3}

    def _block(self, count, offset, limit_s):
        run_ns = self.machine.runs_ns.get(self.variant, 1_000_000)
        samples = [int(run_ns(i)) if callable(run_ns) else run_ns for i in range(offset, offset + count)]
        self.machine.seconds += sum(samples) * 1e-9
        return {"samples_ns": samples, "cpu_s": sum(samples) * 1e-9}

    def close(self):
        self.machine.log.append(("quit", self.variant))
        self.machine.alive.discard(self)

    def kill(self):
        self.machine.alive.discard(self)


@pytest.fixture
def machine():
    """An idle machine with two cores, on which a run takes one millisecond."""
    return FakeMachine()


@pytest.fixture
def target():
    """Makes the target of a variant."""

    def make(variant, threads=None, worst=0.0):
        return Target(
            candidate=Candidate((("model", variant),), SessionConfig(threads=threads)),
            path="sentiment.bundle",
            variant=variant,
            digest=variant * 4,
            declared=Fidelity("label", 100, 0.0, Interval(0.0, 0.03), worst, "samples"),
        )

    return make

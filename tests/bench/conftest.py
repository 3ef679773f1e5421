"""A fake worker process, and a fake session whose every run takes the time it is told to."""

import io
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ortolan.bundle.description import Provenance, Source, TaskSpec, VariantInfo
from ortolan.bundle.write import write_bundle
from ortolan.types import Candidate, Fidelity, Interval, SessionConfig
from ortolan_bench.findings import Target
from ortolan_bench.process import WorkerProcess
from ortolan_bench.protocol import Hello, MemoryUse, WorkerFailed
from ortolan_bench.result import BenchResult, CandidateResult
from ortolan_bench.scenarios import Scenario
from ortolan_bench.sensors import Reading, Usage
from ortolan_bench.timing import run_arrivals


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
        self.timeouts = {}
        self.alive = set()
        self.runs_ns = {}
        self.fail = {}
        self.settled = True
        self.warm_up_s = {}
        self.worst = 0.0
        self.seconds = 0.0
        self.others = 0.0
        self.requests = []
        self.interrupt_after = None
        self.runtime_id = "fake 1.0"

    def spawn(self):
        return FakeWorker(self)

    def read_sensors(self, _process):
        # Two cores, of which one runs the worker.
        return Reading(
            total_s=2 * self.seconds, busy_s=(1 + self.others) * self.seconds, stolen_s=0.0, swapped_pages=7, own_s=0.0
        )


class FakeWorker:
    def __init__(self, machine):
        self.machine = machine
        self.hello = Hello(1, 0.25, machine.runtime_id, "2.0.0")
        self.variant = None

    def ask(self, do, *, timeout, **arguments):
        machine = self.machine
        if do == "load":
            self.variant = arguments["variant"]
            machine.alive.add(self)
        machine.log.append((do, self.variant))
        machine.timeouts[do] = timeout

        machine.requests.append((do, arguments))
        if machine.interrupt_after is not None and len(machine.log) > machine.interrupt_after:
            machine.interrupt_after = None
            raise KeyboardInterrupt
        if machine.fail.get(self.variant) == do:
            raise WorkerFailed(f"the worker crashed during '{do}' (SIGSEGV)")
        if machine.fail.get(self.variant) == f"interrupt {do}":
            raise KeyboardInterrupt
        return getattr(self, f"_{do}")(**arguments)

    def _load(self, workload, **_):
        return {"load_s": 0.01, "inputs": len(workload["texts"]) or 3}

    def _parts(self):
        return {"alone": True}

    def _profile(self, trace):
        return {"operators": [{"op": "MatMul", "provider": "CPUExecutionProvider", "nodes": 2, "seconds": 1e-4}]}

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
        return {"settled": self.machine.settled, "mean_s": self.machine.warm_up_s.get(self.variant, 1e-3)}

    def _block(self, offset, limit_s, count=0, part="whole", arrivals_ns=(), lead=0):
        run_ns = self.machine.runs_ns.get(self.variant, 1_000_000)
        if part == "alone":
            return {"samples_ns": [500_000] * count, "cpu_s": 0.0}
        if arrivals_ns:
            return self._serve(run_ns, arrivals_ns, lead, limit_s)
        samples = [int(run_ns(i)) if callable(run_ns) else run_ns for i in range(offset, offset + count)]
        self.machine.seconds += sum(samples) * 1e-9
        return {"samples_ns": samples, "cpu_s": sum(samples) * 1e-9}

    def _serve(self, run_ns, arrivals_ns, lead, limit_s):
        """The real loop on a clock that only waiting and running move."""
        now = [0]

        def run(_):
            now[0] += run_ns

        def wait(due):
            now[0] = due
            return due

        limit_ns = int(limit_s * 1e9)
        served = run_arrivals(run, ["x"], arrivals_ns, limit_ns=limit_ns, clock=lambda: now[0], wait=wait)
        self.machine.seconds += now[0] * 1e-9
        return {
            "samples_ns": served.latencies_ns[lead:],
            "services_ns": served.services_ns[lead:],
            "unanswered": served.unanswered,
            "cpu_s": now[0] * 1e-9,
        }

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

    def make(variant, threads=None, worst=0.0, scenario=None):
        return Target(
            candidate=Candidate((("model", variant),), SessionConfig(threads=threads)),
            path="sentiment.bundle",
            variant=variant,
            digest=variant * 4,
            declared=Fidelity("label", 100, 0.0, Interval(0.0, 0.03), worst, "samples"),
            scenario=scenario or Scenario(),
            disk_bytes=1_400_000,
        )

    return make


@pytest.fixture(autouse=True)
def state_dir(tmp_path, monkeypatch):
    """A state directory that no other test sees."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def linear_model():
    """Bytes of a model ``y = x @ w`` with ``w`` a multiple of the identity."""
    from onnx import TensorProto, helper, numpy_helper

    def make(factor=1.0):
        tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in "xy"]
        weights = numpy_helper.from_array(factor * np.eye(4, dtype=np.float32), "w")
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", tensors[:1], tensors[1:], [weights]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return model.SerializeToString()

    return make


@pytest.fixture
def linear_bundle(tmp_path, linear_model):
    """A bundle of such models; ``broken`` does not give the golden answers."""
    golden = {f"{i:04}/x": np.full((1, 4), i, np.float32) for i in range(3)}
    answers = {key.replace("x", "y"): value for key, value in golden.items()}

    def info():
        return VariantInfo(
            precision="fp32",
            providers=("cpu",),
            min_onnxruntime="1.20.0",
            weight_bytes=64,
            macs=None,
            activation_bytes=None,
            fidelity=Fidelity("tensor", 3, 0.0, Interval(0.0, 0.6), 0.0, "samples"),
        )

    factors = {"fp32": 1.0, "twin": 1.0, "broken": 2.0}
    return write_bundle(
        tmp_path / "linear.bundle",
        package_name="linear",
        version="1.0.0",
        task=TaskSpec("tensor", {}),
        provenance=Provenance(
            framework="test", framework_version="1", versions={}, sources=(Source("x", "0" * 64, 1),)
        ),
        dims={"batch": 1},
        components=[("model", [(name, info(), {"model.onnx": linear_model(f)}) for name, f in factors.items()])],
        assets={},
        golden={"inputs.npz": _npz(golden), "outputs.npz": _npz(answers)},
    ).path


def _npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.fixture
def finished():
    """Makes a BenchResult of variants and the samples of each of their processes."""

    def make(samples, *, failures=None, validity="valid", warnings=(), complete=True, row=None, **changes):
        results = tuple(
            CandidateResult(
                candidate=Candidate((("model", variant),), SessionConfig()),
                variant_digest=variant * 4,
                failure=(failures or {}).get(variant),
                import_s=(0.2,) * len(processes),
                load_s=(0.0123,) * len(processes),
                first_run_s=(0.0005,) * len(processes),
                settled=(True,) * len(processes),
                blocks_s=tuple((tuple(process),) for process in processes),
                cpu_s=tuple((2 * sum(process),) for process in processes),
                memory=MemoryUse(61_000_000, 60_000_000, 50_000_000, 40_000_000) if processes else None,
                disk_bytes=1_400_000,
                unanswered=(0,) * len(processes),
                usages=(Usage(total_s=2.0, others_s=0.025, stolen_s=0.0, swapped_pages=0),) * len(processes),
                fidelity=Fidelity("label", 16, 0.0, Interval(0.0, 0.2), 1e-7, "samples"),
                validity=validity,
                warnings=tuple(warnings),
            )
            for variant, processes in samples.items()
        )
        results = tuple(replace(result, **(row or {})) for result in results)
        values = {
            "source": "sentiment.bundle",
            "digest": "d" * 64,
            "workload": "golden",
            "workload_kind": "text",
            "workload_count": 16,
            "seconds": 5.0,
            "processes": 5,
            "seed": 0,
            "mode": "burst",
            "complete": complete,
            "hardware_id": "0123456789abcdef",
            "runtime_id": "onnxruntime 1.32.0",
            "environment": {"cores_usable": 4, "hardware": {"board": "Raspberry Pi 5 Model B", "cores": []}},
            "results": results,
        }
        return BenchResult(**{**values, **changes})

    return make

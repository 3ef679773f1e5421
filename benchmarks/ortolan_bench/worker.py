"""A worker process: ``python -m ortolan_bench.worker PARENT_PID``. It loads one model and runs what it is told to.

It speaks `protocol` on what was its standard output; whatever a library prints goes to standard error instead. It ends
with its parent, whichever way that ends.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from io import TextIOWrapper
from math import isfinite
from pathlib import Path
from time import perf_counter_ns, process_time_ns
from typing import TYPE_CHECKING, Any, cast

from ortolan_bench.protocol import PROTOCOL, WorkerFailed, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ortolan_bench.feeding import BenchModel, Calls, Feeding

    Load = Callable[[str, str | None, str, int | None], BenchModel]


def load_model(path: str, variant: str | None, provider: str, threads: int | None) -> BenchModel:
    """Load with the runtime, exactly as an application would."""
    from ortolan.loading import load

    return cast("BenchModel", load(path, variant=variant, provider=provider, threads=threads))


def import_runtime() -> dict[str, object]:
    """Import all that a first answer needs, and say which versions it is."""
    import numpy as np

    import ortolan.loading  # noqa: F401 - imported for its time
    from ortolan.engine import runtime_id

    return {"runtime_id": runtime_id(), "numpy_version": np.__version__}


def _wait_until(due: int) -> int:
    from ortolan_bench.timing import wait_until

    return wait_until(due)


_NOTHING_LOADED = "no model is loaded: the first request must be 'load'"


class Service:
    """Carries out requests. Free of processes and pipes, so that it can be tested with a fake model and clock."""

    def __init__(
        self,
        load: Load = load_model,
        clock: Callable[[], int] = perf_counter_ns,
        wait: Callable[[int], int] | None = None,
    ) -> None:
        """``load`` opens a model; ``clock`` gives nanoseconds; ``wait`` waits for them, None for the real clock."""
        self._load = load
        self._clock = clock
        self._wait = wait or _wait_until
        self._path = ""
        self._model: BenchModel | None = None
        self._feeding: Feeding | None = None
        self._calls: dict[str, Calls] = {}

    def handle(self, request: Mapping[str, Any]) -> dict[str, object]:
        """What a reply to ``request`` holds under ``"ok"``, or under ``"error"`` if that key is there alone.

        Whatever goes wrong becomes an error reply: one candidate's fault must not end the benchmark.
        """
        action = _ACTIONS.get(str(request.get("do")))
        try:
            if action is None:
                raise WorkerFailed(f"unknown request {request.get('do')!r}")
            return {"ok": action(self, request)}
        except MemoryError as error:
            return _error(type(error).__name__, str(error) or "out of memory")
        except Exception as error:  # noqa: BLE001 - it becomes a typed WorkerFailed in the parent
            return _error(type(error).__name__, " ".join(str(error).split()) or "no message")

    def load(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Load the model, timed; then prepare its inputs, untimed."""
        from ortolan_bench.feeding import Feeding

        start = self._clock()
        model = self._load(request["path"], request["variant"], request["provider"], request["threads"])
        elapsed = self._clock() - start
        self._path, self._model = request["path"], model
        self._feeding = Feeding(model, request["workload"], request["at_once"])
        self._calls = {"whole": self._feeding.whole()}
        return {"load_s": elapsed * 1e-9, "inputs": len(self._calls["whole"][1])}

    def check(self, _request: Mapping[str, Any]) -> dict[str, object]:
        """Compare with the golden answers; whether the difference is too large is for the parent to say."""
        if self._model is None:
            raise WorkerFailed(_NOTHING_LOADED)
        fidelity = self._model.check()
        if not isfinite(fidelity.worst):
            raise WorkerFailed("its answers are not finite where the golden ones are")
        return {"fidelity": asdict(fidelity)}

    def first_run(self, _request: Mapping[str, Any]) -> dict[str, object]:
        """Time one run."""
        from ortolan_bench.timing import run_block

        call, inputs = self._part({})
        return {"first_run_s": run_block(call, inputs, 1, clock=self._clock)[0] * 1e-9}

    def exercise(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Run through the inputs once, untimed: what a memory figure needs."""
        from ortolan_bench.timing import run_block

        call, inputs = self._part({})
        limit = int(request["limit_s"] * 1e9)
        return {"runs": len(run_block(call, inputs, len(inputs), limit_ns=limit, clock=self._clock))}

    def warm_up(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Run until the latency settles."""
        from ortolan_bench.timing import warm_up

        call, inputs = self._part({})
        limit, least = int(request["limit_s"] * 1e9), int(request["least_s"] * 1e9)
        done = warm_up(call, inputs, limit_ns=limit, least_ns=least, clock=self._clock)
        medians = [ns * 1e-9 for ns in done.medians_ns]
        return {"settled": done.settled, "medians_s": medians, "mean_s": done.mean_ns * 1e-9, "runs": done.runs}

    def block(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Time a block of runs, one after the other or as they arrive."""
        from ortolan_bench.timing import run_arrivals, run_block

        call, inputs = self._part(request)
        limit, offset = int(request["limit_s"] * 1e9), request["offset"]
        cpu = process_time_ns()
        if "arrivals_ns" not in request:
            samples = run_block(call, inputs, request["count"], offset=offset, limit_ns=limit, clock=self._clock)
            return {"samples_ns": samples, "cpu_s": (process_time_ns() - cpu) * 1e-9}
        served = run_arrivals(
            call, inputs, request["arrivals_ns"], offset=offset, limit_ns=limit, clock=self._clock, wait=self._wait
        )
        cpu = process_time_ns() - cpu
        lead = min(request["lead"], len(served.latencies_ns) - 1)
        return {
            "samples_ns": served.latencies_ns[lead:],
            "services_ns": served.services_ns[lead:],
            "unanswered": served.unanswered,
            "cpu_s": cpu * 1e-9,
        }

    def parts(self, _request: Mapping[str, Any]) -> dict[str, object]:
        """Make ready to run the model alone; whether that differs from the whole."""
        alone = None if self._feeding is None else self._feeding.alone()
        if alone is not None:
            self._calls["alone"] = alone
            alone[0](alone[1][0])
        return {"alone": alone is not None}

    def profile(self, request: Mapping[str, Any]) -> dict[str, object]:
        """Time per operator, and the trace in the file ``trace``; runs the model in a session of its own."""
        from ortolan_bench.profiling import profile_model

        if self._model is None or self._feeding is None:
            raise WorkerFailed(_NOTHING_LOADED)
        found = profile_model(self._path, self._model.plan.chosen, self._feeding.feeds(), request["trace"])
        return {"operators": [asdict(operator) for operator in found]}

    def memory(self, _request: Mapping[str, Any]) -> dict[str, object]:
        """This process's memory in bytes."""
        from ortolan_bench.memory import memory_of

        return {f"{key}_bytes": value for key, value in asdict(memory_of()).items()}

    def _part(self, request: Mapping[str, Any]) -> Calls:
        part = request.get("part", "whole")
        if part not in self._calls:
            raise WorkerFailed(_NOTHING_LOADED if part == "whole" else f"nothing is ready to run {part!r}")
        return self._calls[part]


_ACTIONS: dict[str, Callable[[Service, Mapping[str, Any]], dict[str, object]]] = {
    "load": Service.load,
    "check": Service.check,
    "first_run": Service.first_run,
    "exercise": Service.exercise,
    "warm_up": Service.warm_up,
    "block": Service.block,
    "parts": Service.parts,
    "profile": Service.profile,
    "memory": Service.memory,
    "quit": lambda _service, _request: {},
}


def serve(lines: Iterable[bytes], write: Callable[[bytes], object], service: Service) -> None:
    """Answer requests until ``quit`` or the end of ``lines``."""
    for line in lines:
        request = decode(line)
        write(encode({"id": request.get("id"), **service.handle(request)}))
        if request.get("do") == "quit":
            return


def main(
    load: Load = load_model,
    prepare_runtime: Callable[[], dict[str, object]] = import_runtime,
    parent: int | None = None,
) -> None:
    """Say hello and serve until told to quit.

    Args:
        load: opens a model.
        prepare_runtime: imports what a first answer needs; its time is the import figure.
        parent: process to die with; None for the one named on the command line.
    """
    start = perf_counter_ns()
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not mix with replies
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # the last words of a worker that is killed are worth reading
    _die_with(int(sys.argv[1]) if parent is None else parent)
    _be_first_out_of_memory()

    def write(line: bytes) -> None:
        view = memoryview(line)
        while view:
            view = view[os.write(out, view) :]

    try:
        versions = prepare_runtime()
    except Exception as error:  # noqa: BLE001 - it becomes a typed WorkerFailed in the parent
        write(encode({"id": 0, **_error(type(error).__name__, " ".join(str(error).split()))}))
        return
    import_s = (perf_counter_ns() - start) * 1e-9
    write(encode({"id": 0, "ok": {"protocol": PROTOCOL, "pid": os.getpid(), "import_s": import_s, **versions}}))
    serve(sys.stdin.buffer, write, Service(load))


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even by SIGKILL; end of input does it elsewhere."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    pr_set_pdeathsig = 1  # linux/prctl.h
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(1)


def _be_first_out_of_memory() -> None:
    """Ask the kernel to kill this process, not the instrument, when memory runs out."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        return  # not Linux, or a container that forbids it: nothing is lost but the preference


def _error(kind: str, message: str) -> dict[str, object]:
    return {"error": {"type": kind, "message": message}}


if __name__ == "__main__":
    main()

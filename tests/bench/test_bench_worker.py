"""Worker processes: the protocol, and every way in which one can fail."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.types import Fidelity, Interval
from ortolan_bench import protocol
from ortolan_bench.process import WorkerProcess
from ortolan_bench.protocol import WorkerFailed
from ortolan_bench.worker import Service, serve

WORKLOAD = {"kind": "text", "texts": ["a", "\ud800\x00é"], "path": None, "dims": {}}
LOAD = {"path": "x.bundle", "variant": "fp32", "provider": "cpu", "threads": None, "workload": WORKLOAD, "at_once": 1}


def loaded(worker, **changes):
    worker.ask("load", timeout=20, **{**LOAD, **changes})
    return worker


def texts(*values):
    return {**WORKLOAD, "texts": list(values)}


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_worker_measures_and_quits(start_worker):
    """The whole conversation; what the model prints does not disturb it."""
    worker = start_worker()
    assert worker.hello.runtime_id == "fake 1.0"
    assert worker.hello.import_s > 0
    assert loaded(worker).ask("first_run", timeout=20)["first_run_s"] > 0
    block = protocol.block(worker.ask("block", timeout=20, count=7, offset=1, limit_s=5.0))
    assert len(block.samples_ns) == 7
    assert protocol.warmed(worker.ask("warm_up", timeout=20, limit_s=0.2, least_s=0.0)).mean_s > 0
    assert protocol.memory_use(worker.ask("memory", timeout=20)).peak_rss > 1_000_000
    assert protocol.fidelity(worker.ask("check", timeout=20)) == Fidelity(
        "label", 4, 0.0, Interval(0.0, 0.5), 0.0, "samples"
    )
    worker.close()
    assert not is_alive(worker.pid)


def test_refusal_leaves_the_worker_alive(start_worker):
    """An error of the model is one line with its type; the next request is answered."""
    worker = loaded(start_worker(), workload=texts("raise"))
    with pytest.raises(WorkerFailed, match=r"^ValueError: this text is refused$"):
        worker.ask("first_run", timeout=20)
    assert worker.ask("memory", timeout=20)["peak_rss_bytes"]


def test_memory_error_is_reported(start_worker):
    """Python's MemoryError has no message of its own."""
    with pytest.raises(WorkerFailed, match=r"^MemoryError: out of memory$"):
        loaded(start_worker(), variant="memory")


def test_request_before_load_is_refused(start_worker):
    """There is nothing to run yet."""
    with pytest.raises(WorkerFailed, match="no model is loaded"):
        start_worker().ask("block", timeout=20, count=1, offset=0, limit_s=1.0)


def test_crash_is_named(start_worker):
    """A native crash is reported by its signal."""
    worker = loaded(start_worker(), workload=texts("crash"))
    with pytest.raises(WorkerFailed, match=r"^the worker crashed during 'first_run' \(SIGABRT\)"):
        worker.ask("first_run", timeout=20)
    assert not is_alive(worker.pid)


def test_out_of_memory_kill_is_explained(start_worker):
    """The kernel's out-of-memory killer leaves nothing but SIGKILL."""
    worker = loaded(start_worker())
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerFailed, match=r"killed during 'memory' \(SIGKILL\): most likely the memory ran out$"):
        worker.ask("memory", timeout=20)


def test_worker_asks_to_be_killed_first(start_worker):
    """When memory runs out the kernel should take the worker and not the instrument."""
    assert Path(f"/proc/{start_worker().pid}/oom_score_adj").read_text().strip() == "1000"


def test_hanging_worker_is_killed(start_worker):
    """After its time it is gone, whatever it does."""
    worker = loaded(start_worker(), workload=texts("hang"))
    with pytest.raises(
        WorkerFailed, match=r"^the worker hung: no answer to 'first_run' within 2 s; it last said: a library"
    ):
        worker.ask("first_run", timeout=2.0)
    assert not is_alive(worker.pid)


def test_silent_worker_is_killed(start_worker):
    """One that never says hello is no worker."""
    with pytest.raises(WorkerFailed, match=r"^the worker hung: no answer to 'start' within 0.2 s$"):
        start_worker("silent", timeout=0.2)


def test_garbage_is_shown(start_worker):
    """The first words of what was said instead of JSON."""
    with pytest.raises(
        WorkerFailed, match=r"^the worker spoke garbage: expected a line of JSON, got 'Segmentation fault"
    ):
        start_worker("garbage")


def test_early_exit_has_status_and_last_words(start_worker):
    """The last line on standard error usually says why."""
    with pytest.raises(WorkerFailed) as caught:
        start_worker("exit")
    assert str(caught.value) == (
        "the worker ended during 'start' with exit status 7; it last said: ImportError: no engine here"
    )


def test_missing_interpreter_is_reported():
    """Nothing to start."""
    with pytest.raises(WorkerFailed, match="a worker process could not start: No such file or directory"):
        WorkerProcess(["/nonexistent/python"])


def test_large_request_does_not_block(start_worker):
    """More than a pipe holds, in both directions at once."""
    worker = loaded(start_worker(), workload=texts("x" * 1_000_000))
    assert worker.ask("memory", timeout=20)["rss_bytes"]


def test_ended_worker_is_said_to_have_ended(start_worker):
    """A request after the end is an error and no crash."""
    worker = start_worker()
    worker.close()
    worker.close()
    with pytest.raises(WorkerFailed, match="already ended"):
        worker.ask("memory", timeout=1)


def test_worker_dies_with_its_parent():
    """Even if that is killed without a chance to clean up, while the worker is busy."""
    fake = str(Path(__file__).with_name("fake_worker.py"))
    script = (
        "import sys, time\n"
        "from ortolan_bench.process import WorkerProcess\n"
        f"worker = WorkerProcess([sys.executable, {fake!r}, 'well'])\n"
        f"worker.ask('load', timeout=20, **{ {**LOAD, 'workload': texts('hang')}!r})\n"
        "print(worker.pid, flush=True)\n"
        "worker.ask('first_run', timeout=600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_alive(pid)


def test_serve_ends_with_its_input():
    """Without ``quit`` the end of the input is the end; each line has one answer with its number."""
    lines = [b'{"id": 3, "do": "dance"}\n', b'{"id": 4, "do": "quit"}\n', b'{"id": 5, "do": "memory"}\n']
    written = []
    serve(lines, written.append, Service())
    assert [json.loads(line) for line in written] == [
        {"id": 3, "error": {"type": "WorkerFailed", "message": "unknown request 'dance'"}},
        {"id": 4, "ok": {}},
    ]


def test_service_times_with_its_clock(clock):
    """Load and samples are what the clock says."""

    class Model:
        inputs = ()

        def predict(self, _text):
            clock.now += 5_000

    def load(*_):
        clock.now += 2_000_000
        return Model()

    service = Service(load, clock)
    assert service.handle({"do": "load", **LOAD}) == {"ok": {"load_s": pytest.approx(0.002), "inputs": 2}}
    found = service.handle({"do": "block", "count": 3, "offset": 0, "limit_s": 1.0})
    assert found["ok"]["samples_ns"] == [5000, 5000, 5000]


def test_texts_for_a_tensor_model_are_refused():
    """The message says what to give instead."""

    class Model:
        inputs = ()

    reply = Service(lambda *_: Model()).handle({"do": "load", **LOAD})
    assert reply["error"]["message"] == ("the inputs are texts, but this model takes tensors; give --inputs DATA.npz")


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers())))
@settings(max_examples=60, deadline=None)
def test_messages_survive_the_line(message):
    """One line, whatever is in it."""
    line = protocol.encode(message)
    assert line.count(b"\n") == 1
    assert protocol.decode(line) == message


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_message_or_an_error(line):
    """Nothing else can come out of a worker."""
    try:
        assert isinstance(protocol.decode(line), dict)
    except WorkerFailed as error:
        assert "spoke garbage" in str(error)


@pytest.mark.parametrize(
    ("read", "ok", "problem"),
    [
        (protocol.hello, {"protocol": 1}, "the worker speaks protocol 1, expected 2"),
        (protocol.hello, {"protocol": 2, "pid": True}, "pid is True, expected an integer >= 0"),
        (protocol.block, {"samples_ns": [], "cpu_s": 1}, "samples_ns is not a list of nanoseconds"),
        (protocol.block, {"samples_ns": [1, -1], "cpu_s": 1}, "samples_ns is not a list of nanoseconds"),
        (protocol.block, {"samples_ns": [1], "cpu_s": float("nan")}, "cpu_s is nan, expected a number >= 0"),
        (protocol.warmed, {"settled": True}, "mean_s is None, expected a number >= 0"),
        (protocol.memory_use, {"peak_rss_bytes": "1"}, "peak_rss_bytes is '1', expected an integer >= 0"),
        (protocol.fidelity, {"fidelity": {}}, "fidelity.metric: missing"),
    ],
)
def test_wrong_replies_are_garbage(read, ok, problem):
    """A reply of the wrong shape is refused with the place."""
    with pytest.raises(WorkerFailed) as caught:
        read(ok)
    assert problem in str(caught.value)


def test_reply_to_another_request_is_refused():
    """Numbers keep the conversation in step."""
    with pytest.raises(WorkerFailed, match="expected reply 4, got 3"):
        protocol.answer({"id": 3, "ok": {}}, 4)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("SessionError", "no kernel"), ("WorkerFailed", "no kernel"), ("KeyError", "KeyError: no kernel")],
)
def test_own_errors_need_no_type(kind, text):
    """A sentence of Ortolan's stands for itself; a KeyError's message alone would be a riddle."""
    with pytest.raises(WorkerFailed) as caught:
        protocol.answer({"id": 1, "error": {"type": kind, "message": "no kernel"}}, 1)
    assert str(caught.value) == text

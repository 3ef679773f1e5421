"""Time per operator, from onnxruntime's profile."""

import json

import numpy as np
import pytest

from ortolan.types import Candidate, SessionConfig
from ortolan_bench.operators import operator_times
from ortolan_bench.profiling import profile_model
from ortolan_bench.protocol import OperatorTime, WorkerFailed

CPU = "CPUExecutionProvider"


def kernel(name, op, ts, dur, provider=CPU):
    args = {"op_name": op, "provider": provider}
    return {"cat": "Node", "ph": "X", "tid": 1, "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def run(ts):
    return {"cat": "Session", "ph": "X", "tid": 1, "name": "model_run", "ts": ts, "dur": 100, "args": {}}


def test_time_is_per_run_and_the_first_run_is_left_out():
    """Two nodes of an operator are summed up; the slowest comes first."""
    events = [run(0), kernel("a", "Add", 1, 900)]
    for start in (1000, 2000):
        events += [run(start), kernel("a", "Add", start + 1, 10), kernel("b", "MatMul", start + 20, 30)]
        events += [kernel("c", "MatMul", start + 60, 20)]
    assert operator_times(events) == (
        OperatorTime("MatMul", CPU, 2, pytest.approx(50e-6)),
        OperatorTime("Add", CPU, 1, pytest.approx(10e-6)),
    )


def test_nodes_inside_of_a_node_are_not_counted_twice():
    """An If's own time is what is left of it without its branch, however deep that goes."""
    events = [run(0), run(1000), kernel("if", "If", 1001, 100), kernel("loop", "Loop", 1010, 60)]
    events += [kernel("m", "MatMul", 1020, 30), kernel("after", "Add", 1101, 5)]
    found = {one.op: one.seconds * 1e6 for one in operator_times(events)}
    assert found == pytest.approx({"If": 40, "Loop": 30, "MatMul": 30, "Add": 5})


def test_same_operator_on_two_providers_is_two_rows():
    """Where a node ran matters as much as what it is."""
    events = [run(0), kernel("a", "Add", 1, 10), kernel("b", "Add", 20, 5, "CUDAExecutionProvider")]
    assert [one.provider for one in operator_times(events)] == [CPU, "CUDAExecutionProvider"]


def test_profile_without_runs_is_an_error():
    """Nothing would be said by zeros."""
    with pytest.raises(WorkerFailed, match="holds no run"):
        operator_times([])


def test_real_profile(linear_model, tmp_path):
    """The trace is a list of events that a viewer opens; the one operator is found."""
    model, trace = tmp_path / "linear.onnx", tmp_path / "trace.json"
    model.write_bytes(linear_model())
    candidate = Candidate((("model", "linear"),), SessionConfig(threads=1))
    (found,) = profile_model(str(model), candidate, [{"x": np.ones((1, 4), np.float32)}], str(trace))
    assert (found.op, found.provider, found.nodes) == ("MatMul", CPU, 1)
    assert 0 < found.seconds < 1
    assert {event["ph"] for event in json.loads(trace.read_text())} >= {"X"}
    assert [entry.name for entry in tmp_path.iterdir() if "trace" in entry.name] == ["trace.json"]

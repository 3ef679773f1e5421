"""Bound: preallocated inputs and outputs."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from ortolan.engine import RunControl
from ortolan.engine import session as engine_session
from ortolan.engine.providers import PROVIDERS
from ortolan.errors import (
    Cancelled,
    ClosedError,
    DeadlineExceeded,
    InputError,
    InputTypeError,
    SessionError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.engine import OrtSession
    from ortolan.engine.binding import Bound

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(params=["inner", "public", "own memory"])
def bound(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, doubling: Path, opened: Callable[..., OrtSession]
) -> Bound:
    """Bound on the fast path, on the public one, and as on a provider that copies inputs when they are bound."""
    if request.param == "public":
        monkeypatch.setattr(engine_session, "inner_session", lambda _: None)
    if request.param == "own memory":
        from dataclasses import replace

        monkeypatch.setitem(PROVIDERS, "cpu", replace(PROVIDERS["cpu"], own_memory=True))
    return opened(doubling).bind({"x": X})


def test_a_call_sees_what_was_written(bound: Bound) -> None:
    """Values written in place are the input of the next call; the output array stays the same object."""
    output = bound.outputs["y"]
    for number in (1, 2, 3):
        bound.inputs["x"][...] = number
        bound()
        np.testing.assert_array_equal(output, np.full((2, 4), 2 * number))


def test_the_first_values_are_copied_in(bound: Bound) -> None:
    """Binding copies the feeds, so that the caller's array stays the caller's."""
    np.testing.assert_array_equal(bound.inputs["x"], X)
    assert not np.shares_memory(bound.inputs["x"], X)


def test_the_arrays_cannot_be_replaced(bound: Bound) -> None:
    """Replacing an array would have no effect on the model, so it is an error."""
    with pytest.raises(TypeError, match="does not support item assignment"):
        bound.inputs["x"] = X  # type: ignore[index]  # what a user might write


def test_the_memory_lives_as_long_as_the_object(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """Nothing else need hold the arrays that onnxruntime was given."""
    bound = opened(doubling).bind({"x": X.copy()})
    gc.collect()
    bound()
    np.testing.assert_array_equal(bound.outputs["y"], X + X)


def test_a_strided_input_is_bound_in_order(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """The copy is contiguous whatever the feed was."""
    bound = opened(doubling).bind({"x": X[:, ::-1]})
    bound()
    np.testing.assert_array_equal(bound.outputs["y"], 2 * X[:, ::-1])


def test_an_empty_input_can_be_bound(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """Zero rows in, zero rows out."""
    bound = opened(doubling).bind({"x": X[:0]})
    bound()
    assert bound.outputs["y"].shape == (0, 4)


def test_binding_checks_its_feeds(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """The same checks as for run."""
    with pytest.raises(InputTypeError, match="in this machine's byte order"):
        opened(doubling).bind({"x": X.astype(">f4")})
    with pytest.raises(InputError, match="input 'x' is missing"):
        opened(doubling).bind({})


def test_strings_cannot_be_bound(write_model: Callable[..., Path], opened: Callable[..., OrtSession]) -> None:
    """Strings have no fixed place in memory."""
    path = write_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["n"])],
    )
    with pytest.raises(InputTypeError, match="input 'x': strings cannot be bound; call run instead"):
        opened(path).bind({"x": np.array(["a"])})


def test_an_output_whose_shape_varies_is_an_error(
    write_model: Callable[..., Path], opened: Callable[..., OrtSession]
) -> None:
    """Where values decide the shape, the call says that run is the way."""
    path = write_model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n"])],
        [("y", TensorProto.INT64, [1, "found"])],
    )
    bound = opened(path).bind({"x": np.ones(3, np.float32)})
    bound()
    assert bound.outputs["y"].tolist() == [[0, 1, 2]]
    bound.inputs["x"][0] = 0
    with pytest.raises(SessionError, match="an output's shape depends on the values: use run, not bind"):
        bound()


def test_two_threads_at_once_are_refused(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """Sharing would mix their inputs up silently."""
    bound = opened(endless).bind({"x": np.ones(1, np.float32), "steps": np.array(1)})
    bound.inputs["steps"][...] = 10**9
    control = RunControl()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bound, control)
        while not bound._lock.locked() and not running.done():
            pass
        try:
            with pytest.raises(UsageError, match="two threads use one Bound at the same time"):
                bound()
        finally:
            control.cancel()
        assert isinstance(running.exception(60), Cancelled)
    bound.inputs["steps"][...] = 1
    bound()
    assert bound.outputs["y"].tolist() == [2]


def test_a_bound_call_can_be_stopped(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """By its deadline and by cancelling; the next call answers."""
    bound = opened(endless).bind({"x": np.ones(1, np.float32), "steps": np.array(1)})
    bound.inputs["steps"][...] = 10**9
    with pytest.raises(DeadlineExceeded):
        bound(RunControl(timeout=0.02))
    control = RunControl()
    threading.Timer(0.02, control.cancel).start()
    with pytest.raises(Cancelled):
        bound(control)
    with pytest.raises(UsageError, match=r"expected control to be an ortolan\.RunControl, got int"):
        bound(5)  # type: ignore[arg-type]  # a likely slip
    bound.inputs["steps"][...] = 1
    bound(RunControl(timeout=60))
    assert bound.outputs["y"].tolist() == [2]


def test_closing_lets_go_of_the_model(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """A Bound that is still alive does not hold the closed model's memory; its arrays stay readable."""
    session = opened(doubling)
    held = weakref.ref(session._session)
    bound = session.bind({"x": X})
    session.close()
    gc.collect()
    assert held() is None
    with pytest.raises(ClosedError):
        bound()
    np.testing.assert_array_equal(bound.outputs["y"], X + X)


@pytest.mark.parametrize("path", ["inner", "public"])
def test_a_running_call_ends_before_the_model_goes(
    path: str, monkeypatch: pytest.MonkeyPatch, endless: Path, opened: Callable[..., OrtSession]
) -> None:
    """Closing from another thread meanwhile is no crash."""
    if path == "public":
        monkeypatch.setattr(engine_session, "inner_session", lambda _: None)
    session = opened(endless)
    bound = session.bind({"x": np.ones(1, np.float32), "steps": np.array(1)})
    bound.inputs["steps"][...] = 300_000
    with ThreadPoolExecutor(2) as pool:
        calls = [
            pool.submit(bound),
            pool.submit(session.run, {"x": np.ones(1, np.float32), "steps": np.array(300_000)}),
        ]
        while not bound._lock.locked() and not calls[0].done():
            pass
        time.sleep(0.05)  # now the calls are in the model, or this machine is very busy
        session.close()
        errors = [call.exception(60) for call in calls]
    assert all(error is None or isinstance(error, ClosedError) for error in errors)
    if errors[0] is None:
        assert bound.outputs["y"].tolist() == [300_001]

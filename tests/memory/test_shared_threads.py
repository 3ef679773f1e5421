"""Models in one process share its processors, and one model serves many threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ortolan
from ortolan.engine import OrtSession, open_session, options
from ortolan.errors import Cancelled, DeadlineExceeded
from ortolan.types import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable

CORES = 4


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four processors that this process may use."""
    monkeypatch.setattr(options, "default_threads", lambda: CORES)


@pytest.fixture
def opened(layers: Callable[..., object], saved: Callable[..., Path]) -> Callable[..., OrtSession]:
    """Opens the same model again and again, closed at the end."""
    path = saved(layers(2, 64))
    sessions: list[OrtSession] = []

    def open_one(threads: int | None = None) -> OrtSession:
        sessions.append(open_session(path, SessionConfig(threads=threads)))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


def tasks() -> int:
    """Threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(("asked", "own"), [(None, 0), (3, 2)])
def test_a_model_may_have_a_number_that_suits_it(
    layers: Callable[..., object], saved: Callable[..., Path], asked: int | None, own: int
) -> None:
    """It takes the place of all processors, and not of a number that is asked for."""
    before = tasks()
    session = open_session(saved(layers(2, 64)), SessionConfig(threads=asked), usual_threads=1)
    assert tasks() == before + own
    assert session.notes == ()
    assert session.config.threads == asked
    session.close()


@pytest.mark.usefixtures("four_cores")
def test_a_second_model_gets_half_of_the_threads(opened: Callable[..., OrtSession]) -> None:
    """The first has all processors; the threads are not doubled, and the second says what it got and what may help."""
    before = tasks()
    first = opened()
    assert tasks() == before + CORES - 1
    second = opened()
    assert tasks() == before + CORES - 1 + 1
    assert first.notes == ()
    assert second.notes == (
        "it runs with 2 of 4 threads, since other loaded models have theirs; "
        "if they do not run at the same time, threads=4 is faster",
    )
    x = np.ones((3, 64), np.float32)
    np.testing.assert_allclose(first.run({"x": x})["y"], second.run({"x": x})["y"], rtol=1e-5)


@pytest.mark.parametrize("cores", [1, 2])
def test_on_one_or_two_processors_a_second_model_starts_no_thread(
    opened: Callable[..., OrtSession], monkeypatch: pytest.MonkeyPatch, cores: int
) -> None:
    """Half of two is the thread that calls."""
    monkeypatch.setattr(options, "default_threads", lambda: cores)
    before = tasks()
    opened()
    opened()
    assert tasks() == before + cores - 1


@pytest.mark.usefixtures("four_cores")
def test_what_was_asked_for_is_given(opened: Callable[..., OrtSession]) -> None:
    """And is counted: the next one gets the rest, if that is more than half."""
    before = tasks()
    opened(threads=2)
    opened()
    assert tasks() == before + 1 + 2
    opened(threads=3)
    assert tasks() == before + 1 + 2 + 2


@pytest.mark.usefixtures("four_cores")
def test_a_closed_model_gives_its_threads_back(opened: Callable[..., OrtSession]) -> None:
    """Also one that was only dropped, and one that failed to load."""
    before = tasks()
    first = opened()
    first.close()
    first.close()
    opened()
    assert tasks() == before + CORES - 1


@pytest.mark.usefixtures("four_cores")
def test_a_dropped_session_and_a_failed_one_hold_nothing(
    saved: Callable[..., Path], layers: Callable[..., object]
) -> None:
    """Threads are counted by what is alive."""
    path = saved(layers(1, 8))
    broken = path.with_name("broken.onnx")
    broken.write_bytes(path.read_bytes()[:50])
    session = open_session(path, SessionConfig())
    del session
    with pytest.raises(ortolan.OrtolanError):
        open_session(broken, SessionConfig())
    last = open_session(path, SessionConfig())
    assert last.notes == ()
    last.close()


def test_one_model_answers_many_threads(layers: Callable[..., object], saved: Callable[..., Path]) -> None:
    """Each gets the answer to its own input, whatever shapes the others have."""
    with ortolan.load(saved(layers(3, 64))) as model:
        inputs = [np.full((1 + i % 7, 64), i, np.float32) for i in range(64)]
        expected = [model.run({"x": x})["y"] for x in inputs]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda x: model.run({"x": x})["y"], inputs * 4))
    for one, other in zip(found, expected * 4, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture
def slow(layers: Callable[..., object], saved: Callable[..., Path]) -> ortolan.Model:
    """A network that takes half a second and more for many rows: 60 layers of 512."""
    with ortolan.load(saved(layers(60, 512)), threads=1) as model:
        yield model


def test_deadlines_of_some_calls_leave_the_others_alone(slow: ortolan.Model) -> None:
    """Calls that run at the same time end by their own deadline or not at all."""
    small, large = np.ones((4, 512), np.float32), np.ones((4_000, 512), np.float32)
    expected = slow.run({"x": small})["y"]

    def late() -> str:
        with pytest.raises(DeadlineExceeded):
            slow.run({"x": large}, ortolan.RunControl(timeout=0.05))
        return "late"

    def quick() -> np.ndarray:
        return slow.run({"x": small}, ortolan.RunControl(timeout=60))["y"]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(call) for call in (late, quick, late, quick, quick)]
        results = [future.result(60) for future in futures]
    assert [result for result in results if isinstance(result, str)] == ["late", "late"]
    for result in results:
        if not isinstance(result, str):
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(slow.run({"x": small})["y"], expected, rtol=1e-5, atol=1e-7)


def test_a_call_stops_between_two_nodes(slow: ortolan.Model) -> None:
    """Well before it would have ended, and the model answers again at once."""
    large = np.ones((4_000, 512), np.float32)
    control = ortolan.RunControl()
    threading.Timer(0.05, control.cancel).start()
    start = time.perf_counter()
    with pytest.raises(Cancelled):
        slow.run({"x": large}, control)
    stopped = time.perf_counter() - start
    start = time.perf_counter()
    slow.run({"x": large})
    whole = time.perf_counter() - start
    assert stopped < whole

"""Deadlines and cancellation of single calls."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ortolan.engine import RunControl, watchdog
from ortolan.errors import Cancelled, DeadlineExceeded, InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.engine import OrtSession

FOREVER = {"x": np.ones(1, np.float32), "steps": np.array(10**9)}
ONCE = {"x": np.ones(1, np.float32), "steps": np.array(1)}


def test_a_deadline_ends_a_call_and_not_the_session(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """A call that would never end is stopped; the next one answers."""
    session = opened(endless)
    with pytest.raises(DeadlineExceeded, match=r"^the call ran past its deadline of 0\.02 s$"):
        session.run(FOREVER, RunControl(timeout=0.02))
    assert session.run(ONCE, RunControl(timeout=60))["y"].tolist() == [2]
    assert session.run(ONCE)["y"].tolist() == [2]


def test_cancel_ends_a_call_from_another_thread(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """Only the cancelled call ends."""
    session, control = opened(endless), RunControl()
    threading.Timer(0.02, control.cancel).start()
    with pytest.raises(Cancelled, match=r"^the call was cancelled$"):
        session.run(FOREVER, control)
    assert session.run(ONCE, RunControl())["y"].tolist() == [2]


def test_a_cancelled_control_starts_nothing(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """Cancelling before the call counts too."""
    control = RunControl()
    control.cancel()
    with pytest.raises(Cancelled, match=r"^the call was cancelled$"):
        opened(endless).run(FOREVER, control)


def test_one_control_ends_several_calls(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """A control may serve calls of several threads; cancelling is for all of them."""
    session, control, ended = opened(endless), RunControl(), []

    def run() -> None:
        try:
            session.run(FOREVER, control)
        except Cancelled:
            ended.append(True)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(control._calls.stops) < 2:
        time.sleep(0.001)
    control.cancel()
    for thread in threads:
        thread.join()
    assert ended == [True, True]


def test_a_controlled_call_checks_its_inputs(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """The same checks as without control."""
    with pytest.raises(InputError, match="input 'x' is missing"):
        opened(endless).run({}, RunControl(timeout=1))


def test_a_late_answer_is_past_the_deadline() -> None:
    """A last node that cannot be interrupted does not turn a missed deadline into a kept one."""
    with pytest.raises(DeadlineExceeded), RunControl(timeout=0.001).guard():
        time.sleep(0.002)


def test_the_timeout_counts_anew_for_each_call(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """A control that is older than its timeout still serves; nothing of its calls is left behind."""
    session, control, x = opened(doubling), RunControl(timeout=0.5), np.ones((1, 4), np.float32)
    session.run({"x": x}, control)
    time.sleep(0.6)
    np.testing.assert_array_equal(session.run({"x": x}, control)["y"], x + x)
    assert (control._calls.stops, watchdog._watched) == ({}, {})


def test_runs_from_now_share_the_time(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """What a call needs before and between runs counts; a later run does not even begin. Cancelling reaches it too."""
    session, control = opened(endless), RunControl(timeout=0.5)
    call = control.from_now()
    assert call.from_now() is call
    session.run(ONCE, call)
    time.sleep(0.6)
    with pytest.raises(DeadlineExceeded, match=r"^the call ran past its deadline of 0\.5 s$"):
        session.run(ONCE, call)
    session.run(ONCE, control)
    unlimited = RunControl()
    assert unlimited.from_now() is unlimited
    later = RunControl(timeout=60)
    threading.Timer(0.02, later.cancel).start()
    with pytest.raises(Cancelled):
        session.run(FOREVER, later.from_now())


def test_one_thread_watches_all_deadlines(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """Also a nearer one that comes while it waits for a farther one; no call starts a thread of its own."""
    session = opened(endless)
    session.run(ONCE, RunControl(timeout=0.001 + 1000))
    before = threading.active_count()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(session.run, FOREVER, RunControl(timeout=t)) for t in (0.3, 0.03, 0.2, 0.01)]
        assert threading.active_count() <= before + 4
        for call in calls:
            with pytest.raises(DeadlineExceeded):
                call.result(60)
    assert watchdog._watched == {}


def test_a_forked_process_has_deadlines_too(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """The thread is not inherited, and is started again."""
    opened(endless).run(ONCE, RunControl(timeout=60))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        stopped = threading.Event()
        watchdog.watch("call", time.monotonic() + 0.01, stopped.set)
        os.write(writing, b"stopped" if stopped.wait(10) else b"not stopped")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert told.read() == b"stopped"
    os.waitpid(child, 0)


def test_a_handler_of_a_signal_may_cancel() -> None:
    """In the middle of anything the interrupted thread does with the same control."""
    control = RunControl(timeout=60)
    previous = signal.signal(signal.SIGALRM, lambda *_: control.cancel())
    try:
        with pytest.raises(Cancelled), control.guard():
            signal.raise_signal(signal.SIGALRM)
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_an_error_in_time_stays_what_it_is(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """Only what a stopped call raises is turned into why it was stopped."""
    with pytest.raises(ZeroDivisionError), RunControl(timeout=60).guard():
        1 / 0  # noqa: B018 - the error in question


@pytest.mark.parametrize("timeout", ["1", True, 0, -1, -0.0, float("nan"), float("inf"), 1e300])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    """A timeout is a positive number of seconds."""
    with pytest.raises(UsageError, match="expected a timeout in seconds that is greater than 0"):
        RunControl(timeout=timeout)


def test_only_a_run_control_is_one(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """A bare number is not taken for a timeout."""
    with pytest.raises(UsageError, match=r"expected control to be an ortolan\.RunControl, got float"):
        opened(doubling).run({"x": np.ones((1, 4), np.float32)}, 0.5)  # type: ignore[arg-type]  # a likely slip

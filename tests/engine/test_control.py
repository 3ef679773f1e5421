"""Deadlines and cancellation of single calls."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ortolan.engine import RunControl
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
    with pytest.raises(Cancelled, match="before it began"):
        opened(endless).run(FOREVER, control)


def test_one_control_ends_several_calls(endless: Path, opened: Callable[..., OrtSession]) -> None:
    """A control may serve calls of several threads; cancelling is for all of them."""
    session, control, ended = opened(endless), RunControl(), []

    def run() -> None:
        try:
            session.run(FOREVER, control)
        except Cancelled:
            ended.append(True)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(control._stops) < 2:
        pass
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
    control, fired = RunControl(timeout=0.001), threading.Event()
    with pytest.raises(DeadlineExceeded), control.guard(fired.set):
        fired.wait()


@pytest.mark.parametrize("timeout", ["1", True, 0, -1, float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    """A timeout is a positive number of seconds."""
    with pytest.raises(UsageError, match="expected a timeout in seconds that is greater than 0"):
        RunControl(timeout=timeout)


def test_only_a_run_control_is_one(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """A bare number is not taken for a timeout."""
    with pytest.raises(UsageError, match=r"expected control to be an ortolan\.RunControl, got float"):
        opened(doubling).run({"x": np.ones((1, 4), np.float32)}, 0.5)  # type: ignore[arg-type]  # a likely slip

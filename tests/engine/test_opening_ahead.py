"""Sessions that open while something else is made ready."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
from ortolan.engine import open_session
from ortolan.engine.opening_ahead import OpeningSessions
from ortolan.errors import BundleError, ClosedError, ModelFileError
from ortolan.types import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_session_is_there_when_it_is_asked_for(doubling: Path) -> None:
    """It opens in a thread of its own; components are known at once."""
    go = threading.Event()

    def opener() -> Any:
        assert go.wait(10)
        return open_session(doubling, SessionConfig())

    opening = OpeningSessions({"model": opener})
    assert (list(opening), len(opening)) == (["model"], 1)
    go.set()
    session = opening["model"]
    np.testing.assert_array_equal(session.run({"x": np.ones((1, 4), np.float32)})["y"], np.full((1, 4), 2))
    assert opening["model"] is session
    with pytest.raises(KeyError):
        opening["other"]
    opening.close()
    with pytest.raises(ClosedError):
        session.run({})


def test_what_fails_to_open_is_raised_where_it_is_asked_for(doubling: Path, tmp_path: Path) -> None:
    """Also for the sessions that did open, which `close` closes."""
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"no model")
    opened = []

    def first() -> Any:
        opened.append(open_session(doubling, SessionConfig()))
        return opened[0]

    opening = OpeningSessions({"a": first, "b": lambda: open_session(damaged, SessionConfig())})
    for component in ("a", "b"):
        with pytest.raises(ModelFileError):
            opening[component]
    opening.close()
    assert opened[0].closed


def test_a_task_that_fails_meanwhile_closes_the_model(
    text_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether or not it had asked for it."""
    closed = []
    close = OpeningSessions.close

    def watched(self: OpeningSessions) -> None:
        close(self)
        closed.extend(session.closed for session in self.values())

    def fails(*_: Any) -> Any:
        raise BundleError("damaged assets")

    monkeypatch.setattr(OpeningSessions, "close", watched)
    monkeypatch.setattr("ortolan.tasks.open_task", fails)
    with pytest.raises(BundleError, match="damaged assets"):
        ortolan.load(text_bundle())
    assert closed == [True]
    assert "ortolan-load" not in {thread.name for thread in threading.enumerate()}

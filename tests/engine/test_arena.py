"""The memory arena is shrunk when memory has grown, and only then."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.engine import arena
from ortolan.engine.arena import EVERY, PATIENCE, Arena, anonymous_bytes, creeps
from ortolan.types import SessionConfig, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEGABYTE = 10**6


class Runs:
    """Stands for onnxruntime's run and for the process's memory; counts the runs that shrank the arena."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *levels: int) -> None:
        self.levels: Iterator[int] = iter(levels)
        self.shrunk: list[int] = []
        self.count = 0
        monkeypatch.setattr(arena, "anonymous_bytes", lambda: next(self.levels))
        monkeypatch.setattr(arena.allocator, "give_back", lambda: None)
        self.shared: Any = object()
        self.arena = Arena(self.run, self.shared)

    def run(self, names: object, feeds: object, options: object) -> str:
        self.count += 1
        if options is not self.shared:
            self.shrunk.append(self.count)
        return "answer"

    def times(self, looks: int) -> None:
        for _ in range(looks * EVERY):
            assert self.arena.run([], {}, self.shared) == "answer"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Runs]:
    """What the process has in megabytes: when the model is loaded, and whenever it is looked at."""
    return lambda *levels: Runs(monkeypatch, *(MEGABYTE * level for level in levels))


def test_what_stays_is_left_alone(runs: Callable[..., Runs]) -> None:
    """The first look says what is usual."""
    found = runs(50, 80, 80, 80)
    found.times(3)
    assert found.shrunk == []


def test_what_has_grown_is_shrunk(runs: Callable[..., Runs]) -> None:
    """At the end of the run in which it was seen; afterwards all is as before."""
    found = runs(50, 80, 85, 50, 80)
    found.times(3)
    assert found.shrunk == [2 * EVERY]


def test_an_application_that_grows_is_no_reason_for_long(runs: Callable[..., Runs]) -> None:
    """What is left when the arena is empty is not the arena's."""
    found = runs(50, 80, 180, 150, 180, 180)
    found.times(4)
    assert found.shrunk == [2 * EVERY]


def test_what_is_needed_again_and_again_becomes_usual(runs: Callable[..., Runs]) -> None:
    """Shrinking that does not help ends."""
    found = runs(50, 80, *(level for _ in range(PATIENCE) for level in (90, 50)), 90, 90, 90)
    found.times(1 + PATIENCE + 3)
    assert found.shrunk == [(2 + look) * EVERY for look in range(PATIENCE)]


def test_a_call_with_options_of_its_own_keeps_them(runs: Callable[..., Runs]) -> None:
    """Its deadline still counts: the options are added to."""
    found = runs(50, 80, 85, 50)
    found.times(1)

    class Own:
        added: tuple[str, str] | None = None

        def add_run_config_entry(self, key: str, value: str) -> None:
            self.added = (key, value)

    given = [Own() for _ in range(EVERY)]
    for options in given:
        found.arena.run([], {}, options)
    assert [options.added for options in given] == [None] * (EVERY - 1) + [arena.SHRINK]


def test_where_memory_cannot_be_read_nothing_is_done(
    runs: Callable[..., Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some containers hide /proc."""
    found = runs(50)
    monkeypatch.setattr(arena, "anonymous_bytes", lambda: None)
    found.times(3)
    assert found.shrunk == []


def test_memory_of_this_process() -> None:
    """What was just filled is in it."""
    before = anonymous_bytes()
    with mmap.mmap(-1, 20 * MEGABYTE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        block.write(bytes(20 * MEGABYTE))
        after = anonymous_bytes()
    assert before is not None and after is not None
    assert after - before > 15 * MEGABYTE


@pytest.mark.parametrize(
    ("shape", "config", "expected"),
    [
        (("n", 4), SessionConfig(), True),
        ((None, 4), SessionConfig(), True),
        (None, SessionConfig(), True),
        ((1, 4), SessionConfig(), False),
        (("n", 4), SessionConfig(arena=False), False),
        (("n", 4), SessionConfig(provider="openvino"), False),
    ],
)
def test_sessions_that_need_it(
    shape: tuple[int | str | None, ...] | None, config: SessionConfig, expected: bool
) -> None:
    """Those with an arena on the CPU provider whose inputs may have any size."""
    assert creeps(config, [TensorSpec("x", "float32", shape)]) is expected

"""In which order what is measured."""

from collections import Counter

import pytest

from ortolan_bench.schedule import Step, block_count, schedule


def test_same_seed_same_order():
    """The order depends on the seed alone."""
    first = schedule(4, processes=3, blocks=2, seed=7)
    assert first == schedule(4, processes=3, blocks=2, seed=7)
    assert first != schedule(4, processes=3, blocks=2, seed=8)


def test_every_block_once_within_its_worker():
    """Each candidate has each block of each process once, between start and stop."""
    steps = schedule(3, processes=5, blocks=4, seed=0)
    assert Counter(step.action for step in steps) == {"start": 15, "block": 60, "stop": 15}
    assert len(set(steps)) == len(steps)
    for candidate in range(3):
        for process in range(5):
            mine = [step for step in steps if (step.candidate, step.process) == (candidate, process)]
            assert mine == [
                Step("start", candidate, process),
                *(Step("block", candidate, process, block) for block in range(4)),
                Step("stop", candidate, process),
            ]


def test_candidates_take_turns_in_changing_order():
    """Within a round the n-th blocks of all come before any (n+1)-th, and not always in the same order."""
    steps = [step for step in schedule(3, processes=4, blocks=5, seed=1) if step.action == "block"]
    turns = [steps[i : i + 3] for i in range(0, len(steps), 3)]
    assert all(len({step.candidate for step in turn}) == 3 for turn in turns)
    assert all(len({step.block for step in turn}) == 1 for turn in turns)
    assert len({tuple(step.candidate for step in turn) for turn in turns}) > 1


def test_room_limits_who_is_alive_together():
    """Workers that do not fit into memory together are measured in groups; one too large runs alone."""
    alive, most = set(), 0
    sizes = [40, 40, 40, 200]
    for step in schedule(4, processes=6, blocks=1, seed=2, sizes=sizes, room=100):
        if step.action == "start":
            alive.add(step.candidate)
            assert sum(sizes[c] for c in alive) <= 100 or len(alive) == 1
            most = max(most, len(alive))
        elif step.action == "stop":
            alive.discard(step.candidate)
    assert most == 2


def test_nothing_to_measure_gives_no_steps():
    """No candidates, no steps."""
    assert schedule(0, processes=5, blocks=4, seed=0) == ()


@pytest.mark.parametrize(
    ("block_s", "run_s", "inputs", "most", "expected"),
    [
        (0.25, 0.001, 1, 10_000, 250),
        (0.25, 0.001, 16, 10_000, 256),  # whole rounds through the inputs
        (0.25, 0.001, 1000, 10_000, 250),  # fewer runs than inputs: later blocks go on where this one ends
        (0.25, 3.0, 16, 10_000, 1),
        (0.25, 1e-7, 16, 10_000, 10_000),
        (0.25, 0.0, 3, 10_000, 9_999),
    ],
)
def test_block_count(block_s, run_s, inputs, most, expected):
    """As many runs as fill the block."""
    assert block_count(block_s, run_s, inputs, most) == expected

"""In which order what is measured. Pure: the same seed gives the same order."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Action = Literal["start", "block", "stop"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: start a candidate's worker, time a block in it, or stop it.

    Args:
        action: what to do.
        candidate: index of the candidate.
        process: which of the candidate's worker processes, from 0.
        block: which block of that process, from 0; 0 for starts and stops.
    """

    action: Action
    candidate: int
    process: int
    block: int = 0


def schedule(
    candidates: int,
    *,
    processes: int,
    blocks: int,
    seed: int,
    sizes: Sequence[int] | None = None,
    room: int | None = None,
) -> tuple[Step, ...]:
    """Interleave the candidates' blocks in shuffled order, in one round per process.

    In a round every candidate gets a fresh worker. The workers of a group are alive together and take turns block by
    block, in a new order each time and then in the opposite one, so that a slow drift of the machine touches all alike.

    Args:
        candidates: how many.
        processes: rounds.
        blocks: blocks per process.
        seed: of the shuffling.
        sizes: bytes each worker needs.
        room: bytes the workers alive together may need; None for no limit. A candidate larger than this runs alone.
    """
    # An order of measurement, not a secret.
    random = Random(seed)  # noqa: S311
    steps: list[Step] = []
    for process in range(processes):
        order = list(range(candidates))
        random.shuffle(order)
        for group in _groups(order, sizes, room):
            steps += [Step("start", candidate, process) for candidate in group]
            turn = list(group)
            for block in range(blocks):
                if block % 2:
                    turn.reverse()
                else:
                    random.shuffle(turn)
                steps += [Step("block", candidate, process, block) for candidate in turn]
            steps += [Step("stop", candidate, process) for candidate in group]
    return tuple(steps)


def _groups(order: Sequence[int], sizes: Sequence[int] | None, room: int | None) -> list[list[int]]:
    if sizes is None or room is None:
        return [list(order)] if order else []
    groups: list[list[int]] = []
    used = 0
    for candidate in order:
        size = sizes[candidate]
        if groups and used + size <= room:
            groups[-1].append(candidate)
            used += size
        else:
            groups.append([candidate])
            used = size
    return groups


def block_count(block_s: float, run_s: float, inputs: int, most: int) -> int:
    """Runs of one block: as many as fill ``block_s`` seconds, whole rounds through the inputs where they fit.

    Args:
        block_s: seconds a block should last.
        run_s: seconds of one run, from the warm-up.
        inputs: number of inputs.
        most: upper limit, for runs so fast that their samples would fill the memory.
    """
    wanted = min(most, max(1, round(block_s / run_s) if run_s > 0 else most))
    if wanted >= inputs:
        wanted = min(-(-wanted // inputs) * inputs, max(most // inputs, 1) * inputs)
    return wanted

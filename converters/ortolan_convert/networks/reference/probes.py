"""What a model answers to samples, and to the same ones with other sizes of its free dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ortolan.errors import InputError, SessionError
from ortolan_bench.workload import spaced
from ortolan_convert.networks.free_dims import axis_names, free_dims

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.types import Array, Session, TensorSpec

    Tensors = Mapping[str, Array]

SAMPLES = 4
"""Of the samples this many are asked, evenly spread."""
LARGEST_BYTES = 64 << 20
"""Inputs that would become larger than this are not tried."""
SAME = 1e-6
"""Two graphs answer the same if every number differs by no more than this, relative to the larger of 1 and the output's
largest: sums in another order."""
ANOTHER_OPSET = 1e-5
"""In another opset onnxruntime merges other operators, with sums in another order: PP-OCRv6's reader differs by 2e-6.
Beyond this it is another answer, as it is for parity with a source."""


@dataclass(frozen=True, slots=True)
class Probes:
    """Questions to a model and its answers.

    Args:
        asked: inputs and outputs.
        stiff: free dimensions that only one size was found to work for, and that size.
    """

    asked: Sequence[tuple[Tensors, Tensors]]
    stiff: Mapping[str, int]

    def unlike(self, session: Session) -> float:
        """The largest difference of another graph's answers; infinite where it fails or a shape differs."""
        worst = 0.0
        for feeds, expected in self.asked:
            try:
                found = session.run(feeds)
            except (SessionError, InputError):
                return float("inf")
            worst = max(worst, unlike(found, expected))
        return worst


def probed(session: Session, inputs: Sequence[TensorSpec], samples: Sequence[Tensors]) -> Probes:
    """Ask a model.

    Args:
        session: the model.
        inputs: its inputs as declared.
        samples: the model takes them.
    """
    asked = [(feeds, session.run(feeds)) for feeds in spaced(samples, SAMPLES)]
    feeds = asked[0][0]
    names = free_dims(inputs)
    usual = _sizes(inputs, feeds)
    together = {size: [name for name in names if usual.get(name) == size] for size in usual.values()}
    stiff: dict[str, int] = {}
    for name in names:
        size = usual.get(name, 0)
        if size < 1:
            continue
        ways: list[dict[str, int]] = [{name: size + 1}, {name: 2 * size}, {name: 3 * size}]
        # Axes that are called differently may have to be of one size all the same.
        ways += [dict.fromkeys(together[size], new) for new in (size + 1, 2 * size) if len(together[size]) > 1]
        tried = False
        for way in ways:
            resized = _resized(inputs, feeds, way)
            if resized is None:
                continue
            tried = True
            try:
                asked.append((resized, session.run(resized)))
                break
            except (SessionError, InputError):
                continue
        else:
            if tried:
                stiff[name] = size
    return Probes(asked, stiff)


def unlike(found: Tensors, expected: Tensors) -> float:
    """The largest difference of a number relative to the larger of 1 and the output's largest; NaN equals NaN."""
    worst = 0.0
    for name, wanted in expected.items():
        have = found.get(name)
        if have is None or have.shape != wanted.shape or have.dtype != wanted.dtype:
            return float("inf")
        if wanted.dtype.kind != "f":
            if not np.array_equal(have, wanted):
                return float("inf")
            continue
        ours, theirs = have.astype(np.float64), wanted.astype(np.float64)
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        with np.errstate(invalid="ignore"):
            gaps = np.where(same, 0.0, np.abs(ours - theirs))
        finite = np.abs(theirs[np.isfinite(theirs)]).max(initial=1.0)
        worst = max(worst, float(np.nan_to_num(gaps, nan=np.inf).max(initial=0.0)) / finite)
    return worst


def _sizes(inputs: Sequence[TensorSpec], feeds: Tensors) -> dict[str, int]:
    return {name: size for name, size in _axes(inputs, feeds) if isinstance(name, str)}


def _axes(inputs: Sequence[TensorSpec], feeds: Tensors) -> Iterator[tuple[int | str, int]]:
    for spec in inputs:
        yield from zip(axis_names(spec) or (), feeds[spec.name].shape, strict=False)


def _resized(inputs: Sequence[TensorSpec], feeds: Tensors, sizes: Mapping[str, int]) -> dict[str, Array] | None:
    """Inputs with some dimensions of other sizes, values repeated; None if they would be too large."""
    made: dict[str, Array] = {}
    for spec in inputs:
        values = feeds[spec.name]
        growth = 1.0
        axes = [
            (axis, sizes[name])
            for axis, name in enumerate(axis_names(spec) or ())
            if isinstance(name, str) and name in sizes and values.shape[axis]
        ]
        for axis, size in axes:
            growth *= size / values.shape[axis]
        if values.nbytes * growth > LARGEST_BYTES:
            return None
        for axis, size in axes:
            values = np.take(values, np.arange(size) % values.shape[axis], axis=axis)
        made[spec.name] = np.ascontiguousarray(values)
    return made

"""What the variants of a network are judged by: the decisions of its task, else its numbers, against the source's."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ortolan.engine.session import open_session
from ortolan.errors import ParityError
from ortolan.tasks import golden, open_runner
from ortolan.tasks.image_to_text import ImageToTextRunner
from ortolan.tasks.object_detection import ObjectDetectionRunner
from ortolan.tasks.runner import Encoded
from ortolan.types import SessionConfig
from ortolan_convert.networks.inputs import asset_reader
from ortolan_convert.networks.reference.probes import unlike

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ortolan.bundle.manifest import TaskSpec
    from ortolan.tasks.object_detection import Detection, Detections
    from ortolan.tasks.runner import Runner
    from ortolan.types import Array, Fidelity
    from ortolan_convert.networks.source import NetworkSource

    Tensors = Mapping[str, Array]

NUMBER_CHANGED = 0.02
"""Where a task decides nothing, an answer counts as changed if a number moves by more than this share of its output's
range over all samples: 2 % of full scale, about the noise of an 8-bit sensor's two last bits."""
SAME_BOX = 0.5
"""Boxes that overlap by this much (intersection over union) are the same object, as in the PASCAL VOC challenge:
Everingham et al., IJCV 88 (2010), 303-338, section 4.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkExam:
    """Samples and the source's answers.

    Args:
        task: what the network is for.
        assets: of the task.
        inputs: of each sample.
        outputs: the source's.
        origin: ``"samples"`` or ``"generated"``.
    """

    task: TaskSpec
    assets: Mapping[str, bytes]
    inputs: Sequence[Tensors]
    outputs: Sequence[Tensors]
    origin: str

    def fidelity(self, model: Path) -> Fidelity:
        """How far a variant's answers are from the source's.

        Raises:
            ModelFileError, SessionError: onnxruntime cannot load or run it.
        """
        with closing(open_session(model, SessionConfig())) as session:
            runner = open_runner(self.task, {"model": session}, asset_reader(self.assets))
            found = [session.run(feeds) for feeds in self.inputs]
            decided = _DECISIONS.get(type(runner))
            if decided is None and runner.metric != "label":
                changed = self._moved(found)
            else:
                alike = decided or _same_labels
                pairs = zip(self.inputs, found, self.outputs, strict=True)
                changed = sum(not alike(runner, feeds, ours, theirs) for feeds, ours, theirs in pairs)
        worst = max(
            difference(theirs, ours) if _is_finite(ours, theirs) else float("inf")
            for ours, theirs in zip(found, self.outputs, strict=True)
        )
        return golden.fidelity(runner.metric, len(found), changed, worst, self.origin)

    def _moved(self, found: Sequence[Tensors]) -> int:
        """How many samples have a number that moved by more than `NUMBER_CHANGED`, or another value of another type."""
        ranges = {name: _range([outputs[name] for outputs in self.outputs]) for name in self.outputs[0]}
        return sum(
            any(_has_moved(ours[name], theirs[name], ranges[name]) for name in theirs)
            for ours, theirs in zip(found, self.outputs, strict=True)
        )


def asked(network: NetworkSource, inputs: Sequence[Tensors], found: Sequence[Tensors]) -> list[Tensors]:
    """The source's own answers.

    Args:
        network: the source; one without a framework to ask is its own.
        inputs: of each sample.
        found: the reference's answers.

    Raises:
        ParityError: the reference's are not the same.
    """
    if network.ask is None:
        return list(found)
    answers = [network.ask(feeds) for feeds in inputs]
    gaps = [difference(one, other, network.steps) for one, other in zip(answers, found, strict=True)]
    bad = [index for index, gap in enumerate(gaps) if not gap <= network.tolerance]
    if bad:
        worst = max(bad, key=lambda index: np.nan_to_num(gaps[index], nan=np.inf))
        raise ParityError(
            f"the converted model disagrees with its source on {len(bad)} of {len(inputs)} inputs (numbers must be "
            f"within {network.tolerance:g}, relative to the largest): most on input {worst}, by {gaps[worst]:.2g}"
        )
    return answers


def answered_twice(
    model: Path, min_onnxruntime: str, inputs: Sequence[Tensors]
) -> tuple[Sequence[Tensors], list[Tensors], float]:
    """Inputs, outputs with one thread, and what they differ by with the usual number of threads: by rounding.

    Samples whose whole numbers or strings are not the same twice are left out: rounding decided them.
    """
    version = min_onnxruntime
    with (
        closing(open_session(model, SessionConfig(threads=1), min_onnxruntime=version)) as one,
        closing(open_session(model, SessionConfig(), min_onnxruntime=version)) as usual,
    ):
        outputs = [one.run(feeds) for feeds in inputs]
        again = [usual.run(feeds) for feeds in inputs]
    kept = [
        i
        for i, (first, other) in enumerate(zip(outputs, again, strict=True))
        if all(array.dtype.kind == "f" or np.array_equal(array, other[name]) for name, array in first.items())
    ] or list(range(len(inputs)))
    return (
        [inputs[i] for i in kept],
        [outputs[i] for i in kept],
        max(difference(outputs[i], again[i]) for i in kept),
    )


def difference(one: Tensors, other: Tensors, steps: Mapping[str, float] = MappingProxyType({})) -> float:
    """Largest difference of an output relative to the larger of 1 and its largest number; NaN equals NaN.

    Args:
        one: the source's.
        other: to be compared.
        steps: what a number may differ by without being counted, by output.
    """
    theirs = {name: array.astype(np.float64) for name, array in one.items() if array.dtype.kind in "fiub"}
    ours = {name: other[name].astype(np.float64) for name in theirs if name in other}
    for name, step in steps.items():
        if name in ours and ours[name].shape == theirs[name].shape:
            ours[name] = np.where(np.abs(ours[name] - theirs[name]) <= step, theirs[name], ours[name])
    return unlike(ours, theirs)


def _is_finite(ours: Tensors, theirs: Tensors) -> bool:
    """Whether numbers are finite where the source's are."""
    return all(
        array.shape == ours[name].shape and bool(np.isfinite(ours[name][np.isfinite(array)]).all())
        for name, array in theirs.items()
        if array.dtype.kind == "f"
    )


def _range(arrays: Sequence[Array]) -> float:
    low, high = np.inf, -np.inf
    for array in arrays:
        if array.dtype.kind == "f":
            finite = array[np.isfinite(array)].astype(np.float64)
            low, high = min(low, finite.min(initial=np.inf)), max(high, finite.max(initial=-np.inf))
    return float(high - low) if high > low else 0.0


def _has_moved(ours: Array, theirs: Array, span: float) -> bool:
    if ours.shape != theirs.shape:
        return True
    if theirs.dtype.kind != "f":
        return not np.array_equal(ours, theirs)
    finite = np.isfinite(theirs)
    gaps = np.abs(ours[finite].astype(np.float64) - theirs[finite].astype(np.float64))
    # An output that never changes has no range: it is compared with its own size.
    bound = NUMBER_CHANGED * (span or float(np.abs(theirs[finite]).max(initial=0.0)) or 1.0)
    return not bool((gaps <= bound).all())


def _same_labels(runner: Runner, feeds: Tensors, ours: Tensors, theirs: Tensors) -> bool:  # noqa: ARG001 - as the others
    """Whether each row of a sample means the same label."""
    names = [name for name, array in theirs.items() if array.ndim and ours[name].shape == array.shape]
    rows = min((len(theirs[name]) for name in names), default=0)
    return rows > 0 and all(
        runner.decide({name: ours[name][row] for name in names})
        == runner.decide({name: theirs[name][row] for name in names})
        for row in range(rows)
    )


def _same_text(runner: Any, feeds: Tensors, ours: Tensors, theirs: Tensors) -> bool:
    """Whether the same text is read."""
    encoded = Encoded(dict(feeds), [0])
    read = [[answer.text for answer in runner.decode(outputs, encoded)] for outputs in (ours, theirs)]
    return bool(read[0] == read[1])


def _same_objects(runner: Any, feeds: Tensors, ours: Tensors, theirs: Tensors) -> bool:
    """Whether as many objects are found, each of the same class and in the same place as another."""
    encoded = cast("ObjectDetectionRunner", runner).of_tensors(feeds)
    (found,), (expected,) = (cast("list[Detections]", runner.decode(one, encoded)) for one in (ours, theirs))
    left = list(expected.objects)
    if len(found.objects) != len(left):
        return False
    for one in found.objects:
        match = max(left, key=lambda other, one=one: _overlap(one, other))  # type: ignore[misc]  # bound at once
        if _overlap(one, match) < SAME_BOX:
            return False
        left.remove(match)
    return True


def _overlap(one: Detection, other: Detection) -> float:
    """Intersection over union of two boxes; 0 if their classes differ."""
    if one.index != other.index:
        return 0.0
    left, top = max(one.box[0], other.box[0]), max(one.box[1], other.box[1])
    right, bottom = min(one.box[2], other.box[2]), min(one.box[3], other.box[3])
    common = max(right - left, 0.0) * max(bottom - top, 0.0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one.box, other.box))
    return float(common / max(areas - common, np.finfo(np.float64).tiny))


_DECISIONS: Mapping[type[Any], Callable[[Any, Tensors, Tensors, Tensors], bool]] = {
    ImageToTextRunner: _same_text,
    ObjectDetectionRunner: _same_objects,
}
"""Whether two outputs mean the same answer, of tasks whose answers are no labels: runner, feeds, outputs, source's."""

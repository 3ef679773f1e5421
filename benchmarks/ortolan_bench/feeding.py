"""What a worker calls, and with what: raw inputs end to end, and the model alone on the tensors they become."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ortolan_bench.protocol import WorkerFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ortolan.types import Array, Fidelity, Plan, TensorSpec

    class BenchModel(Protocol):
        """The part of ``ortolan.model.Model`` that is measured; every task but tensors has ``predict`` too."""

        @property
        def inputs(self) -> Sequence[TensorSpec]: ...
        @property
        def plan(self) -> Plan: ...
        def run(self, feeds: Mapping[str, Any]) -> object: ...
        def check(self) -> Fidelity: ...

    Calls = tuple[Callable[[Any], object], Sequence[Any]]
    """What is timed, and the inputs it is called with in turn."""

RAW = ("text", "files", "rows")
"""Kinds of workload that are no tensors yet."""

_EXAMPLES = 16  # chunks of a stream that a profile runs


class Feeding:
    """The calls of one workload on one model.

    Args:
        model: loaded.
        workload: as `ortolan_bench.workload.Workload.message` gives it.
        at_once: inputs of one call.

    Raises:
        WorkerFailed: the workload's kind does not fit the model.
        InputError, StorageError: its data cannot be used.
    """

    def __init__(self, model: BenchModel, workload: Mapping[str, Any], at_once: int = 1) -> None:
        self._model = model
        self._at_once = at_once
        self._raw = workload["kind"] in RAW
        items = _raw_inputs(model, workload) if self._raw else _tensors(model, workload)
        self._groups: Sequence[Any] = grouped(items, at_once)

    def whole(self) -> Calls:
        """What an application calls: ``predict`` or ``predict_batch`` of raw inputs, ``run`` of tensors."""
        if self._raw:
            predict = "predict" if self._at_once == 1 else "predict_batch"
            return getattr(self._model, predict), self._groups
        if self._at_once == 1:
            return self._model.run, self._groups
        return _run_each(self._model.run), [stacked(group, self._model.inputs) for group in self._groups]

    def alone(self) -> Calls | None:
        """The same without pre- and post-processing; None where there is none."""
        if not self._raw:
            return None
        runner: Any = getattr(self._model, "_runner", None)
        if hasattr(runner, "stream"):
            # A chunk needs the state of the one before: the model is run as often as a stream runs it.
            bound = runner.session.bind(runner.config.start)
            return _repeat(bound), [self._chunks(group) for group in self._groups]
        run = self._model.run
        runs = [self._encoded(runner, group) for group in self._groups]
        if all(len(one) == 1 for one in runs):
            return run, [one[0] for one in runs]
        return _run_each(run), runs

    def feeds(self) -> list[dict[str, Array]]:
        """What the model is fed for the inputs, one mapping per run."""
        if not self._raw:
            if self._at_once == 1:
                return list(self._groups)
            return [feeds for group in self._groups for feeds in stacked(group, self._model.inputs)]
        runner: Any = getattr(self._model, "_runner", None)
        if hasattr(runner, "stream"):
            return cast("list[dict[str, Array]]", runner.examples(_EXAMPLES))
        return [feeds for group in self._groups for feeds in self._encoded(runner, group)]

    def _encoded(self, runner: Any, group: Any) -> list[dict[str, Array]]:
        return [one.feeds for one in runner.encode([group] if self._at_once == 1 else group)]

    def _chunks(self, group: Any) -> int:
        predict = cast("Any", self._model).predict
        return sum(len(predict(sound)) for sound in ([group] if self._at_once == 1 else group))


def grouped(items: Sequence[Any], at_once: int) -> list[Any]:
    """The items themselves, or lists of ``at_once`` that go through all of them, beginning again where they end."""
    if at_once == 1:
        return list(items)
    groups = -(-len(items) // at_once)
    return [[items[(first + i) % len(items)] for i in range(at_once)] for first in range(0, groups * at_once, at_once)]


def stacked(group: Sequence[Mapping[str, Array]], inputs: Sequence[TensorSpec]) -> list[dict[str, Array]]:
    """Several feeds as one run with a larger batch, or one by one where the model takes no batch or shapes differ."""
    import numpy as np

    one_by_one = [dict(feeds) for feeds in group]
    for spec in inputs:
        arrays = [np.asarray(feeds[spec.name]) for feeds in group if spec.name in feeds]
        free = spec.shape is not None and len(spec.shape) > 0 and not isinstance(spec.shape[0], int)
        if (
            not free
            or len(arrays) != len(group)
            or any(a.ndim == 0 or a.shape[1:] != arrays[0].shape[1:] for a in arrays)
        ):
            return one_by_one
    return [{spec.name: np.concatenate([feeds[spec.name] for feeds in group]) for spec in inputs}]


def _raw_inputs(model: BenchModel, workload: Mapping[str, Any]) -> Sequence[Any]:
    kind = workload["kind"]
    if not hasattr(model, "predict") or (kind == "rows" and not hasattr(model, "read_table")):
        raise WorkerFailed(f"the inputs are {_NAMES[kind]}, but this model takes tensors; give --inputs DATA.npz")
    if kind == "rows":
        from ortolan_bench.workload import spaced

        return spaced(cast("Any", model).read_table(workload["path"]))
    return cast("Sequence[Any]", workload["texts"])


def _tensors(model: BenchModel, workload: Mapping[str, Any]) -> Sequence[Any]:
    from ortolan_bench.workload import generate, read_npz

    if workload["kind"] == "tensors":
        return read_npz(Path(workload["path"]), model.inputs)
    runner: Any = getattr(model, "_runner", None)
    if hasattr(runner, "examples"):
        from ortolan_bench.workload import GENERATED_INPUTS

        return cast("Sequence[Any]", runner.examples(GENERATED_INPUTS))
    return generate(model.inputs, workload["dims"])


def _run_each(run: Callable[[Any], object]) -> Callable[[Any], object]:
    def run_each(runs: Sequence[Any]) -> None:
        for feeds in runs:
            run(feeds)

    return run_each


def _repeat(bound: Callable[[], object]) -> Callable[[int], object]:
    def repeat(times: int) -> None:
        for _ in range(times):
            bound()

    return repeat


_NAMES = {"text": "texts", "files": "files", "rows": "rows of a table"}

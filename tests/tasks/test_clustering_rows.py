"""Task clustering over the rows of a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ortolan.bundle.description import TaskSpec
from ortolan.errors import BundleError, InputError, ManifestError
from ortolan.tasks import open_runner
from ortolan.tasks.clustering import Cluster
from ortolan.tasks.golden import Golden, compare
from ortolan.types import Fidelity, Interval, SessionConfig, TensorSpec

CENTERS = np.array([[0.0, 0.0], [3.0, 4.0]])
COLUMNS = {"input": "X", "features": ["width", "height"]}


class Distances:
    """Computes with numpy what a converted graph computes."""

    inputs = (TensorSpec("X", "float64", ("batch", 2)),)
    outputs = (TensorSpec("distances", "float64", ("batch", 2)),)
    config = SessionConfig()

    def run(self, feeds: Any, control: object = None) -> Any:
        return {"distances": np.sqrt(((feeds["X"][:, None] - CENTERS) ** 2).sum(axis=2))}


def opened(**config: Any) -> Any:
    task = TaskSpec("clustering", {"columns": COLUMNS, "clusters": 2, **config})
    return open_runner(task, {"model": Distances()}, {}.__getitem__)  # type: ignore[dict-item]  # enough of one


def test_the_nearest_center_of_a_row() -> None:
    """By name, in order and as arrays, with all distances."""
    runner = opened()
    assert runner.answer({"height": 4.0, "width": 3.0}) == Cluster(1, 0.0, (5.0, 0.0))
    (encoded,) = runner.encode(np.array([[0.0, 1.0], [3.0, 3.0]]))
    answers = runner.decode(runner.session.run(encoded.feeds), encoded)
    assert [answer.label for answer in answers] == [0, 1]
    assert answers[0].distance == 1.0
    assert runner.decide({"distances": np.array([2.0, 1.0])}) == 1
    runner.warm_up()


def test_rows_that_are_none() -> None:
    """Faults name the feature."""
    with pytest.raises(InputError, match="feature 'width': expected a number, found nan"):
        opened().answer([math.nan, 1])


def test_the_configuration_fits_the_model() -> None:
    """As many clusters as distances, and columns as inputs."""
    with pytest.raises(BundleError, match=r"output 'distances' to have the shape \[batch, 3\]"):
        opened(clusters=3)
    with pytest.raises(ManifestError, match=r"task\.config\.clusters"):
        opened(clusters=0)
    with pytest.raises(ManifestError, match=r"task\.config\.input: unknown key"):
        opened(input={})


def test_golden_tensors_are_compared() -> None:
    """A difference from the source counts."""
    runner = opened()
    promised = Fidelity("cluster", 1, 0.0, Interval(0, 1), 0.0, "samples")
    inputs = [{"X": np.array([[3.0, 4.0]])}]
    right = Golden(inputs, [{"distances": np.array([[5.0, 0.0]])}], None)
    wrong = Golden(inputs, [{"distances": np.array([[5.0, 0.5]])}], None)
    assert compare(runner, runner.session, right, promised).worst == 0
    assert compare(runner, runner.session, wrong, promised).drop == 1


class Deciding(Distances):
    """Answers with a cluster of its own choice, the farther one."""

    outputs = (*Distances.outputs, TensorSpec("label", "int64", ("batch",)))

    def run(self, feeds: Any, control: object = None) -> Any:
        distances = super().run(feeds)["distances"]
        return {"distances": distances, "label": distances.argmax(axis=1)}


def test_a_model_may_decide_itself() -> None:
    """Its label counts where the configuration names that output, and must be there."""
    task = TaskSpec("clustering", {"columns": COLUMNS, "clusters": 2, "label": "label"})
    runner: Any = open_runner(task, {"model": Deciding()}, {}.__getitem__)  # type: ignore[dict-item]  # enough of one
    assert runner.answer([3.0, 4.0]) == Cluster(0, 5.0, (5.0, 0.0))
    assert runner.decide({"distances": np.array([2.0, 1.0]), "label": np.int64(0)}) == 0
    with pytest.raises(BundleError, match="expected an output 'label' int64"):
        opened(label="label")

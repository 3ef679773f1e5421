"""Task image-classification on a model that tells which color an image has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan.bundle.description import TaskSpec
from ortolan.errors import BundleError, InputError, InputTypeError, ManifestError
from ortolan.inputs.image_source import ImageArray
from ortolan.tasks import open_runner

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT = {"kind": "image", "color": "rgb", "layout": "nchw", "dtype": "float32", "scale": 1 / 255}
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def image(color: str, size: int = 4) -> Any:
    return np.full((size, size, 3), COLORS[color], np.uint8)


@pytest.fixture
def open_colors(tiny_session: Callable[..., Any]) -> Callable[..., Any]:
    """Function: changes to the configuration -> a runner; the model's logits are ten times the mean of each channel."""

    def make(batch: Any = "batch", side: Any = "side", assets: Any = None, **changes: Any) -> Any:
        session = tiny_session(
            [
                ("ReduceMean", ["x"], ["mean"], {"axes": [2, 3], "keepdims": 0}),
                ("Mul", ["mean", "ten"], ["logits"], {}),
            ],
            {"x": [batch, 3, side, side]},
            {"logits": [batch, 3]},
            {"ten": np.float32(10)},
        )
        config = {"input": INPUT, "activation": "softmax", "labels": list(COLORS), **changes}
        return open_runner(TaskSpec("image-classification", config), {"model": session}, (assets or {}).__getitem__)

    return make


def test_an_image_gets_its_label_and_the_best_classes(open_colors: Callable[..., Any]) -> None:
    """Scores are the softmax of the logits, the best first, the first of equal ones first."""
    answer = open_colors(top=2).answer(image("green"))
    assert (answer.label, answer.index) == ("green", 1)
    assert answer.score == pytest.approx(np.exp(10) / (np.exp(10) + 2))
    assert [(one.label, one.index) for one in answer.top] == [("green", 1), ("red", 0)]
    assert len(open_colors(top=5).answer(image("blue")).top) == 3


@pytest.mark.parametrize(("activation", "expected"), [("none", 10.0), ("sigmoid", 1 / (1 + np.exp(-10)))])
def test_the_activation_is_declared(open_colors: Callable[..., Any], activation: str, expected: float) -> None:
    """The task applies it, or leaves the graph's numbers alone."""
    assert open_colors(activation=activation).answer(image("red")).score == pytest.approx(expected)


def test_labels_come_from_the_configuration_an_asset_or_are_numbers(open_colors: Callable[..., Any]) -> None:
    """Lines of text, or a JSON list."""
    lines = {"names.txt": "rot\r\ngrün\nblau\n".encode()}
    assert open_colors(labels="names.txt", assets=lines).answer(image("green")).label == "grün"
    assert open_colors(labels="n.json", assets={"n.json": b'["r", "g", "b"]'}).answer(image("blue")).label == "b"
    assert open_colors(labels=None).answer(image("blue")).label == 2


def test_a_batch_is_answered_in_its_order(open_colors: Callable[..., Any]) -> None:
    """Images of several sizes; each is a run of its own."""
    runner = open_colors()
    colors = ["red", "blue", "green", "green", "red", "blue", "red"]
    images = [image(color, 2 + i % 3) for i, color in enumerate(colors)]
    runs = list(runner.encode(images))
    assert [run.rows for run in runs] == [[i] for i in range(7)]
    answers = {}
    for run in runs:
        answers.update(zip(run.rows, runner.decode(runner.session.run(run.feeds), run), strict=True))
    assert [answers[i].label for i in range(len(images))] == colors
    assert [answers[i] for i in range(len(images))] == [runner.answer(x) for x in images]


def test_images_are_read_when_it_is_their_turn(open_colors: Callable[..., Any]) -> None:
    """A thousand photos are not in memory at once."""
    taken = []

    def photos() -> Any:
        for i in range(6):
            taken.append(i)
            yield image("red")

    assert next(open_colors().encode(photos())).rows == [0]
    assert len(taken) == 1


def test_one_image_is_no_batch_of_images(open_colors: Callable[..., Any]) -> None:
    """The message says what to do; an array of four axes is one."""
    runner = open_colors()
    for single in ("photo.jpg", b"\xff\xd8", image("red"), ImageArray(image("red"))):
        with pytest.raises(InputTypeError, match=r"expected a list of images, found a single .*; use predict for it"):
            list(runner.encode(single))
    assert [run.rows for run in runner.encode(np.stack([image("red")] * 2))] == [[0], [1]]
    assert list(runner.encode([])) == []


def test_the_image_at_fault_is_named(open_colors: Callable[..., Any]) -> None:
    """By its position in the batch."""
    with pytest.raises(InputTypeError, match="at position 1: expected an image"):
        list(open_colors().encode([image("red"), None]))
    with pytest.raises(InputError, match="at position 0: the image: expected an image file"):
        pytest.importorskip("PIL")
        list(open_colors().encode([b"nothing"]))


def test_warming_up_and_examples_fit_the_model(open_colors: Callable[..., Any]) -> None:
    """Also where only the model says how large images are; examples are the same each time."""
    runner = open_colors(side=7)
    runner.warm_up()
    examples, again = runner.examples(3), runner.examples(3)
    assert [feeds["x"].shape for feeds in examples] == [(1, 3, 7, 7)] * 3
    for one, other in zip(examples, again, strict=True):
        np.testing.assert_array_equal(one["x"], other["x"])
    assert not np.array_equal(examples[0]["x"], examples[1]["x"])


def test_the_decision_is_the_largest_number(open_colors: Callable[..., Any]) -> None:
    """For comparisons with golden answers."""
    assert open_colors().decide({"logits": np.array([0.0, 2.0, 1.0], np.float32)}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "relu"}, "task.config.activation: expected 'softmax' or 'sigmoid' or 'none', got \"relu\""),
        ({"activation": None}, "task.config.activation: expected str, got null"),
        ({"top": 0}, "task.config.top: expected 1 to 1000, got 0"),
        ({"tops": 1}, "task.config.tops: unknown key"),
        ({"labels": []}, "task.config.labels: expected labels: a list of texts, not empty"),
        ({"labels": [1, 2, 3]}, "task.config.labels: expected labels: a list of texts, not empty"),
        ({"output": 3}, "task.config.output: expected a name, found 3"),
    ],
)
def test_wrong_configurations_are_refused(open_colors: Callable[..., Any], changes: Any, message: str) -> None:
    """With the dotted path."""
    with pytest.raises(ManifestError) as caught:
        open_colors(**changes)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, "model: expected 2 classes, as many as labels, found logits: float32[batch, 3]"),
        ({"labels": "none.txt"}, "assets/none.txt: expected this file, found none"),
        ({"labels": "bad.txt"}, "assets/bad.txt: expected UTF-8"),
        ({"labels": "bad.json"}, "assets/bad.json: expected a JSON list"),
        ({"labels": "map.json"}, "assets/map.json: expected labels: a list of texts"),
        ({"output": "scores"}, "model: expected an output 'scores', found logits"),
        (
            {"input": {**INPUT, "color": "gray"}},
            "model: expected an input for float32[1, 1, ?, ?], which the task's configuration makes, found x: float32",
        ),
        ({"input": {**INPUT, "dtype": "uint8", "scale": 1}}, "model: expected an input for uint8[1, 3, ?, ?]"),
        ({"input": {**INPUT, "layout": "nhwc"}, "side": 4}, "model: expected an input for float32[1, ?, ?, 3]"),
        ({"input": {**INPUT, "crop": [8, 8]}, "side": 4}, "model: expected an input for float32[1, 3, 8, 8]"),
    ],
)
def test_models_that_do_not_fit_are_refused(open_colors: Callable[..., Any], changes: Any, message: str) -> None:
    """When they are opened, with what was expected and found."""
    assets = {"bad.txt": b"\xff\xfe", "bad.json": b"[", "map.json": b"{}"}
    with pytest.raises(BundleError) as caught:
        open_colors(assets=assets, **changes)
    assert str(caught.value).startswith(message)


def test_outputs_of_another_shape_are_refused(open_colors: Callable[..., Any]) -> None:
    """Where the model did not declare its own: with the number expected and the shape found."""
    runner = open_colors()
    encoded = next(iter(runner.encode([image("red")])))
    with pytest.raises(BundleError, match=r"expected 3 numbers for every image, found \[4\]"):
        runner.decode({"logits": np.zeros((1, 4), np.float32)}, encoded)
    with pytest.raises(BundleError, match=r"expected numbers for every image, found \[3, 1, 1\]"):
        open_colors(labels=None).decode({"logits": np.zeros((1, 3, 1, 1), np.float32)}, encoded)


@pytest.mark.parametrize(
    ("resize", "crop", "shape"),
    [
        ({"to": "exact", "size": [8, 6]}, None, (1, 3, 8, 6)),
        ({"to": "letterbox", "size": [8, 6]}, None, (1, 3, 8, 6)),
        ({"to": "shortest", "size": 9}, [8, 6], (1, 3, 8, 6)),
        ({"to": "bounded", "shortest": 16, "longest": 100, "multiple": 16}, None, (1, 3, 96, 96)),
        ({"to": "height", "height": 8, "min_width": 8, "max_width": 64, "multiple": 8}, None, (1, 3, 8, 64)),
        ({"to": "shortest", "size": 9}, None, (1, 3, None, None)),
        (None, None, (1, 3, None, None)),
    ],
)
def test_the_largest_tensor_is_known(open_colors: Callable[..., Any], resize: Any, crop: Any, shape: Any) -> None:
    """Where the configuration has a bound: memory has to be there for it, whatever the first image is."""
    runner = open_colors(input={**INPUT, "resize": resize, "crop": crop})
    assert runner.largest() == {"x": shape}
    for height, width in ((1, 1), (3, 999), (999, 3), (500, 500)):
        made = runner.feeds(np.zeros((height, width, 3), np.uint8))["x"].shape
        assert all(most is None or size <= most for size, most in zip(made, shape, strict=True))

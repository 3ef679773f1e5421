"""What counts as a changed answer: labels, texts and boxes of a task, or numbers that move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ortolan.bundle.manifest import TaskSpec
from ortolan_convert.networks.exam import NetworkExam, difference

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 64
IMAGE = {"kind": "image", "color": "rgb", "layout": "nchw", "dtype": "float32", "scale": 1}
HEAD = {
    "kind": "boxes",
    "columns": ["box", "scores"],
    "format": "xyxy",
    "coordinates": "pixels",
    "activation": "none",
    "threshold": 0.25,
    "iou": 0.5,
    "output": "y",
}
DETECTION = TaskSpec("object-detection", {"input": IMAGE, "head": HEAD, "labels": None})
READING = TaskSpec(
    "image-to-text", {"input": IMAGE, "output": "y", "activation": "none", "charset": "charset.txt", "blank": 0}
)
CLASSES = TaskSpec(
    "image-classification", {"input": IMAGE, "output": "y", "activation": "none", "labels": None, "top": 1}
)
BOXES = [[4, 4, 24, 24, 0.9, 0.1], [30, 30, 60, 60, 0.2, 0.8]]


def giving(path: Path, array: Any) -> Path:
    """A model that gives these numbers for every image."""
    value = np.asarray(array, np.float32)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["nothing"]),
        helper.make_node("Add", ["value", "nothing"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, *value.shape])],
        [numpy_helper.from_array(value[None], "value"), numpy_helper.from_array(np.float32(0), "zero")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def changed(task: TaskSpec, source: Any, variant: Any, tmp_path: Path) -> tuple[float, str]:
    """Share of samples whose answer the variant changes, and the metric."""
    feeds = {"x": np.ones((1, 3, SIDE, SIDE), np.float32)}
    reference = onnxruntime.InferenceSession(giving(tmp_path / "a.onnx", source))
    outputs = {"y": reference.run(None, feeds)[0]}
    assets = {"charset.txt": b"a\nb\n"}
    exam = NetworkExam(task=task, assets=assets, inputs=[feeds] * 3, outputs=[outputs] * 3, origin="samples")
    fidelity = exam.fidelity(giving(tmp_path / "b.onnx", variant))
    return fidelity.drop, fidelity.metric


@pytest.mark.parametrize(
    ("variant", "drop"),
    [
        (BOXES, 0.0),
        ([BOXES[1], BOXES[0]], 0.0),
        ([[5, 5, 26, 25, 0.7, 0.1], [29, 31, 61, 59, 0.2, 0.6]], 0.0),
        ([[20, 20, 40, 40, 0.9, 0.1], BOXES[1]], 1.0),
        ([BOXES[0], [30, 30, 60, 60, 0.8, 0.2]], 1.0),
        ([BOXES[0], [30, 30, 60, 60, 0.2, 0.24]], 1.0),
        ([*BOXES, [4, 40, 20, 60, 0.9, 0.0]], 1.0),
    ],
    ids=["same", "another order", "a little moved", "far away", "another class", "one less", "one more"],
)
def test_objects_are_the_same_where_boxes_overlap(variant: Any, drop: float, tmp_path: Path) -> None:
    """As many of each class, each over half of the other; scores may differ."""
    assert changed(DETECTION, BOXES, variant, tmp_path)[0] == drop


@pytest.mark.parametrize(
    ("variant", "drop"),
    [([[0, 1, 0], [0, 0.6, 0.4], [0, 0, 1]], 0.0), ([[0, 1, 0], [0, 0.4, 0.6], [0, 1, 0]], 1.0)],
)
def test_texts_are_compared_as_texts(variant: Any, drop: float, tmp_path: Path) -> None:
    """Repetitions fall together: where one symbol ends and the next begins may move."""
    assert changed(READING, [[0, 1, 0], [0, 0.4, 0.6], [0, 0, 1]], variant, tmp_path)[0] == drop


@pytest.mark.parametrize(("variant", "drop"), [([0.2, 0.5, 0.3], 0.0), ([0.5, 0.4, 0.1], 1.0)])
def test_labels_are_compared_as_labels(variant: Any, drop: float, tmp_path: Path) -> None:
    """Whatever the numbers."""
    assert changed(CLASSES, [0.0, 1.0, 0.0], variant, tmp_path) == (drop, "label")


@pytest.mark.parametrize(
    ("variant", "drop"), [([0.0, 5.0, 10.0], 0.0), ([0.0, 5.19, 10.0], 0.0), ([0.0, 5.21, 10.0], 1.0)]
)
def test_numbers_may_move_by_two_percent_of_their_range(variant: Any, drop: float, tmp_path: Path) -> None:
    """Where a task decides nothing."""
    assert changed(TaskSpec("tensor", {}), [0.0, 5.0, 10.0], variant, tmp_path) == (drop, "tensor")


def test_an_output_that_never_changes_is_compared_with_its_size(tmp_path: Path) -> None:
    """It has no range."""
    assert changed(TaskSpec("tensor", {}), [7.0, 7.0], [7.1, 7.0], tmp_path)[0] == 0.0
    assert changed(TaskSpec("tensor", {}), [7.0, 7.0], [7.2, 7.0], tmp_path)[0] == 1.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_infinitely_far(value: float, tmp_path: Path) -> None:
    """Unless the source's are none either."""
    feeds = {"x": np.ones((1, 3, SIDE, SIDE), np.float32)}
    for source, worst in (([1.0, 2.0], np.inf), ([value, 2.0], 0.0)):
        outputs = {"y": np.asarray([source], np.float32)}
        exam = NetworkExam(
            task=TaskSpec("tensor", {}), assets={}, inputs=[feeds], outputs=[outputs], origin="generated"
        )
        assert exam.fidelity(giving(tmp_path / "m.onnx", [value, 2.0])).worst == worst


def test_differences() -> None:
    """Relative to the larger of 1 and the largest; of another shape infinite; strings have none."""
    one = {"y": np.float32([1.0, -200.0]), "s": np.array(["a"])}
    assert difference(one, {"y": np.float32([3.0, -200.0]), "s": np.array(["b"])}) == pytest.approx(0.01)
    assert difference(one, {"y": np.float32([[3.0, -200.0]]), "s": np.array(["b"])}) == np.inf
    assert difference({"y": np.int64([5])}, {"y": np.int64([7])}) == pytest.approx(0.4)

"""Task object-detection: both heads, non-maximum suppression, and boxes in the original image's coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.bundle.description import TaskSpec
from ortolan.errors import BundleError, ManifestError
from ortolan.tasks import open_runner
from ortolan.tasks.detection_boxes import suppressed
from ortolan.tasks.regions import convex_hull, dilated, mean_inside, regions, smallest_rectangle

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT = {"kind": "image", "color": "rgb", "layout": "nchw", "dtype": "float32", "scale": 1 / 255}
MAP = {"kind": "map", "threshold": 0.3, "rectangle": "smallest", "box_threshold": 0.5, "unclip": 0}
BOXES = {
    "kind": "boxes",
    "columns": ["box", "scores"],
    "format": "xyxy",
    "coordinates": "pixels",
    "activation": "none",
    "threshold": 0.25,
    "iou": 0.5,
}


@pytest.fixture
def open_map(tiny_session: Callable[..., Any]) -> Callable[..., Any]:
    """Function (input, labels, changes to the head) -> a runner; the model's map is the red channel."""

    def make(given_input: Any = INPUT, labels: Any = None, **changes: Any) -> Any:
        session = tiny_session(
            [("Gather", ["x", "first"], ["y"], {"axis": 1})],
            {"x": ["batch", 3, "height", "width"]},
            {"y": ["batch", 1, "height", "width"]},
            {"first": np.array([0], np.int64)},
        )
        config = {"input": given_input, "head": {**MAP, **changes}, "labels": labels}
        return open_runner(TaskSpec("object-detection", config), {"model": session}, {}.__getitem__)

    return make


@pytest.fixture
def open_boxes(tiny_session: Callable[..., Any]) -> Callable[..., Any]:
    """Function (outputs by name, input, labels, changes to the head) -> a runner whose model gives those for any image.

    The model computes: it adds nothing times the sum of each image, so that outputs have the images' batch.
    """

    def make(outputs: Any, given_input: Any = INPUT, labels: Any = None, **changes: Any) -> Any:
        nodes = [
            ("ReduceMean", ["x"], ["mean"], {"axes": [1, 2, 3], "keepdims": 0}),
            ("Mul", ["mean", "zero"], ["nothing"], {}),
        ]
        constants: dict[str, Any] = {"zero": np.float32(0)}
        for name, array in outputs.items():
            constants[f"{name}_value"] = np.asarray(array, np.float32)
            constants[f"{name}_shape"] = np.array([-1] + [1] * np.ndim(array), np.int64)
            nodes += [
                ("Reshape", ["nothing", f"{name}_shape"], [f"{name}_nothing"], {}),
                ("Add", [f"{name}_nothing", f"{name}_value"], [name], {}),
            ]
        session = tiny_session(
            nodes,
            {"x": ["batch", 3, "height", "width"]},
            {name: ["batch", *np.shape(array)] for name, array in outputs.items()},
            constants,
        )
        head = {key: value for key, value in {**BOXES, **changes}.items() if value is not ...}
        config = {"input": given_input, "head": head, "labels": labels}
        return open_runner(TaskSpec("object-detection", config), {"model": session}, {}.__getitem__)

    return make


def blank(height: int, width: int) -> Any:
    return np.zeros((height, width, 3), np.uint8)


# --- the map head


def test_regions_become_boxes_from_top_to_bottom(open_map: Callable[..., Any]) -> None:
    """With the mean inside as score; coordinates are those of pixel centers."""
    image = blank(40, 60)
    image[20:30, 5:25, 0] = 255
    image[4:12, 30:50, 0] = 204
    found = open_map(labels=["text"]).answer(image)
    assert (found.width, found.height) == (60, 40)
    assert [one.box for one in found.objects] == [(30, 4, 49, 11), (5, 20, 24, 29)]
    assert [one.label for one in found.objects] == ["text", "text"]
    assert [one.score for one in found.objects] == pytest.approx([0.8, 1.0])
    assert found.objects[1].corners == ((5, 20), (24, 20), (24, 29), (5, 29))


def test_boxes_are_grown_by_area_over_perimeter(open_map: Callable[..., Any]) -> None:
    """A rectangle of 20 by 10 grows by 200 / 60 times the ratio on each side, up to the image's edges."""
    image = blank(60, 60)
    image[25:36, 20:41, 0] = 255
    image[0:11, 0:21, 0] = 255
    corner, middle = open_map(unclip=1.5).answer(image).objects
    np.testing.assert_allclose(middle.box, (15, 20, 45, 40), atol=1e-9)
    np.testing.assert_allclose(corner.box, (0, 0, 25, 15), atol=1e-9)


def test_noise_faint_and_thin_regions_are_left_out(open_map: Callable[..., Any]) -> None:
    """By side, score and number."""
    image = blank(60, 60)
    image[2:4, 2:50, 0] = 255  # thin
    image[10, 10, 0] = 255  # noise
    image[20:30, 2:20, 0] = 100  # faint
    image[40:50, 2:20, 0] = 200
    image[40:50, 30:50, 0] = 255
    runner = open_map()
    assert [one.box[0] for one in runner.answer(image).objects] == [2, 30]
    assert len(open_map(box_threshold=0.35).answer(image).objects) == 3
    assert [one.box[0] for one in open_map(max_boxes=1).answer(image).objects] == [30]
    assert runner.answer(blank(60, 60)).objects == ()


def test_turned_regions_get_turned_rectangles(open_map: Callable[..., Any]) -> None:
    """Or upright ones, if that is declared."""
    image = blank(80, 80)
    y, x = np.mgrid[:80, :80]
    along, across = (x - 40) * np.cos(0.5) + (y - 40) * np.sin(0.5), (y - 40) * np.cos(0.5) - (x - 40) * np.sin(0.5)
    image[(np.abs(along) <= 25) & (np.abs(across) <= 6), 0] = 255
    (turned,) = open_map().answer(image).objects
    corners = np.array(turned.corners)
    sides = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
    np.testing.assert_allclose(sides, [50, 12, 50, 12], atol=1.5)
    np.testing.assert_allclose(corners.mean(axis=0), [40, 40], atol=0.5)
    (upright,) = open_map(rectangle="upright", box_threshold=0.3).answer(image).objects
    assert upright.box == (x[image[..., 0] > 0].min(), *_low(image), x[image[..., 0] > 0].max(), *_high(image))


def _low(image: Any) -> tuple[int]:
    return (int(np.nonzero(image[..., 0])[0].min()),)


def _high(image: Any) -> tuple[int]:
    return (int(np.nonzero(image[..., 0])[0].max()),)


@pytest.mark.parametrize(
    "resize",
    [
        {"to": "exact", "size": [96, 64]},
        {"to": "letterbox", "size": [128, 128]},
        {"to": "letterbox", "size": [96, 160], "place": "corner"},
        {"to": "bounded", "shortest": 128, "longest": 256, "multiple": 32},
        {"to": "shortest", "size": 90},
    ],
)
def test_boxes_are_in_the_coordinates_of_the_original(open_map: Callable[..., Any], resize: dict[str, Any]) -> None:
    """Whatever was done to the image, singly and in a batch of several sizes."""
    pytest.importorskip("PIL")
    runner = open_map({**INPUT, "resize": {**resize, "interpolation": "nearest"}})
    images, expected = [], []
    for height, width in ((80, 60), (40, 90), (80, 60)):
        image = blank(height, width)
        image[10:30, 20:50, 0] = 255
        images.append(image)
        expected.append((20, 10, 50, 30))
    answers = {}
    for run in runner.encode(images):
        answers.update(zip(run.rows, runner.decode(runner.session.run(run.feeds), run), strict=True))
    for i, image in enumerate(images):
        assert answers[i] == runner.answer(image)
        (found,) = answers[i].objects
        assert (answers[i].height, answers[i].width) == image.shape[:2]
        np.testing.assert_allclose(found.box, expected[i], atol=2.5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 24), st.integers(1, 24), st.floats(0.05, 0.95), st.integers(0, 2**32 - 1))
def test_regions_are_those_of_a_flood_fill(height: int, width: int, share: float, seed: int) -> None:
    """Joined also over corners, in the order of their first pixels; hulls and rectangles hold every pixel."""
    mask = np.random.default_rng(seed).random((height, width)) < share
    left = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    expected = []
    for first in sorted(left):
        if first not in left:
            continue
        stack, members = [first], set()
        left.remove(first)
        while stack:
            y, x = stack.pop()
            members.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            stack += near
        expected.append(members)
    found = list(regions(mask))
    assert len(found) == len(expected)
    for region, members in zip(found, expected, strict=True):
        rows = sorted({y for y, _ in members})
        assert region.rows.tolist() == rows
        assert region.left.tolist() == [min(x for y, x in members if y == row) for row in rows]
        assert region.right.tolist() == [max(x for y, x in members if y == row) for row in rows]
        points = np.array([(x, y) for y, x in members], float)
        hull = convex_hull(region)
        assert {tuple(point) for point in hull.tolist()} <= {tuple(point) for point in points.tolist()}
        rectangle = smallest_rectangle(region)
        inside = mean_inside(_painted(points, mask.shape), rectangle.grown(1e-6).corners())
        assert inside > 0
        offsets = points - rectangle.center
        u = offsets @ np.array(rectangle.axis)
        v = offsets @ np.array([-rectangle.axis[1], rectangle.axis[0]])
        assert np.abs(u).max() <= rectangle.sides[0] / 2 + 1e-9
        assert np.abs(v).max() <= rectangle.sides[1] / 2 + 1e-9
        upright = np.ptp(points, axis=0)
        assert rectangle.sides[0] * rectangle.sides[1] <= upright[0] * upright[1] + 1e-9


def _painted(points: Any, shape: tuple[int, int]) -> Any:
    painted = np.zeros(shape)
    painted[points[:, 1].astype(int), points[:, 0].astype(int)] = 1
    return painted


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_dilation_sets_what_has_a_neighbour(height: int, width: int, size: int, seed: int) -> None:
    """Against plain loops; an even square reaches further to the top left, as OpenCV's."""
    mask = np.random.default_rng(seed).random((height, width)) < 0.2
    expected = np.zeros_like(mask)
    for y, x in np.ndindex(*mask.shape):
        top, left = max(y - size // 2, 0), max(x - size // 2, 0)
        expected[y, x] = mask[top : y + (size - 1) // 2 + 1, left : x + (size - 1) // 2 + 1].any()
    np.testing.assert_array_equal(dilated(mask, size), expected)


# --- the boxes head


TABLE = np.array(
    [
        [10, 10, 30, 30, 0.9, 0.1],
        [11, 11, 31, 31, 0.8, 0.2],  # the same object
        [11, 11, 31, 31, 0.1, 0.7],  # another class in the same place
        [40, 5, 90, 25, 0.1, 0.6],  # beyond the right edge
        [70, 70, 90, 90, 0.9, 0.1],  # outside
        [10, 10, 30, 30, 0.2, 0.1],  # below the threshold
        [np.nan, 0, 5, 5, 0.9, 0.1],
        [0, 0, 5, 5, np.nan, 0.1],
    ],
    np.float32,
)


def test_boxes_are_suppressed_per_class_and_clipped(open_boxes: Callable[..., Any]) -> None:
    """The best first; what lies outside the image or is not a number is left out."""
    found = open_boxes({"y": TABLE[:6]}, labels=["cat", "dog"]).answer(blank(60, 60))
    assert [(one.label, one.box) for one in found.objects] == [
        ("cat", (10, 10, 30, 30)),
        ("dog", (11, 11, 31, 31)),
        ("dog", (40, 5, 60, 25)),
    ]
    assert [one.score for one in found.objects] == pytest.approx([0.9, 0.7, 0.6])
    assert found.objects[2].corners == ((40, 5), (60, 5), (60, 25), (40, 25))


def test_what_is_not_a_number_is_left_out(open_boxes: Callable[..., Any]) -> None:
    """NaN in a box or a score is no object."""
    runner = open_boxes({"y": np.where(np.isnan(TABLE), 0, TABLE)})
    found = runner.decode({"y": TABLE[None]}, next(iter(runner.encode([blank(60, 60)]))))[0]
    assert len(found.objects) == 3


def test_suppression_may_be_the_graphs(open_boxes: Callable[..., Any]) -> None:
    """With iou: null nothing is suppressed; max_boxes still holds."""
    assert len(open_boxes({"y": TABLE[:6]}, iou=None).answer(blank(60, 60)).objects) == 4
    assert len(open_boxes({"y": TABLE[:6]}, max_boxes=2).answer(blank(60, 60)).objects) == 2
    assert len(open_boxes({"y": TABLE[:6]}, max_candidates=1).answer(blank(60, 60)).objects) == 1


def _as_centers(boxes: Any) -> Any:
    return np.concatenate(((boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]), axis=1)


def _as_sizes(boxes: Any) -> Any:
    return np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), axis=1)


@pytest.mark.parametrize(("form", "convert"), [("cxcywh", _as_centers), ("xywh", _as_sizes), ("xyxy", np.array)])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_formats_mean_the_same_boxes(
    open_boxes: Callable[..., Any], form: str, convert: Any, normalized: bool, transposed: bool
) -> None:
    """Corners or centers, pixels or shares of the input, either order of axes."""
    plain = TABLE[:6]
    boxes = convert(plain[:, :4]) / (64 if normalized else 1)
    table = np.concatenate((boxes, plain[:, 4:]), axis=1)
    expected = open_boxes({"y": plain}).answer(blank(64, 64))
    found = open_boxes(
        {"y": table.T if transposed else table},
        format=form,
        coordinates="normalized" if normalized else "pixels",
        transposed=transposed,
    ).answer(blank(64, 64))
    assert [one.label for one in found.objects] == [one.label for one in expected.objects]
    for one, other in zip(found.objects, expected.objects, strict=True):
        np.testing.assert_allclose(one.box, other.box, atol=1e-4)


def test_outputs_may_be_separate(open_boxes: Callable[..., Any]) -> None:
    """Boxes and scores per class, or boxes, scores and classes."""
    boxes, scores = TABLE[:6, :4], TABLE[:6, 4:]
    expected = open_boxes({"y": TABLE[:6]}).answer(blank(60, 60))
    apart = open_boxes({"b": boxes, "s": scores}, columns=..., boxes="b", scores="s")
    assert apart.answer(blank(60, 60)) == expected
    chosen = {"b": boxes, "s": scores.max(axis=1), "c": scores.argmax(axis=1)}
    assert open_boxes(chosen, columns=..., boxes="b", scores="s", classes="c").answer(blank(60, 60)) == expected
    table = np.concatenate((boxes, scores.max(axis=1)[:, None], scores.argmax(axis=1)[:, None]), axis=1)
    assert open_boxes({"y": table}, columns=["box", "score", "class"]).answer(blank(60, 60)) == expected


def test_objectness_activations_and_background(open_boxes: Callable[..., Any]) -> None:
    """Scores are the products with the objectness; a background class is never an answer."""
    boxes = TABLE[:1, :4]
    with_objectness = np.concatenate((boxes, [[0.5, 0.8, 0.2]]), axis=1)
    (found,) = open_boxes({"y": with_objectness}, columns=["box", "objectness", "scores"]).answer(blank(60, 60)).objects
    assert found.score == pytest.approx(0.4)
    logits = np.concatenate((boxes, [[3.0, 1.0, 2.0]]), axis=1)
    (found,) = (
        open_boxes({"y": logits}, activation="softmax", background=0, threshold=0.2).answer(blank(60, 60)).objects
    )
    assert found.index == 2
    assert found.score == pytest.approx(np.exp(2) / np.exp([3, 1, 2]).sum())
    (found,) = open_boxes({"y": logits}, activation="sigmoid").answer(blank(60, 60)).objects
    assert (found.index, found.score) == (0, pytest.approx(1 / (1 + np.exp(-3))))
    assert open_boxes({"y": logits}, activation="softmax", background=0).answer(blank(60, 60)).objects == ()


def test_letterboxed_boxes_come_back(open_boxes: Callable[..., Any]) -> None:
    """From the input's coordinates to the image's."""
    pytest.importorskip("PIL")
    letterbox = {**INPUT, "resize": {"to": "letterbox", "size": [64, 64]}}
    runner = open_boxes({"y": [[16, 24, 48, 40, 0.9, 0.0]]}, letterbox)
    (found,) = runner.answer(blank(100, 200)).objects
    np.testing.assert_allclose(found.box, (50, 25, 150, 75))


def brute_force(boxes: Any, classes: Any, iou: float) -> list[int]:
    """Greedy suppression, one pair at a time."""
    kept: list[int] = []
    for i, (ax0, ay0, ax1, ay1) in enumerate(boxes):
        for j in kept:
            bx0, by0, bx1, by1 = boxes[j]
            shared = max(min(ax1, bx1) - max(ax0, bx0), 0) * max(min(ay1, by1) - max(ay0, by0), 0)
            union = (ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared
            if classes[i] == classes[j] and shared > iou * union:
                break
        else:
            kept.append(i)
    return kept


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 3), st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 2**32 - 1))
def test_suppression_is_the_brute_force_one(count: int, classes: int, iou: float, seed: int) -> None:
    """On boxes of whole coordinates, where there is no rounding; empty boxes are among them."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate((low, low + rng.integers(0, 12, (count, 2))), axis=1).astype(float)
    names = rng.integers(0, classes, count)
    assert suppressed(boxes, names, iou).tolist() == brute_force(boxes.tolist(), names.tolist(), iou)


# --- configuration


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"kind": "mask"}, ManifestError, "task.config.head.kind: expected 'map' or 'boxes', found 'mask'"),
        ({"format": "yxyx"}, ManifestError, "task.config.head.format: expected 'xyxy' or 'xywh' or 'cxcywh'"),
        ({"columns": ["scores"]}, ManifestError, "task.config.head.columns: expected one of ['box', 'scores'], "),
        ({"scores": "y"}, ManifestError, "task.config.head.scores: expected either one output with columns, or boxes"),
        ({"iou": 2}, ManifestError, "task.config.head.iou: expected 0 to 1, got 2"),
        ({"iou": ...}, ManifestError, "task.config.head.iou: missing"),
        ({"nms": 1}, ManifestError, "task.config.head.nms: unknown key"),
        ({"output": "z"}, BundleError, "model: expected an output 'z', found y"),
        ({"labels": ["a"]}, BundleError, "model: expected 1 classes, as many as labels, found 2"),
    ],
)
def test_wrong_configurations_of_boxes_are_refused(
    open_boxes: Callable[..., Any], changes: Any, error: type[Exception], message: str
) -> None:
    """When the bundle is opened."""
    with pytest.raises(error) as caught:
        open_boxes({"y": TABLE[:6]}, **changes)
    assert str(caught.value).startswith(message)


def test_outputs_that_do_not_fit_are_refused(open_boxes: Callable[..., Any], open_map: Callable[..., Any]) -> None:
    """Too few columns, and what is no map."""
    with pytest.raises(
        BundleError, match=r"expected 4 numbers and the scores of each box, found \[6, 4\] and \[6, 0\]"
    ):
        open_boxes({"y": TABLE[:6, :4]}).answer(blank(60, 60))
    with pytest.raises(BundleError, match="expected a class from 0 to 1, found 7"):
        table = [[0, 0, 9, 9, 0.9, 7.0]]
        open_boxes({"y": table}, labels=["a", "b"], columns=["box", "score", "class"]).answer(blank(60, 60))
    with pytest.raises(BundleError, match="expected a class for each of 6 boxes, found 5"):
        three = {"b": TABLE[:6, :4], "s": TABLE[:6, 4], "c": np.zeros(5)}
        open_boxes(three, columns=..., boxes="b", scores="s", classes="c").answer(blank(60, 60))
    with pytest.raises(ManifestError, match=r"task\.config\.head\.threshold: expected 0 to 1, got 3"):
        open_map(threshold=3)
    with pytest.raises(BundleError, match=r"expected a map float32\[batch, 1, height, width\]"):
        open_boxes({"y": TABLE[:6]}, **{**dict.fromkeys(BOXES, ...), **MAP})


def test_warming_up_and_examples_fit_the_model(open_map: Callable[..., Any]) -> None:
    """Small images of a size that the bundle allows."""
    runner = open_map({**INPUT, "resize": {"to": "bounded", "shortest": 128, "longest": 256, "multiple": 32}})
    runner.warm_up()
    assert [feeds["x"].shape for feeds in runner.examples(2)] == [(1, 3, 128, 128)] * 2

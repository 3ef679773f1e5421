"""Task image-to-text on a model that reads the color of each column."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.bundle.description import TaskSpec
from ortolan.errors import BundleError, InputTypeError, ManifestError
from ortolan.tasks import open_runner
from ortolan.tasks.image_to_text import ImageToTextRunner, RecognizedText

if TYPE_CHECKING:
    from collections.abc import Callable

INPUT = {
    "kind": "image",
    "color": "rgb",
    "layout": "nchw",
    "dtype": "float32",
    "scale": 1 / 255,
    "resize": {"to": "height", "height": 4, "min_width": 4, "max_width": 64, "multiple": 4},
    "fill": [255, 0, 0],
}
COLORS = {"-": (255, 0, 0), "a": (0, 255, 0), "b": (0, 0, 255)}


def line(columns: str) -> Any:
    """An image of one column per letter; ``-`` is blank."""
    return np.array([[COLORS[letter] for letter in columns]] * 4, np.uint8)


@pytest.fixture
def open_reader(tiny_session: Callable[..., Any]) -> Callable[..., Any]:
    """Function: changes to the configuration -> a runner; a step's numbers are the column's red, green and blue."""

    def make(charset: bytes = b"a\nb\n", **changes: Any) -> Any:
        session = tiny_session(
            [
                ("ReduceMean", ["x"], ["columns"], {"axes": [2], "keepdims": 0}),
                ("Transpose", ["columns"], ["y"], {"perm": [0, 2, 1]}),
            ],
            {"x": ["batch", 3, 4, "width"]},
            {"y": ["batch", "steps", 3]},
        )
        config = {"input": INPUT, "activation": "none", "charset": "c.txt", "blank": 0, **changes}
        return open_runner(TaskSpec("image-to-text", config), {"model": session}, {"c.txt": charset}.__getitem__)

    return make


@pytest.mark.parametrize(
    ("columns", "text"),
    [("abba", "aba"), ("ab-ba", "abba"), ("aa-a", "aa"), ("----", ""), ("a", "a"), ("-b-b-b-bbb--aaaa-", "bbbba")],
)
def test_repetitions_are_merged_and_blanks_dropped(open_reader: Callable[..., Any], columns: str, text: str) -> None:
    """Nothing to read is an empty text with score 0."""
    answer = open_reader().answer(line(columns))
    assert answer == RecognizedText(text, 1.0 if text else 0.0)


def test_batches_of_any_width_give_the_single_answers(open_reader: Callable[..., Any]) -> None:
    """Images are padded to the next width, whatever the others are."""
    runner = open_reader()
    texts = ["ab", "a-b-a-b-a", "b", "", "ababab", "-", "bb-bb"]
    images = [line(text or "-") for text in texts]
    runs = list(runner.encode(images))
    assert [run.feeds["x"].shape[3] for run in runs] == [4, 12, 4, 4, 8, 4, 8]
    answers = {}
    for run in runs:
        answers.update(zip(run.rows, runner.decode(runner.session.run(run.feeds), run), strict=True))
    assert [answers[i] for i in range(len(images))] == [runner.answer(x) for x in images]
    assert [answers[i].text for i in (0, 1, 4)] == ["ab", "ababa", "ababab"]


def test_symbols_follow_the_charset_what_is_appended_and_the_blank(open_reader: Callable[..., Any]) -> None:
    """The blank may stand anywhere."""
    assert open_reader(charset=b"x", append=[" "]).answer(line("a-b-a")).text == "x x"
    assert open_reader(charset=b"x\ny", blank=2).answer(line("--ab")).text == "xy"
    assert open_reader(charset="é\n\u2028\n".encode()).answer(line("ab")).text == "é\u2028"


def test_scores_are_mean_probabilities(open_reader: Callable[..., Any]) -> None:
    """Of the symbols alone; softmax is applied where the graph has none."""
    answer = open_reader(activation="softmax").answer(line("--ab"))
    assert answer.score == pytest.approx(np.e / (np.e + 2))


def reference(numbers: Any, blank: int) -> list[tuple[int, float]]:
    """Greedy CTC in a loop."""
    steps = [(int(row.argmax()), float(row.max())) for row in numbers]
    firsts = [next(group) for _, group in groupby(steps, key=lambda step: step[0])]
    return [step for step in firsts if step[0] != blank]


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_decoding_is_greedy_ctc(steps: int, symbols: int, blank: int, seed: int) -> None:
    """Against a reference in plain loops."""
    blank = min(blank, symbols)
    numbers = np.random.default_rng(seed).integers(0, 4, (1, steps, symbols + 1)).astype(np.float32) / 4
    names = [chr(97 + i) for i in range(symbols + 1)]
    runner = ImageToTextRunner(
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        output="y",
        activation="none",
        symbols=names,
        blank=blank,
    )
    expected = reference(numbers[0], blank)
    (answer,) = runner.decode({"y": numbers}, None)  # type: ignore[arg-type]
    assert answer.text == "".join(names[i] for i, _ in expected)
    assert answer.score == pytest.approx(np.mean([p for _, p in expected]) if expected else 0.0)


def test_warming_up_and_examples_fit_the_model(open_reader: Callable[..., Any]) -> None:
    """Narrow images of the right height."""
    runner = open_reader()
    runner.warm_up()
    assert [feeds["x"].shape[:3] for feeds in runner.examples(2)] == [(1, 3, 4)] * 2


def test_what_is_no_image_is_refused(open_reader: Callable[..., Any]) -> None:
    """By type."""
    with pytest.raises(InputTypeError, match="expected an image"):
        open_reader().answer(3)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"charset": b"a\nb\nc"},
            BundleError,
            "model: expected 4 classes: the charset, what is appended, and the blank",
        ),
        ({"append": [""]}, ManifestError, "task.config.append[0]: expected a symbol, found ''"),
        ({"blank": 3}, ManifestError, "task.config.blank: expected 0 to 2, got 3"),
        ({"activation": "sigmoid"}, ManifestError, "task.config.activation: expected 'softmax' or 'none'"),
        ({"input": {**INPUT, "layout": "nhwc"}}, BundleError, "model: expected an input for float32[1, 4, ?, 3]"),
        ({"words": 1}, ManifestError, "task.config.words: unknown key"),
    ],
)
def test_wrong_configurations_are_refused(
    open_reader: Callable[..., Any], changes: Any, error: type[Exception], message: str
) -> None:
    """When the bundle is opened."""
    with pytest.raises(error) as caught:
        open_reader(**changes)
    assert str(caught.value).startswith(message)

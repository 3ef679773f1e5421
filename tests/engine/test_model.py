"""The loaded model: answers, golden samples, memory, closing."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
from ortolan import model as model_module
from ortolan.errors import Cancelled, ClosedError, DeadlineExceeded, InputTypeError, UsageError
from ortolan.tasks.runner import Encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def classifier(text_bundle: Callable[..., Path]) -> Iterator[ortolan.TextClassifier]:
    """Counts letters: more of a and b is neg, more of c and d is pos."""
    with ortolan.load(text_bundle(), ortolan.TextClassifier, variant="fp32") as model:
        yield model


def test_one_text_is_answered(classifier: ortolan.TextClassifier) -> None:
    """Label, score, and all scores by label."""
    assert classifier.predict("ccd a") == ortolan.Classification(
        label="pos", score=3.0, probabilities=None, scores={"neg": 1.0, "pos": 3.0}
    )


def test_a_batch_is_answered_in_order(classifier: ortolan.TextClassifier) -> None:
    """The answers equal those one by one, in the order of the texts."""
    texts = ["c" * n + "a" * (7 * n % 5) for n in range(50)] + ["", "\ud800", "a\0b", "好🙂"]
    assert classifier.predict_batch(texts) == [classifier.predict(text) for text in texts]
    assert classifier.predict_batch(text for text in texts[:2]) == classifier.predict_batch(texts)[:2]
    assert classifier.predict_batch([]) == []


@pytest.mark.parametrize("value", [None, 3, b"abc", ["abc"]])
def test_what_is_no_text_is_refused(classifier: ortolan.TextClassifier, value: object) -> None:
    """predict takes a str."""
    with pytest.raises(InputTypeError, match="expected a text of type str, found"):
        classifier.predict(value)  # type: ignore[arg-type]  # what the check is for


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("abc", "expected a list of texts, found a single str; use predict for it"),
        (None, "expected a list of inputs, found NoneType"),
        (["a", 3], "expected a text at position 1 of type str, found int"),
    ],
)
def test_what_are_no_texts_is_refused(classifier: ortolan.TextClassifier, value: object, message: str) -> None:
    """predict_batch takes several; a single str would be taken for its letters."""
    with pytest.raises(InputTypeError) as caught:
        classifier.predict_batch(value)  # type: ignore[arg-type]  # what the check is for
    assert str(caught.value) == message


def test_an_answer_can_be_cancelled(classifier: ortolan.TextClassifier) -> None:
    """A control belongs to one call."""
    control = ortolan.RunControl()
    control.cancel()
    for call in (classifier.predict, lambda text, control: classifier.predict_batch([text], control)):
        with pytest.raises(Cancelled):
            call("a", control)
        with pytest.raises(UsageError, match=r"expected control to be an ortolan\.RunControl, got float"):
            call("a", 0.5)
    assert classifier.predict("a").label == "neg"


def test_a_batch_has_one_deadline(classifier: ortolan.TextClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its runs share the time, also what Python needs between them."""
    assert len(classifier.predict_batch(["a"] * 3, ortolan.RunControl(timeout=60))) == 3
    runner = classifier._answerer
    encode, runs = runner.encode, []

    def one_by_one(texts: list[str]) -> Iterator[Any]:
        for position in range(len(texts)):
            time.sleep(0.02)
            runs.append(position)
            (encoded,) = encode([texts[position]])
            yield Encoded(encoded.feeds, [position])

    monkeypatch.setattr(runner, "encode", one_by_one)
    with pytest.raises(DeadlineExceeded):
        classifier.predict_batch(["a"] * 1000, ortolan.RunControl(timeout=0.05))
    assert 1 <= len(runs) < 1000


def test_many_threads_share_a_model(classifier: ortolan.TextClassifier) -> None:
    """One model serves an application's threads."""
    texts = ["a" * n for n in range(1, 40)]
    with ThreadPoolExecutor(8) as pool:
        assert [answer.score for answer in pool.map(classifier.predict, texts)] == list(range(1, 40))


def test_the_golden_samples_are_answered_as_the_source_did(classifier: ortolan.TextClassifier) -> None:
    """check compares with the answers that the bundle carries."""
    found = classifier.check()
    assert (found.n, found.drop, found.worst) == (5, 0.0, 0.0)


def test_a_wrong_variant_is_found_by_check(text_bundle: Callable[..., Path]) -> None:
    """The variant with doubled coefficients decides the same, but its scores are far off."""
    with ortolan.load(text_bundle(), variant="int8") as model:
        found = model.check()
    assert found.drop == 0
    assert found.worst == 1.0


def test_the_tensors_below_are_reachable(classifier: ortolan.TextClassifier) -> None:
    """Every model runs and binds tensors."""
    feeds = {"ids": np.array([[0, 2]]), "values": np.array([[1, 5]], np.float32)}
    assert [spec.name for spec in classifier.inputs] == ["ids", "values"]
    assert [spec.name for spec in classifier.outputs] == ["scores"]
    bound = classifier.bind(feeds)
    bound()
    for scores in (classifier.run(feeds)["scores"], bound.outputs["scores"]):
        assert scores.tolist() == [[1, 5]]


def test_memory_is_predicted_and_measured(classifier: ortolan.TextClassifier) -> None:
    """Both in bytes; the measured one is the process's."""
    memory = classifier.memory
    assert memory.predicted_peak is not None
    assert memory.measured_peak is not None
    assert memory.predicted_peak > 10_000_000
    assert memory.measured_peak > 10_000_000


def test_a_system_that_hides_memory_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc the measured peak is unknown."""

    def hidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(model_module, "open", hidden, raising=False)
    assert model_module._peak_resident_bytes() is None


def test_a_closed_model_answers_nothing(classifier: ortolan.TextClassifier) -> None:
    """Each method says that the model is closed; closing again is fine."""
    classifier.close()
    classifier.close()
    uses = (
        lambda: classifier.predict("a"),
        lambda: classifier.predict_batch(["a"]),
        lambda: classifier.predict_batch([]),
        lambda: classifier.run({}),
        lambda: classifier.bind({}),
        classifier.check,
    )
    for use in uses:
        with pytest.raises(ClosedError, match="the model is closed; load it again to use it"):
            use()
    assert repr(classifier) == "<TextClassifier text-classification: closed>"


def test_a_model_shows_how_it_runs(classifier: ortolan.TextClassifier) -> None:
    """Its repr has the class, the task and the candidate."""
    assert repr(classifier) == "<TextClassifier text-classification: fp32 on cpu>"

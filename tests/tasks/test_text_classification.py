"""Task text-classification."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest

from ortolan.errors import BundleError, InputTypeError, ManifestError, UnknownNameError
from ortolan.inputs.assets import npy_bytes
from ortolan.tasks import open_task, text_input, text_sets
from ortolan.tasks import texts as text_tasks
from ortolan.tasks.text_classification import Classification
from ortolan.types import TensorSpec

WEIGHTS = [[-1, 1], [1, -1], [0, 0]]
BOTH = ("scores", "probabilities")


@pytest.fixture
def config(text_config):
    """Configuration of a classifier that says pos for more a than b."""
    return {"labels": ["neg", "pos"], "input": text_config, "decision": "scores"}


@pytest.fixture
def classifier(make_bundle, make_session, config):
    """A runner and its session."""
    session = make_session(WEIGHTS, *BOTH)
    return open_task(make_bundle("text-classification", config), {"model": session}), session


def answers(runner, session, texts):
    """The answers in the order of the texts."""
    found = {}
    for encoded in runner.encode(texts):
        found.update(zip(encoded.rows, runner.decode(session.run(encoded.feeds), encoded), strict=True))
    return [found[i] for i in range(len(texts))]


def test_label_score_and_probabilities(classifier):
    """The score is the probability of the label."""
    runner, _ = classifier
    answer = runner.answer("aab")
    assert answer.label == "pos"
    assert answer.scores == {"neg": -1.0, "pos": 1.0}
    assert answer.probabilities == pytest.approx({"neg": 0.11920292, "pos": 0.88079708})
    assert answer.score == answer.probabilities["pos"]


def test_without_probabilities_the_score_is_the_decision_score(make_bundle, make_session, config):
    """A source without probabilities gets none."""
    runner = open_task(make_bundle("text-classification", config), {"model": make_session(WEIGHTS, "scores")})
    assert runner.answer("aab") == Classification("pos", 1.0, None, {"neg": -1.0, "pos": 1.0})


@pytest.mark.parametrize("text", ["", "ab", "zzz", "\ud800", "\0"])
def test_a_zero_score_is_the_first_label(classifier, text):
    """As scikit-learn decides; a text without known features is one padded term of weight zero."""
    runner, session = classifier
    assert runner.answer(text).label == "neg"
    assert answers(runner, session, [text])[0] == runner.answer(text)


def test_the_deciding_output_decides(make_bundle, make_session, config):
    """Naive Bayes decides by its scores, a calibrated model by its probabilities."""

    class Contrary(type(make_session(WEIGHTS, *BOTH))):
        def run(self, feeds, control=None):
            outputs = super().run(feeds, control)
            return outputs | {"probabilities": outputs["probabilities"][:, ::-1]}

    session = Contrary(WEIGHTS, BOTH)
    for decision, label in (("scores", "pos"), ("probabilities", "neg")):
        bundle = make_bundle("text-classification", config | {"decision": decision})
        assert open_task(bundle, {"model": session}).answer("a").label == label


def test_batches_keep_the_order_and_bound_the_padding(classifier, monkeypatch):
    """Texts of similar length run together; each answer is the one the text gets alone."""
    monkeypatch.setattr(text_tasks, "_GROUP_TEXTS", 70)
    generator = random.Random(5)
    texts = ["".join(generator.choices("abcz", k=generator.choice([0, 1, 3, 9]))) for _ in range(200)]
    runner, session = classifier
    found = answers(runner, session, texts)
    assert len(session.shapes) < 20
    for text, answer in zip(texts, found, strict=True):
        alone = runner.answer(text)
        assert answer.label == alone.label
        assert list(answer.scores.values()) == pytest.approx(list(alone.scores.values()))


def test_runs_are_bounded(classifier, monkeypatch):
    """A run has at most as many cells as allowed, but at least one text."""
    monkeypatch.setattr(text_input, "CELLS", 16)
    runner, session = classifier
    answers(runner, session, ["abc", "a", "b", "c", "ab"] * 20)
    assert max(rows * terms * 2 for rows, terms in session.shapes) <= 16
    monkeypatch.setattr(text_input, "CELLS", 1)
    assert [len(encoded.rows) for encoded in runner.encode(["abc", "ab"])] == [1, 1]


def test_padding_at_most_doubles_a_run(classifier, text_config):
    """Beyond eight terms, a run's texts differ in length by a factor of two at most."""
    texts = text_input.TextInput(type("E", (), {"encode_many": staticmethod(_ladder)})(), 2)
    for encoded in texts._batches([""] * 100):
        real = (encoded.feeds["values"] != 0).sum(axis=1)
        width = encoded.feeds["ids"].shape[1]
        assert width <= max(8, 2 * real.min())
        assert (encoded.feeds["ids"][encoded.feeds["values"] == 0] == 0).all()


def _ladder(texts):
    """A text with n terms for each n from 0 to the number of texts."""
    lengths = np.arange(len(texts))
    ids = np.concatenate([np.arange(n) for n in lengths]).astype(np.int64)
    return ids, np.ones(len(ids), np.float32), np.concatenate(([0], lengths.cumsum()))


def test_no_texts(classifier):
    """An empty batch has no answers and no runs."""
    runner, session = classifier
    assert answers(runner, session, []) == []
    assert session.shapes == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"abc", "expected a text of type str, found bytes; decode it first, e.g. with .decode('utf-8')"),
        (None, "expected a text of type str, found NoneType"),
        (["abc"], "expected a text of type str, found list"),
        (np.zeros(3), "expected a text of type str, found ndarray"),
    ],
)
def test_one_input_that_is_no_text(classifier, value, message):
    """The type is named, and for bytes what to do."""
    with pytest.raises(InputTypeError) as caught:
        classifier[0].answer(value)
    assert str(caught.value) == message


def test_a_batch_with_an_input_that_is_no_text(classifier):
    """The position is named, before anything runs."""
    runner, session = classifier
    with pytest.raises(InputTypeError, match=r"^expected a text at position 1 of type str, found int$"):
        runner.encode(["a", 1])
    with pytest.raises(InputTypeError, match="expected a list of texts, found a single str; use predict for it"):
        runner.encode("abc")
    assert session.shapes == []


def test_answers_are_immutable(classifier):
    """A frozen dataclass with slots."""
    answer = classifier[0].answer("a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        answer.label = "neg"
    assert not hasattr(answer, "__dict__")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "neg"}, "task.config.labels: expected a list of two labels or more"),
        ({"labels": ["neg"]}, "task.config.labels: expected a list of two labels or more"),
        ({"labels": ["neg", None]}, "task.config.labels[1]: expected str, int, float or bool, found NoneType"),
        ({"labels": ["neg", "neg"]}, "task.config.labels: expected distinct labels, found one twice"),
        ({"foo": 1}, "task.config.foo: unknown key; known here: labels, input, decision, logits"),
        ({"decision": None}, "task.config.decision: expected 'scores', 'probabilities' or 'label', found None"),
        ({"input": []}, "task.config.input: expected an object, found list"),
        (
            {"input": {"kind": "bytes"}},
            "task.config.input.kind: expected one of ngrams, ngram-sets, tokens, found 'bytes'",
        ),
        ({"logits": 1}, "task.config.logits: expected the name of an output, found 1"),
    ],
)
def test_wrong_configuration(make_bundle, make_session, config, change, message):
    """Each error names the dotted path of the value."""
    with pytest.raises(ManifestError) as caught:
        open_task(make_bundle("text-classification", config | change), {"model": make_session(WEIGHTS, *BOTH)})
    assert str(caught.value) == message


def test_a_model_that_does_not_fit(make_bundle, make_session, config):
    """Outputs are checked when the bundle is opened, not when it answers."""
    bundle = make_bundle("text-classification", config)
    with pytest.raises(BundleError, match="model: expected an output 'scores', found logits"):
        open_task(bundle, {"model": make_session(WEIGHTS, "logits")})
    three = make_session([[0, 0, 0]] * 3, "scores")
    with pytest.raises(BundleError, match=r"output 'scores' to have the shape \[batch, 2\], found scores: float32"):
        open_task(bundle, {"model": three})
    with pytest.raises(BundleError, match="model: expected an output 'probabilities', found scores"):
        open_task(
            make_bundle("text-classification", config | {"decision": "probabilities"}),
            {"model": make_session(WEIGHTS, "scores")},
        )
    session = make_session(WEIGHTS, *BOTH)
    session.inputs = session.inputs[:1]
    with pytest.raises(BundleError, match="model: expected the inputs ids and values, found ids"):
        open_task(bundle, {"model": session})


def test_logits_are_scores_and_probabilities_by_their_softmax(make_bundle, make_session, config):
    """A foreign model with one output answers as one that has both."""
    both = open_task(make_bundle("text-classification", config), {"model": make_session(WEIGHTS, *BOTH)})
    session = make_session(WEIGHTS, "y")
    one = open_task(make_bundle("text-classification", config | {"logits": "y"}), {"model": session})
    for text in ("aab", "b", ""):
        found, expected = one.answer(text), both.answer(text)
        assert (found.label, found.scores) == (expected.label, expected.scores)
        assert found.probabilities == pytest.approx(expected.probabilities)
        assert answers(one, session, [text, text]) == [found, found]


def test_unknown_task(make_bundle):
    """A near name is suggested."""
    with pytest.raises(UnknownNameError, match="unknown task 'text-clasification'; did you mean 'text-classification'"):
        open_task(make_bundle("text-clasification", {}), {})


class SetsSession:
    """A model over two sets of features that answers with the position of a label."""

    def __init__(self, outputs=("scores", "label"), label="int64"):
        self.inputs = [
            TensorSpec(f"{name}.{part}", dtype, ("batch", f"{name}.terms"))
            for name in ("first", "second")
            for part, dtype in (("ids", "int64"), ("values", "float64"))
        ]
        specs = {
            "scores": TensorSpec("scores", "float64", ("batch", 2)),
            "label": TensorSpec("label", label, ("batch",)),
        }
        self.outputs = [specs[name] for name in outputs]
        self.shift = 0
        self.shapes = []

    def run(self, feeds, control=None):
        """The label is 1 where the first set has more than the second."""
        self.shapes.append(feeds["first.ids"].shape)
        gap = feeds["first.values"].sum(axis=1) - feeds["second.values"].sum(axis=1)
        return {"scores": np.stack([gap, gap], axis=1), "label": (gap > 0).astype(np.int64) + self.shift}


@pytest.fixture
def of_sets(make_bundle, text_config):
    """Function (session) -> runner of a classifier over the letters a, b, c and c, d, e."""
    raw = {"kind": "ngram-sets", "sets": [{"name": name, "ngrams": text_config} for name in ("first", "second")]}
    config = {"labels": ["neg", "pos"], "input": raw, "decision": "label"}
    files = {
        f"assets/{name}/ngrams/alphabet.npy": npy_bytes(np.array([ord(c) for c in letters], np.uint32))
        for name, letters in (("first", "abc"), ("second", "cde"))
    }
    return lambda session: open_task(make_bundle("text-classification", config, files), {"model": session})


def test_several_vectorizers_and_a_label_of_the_models_own(of_sets):
    """The label is the output's, whatever the scores say; one by one, together, and for golden samples."""
    session = SetsSession()
    runner = of_sets(session)
    assert runner.answer("aad").label == "pos"
    assert runner.answer("add").label == "neg"
    assert [answer.label for answer in answers(runner, session, ["aad", "", "d", "b"])] == ["pos", "neg", "neg", "pos"]
    assert runner.decide({"scores": np.array([0.0, 0.0]), "label": np.int64(1)}) == 1
    assert runner.text_feeds("a")["first.ids"].tolist() == [[0]]


def test_batches_of_several_vectorizers_are_bounded(of_sets, monkeypatch):
    """Texts of similar length go together; no run is larger than it may be unless one text is."""
    monkeypatch.setattr(text_sets, "CELLS", 6)
    session = SetsSession()
    texts = ["abc"[: i % 4] + "d" * (i % 5) for i in range(50)]
    found = [answer.label for answer in answers(of_sets(session), session, texts)]
    assert found == ["pos" if (i % 4) - (i % 4 == 3) - (i % 5) > 0 else "neg" for i in range(50)]
    assert max(rows * terms for rows, terms in session.shapes) <= 6


def test_a_position_without_a_label(of_sets):
    """A model that answers beyond its labels is damaged."""
    session = SetsSession()
    session.shift = 2
    runner = of_sets(session)
    with pytest.raises(BundleError, match="model: answered label 3, expected 0 to 1"):
        runner.answer("a")
    with pytest.raises(BundleError, match="model: answered label 2"):
        answers(runner, session, ["d", "a"])


@pytest.mark.parametrize("options", [{"outputs": ["scores"]}, {"label": "int32"}])
def test_a_label_that_is_not_there(of_sets, options):
    """The output must be there, and of the right type."""
    with pytest.raises(BundleError, match="expected an output 'label' int64"):
        of_sets(SetsSession(**options))


def test_an_input_that_no_set_feeds(of_sets):
    """All inputs of the model must be those of the sets."""
    session = SetsSession()
    session.inputs.append(TensorSpec("more", "int64", ("batch", 1)))
    with pytest.raises(BundleError, match=r"expected the inputs first\.ids, .*, found more too"):
        of_sets(session)


def test_no_text_for_several_vectorizers(of_sets):
    """The type is checked as for one."""
    runner = of_sets(SetsSession())
    with pytest.raises(InputTypeError, match="expected a text of type str"):
        runner.answer(None)
    with pytest.raises(InputTypeError, match="expected a list of texts"):
        runner.encode("abc")

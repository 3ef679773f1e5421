"""Task token-classification: labels of tokens, and the spans that they make."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan.bundle.description import TaskSpec
from ortolan.errors import BundleError, InputTypeError, ManifestError
from ortolan.tasks import is_experimental, open_task
from ortolan.tasks.golden import LENGTHS, TOKENS, agrees, changed_tokens, compare, read_golden
from ortolan.types import Fidelity, Interval, SessionConfig, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ada", "love", "##lace", "met", "in", "par", "##is", "lo", "##ndon", "you"]
CHOSEN = {"ada": 1, "love": 2, "##lace": 2, "par": 3, "##is": 3, "lo": 3, "##ndon": 4, "you": 1}
"""Label that the model gives a token; 0 for all others."""
SURE = {"##lace": 0.9, "par": 0.5, "##ndon": 0.95}
"""Probability of that label; 0.8 for all others."""


def tokenizer_json(model: str = "WordPiece") -> bytes:
    """WordPiece between [CLS] and [SEP]; or the same pieces without a mark, at white space."""
    vocabulary = {word.removeprefix("" if model == "WordPiece" else "##"): i for i, word in enumerate(WORDS)}
    special = {name: {"id": name, "ids": [WORDS.index(name)], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    frame = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    frame.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    pieces: dict[str, Any] = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    if model == "WordPiece":
        pieces = {
            "type": "WordPiece",
            "vocab": vocabulary,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        }
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": {"type": "Lowercase"},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": frame,
                "pair": [*frame, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": special,
            },
            "decoder": None,
            "model": pieces,
        }
    ).encode()


class LabelSession:
    """Gives each token the logits of its label; those of padding name a person, so that none may count.

    Args:
        labels: number of labels.
        noise: added to one label of all tokens.
    """

    def __init__(self, labels: int = len(LABELS), noise: float = 0.0):
        names = ("input_ids", "attention_mask")
        self.inputs = [TensorSpec(name, "int64", ("batch", "sequence")) for name in names]
        self.outputs = [TensorSpec("logits", "float32", ("batch", "sequence", labels))]
        self.placement: dict[str, int] = {}
        self.config = SessionConfig()
        self.noise = noise
        self.table = np.zeros((len(WORDS), labels), np.float32)
        for row, word in enumerate(WORDS):
            sure = SURE.get(word, 0.8)
            self.table[row] = np.log((1 - sure) / (labels - 1))
            self.table[row, CHOSEN.get(word, 0)] = np.log(sure)

    def run(self, feeds: Mapping[str, Any], control: object = None) -> dict[str, Any]:
        logits = self.table[feeds["input_ids"]].copy()
        logits[feeds["attention_mask"] == 0] = [0, 99, 0, 0, 0]
        logits[..., 1] += self.noise
        return {"logits": logits}

    def bind(self, feeds: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to release."""


def task_config(**changes: Any) -> dict[str, Any]:
    """Of a model of persons and places; ``input_…`` goes to the input's object."""
    tokens = {
        "kind": "tokens",
        "tokenizer": "tokenizer.json",
        "vocabulary": len(WORDS),
        "max_length": 8,
        "lowercase": False,
        "truncation": "right",
        "padding": {"side": "right", "id": 0, "type_id": 0},
    }
    tokens |= {name.removeprefix("input_"): value for name, value in changes.items() if name.startswith("input_")}
    rest = {name: value for name, value in changes.items() if not name.startswith("input_")}
    usual = {"labels": LABELS, "output": "logits", "aggregation": "simple", "outside": ["O"], "unknown": 1}
    return {"input": tokens, **usual, **rest}


@pytest.fixture
def make() -> Callable[..., Any]:
    """Function: (session, golden files, tokenizer, changes of the configuration) -> a runner and its bundle."""

    def opened(
        session: LabelSession | None = None,
        files: Mapping[str, bytes] | None = None,
        tokenizer: bytes | None = None,
        **changes: Any,
    ) -> Any:
        content = {"assets/tokenizer.json": tokenizer or tokenizer_json(), **(files or {})}
        task = TaskSpec("token-classification", task_config(**changes))
        bundle: Any = SimpleNamespace(
            manifest=SimpleNamespace(task=task, files=dict.fromkeys(content)),
            read_asset=lambda path: content[f"assets/{path}"],
            read_file=content.__getitem__,
        )
        return open_task(bundle, {"model": session or LabelSession()}), bundle

    return opened


def spans(answer: Any) -> list[tuple[str, str]]:
    """Label and text of each span."""
    return [(span.label, span.text) for span in answer.spans]


def test_spans_and_tokens(make: Callable[..., Any]) -> None:
    """Neighbors of a kind are one span, B- begins another; positions are those of the text as it is."""
    runner, _ = make()
    text = "Ada Lovelace met  you in LONDON"
    answer = runner.answer(text)
    assert spans(answer) == [("PER", "Ada Lovelace"), ("PER", "you")]
    assert all(text[span.start : span.end] == span.text for span in answer.spans)
    first = answer.spans[0]
    assert (first.start, first.end) == (0, 12)
    assert first.score == pytest.approx((0.8 + 0.8 + 0.9) / 3, abs=1e-6)
    assert [(token.label, text[token.start : token.end]) for token in answer.tokens] == [
        ("B-PER", "Ada"),
        ("I-PER", "Love"),
        ("I-PER", "lace"),
        ("O", "met"),
        ("B-PER", "you"),
        ("O", "in"),
    ]
    assert answer.truncated
    assert is_experimental(TaskSpec("token-classification", task_config()))


def test_what_is_not_seen_is_said(make: Callable[..., Any]) -> None:
    """A text that just fits is whole, a longer one is not; which end is cut is the configuration's."""
    runner, _ = make()
    assert not runner.answer("ada in in in in you").truncated
    cut = runner.answer("ada in in in in in you")
    assert (cut.truncated, spans(cut)) == (True, [("PER", "ada")])
    runner, _ = make(input_truncation="left")
    cut = runner.answer("ada in in in in in you")
    assert (cut.truncated, spans(cut)) == (True, [("PER", "you")])


@pytest.mark.parametrize("text", ["", " \t\n", "in in", "👍"])
def test_texts_without_spans(make: Callable[..., Any], text: str) -> None:
    """None is no error."""
    for aggregation in ("none", "simple", "first", "average", "max"):
        runner, _ = make(aggregation=aggregation)
        assert runner.answer(text).spans == ()
        runner.warm_up()


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("none", [("B-LOC", "par", 0.5), ("B-LOC", "is", 0.8), ("B-LOC", "lo", 0.8), ("I-LOC", "ndon", 0.95)]),
        ("simple", [("LOC", "par", 0.5), ("LOC", "is", 0.8), ("LOC", "london", 0.875)]),
        ("first", [("LOC", "paris", 0.5), ("LOC", "london", 0.8)]),
        ("average", [("LOC", "paris", 0.65), ("LOC", "london", 0.5)]),
        ("max", [("LOC", "paris", 0.8), ("LOC", "london", 0.95)]),
    ],
)
def test_aggregations(make: Callable[..., Any], aggregation: str, expected: list[tuple[str, str, float]]) -> None:
    """By token, by kind, and by word with the label of its first token, its mean, or its surest token."""
    runner, _ = make(aggregation=aggregation)
    found = [span for text in ("in paris", "in london") for span in runner.answer(text).spans]
    assert [(span.label, span.text) for span in found] == [row[:2] for row in expected]
    assert [span.score for span in found] == pytest.approx([row[2] for row in expected], abs=1e-6)


def test_words_without_a_mark_end_at_spaces(make: Callable[..., Any]) -> None:
    """As transformers takes them where the tokenizer does not tell: punctuation joins what it stands between."""
    runner, _ = make(tokenizer=tokenizer_json("WordLevel"), aggregation="first", unknown=None)
    assert spans(runner.answer("par-is in lo")) == [("LOC", "par-is"), ("LOC", "lo")]
    assert spans(runner.answer("you-par")) == [("PER", "you-par")]


def test_an_unknown_token_begins_a_word(make: Callable[..., Any]) -> None:
    """It is not spelled in pieces."""
    runner, _ = make(aggregation="first")
    assert spans(runner.answer("you ada")) == [("PER", "you"), ("PER", "ada")]
    assert spans(runner.answer("youx ada")) == [("PER", "ada")]


def test_labels_outside_are_the_configuration_s(make: Callable[..., Any]) -> None:
    """Not every scheme calls them O."""
    runner, _ = make(outside=["PER"])
    assert spans(runner.answer("in ada")) == [("O", "in")]


@pytest.mark.parametrize("side", ["right", "left"])
def test_batches_answer_as_one_by_one(make: Callable[..., Any], side: str) -> None:
    """Padding on either side has no label."""
    session = LabelSession()
    runner, _ = make(session, input_padding={"side": side, "id": 0, "type_id": 0}, input_max_length=64)
    texts = ["ada", "ada lovelace in paris and london you", "", "you", "in paris"]
    found: dict[int, Any] = {}
    for encoded in runner.encode(texts):
        found.update(zip(encoded.rows, runner.decode(session.run(encoded.feeds), encoded), strict=True))
    assert [found[i] for i in range(len(texts))] == [runner.answer(text) for text in texts]
    with pytest.raises(InputTypeError, match="expected a list of texts"):
        runner.encode("ada")


def golden_files(probabilities: list[Any], texts: list[str], **changes: Any) -> dict[str, bytes]:
    """As a bundle has them."""
    arrays = {
        TOKENS: np.concatenate(probabilities).astype(np.float32),
        LENGTHS: np.array([len(rows) for rows in probabilities], np.int64),
        **changes,
    }
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return {"golden/inputs.json": json.dumps(texts).encode(), "golden/outputs.npz": stream.getvalue()}


TEXTS = ["ada in paris", "", "you"]


def answers(runner: Any, session: LabelSession) -> list[Any]:
    """Probabilities of the tokens of each text."""
    found: dict[int, Any] = {}
    for encoded in runner.encode(TEXTS):
        found.update(zip(encoded.rows, runner.probabilities(session.run(encoded.feeds), encoded), strict=True))
    return [found[i] for i in range(len(TEXTS))]


def promised(worst: float = 0.0) -> Fidelity:
    return Fidelity("token", 5, 0.0, Interval(0.0, 0.5), worst, "samples")


def test_golden_samples(make: Callable[..., Any]) -> None:
    """Tokens are counted; a model that has become another is found out."""
    session = LabelSession()
    runner, _ = make(session)
    files = golden_files(answers(runner, session), TEXTS)
    runner, bundle = make(session, files)
    found = compare(runner, session, read_golden(bundle), promised())
    assert (found.metric, found.n, found.drop) == ("token", 5, 0.0)
    assert found.worst < 1e-6
    assert agrees(found, promised())
    runner, bundle = make(LabelSession(noise=3.0), files)
    found = compare(runner, LabelSession(noise=3.0), read_golden(bundle), promised())
    assert found.drop > 0
    assert not agrees(found, promised())


@pytest.mark.parametrize(
    "changes",
    [
        {TOKENS: np.zeros(4, np.float32)},
        {TOKENS: np.zeros((4, 5), np.int64)},
        {LENGTHS: np.array([1, 1, 1])},
        {LENGTHS: np.array([6, -2, 1])},
        {LENGTHS: np.array([4, 1])},
    ],
)
def test_damaged_golden_samples(make: Callable[..., Any], changes: dict[str, Any]) -> None:
    """Numbers that do not fit each other."""
    session = LabelSession()
    runner, _ = make(session)
    _, bundle = make(session, golden_files(answers(runner, session), TEXTS, **changes))
    with pytest.raises(BundleError, match="expected probabilities of the tokens of 3 texts"):
        read_golden(bundle)


def test_ties_are_no_change() -> None:
    """Labels that the source holds for equally likely; another shape or NaN is all changed."""
    source = np.array([[0.5, 0.4999, 0.0], [0.9, 0.1, 0.0]])
    other = source[:, [1, 0, 2]]
    assert changed_tokens(other, source, 1e-3)[0] == 1
    assert changed_tokens(other, source, 0.0)[0] == 2
    assert changed_tokens(source, source, 0.0) == (0, 0.0)
    assert changed_tokens(source[:1], source, 0.0) == (2, float("inf"))
    assert changed_tokens(source * np.nan, source, 0.0) == (2, float("inf"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"aggregation": "sum"},
            "task.config.aggregation: expected 'none' or 'simple' or 'first' or",
        ),
        ({"labels": ["O", "O"]}, "task.config.labels: expected distinct labels"),
        ({"labels": ["O"]}, "task.config.labels"),
        ({"labels": ["O", 3]}, "task.config.labels[1]: expected a name"),
        ({"unknown": "x"}, "task.config.unknown"),
        ({"more": 1}, "task.config.more"),
        ({"input_lowercase": True}, "task.config.input.lowercase: expected false: positions in the text"),
        ({"input": {"kind": "ngrams"}}, "task.config.input: expected an object of the kind 'tokens'"),
    ],
)
def test_a_wrong_configuration(make: Callable[..., Any], changes: dict[str, Any], message: str) -> None:
    """Is named with its place."""
    with pytest.raises(ManifestError) as caught:
        make(**changes)
    assert message in str(caught.value)


def test_a_model_that_does_not_fit(make: Callable[..., Any]) -> None:
    """Another number of labels, or another output."""
    with pytest.raises(BundleError, match=r"to be float32\[batch, sequence, 5\]"):
        make(LabelSession(labels=7))
    with pytest.raises(BundleError, match="expected an output 'scores', found logits"):
        make(output="scores")

"""Task embedding, and texts as batches of tokens."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan.bundle.description import TaskSpec
from ortolan.errors import BundleError, InputError, InputTypeError, ManifestError
from ortolan.tasks import open_task, token_input
from ortolan.tasks.golden import EMBEDDINGS, agrees, compare, embedding_distances, read_golden
from ortolan.types import Fidelity, Interval, SessionConfig, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, **{name: 4 + i for i, name in enumerate("abcdef")}}
TABLE = np.random.default_rng(0).standard_normal((len(WORDS), 4)).astype(np.float32)
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def tokenizer_json() -> bytes:
    """Words at white space, between [CLS] and [SEP]."""
    special = {name: {"id": name, "ids": [WORDS[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    frame = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    frame.append({"SpecialToken": {"id": "[SEP]", "type_id": 0}})
    pair = [*frame, {"Sequence": {"id": "B", "type_id": 1}}]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": frame,
                "pair": pair,
                "special_tokens": special,
            },
            "decoder": None,
            "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"},
        }
    ).encode()


class TableSession:
    """Hidden states are rows of a table; those of padding are far off, so that none may count.

    Args:
        inputs: names of the inputs.
        output: name and number of axes of the output.
        dtype: of the inputs.
    """

    def __init__(self, inputs: tuple[str, ...] = INPUTS, output: tuple[str, int] = ("hidden", 3), dtype: str = "int64"):
        self.inputs = [TensorSpec(name, dtype, ("batch", "sequence")) for name in inputs]
        axes = ("batch", "sequence", 4) if output[1] == 3 else ("batch", 4)
        self.outputs = [TensorSpec(output[0], "float32", axes)]
        self.placement: dict[str, int] = {}
        self.config = SessionConfig()
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: Mapping[str, Any], control: object = None) -> dict[str, Any]:
        assert feeds.keys() == {spec.name for spec in self.inputs}
        assert {array.dtype.name for array in feeds.values()} == {self.inputs[0].dtype}
        ids = feeds["input_ids"]
        assert {array.shape for array in feeds.values()} == {ids.shape}
        self.shapes.append(ids.shape)
        hidden = TABLE[ids].copy()
        if "attention_mask" in feeds:
            hidden[feeds["attention_mask"] == 0] = 1e6
        if len(self.outputs[0].shape or ()) == 2:
            hidden = hidden[:, 0]
        return {self.outputs[0].name: hidden}

    def bind(self, feeds: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to release."""


def task_config(**changes: Any) -> dict[str, Any]:
    """Of an embedder with mean pooling and unit vectors; ``input_…`` goes to the input's object."""
    tokens = {
        "kind": "tokens",
        "tokenizer": "tokenizer.json",
        "vocabulary": len(WORDS),
        "max_length": 16,
        "lowercase": False,
        "truncation": "right",
        "padding": {"side": "right", "id": 0, "type_id": 0},
    }
    tokens |= {name.removeprefix("input_"): value for name, value in changes.items() if name.startswith("input_")}
    rest = {name: value for name, value in changes.items() if not name.startswith("input_")}
    return {"input": tokens, "output": "hidden", "pooling": "mean", "normalize": True, **rest}


@pytest.fixture
def make() -> Callable[..., Any]:
    """Function: (session, golden files, changes of the configuration) -> a runner and its bundle."""

    def opened(session: TableSession, files: Mapping[str, bytes] | None = None, **changes: Any) -> Any:
        content = {"assets/tokenizer.json": tokenizer_json(), **(files or {})}
        bundle: Any = SimpleNamespace(
            manifest=SimpleNamespace(task=TaskSpec("embedding", task_config(**changes)), files=dict.fromkeys(content)),
            read_asset=lambda path: content[f"assets/{path}"],
            read_file=content.__getitem__,
        )
        return open_task(bundle, {"model": session}), bundle

    return opened


def embedded(runner: Any, session: TableSession, texts: list[str]) -> np.ndarray:
    """The vectors of a batch, in the order of the texts."""
    found: dict[int, Any] = {}
    for encoded in runner.encode(texts):
        found.update(zip(encoded.rows, runner.decode(session.run(encoded.feeds), encoded), strict=True))
    return np.stack([found[i] for i in range(len(texts))])


def rows(text: str) -> np.ndarray:
    """Hidden states of a text."""
    return TABLE[[WORDS[word] for word in ["[CLS]", *text.split(), "[SEP]"]]]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", lambda hidden: hidden.mean(axis=0)),
        ("cls", lambda hidden: hidden[0]),
        ("last", lambda hidden: hidden[-1]),
        ("max", lambda hidden: hidden.max(axis=0)),
    ],
)
@pytest.mark.parametrize("side", ["right", "left"])
def test_poolings(make: Any, pooling: str, expected: Any, side: str) -> None:
    """Padding never counts, on whichever side it stands; alone and in a batch the vector is the same."""
    session = TableSession()
    padding = {"side": side, "id": 0, "type_id": 0}
    runner, _ = make(session, pooling=pooling, normalize=False, input_padding=padding)
    texts = ["a b c", "f", "", "a b c d e f a b", "b b"]
    vectors = embedded(runner, session, texts)
    assert len(session.shapes) < len(texts)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_allclose(vector, expected(rows(text)), rtol=1e-6)
        np.testing.assert_allclose(runner.answer(text), vector, rtol=1e-6)


def test_unit_length(make: Any) -> None:
    """Declared, and done; float32 stays float32."""
    runner, _ = make(TableSession())
    vector = runner.answer("a b")
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0)
    mean = rows("a b").mean(axis=0)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-6)


def test_a_zero_vector_has_no_direction(make: Any) -> None:
    """It stays zero instead of becoming NaN."""
    session = TableSession()
    runner, _ = make(session)
    zeros = {"hidden": np.zeros((1, 3, 4), np.float32)}
    found = runner.vectors(zeros, {"attention_mask": np.ones((1, 3), np.int64)})
    assert found.tolist() == [[0.0] * 4]


def test_a_model_that_pools_by_itself(make: Any) -> None:
    """Its output [batch, d] is the vector."""
    session = TableSession(output=("vector", 2))
    runner, _ = make(session, output="vector", pooling=None, normalize=False)
    np.testing.assert_array_equal(runner.answer("a"), TABLE[WORDS["[CLS]"]])


@pytest.mark.parametrize("inputs", [INPUTS, INPUTS[:2], INPUTS[:1], (INPUTS[2], INPUTS[0])])
def test_a_model_gets_the_inputs_it_has(make: Any, inputs: tuple[str, ...]) -> None:
    """Without a mask only texts of equal length run together, so that there is no padding."""
    session = TableSession(inputs, dtype="int32")
    runner, _ = make(session)
    texts = ["a b", "c", "d e", "f f f"]
    vectors = embedded(runner, session, texts)
    for text, vector in zip(texts, vectors, strict=True):
        mean = rows(text).mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-6)
    if "attention_mask" not in inputs:
        assert sorted(session.shapes) == [(1, 3), (1, 5), (2, 4)]


def test_batches_are_bounded_and_padded_little(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs have a bounded number of tokens; a text gets at most two tokens of padding, or an eighth of its run."""
    monkeypatch.setattr(token_input, "TOKENS", 64)
    session = TableSession()
    runner, _ = make(session, input_max_length=100)
    generator = np.random.default_rng(1)
    texts = [" ".join(["a"] * length) for length in generator.integers(0, 90, 200).tolist()]
    seen = []
    for encoded in runner.encode(texts):
        mask = encoded.feeds["attention_mask"]
        seen += list(encoded.rows)
        assert mask.size <= 64 or len(mask) == 1
        lengths = mask.sum(axis=1)
        assert (mask.shape[1] - lengths <= np.maximum(2, mask.shape[1] / 8)).all()
        assert lengths.tolist() == [2 + len(texts[row].split()) for row in encoded.rows]
    assert sorted(seen) == list(range(200))


def test_long_texts_are_truncated_or_refused(make: Any) -> None:
    """As the bundle declares."""
    session = TableSession()
    runner, _ = make(session)
    assert len(runner.answer("a " * 50)) == 4
    assert session.shapes[-1] == (1, 16)
    runner, _ = make(session, input_truncation=None)
    with pytest.raises(InputError, match="expected a text of at most 16 tokens, found 52"):
        runner.answer("a " * 50)


def test_inputs_that_are_no_texts(make: Any) -> None:
    """The position is named, before anything runs."""
    session = TableSession()
    runner, _ = make(session)
    with pytest.raises(InputTypeError, match="expected a text of type str, found bytes; decode it first"):
        runner.answer(b"a")
    with pytest.raises(InputTypeError, match="expected a text at position 1 of type str, found NoneType"):
        runner.encode(["a", None])
    assert list(runner.encode([])) == []
    assert session.shapes == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "median"}, "task.config.pooling: expected mean, cls, max, last or null, found 'median'"),
        ({"normalize": 1}, "task.config.normalize: expected true or false, found 1"),
        ({"output": None}, "task.config.output: expected the name of an output, found None"),
        ({"prompt": "query: "}, "task.config.prompt: unknown key; known here: input, output, pooling, normalize"),
        ({"input_max_length": 0}, "task.config.input.max_length: expected an int from 1 to 1048576, found 0"),
    ],
)
def test_wrong_configuration(make: Any, change: dict[str, Any], message: str) -> None:
    """Each error names the dotted path of the value."""
    with pytest.raises(ManifestError) as caught:
        make(TableSession(), **change)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("session", "change", "message"),
    [
        (TableSession(), {"output": "y"}, "model: expected an output 'y', found hidden"),
        (TableSession(), {"pooling": None}, "expected output 'hidden' to be float32[batch, d], found hidden: float32"),
        (TableSession(output=("hidden", 2)), {}, "expected output 'hidden' to be float32[batch, sequence, d]"),
        (TableSession(("input_ids", "pixels")), {}, "int64[batch, sequence], found pixels: int64[batch, sequence]"),
        (TableSession(("attention_mask",)), {}, "model: expected an input input_ids, found attention_mask"),
        (TableSession(dtype="float32"), {}, "int64[batch, sequence], found input_ids: float32[batch, sequence]"),
    ],
)
def test_a_model_that_does_not_fit(make: Any, session: TableSession, change: dict[str, Any], message: str) -> None:
    """Inputs and outputs are checked when the bundle is opened, not when it answers."""
    with pytest.raises(BundleError) as caught:
        make(session, **change)
    assert message in str(caught.value)


def golden_files(texts: list[str], vectors: Any) -> dict[str, bytes]:
    """Golden samples as a bundle keeps them."""
    stream = io.BytesIO()
    np.savez(stream, **{EMBEDDINGS: vectors})
    return {"golden/inputs.json": json.dumps(texts).encode(), "golden/outputs.npz": stream.getvalue()}


def test_golden_vectors(make: Any) -> None:
    """The source's vectors are compared by half the squared distance: 1 minus the cosine, at length 1."""
    texts = ["a b", "", "c d e", "f"]
    means = np.stack([rows(text).mean(axis=0) for text in texts])
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    promised = Fidelity("embedding", 10, 0.0, Interval(0.0, 0.3), 1e-6, "samples")
    session = TableSession()
    runner, bundle = make(session, golden_files(texts, vectors.astype(np.float32)))
    found = compare(runner, session, read_golden(bundle), promised)
    assert (found.metric, found.n, found.drop) == ("embedding", 4, 0.0)
    assert found.worst < 1e-12
    assert agrees(found, promised)
    vectors[2] = -vectors[2]
    runner, bundle = make(session, golden_files(texts, vectors))
    found = compare(runner, session, read_golden(bundle), promised)
    assert (found.drop, found.worst) == (0.25, pytest.approx(2.0))
    assert not agrees(found, promised)


def test_golden_vectors_that_do_not_fit(make: Any) -> None:
    """As many as texts."""
    _, bundle = make(TableSession(), golden_files(["a"], np.zeros((2, 4), np.float32)))
    with pytest.raises(BundleError, match="expected a vector of floats for each of 1 texts"):
        read_golden(bundle)


def test_distances() -> None:
    """Length counts as well as direction; what is not finite is infinitely far, and another size too."""
    wanted = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    found = np.array([[6.0, 8.0], [0.0, 1.0], [0.0, 0.0], [np.nan, 0.0]])
    assert embedding_distances(found, wanted).tolist() == [0.5, 1.0, 0.0, np.inf]
    assert embedding_distances(found[:, :1], wanted).tolist() == [np.inf] * 4

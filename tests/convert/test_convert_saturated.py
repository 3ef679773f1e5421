"""Probabilities where every class is improbable: ratios of tiny numbers, and exact zeros as scikit-learn has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import joblib
import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline

import ortolan
from ortolan.engine.session import open_session
from ortolan.types import SessionConfig
from ortolan_convert.convert import convert
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.heads import EXPIT_ZERO, LOG_ZERO, both_sides, log_sigmoid, shares
from ortolan_convert.trees.answers import logistic, sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.graph import Value
    from ortolan_convert.report import ConversionReport

TEXTS = ("good thing", "bad thing", "ugly thing", "good day", "bad day", "ugly day", "a good day", "the bad thing") * 10
LABELS = ("a", "b", "c", "a", "b", "c", "b", "c") * 10
ASKED = (
    "zzz",
    *("thing " * count for count in (5, 20, 100, 400)),
    *("good " * count for count in (3, 20, 300)),
    "thing day " * 1000,
    "good bad ugly " * 30 + "good",
    "good bad ugly " * 1000 + "bad",
)
MODELS: dict[str, Callable[[], Any]] = {
    "one-vs-rest": lambda: OneVsRestClassifier(LogisticRegression(C=100)),
    "one-vs-rest-nb": lambda: OneVsRestClassifier(MultinomialNB()),
    "one-vs-rest-huber": lambda: OneVsRestClassifier(SGDClassifier(loss="modified_huber", random_state=0)),
    "one-vs-rest-platt": lambda: OneVsRestClassifier(CalibratedClassifierCV(LogisticRegression(), cv=2)),
    "sgd-log": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "platt": lambda: CalibratedClassifierCV(SGDClassifier(random_state=0), cv=3),
    "platt-single": lambda: CalibratedClassifierCV(SGDClassifier(random_state=0), cv=3, ensemble=False),
    "isotonic": lambda: CalibratedClassifierCV(SGDClassifier(random_state=0), cv=3, method="isotonic"),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_probabilities_are_the_sources_where_all_are_tiny(
    make: Callable[[], Any], converted: Callable[..., ConversionReport]
) -> None:
    """Texts far outside the samples get scikit-learn's probabilities, though no sample asked for them."""
    pipeline = make_pipeline(CountVectorizer(), make()).fit(TEXTS, LABELS)
    report = converted(pipeline, texts=TEXTS, quantize=())
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as model:
        answers = model.predict_batch(ASKED)
    found = np.array([list((answer.probabilities or {}).values()) for answer in answers])
    assert np.abs(found - pipeline.predict_proba(ASKED)).max() <= 1e-5
    ordered = np.sort(pipeline.predict_proba(ASKED), axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 1e-6  # the rest are ties, which rounding decides
    assert np.array([answer.label for answer in answers])[clear].tolist() == pipeline.predict(ASKED)[clear].tolist()


@pytest.mark.parametrize(("level", "reference"), [(0.0, "fp32"), (-10.1, "fp64")])
def test_repetitive_texts_choose_the_arithmetic(
    level: float, reference: str, converted: Callable[..., ConversionReport]
) -> None:
    """Scores of thousands that differ by one need float64, which no short sample shows; others stay in float32."""
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression()).fit(TEXTS, LABELS)
    pipeline[-1].coef_ = level - np.arange(3)[:, None] * np.array([[1.0, 2.0, 3.0, 5.0, 7.0, 11.0]]) / 1000
    report = converted(pipeline, texts=TEXTS, quantize=())
    assert [variant.name for variant in report.variants] == [reference]
    assert not any("repeat a term" in warning for warning in report.warnings)
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as model:
        found = list((model.predict("good " * 900).probabilities or {}).values())
    assert np.abs(np.array(found) - pipeline.predict_proba(["good " * 900])[0]).max() <= 1e-5


def _run(build: Callable[[GraphBuilder, Value], Value], values: Any, compute: Any, path: Path) -> Any:
    graph = GraphBuilder(compute)
    given = graph.input("x", "float32", values.shape)
    graph.output(build(graph, graph.cast(given, compute)), "y")
    path.write_bytes(graph.build({}).data)
    session = open_session(path, SessionConfig())
    try:
        return session.run({"x": values.astype(np.float32)})["y"]
    finally:
        session.close()


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_the_logarithm_of_a_sigmoid_is_exact(compute: str, tmp_path: Path) -> None:
    """From -709 to 1000 it is off by less than a float32 rounding; below, it stands for zero."""
    z = np.linspace(-709, 1000, 5000).astype(np.float32).reshape(1, -1)
    found = _run(log_sigmoid, z, compute, tmp_path / "model.onnx")
    expected = -np.logaddexp(0.0, -z.astype(np.float64))
    assert (np.abs(found - expected) <= 1.5e-7 * np.maximum(1.0, np.abs(expected))).all()
    gone = np.array([[EXPIT_ZERO - 0.1, -1e4, -1e30]])
    assert (_run(log_sigmoid, gone, compute, tmp_path / "model.onnx") == np.float32(LOG_ZERO)).all()


@pytest.mark.parametrize("compute", ["float32", "float64"])
def test_a_sigmoid_is_exact_where_it_is_tiny(compute: str, tmp_path: Path) -> None:
    """From -40 to 40 each side is the source's to a few roundings of its own size."""
    z = np.linspace(-40, 40, 4001).astype(np.float32).reshape(-1, 1)
    expected = expit(z.astype(np.float64))
    found = _run(sigmoid, z, compute, tmp_path / "model.onnx")
    assert (np.abs(found - expected) <= 1e-6 * expected).all()
    both = _run(lambda graph, value: logistic(graph, both_sides(graph, value)), z, compute, tmp_path / "model.onnx")
    assert (np.abs(both[:, 1:] - expected) <= 1e-6 * expected).all()
    assert (np.abs(both[:, :1] - expit(-z.astype(np.float64))) <= 1e-6 * expit(-z.astype(np.float64))).all()


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        QuadraticDiscriminantAnalysis(),
        MLPClassifier((3,), activation="logistic", max_iter=50, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_the_rarer_of_two_classes(model: Any, tmp_path: Path) -> None:
    """A probability of 1e-15 is the source's in all its digits."""
    rows = np.random.default_rng(0).normal(size=(60, 2))
    model.fit(rows, rows[:, 0] > 0)
    asked = np.linspace(-1, 1, 41)[:, None] * _far(model)
    joblib.dump(model, tmp_path / "model.joblib")
    convert(tmp_path / "model.joblib", tmp_path / "model.bundle", trust=True, quantize=())
    with ortolan.load(tmp_path / "model.bundle", ortolan.TabularClassifier) as opened:
        answers = opened.predict_batch([{"x0": float(a), "x1": float(b)} for a, b in asked])
    found = np.array([list((answer.probabilities or {}).values()) for answer in answers])
    expected = model.predict_proba(asked)
    assert expected.min() < 1e-12
    assert (np.abs(found[:, 1] - expected[:, 1]) <= 1e-5 * expected[:, 1]).all()


def _far(model: Any) -> Any:
    """A row whose score is about 35."""
    if isinstance(model, MLPClassifier):
        model.coefs_[-1] *= 35 / np.abs(model.coefs_[-1]).sum() * 2
        return np.array([20.0, 0.0])
    row = np.array([1.0, 0.0])
    for _ in range(8):
        score = abs(float(model.decision_function(row[None])[0]))
        row *= np.clip(35 / max(score, 1e-3), 0.3, 3)
    return row


@pytest.mark.parametrize(("all_zero", "expected"), [("uniform", 1 / 3), ("zeros", 0.0)])
def test_a_row_of_zeros_is_what_the_estimator_makes_of_it(
    all_zero: Literal["uniform", "zeros"], expected: float, tmp_path: Path
) -> None:
    """LogisticRegression, SGD and calibration answer uniformly, OneVsRestClassifier with zeros."""
    logs = np.array([[LOG_ZERO] * 3, [LOG_ZERO, -700.0, LOG_ZERO]])
    found = _run(lambda graph, value: shares(graph, value, all_zero=all_zero), logs, "float32", tmp_path / "model.onnx")
    assert found[0] == pytest.approx([expected] * 3)
    assert found[1].tolist() == [0.0, 1.0, 0.0]

"""Converted models answer as scikit-learn does: many vectorizers, many models, the gate itself being the judge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, SelectPercentile, chi2
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

import ortolan

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan_convert.report import ConversionReport

VECTORIZERS: dict[str, dict[str, Any]] = {
    "words": {},
    "words-12": {"ngram_range": (1, 2), "stop_words": "english", "sublinear_tf": True},
    "words-23": {"ngram_range": (2, 3), "token_pattern": r"(?u)\b\w+\b"},
    "char-13": {"analyzer": "char", "ngram_range": (1, 3)},
    "char-2": {"analyzer": "char", "ngram_range": (2, 2), "lowercase": False, "norm": None},
    "char_wb-24": {"analyzer": "char_wb", "ngram_range": (2, 4), "strip_accents": "unicode"},
    "ascii": {"strip_accents": "ascii", "binary": True, "norm": "l1", "smooth_idf": False},
    "no-idf": {"use_idf": False, "norm": "l1", "sublinear_tf": True},
    "fixed": {"vocabulary": ["good", "bad", "phone", "battery", "not produced at all"]},
    "few": {"analyzer": "char", "max_features": 30, "min_df": 2, "max_df": 0.9, "dtype": np.float32},
}
MODELS: dict[str, Callable[[], Any]] = {
    "logistic": lambda: LogisticRegression(C=10),
    "logistic-l1": lambda: LogisticRegression(C=10, l1_ratio=1, solver="saga", max_iter=3000),
    "one-vs-rest": lambda: OneVsRestClassifier(LogisticRegression()),
    "one-vs-rest-svc": lambda: OneVsRestClassifier(LinearSVC()),
    "one-vs-rest-nb": lambda: OneVsRestClassifier(MultinomialNB()),
    "svc": LinearSVC,
    "sgd-hinge": lambda: SGDClassifier(random_state=0),
    "sgd-log": lambda: SGDClassifier(loss="log_loss", random_state=0),
    "sgd-huber": lambda: SGDClassifier(loss="modified_huber", random_state=0),
    "ridge": RidgeClassifier,
    "multinomial-nb": MultinomialNB,
    "bernoulli-nb": BernoulliNB,
    "bernoulli-nb-high": lambda: BernoulliNB(binarize=0.2),
    "bernoulli-nb-none": lambda: BernoulliNB(binarize=None),
    "complement-nb": ComplementNB,
    "complement-nb-norm": lambda: ComplementNB(norm=True),
    "platt": lambda: CalibratedClassifierCV(LinearSVC(), cv=3),
    "platt-single": lambda: CalibratedClassifierCV(LinearSVC(), cv=3, ensemble=False),
    "platt-nb": lambda: CalibratedClassifierCV(MultinomialNB(), cv=2),
    "isotonic": lambda: CalibratedClassifierCV(LinearSVC(), cv=3, method="isotonic"),
    "isotonic-nb": lambda: CalibratedClassifierCV(ComplementNB(), cv=2, method="isotonic"),
    "temperature": lambda: CalibratedClassifierCV(LinearSVC(), cv=2, method="temperature"),
    "temperature-nb": lambda: CalibratedClassifierCV(MultinomialNB(), cv=2, method="temperature"),
}


@pytest.mark.parametrize("options", VECTORIZERS.values(), ids=VECTORIZERS)
def test_every_vectorizer_option(
    options: dict[str, Any], corpus: Any, converted: Callable[..., ConversionReport]
) -> None:
    """A tf-idf vectorizer with these options gives scikit-learn's answers on samples and edge texts."""
    pipeline = make_pipeline(TfidfVectorizer(**options), LogisticRegression(C=10)).fit(*corpus)
    report = converted(pipeline, texts=corpus[0], quantize=())
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0
    assert report.variants[0].fidelity.worst <= 1e-5


@pytest.mark.parametrize("several", [False, True], ids=["binary", "multiclass"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_every_model(
    make: Callable[[], Any], several: bool, corpus: Any, binary: Any, converted: Callable[..., ConversionReport]
) -> None:
    """This model over words gives scikit-learn's labels and numbers, and its runtime gives its labels."""
    texts, labels = corpus if several else binary
    pipeline = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), make()).fit(texts, labels)
    report = converted(pipeline, texts=texts)
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as model:
        answers = model.predict_batch(texts)
        assert [answer.label for answer in answers] == pipeline.predict(texts).tolist()
        if hasattr(pipeline, "predict_proba"):
            expected = pipeline.predict_proba(texts)
            found = [list((answer.probabilities or {}).values()) for answer in answers]
            assert np.abs(np.array(found) - expected).max() <= 1e-5
        else:
            assert answers[0].probabilities is None
        assert model.check().drop == 0


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize("options", [{}, {"norm": None}], ids=["l2", "no-norm"])
def test_clusters(make: Any, options: Any, corpus: Any, converted: Callable[..., ConversionReport]) -> None:
    """Clusters and distances are scikit-learn's."""
    pipeline = make_pipeline(TfidfVectorizer(**options), make(3, random_state=0, n_init=1)).fit(corpus[0])
    report = converted(pipeline, texts=corpus[0])
    assert report.task == "clustering"
    with ortolan.load(report.bundle.path, ortolan.Clusterer) as model:
        answers = model.predict_batch(corpus[0])
        assert [answer.label for answer in answers] == pipeline.predict(corpus[0]).tolist()
        found = np.array([answer.distances for answer in answers])
        assert np.abs(found - pipeline.transform(corpus[0])).max() <= 1e-5


STEPS: dict[str, Callable[[], list[Any]]] = {
    "counts": lambda: [CountVectorizer()],
    "counts-tfidf": lambda: [CountVectorizer(analyzer="char"), TfidfTransformer(sublinear_tf=True)],
    "select-after": lambda: [TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), SelectKBest(chi2, k=20)],
    "select-before": lambda: [CountVectorizer(), SelectPercentile(chi2, percentile=40), TfidfTransformer()],
    "select-twice": lambda: [TfidfVectorizer(), SelectPercentile(percentile=50), SelectKBest(k=5)],
    "select-both": lambda: [CountVectorizer(), SelectKBest(k=30), TfidfTransformer(norm="l1"), SelectKBest(k=6)],
    "select-no-norm": lambda: [TfidfVectorizer(norm=None), SelectKBest(chi2, k=9)],
    "none": lambda: [TfidfVectorizer(), "passthrough"],
}


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("make", [MultinomialNB, LogisticRegression])
def test_every_order_of_steps(
    steps: Callable[[], list[Any]], make: Any, corpus: Any, converted: Callable[..., ConversionReport]
) -> None:
    """Selection before and after weighting, with and without a norm, gives scikit-learn's answers."""
    pipeline = make_pipeline(*steps(), make()).fit(*corpus)
    report = converted(pipeline, texts=corpus[0], quantize=())
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0

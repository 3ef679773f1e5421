"""Artifacts of older scikit-learn versions: what can still be read is converted, the rest names both versions."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sklearn
from scipy.special import expit
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
from sklearn.pipeline import make_pipeline

import ortolan
from ortolan.errors import ConversionError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from pathlib import Path


def _saved(pipeline: Any, path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """A pickle as 1.6.1 would have left it, as far as the changes go; protocol 2 has names that can be replaced."""
    data = pickle.dumps(pipeline, 2).replace(sklearn.__version__.encode(), b"1.6.1")
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    path.write_bytes(data)
    return path


def _answers(bundle: Path, texts: Any) -> tuple[list[Any], list[list[float]]]:
    with ortolan.load(bundle, ortolan.TextClassifier, variant="fp32") as model:
        answers = model.predict_batch(texts)
    return [answer.label for answer in answers], [list((answer.probabilities or {}).values()) for answer in answers]


def test_a_ridge_classifier_whose_labels_lie_elsewhere(corpus: Any, tmp_path: Path) -> None:
    """Before, the labels of a ridge classifier were those of its label binarizer."""
    pipeline = make_pipeline(TfidfVectorizer(), RidgeClassifier()).fit(*corpus)
    expected = pipeline.predict(corpus[0]).tolist()
    del pipeline[-1].classes_
    path = _saved(pipeline, tmp_path / "old.pkl")
    report = convert(path, tmp_path / "out.bundle", trust=True)
    assert report.provenance.framework_version == "1.6.1"
    assert _answers(report.bundle.path, corpus[0])[0] == expected


def test_labels_that_are_nowhere_name_both_versions(corpus: Any, tmp_path: Path) -> None:
    """A fitted model whose labels cannot be found is one line with both versions."""
    pipeline = make_pipeline(TfidfVectorizer(), SGDClassifier()).fit(*corpus)
    pipeline[-1].labels_of_old = vars(pipeline[-1]).pop("classes_")
    path = _saved(pipeline, tmp_path / "old.pkl")
    message = rf"^old\.pkl: .*made with scikit-learn 1\.6\.1, which the installed {sklearn.__version__}"
    with pytest.raises(ConversionError, match=message):
        convert(path, tmp_path / "out.bundle", trust=True)


def test_a_private_part_that_moved_is_not_needed(corpus: Any, tmp_path: Path) -> None:
    """SGD's loss function is of no use after training: the rest is converted and compared."""
    pipeline = make_pipeline(TfidfVectorizer(), SGDClassifier(loss="log_loss", random_state=0)).fit(*corpus)
    path = _saved(pipeline, tmp_path / "old.pkl", (b"csklearn._loss._loss\n", b"c_loss\n"))
    report = convert(path, tmp_path / "out.bundle", trust=True)
    labels, probabilities = _answers(report.bundle.path, corpus[0])
    assert labels == pipeline.predict(corpus[0]).tolist()
    assert np.abs(np.array(probabilities) - pipeline.predict_proba(corpus[0])).max() <= 1e-5
    assert any("made with scikit-learn 1.6.1" in warning for warning in report.warnings)


def test_an_estimator_that_moved_names_both_versions(corpus: Any, tmp_path: Path) -> None:
    """Without the model's own class nothing can be judged, and that is no callable of the user's."""
    pipeline = make_pipeline(TfidfVectorizer(), SGDClassifier()).fit(*corpus)
    old = b"csklearn.linear_model._stochastic_gradient\nSGDClassifier\n"
    path = _saved(pipeline, tmp_path / "old.pkl", (old, b"c_sgd\nSGDClassifier\n"))
    message = rf"made with scikit-learn 1\.6\.1, which the installed {sklearn.__version__} cannot read"
    with pytest.raises(ConversionError, match=message):
        convert(path, tmp_path / "out.bundle", trust=True)


@pytest.mark.parametrize("options", [{"multi_class": "ovr"}, {"multi_class": "auto", "solver": "liblinear"}])
def test_one_vs_rest_logistic_regression_is_compared_with_its_own_formula(
    options: dict[str, str], corpus: Any, tmp_path: Path
) -> None:
    """Until 1.7 such a model normalized sigmoids, which the installed version does no longer."""
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(C=30)).fit(*corpus)
    vars(pipeline[-1]).update(options)
    report = convert(_saved(pipeline, tmp_path / "old.pkl"), tmp_path / "out.bundle", trust=True)
    labels, probabilities = _answers(report.bundle.path, corpus[0])
    positive = expit(pipeline.decision_function(corpus[0]))
    assert labels == pipeline.predict(corpus[0]).tolist()
    assert np.abs(np.array(probabilities) - positive / positive.sum(axis=1, keepdims=True)).max() <= 1e-5


def test_binary_multinomial_logistic_regression_keeps_its_own_formula(binary: Any, tmp_path: Path) -> None:
    """Until 1.7 such a model took the softmax of both signs; options it does not know yet get their defaults."""
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(*binary)
    expected = expit(2 * pipeline.decision_function(binary[0]))
    vars(pipeline[-1]).update(multi_class="multinomial")
    del pipeline[-1].l1_ratio
    report = convert(_saved(pipeline, tmp_path / "old.pkl"), tmp_path / "out.bundle", trust=True)
    probabilities = np.array(_answers(report.bundle.path, binary[0])[1])
    assert np.abs(probabilities[:, 1] - expected).max() <= 1e-5

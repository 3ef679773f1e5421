"""Models trained on real English reviews: the bundle answers what scikit-learn answers, on reviews it has not seen."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest

import ortolan
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("sklearn")

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.slow

TRAINED = 4000
"""Reviews that models are trained on."""
ASKED = 2000
"""Reviews that they are asked after it."""


@pytest.fixture(scope="module")
def reviews(registry: Callable[..., Path]) -> tuple[list[str], list[float]]:
    """Snippets of film reviews and how positive people found them, -4 to 4; see vaderSentiment's readme."""
    package = registry("vaderSentiment==3.3.2", sdist=True)
    archive = next(package.rglob("hutto_ICWSM_2014.tar.gz"))
    with tarfile.open(archive) as files:
        name = next(name for name in files.getnames() if name.endswith("movieReviewSnippets_GroundTruth.txt"))
        content = files.extractfile(name)
        assert content is not None
        lines = content.read().decode("utf-8", "replace").splitlines()
    rows = [line.split("\t") for line in lines if line.count("\t") == 2]
    order = np.random.default_rng(0).permutation(len(rows))[: TRAINED + ASKED].tolist()
    return [rows[i][2] for i in order], [float(rows[i][1]) for i in order]


def converted(model: Any, directory: Path, rows: list[dict[str, Any]]) -> Any:
    """The report of a conversion with samples."""
    joblib.dump(model, directory / "model.joblib")
    (directory / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return convert(
        directory / "model.joblib", directory / "out.bundle", samples=directory / "samples.jsonl", trust=True
    )


def union() -> FeatureUnion:
    """Words and their pairs, and characters inside words."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2)
    return FeatureUnion(
        [("words", words), ("characters", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), min_df=3))]
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(union(), LogisticRegression(max_iter=300)),
        lambda: make_pipeline(HashingVectorizer(ngram_range=(1, 2)), SGDClassifier(loss="log_loss", random_state=0)),
        lambda: make_pipeline(TfidfVectorizer(min_df=2), TruncatedSVD(50, random_state=0), LogisticRegression()),
        lambda: make_pipeline(TfidfVectorizer(min_df=2), RandomForestClassifier(20, random_state=0)),
    ],
    ids=["several vectorizers", "hashed", "reduced", "forest"],
)
def test_labels_of_reviews(make: Callable[[], Any], reviews: Any, tmp_path: Path) -> None:
    """Every variant is measured on the reviews; the reference's labels are all equal."""
    texts, scores = reviews
    labels = ["pos" if score > 0 else "neg" for score in scores]
    model = make().fit(texts[:TRAINED], labels[:TRAINED])
    asked = texts[TRAINED:]
    report = converted(model, tmp_path, [{"text": text} for text in asked])
    assert report.variants[0].fidelity.drop == 0
    assert report.variants[0].fidelity.n == ASKED
    with ortolan.load(report.bundle.path, ortolan.TextClassifier, variant=report.variants[0].name) as loaded:
        answers = loaded.predict_batch(asked)
        assert loaded.check().drop == 0
    assert [answer.label for answer in answers] == model.predict(asked).tolist()


def test_scores_of_reviews(reviews: Any, tmp_path: Path) -> None:
    """A regression over texts gives scikit-learn's numbers."""
    texts, scores = reviews
    model = make_pipeline(union(), Ridge()).fit(texts[:TRAINED], scores[:TRAINED])
    asked = texts[TRAINED:]
    report = converted(model, tmp_path, [{"text": text} for text in asked])
    with ortolan.load(report.bundle.path, ortolan.TabularRegressor) as loaded:
        found = [answer.value for answer in loaded.predict_batch([{"text": text} for text in asked])]
    np.testing.assert_allclose(found, model.predict(asked), rtol=1e-9, atol=1e-9)


def test_reviews_beside_numbers(reviews: Any, tmp_path: Path) -> None:
    """A table of a text and two numbers made of it."""
    pandas = pytest.importorskip("pandas")
    texts, scores = reviews
    frame = pandas.DataFrame(
        {"review": texts, "length": [len(text) for text in texts], "marks": [float(text.count("!")) for text in texts]}
    )
    labels = ["pos" if score > 0 else "neg" for score in scores]
    columns = ColumnTransformer([("review", union(), "review"), ("n", StandardScaler(), ["length", "marks"])])
    model = make_pipeline(columns, LogisticRegression(max_iter=300)).fit(frame[:TRAINED], labels[:TRAINED])
    asked = frame[TRAINED:]
    report = converted(model, tmp_path, asked.to_dict("records"))
    with ortolan.load(report.bundle.path, ortolan.TabularClassifier) as loaded:
        answers = loaded.predict_batch(asked.to_dict("records"))
    assert [answer.label for answer in answers] == model.predict(asked).tolist()
    found = [list((answer.probabilities or {}).values()) for answer in answers]
    np.testing.assert_allclose(found, model.predict_proba(asked), atol=1e-9)

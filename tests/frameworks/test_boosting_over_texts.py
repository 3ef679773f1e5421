"""Boosting libraries over features of words: what a sparse matrix does not store is missing to XGBoost, 0 to others."""

from __future__ import annotations

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
pytest.importorskip("pandas")

WORDS = ("good", "bad", "phone", "battery", "price", "sound", "camera", "screen")


def _xgboost() -> Any:
    return pytest.importorskip("xgboost").XGBClassifier(n_estimators=8, max_depth=4)


def _lightgbm() -> Any:
    return pytest.importorskip("lightgbm").LGBMClassifier(n_estimators=8, min_child_samples=1, verbose=-1)


def _catboost() -> Any:
    return pytest.importorskip("catboost").CatBoostClassifier(
        iterations=8, depth=4, verbose=0, allow_writing_files=False
    )


@pytest.fixture(scope="module")
def texts() -> tuple[list[str], list[int]]:
    """Made-up reviews, good or bad."""
    random = np.random.default_rng(0)
    made = [" ".join(random.choice(WORDS, int(random.integers(1, 9)))) for _ in range(120)]
    return made, [int(text.count("good") > text.count("bad")) for text in made]


@pytest.mark.parametrize("make", [_xgboost, _lightgbm, _catboost])
def test_over_texts(make: Callable[[], Any], texts: Any, tmp_path: Path) -> None:
    """The labels and probabilities of the library, for texts with few and with no known words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(), make()).fit(*texts)
    joblib.dump(model, tmp_path / "model.joblib")
    report = convert(tmp_path / "model.joblib", tmp_path / "out.bundle", trust=True)
    asked = [*texts[0], "", "unknown words"]
    with ortolan.load(report.bundle.path, ortolan.TextClassifier) as loaded:
        answers = loaded.predict_batch(asked)
    assert [answer.label for answer in answers] == model.predict(asked).ravel().tolist()
    found = [list((answer.probabilities or {}).values()) for answer in answers]
    np.testing.assert_allclose(found, model.predict_proba(asked), atol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 1.0], ids=["dense", "sparse"])
@pytest.mark.parametrize("make", [_xgboost, _lightgbm])
def test_over_texts_beside_numbers(make: Callable[[], Any], threshold: float, texts: Any, tmp_path: Path) -> None:
    """Whether a zero beside the words is one or missing depends on how the columns were put together."""
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    stars = [float(i % 3) for i in range(len(texts[0]))]
    frame = pd.DataFrame({"review": texts[0], "stars": stars})
    labels = [int(label + star > 1) for label, star in zip(texts[1], stars, strict=True)]
    columns = ColumnTransformer(
        [("review", TfidfVectorizer(), "review"), ("stars", "passthrough", ["stars"])], sparse_threshold=threshold
    )
    model = make_pipeline(columns, make()).fit(frame, labels)
    joblib.dump(model, tmp_path / "model.joblib")
    report = convert(tmp_path / "model.joblib", tmp_path / "out.bundle", trust=True)
    with ortolan.load(report.bundle.path, ortolan.TabularClassifier) as loaded:
        answers = loaded.predict_batch(frame.to_dict("records"))
    found = [list((answer.probabilities or {}).values()) for answer in answers]
    np.testing.assert_allclose(found, model.predict_proba(frame), atol=1e-6)

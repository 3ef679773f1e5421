"""Small corpora, trained pipelines and conversions for the tests of the converters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import joblib
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

ENGLISH = (
    ("a good phone, good price", "pos"),
    ("the battery is bad and the screen is bad", "neg"),
    ("I love this café, naïve but good", "pos"),
    ("terrible service, never again", "neg"),
    ("Great camera and GREAT sound", "pos"),
    ("does not work, bad bad bad", "neg"),
    ("works fine, nothing special", "mid"),
    ("it is okay for the price", "mid"),
    ("average sound, average screen", "mid"),
    ("good service and a good camera", "pos"),
    ("bad price, terrible battery", "neg"),
    ("okay phone, fine screen", "mid"),
)
CHINESE = (
    ("这个手机很好用，物流也快", "pos"),
    ("质量太差了，退货", "neg"),
    ("非常满意，还会再来", "pos"),
    ("电池不行，充电慢", "neg"),
    ("一般般，凑合用", "mid"),
    ("价格还行，质量一般", "mid"),
    ("很好很喜欢", "pos"),
    ("差评，客服态度差", "neg"),
    ("还可以吧，一般", "mid"),
)
CORPUS = (*ENGLISH, *CHINESE) * 3


@pytest.fixture(scope="session")
def corpus() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts in English and Chinese, and their labels pos, neg and mid."""
    texts, labels = zip(*CORPUS, strict=True)
    return texts, labels


@pytest.fixture(scope="session")
def binary(corpus: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts labelled pos and neg."""
    texts, labels = zip(*(row for row in zip(*corpus, strict=True) if row[1] != "mid"), strict=True)
    return texts, labels


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., ConversionReport]:
    """Saves fitted estimators with joblib and converts them, on samples if texts are given."""

    def run(*estimators: Any, texts: Sequence[str] | None = None, **options: Any) -> ConversionReport:
        files = []
        for index, estimator in enumerate(estimators):
            files.append(tmp_path / f"part{index}.joblib")
            joblib.dump(estimator, files[-1])
        if texts is not None:
            samples = tmp_path / "samples.jsonl"
            samples.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
            options["samples"] = samples
        options = {"trust": True, "overwrite": True, **options}
        return convert(files, tmp_path / "out.bundle", **options)

    return run


@pytest.fixture(scope="session")
def sentiment(tmp_path_factory: pytest.TempPathFactory, binary: Any) -> Path:
    """A joblib file of characters 1-2 grams and logistic regression."""
    path: Path = tmp_path_factory.mktemp("artifacts") / "sentiment.joblib"
    pipeline = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), LogisticRegression())
    joblib.dump(pipeline.fit(*binary), path)
    return path

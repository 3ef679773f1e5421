"""Models over texts of more than a vectorizer and a linear model, and tables with columns of texts."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import RFE, SelectKBest, f_classif
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.naive_bayes import MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC

import ortolan
from ortolan.bundle.directory import open_bundle
from ortolan.errors import InputError, InputTypeError, TaskMismatchError, UnsupportedError
from ortolan.tasks.golden import agrees, read_golden
from ortolan_convert.convert import convert
from ortolan_convert.generated import EDGE_TEXTS, is_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

    Convert = Callable[..., ConversionReport]

TEXTS = tuple(text for text in EDGE_TEXTS if is_text(text))


def words() -> FeatureUnion:
    """Words and characters side by side."""
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))
    return FeatureUnion([("words", TfidfVectorizer()), ("characters", characters)])


def assert_same_answers(report: ConversionReport, model: Any, texts: tuple[str, ...]) -> None:
    """The bundle answers as the model does, one by one and together, and its golden samples agree."""
    with ortolan.load(report.bundle.path, ortolan.TextClassifier, variant=report.variants[0].name) as loaded:
        answers = loaded.predict_batch(texts)
        assert [answer.label for answer in answers] == model.predict(list(texts)).tolist()
        assert [loaded.predict(text).label for text in texts] == model.predict(list(texts)).tolist()
        if hasattr(model, "predict_proba"):
            found = np.array([list((answer.probabilities or {}).values()) for answer in answers])
            np.testing.assert_allclose(found, model.predict_proba(list(texts)), atol=1e-6)
        assert agrees(loaded.check(), report.variants[0].fidelity)  # type: ignore[arg-type]  # measured


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(HashingVectorizer(n_features=1 << 10), LogisticRegression()),
        lambda: make_pipeline(HashingVectorizer(alternate_sign=False, norm=None), TfidfTransformer(), SGDClassifier()),
        lambda: make_pipeline(HashingVectorizer(n_features=256, alternate_sign=False), MultinomialNB()),
        lambda: make_pipeline(HashingVectorizer(analyzer="char_wb", ngram_range=(2, 3)), TfidfTransformer(), _log()),
        lambda: make_pipeline(HashingVectorizer(n_features=999), SelectKBest(f_classif, k=30), LogisticRegression()),
    ],
)
def test_hashed_words_and_a_linear_model(make: Callable[[], Any], corpus: Any, converted: Convert) -> None:
    """Buckets that have a coefficient become rows of the usual fast graph."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make().fit(*corpus)
    report = converted(model, texts=corpus[0])
    assert report.variants[0].name == "fp32"
    assert open_bundle(report.bundle.path).manifest.task.config["input"]["kind"] == "ngrams"  # type: ignore[index]  # an object
    assert_same_answers(report, model, (*corpus[0], *TEXTS))


def _log() -> SGDClassifier:
    return SGDClassifier(loss="log_loss")


def test_a_bundle_of_hashed_words_is_small(corpus: Any, converted: Convert) -> None:
    """A million buckets of which a hundred matter take no megabytes."""
    report = converted(make_pipeline(HashingVectorizer(), SGDClassifier()).fit(*corpus))
    assert report.variants[0].bundle_bytes is not None
    assert report.variants[0].bundle_bytes < 50_000


def test_a_sample_that_cannot_be_hashed(corpus: Any, converted: Convert) -> None:
    """A lone surrogate among the samples is told with its place."""
    with pytest.raises(InputError, match="samples, text 1: a lone surrogate in it"):
        converted(make_pipeline(HashingVectorizer(n_features=64), LinearSVC()).fit(*corpus), texts=["a", "\ud800"])


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(words(), LogisticRegression()),
        lambda: make_pipeline(TfidfVectorizer(), MaxAbsScaler(), LogisticRegression()),
        lambda: make_pipeline(words(), TruncatedSVD(5), StandardScaler(), LogisticRegression()),
        lambda: make_pipeline(TfidfVectorizer(), TfidfTransformer(), LogisticRegression()),
        lambda: make_pipeline(
            FeatureUnion([("w", HashingVectorizer(n_features=512)), ("c", CountVectorizer(analyzer="char"))]),
            StandardScaler(with_mean=False),
            LogisticRegression(),
        ),
    ],
)
def test_composed_classifiers(make: Callable[[], Any], corpus: Any, converted: Convert) -> None:
    """Several vectorizers and steps between them and the model give the source's answers."""
    model = make().fit(*corpus)
    report = converted(model, texts=corpus[0])
    assert report.task == "text-classification"
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0
    assert_same_answers(report, model, (*corpus[0], *TEXTS))


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomForestClassifier(10, random_state=0),
        lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
        lambda: MLPClassifier((6,), max_iter=40, random_state=0),
        lambda: SVC(kernel="linear"),
        lambda: SVC(),
        lambda: VotingClassifier([("a", LogisticRegression()), ("b", MultinomialNB())], voting="soft"),
        lambda: CalibratedClassifierCV(RandomForestClassifier(4, random_state=0), cv=2),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_any_model_over_features_of_words(make: Callable[[], Any], corpus: Any, converted: Convert) -> None:
    """Trees, kernels and ensembles see the features that scikit-learn's see."""
    model = make_pipeline(words(), make()).fit(*corpus)
    report = converted(model, texts=corpus[0])
    assert report.task == "text-classification"
    assert_same_answers(report, model, (*corpus[0], *TEXTS))


def test_models_without_tables_of_coefficients_have_no_smaller_variant(corpus: Any, converted: Convert) -> None:
    """A forest's thresholds are as they are; nothing is tried, and nothing said."""
    report = converted(make_pipeline(TfidfVectorizer(), RandomForestClassifier(3)).fit(*corpus), texts=corpus[0] * 2)
    assert [variant.name for variant in report.variants] == ["fp64"]
    assert not any("left out" in warning for warning in report.warnings)


def test_neighbours_among_too_many_numbers(corpus: Any, converted: Convert) -> None:
    """Training data that was stored without its zeros is not written out with them."""
    model = make_pipeline(HashingVectorizer(), KNeighborsClassifier(1)).fit(*corpus)
    with pytest.raises(UnsupportedError, match=r"63 rows of training data of 1,048,576 features each, zeros included"):
        converted(model)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_neighbours_by_angle(weights: str, corpus: Any, converted: Convert) -> None:
    """Over features of words, the same texts and others; those whose third and fourth neighbour tie left out."""
    texts = tuple(f"{text} {i}{i} {i % 7}{i % 5}" for i, text in enumerate(corpus[0]))
    model = make_pipeline(TfidfVectorizer(), KNeighborsClassifier(3, metric="cosine", weights=weights))
    model.fit(texts, corpus[1])
    report = converted(model, texts=texts)
    asked = (*texts, *(f"{one} {other}" for one, other in zip(texts, texts[5:], strict=False)))
    distances, _ = model[-1].kneighbors(model[0].transform(asked), 4)
    clear = distances[:, 3] - distances[:, 2] > 1e-9
    assert clear.sum() > 80
    assert_same_answers(report, model, tuple(text for text, is_clear in zip(asked, clear, strict=True) if is_clear))


def test_a_text_of_no_known_word_is_equally_far_from_all(corpus: Any, converted: Convert) -> None:
    """A row of zeros has no direction: all cosines are 0, as in scikit-learn, and all rows count alike."""
    model = make_pipeline(TfidfVectorizer(), KNeighborsClassifier(len(corpus[0]), metric="cosine")).fit(*corpus)
    assert_same_answers(converted(model, texts=corpus[0]), model, ("zzzz", "", *corpus[0]))


def test_a_whole_pipeline_inside_another_model(corpus: Any, converted: Convert) -> None:
    """Models whose members take texts themselves."""
    members = [("a", make_pipeline(TfidfVectorizer(), LogisticRegression()))]
    members.append(("b", make_pipeline(CountVectorizer(analyzer="char"), MultinomialNB())))
    for model in (
        VotingClassifier(members, voting="soft"),
        CalibratedClassifierCV(make_pipeline(TfidfVectorizer(), LinearSVC()), cv=2),
    ):
        model.fit(*corpus)
        assert_same_answers(converted(model, texts=corpus[0]), model, (*corpus[0], *TEXTS))


def test_equally_near_neighbours_are_not_compared(corpus: Any, converted: Convert) -> None:
    """Which of them count is decided by rounding; how many such texts there are is said, and none is golden."""
    texts, labels = corpus[0][:21], corpus[1][:21]
    labels = tuple(labels[i] if i % 2 else "other" for i in range(len(labels)))
    model = make_pipeline(TfidfVectorizer(), KNeighborsClassifier(2)).fit(texts + texts, labels + corpus[1][:21])
    report = converted(model, texts=texts)
    assert any("several neighbours are equally near" in warning for warning in report.warnings)
    with ortolan.load(report.bundle.path) as loaded:
        assert loaded.check().drop == 0


def test_a_selector_that_is_a_model_too(corpus: Any, converted: Convert) -> None:
    """Recursive elimination has a ``predict`` of its own and is no second model."""
    selector = RFE(LogisticRegression(), n_features_to_select=9, step=10)
    model = make_pipeline(TfidfVectorizer(), selector, LogisticRegression()).fit(*corpus)
    assert_same_answers(converted(model, texts=corpus[0]), model, (*corpus[0], *TEXTS))


def test_composed_models_have_smaller_variants(corpus: Any, converted: Convert) -> None:
    """The tables that features are looked up in are stored in fewer bytes."""
    texts = tuple(f"{text} {i}{i}" for i, text in enumerate(corpus[0]))
    report = converted(make_pipeline(words(), LogisticRegression()).fit(texts, corpus[1]), texts=texts, max_drop=1.0)
    assert [variant.name for variant in report.variants] == ["fp32", "fp16", "int8"]
    sizes = [variant.bytes for variant in report.variants]
    assert sizes == sorted(sizes, reverse=True)


def test_golden_samples_of_composed_models_are_texts(corpus: Any, converted: Convert) -> None:
    """So the whole way from a text to the answer is checked on the device."""
    report = converted(make_pipeline(words(), LogisticRegression()).fit(*corpus))
    golden = read_golden(open_bundle(report.bundle.path))
    assert len(golden.inputs) >= 16
    assert all(isinstance(text, str) for text in golden.inputs)


def test_clusters_of_reduced_words(corpus: Any, converted: Convert) -> None:
    """Clustering after an SVD: the nearest center and all distances."""
    model = make_pipeline(TfidfVectorizer(), TruncatedSVD(3), KMeans(3, n_init=1, random_state=0)).fit(corpus[0])
    report = converted(model, texts=corpus[0])
    assert report.task == "clustering"
    with ortolan.load(report.bundle.path, ortolan.Clusterer) as loaded:
        answers = loaded.predict_batch(corpus[0])
    assert [answer.label for answer in answers] == model.predict(corpus[0]).tolist()
    np.testing.assert_allclose([answer.distances for answer in answers], model.transform(corpus[0]), atol=1e-6)


def test_parts_in_separate_files(corpus: Any, converted: Convert) -> None:
    """The vectorizer may be given after the steps that follow it."""
    model = make_pipeline(TfidfVectorizer(), TruncatedSVD(4), LogisticRegression()).fit(*corpus)
    report = converted(model[1], model[2], model[0], texts=corpus[0])
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.drop == 0


def test_regression_over_texts_is_a_table_with_one_column(corpus: Any, converted: Convert, tmp_path: Path) -> None:
    """Named ``text``; samples are read from a column of that name."""
    model = make_pipeline(TfidfVectorizer(), LinearRegression()).fit(corpus[0], [len(text) for text in corpus[0]])
    report = converted(model, texts=corpus[0])
    assert report.task == "tabular-regression"
    with ortolan.load(report.bundle.path, ortolan.TabularRegressor) as loaded:
        found = [answer.value for answer in loaded.predict_batch([{"text": text} for text in TEXTS])]
        assert loaded.predict([corpus[0][0]]).value == pytest.approx(model.predict(corpus[0][:1])[0])
        assert loaded.check().drop == 0
    np.testing.assert_allclose(found, model.predict(TEXTS), rtol=1e-9)


def test_another_task(corpus: Any, converted: Convert) -> None:
    """A model for another task than the one asked for is refused."""
    with pytest.raises(TaskMismatchError, match="expected a model for the task 'clustering'"):
        converted(make_pipeline(words(), LogisticRegression()).fit(*corpus), task="clustering")


def test_an_unsupported_part_of_a_union_is_named(corpus: Any, converted: Convert) -> None:
    """With the way to it."""
    union = FeatureUnion(
        [("good", TfidfVectorizer()), ("bad", TfidfVectorizer(tokenizer=str.split, token_pattern=None))]
    )
    with pytest.raises(UnsupportedError, match=r"step 'featureunion', part 'bad', option 'tokenizer': calls a Python"):
        converted(make_pipeline(union, LogisticRegression()).fit(*corpus))


class Reviews:
    """A table of reviews with a text, a number and a category, and a model over it."""

    def __init__(self, corpus: Any) -> None:
        pandas = pytest.importorskip("pandas")
        texts, labels = corpus
        self.frame = pandas.DataFrame(
            {
                "review": texts,
                "stars": [float(i % 5) for i in range(len(texts))],
                "title": [text[:5] for text in texts],
                "id": range(len(texts)),
            }
        )
        union = FeatureUnion([("words", TfidfVectorizer()), ("characters", TfidfVectorizer(analyzer="char"))])
        columns = ColumnTransformer(
            [
                ("review", union, "review"),
                ("title", HashingVectorizer(n_features=128, analyzer="char"), "title"),
                ("stars", StandardScaler(), ["stars"]),
            ]
        )
        self.labels = labels
        self.model = make_pipeline(columns, LogisticRegression()).fit(self.frame, labels)


@pytest.fixture(scope="module")
def reviews(corpus: Any) -> Reviews:
    """The table and its model."""
    return Reviews(corpus)


@pytest.fixture(scope="module")
def mixed(reviews: Reviews, tmp_path_factory: pytest.TempPathFactory) -> ConversionReport:
    """The model's bundle, converted with samples from a .csv file."""
    directory = tmp_path_factory.mktemp("mixed")
    joblib.dump(reviews.model, directory / "model.joblib")
    reviews.frame.assign(label=reviews.labels).to_csv(directory / "samples.csv", index=False)
    return convert(directory / "model.joblib", directory / "out.bundle", samples=directory / "samples.csv", trust=True)


def test_columns_of_texts_beside_numbers(reviews: Reviews, mixed: ConversionReport) -> None:
    """Rows give the source's answers, one by one and together."""
    assert mixed.task == "tabular-classification"
    assert mixed.accuracy is not None
    rows = reviews.frame.to_dict("records")
    expected = reviews.model.predict_proba(reviews.frame)
    with ortolan.load(mixed.bundle.path, ortolan.TabularClassifier) as loaded:
        answers = loaded.predict_batch(rows)
        alone = [loaded.predict(row) for row in rows[:5]]
        assert loaded.check().drop == 0
    found = np.array([list((answer.probabilities or {}).values()) for answer in answers])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert alone == answers[:5]


def test_long_texts_among_rows_change_nothing(reviews: Reviews, mixed: ConversionReport) -> None:
    """Rows go in runs of bounded size; their answers come back in order."""
    frame = reviews.frame.copy()
    frame.loc[3, "review"] = " ".join(frame.review) * 40
    with ortolan.load(mixed.bundle.path, ortolan.TabularClassifier) as loaded:
        answers = loaded.predict_batch(frame.to_dict("records"))
    assert [answer.label for answer in answers] == reviews.model.predict(frame).tolist()


@pytest.mark.parametrize("value", [None, float("nan"), 3, b"bytes"])
def test_a_text_that_is_none(mixed: ConversionReport, value: object) -> None:
    """As in scikit-learn a text may not be missing; the error names the row and the column."""
    row = {"review": "good", "title": "x", "stars": 1.0}
    with ortolan.load(mixed.bundle.path, ortolan.TabularClassifier) as loaded:
        with pytest.raises(InputTypeError, match=r"^feature 'review': expected a text of type str, found "):
            loaded.predict({**row, "review": value})
        with pytest.raises(InputTypeError, match=r"^row 1, feature 'review': expected a text"):
            loaded.predict_batch([row, {**row, "review": value}])


def test_a_text_that_cannot_be_hashed(mixed: ConversionReport) -> None:
    """The error names the column whose vectorizer hashes; others take it."""
    row = {"review": "good \ud800", "title": "x", "stars": 1.0}
    with ortolan.load(mixed.bundle.path, ortolan.TabularClassifier) as loaded:
        loaded.predict(row)
        with pytest.raises(InputError, match=r"feature 'title': .* is a lone surrogate"):
            loaded.predict({**row, "title": "\ud800"})


def test_samples_of_columns_of_texts(reviews: Reviews, mixed: ConversionReport, tmp_path: Path) -> None:
    """The same rows from .jsonl give the same bundle but for its provenance; an empty text is a text."""
    joblib.dump(reviews.model, tmp_path / "model.joblib")
    rows = [{**row, "review": ""} for row in reviews.frame.to_dict("records")]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = convert(tmp_path / "model.joblib", tmp_path / "out.bundle", samples=tmp_path / "samples.jsonl", trust=True)
    assert report.variants[0].bytes == mixed.variants[0].bytes
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.n == len(rows)


def test_without_samples_texts_are_made_up(reviews: Reviews, converted: Convert) -> None:
    """Of the vocabulary of the column's vectorizers, strange texts included."""
    report = converted(reviews.model)
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.inputs == "generated"
    golden = read_golden(report.bundle)
    assert {name for sample in golden.inputs for name in sample} == {
        "numbers",
        *(f"text{i}.{part}" for i in range(3) for part in ("ids", "values")),
    }

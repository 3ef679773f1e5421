"""Steps over features of words, as graphs on the runtime, against scikit-learn's own transform."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, VarianceThreshold, f_classif
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import Binarizer, MaxAbsScaler, Normalizer, RobustScaler, StandardScaler

from ortolan.errors import UnsupportedError
from ortolan.inputs.ngram_sets import NgramSets
from ortolan_convert.generated import EDGE_TEXTS, is_text
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.sources.scikit_learn import compose
from ortolan_convert.sources.scikit_learn import features as parts
from ortolan_convert.sources.scikit_learn.features import RawColumn, RawColumns, RawTable
from ortolan_convert.sources.scikit_learn.steps import Fitted
from ortolan_convert.sources.scikit_learn.table_source import text_configs
from ortolan_convert.sources.scikit_learn.text_parts import WIDEST, TextInputs, as_float64

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

QUESTIONS = tuple(text for text in EDGE_TEXTS if is_text(text))


def words() -> FeatureUnion:
    """Words and characters side by side."""
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))
    return FeatureUnion([("words", TfidfVectorizer()), ("characters", characters)])


def built(transformer: Any, texts: TextInputs) -> Any:
    """The graph of a transformer of texts: its builder and the features, side by side."""
    graph = GraphBuilder("float64")
    table = RawTable([RawColumn("text")], None, {}, {}, texts)
    features = compose.transformed(graph, Fitted(transformer, "pipeline"), (RawColumns(table, (0,)),))
    return graph, parts.dense(graph, features)


def transformed(transformer: Any, questions: list[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What the runtime makes of texts: in one run, and one by one."""
    import onnxruntime

    probe = TextInputs(as_float64)
    built(transformer, probe)
    packed = probe.pack()
    graph, value = built(transformer, TextInputs(as_float64, packed))
    graph.output(value, "features", "float64")
    model = graph.build({"batch": 1} | {f"text{i}.terms": 10 for i in range(len(packed))})
    assets = {path: content for one in packed for path, content in one.assets.items()}
    sets = NgramSets.open(text_configs(packed)["text"], assets.__getitem__, "input")
    session = onnxruntime.InferenceSession(model.data)
    together = session.run(None, sets.many(questions).padded(np.arange(len(questions))))[0]
    alone = np.concatenate([session.run(None, sets.one(text))[0] for text in questions])
    return together, alone


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_pipeline(TfidfVectorizer(), MaxAbsScaler()),
        lambda: make_pipeline(CountVectorizer(), MaxAbsScaler(), Normalizer("l1")),
        lambda: make_pipeline(
            words(), StandardScaler(with_mean=False), SelectKBest(f_classif, k=30), Normalizer("max")
        ),
        lambda: make_pipeline(words(), RobustScaler(with_centering=False), TruncatedSVD(5), StandardScaler()),
        lambda: make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True, norm=None), TfidfTransformer()),
        lambda: make_pipeline(CountVectorizer(), VarianceThreshold(0.05), Binarizer(threshold=1)),
        lambda: make_pipeline(CountVectorizer(), SelectKBest(f_classif, k=9), Normalizer()),
        lambda: make_pipeline(HashingVectorizer(n_features=512), TfidfTransformer(norm=None)),
        lambda: make_pipeline(HashingVectorizer(n_features=1 << 14), TruncatedSVD(4)),
        lambda: make_pipeline(HashingVectorizer(n_features=64, analyzer="char"), VarianceThreshold()),
        lambda: FeatureUnion(
            [("a", TfidfVectorizer()), ("b", make_pipeline(CountVectorizer(), TruncatedSVD(3)))],
            transformer_weights={"a": 0.5, "b": 3.0},
        ),
    ],
)
def test_same_features(make: Callable[[], Any], corpus: Any) -> None:
    """Every step gives scikit-learn's numbers, in batches and one by one, for known and for strange texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformer = make().fit(*corpus)
    questions = [*corpus[0], *QUESTIONS]
    expected = transformer.transform(questions)
    expected = expected.toarray() if hasattr(expected, "toarray") else expected
    for found in transformed(transformer, questions):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_only_features_that_matter_are_packed(corpus: Any) -> None:
    """What a selector drops and no norm needs is in no bundle."""
    transformer = make_pipeline(CountVectorizer(), SelectKBest(f_classif, k=7)).fit(*corpus)
    probe = TextInputs(as_float64)
    built(transformer, probe)
    assert [len(one.order) for one in probe.pack()] == [7]


def test_hashed_features_without_weight_are_not_packed(corpus: Any) -> None:
    """Of all buckets those remain that a component has a number for."""
    transformer = make_pipeline(HashingVectorizer(n_features=1 << 14), TruncatedSVD(3)).fit(*corpus)
    probe = TextInputs(as_float64)
    built(transformer, probe)
    assert [len(one.order) for one in probe.pack()] == [int((transformer[-1].components_ != 0).any(axis=0).sum())]


def test_too_many_columns_are_refused_by_name(corpus: Any) -> None:
    """A step that looks at every feature cannot have a million of them."""
    transformer = make_pipeline(HashingVectorizer(), Normalizer()).fit(corpus[0])
    message = rf"step 'hashingvectorizer': gives 1,048,576 features .* at most {WIDEST:,}, limit them"
    with pytest.raises(UnsupportedError, match=message):
        built(transformer, TextInputs(as_float64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: make_pipeline(CountVectorizer(), Binarizer(threshold=-1)),
            "'threshold': expected 0 or more, found -1",
        ),
        (
            lambda: make_pipeline(HashingVectorizer(n_features=8), TfidfTransformer(sublinear_tf=True)),
            "'sublinear_tf': the logarithm of negative counts",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_options_that_make_no_sense_of_zeros(make: Callable[[], Any], message: str, corpus: Any) -> None:
    """What would make every zero something else is refused with the option's name."""
    transformer = make().fit(corpus[0])
    with pytest.raises(UnsupportedError, match=message):
        built(transformer, TextInputs(as_float64))

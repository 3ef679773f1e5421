"""The n-gram encoder against scikit-learn's own vectorizers."""

from __future__ import annotations

import itertools
import random
import sys
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")
pytest.importorskip("ortolan_convert.text.vocabulary")

from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ANALYZERS = ("word", "char", "char_wb")
RANGES = ((1, 1), (1, 2), (1, 3), (2, 2), (2, 4), (5, 7))
PATTERN = r"(?u)\b\w+\b"
HARD = "aAbB  \t\n\u3000\x00.é\u0301ßİΣς手机👍\u200d\ud800"


@pytest.mark.parametrize("ngram_range", RANGES)
@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_same_counts_for_every_analyzer_and_range(texts, assert_same, analyzer, ngram_range):
    """CountVectorizer's counts, on texts of the training set and unseen ones."""
    vectorizer = CountVectorizer(analyzer=analyzer, ngram_range=ngram_range, token_pattern=PATTERN).fit(texts)
    assert_same(vectorizer, [*texts, *(a + " " + b for a, b in itertools.pairwise(texts)), texts[2][::-1]])


@pytest.mark.parametrize("analyzer", ANALYZERS)
@pytest.mark.parametrize("strip_accents", [None, "ascii", "unicode"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_same_normalization(texts, assert_same, analyzer, strip_accents, lowercase):
    """Lower-casing and accents in all combinations."""
    options = {"strip_accents": strip_accents, "lowercase": lowercase, "ngram_range": (1, 2)}
    assert_same(TfidfVectorizer(analyzer=analyzer, token_pattern=PATTERN, **options).fit(texts), texts)


@pytest.mark.parametrize("norm", [None, "l1", "l2"])
@pytest.mark.parametrize("use_idf", [True, False])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("sublinear_tf", [True, False])
def test_same_weights(texts, assert_same, norm, use_idf, binary, sublinear_tf):
    """Term frequencies, idf and norm in all combinations."""
    options = {"norm": norm, "use_idf": use_idf, "binary": binary, "sublinear_tf": sublinear_tf}
    for smooth_idf in (True, False):
        vectorizer = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), smooth_idf=smooth_idf, **options)
        assert_same(vectorizer.fit(texts), texts)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?u)\b\w\w+\b",
        r"(?u)\b(\w)\w*\b",
        r"[^,;]+",
        r"\w*",
        r"(?i)[a-z]+ ?[a-z]*",
        r"\S+",
        r".",
        r"(?s).+",
        r"a b|a|b",
    ],
)
def test_same_tokens_for_patterns_with_groups_spaces_and_empty_matches(texts, assert_same, pattern):
    """A token may be empty or hold spaces, so that several sequences of tokens make the same term."""
    documents = [text[:40] for text in texts]
    assert_same(CountVectorizer(token_pattern=pattern, ngram_range=(1, 3)).fit(documents), documents)


@pytest.mark.parametrize("stop_words", ["english", ["the", "a", "这个手机很好用"]])
@pytest.mark.parametrize("ngram_range", [(1, 1), (1, 2), (2, 3)])
def test_stop_words_go_before_n_grams_are_made(texts, assert_same, stop_words, ngram_range):
    """Words around a stop word become neighbours."""
    assert_same(CountVectorizer(stop_words=stop_words, ngram_range=ngram_range).fit(texts), texts)


@pytest.mark.parametrize(
    ("name", "ngram_range", "stop_words"),
    [
        ("cut", (1, 1), None),
        ("cut", (1, 3), ["的"]),
        ("lcut", (1, 1), None),
        ("lcut", (1, 2), [" "]),
        ("lcut", (2, 3), None),
    ],
)
def test_same_tokens_with_jieba(texts, assert_same, name, ngram_range, stop_words):
    """jieba yields spaces as tokens, which n-grams join with more spaces."""
    jieba = pytest.importorskip("jieba")
    options = {"ngram_range": ngram_range, "stop_words": stop_words}
    vectorizer = CountVectorizer(tokenizer=getattr(jieba, name), token_pattern=None, **options)
    assert_same(vectorizer.fit(texts), texts)


@pytest.mark.parametrize(
    ("analyzer", "ngram_range", "vocabulary"),
    [
        ("char", (1, 2), ["a", "ab", "", "abc", "  ", "\n", " \t", "\0", "\ud800a", "👍", "é"]),
        ("char", (3, 3), ["abc", "ab", "手机很"]),
        ("char_wb", (1, 3), [" a", "a ", "a b", "\n", "ab", " ", "  ", " a ", "a\t"]),
        ("char_wb", (5, 6), [" a ", " ab ", "ab", " abc ", "abcde", " 手机 ", "   ", " ", " a b "]),
        ("word", (1, 2), ["", "a b", "a", " a", "a  b", "b a b", "\ud800", "\0"]),
        ("word", (2, 2), ["a b", "a", "手机 很好", " "]),
    ],
)
def test_fixed_vocabulary_with_terms_that_cannot_occur(assert_same, analyzer, ngram_range, vocabulary):
    """Unreachable terms keep their feature and harm no other."""
    vectorizer = CountVectorizer(
        analyzer=analyzer, ngram_range=ngram_range, vocabulary=vocabulary, token_pattern=r"\w*|\ud800|\0"
    )
    documents = [
        "a b",
        "ab a\nb",
        "abc \t ab",
        "\0 \ud800a 👍",
        "手机 很好",
        "手机很好",
        "",
        " a  b ",
        "É é",
        "a\tb",
        "abcde",
    ]
    assert_same(vectorizer, documents)


@pytest.mark.parametrize("limits", [{"min_df": 2}, {"max_features": 40}, {"max_df": 2}])
@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_pruned_vocabulary(texts, assert_same, analyzer, limits):
    """n-grams whose parts are no features themselves."""
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 3), token_pattern=PATTERN, **limits)
    assert_same(vectorizer.fit([*texts, *texts[2:9]]), texts)


def test_lower_casing_is_pythons_for_every_letter(assert_same):
    """Every code point of the planes that have letters, at the beginning, inside and at the end of words."""
    codes = [chr(code) for code in (*range(0x20000), *range(0xE0000, 0xE0200), sys.maxunicode)]
    blocks = ["".join(codes[i : i + 4096]) for i in range(0, len(codes), 4096)]
    words = [" ".join(f"x{c}y{c}" for c in codes[i : i + 256]) for i in range(0, 0x2000, 256)]
    documents = blocks + words
    assert_same(CountVectorizer(analyzer="char").fit(documents), documents)


@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_a_text_of_100_kb(texts, assert_same, analyzer):
    """Long texts go through several windows; n-grams at their borders count once."""
    generator = random.Random(7)
    text = "".join(generator.choice(HARD + "abcdefg ") for _ in range(200_000))
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 3), token_pattern=PATTERN)
    assert_same(vectorizer.fit([text[:20_000], *texts]), [text, *texts, text[::-1]])


@pytest.mark.parametrize("analyzer", ANALYZERS)
@pytest.mark.parametrize("norm", [None, "l2"])
def test_dropped_features_count_for_the_norm_alone(texts, open_encoder, analyzer, norm):
    """Kept features have the ids below their number, and the weights they have among all."""
    import numpy as np

    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=(1, 2), token_pattern=PATTERN, norm=norm).fit(texts)
    expected = vectorizer.transform(texts).toarray()
    kept = np.random.default_rng(3).random(expected.shape[1]) < 0.4
    encoder, order = open_encoder(vectorizer, kept)
    assert sorted(order.tolist()) == list(range(len(kept)))
    assert kept[order[: kept.sum()]].all()
    ids, values, offsets = encoder.encode_many(texts)
    for i, text in enumerate(texts):
        wanted = np.where(kept, expected[i], 0)
        for found_ids, found_values in (
            encoder.encode_one(text),
            (ids[offsets[i] : offsets[i + 1]], values[offsets[i] : offsets[i + 1]]),
        ):
            row = np.zeros(len(kept))
            row[order[found_ids]] = found_values
            assert np.abs(row - wanted).max() <= 1e-6


options = st.fixed_dictionaries(
    {
        "analyzer": st.sampled_from(ANALYZERS),
        "ngram_range": st.tuples(st.integers(1, 6), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair))),
        "lowercase": st.booleans(),
        "strip_accents": st.sampled_from([None, "ascii", "unicode"]),
        "binary": st.booleans(),
        "sublinear_tf": st.booleans(),
        "norm": st.sampled_from([None, "l1", "l2"]),
        "use_idf": st.booleans(),
        "token_pattern": st.sampled_from([PATTERN, r"\S+", r"[^.]+", r"\w*"]),
    }
)
documents = st.lists(
    st.one_of(st.text(st.sampled_from(HARD), max_size=24), st.text(max_size=12)), min_size=1, max_size=6
)


@pytest.mark.parametrize("analyzer", ANALYZERS)
@pytest.mark.parametrize("ngram_range", [(1, 2), (1, 3), (2, 3), (5, 6)])
def test_borders_of_windows_and_blocks_change_nothing(texts, assert_same, monkeypatch, analyzer, ngram_range):
    """Even if they are a few symbols long."""
    monkeypatch.setattr("ortolan.inputs.known_ngrams.WINDOW", 7)
    monkeypatch.setattr("ortolan.inputs.symbols.BLOCK", 30)
    vectorizer = TfidfVectorizer(analyzer=analyzer, ngram_range=ngram_range, token_pattern=PATTERN)
    assert_same(vectorizer.fit(texts), [*texts, *texts[::-1]])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(options=options, fitted=documents, unseen=documents)
def test_same_features_for_any_text_and_options(assert_same, options, fitted, unseen):
    """Whatever the options and the characters."""
    vectorizer = TfidfVectorizer(**options)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vectorizer.fit(fitted)
    except ValueError:  # an empty vocabulary
        return
    assert_same(vectorizer, [*fitted, *unseen])

"""Hashed n-grams against scikit-learn's own HashingVectorizer and MurmurHash3."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn")

from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

from ortolan.errors import BundleError, InputError, ManifestError
from ortolan.inputs.assets import npy_bytes
from ortolan.inputs.config import NgramConfig, parse_config
from ortolan.inputs.murmur import LONG, murmur3_32
from ortolan.inputs.ngrams import NgramEncoder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ANALYZERS = ("word", "char", "char_wb")
PATTERN = r"(?u)\b\w+\b"
HARD = "aAbB  \t\n\u3000\x00.é\u0301ßİΣς手机👍\u200d"


def encoder_of(vectorizer: HashingVectorizer, kept: Any = None, dtype: str = "float64") -> NgramEncoder:
    """The encoder of a vectorizer; ``kept`` are the buckets that a model takes."""
    stop_words = vectorizer.get_stop_words()
    config = NgramConfig(
        analyzer=vectorizer.analyzer,
        ngram_range=tuple(vectorizer.ngram_range),
        lowercase=vectorizer.lowercase,
        strip_accents=vectorizer.strip_accents,
        token_pattern=vectorizer.token_pattern,
        stop_words=None if stop_words is None else tuple(sorted(stop_words)),
        binary=vectorizer.binary,
        norm=vectorizer.norm,
        features=vectorizer.n_features,
        kept=vectorizer.n_features if kept is None else len(kept),
        nodes="all" if kept is None else "ids",
        hashed="signed" if vectorizer.alternate_sign else "plain",
    )
    assets = {} if kept is None else {"ngrams/buckets.npy": npy_bytes(np.array(kept, np.uint32))}
    return NgramEncoder.open(config.to_json(), assets.__getitem__, dtype=dtype)


def assert_same(vectorizer: HashingVectorizer, documents: list[str]) -> None:
    """The encoder finds scikit-learn's buckets, zeros included, and its values; one by one and in a batch."""
    encoder = encoder_of(vectorizer)
    expected = vectorizer.transform(documents).tocsr()
    ids, values, offsets = encoder.encode_many(documents)
    for i, document in enumerate(documents):
        row = slice(expected.indptr[i], expected.indptr[i + 1])
        together = ids[offsets[i] : offsets[i + 1]], values[offsets[i] : offsets[i + 1]]
        for found_ids, found_values in (encoder.encode_one(document), together):
            assert found_ids.tolist() == expected.indices[row].tolist()
            np.testing.assert_allclose(found_values, expected.data[row], rtol=1e-14, atol=0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.binary(min_size=LONG - 3, max_size=LONG + 9))
def test_the_hash_of_any_bytes(pieces, long):
    """Every length and tail, also beyond where pieces are hashed one by one."""
    pieces = [*pieces, long, b"", *pieces]
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    found = murmur3_32(b"".join(pieces), lengths.cumsum() - lengths, lengths)
    assert found.tolist() == [murmurhash3_32(piece, 0, positive=True) for piece in pieces]


def test_the_hash_of_overlapping_pieces():
    """Pieces may share bytes, as n-grams do."""
    data = bytes(range(256)) * 3
    starts = np.arange(500)
    lengths = starts % 37
    found = murmur3_32(data, starts, lengths)
    wanted = [murmurhash3_32(data[a : a + n], 0, positive=True) for a, n in zip(starts, lengths, strict=True)]
    assert found.tolist() == wanted


def test_no_pieces():
    """Nothing has no hashes."""
    assert len(murmur3_32(b"", np.zeros(0, np.int64), np.zeros(0, np.int64))) == 0


@pytest.mark.parametrize("ngram_range", [(1, 1), (1, 3), (2, 4), (5, 7)])
@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_same_buckets_for_every_analyzer_and_range(texts, analyzer, ngram_range):
    """On texts of many scripts; few buckets, so that n-grams fall together and cancel."""
    documents = [text for text in texts if "\ud800" not in text]
    for buckets in (1, 2, 3, 50, 1 << 20):
        assert_same(
            HashingVectorizer(
                analyzer=analyzer, ngram_range=ngram_range, n_features=buckets, norm=None, token_pattern=PATTERN
            ),
            documents,
        )


options = st.fixed_dictionaries(
    {
        "analyzer": st.sampled_from(ANALYZERS),
        "ngram_range": st.tuples(st.integers(1, 6), st.integers(0, 3)).map(lambda pair: (pair[0], sum(pair))),
        "lowercase": st.booleans(),
        "strip_accents": st.sampled_from([None, "ascii", "unicode"]),
        "binary": st.booleans(),
        "norm": st.sampled_from([None, "l1", "l2"]),
        "alternate_sign": st.booleans(),
        "n_features": st.sampled_from([1, 7, 1000, 1 << 18, (1 << 31) - 1]),
        "token_pattern": st.sampled_from([PATTERN, r"\S+", r"[^.]+", r"\w*"]),
        "stop_words": st.sampled_from([None, ["a", "手机"]]),
    }
)
documents = st.lists(
    st.one_of(st.text(st.sampled_from(HARD), max_size=24), st.text(max_size=12)), min_size=1, max_size=6
)


@settings(max_examples=300, deadline=None)
@given(options=options, unseen=documents)
def test_same_features_for_any_text_and_options(options, unseen):
    """Whatever the options and the characters."""
    assert_same(HashingVectorizer(**options), unseen)


@pytest.mark.parametrize("analyzer", ANALYZERS)
def test_borders_of_windows_and_blocks_change_nothing(texts, monkeypatch, analyzer):
    """Even if they are a few characters long."""
    monkeypatch.setattr("ortolan.inputs.hashed_ngrams.WINDOW", 7)
    monkeypatch.setattr("ortolan.inputs.symbols.BLOCK", 30)
    documents = [text for text in texts if "\ud800" not in text]
    assert_same(HashingVectorizer(analyzer=analyzer, ngram_range=(1, 3), n_features=64), [*documents, *documents])


def test_a_word_of_a_million_characters():
    """A single long word is hashed like any other."""
    generator = random.Random(5)
    word = "".join(generator.choice("abcdé手") for _ in range(1_000_000))
    assert_same(HashingVectorizer(token_pattern=r"\S+", ngram_range=(1, 2)), [f"a {word} b"])


def test_only_kept_buckets_are_given_and_all_count_for_the_norm(texts):
    """The id of a bucket is its position among those kept."""
    documents = [text for text in texts if "\ud800" not in text]
    vectorizer = HashingVectorizer(analyzer="char", n_features=64)
    expected = vectorizer.transform(documents).toarray()
    kept = [0, 5, 6, 31, 63]
    encoder = encoder_of(vectorizer, kept, "float32")
    ids, values, offsets = encoder.encode_many(documents)
    assert values.dtype == np.float32
    for i, document in enumerate(documents):
        for found_ids, found_values in (
            encoder.encode_one(document),
            (ids[offsets[i] : offsets[i + 1]], values[offsets[i] : offsets[i + 1]]),
        ):
            row = np.zeros(len(kept))
            row[found_ids] = found_values
            assert np.abs(row - expected[i, kept]).max() < 1e-7


def test_no_bucket_kept():
    """A model without coefficients gets no features."""
    assert encoder_of(HashingVectorizer(n_features=16), []).encode_one("some words")[0].tolist() == []


def test_a_lone_surrogate_has_no_hash():
    """As scikit-learn cannot encode it; the text is named in a batch."""
    encoder = encoder_of(HashingVectorizer(analyzer="char", n_features=8))
    with pytest.raises(InputError, match=r"^'\\ud83d' is a lone surrogate"):
        encoder.encode_one("a\ud83d")
    with pytest.raises(InputError, match=r"^text 1: '\\ud83d' is a lone surrogate"):
        encoder.encode_many(["fine", "a\ud83d"])


@pytest.mark.parametrize(
    "content", [[1, 1], [2, 1], [1, 8], [1]], ids=["twice", "descending", "beyond the last", "too few"]
)
def test_damaged_buckets_are_refused(content):
    """The list of kept buckets must fit the configuration."""
    config = NgramConfig(analyzer="char", ngram_range=(1, 1), features=8, kept=2, nodes="ids", hashed="plain")
    assets = {"ngrams/buckets.npy": npy_bytes(np.array(content, np.uint32))}
    with pytest.raises(BundleError, match=r"assets/ngrams/buckets\.npy"):
        NgramEncoder.open(config.to_json(), assets.__getitem__)


@pytest.mark.parametrize(
    "change", [{"hashed": "other"}, {"hashed": True}, {"nodes": "bits"}, {"features": 0, "kept": 0}]
)
def test_wrong_configurations_are_refused(change):
    """With the path of the value."""
    config = NgramConfig(analyzer="char", ngram_range=(1, 1), features=8, kept=8, hashed="plain")
    with pytest.raises(ManifestError, match=r"input\.hashed"):
        parse_config({**config.to_json(), **change}, "input")


def test_a_configuration_survives_the_manifest():
    """What is written is read again."""
    config = NgramConfig(analyzer="char_wb", ngram_range=(2, 3), features=8, kept=2, nodes="ids", hashed="signed")
    assert parse_config(config.to_json(), "input") == config

"""Compiling vocabularies to packed n-grams."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ortolan_convert.text.vocabulary")

from ortolan.errors import UnsupportedError
from ortolan.inputs.config import NgramConfig
from ortolan.inputs.ngrams import NgramEncoder
from ortolan_convert.text import vocabulary
from ortolan_convert.text.vocabulary import compile_vocabulary, text_assets


def test_two_bytes_per_pair_of_characters():
    """Pairs over a few thousand characters take two bytes each, the weights at most two more."""
    alphabet = [chr(0x4E00 + i) for i in range(2000)]
    terms = alphabet + [a + alphabet[(i * 7 + k) % 2000] for i, a in enumerate(alphabet) for k in range(10)]
    spec = NgramConfig(analyzer="char", ngram_range=(1, 2), norm="l2")
    compiled = compile_vocabulary(terms, spec)
    idf = np.log(np.arange(len(terms)) % 300 + 2.0)
    _, assets = text_assets(spec, compiled, idf)
    assert sum(map(len, assets.values())) < 2 * 20_000 + 2 * 22_000 + 2000 * 5 + 5000


def test_equal_vocabularies_give_equal_bytes():
    """Whatever the order of the terms, the features keep their terms."""
    spec = NgramConfig(analyzer="word", ngram_range=(1, 2), token_pattern=r"\w+")
    terms = ["b", "a", "a b", "c"]
    first, second = compile_vocabulary(terms, spec), compile_vocabulary(terms[::-1], spec)
    assert text_assets(spec, first, None) == text_assets(spec, second, None)
    assert [terms[i] for i in first.order] == [terms[::-1][i] for i in second.order]


def test_more_than_65536_distinct_weights_are_stored_as_they_are():
    """A palette only pays if its codes are short."""
    terms = [chr(0x4E00 + i) + chr(0x4E00 + j) for i in range(300) for j in range(300)]
    spec = NgramConfig(analyzer="char", ngram_range=(2, 2))
    compiled = compile_vocabulary(terms, spec)
    idf = np.random.default_rng(0).random(len(terms))
    config, assets = text_assets(spec, compiled, idf)
    assert config["idf"] == "float64"
    ids, values = NgramEncoder.open(config, assets.__getitem__).encode_one(terms[77])
    assert compiled.order[ids].tolist() == [77]
    assert values.tolist() == [np.float32(idf[ids[0]])]


@pytest.mark.parametrize("ngram_range", [(0, 1), (2, 1), (1, 65)])
def test_ranges_outside_what_is_supported(ngram_range):
    """scikit-learn takes zero; its empty n-grams are not worth an implementation."""
    with pytest.raises(UnsupportedError, match="ngram_range: expected 1 <= low <= high <= 64"):
        compile_vocabulary(["a"], NgramConfig(analyzer="char", ngram_range=ngram_range))


def test_weights_that_are_not_finite():
    """They would make every answer NaN."""
    spec = NgramConfig(analyzer="char", ngram_range=(1, 1))
    compiled = compile_vocabulary(["a", "b"], spec)
    with pytest.raises(UnsupportedError, match="idf_: expected finite weights"):
        text_assets(spec, compiled, np.array([1.0, np.inf]))


def test_too_many_ways_to_make_a_term(monkeypatch):
    """Tokens with spaces can make a term in many ways; the number is bounded."""
    monkeypatch.setattr(vocabulary, "MAX_PATHS", 100)
    spec = NgramConfig(analyzer="word", ngram_range=(1, 3), token_pattern="[^,]+")
    with pytest.raises(UnsupportedError, match="in more than 100 ways, because tokens may contain spaces"):
        compile_vocabulary(["a b c d e f g h i j k l m n o p q"], spec)


@pytest.mark.parametrize(
    ("pattern", "may"),
    [
        (r"(?u)\b\w\w+\b", False),
        (r"[a-z']+", False),
        (r"\S+", False),
        (r"[^\s,]+", False),
        (r"(?:\w+|[^\w\s])", False),
        (r"(?<= )\w+(?= )", False),
        (r"\d+?", False),
        (r"[^,]+", True),
        (r".", True),
        (r"\w+ \w+", True),
        (r"[\w ]+", True),
        (r"[^\w]", True),
        (r"\W", True),
        (r"[!-~]|[\x00-\x7f]", True),
        (r"(\w+|\s)", True),
        (r"[^a]", True),
        (r"\x20", True),
    ],
)
def test_patterns_that_may_match_a_space(pattern, may):
    """Only then a term has to be tried in more than one way."""
    assert vocabulary._may_match_space(pattern) is may

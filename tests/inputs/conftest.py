"""Fixtures for the tests of text features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TEXTS = (
    "",
    " ",
    "这个手机很好用，物流也快！",
    "质量太差了 ，不会再买\n\n差评",
    "The QUICK  brown fox -- jumps\tover\r\nthe lazy dog's tail",
    "İstanbul ISPARTA ıi ß STRASSE ﬁne ǅ",
    "ΟΔΟΣ ΣΑΣ σς όσος",
    "café cafe\u0301 NAÏVE A\u030a Å ﷺ ½ ①",
    "👩‍👩‍👧‍👦 👍🏽 family 🇫🇷 emoji",
    "\ud800 lone \udfff surrogates \ud83d",
    "nul \0 bytes \0\0 here",
    "\u00a0no\u2003break \u3000ideographic\u2028line\x1c\x1f\x85sep",
    "a b a b a b b a a",
    "x",
    "\t\t",
    "mot de passe: à la carte, s'il vous plaît; 3.14 1,000",
    "न्यूनतम हिन्दी กำลัง ไทย 한국어 조합",
)


def _open(vectorizer: Any, kept: Any = None) -> tuple[Any, Any]:
    """The encoder of a fitted vectorizer, and its order of features."""
    from ortolan.inputs.config import NgramConfig
    from ortolan.inputs.ngrams import NgramEncoder
    from ortolan_convert.text.vocabulary import compile_vocabulary, text_assets

    tokenizer = vectorizer.tokenizer
    stop_words = vectorizer.get_stop_words()
    spec = NgramConfig(
        analyzer=vectorizer.analyzer,
        ngram_range=tuple(vectorizer.ngram_range),
        lowercase=vectorizer.lowercase,
        strip_accents=vectorizer.strip_accents,
        token_pattern=None if tokenizer else vectorizer.token_pattern,
        tokenizer=None if tokenizer is None else f"jieba.{tokenizer.__name__}",
        tokenizer_version=None if tokenizer is None else "0.42.1",
        stop_words=None if stop_words is None else tuple(sorted(stop_words)),
        binary=vectorizer.binary,
        sublinear_tf=getattr(vectorizer, "sublinear_tf", False),
        norm=getattr(vectorizer, "norm", None),
    )
    terms = vectorizer.get_feature_names_out().tolist()
    compiled = compile_vocabulary(terms, spec, kept)
    idf = vectorizer.idf_[compiled.order] if getattr(vectorizer, "use_idf", False) else None
    config, assets = text_assets(spec, compiled, idf)
    return NgramEncoder.open(config, assets.__getitem__), compiled.order


@pytest.fixture
def texts() -> tuple[str, ...]:
    """Texts of many scripts, with every kind of character that has ever made trouble."""
    return TEXTS


@pytest.fixture
def open_encoder() -> Callable[..., tuple[Any, Any]]:
    """Function: fitted scikit-learn vectorizer -> (NgramEncoder, order of its features)."""
    pytest.importorskip("sklearn")
    return _open


@pytest.fixture
def assert_same(open_encoder: Callable[..., tuple[Any, Any]]) -> Callable[[Any, Sequence[str]], None]:
    """Function: assert that the encoder finds scikit-learn's features and weights, one by one and in a batch."""
    import numpy as np

    def check(vectorizer: Any, documents: Sequence[str]) -> None:
        encoder, order = open_encoder(vectorizer)
        expected = vectorizer.transform(documents).tocsr()
        ids, values, offsets = encoder.encode_many(documents)
        assert len(offsets) == len(documents) + 1
        for i, document in enumerate(documents):
            row = slice(expected.indptr[i], expected.indptr[i + 1])
            wanted, weights = expected.indices[row], expected.data[row]
            alone = encoder.encode_one(document)
            together = ids[offsets[i] : offsets[i + 1]], values[offsets[i] : offsets[i + 1]]
            for found_ids, found_values in (alone, together):
                assert (np.diff(found_ids) > 0).all()
                assert found_ids.dtype == np.int64
                assert found_values.dtype == np.float32
                features = order[found_ids]
                by_feature = features.argsort()
                assert features[by_feature].tolist() == wanted.tolist()
                gaps = np.abs(found_values[by_feature] - weights)
                assert (gaps <= 1e-7 * np.maximum(1, np.abs(weights))).all()

    return check

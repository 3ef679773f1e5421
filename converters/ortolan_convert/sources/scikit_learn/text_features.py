"""The options of a text pipeline's vectorizer and transformers, checked and put in Ortolan's terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan.inputs.config import NgramConfig
from ortolan_convert.sources.scikit_learn.hashed_terms import terms_in_buckets
from ortolan_convert.sources.scikit_learn.text_pipeline import HASHING, SELECTORS, TFIDF
from ortolan_convert.text.vocabulary import compile_vocabulary, hashed_assets, text_assets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.sources.scikit_learn.text_pipeline import Step

_JIEBA = ("cut", "lcut")
MOST_CHARACTERS = 1_000_000
"""Different characters that a vocabulary may have; Unicode has 1,114,112 code points."""
_DTYPES = ("int32", "int64", "uint32", "uint64", "float32", "float64")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """How texts become the model's features.

    Args:
        spec: options of the vectorizer and of tf-idf weighting.
        terms: the vocabulary that counts, for the model or for the norm; empty if n-grams are hashed.
        idf: float64 [terms or buckets] weights; None without.
        position: int64 [terms or buckets], the model's feature that each is, or -1: it only counts for the norm.
    """

    spec: NgramConfig
    terms: tuple[str, ...]
    idf: NDArray[Any] | None
    position: NDArray[Any]

    def words(self) -> tuple[Sequence[str], NDArray[Any]]:
        """Terms to make up texts of, and the model's feature that each is, or -1."""
        if self.spec.hashed is None:
            return self.terms, self.position
        terms, buckets = terms_in_buckets(self.spec, self.position >= 0)
        return terms, self.position[buckets]

    def packed(self) -> tuple[dict[str, object], dict[str, bytes], NDArray[Any]]:
        """The ``"input"`` object of a task's configuration, its assets, and the order in which they number features.

        Returns:
            The configuration; the assets by path below ``assets/``; int64, the model's feature that each id is.

        Raises:
            UnsupportedError: a vocabulary that is too large, weights that are not finite.
        """
        if self.spec.hashed is not None:
            kept = np.flatnonzero(self.position >= 0)
            return *hashed_assets(self.spec, kept, self.idf), self.position[kept]
        compiled = compile_vocabulary(self.terms, self.spec, self.position >= 0)
        config, assets = text_assets(self.spec, compiled, None if self.idf is None else self.idf[compiled.order])
        return config, assets, self.position[compiled.order[: compiled.kept]]

    def restricted(self, used: NDArray[Any]) -> TextFeatures:
        """Without the features that the model does not use; those that count for a norm stay, marked -1.

        Args:
            used: bool [features of the model].
        """
        kept = (self.position >= 0) & used[np.maximum(self.position, 0)]
        if self.spec.norm is not None or self.spec.hashed is not None:
            return TextFeatures(
                spec=self.spec, terms=self.terms, idf=self.idf, position=np.where(kept, self.position, -1)
            )
        return TextFeatures(
            spec=self.spec,
            terms=tuple(term for term, keep in zip(self.terms, kept.tolist(), strict=True) if keep),
            idf=None if self.idf is None else self.idf[kept],
            position=self.position[kept],
        )


@dataclass(slots=True)
class _Weighting:
    """tf-idf as far as the steps seen so far define it."""

    done: bool = False
    norm: Any = None
    sublinear: bool = False
    idf: Any = None

    def take(self, source: Any, idf: Any) -> None:
        self.done, self.norm, self.sublinear, self.idf = True, source.norm, bool(source.sublinear_tf), idf


def text_features(vectorizer: Step, transformers: Sequence[Step] = ()) -> TextFeatures:
    """The features of a fitted vectorizer, after tf-idf weighting and selectors.

    Raises:
        UnsupportedError: an option or an order of steps outside what is supported.
    """
    for step in (vectorizer, *transformers):
        check_callables(step)
    _check_options(vectorizer)
    hashed = vectorizer.kind == HASHING
    terms = np.array([] if hashed else [str(term) for term in vectorizer.estimator.get_feature_names_out()], object)
    _check_alphabet(vectorizer, terms)
    weighting = _Weighting(norm=vectorizer.estimator.norm) if hashed else _Weighting()
    if vectorizer.kind == "TfidfVectorizer":
        weighting.take(vectorizer.estimator, vectorizer.estimator.idf_ if vectorizer.estimator.use_idf else None)
    width = vectorizer.width
    alive = np.arange(width)  # terms that still count
    position = np.arange(width)  # of each alive term among the features that the next step takes
    for step in transformers:
        if step.kind in SELECTORS:
            mask = step.estimator.get_support()
            chosen = (position >= 0) & mask[np.maximum(position, 0)]
            renumbered = np.where(chosen, np.cumsum(mask)[np.maximum(position, 0)] - 1, -1)
            if weighting.norm is not None or hashed:
                position = renumbered
            else:
                alive, position = alive[chosen], renumbered[chosen]
                weighting.idf = None if weighting.idf is None else weighting.idf[chosen]
        elif step.kind == TFIDF:
            _check_weighting(step, weighting, vectorizer)
            weighting.take(step.estimator, step.estimator.idf_ if step.estimator.use_idf else None)
    spec = _spec(vectorizer, weighting)
    idf = None if weighting.idf is None else np.asarray(weighting.idf, np.float64)
    kept = () if hashed else tuple(terms[alive].tolist())
    return TextFeatures(spec=spec, terms=kept, idf=idf, position=position)


def _check_weighting(step: Step, weighting: _Weighting, vectorizer: Step) -> None:
    """tf-idf takes counts: once, and neither scaled to a norm that would be lost, nor of both signs."""
    if weighting.done:
        raise UnsupportedError(f"{step.place}: a second tf-idf weighting is not supported")
    if weighting.norm is not None and (step.estimator.norm is None or step.estimator.sublinear_tf):
        raise UnsupportedError(
            f"{step.place}: tf-idf of features that have a norm already is supported with a norm of its own and "
            f"without sublinear_tf; set norm=None in {vectorizer.kind}"
        )
    if step.estimator.sublinear_tf and getattr(vectorizer.estimator, "alternate_sign", False):
        raise UnsupportedError(
            f"{step.place}, option 'sublinear_tf': the logarithm of negative counts is not a number; set "
            f"alternate_sign=False in {vectorizer.kind}"
        )


def check_callables(step: Step) -> None:
    """A step calls no code of the user's own.

    Raises:
        UnsupportedError: it does; the message names it and its place.
    """
    for option, value in step.estimator.get_params(deep=False).items():
        # A selector's score function is called in training alone.
        if option in {"dtype", "score_func"} or not callable(value) or hasattr(value, "get_params"):
            continue
        if option == "tokenizer" and jieba_method(value) is not None:
            _check_jieba(value.__self__, f"{step.place}, option {option!r}")
            continue
        module = getattr(value, "__module__", None) or "builtins"
        name = getattr(value, "__qualname__", None) or type(value).__qualname__
        raise UnsupportedError(
            f"{step.place}, option {option!r}: calls a Python function ({module}.{name}), which cannot be "
            f"converted; use scikit-learn's options instead"
        )


def jieba_method(value: Any) -> str | None:
    """``"cut"`` or ``"lcut"`` if the value is that method of a jieba tokenizer, which dill stores a copy of."""
    owner = getattr(value, "__self__", None)
    if owner is None or not type(owner).__module__.startswith("jieba"):
        return None
    import jieba

    methods = {name: getattr(jieba.Tokenizer, name) for name in _JIEBA}
    return next((name for name in _JIEBA if getattr(value, "__func__", None) is methods[name]), None)


def _check_jieba(tokenizer: Any, place: str) -> None:
    """The tokenizer has jieba's own dictionary, and nothing else."""
    import jieba

    own = tokenizer.dictionary is None
    if own and tokenizer.initialized:
        pristine = jieba.Tokenizer()
        pristine.initialize()
        own = tokenizer.total == pristine.total and tokenizer.FREQ == pristine.FREQ
    if not own:
        raise UnsupportedError(
            f"{place}: this jieba has words or a dictionary of your own (add_word, load_userdict, set_dictionary), "
            f"which is not supported; train it with jieba's own dictionary"
        )


def _check_options(vectorizer: Step) -> None:
    options = vectorizer.estimator
    for name, value, allowed in (
        ("input", options.input, ("content",)),
        ("analyzer", options.analyzer, ("word", "char", "char_wb")),
        ("strip_accents", options.strip_accents, (None, "ascii", "unicode")),
    ):
        if value not in allowed:
            raise UnsupportedError(
                f"{vectorizer.place}, option {name!r}: expected one of {', '.join(map(repr, allowed))}, found {value!r}"
            )
    dtype = np.dtype(options.dtype).name
    if dtype not in _DTYPES:
        raise UnsupportedError(
            f"{vectorizer.place}, option 'dtype': {dtype} overflows; expected one of {', '.join(_DTYPES)}"
        )


def _check_alphabet(vectorizer: Step, terms: NDArray[Any]) -> None:
    """Character n-grams leave code points free: one separates the texts of a batch."""
    if vectorizer.estimator.analyzer == "word":
        return
    known = len(set("".join(terms.tolist())))
    if known > MOST_CHARACTERS:
        raise UnsupportedError(
            f"{vectorizer.place}: its vocabulary has {known:,} different characters; expected at most "
            f"{MOST_CHARACTERS:,}, limit it with max_features or min_df"
        )


def _spec(vectorizer: Step, weighting: _Weighting) -> NgramConfig:
    options = vectorizer.estimator
    words = options.analyzer == "word"
    method = None if options.tokenizer is None or not words else jieba_method(options.tokenizer)
    stop_words = options.get_stop_words() if words else None
    low, high = options.ngram_range
    hashed = vectorizer.kind == HASHING
    return NgramConfig(
        analyzer=options.analyzer,
        ngram_range=(int(low), int(high)),
        lowercase=bool(options.lowercase),
        strip_accents=options.strip_accents,
        token_pattern=options.token_pattern if words and method is None else None,
        tokenizer=None if method is None else f"jieba.{method}",
        tokenizer_version=None if method is None else _jieba_version(),
        stop_words=None if stop_words is None else tuple(sorted(map(str, stop_words))),
        binary=bool(options.binary),
        sublinear_tf=weighting.sublinear,
        norm=weighting.norm,
        features=vectorizer.width if hashed else 0,
        hashed=None if not hashed else "signed" if options.alternate_sign else "plain",
    )


def _jieba_version() -> str:
    import jieba

    return str(jieba.__version__)

"""What the source and the variants are asked: the user's samples or made-up texts, then edge cases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import InputError
from ortolan.inputs.datafile import label_text
from ortolan_convert.generated import EDGE_TEXTS, generated_texts, is_text
from ortolan_convert.parity import choose_golden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.datafile import TextSamples
    from ortolan_convert.parity import Answers
    from ortolan_convert.sources.scikit_learn.text_features import TextFeatures
    from ortolan_convert.text.linear import Linear

REPEATED = (1, 20, 1000)
"""How often the texts that test the arithmetic say the same."""
STRONG_TERMS = 8
"""How many terms they are made of, at most."""
FEWEST_GOLDEN = 16
"""How many samples a bundle has at least; made-up ones complete the user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What the source and the variants are asked.

    Args:
        texts: the samples, then edge cases and, beside few samples, made-up texts.
        count: how many of them are samples.
        labels: true labels of the samples as text, if known.
        origin: ``"samples"`` of the user, or ``"generated"``.
    """

    texts: tuple[str, ...]
    count: int
    labels: tuple[str, ...] | None
    origin: str


def questions_of(
    samples: TextSamples | None, terms: Sequence[str], analyzer: str, *, hashed: bool = False
) -> Questions:
    """The user's samples, or texts made of the vocabulary; in both cases with edge cases after them.

    Args:
        samples: the user's, if there are any.
        terms: the vocabulary.
        analyzer: words are joined by spaces, characters by nothing or a space.
        hashed: whether only texts are taken that have a UTF-8 form.

    Raises:
        InputError: a sample without one.
    """
    edges = tuple(text for text in EDGE_TEXTS if not hashed or is_text(text))
    if samples is None:
        texts = generated_texts(terms, analyzer=analyzer)
        return Questions(texts=(*texts, *edges), count=len(texts), labels=None, origin="generated")
    for row, text in enumerate(samples.texts):
        if hashed and not is_text(text):
            raise InputError(f"samples, text {row}: a lone surrogate in it, which has no UTF-8 form to be hashed")
    missing = max(0, FEWEST_GOLDEN - len(samples.texts))
    extra = generated_texts(terms, analyzer=analyzer, count=missing) if missing else ()
    texts = (*samples.texts, *edges, *extra)
    return Questions(texts=texts, count=len(samples.texts), labels=samples.labels, origin="samples")


def repetitions(linear: Linear, features: TextFeatures) -> tuple[str, ...]:
    """Texts that tell whether sums in float32 are exact enough: the strongest terms of each class, over and over.

    Scores grow with the text if nothing normalizes it, and probabilities follow from their differences.

    Args:
        linear: the model.
        features: the texts' features, in the model's numbers.
    """
    words, position = features.words()
    terms = np.flatnonzero(position >= 0)
    if not len(terms):
        return ()
    rows = linear.coefficients[:, position[terms]]
    ends = np.stack([rows.argmax(axis=1), rows.argmin(axis=1)], axis=1)
    strongest = dict.fromkeys(words[terms[index]] for index in ends.ravel().tolist())
    chosen = list(strongest)[:STRONG_TERMS]
    separator = " " if features.spec.analyzer == "word" else ""
    return tuple(
        separator.join([*part, ""]) * count for part in ([term] for term in chosen) for count in REPEATED
    ) + tuple(separator.join([*chosen, ""]) * count + chosen[0] for count in REPEATED[1:])


def accuracy(labels: NDArray[Any], names: Sequence[object], questions: Questions) -> float | None:
    """Share of the samples whose label is the true one; None if the true ones are not known.

    Args:
        labels: int64 [n], index of the answer to each text.
        names: what each index stands for.
        questions: the texts and their true labels.
    """
    if questions.labels is None:
        return None
    texts = [label_text(name) for name in names]
    hits = sum(texts[found] == true for found, true in zip(labels.tolist(), questions.labels, strict=False))
    return float(hits / questions.count)


def golden_files(questions: Questions, answers: Answers) -> dict[str, bytes]:
    """The golden samples of a bundle: ``inputs.json`` and ``outputs.npz``."""
    chosen = choose_golden(questions.texts, questions.count, answers)
    texts = [questions.texts[index] for index in chosen]
    arrays = {name: numbers[chosen].astype(np.float64) for name, numbers in answers.numbers.items()}
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, labels=answers.labels[chosen], **arrays)
    return {"inputs.json": json.dumps(texts, indent=1).encode() + b"\n", "outputs.npz": stream.getvalue()}

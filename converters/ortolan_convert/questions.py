"""What the source and the variants are asked: the user's samples or made-up texts, then edge cases."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.inputs.datafile import label_text
from ortolan_convert.generated import EDGE_TEXTS, generated_texts
from ortolan_convert.parity import choose_golden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan.inputs.datafile import TextSamples
    from ortolan_convert.parity import Answers

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


def questions_of(samples: TextSamples | None, terms: Sequence[str], analyzer: str) -> Questions:
    """The user's samples, or texts made of the vocabulary; in both cases with edge cases after them."""
    if samples is None:
        texts = generated_texts(terms, analyzer=analyzer)
        return Questions(texts=(*texts, *EDGE_TEXTS), count=len(texts), labels=None, origin="generated")
    missing = max(0, FEWEST_GOLDEN - len(samples.texts))
    extra = generated_texts(terms, analyzer=analyzer, count=missing) if missing else ()
    texts = (*samples.texts, *EDGE_TEXTS, *extra)
    return Questions(texts=texts, count=len(samples.texts), labels=samples.labels, origin="samples")


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

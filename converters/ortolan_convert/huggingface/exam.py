"""What the variants of a Hugging Face model are judged by: the source's own answers to texts."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ortolan.engine.session import open_session
from ortolan.errors import ParityError
from ortolan.tasks import golden, open_runner
from ortolan.tasks.golden import EMBEDDINGS, LENGTHS, TOKENS, changed_tokens, embedding_distances
from ortolan.tasks.labels import scores_of
from ortolan.tasks.token_classification import TokenClassificationRunner
from ortolan.types import SessionConfig
from ortolan_convert import parity
from ortolan_convert.parity import Answers, choose_golden
from ortolan_convert.sources.huggingface.transformer import PROBABILITIES, SCORES
from ortolan_convert.text import questions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ortolan.bundle.manifest import TaskSpec
    from ortolan.types import Fidelity
    from ortolan_convert.sources.huggingface.transformer import Transformer
    from ortolan_convert.text.questions import Questions

VECTOR_CHANGED = 0.02
"""A vector further than this from the source's (1 minus the cosine, for vectors of length 1) counts as changed."""

ROUNDING = 9e-5
"""What a probability may differ by beyond the usual 1e-5: so much do sums in another order add up to in deep models."""


class Exam(Protocol):
    """Judges variants."""

    @property
    def questions(self) -> Questions:
        """What was asked."""

    def gate(self, found: Found) -> None:
        """Accept the reference.

        Raises:
            ParityError: it disagrees with the source.
        """

    def fidelity(self, found: Found) -> Fidelity:
        """How far a variant's answers are from the source's."""

    def accuracy(self, found: Found | None) -> float | None:
        """Share of the samples with the right label, of a variant or (None) of the source; None if none are known."""

    def golden(self) -> dict[str, bytes]:
        """The golden files of a bundle."""


Found = dict[str, "Any"]
"""A model's answers to all texts, by name: arrays [n, …], and of labels of tokens a list of n arrays."""


def exam_of(transformer: Transformer, asked: Questions) -> Exam:
    """Ask the source."""
    if transformer.source.task == "embedding":
        return EmbeddingExam(asked, transformer.vectors(asked.texts))
    if transformer.source.task == "token-classification":
        return TokenExam(asked, [scores_of(rows, "softmax") for rows in transformer.token_logits(asked.texts)])
    logits = transformer.logits(asked.texts).astype(np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    numbers = {SCORES: logits, PROBABILITIES: powers / powers.sum(axis=1, keepdims=True)}
    slack = np.full(len(logits), ROUNDING)
    return ClassifierExam(asked, Answers(logits.argmax(axis=1), numbers, SCORES, slack), transformer.source.labels)


def answers_of(model: Path, task: TaskSpec, assets: Mapping[str, bytes], texts: Sequence[str]) -> Found:
    """A model's answers, through the runtime's own encoding, session and decoding."""
    rows: dict[str, list[Any]] = {}
    with closing(open_session(model, SessionConfig())) as session:
        runner = open_runner(task, {"model": session}, assets.__getitem__)
        for encoded in runner.encode(texts):
            outputs: Mapping[str, Any] = session.run(encoded.feeds)
            if runner.metric == "embedding":
                outputs = {EMBEDDINGS: runner.decode(outputs, encoded)}
            elif isinstance(runner, TokenClassificationRunner):
                outputs = {TOKENS: runner.probabilities(outputs, encoded)}
            for name, values in outputs.items():
                whole = rows.setdefault(name, [None] * len(texts))
                for row, value in zip(encoded.rows, values, strict=True):
                    whole[row] = value
    return {name: values if name == TOKENS else np.stack(values) for name, values in rows.items()}


@dataclass(frozen=True, slots=True)
class EmbeddingExam:
    """Vectors against the source's."""

    questions: Questions
    vectors: NDArray[np.float32]

    def gate(self, found: Found) -> None:
        """Every number must be within 1e-5 of the source's, relative to the larger of 1 and the vector's largest."""
        gaps = np.abs(found[EMBEDDINGS] - self.vectors).max(axis=1)
        gaps /= np.maximum(1.0, np.abs(self.vectors).max(axis=1))
        bad = np.flatnonzero(~(gaps <= parity.TOLERANCE))
        if len(bad):
            worst = int(bad[np.nan_to_num(gaps[bad], nan=np.inf).argmax()])
            raise ParityError(
                f"the converted model disagrees with its source on {len(bad)} of {len(gaps)} texts (numbers must be "
                f"within {parity.TOLERANCE:g}): most, by {gaps[worst]:.2g}, on {self.questions.texts[worst][:60]!r}"
            )

    def fidelity(self, found: Found) -> Fidelity:
        """Changed: further than `VECTOR_CHANGED`."""
        distances = embedding_distances(found[EMBEDDINGS], self.vectors)
        count = self.questions.count
        changed = int((distances[:count] > VECTOR_CHANGED).sum())
        return golden.fidelity("embedding", count, changed, float(distances.max(initial=0.0)), self.questions.origin)

    def accuracy(self, found: Found | None) -> None:
        """Vectors are neither right nor wrong."""

    def golden(self) -> dict[str, bytes]:
        """Texts of all lengths, and edge cases."""
        count = len(self.questions.texts)
        # Vectors have no labels and no margins: what remains to choose by is the texts.
        same = Answers(np.zeros(count, np.int64), {EMBEDDINGS: np.zeros((count, 1))}, EMBEDDINGS)
        chosen = choose_golden(self.questions.texts, self.questions.count, same)
        texts = [self.questions.texts[index] for index in chosen]
        return _files(texts, {EMBEDDINGS: self.vectors[chosen]})


@dataclass(frozen=True, slots=True)
class ClassifierExam:
    """Labels and probabilities against the source's."""

    questions: Questions
    answers: Answers
    names: Sequence[str]

    def gate(self, found: Found) -> None:
        """Labels must be equal and probabilities within 1e-4."""
        parity.gate(self.answers, parity.compare(self.answers, found), self.questions.texts, self.names)

    def fidelity(self, found: Found) -> Fidelity:
        """Changed: another label."""
        compared = parity.compare(self.answers, found)
        return parity.fidelity(compared, count=self.questions.count, metric="label", inputs=self.questions.origin)

    def accuracy(self, found: Found | None) -> float | None:
        """Of the labels."""
        labels = self.answers.labels if found is None else found[SCORES].argmax(axis=1)
        return questions.accuracy(labels, self.names, self.questions)

    def golden(self) -> dict[str, bytes]:
        """As for other classifiers."""
        return questions.golden_files(self.questions, self.answers)


@dataclass(frozen=True, slots=True)
class TokenExam:
    """Labels of tokens against the source's.

    Args:
        questions: what was asked.
        probabilities: the source's, float64 [tokens, labels] for each text.
    """

    questions: Questions
    probabilities: Sequence[NDArray[np.float64]]

    def gate(self, found: Found) -> None:
        """Labels of all tokens must be equal and probabilities within 1e-4."""
        allowed = parity.TOLERANCE + ROUNDING
        compared = self._compared(found, 2 * allowed)
        bad = [i for i, (changed, worst) in enumerate(compared) if changed or not worst <= allowed]
        if bad:
            most = max(bad, key=lambda i: compared[i][1])
            raise ParityError(
                f"the converted model disagrees with its source on {len(bad)} of {len(compared)} texts (labels of "
                f"tokens must be equal and probabilities within {allowed:g}): most, by {compared[most][1]:.2g}, on "
                f"{self.questions.texts[most][:60]!r}"
            )

    def fidelity(self, found: Found) -> Fidelity:
        """Changed: another label of a token."""
        compared = self._compared(found, parity.TIE)
        count = self.questions.count
        tokens = sum(len(rows) for rows in self.probabilities[:count])
        changed = sum(changed for changed, _ in compared[:count])
        worst = max((worst for _, worst in compared), default=0.0)
        return golden.fidelity("token", tokens, changed, worst, self.questions.origin)

    def accuracy(self, found: Found | None) -> None:
        """A sample has no labels of tokens."""

    def golden(self) -> dict[str, bytes]:
        """Texts with the least certain tokens, of all lengths, and edge cases."""
        margins = np.array([self._margin(rows) for rows in self.probabilities])
        numbers = np.stack([margins, np.zeros(len(margins))], axis=1)
        same = Answers(np.zeros(len(margins), np.int64), {TOKENS: numbers}, TOKENS)
        chosen = choose_golden(self.questions.texts, self.questions.count, same)
        rows = [self.probabilities[index] for index in chosen]
        lengths = np.array([len(row) for row in rows], np.int64)
        texts = [self.questions.texts[index] for index in chosen]
        return _files(texts, {TOKENS: np.concatenate(rows).astype(np.float32), LENGTHS: lengths})

    def _compared(self, found: Found, tie: float) -> list[tuple[int, float]]:
        """For each text the number of tokens with another label, and the largest difference."""
        pairs = zip(found[TOKENS], self.probabilities, strict=True)
        return [changed_tokens(ours, theirs, tie) for ours, theirs in pairs]

    @staticmethod
    def _margin(rows: NDArray[np.float64]) -> float:
        """By how much the least certain token's label leads."""
        ordered = np.sort(rows, axis=1)
        return float((ordered[:, -1] - ordered[:, -2]).min(initial=1.0))


def _files(texts: Sequence[str], outputs: Mapping[str, NDArray[Any]]) -> dict[str, bytes]:
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **outputs)
    return {"inputs.json": json.dumps(texts, indent=1).encode() + b"\n", "outputs.npz": stream.getvalue()}

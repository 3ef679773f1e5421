"""Task ``token-classification``: a text to the stretches of it that have a label, such as the names in it.

Its configuration::

    {"labels": ["O", "B-PER", "I-PER"],
     "input": {"kind": "tokens", ...},     # see ortolan.inputs.tokens; without "lowercase"
     "output": "logits",                   # float32 [batch, sequence, labels]
     "aggregation": "simple",              # none, simple, first, average or max: how tokens become spans
     "outside": ["O"],                     # labels that make no span
     "unknown": 100}                       # id of the token for what the tokenizer does not know, or null

Aggregation is that of transformers' ``TokenClassificationPipeline``, whose names it has:

- ``none``: every token is a span of its own, and keeps its label as it is, prefix included;
- ``simple``: neighboring tokens of one kind become one span; ``B-`` begins another, ``I-`` goes on;
- ``first``, ``average``, ``max``: as ``simple``, over words, all of whose tokens get one label: their first's, that of
  their mean probabilities, or that of the token most sure of its own.

A span's score is the mean over its tokens or words.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ortolan.bundle.fields import Record, array, choice, integer, optional
from ortolan.errors import BundleError, ManifestError
from ortolan.records import dataclass
from ortolan.tasks.labels import named, scores_of
from ortolan.tasks.token_input import TokenInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.types import Array, RunControl, Session

    Probabilities = NDArray[np.float64]

_KEYS = ("labels", "input", "output", "aggregation", "outside", "unknown")
AGGREGATIONS = ("none", "simple", "first", "average", "max")


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a text with a label.

    Args:
        label: what it is, without the prefixes ``B-`` and ``I-``.
        score: 0 to 1.
        start: position of its first character in the text, from 0.
        end: position after its last.
        text: the stretch itself, without white space at its ends.
    """

    label: str
    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class TokenLabel:
    """A token with the label that is likeliest for it alone.

    Args:
        label: as the model was trained on it, prefix included.
        score: its probability.
        start: position of the token's first character in the text, from 0.
        end: position after its last.
    """

    label: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenClassification:
    """The answer to one text.

    Args:
        spans: in the order of the text.
        tokens: of all the text that the model saw, without special ones.
        truncated: whether the text is longer than what the model takes, so that a part of it was not seen.
    """

    spans: tuple[Span, ...]
    tokens: tuple[TokenLabel, ...]
    truncated: bool


class _Piece(NamedTuple):
    """What spans are put together of: a token or a word."""

    label: int
    score: float
    start: int
    end: int


class TokenClassificationRunner:
    """Text -> tokens -> model -> a label for each token -> spans."""

    metric: Metric = "token"

    def __init__(
        self,
        session: Session,
        text_input: TokenInput,
        labels: Sequence[str],
        *,
        output: str,
        aggregation: str,
        outside: Sequence[str],
        unknown: int | None,
    ) -> None:
        """Args:
        session: the model.
        text_input: text to the model's inputs.
        labels: label of each column.
        output: name of the output float32[batch, sequence, labels].
        aggregation: one of `AGGREGATIONS`.
        outside: labels that make no span.
        unknown: id of the token for unknown characters, which always begins a word.
        """
        self.session = session
        self.labels = tuple(labels)
        self._input = text_input
        self._output = output
        self._aggregation = aggregation
        self._outside = frozenset(outside)
        self._unknown = unknown
        self._kinds = tuple(label[2:] if label[:2] in ("B-", "I-") else label for label in labels)
        self._begins = tuple(label.startswith("B-") for label in labels)
        self._shown = tuple(label.partition("-")[2] or label for label in labels)

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> TokenClassificationRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        config = dict(task.config)
        record = Record(config, "task.config", _KEYS)
        labels = record.get("labels", array(named, 2))
        if len(set(labels)) < len(labels):
            raise ManifestError("task.config.labels", "expected distinct labels, found one twice")
        output, aggregation = record.get("output", named), record.get("aggregation", choice(AGGREGATIONS))
        outside, unknown = record.get("outside", array(named)), record.get("unknown", optional(integer()))
        raw = config.get("input")
        if not isinstance(raw, dict) or raw.get("kind") != "tokens":
            raise ManifestError("task.config.input", "expected an object of the kind 'tokens'")
        if raw.get("lowercase"):
            raise ManifestError("task.config.input.lowercase", "expected false: positions in the text would not hold")
        text_input = TokenInput.open(raw, len(labels), sessions, read_asset)
        session = sessions["model"]
        _check_output(session, output, len(labels))
        return cls(
            session,
            text_input,
            labels,
            output=output,
            aggregation=aggregation,
            outside=outside,
            unknown=unknown,
        )

    def text_feeds(self, text: str) -> dict[str, Array]:
        """The tensors of one text; see `ortolan.tasks.runner.TakesTexts`."""
        return self._input.one(text)

    def encode(self, xs: Sequence[str]) -> Iterator[Encoded]:
        """The runs that together answer all texts; see `ortolan.tasks.runner.Runner`."""
        return self._input.batches(xs)

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[TokenClassification]:
        """The answers to the texts at ``encoded.rows``."""
        context: Any = encoded.context
        found = self.probabilities(outputs, encoded)
        return [self._answer(text, encoding, numbers) for (text, encoding), numbers in zip(context, found, strict=True)]

    def probabilities(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[Probabilities]:
        """For each text float64 [tokens, labels]: of its tokens without special ones, as `TokenClassification` has."""
        logits = outputs[self._output]
        context: Any = encoded.context
        left = self._input.encoder.config.padding == "left"
        found = []
        for row, (_, encoding) in enumerate(context):
            count, width = len(encoding), logits.shape[1]
            own = logits[row, width - count :] if left else logits[row, :count]
            found.append(scores_of(own[_kept(encoding)], "softmax"))
        return found

    def decide(self, row: Mapping[str, Array]) -> None:
        """A text has many labels."""

    def warm_up(self) -> None:
        """Answer an empty text."""
        self.answer("")

    def answer(self, x: str, control: RunControl | None = None) -> TokenClassification:
        """The spans of one text.

        Raises:
            InputTypeError: it is no str.
            InputError: a text that the model cannot take.
            SessionError: the model failed.
        """
        encoded = self._input.encoded(x)
        return self.decode(self.session.run(encoded.feeds, control), encoded)[0]

    def _answer(self, text: str, encoding: Any, probabilities: Probabilities) -> TokenClassification:
        kept = _kept(encoding)
        places = [encoding.offsets[position] for position in kept]
        best = probabilities.argmax(axis=1).tolist()
        tokens = [
            _Piece(label, float(row[label]), *place)
            for label, row, place in zip(best, probabilities, places, strict=True)
        ]
        if self._aggregation == "none":
            spans = [([token], self.labels[token.label]) for token in tokens]
        else:
            pieces = tokens
            if self._aggregation != "simple":
                words = self._words(text, encoding, kept)
                choose = _WORD_LABELS[self._aggregation]
                pieces = [_word(tokens[word], *choose(probabilities[word])) for word in words]
            spans = [(group, self._shown[group[0].label]) for group in self._groups(pieces)]
        return TokenClassification(
            spans=tuple(_span(text, group, label) for group, label in spans if label not in self._outside),
            tokens=tuple(TokenLabel(self.labels[token.label], *token[1:]) for token in tokens),
            truncated=bool(encoding.overflowing),
        )

    def _words(self, text: str, encoding: Any, kept: Sequence[int]) -> list[slice]:
        """The tokens of each word."""
        spelled = self._input.encoder.continues_words
        starts = []
        for number, position in enumerate(kept):
            start, end = encoding.offsets[position]
            if encoding.ids[position] == self._unknown:
                within = False
            elif spelled:
                within = len(encoding.tokens[position]) != end - start
            else:
                within = start > 0 and " " not in text[start - 1 : start + 1]
            if not within or number == 0:
                starts.append(number)
        return [slice(*bounds) for bounds in pairwise([*starts, len(kept)])]

    def _groups(self, pieces: Sequence[_Piece]) -> list[list[_Piece]]:
        """Neighbors of one kind."""
        groups: list[list[_Piece]] = []
        for piece in pieces:
            same = groups and self._kinds[piece.label] == self._kinds[groups[-1][-1].label]
            if same and not self._begins[piece.label]:
                groups[-1].append(piece)
            else:
                groups.append([piece])
        return groups


def _kept(encoding: Any) -> list[int]:
    """Positions of the tokens that are not special ones."""
    return [position for position, special in enumerate(encoding.special_tokens_mask) if not special]


def _span(text: str, pieces: Sequence[_Piece], label: str) -> Span:
    start, end = pieces[0].start, pieces[-1].end
    inside = text[start:end]
    # Tokens of SentencePiece begin with the space before a word.
    start += len(inside) - len(inside.lstrip())
    inside = inside.strip()
    score = sum(piece.score for piece in pieces) / len(pieces)
    return Span(label, score, start, start + len(inside), inside)


def _word(tokens: Sequence[_Piece], label: int, score: float) -> _Piece:
    return _Piece(label, score, tokens[0].start, tokens[-1].end)


def _surest(row: Probabilities) -> tuple[int, float]:
    label = int(row.argmax())
    return label, float(row[label])


_WORD_LABELS: Mapping[str, Callable[[Probabilities], tuple[int, float]]] = {
    "first": lambda rows: _surest(rows[0]),
    "average": lambda rows: _surest(rows.mean(axis=0)),
    "max": lambda rows: _surest(rows[rows.max(axis=1).argmax()]),
}
"""Aggregation -> label and score of a word from the probabilities [tokens, labels] of its tokens."""


def _check_output(session: Session, name: str, labels: int) -> None:
    spec = next((spec for spec in session.outputs if spec.name == name), None)
    if spec is None:
        names = ", ".join(spec.name for spec in session.outputs)
        raise BundleError(f"model: expected an output {name!r}, found {names or 'none'}")
    shape = spec.shape
    fits = shape is None or (len(shape) == 3 and (not isinstance(shape[2], int) or shape[2] == labels))
    if spec.dtype != "float32" or not fits:
        raise BundleError(f"model: expected output {name!r} to be float32[batch, sequence, {labels}], found {spec}")

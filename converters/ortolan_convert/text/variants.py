"""The variants of a text bundle: the reference that agrees with the source, and smaller ones that pay."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from ortolan.errors import ParityError
from ortolan_convert.gate import objection
from ortolan_convert.parity import compare, disagreements, fidelity, gate
from ortolan_convert.session import run_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ortolan.bundle.manifest import TaskSpec
    from ortolan.types import Fidelity
    from ortolan_convert.graph import BuiltModel
    from ortolan_convert.parity import Answers, Comparison
    from ortolan_convert.request import Progress
    from ortolan_convert.sources.scikit_learn.text_features import TextFeatures
    from ortolan_convert.text.questions import Questions


class Stored(Protocol):
    """How a variant stores its numbers."""

    @property
    def precision(self) -> str:
        """The variant's name for it."""


class TextModel(Protocol):
    """A model over features of texts that can be built in several variants."""

    @property
    def shrinks(self) -> bool:
        """Whether smaller variants can be made of it."""

    def references(self) -> Iterable[Any]:
        """What to store for the reference, the cheapest first: the first that agrees with the source is taken."""

    def smaller(self, name: str, reference: Any) -> Any:
        """What to store for a smaller variant."""

    def build(self, stored: Any, nominal: Mapping[str, int]) -> BuiltModel:
        """The ONNX model; ``nominal`` are usual sizes of its free dimensions."""


class Source(Protocol):
    """The trained pipeline, to be asked."""

    @property
    def names(self) -> Sequence[object]:
        """What each label index stands for."""

    def answers(self, texts: Sequence[str]) -> Answers:
        """Its own answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that the variants of a bundle share.

    Args:
        source: the trained pipeline.
        model: its model over the features as they are numbered in the bundle.
        task: name and configuration.
        assets: by path below ``assets/``.
        features: how texts become features, for each vectorizer.
        repetitions: texts of repeated terms, which the reference's arithmetic must hold on.
    """

    source: Source
    model: TextModel
    task: TaskSpec
    assets: Mapping[str, bytes]
    features: tuple[TextFeatures, ...]
    repetitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant: its model and how it compares with the source.

    Args:
        far: of the reference, on how many repetitive texts it disagrees with the source.
    """

    stored: Stored
    model: BuiltModel
    comparison: Comparison
    far: int = 0

    @property
    def name(self) -> str:
        """The variant's."""
        return self.stored.precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """What variants are judged by.

    Args:
        questions: the texts.
        answers: the source's.
        dims: usual sizes of the free dimensions.
        repetitions: texts of repeated terms, which the reference's arithmetic must hold on; they count for no fidelity.
        repeated: the source's answers to them.
    """

    questions: Questions
    answers: Answers
    dims: Mapping[str, int]
    repetitions: tuple[str, ...]
    repeated: Answers | None

    def fidelity(self, made: Made) -> Fidelity:
        """Of a variant."""
        metric = "cluster" if self.answers.decided_by == "distances" else "label"
        return fidelity(made.comparison, count=self.questions.count, metric=metric, inputs=self.questions.origin)


def variants_of(
    prepared: Prepared, exam: Exam, wanted: tuple[Sequence[str], float], say: Progress
) -> tuple[list[Made], list[tuple[Made, str]]]:
    """The variants that passed, the reference first, and those left out with the reason.

    Args:
        prepared: what they share.
        exam: what they are judged by.
        wanted: names of smaller variants to try, and the largest share of decisions that one may change.
        say: told what happens next.

    Raises:
        ParityError: no reference agrees with the source.
    """
    names, max_drop = wanted
    reference = _reference(prepared, exam)
    made: list[Made] = [reference]
    left_out: list[tuple[Made, str]] = []
    for name in names if prepared.model.shrinks else ():
        say(f"trying {name}")
        variant = _make(prepared, prepared.model.smaller(name, reference.stored), exam)
        larger = made[-1].name, len(made[-1].model.data)
        reason = objection(exam.fidelity(variant), max_drop, len(variant.model.data), larger)
        if reason is None:
            made.append(variant)
        else:
            left_out.append((variant, reason))
    return made, left_out


def _reference(prepared: Prepared, exam: Exam) -> Made:
    """The cheapest that agrees with the source on the samples and on repetitions, or at least on the samples."""
    failure: ParityError | None = None
    passed: Made | None = None
    for stored in prepared.model.references():
        made = _make(prepared, stored, exam)
        try:
            gate(exam.answers, made.comparison, exam.questions.texts, prepared.source.names)
        except ParityError as error:
            failure = error
            continue
        passed = replace(made, far=_far_on_repetitions(prepared, made, exam))
        if not passed.far:
            break
    if passed is not None:
        return passed
    raise failure or ParityError("the model has no coefficients to convert")


def _far_on_repetitions(prepared: Prepared, made: Made, exam: Exam) -> int:
    """On how many repetitive texts a model disagrees with the source."""
    if exam.repeated is None:
        return 0
    outputs = run_model(made.model.data, prepared.task, prepared.assets, exam.repetitions)
    return int(disagreements(exam.repeated, compare(exam.repeated, outputs)).sum())


def _make(prepared: Prepared, stored: Stored, exam: Exam) -> Made:
    model = prepared.model.build(stored, exam.dims)
    outputs = run_model(model.data, prepared.task, prepared.assets, exam.questions.texts)
    return Made(stored=stored, model=model, comparison=compare(exam.answers, outputs))

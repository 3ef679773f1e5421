"""What every task offers: raw inputs to tensors, tensors to answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from ortolan.errors import BundleError
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ortolan.types import Array, RunControl, Session

Metric = Literal["label", "cluster", "tensor", "embedding", "token"]
"""What a task's Fidelity compares."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One run of the model.

    Args:
        feeds: tensors by input name; the first axis counts the inputs.
        rows: position among the inputs of each row of the tensors.
        context: what decoding needs to know of the encoding, such as a scale.
    """

    feeds: dict[str, Array]
    rows: Sequence[int]
    context: object = None


class Runner(Protocol):
    """Answers inputs of one task with a loaded model. Thread-safe; it does not own the session."""

    metric: Metric

    def encode(self, xs: Sequence[Any]) -> Iterable[Encoded]:
        """The runs that together answer all of ``xs``, each of bounded size, in any order.

        Raises:
            InputTypeError: an input of the wrong type; the message says which.
        """

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[Any]:
        """The answers to the inputs at ``encoded.rows``, in that order."""

    def answer(self, x: Any, control: RunControl | None = None) -> Any:
        """The answer to one input: the fast path."""

    def warm_up(self) -> None:
        """Answer something once, so that the first real input is not slow; nothing where that would be dear."""

    def decide(self, row: Mapping[str, Array]) -> int | None:
        """Index of the label or cluster that one input's rows of the outputs mean; None where nothing is decided."""


@runtime_checkable
class MakesExamples(Protocol):
    """A runner that knows more of the model's inputs than their types: what may be fed for want of real samples."""

    def examples(self, count: int) -> list[dict[str, Array]]:
        """``count`` feeds that the model takes, the same ones every time."""


@runtime_checkable
class BoundsInputs(Protocol):
    """A runner that knows how large the tensors become that it makes, for which memory has to be there."""

    def largest(self) -> Mapping[str, tuple[int | None, ...]]:
        """Shape of the largest tensor, by input; None for a size without a bound."""


@runtime_checkable
class TakesImages(Protocol):
    """A runner whose inputs are images, which may be given as paths."""

    def feeds(self, x: Any) -> dict[str, Array]:
        """The tensors of one image.

        Raises:
            InputTypeError, InputError, StorageError, MissingPackageError: an image that cannot be used.
        """


@runtime_checkable
class TakesTexts(Protocol):
    """A runner whose inputs are texts."""

    def text_feeds(self, text: str) -> dict[str, Array]:
        """The tensors of one text.

        Raises:
            InputError: a text that the model cannot take.
        """


def raw_outputs(runner: Runner, session: Session, xs: Sequence[Any]) -> Iterator[tuple[int, dict[str, Array]]]:
    """The model's own outputs: position of an input and its rows of all outputs, in the order of the runs."""
    for encoded in runner.encode(xs):
        outputs = session.run(encoded.feeds)
        if runner.metric == "tensor":
            yield encoded.rows[0], outputs
            continue
        for i, row in enumerate(encoded.rows):
            yield row, {name: values[i] for name, values in outputs.items()}


def require_outputs(session: Session, columns: Mapping[str, int]) -> None:
    """Check that the model has these outputs of shape [batch, columns].

    Raises:
        BundleError: it has not.
    """
    specs = {spec.name: spec for spec in session.outputs}
    for name, count in columns.items():
        if name not in specs:
            raise BundleError(f"model: expected an output {name!r}, found {', '.join(specs) or 'none'}")
        shape = specs[name].shape
        if shape is None or len(shape) != 2 or shape[1] != count:
            raise BundleError(
                f"model: expected output {name!r} to have the shape [batch, {count}], found {specs[name]}"
            )

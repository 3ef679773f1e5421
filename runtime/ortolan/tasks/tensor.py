"""Task ``tensor``: a model without further meaning, tensors in and tensors out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record
from ortolan.errors import InputTypeError
from ortolan.tasks.runner import Encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Metric
    from ortolan.types import Array, RunControl, Session


class TensorRunner:
    """Feeds go to the model as they are; the session checks them. One run per input."""

    metric: Metric = "tensor"

    def __init__(self, session: Session) -> None:
        """Args:
        session: the model.
        """
        self.session = session

    @classmethod
    def open(
        cls,
        task: TaskSpec,
        sessions: Mapping[str, Session],
        read_asset: ReadAsset,  # noqa: ARG003 - the signature that open_task calls
    ) -> TensorRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        Record(task.config, "task.config", ())
        return cls(sessions["model"])

    def encode(self, xs: Sequence[Mapping[str, Array]]) -> Iterator[Encoded]:
        """One run per input."""
        for i, x in enumerate(xs):
            if not isinstance(x, Mapping):
                raise InputTypeError(f"expected arrays by input name at position {i}, found {type(x).__name__}")
            yield Encoded(dict(x), [i])

    def decode(
        self,
        outputs: Mapping[str, Array],
        encoded: Encoded,  # noqa: ARG002 - part of Runner
    ) -> list[Mapping[str, Array]]:
        """The outputs themselves, as the single answer."""
        return [outputs]

    def warm_up(self) -> None:
        """Nothing: the model's first run is the caller's, with inputs that only the caller knows."""

    def decide(self, row: Mapping[str, Array]) -> None:
        """Tensors decide nothing."""

    def answer(self, x: Mapping[str, Array], control: RunControl | None = None) -> Mapping[str, Array]:
        """All outputs by name.

        Raises:
            InputError: wrong names, dtypes or shapes.
            SessionError: the model failed.
        """
        return self.session.run(x, control)

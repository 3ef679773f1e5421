"""Task ``clustering``: a text, or a row of a table, to the nearest of several cluster centers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record
from ortolan.errors import ManifestError
from ortolan.tasks.runner import require_outputs
from ortolan.tasks.texts import open_text_input

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded, Metric, Runner
    from ortolan.tasks.texts import TextTensors
    from ortolan.types import Array, RunControl, Session


DISTANCES = "distances"
"""Name of the model's output."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The answer to one text or row.

    Args:
        label: number of the nearest center, the first of several equally near.
        distance: Euclidean distance to it in the space of the features.
        distances: distance to each center.
    """

    label: int
    distance: float
    distances: tuple[float, ...]


class ClusteringRunner:
    """Text -> n-gram features -> distances to the centers -> the nearest."""

    metric: Metric = "cluster"

    def __init__(self, session: Session, text_input: TextTensors) -> None:
        """Args:
        session: the model, with an output ``distances`` float32[batch, clusters].
        text_input: text to the model's inputs.
        """
        self.session = session
        self._input = text_input

    @classmethod
    def open(cls, task: TaskSpec, sessions: Mapping[str, Session], read_asset: ReadAsset) -> Runner:
        """The runner of a bundle, for texts or for rows of a table; see `ortolan.tasks.open_task`."""
        if "columns" in task.config:
            from ortolan.tasks.clustering_rows import RowClusteringRunner

            return RowClusteringRunner.of_rows(task, sessions["model"], read_asset)
        Record(task.config, "task.config", ("clusters", "input"))
        clusters = task.config.get("clusters")
        if not isinstance(clusters, int) or isinstance(clusters, bool) or clusters < 1:
            raise ManifestError("task.config.clusters", f"expected an int of 1 or more, found {clusters!r}")
        text_input = open_text_input(task.config, clusters, sessions, read_asset)
        session = sessions["model"]
        require_outputs(session, {DISTANCES: clusters})
        return cls(session, text_input)

    def text_feeds(self, text: str) -> dict[str, Array]:
        """The tensors of one text; see `ortolan.tasks.runner.TakesTexts`."""
        return self._input.one(text)

    def encode(self, xs: Sequence[str]) -> Iterator[Encoded]:
        """The runs that together answer all texts; see `ortolan.tasks.runner.Runner`."""
        return self._input.batches(xs)

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[Cluster]:  # noqa: ARG002 - part of Runner
        """The answers to the texts at ``encoded.rows``."""
        distances = outputs[DISTANCES]
        nearest = distances.argmin(axis=1).tolist()
        return [Cluster(i, row[i], tuple(row)) for i, row in zip(nearest, distances.tolist(), strict=True)]

    def decide(self, row: Mapping[str, Array]) -> int:
        """The nearest center."""
        return int(row[DISTANCES].argmin())

    def warm_up(self) -> None:
        """Answer an empty text."""
        self.answer("")

    def answer(self, x: str, control: RunControl | None = None) -> Cluster:
        """The cluster of one text.

        Raises:
            InputTypeError: it is no str.
            SessionError: the model failed.
        """
        distances = self.session.run(self._input.one(x), control)[DISTANCES][0]
        nearest, row = int(distances.argmin()), distances.tolist()
        return Cluster(nearest, row[nearest], tuple(row))

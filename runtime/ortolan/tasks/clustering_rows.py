"""Task ``clustering`` over a table: a row to one of several clusters, most often the one of the nearest center.

::

    task: clustering
    config:
      columns: {input: X, features: [width, height]}    # see ortolan.inputs.column_config
      clusters: 3                                       # columns of the output "distances"
      label: label                                      # int64 [rows], the model's own decision; absent: the nearest
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record, integer, optional, text
from ortolan.errors import BundleError
from ortolan.inputs.columns import Columns
from ortolan.tasks.clustering import DISTANCES, Cluster
from ortolan.tasks.runner import require_outputs
from ortolan.tasks.tabular import TabularRunner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Metric
    from ortolan.types import Array, Session

_LABEL = text(re.compile(r"[^\x00]{1,256}", re.DOTALL), "a name of 1 to 256 characters")


class RowClusteringRunner(TabularRunner[Cluster]):
    """Row -> columns -> distances to the centers -> the nearest."""

    metric: Metric = "cluster"

    def __init__(self, session: Session, columns: Columns, label: str | None = None) -> None:
        """Args:
        session: the model, with an output ``distances`` [rows, clusters].
        columns: rows to the model's inputs.
        label: name of the output with the model's own decision; None if the nearest center is it.
        """
        super().__init__(session, columns)
        self._label = label

    @classmethod
    def of_rows(cls, task: TaskSpec, session: Session, read_asset: ReadAsset) -> RowClusteringRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        record = Record({"label": None, **task.config}, "task.config", ("columns", "clusters", "label"))
        clusters, label = record.get("clusters", integer(low=1)), record.get("label", optional(_LABEL))
        require_outputs(session, {DISTANCES: clusters})
        if label is not None and not any(
            spec.name == label and spec.dtype == "int64" and spec.shape is not None and len(spec.shape) == 1
            for spec in session.outputs
        ):
            raise BundleError(f"model: expected an output {label!r} int64 [rows], as task.config.label says")
        columns = record.get("columns", lambda value, at: Columns.open(value, session.inputs, at, read_asset))
        return cls(session, columns, label)

    def answers(self, outputs: Mapping[str, Array], count: int) -> list[Cluster]:  # noqa: ARG002 - outputs tell
        """The answers to ``count`` rows."""
        distances = outputs[DISTANCES]
        decided = distances.argmin(axis=1) if self._label is None else outputs[self._label]
        nearest = decided.tolist()
        return [Cluster(i, row[i], tuple(row)) for i, row in zip(nearest, distances.tolist(), strict=True)]

    def decide(self, row: Mapping[str, Array]) -> int:
        """The nearest center, or what the model decides."""
        return int(row[DISTANCES].argmin() if self._label is None else row[self._label])

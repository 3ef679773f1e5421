"""Task ``clustering`` over a table: a row to the nearest of several cluster centers.

::

    task: clustering
    config:
      columns: {input: X, features: [width, height]}    # see ortolan.inputs.column_config
      clusters: 3                                       # columns of the output "distances"
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.bundle.fields import Record, integer
from ortolan.inputs.columns import Columns
from ortolan.tasks.clustering import DISTANCES, Cluster
from ortolan.tasks.runner import require_outputs
from ortolan.tasks.tabular import TabularRunner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.bundle.description import TaskSpec
    from ortolan.inputs.assets import ReadAsset
    from ortolan.tasks.runner import Encoded, Metric
    from ortolan.types import Array, Session


class RowClusteringRunner(TabularRunner[Cluster]):
    """Row -> columns -> distances to the centers -> the nearest."""

    metric: Metric = "cluster"

    @classmethod
    def of_rows(cls, task: TaskSpec, session: Session, read_asset: ReadAsset) -> RowClusteringRunner:
        """The runner of a bundle; see `ortolan.tasks.open_task`."""
        record = Record(task.config, "task.config", ("columns", "clusters"))
        require_outputs(session, {DISTANCES: record.get("clusters", integer(low=1))})
        columns = record.get("columns", lambda value, at: Columns.open(value, session.inputs, at, read_asset))
        return cls(session, columns)

    def decode(self, outputs: Mapping[str, Array], encoded: Encoded) -> list[Cluster]:  # noqa: ARG002 - part of Runner
        """The answers to the rows at ``encoded.rows``."""
        distances = outputs[DISTANCES]
        nearest = distances.argmin(axis=1).tolist()
        return [Cluster(i, row[i], tuple(row)) for i, row in zip(nearest, distances.tolist(), strict=True)]

    def decide(self, row: Mapping[str, Array]) -> int:
        """The nearest center."""
        return int(row[DISTANCES].argmin())

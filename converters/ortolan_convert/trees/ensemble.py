"""Ensembles of decision trees as arrays, whatever library grew them, and their ONNX graph.

A node sends a row to the left where ``x <= threshold`` in float64. What libraries do otherwise (compare in float32,
ask ``<``, look a category up in a set) becomes thresholds of this one kind, so that the graph needs no casts and no
other columns than the table's own: see :mod:`ortolan_convert.trees.splits`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import numpy_helper

from ortolan_convert.graph import ML

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan_convert.graph import GraphBuilder, Value

LEAF = -1
"""Stands for the feature of a leaf."""
CHUNK = 2048
"""Most values of trees, per row, that are held at once to be summed in float32."""
FLOAT32_BITS = 24
"""Whole numbers of so many bits are float32."""
SMALLEST = 2.0**-90
"""What sums are at least taken for: their second halves are still float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Trees whose values are summed.

    Nodes of a tree lie side by side, its root first.

    Args:
        tree: int64 [nodes], position of the tree, ascending from 0.
        feature: int64 [nodes], column that is compared; :data:`LEAF` for a leaf.
        threshold: float64 [nodes], the largest number that goes left.
        left: int64 [nodes], position of the left child among all nodes.
        right: int64 [nodes], of the right one.
        missing_left: bool [nodes], whether NaN goes left.
        values: float64 [nodes, k], what a leaf adds: to one output, or to all of them.
        output: int64 [trees], the first output that each tree adds to.
        outputs: how many there are.
        base: float64 [outputs], what the sums begin with.
    """

    tree: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    missing_left: NDArray[Any]
    values: NDArray[Any]
    output: NDArray[Any]
    outputs: int
    base: NDArray[Any]

    def roots(self) -> NDArray[Any]:
        """int64 [trees]: position of each root."""
        found: NDArray[Any] = np.flatnonzero(np.diff(self.tree, prepend=-1))
        return found

    def thresholds(self, feature: int) -> NDArray[Any]:
        """What a column is compared with, ascending."""
        return np.unique(self.threshold[self.feature == feature])

    def comparisons(self) -> int:
        """Most comparisons that a row takes: the depths of all trees."""
        count, level = 0, self.roots()
        while len(level := level[self.feature[level] != LEAF]):
            count += len(np.unique(self.tree[level]))
            level = np.concatenate([self.left[level], self.right[level]])
        return count

    def sums(self, graph: GraphBuilder, features: Value, mixed: NDArray[Any] | None = None) -> Value:
        """Add the trees' nodes; gives the sums to about 1e-14 of the largest that is possible.

        onnxruntime's tree ensembles compare and sum in float64, but answer in float32; version 1.20 has no other that
        takes float64. So the sums come in two float32 each. In the first half all values are multiples of a power of
        two so large that their sums have at most 24 bits: float32 holds them. The second halves are at most half of
        that multiple, and it does not matter that their sum is rounded, or in which order it is made.

        Args:
            graph: to add to.
            features: float64 [batch, columns].
            mixed: float64 [outputs, m], to multiply the sums with, by powers of two at no loss.

        Returns:
            float64 [batch, outputs], or [batch, m].
        """
        mixed = np.eye(self.outputs) if mixed is None else mixed
        both = graph.cast(_ensemble(self, graph, features, _halves(self)), "float64")
        pairs = graph.constant(np.tile(mixed, (2, 1)))
        return graph.node("MatMul", both, pairs, shape=(features.shape[0], mixed.shape[1]))

    def rounded_sums(self, graph: GraphBuilder, features: Value) -> Value:
        """Add the trees' nodes; gives the sums rounded to float32, which keeps their sign.

        Twice as fast as :meth:`sums` where there are a thousand trees: onnxruntime keeps the value of a leaf that has
        but one in the node itself.

        Args:
            graph: to add to.
            features: float64 [batch, columns].

        Returns:
            float64 [batch, outputs].
        """
        leaves = self.feature == LEAF
        columns = self.output[self.tree, None] + np.arange(self.values.shape[1])
        targets = _Targets(
            node=np.repeat(np.flatnonzero(leaves), self.values.shape[1]),
            target=columns[leaves].ravel(),
            weight=self.values[leaves].ravel(),
            base=self.base,
        )
        return graph.cast(_ensemble(self, graph, features, targets), "float64")

    def float32_sums(self, graph: GraphBuilder, features: Value) -> Value:
        """Add the trees' nodes; gives the sums as XGBoost makes them, equal bit for bit.

        It begins with the base and adds tree after tree, all in float32. Here each tree answers on its own, and a
        cumulative sum adds the answers up in the same order.

        Returns:
            float32 [batch, outputs].
        """
        rounds = _rounds(self)
        last = int(rounds.max())
        each = max(1, CHUNK // self.outputs)
        total: Value | None = None
        for start in range(0, last + 1, each):
            count = min(each, last + 1 - start)
            chosen = (rounds >= start) & (rounds < start + each)
            part, place = _chosen(self, chosen), rounds[chosen] - start
            if total is None:
                # The base comes first.
                values = _ensemble(part, graph, features, _alone(part, place + 1, count + 1, self.base))
            else:
                values = _ensemble(part, graph, features, _alone(part, place, count, np.zeros(self.outputs)))
                shape = (features.shape[0], (count + 1) * self.outputs)
                values = graph.node("Concat", total, values, shape=shape, axis=1)
            total = _running_total(graph, values, count + 1, self.outputs)
        if total is None:
            raise ValueError("expected a tree, found none")
        return total


def only(trees: Trees, kept: NDArray[Any]) -> Trees:
    place = np.cumsum(kept) - 1
    return replace(
        trees,
        **{name: getattr(trees, name)[kept] for name in ("tree", "feature", "threshold", "missing_left", "values")},
        left=place[trees.left[kept]],
        right=place[trees.right[kept]],
    )


def _halves(trees: Trees) -> _Targets:
    """All first halves of the sums, then all second ones."""
    columns = trees.output[trees.tree, None] + np.arange(trees.values.shape[1])
    leaves = trees.feature == LEAF
    largest = np.zeros((len(trees.output), trees.values.shape[1]))
    np.maximum.at(largest, trees.tree[leaves], np.abs(trees.values[leaves]))
    bound = np.abs(trees.base)
    np.add.at(bound, columns[trees.roots()], largest)
    most = max(float(bound.max()), SMALLEST)
    step = 2.0 ** (np.ceil(np.log2(most)) - FLOAT32_BITS)
    high, base_high = np.rint(trees.values / step) * step, np.rint(trees.base / step) * step
    weights = np.stack([high, trees.values - high], axis=2)[leaves]
    return _Targets(
        node=np.repeat(np.flatnonzero(leaves), 2 * trees.values.shape[1]),
        target=np.stack([columns, columns + trees.outputs], axis=2)[leaves].ravel(),
        weight=weights.ravel(),
        base=np.concatenate([base_high, trees.base - base_high]),
    )


def _alone(trees: Trees, place: NDArray[Any], count: int, base: NDArray[Any]) -> _Targets:
    """A target for each output of each of ``count`` rounds; the trees stand at the rounds ``place``."""
    leaves = trees.feature == LEAF
    width = trees.values.shape[1]
    columns = (place * trees.outputs + trees.output)[trees.tree, None] + np.arange(width)
    return _Targets(
        node=np.repeat(np.flatnonzero(leaves), width),
        target=columns[leaves].ravel(),
        weight=trees.values[leaves].ravel(),
        base=np.concatenate([base, np.zeros((count - 1) * trees.outputs)]),
    )


def _running_total(graph: GraphBuilder, values: Value, count: int, width: int) -> Value:
    """[batch, count * width] -> [batch, width], summed one after the other in the values' own type."""
    batch = values.shape[0]
    if width > 1:
        shape = graph.constant(np.array([0, count, width], np.int64))
        values = graph.node("Reshape", values, shape, shape=(batch, count, width))
    summed = graph.node("CumSum", values, graph.constant(np.array(1, np.int64)))
    last = graph.constant(np.array([count - 1], np.int64))
    if width == 1:
        return graph.node("Gather", summed, last, shape=(batch, 1), axis=1)
    last = graph.node("Gather", summed, last, shape=(batch, 1, width), axis=1)
    return graph.node("Reshape", last, graph.constant(np.array([0, width], np.int64)), shape=(batch, width))


def _rounds(trees: Trees) -> NDArray[Any]:
    """int64 [trees]: how many trees before it add to the same output."""
    seen = np.zeros(trees.outputs, np.int64)
    rounds = np.empty(len(trees.output), np.int64)
    width = trees.values.shape[1]
    for i, output in enumerate(trees.output.tolist()):
        rounds[i] = seen[output]
        seen[output : output + width] += 1
    return rounds


def _chosen(trees: Trees, chosen: NDArray[Any]) -> Trees:
    """Some of the trees."""
    if chosen.all():
        return trees
    part = only(trees, chosen[trees.tree])
    number = np.cumsum(chosen) - 1
    return replace(part, tree=number[part.tree], output=trees.output[chosen])


@dataclass(frozen=True, slots=True)
class _Targets:
    """What leaves add to which of the operator's outputs, and what those begin with."""

    node: NDArray[Any]
    target: NDArray[Any]
    weight: NDArray[Any]
    base: NDArray[Any]


def _ensemble(trees: Trees, graph: GraphBuilder, features: Value, targets: _Targets) -> Value:
    """The operator: float32 [batch, targets]."""
    number = np.arange(len(trees.feature)) - trees.roots()[trees.tree]
    leaf = trees.feature == LEAF
    # A leaf of its own tree stands for the base, which other ways of giving it add at another moment.
    bases = np.arange(len(targets.base)) if targets.base.any() else np.zeros(0, np.int64)
    extra = int(len(bases) > 0)
    tree = len(trees.output)

    def nodes(values: NDArray[Any], of_base: Any) -> NDArray[Any]:
        return np.concatenate([np.full(extra, of_base, values.dtype), values])

    weights = np.concatenate([targets.base[bases], targets.weight])
    graph.takes(features.shape[0], trees.comparisons())
    return graph.node(
        "TreeEnsembleRegressor",
        features,
        shape=(features.shape[0], len(targets.base)),
        dtype="float32",
        domain=ML,
        n_targets=len(targets.base),
        nodes_treeids=nodes(trees.tree, tree).tolist(),
        nodes_nodeids=nodes(number, 0).tolist(),
        nodes_featureids=nodes(np.where(leaf, 0, trees.feature), 0).tolist(),
        nodes_modes=nodes(np.where(leaf, b"LEAF", b"BRANCH_LEQ"), b"LEAF").tolist(),
        nodes_values_as_tensor=numpy_helper.from_array(nodes(trees.threshold, 0.0)),
        nodes_truenodeids=nodes(np.where(leaf, 0, number[trees.left]), 0).tolist(),
        nodes_falsenodeids=nodes(np.where(leaf, 0, number[trees.right]), 0).tolist(),
        **(
            {"nodes_missing_value_tracks_true": nodes(trees.missing_left.astype(np.int64), 0).tolist()}
            if trees.missing_left.any()
            else {}
        ),
        target_treeids=np.concatenate([np.full(len(bases), tree), trees.tree[targets.node]]).tolist(),
        target_nodeids=np.concatenate([np.zeros(len(bases), np.int64), number[targets.node]]).tolist(),
        target_ids=np.concatenate([bases, targets.target]).tolist(),
        target_weights_as_tensor=numpy_helper.from_array(weights),
    )

"""Trees as libraries hold them, one by one, to one checked ensemble."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.trees.ensemble import LEAF, Trees, only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ortolan_convert.trees.splits import Steps

DEEPEST = 4096
"""Most levels of a tree: onnxruntime walks down by recursion when it loads one."""
MOST_NODES = 1 << 25
"""Most nodes of an ensemble; a bound against hostile files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree, its root first.

    Args:
        feature: int [nodes], column that is compared; :data:`~ortolan_convert.trees.ensemble.LEAF` for a leaf.
        threshold: float64 [nodes], the largest number that goes left.
        left: int [nodes], the left child.
        right: int [nodes], the right one.
        values: float64 [nodes] or [nodes, k], what a leaf adds.
        missing_left: bool [nodes], whether NaN goes left; None for nowhere.
        steps: nodes that do more than compare with a threshold.
    """

    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    values: NDArray[Any]
    missing_left: NDArray[Any] | None = None
    steps: Mapping[int, Steps] | None = None


def joined(
    trees: Sequence[Tree], output: Sequence[int] | NDArray[Any], base: Any, place: str, *, features: int
) -> Trees:
    """The ensemble, without nodes that cannot be reached.

    Args:
        trees: in the order they are summed; may be none.
        output: the first output that each adds to.
        base: float64 [outputs], what the sums begin with.
        place: where they stand, for messages.
        features: how many columns there are.

    Raises:
        ConversionError: a child, a column or an output out of range, a node with two parents, a value that is no
            number: the file is damaged.
        UnsupportedError: too deep, or too many nodes.
    """
    base = np.atleast_1d(np.asarray(base, np.float64))
    if not trees:
        # A model that never learned anything: a leaf of nothing.
        none = np.array([LEAF])
        trees, output = [Tree(feature=none, threshold=np.zeros(1), left=none, right=none, values=np.zeros(1))], [0]
    count = sum(len(tree.feature) for tree in trees)
    if count > MOST_NODES:
        raise UnsupportedError(f"{place}: {count} nodes of trees; at most {MOST_NODES} are converted")
    found = _side_by_side(trees, output, base)
    reached = _reached(found, place)
    _check(found, reached, features, place)
    if any(tree.steps for tree in trees):
        grown = [_with_steps(tree) for tree in trees]
        added = [len(after.feature) - len(before.feature) for after, before in zip(grown, trees, strict=True)]
        ends = np.cumsum([len(tree.feature) for tree in trees])
        reached = np.insert(reached, np.repeat(ends, added), True)
        found = _side_by_side(grown, output, base)
    return only(*_without_idle_splits(found, reached))


def _side_by_side(trees: Sequence[Tree], output: Sequence[int] | NDArray[Any], base: NDArray[Any]) -> Trees:
    """All nodes in one row of arrays; a child that is outside of its tree, or its root, is -1."""
    counts = np.array([len(tree.feature) for tree in trees], np.int64)
    ends = np.cumsum(counts)
    first, end = np.repeat(ends - counts, counts), np.repeat(ends, counts)
    feature = np.concatenate([tree.feature for tree in trees]).astype(np.int64)
    leaf = feature == LEAF
    children = []
    for name in ("left", "right"):
        child = np.concatenate([getattr(tree, name) for tree in trees]).astype(np.int64)
        inside = (child > 0) & (child < end - first)
        children.append(np.where(leaf, 0, np.where(inside, child + first, -1)))
    missing = [np.zeros(len(t.feature), bool) if t.missing_left is None else t.missing_left for t in trees]
    values = [np.asarray(tree.values, np.float64).reshape(len(tree.feature), -1) for tree in trees]
    return Trees(
        tree=np.repeat(np.arange(len(trees)), counts),
        feature=feature,
        threshold=np.where(leaf, 0.0, np.concatenate([tree.threshold for tree in trees])),
        left=children[0],
        right=children[1],
        missing_left=np.concatenate(missing).astype(bool) & ~leaf,
        values=np.concatenate(values),
        output=np.asarray(output, np.int64),
        outputs=len(base),
        base=base,
    )


def _reached(trees: Trees, place: str) -> NDArray[Any]:
    """Bool [nodes]: whether a path from a root leads there."""
    reached = np.zeros(len(trees.feature), bool)
    level = trees.roots()
    for _ in range(DEEPEST):
        reached[level] = True
        inner = level[trees.feature[level] != LEAF]
        if len(inner) == 0:
            return reached
        level = np.concatenate([trees.left[inner], trees.right[inner]])
        if level.min() < 0:
            raise ConversionError(f"{place}: a tree is damaged: a child is outside of it, or its root")
        if reached[level].any() or len(np.unique(level)) < len(level):
            raise ConversionError(f"{place}: a tree is damaged: two branches lead to one node")
    raise UnsupportedError(f"{place}: a tree of more than {DEEPEST} levels; limit its depth")


def _without_idle_splits(trees: Trees, reached: NDArray[Any]) -> tuple[Trees, NDArray[Any]]:
    """Splits between leaves that add the same become leaves: symmetric trees are full of them.

    Returns:
        The trees, and which of their nodes are still reached.
    """
    feature, values, reached = trees.feature.copy(), trees.values.copy(), reached.copy()
    splits = np.flatnonzero(reached & (feature != LEAF))
    while len(splits):
        left, right = trees.left[splits], trees.right[splits]
        idle = (feature[left] == LEAF) & (feature[right] == LEAF) & (values[left] == values[right]).all(axis=1)
        if not idle.any():
            break
        merged = splits[idle]
        feature[merged], values[merged] = LEAF, values[left[idle]]
        reached[left[idle]] = reached[right[idle]] = False
        splits = splits[~idle]
    leaf = feature == LEAF
    whole = replace(
        trees,
        feature=feature,
        values=values,
        threshold=np.where(leaf, 0.0, trees.threshold),
        missing_left=trees.missing_left & ~leaf,
    )
    return whole, reached


def _check(trees: Trees, reached: NDArray[Any], features: int, place: str) -> None:
    inner = reached & (trees.feature != LEAF)
    used = trees.feature[inner]
    if len(used) and not (used.min() >= 0 and used.max() < features):
        raise ConversionError(f"{place}: a tree is damaged: it compares a column that is none of the {features}")
    if np.isnan(trees.threshold[inner]).any():
        raise ConversionError(f"{place}: a tree compares with NaN; the file is damaged")
    if not (np.isfinite(trees.values[reached & ~inner]).all() and np.isfinite(trees.base).all()):
        raise ConversionError(f"{place}: a leaf's value is not finite; train the model again")
    if trees.output.min() < 0 or trees.output.max() + trees.values.shape[1] > trees.outputs:
        raise ConversionError(f"{place}: a tree is damaged: it adds to an output that is none of the {trees.outputs}")


def _with_steps(tree: Tree) -> Tree:
    """The tree with a search among the ends of the stretches in place of each node that has steps.

    It is as deep as the logarithm of their number, and its branches come together again at the node's two children, so
    that those stay as they are.
    """
    if not tree.steps:
        return tree
    growing = _Growing(tree)
    for node, steps in tree.steps.items():
        growing.replace(node, steps)
    return growing.tree()


class _Growing:
    """A tree that nodes are added to.

    onnxruntime lays a tree out in memory from its root, right branches first, and wants a right child to come next to
    its parent. So a branch that comes together with others does so from the left, or is the first of them.
    """

    def __init__(self, tree: Tree) -> None:
        self._before = tree
        missing = tree.missing_left
        self._feature: list[int] = tree.feature.tolist()
        self._threshold: list[float] = np.asarray(tree.threshold, np.float64).tolist()
        self._left: list[int] = tree.left.tolist()
        self._right: list[int] = tree.right.tolist()
        self._missing: list[bool] = [False] * len(self._feature) if missing is None else missing.tolist()
        self._values: list[list[float]] = np.asarray(tree.values, np.float64).reshape(len(self._feature), -1).tolist()
        self._laid: set[int] = set()

    def replace(self, node: int, steps: Steps) -> None:
        """Search among the stretches where one comparison was."""
        children = (self._right[node], self._left[node])
        same = np.flatnonzero(steps.sides == steps.missing_left)
        if len(steps.ends) and len(same):
            self._search(node, steps, (0, len(steps.sides)), children, int(same[0]))
            return
        # All numbers go one way, and what is missing perhaps the other.
        self._threshold[node] = np.inf
        self._right[node] = self._fresh(children[steps.missing_left])
        self._left[node] = children[bool(steps.sides[0])]
        self._missing[node] = False

    def _search(
        self, node: int, steps: Steps, stretches: tuple[int, int], children: tuple[int, int], missing: int
    ) -> None:
        """Make ``node`` the search among some stretches; the one called ``missing`` takes NaN too."""
        start, stop = stretches
        middle = (start + stop) // 2
        self._threshold[node] = float(steps.ends[middle - 1])
        self._missing[node] = missing < middle
        for side, (low, high) in ((self._right, (middle, stop)), (self._left, (start, middle))):
            if high - low > 1:
                side[node] = self._added(self._feature[node])
                self._search(side[node], steps, (low, high), children, missing)
            else:
                child = children[bool(steps.sides[low])]
                side[node] = self._fresh(child) if side is self._right else child
                self._laid.add(child)

    def _fresh(self, child: int) -> int:
        """A node that a right branch may lead to, that is or does the same."""
        if child not in self._laid:
            self._laid.add(child)
            return child
        if self._feature[child] == LEAF:
            return self._added(LEAF, self._values[child])
        # It sends all numbers, and NaN, on to the left.
        passing = self._added(self._feature[child])
        self._threshold[passing], self._missing[passing] = np.inf, True
        self._right[passing] = self._added(LEAF)
        self._left[passing] = child
        return passing

    def _added(self, feature: int, values: list[float] | None = None) -> int:
        self._feature.append(feature)
        self._threshold.append(0.0)
        self._left.append(0)
        self._right.append(0)
        self._missing.append(False)
        self._values.append(values or [0.0] * len(self._values[0]))
        return len(self._feature) - 1

    def tree(self) -> Tree:
        """The grown tree."""
        return replace(
            self._before,
            feature=np.array(self._feature),
            threshold=np.array(self._threshold),
            left=np.array(self._left),
            right=np.array(self._right),
            values=np.array(self._values),
            missing_left=np.array(self._missing),
            steps=None,
        )

"""Symmetric trees answered by lookups, beside a walk down in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest

from ortolan_convert.graph import GraphBuilder
from ortolan_convert.trees.symmetric import FEWEST, SymmetricTree, is_worth_while, sums_of_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ortolan_convert.graph import BuiltModel, Value

COLUMNS = 5
EDGES = np.array([-2.0, -0.5, 0.0, 1 / 3, 7.0])
"""What columns are compared with."""


def forest(levels: Sequence[int], outputs: int, seed: int = 0) -> list[SymmetricTree]:
    """Trees of these depths."""
    random = np.random.default_rng(seed)
    return [
        SymmetricTree(
            feature=random.integers(0, COLUMNS, depth),
            threshold=random.choice(EDGES, depth),
            values=random.normal(size=(1 << depth, outputs)),
        )
        for depth in levels
    ]


def walked(trees: Sequence[SymmetricTree], base: NDArray[Any], row: NDArray[Any]) -> NDArray[Any]:
    """The sums, one tree after the other."""
    total = base.copy()
    for tree in trees:
        bits = [int(row[column] > limit) for column, limit in zip(tree.feature, tree.threshold, strict=True)]
        total += tree.values[sum(bit << level for level, bit in enumerate(bits))]
    return total


def built(trees: Sequence[SymmetricTree], base: NDArray[Any]) -> BuiltModel:
    """A graph that gives the sums of one row, and of several the number 7."""
    graph = GraphBuilder("float64")
    x = graph.input("x", "float64", ("batch", COLUMNS))
    nothing, sevens = graph.constant(np.zeros((COLUMNS, len(base)))), graph.constant(np.full((1, len(base)), 7.0))

    def several() -> Value:
        zeros = graph.node("MatMul", x, nothing, shape=("batch", len(base)))
        return graph.node("Add", zeros, sevens)

    graph.output(graph.one_or_more(x, lambda: sums_of_one(graph, x, trees, base), several), "sums", "float64")
    return graph.build({"batch": 1})


def session(model: BuiltModel) -> Any:
    return onnxruntime.InferenceSession(model.data, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("levels", [[1], [6] * 40, [0, 3, 1, 6, 0, 2], [11, 1]])
def test_one_row_is_looked_up(levels: list[int], outputs: int) -> None:
    """Trees of any depth, at thresholds, beside them, at infinities and without a number."""
    trees, base = forest(levels, outputs), np.linspace(0.5, 2, outputs)
    found = session(built(trees, base))
    near = np.concatenate([EDGES, np.nextafter(EDGES, np.inf), [np.inf, -np.inf, np.nan, 1e300]])
    rows = np.random.default_rng(1).choice(near, (200, COLUMNS))
    for row in rows:
        (sums,) = found.run(None, {"x": row[None]})
        assert sums.shape == (1, outputs)
        np.testing.assert_allclose(sums[0], walked(trees, base, row), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("count", [0, 2, 50])
def test_other_batches_go_the_other_way(count: int) -> None:
    """None, two or many rows."""
    model = built(forest([2], 2), np.zeros(2))
    (sums,) = session(model).run(None, {"x": np.zeros((count, COLUMNS))})
    np.testing.assert_array_equal(sums, np.full((count, 2), 7.0))
    assert model.one_apart


def test_branches_count_as_memory() -> None:
    """The tensors of a branch are alive while it runs; its constants are weights."""
    small, large = (built(forest([6] * count, 1), np.zeros(1)) for count in (10, 100))
    dims = {"batch": 1}
    assert large.activation_bytes.at(dims) > small.activation_bytes.at(dims) + 90 * 6 * 4
    assert large.weight_bytes > small.weight_bytes + 90 * 64 * 8


def test_it_is_for_many_questions() -> None:
    """Few are asked faster by walking, and the leaves of too many have no number in float32."""
    tree = forest([5], 1)[0]
    assert not is_worth_while(())
    assert not is_worth_while([tree] * (FEWEST // 5 - 1))
    assert is_worth_while([tree] * (FEWEST // 5))
    wide = SymmetricTree(feature=tree.feature, threshold=tree.threshold, values=np.zeros((1 << 16, 1)))
    assert not is_worth_while([wide] * (FEWEST // 5))

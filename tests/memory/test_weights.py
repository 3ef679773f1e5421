"""What a model's weights take in memory, told from its graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ortolan.bundle.onnxfile import parse_model, read_model
from ortolan.choose.cost import NESTED_COPIES, REORDERED_COPIES, weight_parts
from ortolan.choose.weights import weight_memory
from ortolan.types import Interval, SessionConfig
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.trees.joining import Tree, joined

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from ortolan.bundle.description import WeightMemory

    Make = Callable[..., onnx.ModelProto]


@pytest.fixture
def weights_of(model_of: Make) -> Callable[..., WeightMemory]:
    """Of a model in ONNX text."""

    def of(graph: str, **weights: np.ndarray) -> WeightMemory:
        return weight_memory(parse_model(model_of(graph, **weights).SerializeToString()))

    return of


def test_inside_and_beside_the_file(layers: Make, saved: Callable[..., Path]) -> None:
    """The same weights are read into memory, or mapped."""
    model = layers(2, 32)
    inside = weight_memory(read_model(saved(model, "inside.onnx")))
    beside = weight_memory(read_model(saved(model, "beside.onnx", external=True)))
    size = 2 * 32 * 32 * 4
    assert (inside.inside, inside.largest, inside.mapped) == (size, size // 2, 0)
    assert (beside.inside, beside.largest, beside.mapped) == (0, 0, size)
    assert inside.repacked == beside.repacked == size


def test_numbers_of_trees_are_part_of_the_graph() -> None:
    """What stands in tensors of their attributes becomes a table of nodes; the constants beside them are weights."""
    graph = GraphBuilder("float64")
    x = graph.input("x", "float64", ("batch", 1))
    tree = Tree(
        feature=np.array([0, -1, -1]),
        threshold=np.array([0.5, 0.0, 0.0]),
        left=np.array([1, 0, 0]),
        right=np.array([2, 0, 0]),
        values=np.array([0.0, 1.0, 2.0]),
    )
    trees = joined([tree], [0], 0.0, "here", features=1)
    graph.output(graph.node("Mul", trees.rounded_sums(graph, x), graph.vector([1.0, 2.0])), "y", "float64")
    assert weight_memory(parse_model(graph.build({"batch": 1}).data)).inside == 2 * 8


def test_weights_that_onnxruntime_stores_anew(weights_of: Callable[..., WeightMemory]) -> None:
    """Those of convolutions in another layout, those of products and recurrent layers repacked, others not."""
    found = weights_of(
        """g (float[1, 4, 8, 8] x) => (float[1, 6, 3] y) {
            c = Conv(x, k)
            f = Reshape(c, shape)
            m = MatMul(f, w)
            y = Add(m, bias)
        }""",
        k=np.zeros((6, 4, 1, 1), np.float32),
        shape=np.array([1, 6, 64]),
        w=np.zeros((64, 3), np.float32),
        bias=np.zeros(3, np.float32),
    )
    assert (found.reordered, found.repacked) == (6 * 4 * 4, 64 * 3 * 4)


def test_a_product_of_two_activations_repacks_nothing(weights_of: Callable[..., WeightMemory]) -> None:
    """There is nothing to repack."""
    assert weights_of("g (float[4, 4] x) => (float[4, 4] y) { y = MatMul(x, x) }").repacked == 0


def test_what_is_computed_at_load_counts(weights_of: Callable[..., WeightMemory]) -> None:
    """Eight-bit weights that are cast and scaled become float weights twice, and are repacked as such."""
    found = weights_of(
        """g (float[n, 16] x) => (float[n, 16] y) {
            wide = Cast <to = 1> (w)
            scaled = Mul(wide, scale)
            y = MatMul(x, scaled)
        }""",
        w=np.zeros((16, 16), np.int8),
        scale=np.zeros(16, np.float32),
    )
    assert found.inside == 256 + 64
    assert found.derived == 2 * 256 * 4
    assert found.repacked == 256 * 4


def test_half_precision_is_widened(weights_of: Callable[..., WeightMemory]) -> None:
    """The CPU provider computes in float32, twice the size."""
    found = weights_of(
        "g (float16[n, 16] x) => (float16[n, 16] y) { y = MatMul(x, w) }", w=np.zeros((16, 16), np.float16)
    )
    assert found.derived == 256 * 4


def test_half_precision_that_the_model_casts_itself_is_widened_once(weights_of: Callable[..., WeightMemory]) -> None:
    """By the cast; a table of which rows are taken stays as it is."""
    found = weights_of(
        """g (float[n, 16] x, int64[n] ids) => (float[n, 16] y) {
            wide = Cast <to = 1> (w)
            m = MatMul(x, wide)
            rows = Gather(table, ids)
            more = Cast <to = 1> (rows)
            y = Add(m, more)
        }""",
        w=np.zeros((16, 16), np.float16),
        table=np.zeros((100, 16), np.float16),
    )
    assert found.derived == 256 * 4


def test_weights_within_branches(weights_of: Callable[..., WeightMemory]) -> None:
    """They are told apart: onnxruntime copies them with the branch."""
    found = weights_of(
        """g (float[n, 4] x, bool c) => (float[n, 4] y) {
            y = If <then_branch = t () => (float[n, 4] a) {
                        w = Constant <value = float[4] {1, 2, 3, 4}> ()
                        a = Add(x, w)
                    },
                    else_branch = e () => (float[n, 4] b) { b = Identity(x) }> (c)
        }"""
    )
    assert (found.nested, found.inside) == (16, 16)
    assert weight_parts(found, SessionConfig())["derived constants"].high == NESTED_COPIES * 16


def test_rows_of_a_mapped_table_are_told_apart(model_of: Make, saved: Callable[..., Path]) -> None:
    """A vocabulary is touched row by row; one that is multiplied with as well is not."""
    graph = "g (int64[n] ids) => (float[n, 8] y) {{ {} }}"
    table = {"table": np.zeros((1000, 8), np.float32)}
    alone = saved(model_of(graph.format("y = Gather(table, ids)"), **table), "alone.onnx", external=True)
    tied = "rows = Gather(table, ids) m = MatMul(rows, t) t2 = MatMul(m, table) y = Identity(t2)"
    both = saved(model_of(graph.format(tied), t=np.zeros((8, 1000), np.float32), **table), "b.onnx", external=True)
    assert weight_memory(read_model(alone)).gathered == 32_000
    assert weight_memory(read_model(both)).gathered == 0


def test_parts_of_a_prediction(weights_of: Callable[..., WeightMemory]) -> None:
    """Each use of the weights is a part; without prepacking only the layout of convolutions is new."""
    found = weights_of(
        "g (float[1, 4, 8, 8] x) => (float[1, 6, 8, 8] y) { y = Conv(x, k) }", k=np.zeros((6, 4, 1, 1), np.float32)
    )
    size = 6 * 4 * 4
    for config in (SessionConfig(), SessionConfig(prepack=False)):
        parts = weight_parts(found, config)
        assert parts["weights"] == Interval(size, 2 * size)
        assert parts["prepacking"] == Interval(0, REORDERED_COPIES * size)


def test_low_memory_repacks_nothing(layers: Make, saved: Callable[..., Path]) -> None:
    """Mapped weights then are read where they are."""
    found = weight_memory(read_model(saved(layers(2, 32), external=True)))
    assert set(weight_parts(found, SessionConfig(prepack=False))) == {"weights"}
    assert weight_parts(found, SessionConfig(prepack=False))["weights"].high == found.mapped
    assert weight_parts(found, SessionConfig())["weights"].high == 0
    assert weight_parts(found, SessionConfig())["prepacking"].high == found.mapped

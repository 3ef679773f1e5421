"""Multiply-accumulates and activations of ONNX graphs as functions of their free dimensions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.bundle.onnxfile import parse_model, read_model
from ortolan_convert.analysis import costs
from ortolan_convert.analysis.costs import UNKNOWN, costs_of
from ortolan_convert.analysis.shapes import graph_shapes
from ortolan_convert.analysis.sizes import Largest, Quotient, Size, envelope, larger, number, polynomial, symbol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ortolan.types import Polynomial

    Make = Callable[..., onnx.ModelProto]
    Save = Callable[..., Path]


def exact(size: Size, dims: Mapping[str, int]) -> int:
    """The size at these dimensions, without bounds."""

    def atom(one: object) -> int:
        if isinstance(one, Quotient):
            return exact(one.numerator, dims) // one.divisor
        if isinstance(one, Largest):
            return max(exact(one.one, dims), exact(one.other, dims))
        return dims[str(one)]

    total = sum(factor * int(np.prod([atom(one) for one in atoms] or [1])) for atoms, factor in size.terms.items())
    return int(total)


@pytest.fixture
def cost(saved: Save) -> Callable[[onnx.ModelProto], costs.Costs]:
    """The costs of a model."""

    def of(model: onnx.ModelProto) -> costs.Costs:
        path = saved(model)
        return costs_of(path, read_model(path))

    return of


def at(found: Polynomial | None, **dims: int) -> float:
    assert found is not None
    return found.at(dims)


def test_matrix_products(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """Rows times inner times columns; batches multiply."""
    model = model_of(
        """g (float[b, n, 8] x, float[8, 5] v) => (float[b, n, 3] y) {
            h = MatMul(x, v)
            y = MatMul(h, w)
        }""",
        w=np.zeros((5, 3), np.float32),
    )
    assert at(cost(model).macs, b=2, n=7) == 2 * 7 * (8 * 5 + 5 * 3)


def test_convolutions(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """Each element of the result sums over the kernel; a transposed one spreads each element of its input."""
    model = model_of(
        """g (float[1, 4, h, h2] x) => (float[1, 6, p, q] y) {
            c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, k)
            d = Conv <group = 6, pads = [1, 1, 1, 1]> (c, depthwise)
            y = ConvTranspose <strides = [2, 2]> (d, t)
        }""",
        k=np.zeros((6, 4, 3, 3), np.float32),
        depthwise=np.zeros((6, 1, 3, 3), np.float32),
        t=np.zeros((6, 6, 2, 2), np.float32),
    )
    pixels = 8 * 8
    assert at(cost(model).macs, h=16, h2=16) >= pixels * (6 * 36 + 6 * 9 + 6 * 24)
    assert at(cost(model).macs, h=16, h2=16) <= 1.3 * pixels * (6 * 36 + 6 * 9 + 6 * 24)


def test_quantized_products(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """The integer forms count like the float ones."""
    model = model_of(
        """g (float[n, 8] x) => (int32[n, 3] y) {
            q, s, z = DynamicQuantizeLinear(x)
            y = MatMulInteger(q, w, z)
        }""",
        w=np.zeros((8, 3), np.int8),
    )
    assert at(cost(model).macs, n=10) == 10 * 8 * 3


def test_recurrent_layers(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """Both weights, once for each step."""
    model = model_of(
        """g (float[steps, 1, 8] x) => (float[steps, 1, 1, 4] y) {
            y, h, c = LSTM <hidden_size = 4> (x, w, r)
        }""",
        w=np.zeros((1, 16, 8), np.float32),
        r=np.zeros((1, 16, 4), np.float32),
    )
    assert at(cost(model).macs, steps=5) == 5 * 16 * (8 + 4)


def test_einsum(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """Every combination of the letters once."""
    model = model_of(
        """g (float[b, i, 4] x, float[b, j, 4] y) => (float[b, i, j] z) {
            z = Einsum <equation = "bik,bjk->bij"> (x, y)
        }"""
    )
    assert at(cost(model).macs, b=2, i=3, j=5) == 2 * 3 * 5 * 4


def test_a_loop_counts_every_trip_and_an_if_its_larger_branch(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """Of branches only one runs."""
    loop = model_of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            trips = Constant <value = int64 {3}> ()
            y = Loop <body = b (int64 i, bool c, float[n, 4] s) => (bool o, float[n, 4] t) {
                o = Identity(c)
                t = MatMul(s, w)
            }> (trips, , x)
        }""",
        w=np.zeros((4, 4), np.float32),
    )
    branches = model_of(
        """g (float[n, 4] x, bool c) => (float[n, 4] y) {
            y = If <then_branch = t () => (float[n, 4] a) { a = MatMul(x, w) },
                    else_branch = e () => (float[n, 4] b) { m = MatMul(x, w) b = MatMul(m, w) }> (c)
        }""",
        w=np.zeros((4, 4), np.float32),
    )
    assert at(cost(loop).macs, n=5) == 3 * 5 * 16
    assert at(cost(branches).macs, n=5) == 2 * 5 * 16


def test_tensors_live_from_their_node_to_their_last_use(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """The input stays; of a chain two tensors are alive at once, however long it is; views cost nothing."""
    chain = "\n".join(f"t{i + 1} = Transpose <perm = [0, 1]> (t{i})" for i in range(8))
    model = model_of(
        f"""g (float[n, 4] t0) => (float[n, 4] y) {{
            {chain}
            v = Identity(t8)
            y = Transpose <perm = [0, 1]> (v)
        }}"""
    )
    assert at(cost(model).activation_bytes, n=10) == 3 * 10 * 4 * 4


def test_results_take_the_place_of_inputs(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """An elementwise operator writes over what nobody needs any more, but never over the model's input."""
    model = model_of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            a = Relu(x)
            b = Sigmoid(a)
            c = Mul(b, b)
            y = Exp(c)
        }"""
    )
    assert at(cost(model).activation_bytes, n=10) == 2 * 10 * 4 * 4


def test_the_branch_that_needs_more_counts(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """What is alive within the larger branch comes on top of what is alive around it."""
    model = model_of(
        """g (float[n, 4] x, bool c) => (float[n, 4] y) {
            y = If <then_branch = t () => (float[n, 4] a) { a = Identity(x) },
                    else_branch = e () => (float[n, 4] b) { m = Concat <axis = 1> (x, x, x)
                                                            k = MatMul(m, w)
                                                            b = Identity(k) }> (c)
        }""",
        w=np.zeros((12, 4), np.float32),
    )
    assert at(cost(model).activation_bytes, n=10) >= 10 * 4 * 4 * (1 + 1 + 3 + 1)


def test_what_cannot_be_told_is_unknown(model_of: Make, cost: Callable[..., costs.Costs]) -> None:
    """The number of chosen rows depends on the values."""
    model = model_of(
        """g (float[n, 4] x, bool[n] chosen) => (float[m, 4] y) {
            rows = Compress <axis = 0> (x, chosen)
            y = MatMul(rows, w)
        }""",
        w=np.zeros((4, 4), np.float32),
    )
    assert cost(model) == UNKNOWN


def test_time_runs_out(model_of: Make, cost: Callable[..., costs.Costs], monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that takes too long is unknown, not waited for."""
    monkeypatch.setattr(costs, "TIME_LIMIT_S", -1.0)
    assert cost(model_of("g (float[n, 4] x) => (float[n, n] y) { t = Transpose(x) y = MatMul(x, t) }")) == UNKNOWN


def test_without_the_onnx_package(model_of: Make, saved: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversion goes on; the figures are unknown."""
    path = saved(model_of("g (float[n] x) => (float[n] y) { y = Relu(x) }"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert costs_of(path, read_model(path)) == UNKNOWN


EVERYTHING = """g (float[batch, 3, height, width] x) => (float[batch, cells, 6] y) {
    c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (x, k)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (c)
    u = Resize <mode = "nearest"> (p, , scales)
    q = AveragePool <kernel_shape = [3, 3], auto_pad = "SAME_UPPER", strides = [2, 2]> (u)
    s = Shape(q)
    n = Gather(s, zero)
    one = Unsqueeze(n, axis)
    shape = Concat <axis = 0> (one, rest)
    flat = Reshape(q, shape)
    t = Transpose <perm = [0, 2, 1]> (flat)
    left, right = Split <axis = 2> (t, halves)
    back = Concat <axis = 2> (right, left)
    wide = Pad (back, pads)
    cut = Slice(wide, starts, ends, axes)
    m = MatMul(cut, w)
    e = Erf(m)
    y = Add(m, e)
}"""
CONSTANTS = {
    "k": np.zeros((6, 3, 3, 3), np.float32),
    "scales": np.array([1, 1, 2, 2], np.float32),
    "zero": np.array(0),
    "axis": np.array([0]),
    "rest": np.array([6, -1]),
    "halves": np.array([2, 4]),
    "pads": np.array([0, 0, 1, 0, 0, 1]),
    "starts": np.array([1]),
    "ends": np.array([2**63 - 1]),
    "axes": np.array([2]),
    "w": np.zeros((7, 6), np.float32),
}


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(5, 40), st.integers(5, 40))
def test_shapes_are_those_of_a_run(batch: int, height: int, width: int) -> None:
    """Of every tensor, at any size; bounds are never below, and stay close."""
    text = f'<ir_version: 9, opset_import: ["" : 18]>\n{EVERYTHING}'
    model = onnx.parser.parse_model(text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in CONSTANTS.items())
    dims = {"batch": batch, "height": height, "width": width}
    scope = graph_shapes(model, parse_model(model.SerializeToString()).inputs, lambda: False)
    names = [name for node in model.graph.node for name in node.output]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = dict(zip(names, session.run(None, {"x": np.zeros((batch, 3, height, width), np.float32)}), strict=True))

    for name, array in found.items():
        shape = scope[name].shape
        assert shape is not None, name
        assert tuple(exact(size, dims) for size in shape) == array.shape, name
        for size, real in zip(shape, array.shape, strict=True):
            assert real <= polynomial(size.bound()).at(dims) <= 2 * real + 5


@given(st.integers(0, 50), st.integers(0, 50))
def test_bounds_bound(a: int, b: int) -> None:
    """From above, and from below where a size is subtracted."""
    one, other = symbol("a"), symbol("b")
    size = larger((one * one + number(3)).over(4) * other, one) - (one + other).over(3) + number(20)
    dims = {"a": a, "b": b}
    assert polynomial(size.bound()).at(dims) >= exact(size, dims)


def test_the_envelope_is_above_all() -> None:
    """Of each power the largest coefficient."""
    bounds = [symbol("a").bound(), (number(3) * symbol("b")).bound(), (number(2) * symbol("a")).bound()]
    assert polynomial(envelope(bounds)).at({"a": 5, "b": 7}) == 2 * 5 + 3 * 7

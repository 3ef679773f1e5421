"""Passes over networks of every kind: small weights, the same answers, nothing else touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from ortolan_convert.passes import NETWORK_PASSES
from ortolan_convert.passes.quantizing import with_initializers

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOAT16, (DYNAMIC, ALONE) = NETWORK_PASSES["fp16"][0], NETWORK_PASSES["int8"]
EVERY_PASS = pytest.mark.parametrize(
    ("apply", "allowed", "size"), [(FLOAT16, 2e-3, 0.6), (DYNAMIC, 0.04, 0.4), (ALONE, 0.02, 0.4)]
)
HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
GRAPHS = {
    "convolution": """g (float[n, 16, 12, 12] x) => (float[n, 32, 12, 12] y) {
        a = Conv <pads = [1, 1, 1, 1]> (x, conv)
        y = Relu(a)
    }""",
    "transposed convolution": """g (float[n, 32, 6, 6] x) => (float[n, 32, 12, 12] y) {
        y = ConvTranspose <strides = [2, 2]> (x, deconv)
    }""",
    "gemm": """g (float[n, 64] x) => (float[n, 96] y) {
        y = Gemm <transB = 1> (x, gemm, bias)
    }""",
    "gemm without a term": """g (float[n, 96] x) => (float[n, 64] y) {
        y = Gemm(x, gemm)
    }""",
    "scaled gemm": """g (float[n, 64] x) => (float[n, 96] y) {
        y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, gemm, bias)
    }""",
    "recurrent": """g (float[t, n, 32] x) => (float[t, one, n, 48] y) {
        y, h, c = LSTM <hidden_size = 48> (x, input_weights, recurrent_weights)
    }""",
    "matrix over images": """g (float[n, 16, 12, 64] x) => (float[n, 16, 12, 96] y) {
        y = MatMul(x, matrix)
    }""",
}
FEEDS = {
    "convolution": (2, 16, 12, 12),
    "transposed convolution": (2, 32, 6, 6),
    "gemm": (5, 64),
    "gemm without a term": (5, 96),
    "scaled gemm": (5, 64),
    "recurrent": (7, 3, 32),
    "matrix over images": (2, 16, 12, 64),
}


def weights() -> dict[str, Any]:
    random = np.random.default_rng(0)
    shapes = {
        "conv": (32, 16, 3, 3),
        "deconv": (32, 32, 2, 2),
        "gemm": (96, 64),
        "bias": (96,),
        "input_weights": (1, 192, 32),
        "recurrent_weights": (1, 192, 48),
        "matrix": (64, 96),
        "table": (300, 24),
        "tables": (40, 6, 24),
    }
    arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    # A channel far larger than the others: a scale for the whole tensor would lose them.
    arrays["conv"][3] *= 50
    arrays["matrix"][:, 5] *= 50
    arrays["recurrent_weights"] /= 10
    return arrays


def parsed(text: str, arrays: Mapping[str, Any] | None = None) -> onnx.ModelProto:
    """A model of ONNX text and the weights that it mentions."""
    model = onnx.parser.parse_model(HEAD + text)
    given = weights() if arrays is None else arrays
    used = {name for node in model.graph.node for name in node.input} | {
        name for node in model.graph.node for one in node.attribute for inner in one.g.node for name in inner.input
    }
    model.graph.initializer.extend(numpy_helper.from_array(given[name], name) for name in given if name in used)
    return model


def answer(model: onnx.ModelProto, *feeds: Any) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip((one.name for one in session.get_inputs()), feeds, strict=True)))[0]


def error(found: Any, expected: Any) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def kinds(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@EVERY_PASS
@pytest.mark.parametrize("name", list(GRAPHS))
def test_answers_stay_near_and_weights_become_small(name: str, apply: Any, allowed: float, size: float) -> None:
    """For each kind of layer; the reference is left as it was, and only ONNX's own operators are used."""
    model = with_initializers(parsed(GRAPHS[name]))
    before = model.SerializeToString()
    variant = apply(model, {})
    onnx.checker.check_model(variant, full_check=True)
    x = np.random.default_rng(1).standard_normal(FEEDS[name]).astype(np.float32)
    assert error(answer(variant, x), answer(model, x)) < allowed
    assert len(variant.SerializeToString()) < size * len(before)
    assert model.SerializeToString() == before
    assert {node.domain for node in variant.graph.node} == {""}


@EVERY_PASS
@pytest.mark.parametrize(("table", "axis"), [("table", 0), ("table", 1), ("tables", 0)])
def test_tables(table: str, axis: int, apply: Any, allowed: float, size: float) -> None:
    """Rows are widened when they are looked up, along the first axis; of any other the whole table is."""
    model = parsed(f"g (int64[n, 2] ids) => (float[] y) {{ y = Gather <axis = {axis}> ({table}, ids) }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    variant = apply(model, {})
    ids = np.array([[0, 3], [7, 23], [11, 11]])
    assert error(answer(variant, ids), answer(model, ids)) < allowed
    assert len(variant.SerializeToString()) < size * len(model.SerializeToString())
    assert (kinds(variant)[0] == "Gather") == (axis == 0)


@pytest.mark.parametrize("apply", [FLOAT16, DYNAMIC, ALONE])
def test_a_table_that_is_a_matrix_too(apply: Any) -> None:
    """Tied weights: looked up by rows and multiplied with, each reader gets the form that fits it."""
    arrays = {"table": weights()["matrix"]}
    text = """g (int64[n] ids, float[n, 64] x) => (float[n, 96] y) {
        rows = Gather(table, ids)
        product = MatMul(x, table)
        y = Add(rows, product)
    }"""
    model = parsed(text, arrays)
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    ids = np.array([0, 9, 63, 1])
    assert error(answer(apply(model, {}), ids, x), answer(model, ids, x)) < 0.04


def test_products_of_matrices_are_done_in_integers() -> None:
    """By `dynamic`, and a Gemm that scales nothing too; the other form keeps them in float32."""
    for name in ("gemm", "gemm without a term", "matrix over images"):
        model = parsed(GRAPHS[name])
        assert "MatMulInteger" in kinds(DYNAMIC(model, {}))
        assert "MatMulInteger" not in kinds(ALONE(model, {}))
    assert "MatMulInteger" not in kinds(DYNAMIC(parsed(GRAPHS["scaled gemm"]), {}))


def test_several_products_share_the_quantized_factor() -> None:
    """One DynamicQuantizeLinear for one tensor."""
    text = """g (float[n, 64] x) => (float[n, 96] y) { a = MatMul(x, matrix)  b = MatMul(x, other)  y = Add(a, b) }"""
    model = parsed(text, {"matrix": weights()["matrix"], "other": weights()["matrix"][::-1].copy()})
    assert kinds(DYNAMIC(model, {})).count("DynamicQuantizeLinear") == 1


@EVERY_PASS
def test_weights_within_branches(apply: Any, allowed: float, size: float) -> None:
    """Those of an If are stored small where they are; weights of the outer graph that a branch reads, too."""
    text = """g (bool flag, float[n, 64] x) => (float[n, 96] y) {
        y = If (flag) <
            then_branch = yes () => (float[n, 96] a) { a = MatMul(x, matrix) },
            else_branch = no () => (float[n, 96] b) { b = MatMul(x, inner) }
        >
    }"""
    model = parsed(text, {"matrix": weights()["matrix"]})
    branch = next(one.g for one in model.graph.node[0].attribute if one.name == "else_branch")
    constant = helper.make_node("Constant", [], ["inner"], value=numpy_helper.from_array(-weights()["matrix"]))
    nodes = [constant, *branch.node]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del branch.node[:]
    branch.node.extend(copies)
    variant = apply(with_initializers(model), {})
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    for flag in (True, False):
        assert error(answer(variant, np.array(flag), x), answer(model, np.array(flag), x)) < allowed
    assert len(variant.SerializeToString()) < size * len(model.SerializeToString())


@pytest.mark.parametrize("apply", [FLOAT16, DYNAMIC, ALONE])
def test_what_stays_as_it_is(apply: Any) -> None:
    """Small tensors, constants that are no weights, and weights that are an output of the graph."""
    arrays = {"small": np.ones((8, 8), np.float32), "offsets": np.ones((64, 96), np.float32)}
    arrays["shown"] = weights()["matrix"]
    text = """g (float[n, 64] x) => (float[n, 96] y, float[64, 96] shown) {
        a = MatMul(x, shown)
        s = ReduceSum(offsets)
        b = Add(a, s)
        t = ReduceSum(small)
        y = Add(b, t)
    }"""
    model = parsed(text, arrays)
    variant = apply(model, {})
    kept = {tensor.name: tensor for tensor in variant.graph.initializer}
    assert {"small", "offsets", "shown"} <= kept.keys()
    assert all(kept[name].data_type == TensorProto.FLOAT for name in ("small", "offsets", "shown"))


@pytest.mark.parametrize("factor", [1e6, 1e-9])
def test_weights_that_float16_cannot_hold_stay_float32(factor: float) -> None:
    """Numbers beyond 65504 would become infinite, tiny ones lose their bits."""
    arrays = {"matrix": (weights()["matrix"] * factor).astype(np.float32)}
    model = parsed(GRAPHS["matrix over images"], arrays)
    variant = FLOAT16(model, {})
    assert [tensor.data_type for tensor in variant.graph.initializer] == [TensorProto.FLOAT]
    x = np.random.default_rng(1).standard_normal(FEEDS["matrix over images"]).astype(np.float32)
    np.testing.assert_array_equal(answer(variant, x), answer(model, x))


def test_zero_channels_are_exact() -> None:
    """A channel of zeros has no scale, and stays zero."""
    conv = weights()["conv"]
    conv[7] = 0
    model = parsed(GRAPHS["convolution"], {"conv": conv})
    x = np.random.default_rng(1).standard_normal(FEEDS["convolution"]).astype(np.float32)
    assert not answer(ALONE(model, {}), x)[:, 7].any()


def test_constants_become_initializers() -> None:
    """Constant nodes and other names for weights are resolved; weights that are declared as inputs are none."""
    text = """g (float[n, 64] x, float[64, 96] matrix) => (float[n, 96] y) {
        other = Identity(matrix)
        again = Identity(other)
        two = Constant <value = float[1] {2.0}> ()
        a = MatMul(x, again)
        y = Mul(a, two)
    }"""
    model = parsed(text)
    model.ir_version = 3
    clean = with_initializers(model)
    assert kinds(clean) == ["MatMul", "Mul"]
    assert [value.name for value in clean.graph.input] == ["x"]
    assert {tensor.name for tensor in clean.graph.initializer} == {"matrix", "two"}
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    np.testing.assert_array_equal(answer(clean, x), answer(parsed(text), x))

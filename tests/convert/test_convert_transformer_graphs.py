"""Passes over transformers' graphs, and large models on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from ortolan.bundle.onnxfile import check_external_data
from ortolan.errors import ConversionError
from ortolan_convert.networks.weight_file import tidy, write_model
from ortolan_convert.passes import NETWORK_PASSES
from ortolan_convert.passes.smoothing import inputs_of_products, smoothed

if TYPE_CHECKING:
    from pathlib import Path

ROWS, WIDTH = 200, 64
GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
agraph (int64[batch, sequence] ids) => (float[batch, sequence, 64] y)
{
    x = Gather(table, ids)
    h = LayerNormalization(x, gain, shift)
    q = MatMul(h, wq)
    k = MatMul(h, wk)
    kt = Transpose <perm = [0, 2, 1]> (k)
    a = MatMul(q, kt)
    p = Softmax(a)
    c = MatMul(p, h)
    u = MatMul(c, wu)
    g = Gelu(u)
    d = MatMul(g, wd)
    y = Add(d, x)
}
"""


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """An attention and a feed-forward block over an embedding, with a few channels far larger than the rest."""
    random = np.random.default_rng(0)
    gain = np.ones(WIDTH, np.float32)
    gain[[3, 17]] = 30
    weights: dict[str, Any] = {
        "table": random.standard_normal((ROWS, WIDTH)),
        "gain": gain,
        "shift": np.zeros(WIDTH),
        "wq": random.standard_normal((WIDTH, WIDTH)) / 60,
        "wk": random.standard_normal((WIDTH, WIDTH)) / 60,
        "wu": random.standard_normal((WIDTH, 4 * WIDTH)) / 8,
        "wd": random.standard_normal((4 * WIDTH, WIDTH)) / 16,
    }
    parsed = onnx.parser.parse_model(GRAPH)
    arrays = {name: np.asarray(array, np.float32) for name, array in weights.items()}
    parsed.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    onnx.checker.check_model(parsed, full_check=True)
    return parsed


@pytest.fixture(scope="module")
def activations(model: onnx.ModelProto) -> dict[str, Any]:
    """What the large weights are multiplied with, for random ids."""
    names = inputs_of_products(model)
    probe = onnx.ModelProto.FromString(model.SerializeToString())
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    found = session(probe).run(names, {"ids": np.random.default_rng(1).integers(0, ROWS, (8, 16))})
    return {name: values.reshape(-1, values.shape[-1]) for name, values in zip(names, found, strict=True)}


def session(model: onnx.ModelProto) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def answer(model: onnx.ModelProto) -> Any:
    """For ids that no pass has seen."""
    return session(model).run(None, {"ids": np.random.default_rng(2).integers(0, ROWS, (3, 12))})[0]


def error(found: Any, expected: Any) -> float:
    """Relative, over all numbers."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def bytes_of(model: onnx.ModelProto) -> int:
    return len(model.SerializeToString())


def test_the_inputs_of_products(model: onnx.ModelProto) -> None:
    """Of large weights only, each once; products of activations are none."""
    assert inputs_of_products(model) == ["h", "c", "g"]


@pytest.mark.parametrize(("name", "allowed", "size"), [("fp16", 1e-3, 0.55), ("int8", 0.03, 0.35)])
def test_variants_answer_alike(
    model: onnx.ModelProto, activations: dict[str, Any], name: str, allowed: float, size: float
) -> None:
    """They are valid, much smaller, close, and the reference is left as it was."""
    before = model.SerializeToString()
    variant = NETWORK_PASSES[name][0](model, activations)
    onnx.checker.check_model(variant, full_check=True)
    assert error(answer(variant), answer(model)) < allowed
    assert bytes_of(variant) < size * bytes_of(model)
    assert model.SerializeToString() == before


def test_int8_needs_no_operator_of_a_vendor(model: onnx.ModelProto, activations: dict[str, Any]) -> None:
    """Only ONNX's own, so that other runtimes and providers can read it; products of weights are all integers."""
    variant = NETWORK_PASSES["int8"][0](model, activations)
    assert {node.domain for node in variant.graph.node} == {""}
    kinds = [node.op_type for node in variant.graph.node]
    assert (kinds.count("MatMulInteger"), kinds.count("MatMul")) == (4, 2)
    assert kinds.count("DynamicQuantizeLinear") == 3


def test_smoothing_changes_nothing_in_float32(model: onnx.ModelProto, activations: dict[str, Any]) -> None:
    """Weights make up for what activations are divided by."""
    smooth = smoothed(model, activations)
    assert error(answer(smooth), answer(model)) < 1e-6
    assert any(node.output[0].endswith("_smooth") for node in smooth.graph.node)


def test_smoothing_makes_int8_better(model: onnx.ModelProto, activations: dict[str, Any]) -> None:
    """Where a few channels are far larger than the rest. Without samples nothing is smoothed."""
    nothing = {name: rows[:0] for name, rows in activations.items()}
    plain = error(answer(NETWORK_PASSES["int8"][0](model, nothing)), answer(model))
    better = error(answer(NETWORK_PASSES["int8"][0](model, activations)), answer(model))
    assert better < 0.7 * plain


def test_a_model_on_disk(model: onnx.ModelProto, tmp_path: Path) -> None:
    """Weights lie beside the graph, aligned, equal ones once, small ones inside; equal models give equal bytes."""
    twice = onnx.ModelProto.FromString(model.SerializeToString())
    copy = numpy_helper.from_array(numpy_helper.to_array(twice.graph.initializer[0]), "table_again")
    twice.graph.initializer.append(copy)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        total = write_model(twice, tmp_path / name)
    one, two = tmp_path / "one", tmp_path / "two"
    assert total == sum(len(tensor.raw_data) for tensor in twice.graph.initializer)
    assert {file.name for file in one.iterdir()} == {"model.onnx", "weights.bin"}
    assert [(one / name).read_bytes() == (two / name).read_bytes() for name in ("model.onnx", "weights.bin")] == [
        True
    ] * 2
    assert (one / "weights.bin").stat().st_size < total
    found = check_external_data(one / "model.onnx", within=one)
    inside = {tensor.name for tensor in found.initializers if tensor.external is None}
    assert inside == {"gain", "shift"}
    offsets = {tensor.name: tensor.external.offset for tensor in found.initializers if tensor.external is not None}
    assert offsets["table"] == offsets["table_again"]
    assert all(offset % 4096 == 0 for offset in offsets.values())
    loaded = onnxruntime.InferenceSession(one / "model.onnx")
    ids = np.arange(12).reshape(1, 12)
    np.testing.assert_array_equal(loaded.run(None, {"ids": ids})[0], session(model).run(None, {"ids": ids})[0])


def test_tidying(model: onnx.ModelProto) -> None:
    """Origins in source code, unused weights and names of nodes go; a newer opset than the floor's is refused."""
    messy = onnx.ModelProto.FromString(model.SerializeToString())
    messy.graph.node[0].metadata_props.add(key="stack_trace", value="/home/someone/model.py")
    messy.graph.node[0].doc_string = "/home/someone/model.py"
    messy.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "unused"))
    messy.ir_version = 12
    clean = tidy(messy)
    assert b"someone" not in clean.SerializeToString()
    assert "unused" not in {tensor.name for tensor in clean.graph.initializer}
    assert clean.ir_version == 10
    np.testing.assert_array_equal(answer(clean), answer(model))
    messy.opset_import[0].version = 25
    with pytest.raises(ConversionError, match="expected a model of opset 21 at most, found 25"):
        tidy(messy)

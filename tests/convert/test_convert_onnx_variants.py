"""Smaller variants of ONNX files: made, judged, kept or left out; models that are small already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import numpy_helper

import ortolan
from ortolan.bundle.onnxfile import read_model
from ortolan.tasks.golden import agrees
from ortolan_convert.convert import convert
from ortolan_convert.networks import variants as network_variants
from ortolan_convert.networks.reference.quantized import already_smaller
from ortolan_convert.passes import NETWORK_PASSES
from ortolan_convert.passes.quantizing import with_initializers

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

LAYERS = """g (float[n, 64] x) => (float[n, 10] y) {
    a = MatMul(x, first)
    b = Relu(a)
    c = MatMul(b, second)
    y = Softmax(c)
}"""
CONVOLUTIONS = """g (float[n, 8, 10, 10] x) => (float[n, 64, 10, 10] y) {
    a = Conv <pads = [1, 1, 1, 1]> (x, conv)
    y = Relu(a)
}"""


def matrix(*shape: int, seed: int = 0) -> Any:
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def saved(path: Path, text: str, domains: str = "", **weights: Any) -> Path:
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17{domains}]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def layers(tmp_path: Path) -> Path:
    """A classifier of two layers."""
    return saved(tmp_path / "m.onnx", LAYERS, first=matrix(64, 256), second=matrix(256, 10, seed=1))


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A hundred and twenty inputs of it."""
    np.savez(tmp_path / "s.npz", x=matrix(120, 64, seed=2))
    return tmp_path / "s.npz"


def names(report: ConversionReport) -> list[str]:
    return [one.name for one in report.variants if one.left_out is None]


def test_a_model_gets_the_variants_that_pay(layers: Path, samples: Path, tmp_path: Path) -> None:
    """Each with its fidelity, smaller than the one before, and true to its promise when it is loaded."""
    report = convert(layers, tmp_path / "out.bundle", samples=samples)
    assert names(report) == ["fp32", "fp16", "int8"]
    sizes = [one.bytes for one in report.variants]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.4 * sizes[0]
    for variant in report.bundle.manifest.components[0].variants:
        fidelity = variant.info.fidelity
        assert (fidelity.metric, fidelity.n, fidelity.drop, fidelity.inputs) == ("tensor", 120, 0.0, "samples")
        assert variant.info.min_onnxruntime == "1.20.0"
        with ortolan.load(report.bundle.path, variant=variant.name) as model:
            assert agrees(model.check(), fidelity)
    worst = [one.fidelity.worst for one in report.variants if one.fidelity is not None]
    assert worst[0] < 1e-6 < worst[1] < worst[2] < 0.02


@pytest.mark.parametrize(
    ("quantize", "expected"), [([], ["fp32"]), (["int8"], ["fp32", "int8"]), (["fp16"], ["fp32", "fp16"])]
)
def test_the_variants_asked_for(quantize: list[str], expected: list[str], layers: Path, tmp_path: Path) -> None:
    """No others are tried."""
    assert names(convert(layers, tmp_path / "out.bundle", quantize=quantize)) == expected


def test_the_reference_is_the_file_itself(layers: Path, tmp_path: Path) -> None:
    """Where nothing has to change, whatever variants are made."""
    report = convert(layers, tmp_path / "out.bundle")
    assert (report.bundle.path / "model" / "fp32" / "model.onnx").read_bytes() == layers.read_bytes()


def test_convolutions_keep_float32_s_arithmetic(tmp_path: Path) -> None:
    """Weights of int8 say so: nobody may expect the speed of integers."""
    path = saved(tmp_path / "m.onnx", CONVOLUTIONS, conv=matrix(64, 8, 3, 3))
    report = convert(path, tmp_path / "out.bundle")
    assert names(report) == ["fp32", "fp16", "int8"]
    found = read_model(report.bundle.path / "model" / "int8" / "model.onnx")
    assert found.operators["ai.onnx::Conv"] == 1
    assert report.bundle.manifest.variant("int8").info.precision == "int8-weights"


def test_products_of_matrices_are_integers(layers: Path, tmp_path: Path) -> None:
    """And the variant is of that precision."""
    report = convert(layers, tmp_path / "out.bundle")
    found = read_model(report.bundle.path / "model" / "int8" / "model.onnx")
    assert found.operators["ai.onnx::MatMulInteger"] == 1
    assert report.bundle.manifest.variant("int8").info.precision == "int8"


def rough(model: onnx.ModelProto, rows: Any) -> onnx.ModelProto:
    """A pass that gets everything wrong."""
    made = onnx.ModelProto.FromString(model.SerializeToString())
    weights = numpy_helper.to_array(made.graph.initializer[1])
    made.graph.initializer[1].CopyFrom(numpy_helper.from_array(-weights, made.graph.initializer[1].name))
    return made


def test_integers_that_change_too_much_give_way_to_weights_alone(
    layers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where products of integers change too many answers, weights of int8 may not; the report says so."""
    forms = (rough, NETWORK_PASSES["int8"][1])
    monkeypatch.setattr(network_variants, "NETWORK_PASSES", {"int8": forms})
    report = convert(layers, tmp_path / "out.bundle", quantize=["int8"])
    assert names(report) == ["fp32", "int8"]
    said = "int8 computes in float32: in integers it changes 100.00% of the answers, more than the allowed 1.00%"
    assert said in report.warnings
    assert report.bundle.manifest.variant("int8").info.precision == "int8-weights"


def test_a_variant_that_changes_too_much_is_left_out(
    layers: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is in the report and among the warnings."""
    monkeypatch.setattr(network_variants, "NETWORK_PASSES", {"int8": (rough,)})
    report = convert(layers, tmp_path / "out.bundle", samples=samples, quantize=["int8"])
    assert names(report) == ["fp32"]
    reason = "it changes 100.00% of the answers, more than the allowed 1.00%"
    assert report.variants[1].left_out == reason
    assert f"int8 was left out: {reason}" in report.warnings


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weights: weights * np.float32(np.nan), "its answers are not finite"),
        (lambda weights: weights[:, :9], "onnxruntime cannot run it: "),
        (lambda weights: weights, "of fp32's size, which does not pay"),
    ],
)
def test_variants_that_are_none(
    change: Any, reason: str, layers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers that are no numbers, a graph that does not load or does not fit the task, a file as large as before."""

    def broken(model: onnx.ModelProto, rows: Any) -> onnx.ModelProto:
        made = onnx.ModelProto.FromString(model.SerializeToString())
        second = next(one for one in made.graph.initializer if one.name == "second")
        second.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(second))), "second"))
        if reason.startswith("onnxruntime"):
            made.graph.node[0].op_type = "Nothing"
        return made

    monkeypatch.setattr(network_variants, "NETWORK_PASSES", {"int8": (broken,)})
    report = convert(layers, tmp_path / "out.bundle", quantize=["int8"], max_drop=1.0)
    assert reason in str(report.variants[1].left_out)


def test_too_few_samples_for_the_drop(layers: Path, tmp_path: Path) -> None:
    """Twenty cannot show one percent; where no variant was wanted, nobody asks."""
    np.savez(tmp_path / "s.npz", x=matrix(20, 64, seed=2))
    report = convert(layers, tmp_path / "out.bundle", samples=tmp_path / "s.npz")
    few = "20 samples cannot show a drop of 1.00%; give at least 100"
    assert few in report.warnings
    report = convert(layers, tmp_path / "two.bundle", samples=tmp_path / "s.npz", quantize=[])
    assert few not in report.warnings


def test_labels_are_what_counts_where_a_task_gives_them(layers: Path, tmp_path: Path) -> None:
    """Numbers may move as long as every row keeps its label."""
    config = {
        "columns": {"features": [{"name": f"x{i}"} for i in range(64)], "input": "x"},
        "probabilities": "y",
        "labels": list(range(10)),
    }
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"task": "tabular-classification", "config": config}))
    report = convert(layers, tmp_path / "out.bundle", config=tmp_path / "task.yaml")
    metrics = {one.name: one.fidelity.metric for one in report.variants if one.fidelity is not None}
    assert metrics["fp16"] == metrics["int8"] == "label"


QUANTIZED = {
    "operators of ONNX": (
        """g (float[n, 64] x) => (float[n, 96] y) {
            q, s, z = DynamicQuantizeLinear(x)
            i = MatMulInteger(q, w, z)
            f = Cast <to = 1> (i)
            y = Mul(f, s)
        }""",
        "by its operators DynamicQuantizeLinear (1), MatMulInteger (1)",
    ),
    "quantize and dequantize": (
        """g (float[n, 64] x) => (float[n, 96] y) {
            f = DequantizeLinear(w, scale)
            y = MatMul(x, f)
        }""",
        "by its operators DequantizeLinear (1)",
    ),
    "operators of Microsoft": (
        """g (float[n, 64] x) => (float[n, 96] y) {
            y = com.microsoft.DynamicQuantizeMatMul(x, w, scale)
        }""",
        "by its operators DynamicQuantizeMatMul (1)",
    ),
    "integers behind Cast and Mul": (
        """g (float[n, 64] x) => (float[n, 96] y) {
            f = Cast <to = 1> (w)
            s = Mul(f, scale)
            y = MatMul(x, s)
        }""",
        "1 weights are integers behind Cast and Mul",
    ),
    "integers with a zero point behind Cast, Sub and Mul": (
        """g (float[n, 64] x) => (float[n, 96] y) {
            f = Cast <to = 1> (w)
            c = Sub(f, scale)
            s = Mul(c, scale)
            y = MatMul(x, s)
        }""",
        "1 weights are integers behind Cast and Mul",
    ),
}


@pytest.mark.parametrize("name", list(QUANTIZED))
def test_quantized_models_are_not_quantized_again(name: str, tmp_path: Path) -> None:
    """The report says how it was seen; the one variant is called int8."""
    text, seen = QUANTIZED[name]
    weights = np.random.default_rng(0).integers(-127, 128, (64, 96), np.int8)
    path = saved(tmp_path / "m.onnx", text, ', "com.microsoft" : 1', w=weights, scale=np.float32(0.01))
    report = convert(path, tmp_path / "out.bundle")
    assert names(report) == [one.name for one in report.variants] == ["int8"]
    (note,) = (warning for warning in report.warnings if "quantized" in warning)
    assert note.startswith("no smaller variants were made: the model is already quantized")
    assert seen in note


def test_block_quantized_weights_are_of_four_bits(tmp_path: Path) -> None:
    """MatMulNBits packs two in a byte."""
    text = """g (float[n, 64] x) => (float[n, 256] y) {
        y = com.microsoft.MatMulNBits <K = 64, N = 256, bits = 4, block_size = 32> (x, w, scales)
    }"""
    random = np.random.default_rng(0)
    packed, scales = random.integers(0, 256, (256, 2, 16), np.uint8), random.random(512, np.float32)
    path = saved(tmp_path / "m.onnx", text, ', "com.microsoft" : 1', w=packed, scales=scales)
    report = convert(path, tmp_path / "out.bundle")
    assert names(report) == ["int4"]
    assert any("MatMulNBits (1)" in warning for warning in report.warnings)


@pytest.mark.parametrize(("dtype", "name", "title"), [(np.float16, "fp16", "float16"), (np.float64, "fp64", "float64")])
def test_models_of_other_floats_are_left_alone(dtype: Any, name: str, title: str, tmp_path: Path) -> None:
    """Only weights of float32 are made smaller."""
    kind = {"float16": "float16", "float64": "double"}[title]
    text = f"g ({kind}[n, 64] x) => ({kind}[n, 256] y) {{ y = MatMul(x, w) }}"
    report = convert(saved(tmp_path / "m.onnx", text, w=matrix(64, 256).astype(dtype)), tmp_path / "out.bundle")
    assert names(report) == [name]
    assert f"no smaller variants were made: most of the model's weights are {title}" in "\n".join(report.warnings)


def test_ordinary_models_are_not_taken_for_quantized() -> None:
    """Masks and small integers behind Cast and Mul are no weights."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[n, 64] x) => (float[n, 64] y) {
            f = Cast <to = 1> (mask)
            y = Mul(x, f)
        }"""
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones(64, np.int8), "mask"))
    assert already_smaller(with_initializers(model)) is None

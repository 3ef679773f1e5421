"""ONNX files of others made sound: versions, shapes, functions, needless nodes, and what is refused."""

from __future__ import annotations

import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ortolan
from ortolan.bundle.onnxfile import read_model
from ortolan.errors import ConversionError, InputError, UnsupportedError
from ortolan_convert.convert import convert
from ortolan_convert.networks import weight_file
from ortolan_convert.networks.reference import oldest, refine, simplify
from ortolan_convert.networks.reference.oldest import from_operators

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.report import ConversionReport


def saved(path: Path, text: str, *, ir: int = 8, opset: int = 17, domains: str = "", **weights: Any) -> Path:
    """A model of ONNX text, with weights by name."""
    model = onnx.parser.parse_model(f'<ir_version: {ir}, opset_import: ["" : {opset}{domains}]>\n{text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items())
    path.write_bytes(model.SerializeToString())
    return path


def matrix(*shape: int) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def reference(report: ConversionReport, name: str = "fp32") -> Path:
    return report.bundle.path / "model" / name / "model.onnx"


def answers(path: Path, feeds: dict[str, Any]) -> dict[str, Any]:
    with ortolan.load(path) as model:
        return dict(model.run(feeds))


def notes(report: ConversionReport) -> str:
    return "\n".join(report.warnings)


def test_an_old_model_is_brought_up(tmp_path: Path) -> None:
    """Axes that were attributes become inputs; it answers the same, and the report says so."""
    path = saved(
        tmp_path / "m.onnx",
        """g (float[n, 3] x) => (float[n, 1, 2] y) {
            a = MatMul(x, w)
            b = Unsqueeze <axes = [1]> (a)
            y = Clip <min = -1.0, max = 1.0> (b)
        }""",
        opset=9,
        ir=4,
        w=matrix(3, 2),
    )
    report = convert(path, tmp_path / "out.bundle")
    assert "converted from opset 9, IR version 4 to opset 17, IR version 8; it answers the same" in notes(report)
    assert read_model(reference(report)).opsets == {"ai.onnx": 17}
    x = matrix(4, 3)
    np.testing.assert_array_equal(answers(reference(report), {"x": x})["y"], answers(path, {"x": x})["y"])


def test_an_old_model_that_cannot_be_converted_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is a note, and the file is kept byte for byte."""

    def fails(model: Any, version: int) -> Any:
        raise RuntimeError(f"no adapter to {version}")

    monkeypatch.setattr(onnx.version_converter, "convert_version", fails)
    path = saved(
        tmp_path / "m.onnx", "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }", opset=9, w=matrix(3, 2)
    )
    report = convert(path, tmp_path / "out.bundle")
    assert (
        "the model stays at opset 9, IR version 8: ONNX's converter from opset 9 to 17 fails: no adapter to 17"
        in notes(report)
    )
    assert reference(report).read_bytes() == path.read_bytes()


def test_a_conversion_that_answers_otherwise_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converted models are compared with the ones before."""

    def wrong(model: Any, version: int) -> Any:
        made = onnx.ModelProto.FromString(model.SerializeToString())
        made.opset_import[0].version = version
        made.graph.initializer[0].CopyFrom(numpy_helper.from_array(matrix(3, 2) + 1, "w"))
        return made

    monkeypatch.setattr(onnx.version_converter, "convert_version", wrong)
    path = saved(
        tmp_path / "m.onnx", "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }", opset=9, w=matrix(3, 2)
    )
    report = convert(path, tmp_path / "out.bundle")
    assert "what ONNX's converter makes of it answers otherwise" in notes(report)
    assert reference(report).read_bytes() == path.read_bytes()


def test_an_operator_of_a_newer_opset_raises_the_oldest_runtime(tmp_path: Path) -> None:
    """What came after opset 21 cannot be written with it: the model stays, and the report says what it needs."""
    text = "g (float[n, 8] x) => (float[n, 8] y) { y = RMSNormalization(x, w) }"
    report = convert(saved(tmp_path / "m.onnx", text, opset=23, ir=11, w=np.ones(8, np.float32)), tmp_path / "o.bundle")
    assert report.bundle.manifest.variant("fp32").info.min_onnxruntime == "1.23.0"
    assert "the model stays at opset 23, IR version 11: RMSNormalization changed since opset 21" in notes(report)


FREE = "g (float[batch, 3] x) => (float{declared} y) {{ a = MatMul(x, w)  y = Relu(a) }}"


@pytest.mark.parametrize(
    ("declared", "right"),
    [
        ("[1, 2]", ["batch", 2]),
        ("[batch, 5]", ["batch", 2]),
        ("[batch, batch]", ["batch", 2]),
        ("[2]", ["batch", 2]),
        ("[batch, 2, 1]", ["batch", 2]),
        ("[]", ["batch", 2]),
    ],
)
def test_wrong_shapes_of_outputs_are_found_by_running(declared: str, right: list[Any], tmp_path: Path) -> None:
    """A size that is free though declared fixed, another size, a wrong rank, none: corrected, and said."""
    path = saved(tmp_path / "m.onnx", FREE.format(declared=declared), w=matrix(3, 2))
    report = convert(path, tmp_path / "out.bundle")
    (output,) = read_model(reference(report)).outputs
    assert list(output.shape or ()) == right
    assert "output y: " in notes(report)
    assert "what comes out is [batch, 2]" in notes(report) or "its rank was not declared" in notes(report)


@pytest.mark.parametrize("declared", ["[batch, 2]", "[n, 2]", "[batch, k]", "[?, 2]"])
def test_right_shapes_stay(declared: str, tmp_path: Path) -> None:
    """Other names for what is free are no error: the file is kept byte for byte."""
    path = saved(tmp_path / "m.onnx", FREE.format(declared=declared), w=matrix(3, 2))
    report = convert(path, tmp_path / "out.bundle")
    assert reference(report).read_bytes() == path.read_bytes()
    assert "output y" not in notes(report)


def test_an_input_declared_free_that_is_not(tmp_path: Path) -> None:
    """A graph that works for one size only is declared with it."""
    text = "g (float[batch, 4] x) => (float[batch, 4] y) { a = Reshape(x, shape)  y = Mul(a, w) }"
    path = saved(tmp_path / "m.onnx", text, shape=np.array([1, 4]), w=matrix(1, 4))
    report = convert(path, tmp_path / "out.bundle")
    assert "input x: its dimension batch was declared free, but the model takes 1 only" in notes(report)
    found = read_model(reference(report))
    assert [spec.shape for spec in (*found.inputs, *found.outputs)] == [(1, 4), (1, 4)]
    with ortolan.load(report.bundle.path) as model, pytest.raises(InputError):
        model.run({"x": matrix(2, 4)})


def test_axes_that_must_be_equal_are_free_together(tmp_path: Path) -> None:
    """Two inputs whose batch axes have different names: neither works alone with another size, both are free."""
    text = "g (float[n, 4] x, float[m, 4] h) => (float[n, 4] y) { a = Concat <axis = 1> (x, h)  y = MatMul(a, w) }"
    path = saved(tmp_path / "m.onnx", text, w=matrix(8, 4))
    report = convert(path, tmp_path / "out.bundle")
    assert report.bundle.manifest.dims == {"m": 1, "n": 1}
    assert reference(report).read_bytes() == path.read_bytes()


def test_an_input_of_unknown_rank_is_declared_by_the_samples(tmp_path: Path) -> None:
    """Without samples it is refused."""
    model = onnx.load(
        saved(tmp_path / "m.onnx", "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }", w=matrix(3, 2))
    )
    model.graph.input[0].type.tensor_type.ClearField("shape")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(UnsupportedError, match="its rank is not declared; give inputs with --samples"):
        convert(tmp_path / "m.onnx", tmp_path / "out.bundle")
    np.savez(tmp_path / "s.npz", x=matrix(20, 1, 3))
    report = convert(tmp_path / "m.onnx", tmp_path / "out.bundle", samples=tmp_path / "s.npz")
    assert "input x: its rank was not declared" in notes(report)
    shape = read_model(reference(report)).inputs[0].shape
    assert shape is not None
    assert len(shape) in {2, 3}


def test_shapes_within_that_contradict_the_operators_go(tmp_path: Path) -> None:
    """They are left out, which onnxruntime does with a warning at every load."""
    path = saved(tmp_path / "m.onnx", FREE.format(declared="[batch, 2]"), w=matrix(3, 2))
    model = onnx.load(path)
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [9, 9]))
    path.write_bytes(model.SerializeToString())
    report = convert(path, tmp_path / "out.bundle")
    assert "shapes declared within the graph contradict its operators; they are left out" in notes(report)
    assert not onnx.load(reference(report)).graph.value_info


def test_operators_of_a_library_are_refused_by_name(tmp_path: Path) -> None:
    """Operator, domain and node are named, before onnxruntime sees the model."""
    text = "g (float[n, 3] x) => (float[n, 3] y) { a = acme.fast.Norm(x)  y = acme.fast.Gelu(a) }"
    path = saved(tmp_path / "m.onnx", text, domains=', "acme.fast" : 1')
    with pytest.raises(UnsupportedError) as caught:
        convert(path, tmp_path / "out.bundle")
    assert "no onnxruntime has the operators acme.fast::Norm (node 'a'), acme.fast::Gelu (node 'y')" in str(
        caught.value
    )


def test_functions_of_the_model_s_own_are_written_out(tmp_path: Path) -> None:
    """A domain of somebody's own is fine if the model brings what it means."""
    path = tmp_path / "m.onnx"
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[n, 3] x) => (float[n, 3] y) { y = own.twice(x) }
        <domain: "own", opset_import: ["" : 17]> twice (a) => (b) { b = Add(a, a) }"""
    )
    path.write_bytes(model.SerializeToString())
    report = convert(path, tmp_path / "out.bundle")
    written = onnx.load(reference(report))
    assert not written.functions
    assert [node.op_type for node in written.graph.node] == ["Add"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("constant", [False, True])
def test_weights_that_are_no_numbers_are_refused(value: float, constant: bool, tmp_path: Path) -> None:
    """The tensor is named, wherever it is kept."""
    weights = matrix(3, 2)
    weights[1, 1] = value
    path = saved(tmp_path / "m.onnx", "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }", w=weights)
    if constant:
        model = onnx.load(path)
        node = helper.make_node("Constant", [], ["w"], value=model.graph.initializer[0])
        nodes = [node, *model.graph.node]
        copies = [onnx.NodeProto.FromString(one.SerializeToString()) for one in nodes]
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(copies)
        path.write_bytes(model.SerializeToString())
    with pytest.raises(ConversionError, match=r"weight 'w' of MatMul: 1 of 6 numbers are NaN or infinite"):
        convert(path, tmp_path / "out.bundle")


def test_infinities_that_are_masks_are_none(tmp_path: Path) -> None:
    """Attention masks hold minus infinity: only weights of layers must be finite."""
    text = "g (float[n, 3] x) => (float[n, 3] y) { a = Add(x, mask)  y = Softmax(a) }"
    assert convert(saved(tmp_path / "m.onnx", text, mask=np.float32([0, -np.inf, 0])), tmp_path / "o.bundle").variants


BRANCH = """g (float[n, 3] x) => (float[n, 2] y) {
    never = Constant <value = bool {0}> ()
    a = If (never) <
        then_branch = yes () => (float[n, 2] b) { b = MatMul(x, v) },
        else_branch = no () => (float[n, 2] c) { c = MatMul(x, w) }
    >
    s = Shape(a)
    t = Identity(s)
    y = Reshape(a, t)
}"""


def test_a_branch_that_is_never_taken_goes(tmp_path: Path) -> None:
    """The graph has fewer nodes, answers the same, and the report says so."""
    path = saved(tmp_path / "m.onnx", BRANCH, v=matrix(3, 2), w=matrix(3, 2) + 1)
    report = convert(path, tmp_path / "out.bundle")
    kept = onnx.load(reference(report))
    assert "If" not in {node.op_type for node in kept.graph.node}
    assert "; it answers the same" in notes(report)
    x = matrix(5, 3)
    np.testing.assert_allclose(answers(reference(report), {"x": x})["y"], answers(path, {"x": x})["y"], rtol=1e-6)


def test_a_simpler_graph_that_answers_otherwise_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is believed: not even for sizes that no sample has."""

    def fixed(path: Path, model: onnx.ModelProto, size: int, room: Path) -> onnx.ModelProto:
        made = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 3] x) => (float[n, 2] y) {'
            "shape = Constant <value = int64[2] {1, 2}> () a = MatMul(x, w) y = Reshape(a, shape) }"
        )
        made.graph.initializer.append(numpy_helper.from_array(matrix(3, 2) + 1, "w"))
        return made

    monkeypatch.setattr(refine, "simplified", fixed)
    path = saved(tmp_path / "m.onnx", BRANCH, v=matrix(3, 2), w=matrix(3, 2) + 1)
    report = convert(path, tmp_path / "out.bundle")
    assert reference(report).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "raise SystemExit(3)", "open(sys.argv[2], 'w')"])
def test_a_simplifier_that_hangs_or_fails(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is stopped in time, and the model stays as it is."""
    monkeypatch.setattr(simplify, "SECONDS", 2)
    monkeypatch.setattr(simplify, "_PROGRAM", "import sys\n" + program)
    path = saved(tmp_path / "m.onnx", BRANCH, v=matrix(3, 2), w=matrix(3, 2) + 1)
    report = convert(path, tmp_path / "out.bundle")
    assert reference(report).read_bytes() == path.read_bytes()
    assert {entry.name for entry in tmp_path.iterdir()} == {"m.onnx", "out.bundle"}


def test_large_weights_lie_beside_the_graph(tmp_path: Path) -> None:
    """From a mebibyte on, where onnxruntime maps them into memory; the answers are the file's."""
    path = saved(
        tmp_path / "m.onnx", "g (float[n, 512] x) => (float[n, 512] y) { y = MatMul(x, w) }", w=matrix(512, 512)
    )
    report = convert(path, tmp_path / "out.bundle", quantize=[])
    assert read_model(reference(report)).external_files == ("weights.bin",)
    x = matrix(2, 512)
    np.testing.assert_array_equal(answers(report.bundle.path, {"x": x})["y"], answers(path, {"x": x})["y"])


def test_equal_models_give_equal_bundles(tmp_path: Path) -> None:
    """Nothing of when or where it was made gets in, with variants too."""
    text = "g (float[n, 512] x) => (float[n, 512] y) { y = MatMul(x, w) }"
    path = saved(tmp_path / "m.onnx", text, w=matrix(512, 512))
    first, second = (
        convert(path, tmp_path / name / "o.bundle") for name in ("a", "b") if not (tmp_path / name).mkdir()
    )
    assert first.bundle.digest == second.bundle.digest


def test_a_model_with_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has its weights beside it keeps them there, and so have its variants."""
    monkeypatch.setattr(weight_file, "BESIDE", 1 << 18)
    text = "g (float[n, 512] x) => (float[n, 512] y) { y = MatMul(x, w) }"
    model = onnx.load(saved(tmp_path / "small.onnx", text, w=matrix(512, 512)))
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    report = convert(tmp_path / "m.onnx", tmp_path / "out.bundle")
    assert [one.name for one in report.variants if one.left_out is None] == ["fp32", "fp16", "int8"]
    for one in report.variants:
        found = read_model(reference(report, one.name))
        assert found.external_files
        assert reference(report, one.name).stat().st_size < 1 << 16


def interpreter(path: Path, version: str, *, runs: bool) -> str:
    """A stand-in for a Python with another onnxruntime."""
    path.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps({'version': version, 'runs': runs}))})\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.parametrize(
    ("tried", "expected", "said"),
    [
        ({"1.20.1": True, "1.23.2": True}, "1.20.0", False),
        ({"1.20.1": False, "1.23.2": True}, "1.23.2", True),
        ({"1.20.1": True, "1.23.2": False, "1.26.0": True}, "1.26.0", True),
        ({}, "1.20.0", False),
    ],
)
def test_the_oldest_runtime_is_found_by_trying(
    tried: dict[str, bool], expected: str, said: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old versions that are at hand load and run the model; from the oldest on, all that were tried must."""
    names = [interpreter(tmp_path / version, version, runs=runs) for version, runs in tried.items()]
    monkeypatch.setenv(oldest.INTERPRETERS, os.pathsep.join([*names, "/absent/python"]))
    path = saved(tmp_path / "m.onnx", "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }", w=matrix(3, 2))
    report = convert(path, tmp_path / "out.bundle")
    assert report.bundle.manifest.variant("fp32").info.min_onnxruntime == expected
    assert ("was tried and does not run the model" in notes(report)) == said


def test_this_interpreter_runs_the_model_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is run in the other interpreter is a real session on a real sample."""
    monkeypatch.setenv(oldest.INTERPRETERS, sys.executable)
    path = saved(tmp_path / "m.onnx", "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }", w=matrix(3, 2))
    ((_, good),) = oldest._tried(path, _sample(tmp_path / "s.npz", matrix(2, 3)))
    ((_, bad),) = oldest._tried(path, _sample(tmp_path / "s.npz", matrix(2, 4)))
    assert (good, bad) == (True, False)


def _sample(path: Path, array: Any) -> Path:
    np.savez(path, **{"0": array})
    return path


def test_the_oldest_runtime_follows_from_operators(tmp_path: Path) -> None:
    """Operators that came with a later onnxruntime raise it, whatever the opset."""
    trees = saved(
        tmp_path / "m.onnx",
        "g (float[n, 3] x) => (float[n, 1] y) { y = ai.onnx.ml.TreeEnsemble(x) }",
        domains=', "ai.onnx.ml" : 5',
    )
    assert from_operators(read_model(trees)) == "1.21.0"
    attention = saved(
        tmp_path / "a.onnx",
        "g (float[n, 3] x) => (float[n, 3] y) { y = com.microsoft.LinearAttention(x) }",
        domains=', "com.microsoft" : 1',
    )
    assert from_operators(read_model(attention)) == "1.26.0"
    gelu = saved(
        tmp_path / "b.onnx",
        "g (float[n, 3] x) => (float[n, 3] y) { y = com.microsoft.Gelu(x) }",
        domains=', "com.microsoft" : 1',
    )
    assert from_operators(read_model(gelu)) == "1.20.0"


def test_an_objection_of_the_checker_is_passed_on(tmp_path: Path) -> None:
    """What onnxruntime runs all the same is converted with a warning."""
    text = "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }"
    model = onnx.load(saved(tmp_path / "m.onnx", text, w=matrix(3, 2)))
    model.graph.name = ""
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    report = convert(tmp_path / "m.onnx", tmp_path / "out.bundle")
    assert "onnxruntime runs the model, but ONNX's own checker objects: " in notes(report)


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    """Maps and sequences: the output is named, and how to export without."""
    text = "g (float[n, 3] x) => (seq(float[3]) y) { y = SplitToSequence <axis = 0, keepdims = 0> (x) }"
    with pytest.raises(UnsupportedError, match=r"found output 'y', a sequence; export .*'zipmap': False"):
        convert(saved(tmp_path / "m.onnx", text), tmp_path / "out.bundle")


def test_a_model_without_large_weights_has_no_variants(tmp_path: Path) -> None:
    """One sentence says so."""
    text = "g (float[n, 3] x) => (float[n, 2] y) { y = MatMul(x, w) }"
    report = convert(saved(tmp_path / "m.onnx", text, w=matrix(3, 2)), tmp_path / "out.bundle")
    assert [one.name for one in report.variants] == ["fp32"]
    assert "no smaller variants were made: the model has no weights of 4096 numbers of float32 or more" in notes(report)


@pytest.mark.parametrize(
    "text",
    [
        "g (float[n, 5] x) => (int64[2, k] y) { y = NonZero(x) }",
        "g (float[n, 5] x) => (float[n, 5] y) { y = Log(x) }",
        "g () => (float[2] y) { y = Constant <value = float[2] {1.0, 2.0}> () }",
        "g (float[n, 5] x) => (float[n, 5] y) { y = RandomNormalLike(x) }",
    ],
    ids=["sizes that follow from data", "answers that are no numbers", "no inputs", "random answers"],
)
def test_odd_models(text: str, tmp_path: Path) -> None:
    """They are what they are: kept byte for byte."""
    path = saved(tmp_path / "m.onnx", text)
    assert reference(convert(path, tmp_path / "out.bundle")).read_bytes() == path.read_bytes()

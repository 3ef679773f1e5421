"""Foreign ONNX files to bundles of task tensor."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ortolan
from ortolan.errors import (
    ConversionError,
    InputError,
    ManifestError,
    ModelFileError,
    StorageError,
    UnknownNameError,
    UsageError,
)
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from pathlib import Path


def _save(path: Path, *, opset: int = 17, ir_version: int = 8, **options: Any) -> Path:
    """A linear layer [batch, 3] -> [batch, 2]."""
    weights = numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(3, 2), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
    onnx.save(model, path, **options)
    return path


def _lookup(path: Path, rows: int) -> Path:
    """An embedding table of some rows: indices beyond it fail."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 2])],
        [numpy_helper.from_array(np.ones((rows, 2), np.float32), "table")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_foreign_model_becomes_a_tensor_bundle(tmp_path: Path) -> None:
    """The file is kept as it is, answers through the bundle, and passes its own golden samples."""
    path = _save(tmp_path / "m.onnx")
    report = convert(path, tmp_path / "out.bundle")
    assert report.task == "tensor"
    assert (tmp_path / "out.bundle" / "model" / "fp32" / "model.onnx").read_bytes() == path.read_bytes()
    with ortolan.load(report.bundle.path) as model:
        x = np.ones((2, 3), np.float32)
        assert np.array_equal(model.run({"x": x})["y"], x @ np.arange(6, dtype=np.float32).reshape(3, 2))
        checked = model.check()
        assert (checked.n, checked.drop) == (16, 0.0)


@pytest.mark.parametrize(("opset", "ir_version"), [(13, 7), (21, 10), (22, 10), (21, 11), (24, 10), (25, 13)])
def test_newer_versions_are_brought_to_the_floor(opset: int, ir_version: int, tmp_path: Path) -> None:
    """Operators that did not change since, and a file format whose news are not used, run on the oldest onnxruntime."""
    path = _save(tmp_path / "m.onnx", opset=opset, ir_version=ir_version)
    report = convert(path, tmp_path / "out.bundle")
    assert report.bundle.manifest.variant("fp32").info.min_onnxruntime == "1.20.0"
    kept = (tmp_path / "out.bundle" / "model" / "fp32" / "model.onnx").read_bytes()
    assert (kept == path.read_bytes()) == (opset <= 21 and ir_version <= 10)


def test_external_data_stays_beside_the_model(tmp_path: Path) -> None:
    """Weights in a file of their own are copied with the model and counted among its sources."""
    path = _save(tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    report = convert(path, tmp_path / "out.bundle")
    assert (tmp_path / "out.bundle" / "model" / "fp32" / "m.bin").read_bytes() == (tmp_path / "m.bin").read_bytes()
    assert [source.name for source in report.provenance.sources] == ["m.onnx", "m.bin"]


@pytest.mark.parametrize("location", ["../m.bin", "/etc/hostname", "absent.bin"])
def test_external_data_elsewhere_is_refused(location: str, tmp_path: Path) -> None:
    """Data outside the model's directory, or missing, is an error before onnxruntime sees the model."""
    (tmp_path / "m.bin").write_bytes(bytes(64))
    (tmp_path / "in").mkdir()
    path = _save(tmp_path / "in" / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError):
        convert(path, tmp_path / "out.bundle")


def test_samples_by_input_name(tmp_path: Path) -> None:
    """A .npz gives the golden inputs, along a free batch axis or in front of the input's axes."""
    path = _save(tmp_path / "m.onnx")
    np.savez(tmp_path / "s.npz", x=np.random.default_rng(0).random((20, 3), np.float32))
    report = convert(path, tmp_path / "out.bundle", samples=tmp_path / "s.npz")
    assert report.variants[0].fidelity is not None
    assert (report.variants[0].fidelity.n, report.variants[0].fidelity.inputs) == (20, "samples")
    np.save(tmp_path / "s.npy", np.ones((17, 2, 3), np.float32))
    report = convert(path, tmp_path / "two.bundle", samples=tmp_path / "s.npy")
    assert report.variants[0].fidelity is not None
    assert report.variants[0].fidelity.n == 17


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.ones((2, 3), np.float32)}, "expected arrays x, found z"),
        ({"x": np.ones((2, 3))}, "input x: expected float32, found float64"),
        ({"x": np.ones((2, 4), np.float32)}, "a sample has the shape (1, 4)"),
        ({"x": np.ones(3, np.float32)}, "expected 2 axes or one more, found shape (3,)"),
        ({"x": np.ones((0, 3), np.float32)}, "array 'x' holds no samples"),
    ],
)
def test_samples_that_do_not_fit(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Names, types and shapes are checked before the model runs."""
    np.savez(tmp_path / "s.npz", **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        convert(_save(tmp_path / "m.onnx"), tmp_path / "out.bundle", samples=tmp_path / "s.npz")


def test_texts_for_a_tensor_model_are_refused(tmp_path: Path) -> None:
    """A .csv is no source of arrays."""
    (tmp_path / "s.csv").write_text("text\na\n")
    with pytest.raises(InputError, match=r"this model takes arrays; expected samples as \.npy or \.npz"):
        convert(_save(tmp_path / "m.onnx"), tmp_path / "out.bundle", samples=tmp_path / "s.csv")


def test_indices_are_made_up_small_if_need_be(tmp_path: Path) -> None:
    """A small table refuses large indices, so smaller ones are tried; an empty one asks for samples."""
    assert convert(_lookup(tmp_path / "m.onnx", 5), tmp_path / "out.bundle").task == "tensor"
    with pytest.raises(InputError, match="give real ones with --samples"):
        convert(_lookup(tmp_path / "m.onnx", 1), tmp_path / "two.bundle")


def test_a_task_file_names_the_usual_sizes(tmp_path: Path) -> None:
    """The sizes in TASK.yaml become the bundle's nominal dimensions."""
    (tmp_path / "task.yaml").write_text("task: tensor\ndims:\n  batch: 5\n")
    report = convert(_save(tmp_path / "m.onnx"), tmp_path / "out.bundle", config=tmp_path / "task.yaml", task="tensor")
    assert report.bundle.manifest.dims == {"batch": 5}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("[1]", UsageError, "expected keys and values, found list"),
        ("a: [", UsageError, "not well-formed YAML"),
        ("!!python/object/apply:os.system [ls]", UsageError, "not well-formed YAML"),
        ("sizes: 1", UsageError, "sizes: unknown key; known: task, dims"),
        ("task: 3", UsageError, "task: expected a name, found int"),
        ("dims: 3", UsageError, "dims: expected names and sizes, found int"),
        ("dims: {batch: true}", UsageError, "dims.batch: expected a whole number of at least 1, found True"),
        ("dims: {height: 3}", UsageError, "dims.height: the model has no such free dimension; it has: batch"),
        ("task: tensors", UnknownNameError, "unknown task 'tensors'; did you mean 'tensor'?"),
        ("task: clustering", ManifestError, "task.config.clusters: expected an int of 1 or more, found None"),
        ("config: [1]", UsageError, "config: expected keys and values, found list"),
        ("assets: {a: 1}", UsageError, "assets: expected names and files"),
        (
            "assets: {a: missing.json}",
            StorageError,
            "assets.a: missing.json: cannot be read: No such file or directory",
        ),
    ],
)
def test_task_files_that_are_wrong(text: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    """Each fault of TASK.yaml is one line with the path of the value."""
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(error) as caught:
        convert(_save(tmp_path / "m.onnx"), tmp_path / "out.bundle", config=tmp_path / "task.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_task_file(tmp_path: Path) -> None:
    """The path is named."""
    with pytest.raises(StorageError, match=r"absent\.yaml: cannot be read"):
        convert(_save(tmp_path / "m.onnx"), tmp_path / "out.bundle", config=tmp_path / "absent.yaml")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_model_is_one_line(share: float, tmp_path: Path) -> None:
    """An ONNX file cut short is a model file error, and nothing is written."""
    path = _save(tmp_path / "m.onnx")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises((ModelFileError, ConversionError)) as caught:
        convert(path, tmp_path / "out.bundle")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_pipeline_and_an_onnx_file_do_not_mix(sentiment: Path, tmp_path: Path) -> None:
    """An ONNX file is converted alone."""
    with pytest.raises(ConversionError, match="an ONNX model is converted alone, found 2 artifacts"):
        convert([sentiment, _save(tmp_path / "m.onnx")], tmp_path / "out.bundle", trust=True)


def test_without_onnxruntime_the_error_names_the_extra(tmp_path: Path) -> None:
    """An ONNX file is run when it is converted; without onnxruntime the error says what to install."""
    script = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from ortolan_convert.convert import convert\n"
        "from ortolan.errors import MissingPackageError\n"
        "try:\n    convert(sys.argv[1], sys.argv[2])\n"
        "except MissingPackageError as error:\n    print(error)\n"
    )
    arguments = [sys.executable, "-c", script, str(_save(tmp_path / "model.onnx")), str(tmp_path / "out.bundle")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("onnxruntime is needed to convert this artifact")
    assert "pip install 'ortolan[convert]'" in done.stdout


def test_how_a_framework_reads_the_network_is_not_used(tmp_path: Path) -> None:
    """A description shared with the framework's own artifact fits, and the report says what of it was not used."""
    (tmp_path / "task.yaml").write_text("source: {signature: a}\n")
    report = convert(_save(tmp_path / "m.onnx"), tmp_path / "out.bundle", config=tmp_path / "task.yaml")
    assert any("source: an ONNX file says itself how it is read; signature not used" in one for one in report.warnings)

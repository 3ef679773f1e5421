"""Bad input of every kind ends in one typed line that says what to do: nothing is written, and nothing in it runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ortolan.errors import (
    ConversionError,
    InputError,
    MissingPackageError,
    ModelFileError,
    OrtolanError,
    StorageError,
    TrustRequiredError,
    UnsupportedError,
    UsageError,
)
from ortolan_convert.convert import convert
from ortolan_convert.sources.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HEAVY = ("torch", "tensorflow", "xgboost", "lightgbm", "catboost", "transformers", "tf2onnx", "onnxscript", "h5py")
"""Modules that these tests do without, also where they are installed."""


class Canary:
    """Leaves a directory behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The large training frameworks are not installed."""
    for name in HEAVY:
        monkeypatch.setitem(sys.modules, name, None)


def _refused(path: Path, place: Path, **options: Any) -> OrtolanError:
    """The error of a conversion into an empty directory, which stays empty."""
    room = place / "room"
    room.mkdir()
    with pytest.raises(OrtolanError) as caught:
        convert(path, room / "out.bundle", **options)
    assert not list(room.iterdir())
    room.rmdir()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) > 20
    return caught.value


def _damaged(content: bytes) -> dict[str, bytes]:
    middle = len(content) // 2
    return {
        "empty": b"",
        "head": content[:7],
        "half": content[:middle],
        "all but the end": content[: -max(1, len(content) // 20)],
        "zeros": content[: middle // 2] + bytes(len(content) - middle // 2),
        "flipped": content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :],
    }


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_artifacts(kind: str, artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """Empty, cut short and overwritten ones, of every kind."""
    whole = artifacts[kind]
    inner = next(whole.iterdir()) if whole.is_dir() else whole
    for name, content in _damaged(inner.read_bytes()).items():
        broken = tmp_path / name
        if whole.is_dir():
            shutil.copytree(whole, broken)
        (broken / inner.name if whole.is_dir() else broken).write_bytes(content)
        if kind == "onnx" and name == "flipped":
            continue  # the flipped byte may be part of a name, and the model as good as before
        for trust in (False, True):
            if kind in {"pickle", "skops"} and name == "flipped" and trust:
                continue  # or part of a number
            _refused(broken, tmp_path, trust=trust)


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.onnx", "a.keras", "a.json", "a.txt", "a.cbm", "a.h5"])
def test_a_pickle_under_any_name_asks_for_trust(name: str, tmp_path: Path) -> None:
    """And does not run."""
    (tmp_path / name).write_bytes(pickle.dumps(Canary(tmp_path / "sprung")))
    assert isinstance(_refused(tmp_path / name, tmp_path), TrustRequiredError)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("name", ["a.pt", "a.onnx", "a.pkl", "a.safetensors"])
def test_a_zip_archive_under_any_name(name: str, tmp_path: Path) -> None:
    """It is said to be one."""
    with zipfile.ZipFile(tmp_path / name, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    assert "a zip archive without a model that is known" in str(_refused(tmp_path / name, tmp_path, trust=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_package_is_named_with_its_extra(
    kind: str, artifacts: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything heavy is imported, for each module of each kind."""
    row = KINDS[kind]  # type: ignore[index]  # a key of it
    for module, package in row.modules.items():
        monkeypatch.setattr("ortolan_convert.convert.is_installed", lambda name, hidden=module: name != hidden)
        error = _refused(artifacts[kind], tmp_path, trust=True)
        assert isinstance(error, MissingPackageError)
        assert str(error).startswith(f"{package} is needed to convert this artifact")
        assert str(error).endswith(f"install it: pip install 'ortolan[{row.extra}]'")


def test_trust_is_asked_for_before_packages(
    artifacts: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle is refused for want of trust where scikit-learn is not even installed."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert isinstance(_refused(artifacts["pickle"], tmp_path), TrustRequiredError)
    assert isinstance(_refused(artifacts["pickle"], tmp_path, trust=True), MissingPackageError)


def test_a_package_that_turns_out_to_be_missing(
    sentiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that a framework imports on its own is named, too."""

    def fail(_: object) -> None:
        raise ModuleNotFoundError("No module named 'threadpoolctl'", name="threadpoolctl")

    monkeypatch.setattr("ortolan_convert.sources.scikit_learn.convert.convert_scikit_learn", fail)
    error = _refused(sentiment, tmp_path, trust=True)
    assert isinstance(error, MissingPackageError)
    assert str(error).startswith("threadpoolctl is needed")


@pytest.mark.parametrize("name", ["os.mkdir", "builtins.eval", "subprocess.Popen", "sklearn.externals.Evil"])
def test_a_skops_file_with_foreign_types(name: str, artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """They are refused by name, with and without trust, and nothing of them runs."""
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(artifacts["skops"]) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            content = old.read(member)
            if member == "schema.json":
                schema = json.loads(content)
                module, _, function = name.rpartition(".")
                schema |= {"__module__": module, "__class__": function, "__loader__": "ObjectNode"}
                content = json.dumps(schema).encode()
            new.writestr(member, content)
    for trust in (False, True):
        error = _refused(path, tmp_path, trust=trust)
        assert isinstance(error, UnsupportedError)
        assert name in str(error)


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "config.json"])
def test_a_directory_with_a_damaged_file(file: str, tmp_path: Path) -> None:
    """Empty files in a Hugging Face directory."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["BertForSequenceClassification"]}')
    (model / file).write_bytes(b"")
    _refused(model, tmp_path)
    assert not (tmp_path / "sprung").exists()


def _model(
    path: Path, weights: Any = None, *, operator: str = "Relu", domain: str = "", opset: int = 17, ir: int = 8
) -> Path:
    weights = np.ones((3, 2), np.float32) if weights is None else weights
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(operator, ["h"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=ir).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operator": "Foo"}, "Foo"),
        ({"operator": "Foo", "domain": "my.domain"}, "my.domain"),
        ({"opset": 99}, "99"),
        ({"ir": 99}, "99"),
        ({"weights": np.full((3, 2), np.nan, np.float32)}, "NaN"),
        ({"weights": np.full((3, 2), np.inf, np.float32)}, "infinite"),
    ],
)
def test_onnx_files_that_cannot_be_run(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Operators nobody has, versions of the future, and weights that are no numbers are named."""
    assert message in str(_refused(_model(tmp_path / "m.onnx", **changes), tmp_path))


def test_an_onnx_file_of_more_than_2_gigabytes(tmp_path: Path) -> None:
    """It is refused unread, and where its weights belong is said."""
    path = _model(tmp_path / "m.onnx")
    with path.open("r+b") as file:
        file.truncate(3 << 30)
    error = _refused(path, tmp_path)
    assert isinstance(error, ModelFileError)
    assert "as external data" in str(error)


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("s.csv", b"text,label\na,b\n", InputError, "arrays"),
        ("s.txt", b"hello\n", InputError, "arrays"),
        ("s.npz", b"", InputError, "expected arrays of numbers"),
        ("s.npz", pickle.dumps([1]), InputError, "expected arrays of numbers"),
        ("s.exe", b"MZ", InputError, ""),
        ("absent/s.npz", None, StorageError, "cannot be read"),
    ],
)
def test_samples_that_are_no_tensors(
    name: str, content: bytes | None, error: type[OrtolanError], message: str, tmp_path: Path
) -> None:
    """Of another kind, damaged, or not there."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    found = _refused(_model(tmp_path / "m.onnx"), tmp_path, samples=tmp_path / name)
    assert isinstance(found, error)
    assert message in str(found)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", b"sentence,label\ngood,p\n", "expected a column 'text', found 'sentence', 'label'"),
        ("s.csv", b"text,label\n", "expected at least one text"),
        ("s.csv", b"\xff\xfe\x00t", "expected UTF-8"),
        ("s.jsonl", b'{"text": "a"}\n{"words": "b"}\n', "text"),
        ("s.jsonl", b'{"text": ', ""),
        ("s.npy", b"\x93NUMPY", "arrays"),
    ],
)
def test_samples_that_are_no_texts(name: str, content: bytes, message: str, sentiment: Path, tmp_path: Path) -> None:
    """The line says what was expected and what was found."""
    (tmp_path / name).write_bytes(content)
    error = _refused(sentiment, tmp_path, samples=tmp_path / name, trust=True)
    assert isinstance(error, InputError)
    assert message in str(error)


def test_too_few_samples_for_the_drop_asked(sentiment: Path, tmp_path: Path) -> None:
    """The report says how many are needed."""
    (tmp_path / "s.txt").write_text("good\nbad\n")
    report = convert(sentiment, tmp_path / "out.bundle", samples=tmp_path / "s.txt", trust=True)
    assert any("2 samples cannot show a drop of 1.00%; give at least 100" in line for line in report.warnings)


def test_a_label_column_that_is_not_there(sentiment: Path, tmp_path: Path) -> None:
    """Without labels there is no accuracy, and the report says why."""
    (tmp_path / "s.csv").write_text("text,labels\ngood,pos\nbad,neg\n")
    report = convert(sentiment, tmp_path / "out.bundle", samples=tmp_path / "s.csv", trust=True)
    assert report.accuracy is None
    assert report.warnings[-1].endswith(
        "s.csv: not every row has a label (in a column 'label'), so accuracy is not reported"
    )


def test_a_factory_where_there_is_nothing_to_make(tmp_path: Path) -> None:
    """--module is for weights: elsewhere it would be ignored."""
    error = _refused(_model(tmp_path / "m.onnx"), tmp_path, module="package.module:factory")
    assert isinstance(error, UsageError)


def test_coefficients_that_are_no_numbers(sentiment: Path, tmp_path: Path) -> None:
    """A pipeline whose training diverged."""
    pipeline = joblib.load(sentiment)
    pipeline[-1].coef_[0, 0] = np.nan
    joblib.dump(pipeline, tmp_path / "m.joblib")
    error = _refused(tmp_path / "m.joblib", tmp_path, trust=True)
    assert isinstance(error, ConversionError)
    assert "finite" in str(error)


@pytest.mark.parametrize("content", [{"a": 1}, 7, "text", None, [1, 2], np.ones(3), print], ids=repr)
def test_a_pickle_of_something_else(content: Any, tmp_path: Path) -> None:
    """It is read with trust, and is no model."""
    joblib.dump(content, tmp_path / "m.joblib")
    _refused(tmp_path / "m.joblib", tmp_path, trust=True)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to(path), lambda path: path.mkdir(), os.mkfifo])
def test_what_is_no_file(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A link to itself, an empty directory, a pipe."""
    make(tmp_path / "m")
    assert isinstance(_refused(tmp_path / "m", tmp_path), StorageError)

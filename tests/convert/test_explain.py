"""`ortolan convert --explain`: what artifacts are, need and would run, told without running or importing anything."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import joblib
import numpy as np
import pytest
import sklearn
from click.testing import CliRunner
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from ortolan_convert.cli import convert
from ortolan_convert.explain import explain
from ortolan_convert.sources.explaining import READERS, facts_of
from ortolan_convert.sources.explaining.pickled import values_of
from ortolan_convert.sources.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan_convert.explain import Explanation


class Canary:
    """Leaves a directory behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def _said(path: Path) -> Explanation:
    (found,) = explain([path])
    return found


def _inside(path: Path) -> dict[str, str]:
    return {name.strip(): value for name, value in _said(path).facts.inside}


def test_every_kind_can_be_explained(artifacts: Mapping[str, Path]) -> None:
    """There is a reader of facts for each, and what it finds in a small file is no problem."""
    assert set(READERS) == set(KINDS)
    for name, path in artifacts.items():
        found = _said(path)
        assert found.kind == name.partition(" ")[0]
        assert found.problem is None, name
        assert found.extra == KINDS[found.kind].extra


@pytest.mark.parametrize(
    ("name", "made_by"),
    [
        ("keras", "Keras 3.15.1"),
        ("hdf5", "Keras 3.15.1"),
        ("saved-model", "TensorFlow 2.21.0"),
        ("torch-exported", "PyTorch 2.9.0"),
        ("torch-weights", "PyTorch (zip form, version 3)"),
        ("torchscript", "PyTorch (form 3)"),
        ("huggingface", "transformers 5.24.0"),
        ("xgboost-json", "XGBoost 3.2.0"),
        ("lightgbm", "LightGBM (form v4)"),
        ("catboost", "CatBoost 1.2.10"),
        ("pickle", f"scikit-learn {sklearn.__version__}"),
    ],
)
def test_who_wrote_it(name: str, made_by: str, artifacts: Mapping[str, Path]) -> None:
    """Framework and version, as far as the bytes say."""
    assert _said(artifacts[name]).facts.made_by == made_by


def test_what_is_inside_networks(artifacts: Mapping[str, Path]) -> None:
    """Layers, operators, tensors, inputs and signatures."""
    assert _inside(artifacts["keras"]) == {"model": "Sequential", "layers": "1 Dense", "input": "x[?, 4] float32"}
    assert _inside(artifacts["hdf5"]) == _inside(artifacts["keras"])
    assert _inside(artifacts["onnx"])["operators"] == "1 node: 1 Relu"
    assert _inside(artifacts["onnx"])["input"] == "x[n] float32"
    assert _inside(artifacts["torch-exported"])["input"] == "x[s77, 4]"
    assert _inside(artifacts["torch-exported"])["graph"] == "1 node: torch.ops.aten.relu.default"
    assert _inside(artifacts["torchscript"])["forward"] == "x: Tensor -> Tensor"
    assert _inside(artifacts["torch-weights"])["tensors"] == "1 tensor, 6 numbers"
    assert _inside(artifacts["safetensors"])["tensors"] == "1 tensor, 2 numbers: F32"
    saved = _inside(artifacts["saved-model"])
    assert saved["signature 'serving_default'"].startswith("x[?, 4] float32 -> ")
    assert saved["operators"] == "3 nodes: 1 Relu, 1 PyFunc, 1 ReadFile"


def test_what_is_inside_models_of_tables(artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """Trees, features and classes."""
    assert _inside(artifacts["xgboost-json"])["features"] == "4"
    assert _inside(artifacts["xgboost-ubj"])["features"] == "4"
    assert _inside(artifacts["lightgbm"]) == {"objective": "regression", "features": "2: a, b", "trees": "1"}
    rows = np.arange(20.0).reshape(10, 2)
    labels = np.array(["no", "yes"] * 5, object)
    joblib.dump(RandomForestClassifier(3).fit(rows, labels), tmp_path / "forest", compress=3)
    forest = _inside(tmp_path / "forest")
    assert forest["compression"] == "zlib"
    assert forest["estimators"] == "3 of DecisionTreeClassifier"
    assert forest["classes"] == "2: 'no', 'yes'"
    assert forest["features"] == "2"


def test_steps_of_a_pipeline_are_listed_with_what_is_in_them(tmp_path: Path) -> None:
    """Unions and transformers of columns too."""
    union = FeatureUnion([("words", CountVectorizer()), ("letters", CountVectorizer(analyzer="char"))])
    columns = ColumnTransformer([("text", union, 0), ("number", StandardScaler(), [1])])
    (tmp_path / "m").write_bytes(pickle.dumps(make_pipeline(columns, LogisticRegression())))
    found = _inside(tmp_path / "m")
    assert found["object"] == "sklearn.pipeline.Pipeline"
    assert found["step 'logisticregression'"] == "sklearn.linear_model._logistic.LogisticRegression"
    assert found["transformer 'text'"] == "sklearn.pipeline.FeatureUnion"
    assert found["transformer 'letters'"] == "sklearn.feature_extraction.text.CountVectorizer"


@pytest.mark.parametrize("name", ["keras", "hdf5", "torch-exported", "torch-weights", "pickle", "huggingface"])
def test_code_is_found_where_there_is_some(name: str, artifacts: Mapping[str, Path]) -> None:
    """What would run is named, and that --trust is asked for; of the same kind without code neither."""
    with_code = next(path for key, path in artifacts.items() if key.startswith(f"{name} "))
    found = _said(with_code)
    assert found.facts.code
    assert found.needs_trust is True
    if name != "pickle":
        assert not _said(artifacts[name]).facts.code
        assert _said(artifacts[name]).needs_trust is False


def test_usual_names_of_a_pickle_are_summed_up_and_others_named(artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """scikit-learn's classes and numpy's arrays are in every pickle; what else it calls has to be seen."""
    assert [line.partition(" of ")[0] for line in _said(artifacts["pickle"]).facts.code] == ["8 names"]
    (tmp_path / "m").write_bytes(pickle.dumps([LogisticRegression(), Fraction(1, 3), Canary(tmp_path / "sprung")]))
    assert _said(tmp_path / "m").facts.code == (
        "1 name of sklearn, as usual",
        f"others: fractions.Fraction, {os.mkdir.__module__}.mkdir",
    )
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_is_followed_as_python_does(protocol: int, tmp_path: Path) -> None:
    """Names, calls and states of every protocol, shared objects and old-style states."""
    shared = [1]
    value = {
        "a": (shared, shared),
        "b": OrderedDict(x=1),
        "c": {1, 2},
        "d": frozenset({3}),
        "e": b"bytes",
        "f": 1 << 70,
    }
    (tmp_path / "m").write_bytes(pickle.dumps([value, np.arange(3), np.float64(2.0), Fraction(2, 3)], protocol))
    found = _said(tmp_path / "m")
    assert found.problem is None
    assert found.facts.code[-1] == "others: fractions.Fraction"
    array = "_frombuffer" if protocol == 5 else "_reconstruct"
    assert dict(found.facts.inside)["object"] == f"a list of dict, {array}, scalar, Fraction"


@pytest.mark.parametrize("values", [[1, 2, 3], [0.5, 1.5], ["a", "bb"], [True, False]])
@pytest.mark.parametrize("kind", [None, object])
@pytest.mark.parametrize("how", ["pickle", "joblib"])
def test_values_of_small_arrays(values: list[Any], kind: Any, how: str, tmp_path: Path) -> None:
    """Classes are read as they are stored: in the pickle, behind it as joblib does, or as objects."""
    from ortolan_convert.sources.explaining.bounded_stream import BoundedStream
    from ortolan_convert.sources.explaining.pickle_outline import outline

    array = np.array(values, kind)
    with (tmp_path / "m").open("wb") as file:
        (pickle if how == "pickle" else joblib).dump([array, "after"], file)
    with (tmp_path / "m").open("rb") as stream:
        content = outline(BoundedStream(stream)).content
    assert content[1] == "after"
    assert values_of(content[0]) == values


def test_nothing_is_imported(artifacts: Mapping[str, Path]) -> None:
    """No training framework, and not even onnx: the answer is there at once."""
    script = (
        "import sys\nfrom pathlib import Path\nfrom ortolan_convert.explain import explain\n"
        "list(map(list, (one.lines() for one in explain(sys.argv[1:]))))\n"
        "print(sorted({'torch', 'tensorflow', 'keras', 'sklearn', 'xgboost', 'lightgbm', 'catboost', 'transformers',"
        " 'onnx', 'onnxruntime', 'joblib', 'skops', 'h5py'} & set(sys.modules)))"
    )
    paths = [str(path) for path in artifacts.values()]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_is_missing_here_is_named(artifacts: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra, and the modules of it that are not installed."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    found = _said(artifacts["pickle"])
    assert found.missing == ("sklearn",)
    assert any(line.endswith("ortolan[sklearn], not installed here: sklearn") for line in found.lines())


def test_a_pickle_of_a_boosting_library_needs_its_extra(tmp_path: Path) -> None:
    """Its classes are found by their names alone."""
    (tmp_path / "m").write_bytes(b"\x80\x02cxgboost.sklearn\nXGBClassifier\n)\x81.")
    found = _said(tmp_path / "m")
    assert (found.extra, found.facts.made_by) == ("boosting", "xgboost")


def test_damaged_and_unknown_files_are_explained_too(artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """What is wrong is part of the answer."""
    (tmp_path / "short").write_bytes(artifacts["pickle"].read_bytes()[:100])
    found = _said(tmp_path / "short")
    assert (found.kind, found.needs_trust) == ("pickle", True)
    assert found.problem is not None
    assert found.problem.startswith("a pickle that is damaged or cut short")
    (tmp_path / "other").write_bytes(b"GGUF" + bytes(9))
    assert list(_said(tmp_path / "other").lines()) == [
        f"{tmp_path / 'other'}: cannot be converted",
        "  size     13 bytes",
        "  problem  this is a GGUF file of llama.cpp; give the Hugging Face directory or ONNX file of the original "
        "model",
    ]
    assert _said(tmp_path / "absent").problem == "cannot be read: No such file or directory"


def test_names_in_a_file_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Escape sequences are shown, not sent."""
    header = json.dumps({"\x1b[2J\n": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "m").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert "\x1b" not in "".join(_said(tmp_path / "m").lines())


def test_the_command(artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """Without -o, for several files, with status 3 if one cannot be converted; --json is documented."""
    run = CliRunner().invoke
    done = run(convert, ["--explain", str(artifacts["pickle"]), str(artifacts["skops"])])
    assert done.exit_code == 0, done.output
    assert "  --trust " in done.stdout
    assert done.stdout.count("\n\n") == 1
    (tmp_path / "m").write_bytes(b"GGUF")
    done = run(convert, ["--explain", str(artifacts["onnx"]), str(tmp_path / "m"), "--json"])
    assert done.exit_code == 3
    document = json.loads(done.stdout)
    assert document["schema"] == "ortolan.explain/1"
    first, second = document["artifacts"]
    assert (first["kind"], first["needs_trust"], first["missing"], first["problem"]) == ("onnx", False, [], None)
    assert {"name": "operators", "value": "1 node: 1 Relu"} in first["inside"]
    assert second["kind"] is None
    assert second["problem"].startswith("this is a GGUF file")
    assert not (tmp_path / "out.bundle").exists()


def test_without_a_target_the_command_says_what_is_missing(artifacts: Mapping[str, Path]) -> None:
    """-o is needed unless a file is to be explained."""
    done = CliRunner().invoke(convert, [str(artifacts["onnx"])])
    assert done.exit_code == 2
    assert "expected -o OUT.bundle, the directory to write, or --explain" in done.output


def test_facts_are_read_from_the_file_alone(artifacts: Mapping[str, Path]) -> None:
    """The same bytes give the same facts."""
    for name, path in artifacts.items():
        kind: Any = name.partition(" ")[0]
        assert facts_of(path, kind) == facts_of(path, kind)

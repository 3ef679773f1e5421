"""Rows of a table to labels and numbers, through whole bundles of small models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import ortolan
import ortolan_convert
from ortolan.cli.predict import predict
from ortolan.errors import (
    BundleError,
    ClosedError,
    InputError,
    InputTypeError,
    ManifestError,
    TaskMismatchError,
    UnsupportedError,
)
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WEIGHTS = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
"""Two features to three scores."""
CONFIG: dict[str, Any] = {
    "columns": {"input": "X", "cast": "round", "features": ["width", "height"]},
    "labels": ["wide", "high", "small"],
    "probabilities": "probabilities",
    "scores": "scores",
    "label": "label",
}


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Any]],
    outputs: Sequence[tuple[str, int, Any]],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
) -> Path:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(*item) for item in inputs],
        [helper.make_tensor_value_info(*item) for item in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.fixture
def classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Function (changes of the configuration, weights) -> the bundle of a softmax of three scores of two features."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))

    def build(weights: np.ndarray[Any, Any] = WEIGHTS, **changes: Any) -> Path:
        count = weights.shape[1]
        nodes = [
            helper.make_node("MatMul", ["X", "W"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["scores"], ["position"], axis=1, keepdims=0),
            helper.make_node(
                "LabelEncoder",
                ["position"],
                ["label"],
                domain="ai.onnx.ml",
                keys_int64s=[0, 1, 2],
                values_strings=["wide", "high", "small"],
            ),
        ]
        outputs = [
            ("label", TensorProto.STRING, ["n"]),
            ("probabilities", TensorProto.FLOAT, ["n", count]),
            ("scores", TensorProto.FLOAT, ["n", count]),
        ]
        model = save(tmp_path / "m.onnx", nodes, [("X", TensorProto.FLOAT, ["n", 2])], outputs, {"W": weights})
        config = {key: value for key, value in {**CONFIG, **changes}.items() if value is not None}
        task = tmp_path / "task.yaml"
        task.write_text(json.dumps({"task": "tabular-classification", "config": config}), encoding="utf-8")
        return convert(model, tmp_path / "m.bundle", config=task, overwrite=True).bundle.path

    return build


def test_a_row_is_classified(classifier: Callable[..., Path]) -> None:
    """Label, probabilities and scores, whatever the form of the row."""
    with ortolan.load(classifier(), ortolan.TabularClassifier) as model:
        answer = model.predict({"height": 3, "width": 1})
        assert answer.label == "high"
        assert answer.scores == {"wide": 1.0, "high": 3.0, "small": 0.0}
        assert answer.probabilities is not None
        assert answer.score == answer.probabilities["high"] == pytest.approx(np.exp(3) / (np.exp(3) + np.e + 1))
        assert model.predict([1, 3]) == model.predict(np.array([1.0, 3.0])) == answer
        assert model.check().drop == 0


@pytest.mark.parametrize("absent", [["label"], ["probabilities"], ["scores"], ["probabilities", "label"]])
def test_the_model_may_give_less(classifier: Callable[..., Path], absent: list[str]) -> None:
    """Without its own decision the largest number decides; scores stand in for probabilities and the reverse."""
    with ortolan.load(classifier(**dict.fromkeys(absent)), ortolan.TabularClassifier) as model:
        answer = model.predict([1, 3])
        assert answer.label == "high"
        assert (answer.probabilities is None) == ("probabilities" in absent)
        assert set(answer.scores) == {"wide", "high", "small"}
        if "scores" in absent:
            assert answer.scores == answer.probabilities


def test_batches_are_lists_or_arrays(classifier: Callable[..., Path]) -> None:
    """The same answers in the same order, over several runs."""
    with ortolan.load(classifier(), ortolan.TabularClassifier) as model:
        rows = np.random.default_rng(0).normal(size=(5000, 2)).astype(np.float32)
        answers = model.predict_batch(rows)
        assert answers == model.predict_batch(rows.tolist()) == model.predict_batch(list(rows))
        assert answers[4321].label == model.predict(rows[4321]).label
        assert [a.label for a in answers[:50]] == [
            ("wide", "high", "small")[i] for i in (rows @ WEIGHTS)[:50].argmax(axis=1)
        ]
        assert model.predict_batch([]) == []
        with pytest.raises(InputTypeError, match="row 1, feature 'height': expected a number, found str 'x'"):
            model.predict_batch([[1, 2], [1, "x"]])
        with pytest.raises(InputTypeError, match="expected a list of rows or a 2-D array, found str"):
            model.predict_batch("ab")


def test_one_column_is_the_second_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[rows, 1], as a sigmoid gives it: the first label's probability is what is left."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    model_path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Sigmoid", ["x"], ["p"])],
        [("x", TensorProto.FLOAT, ["n", 1])],
        [("p", TensorProto.FLOAT, ["n", 1])],
    )
    (tmp_path / "task.yaml").write_text(
        "task: tabular-classification\nconfig:\n  columns: {input: x, features: [x]}\n"
        "  labels: [false, true]\n  probabilities: p\n",
        encoding="utf-8",
    )
    convert(model_path, tmp_path / "m.bundle", config=tmp_path / "task.yaml")
    with ortolan.load(tmp_path / "m.bundle", ortolan.TabularClassifier) as model:
        assert model.predict([0]).label is False
        answer = model.predict([2])
        assert answer.label is True
        assert answer.probabilities == {False: pytest.approx(0.1192, abs=1e-4), True: pytest.approx(0.8808, abs=1e-4)}


def test_a_label_beyond_the_declared_ones_is_an_error(classifier: Callable[..., Path]) -> None:
    """The model and its description disagree, which only shows when it answers."""
    with ortolan.load(classifier(labels=["wide", "tall", "small"], label=None), ortolan.TabularClassifier) as model:
        assert model.predict([1, 3]).label == "tall"
    with pytest.raises(BundleError, match=r"^model: answered 'high', which is none of task\.config\.labels$"):
        classifier(labels=["wide", "tall", "small"])


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"labels": ["wide"]}, ManifestError, "task.config.labels: expected 2 to 100000 elements, got 1"),
        ({"labels": ["a", "b", "a"]}, ManifestError, "task.config.labels: expected distinct labels, found one twice"),
        (
            {"labels": ["a", "b", []]},
            ManifestError,
            "labels[2]: expected str, int, float or bool, found list",
        ),
        ({"labels": ["a", "b"]}, BundleError, "to be floats of shape [rows, 2], found probabilities: float32[n, 3]"),
        ({"probabilities": None, "scores": None}, ManifestError, "under probabilities or scores, found neither"),
        ({"scores": "logits"}, BundleError, "task.config.scores: expected an output of the model, found 'logits'"),
        ({"scores": "label"}, BundleError, "expected output 'label' to be floats"),
        ({"threshold": 1}, ManifestError, "task.config.threshold: unknown key"),
        ({"columns": None}, ManifestError, "task.config.columns: missing"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(
    classifier: Callable[..., Path], changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """When the bundle is made, not on the device."""
    with pytest.raises(kind) as raised:
        classifier(**changes)
    assert message in str(raised.value)


def test_zipmap_is_refused_with_advice(tmp_path: Path) -> None:
    """A sequence of maps is what skl2onnx makes unless told otherwise."""
    nodes = [helper.make_node("ZipMap", ["x"], ["p"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [
            helper.make_value_info(
                "p",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
                ),
            )
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    (tmp_path / "task.yaml").write_text(
        "task: tabular-classification\nconfig:\n  columns: {input: x, features: [a, b]}\n"
        "  labels: [0, 1]\n  probabilities: p\n",
        encoding="utf-8",
    )
    with pytest.raises(UnsupportedError, match=r"options=\{'zipmap': False\}"):
        convert(tmp_path / "m.onnx", tmp_path / "m.bundle", config=tmp_path / "task.yaml")


def test_it_is_a_task_of_its_own(classifier: Callable[..., Path]) -> None:
    """Another class is refused, and so are calls after close."""
    path = classifier()
    with pytest.raises(TaskMismatchError, match=r"load it as ortolan\.TabularClassifier, not TabularRegressor"):
        ortolan.load(path, ortolan.TabularRegressor)
    model = ortolan.load(path, ortolan.TabularClassifier)
    model.close()
    for call in (lambda: model.predict([1, 2]), lambda: model.predict_batch([[1, 2]])):
        with pytest.raises(ClosedError):
            call()


def test_the_command_line_takes_rows_and_files(classifier: Callable[..., Path], tmp_path: Path) -> None:
    """JSON objects and arrays, and files with a line of names."""
    path = classifier()
    rows = tmp_path / "rows.csv"
    rows.write_text("height,width\n9,1\n1,9\n-1,-1\n", encoding="utf-8")
    done = CliRunner().invoke(predict, [str(path), '{"width": 5, "height": 1}', "[1, 2]", str(rows)])
    assert done.output.splitlines() == ["wide", "high", "high", "wide", "small"]
    done = CliRunner().invoke(predict, [str(path), "[1, 3]", "--json"])
    (answer,) = json.loads(done.output)["answers"]
    assert (answer["label"], answer["scores"]) == ("high", {"wide": 1.0, "high": 3.0, "small": 0.0})
    done = CliRunner().invoke(predict, [str(path), "[1, 3"])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == "expected a row as JSON, or a file of rows (.csv, .tsv, .jsonl), found '[1, 3'"


def test_samples_come_from_a_table(classifier: Callable[..., Path], tmp_path: Path) -> None:
    """--samples rows.csv: golden inputs with the features' own values."""
    classifier()
    rows = tmp_path / "rows.csv"
    rows.write_text("height,width,label\n9,1,high\n1,9,wide\n", encoding="utf-8")
    report = convert(
        tmp_path / "m.onnx", tmp_path / "m.bundle", config=tmp_path / "task.yaml", samples=rows, overwrite=True
    )
    fidelity = report.variants[0].fidelity
    assert fidelity is not None
    assert (fidelity.n, fidelity.inputs) == (2, "samples")
    with np.load(tmp_path / "m.bundle" / "golden" / "inputs.npz") as golden:
        assert golden["0000/X"].tolist() == [[1, 9]]


@pytest.fixture
def regressor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """price = 2 * age + income (0 if unknown) + 100 in Graz; with the shipped example of a description."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    nodes = [
        helper.make_node("Mul", ["age", "two"], ["a"]),
        helper.make_node("IsNaN", ["income"], ["unknown"]),
        helper.make_node("Where", ["unknown", "zero", "income"], ["b"]),
        helper.make_node(
            "LabelEncoder",
            ["city"],
            ["c"],
            domain="ai.onnx.ml",
            keys_strings=["Graz"],
            values_floats=[100.0],
            default_float=0.0,
        ),
        helper.make_node("Sum", ["a", "b", "c"], ["variable"]),
    ]
    inputs = [
        ("age", TensorProto.FLOAT, [None, 1]),
        ("income", TensorProto.FLOAT, [None, 1]),
        ("city", TensorProto.STRING, [None, 1]),
    ]
    weights = {"two": np.array([[2]], np.float32), "zero": np.array([[0]], np.float32)}
    path = save(tmp_path / "r.onnx", nodes, inputs, [("variable", TensorProto.FLOAT, [None, 1])], weights)
    config = f"{ortolan_convert.__path__[0]}/examples/tabular-regression.yaml"
    return convert(path, tmp_path / "r.bundle", config=config).bundle.path


def test_a_row_is_answered_with_a_number(regressor: Path) -> None:
    """Numbers, missing numbers and strings, one input each."""
    with ortolan.load(regressor, ortolan.TabularRegressor) as model:
        answer = model.predict({"age": 41, "income": 1000, "city": "Graz"})
        assert answer == ortolan.Regression(1182.0, {"price": 1182.0})
        assert model.predict([41, None, "Wien"]).value == 82
        assert [a.value for a in model.predict_batch([[1, 2, "Graz"], {"age": 1, "income": None, "city": ""}])] == [
            104,
            2,
        ]
        with pytest.raises(InputError, match="feature 'age': expected a number, found None"):
            model.predict([None, None, ""])
        assert model.check().drop == 0


def test_the_command_line_prints_numbers(regressor: Path) -> None:
    """The value alone; the targets by name as JSON."""
    assert CliRunner().invoke(predict, [str(regressor), '[41, 1000, "Graz"]']).output == "1182.0\n"
    done = CliRunner().invoke(predict, [str(regressor), '[41, null, "Graz"]', "--json"])
    assert json.loads(done.output)["answers"] == [{"value": 182.0, "values": {"price": 182.0}}]


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"targets": []}, ManifestError, "task.config.targets: expected 1 to 100000 elements, got 0"),
        ({"targets": ["a", "a"]}, ManifestError, "task.config.targets: expected distinct names, found one twice"),
        ({"targets": ["a", "b"]}, BundleError, "expected output 'y' to be floats of shape [rows, 2], found y"),
        ({"output": "z"}, BundleError, "task.config.output: expected an output of the model, found 'z'; it has y"),
    ],
)
def test_a_regression_must_fit(tmp_path: Path, config: dict[str, Any], kind: type[Exception], message: str) -> None:
    """As with labels: refused when the bundle is made."""
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 1])],
        [("y", TensorProto.FLOAT, ["n", 1])],
    )
    whole = {"columns": {"input": "x", "features": ["x"]}, "output": "y", "targets": ["price"], **config}
    task = tmp_path / "task.yaml"
    task.write_text(json.dumps({"task": "tabular-regression", "config": whole}), encoding="utf-8")
    with pytest.raises(kind) as raised:
        convert(path, tmp_path / "m.bundle", config=task)
    assert message in str(raised.value)

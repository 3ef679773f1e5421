"""Small ONNX models, written with onnx, and a state directory of its own for each test."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ortolan.bundle.description import Provenance, Source, TaskSpec, VariantInfo
from ortolan.bundle.write import write_bundle
from ortolan.engine import OrtSession, open_session
from ortolan.engine.installation import onnxruntime
from ortolan.engine.providers import PROVIDERS, Provider
from ortolan.inputs.config import NgramConfig
from ortolan.types import Fidelity, Interval, Polynomial, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that no other test sees."""
    directory = tmp_path / "state"
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(directory))
    return directory


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a graph: nodes as (operator, inputs, outputs), inputs and outputs as (name, element type, shape)."""

    def write(
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[tuple[str, int, Sequence[int | str]]],
        outputs: Sequence[tuple[str, int, Sequence[int | str]]],
        weights: dict[str, np.ndarray] | None = None,
        name: str = "model.onnx",
    ) -> Path:
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info(*item) for item in inputs],
            [helper.make_tensor_value_info(*item) for item in outputs],
            [numpy_helper.from_array(value, key) for key, value in (weights or {}).items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def doubling(write_model: Callable[..., Path]) -> Path:
    """``y = x + x`` of float32[n, 4]."""
    return write_model(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
    )


@pytest.fixture
def endless(write_model: Callable[..., Path]) -> Path:
    """Adds ``x`` to itself a thousand million times, one node after the other: it only ends when it is stopped."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["sum", "x"], ["sum_next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum_next", TensorProto.FLOAT, [1]),
        ],
    )
    return write_model(
        [helper.make_node("Loop", ["steps", "", "x"], ["y"], body=body)],
        [("x", TensorProto.FLOAT, [1]), ("steps", TensorProto.INT64, [])],
        [("y", TensorProto.FLOAT, [1])],
    )


@pytest.fixture
def opened() -> Iterator[Callable[..., OrtSession]]:
    """Opens sessions with one thread and closes them after the test."""
    sessions: list[OrtSession] = []

    def open_one(path: Path, **settings: object) -> OrtSession:
        sessions.append(open_session(path, SessionConfig(**{"threads": 1, **settings})))
        return sessions[-1]

    yield open_one
    for session in sessions:
        session.close()


LABELS = ("neg", "pos")
TERMS = ("a", "b", "c", "d")
WEIGHTS = {"fp32": 1.0, "int8": 2.0}
"""Factor of each variant's coefficients, so that a test sees which variant answered."""


def _linear(factor: float) -> bytes:
    """scores = sum of the rows of W that ids name, weighted by values; W maps a, b to neg and c, d to pos."""
    weights = factor * np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    nodes = [
        helper.make_node("Gather", ["W", "ids"], ["rows"]),
        helper.make_node("Unsqueeze", ["values", "axis"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axis1"], ["scores"], keepdims=0),
    ]
    inits = {"W": weights, "axis": np.array([2]), "axis1": np.array([1])}
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "terms"]),
            helper.make_tensor_value_info("values", TensorProto.FLOAT, ["batch", "terms"]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, key) for key, value in inits.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    serialized: bytes = model.SerializeToString()
    return serialized


@pytest.fixture
def text_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text classifier that counts characters: more of a and b is neg, more of c and d is pos."""

    def write(
        name: str = "letters.bundle", min_onnxruntime: str = "1.20.0", providers: tuple[str, ...] = ("cpu",)
    ) -> Path:
        # Here, so that the engine's own tests also run where the converters do not.
        from ortolan_convert.text.vocabulary import compile_vocabulary, text_assets

        spec = NgramConfig(analyzer="char", ngram_range=(1, 1))
        compiled = compile_vocabulary(TERMS, spec)
        config, assets = text_assets(spec, compiled, None)
        texts = ["aab", "cd", "dcb", "", "zzz"]
        expected = np.array([[text.count("a") + text.count("b"), text.count("c") + text.count("d")] for text in texts])
        golden = io.BytesIO()
        np.savez(golden, scores=expected.astype(np.float64), labels=expected.argmax(axis=1).astype(np.int64))
        infos = [
            (
                variant,
                VariantInfo(
                    precision=variant,
                    providers=providers,
                    min_onnxruntime=min_onnxruntime,
                    weight_bytes=32,
                    macs=Polynomial(((2.0, ("batch", "terms")),)),
                    activation_bytes=Polynomial(((16.0, ("batch", "terms")),)),
                    fidelity=Fidelity("label", len(texts), 0.0, Interval(0.0, 0.1), 0.0, "samples"),
                ),
                {"model.onnx": _linear(factor)},
            )
            for variant, factor in WEIGHTS.items()
        ]
        bundle = write_bundle(
            tmp_path / name,
            package_name="letters",
            version="1.0.0",
            task=TaskSpec("text-classification", {"labels": list(LABELS), "input": config, "decision": "scores"}),
            provenance=Provenance(
                framework="test", framework_version="1", versions={}, sources=(Source("x", "0" * 64, 1),)
            ),
            dims={"batch": 1, "terms": 8},
            components=[("model", infos)],
            assets=assets,
            golden={"inputs.json": json.dumps(texts).encode(), "outputs.npz": golden.getvalue()},
        )
        return bundle.path

    return write


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that PyPI's CPU wheel has and that takes no node: what a broken accelerator looks like."""
    row = Provider(name="azure", ort_name="AzureExecutionProvider", install="never", note="needs nothing")
    if row.ort_name not in onnxruntime().get_available_providers():
        pytest.skip("this build of onnxruntime has no provider that takes no nodes")
    monkeypatch.setitem(PROVIDERS, "azure", row)

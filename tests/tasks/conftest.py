"""A small text model without onnxruntime, for the tests of the tasks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan.bundle.description import TaskSpec
from ortolan.inputs.assets import npy_bytes
from ortolan.types import SessionConfig, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

INPUT = {
    "kind": "ngrams",
    "analyzer": "char",
    "ngram_range": [1, 1],
    "lowercase": True,
    "strip_accents": None,
    "token_pattern": None,
    "tokenizer": None,
    "stop_words": None,
    "binary": False,
    "sublinear_tf": False,
    "norm": None,
    "features": 3,
    "kept": 3,
    "idf": None,
    "nodes": "all",
}
ALPHABET = npy_bytes(np.array([97, 98, 99], np.uint32))


class LinearSession:
    """Computes with numpy what the converted graph computes: a sum of the rows of the ids, weighted by the values.

    Args:
        weights: float[3, C], one row for each of the characters a, b and c.
        outputs: output names; ``probabilities`` is the softmax of the sum, every other the sum itself.
    """

    def __init__(self, weights: Any, outputs: tuple[str, ...]) -> None:
        self.weights = np.asarray(weights, np.float64)
        self.inputs = [
            TensorSpec("ids", "int64", ("batch", "terms")),
            TensorSpec("values", "float32", ("batch", "terms")),
        ]
        self.outputs = [TensorSpec(name, "float32", ("batch", self.weights.shape[1])) for name in outputs]
        self.placement: dict[str, int] = {}
        self.config = SessionConfig()
        self.shapes: list[tuple[int, ...]] = []

    def run(self, feeds: Mapping[str, Any], control: object = None) -> dict[str, Any]:
        assert feeds["ids"].dtype == np.int64
        assert feeds["values"].dtype == np.float32
        assert feeds["ids"].shape == feeds["values"].shape
        self.shapes.append(feeds["ids"].shape)
        sums = np.einsum("bt,btc->bc", feeds["values"], self.weights[feeds["ids"]])
        powers = np.exp(sums - sums.max(axis=1, keepdims=True))
        softmax = powers / powers.sum(axis=1, keepdims=True)
        results = {spec.name: softmax if spec.name == "probabilities" else sums for spec in self.outputs}
        return {name: array.astype(np.float32) for name, array in results.items()}

    def bind(self, feeds: Mapping[str, Any]) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        """Nothing to release."""


@pytest.fixture
def make_bundle() -> Callable[..., Any]:
    """Function (task name, configuration, files) -> what a task reads of a Bundle."""

    def make(name: str, config: Mapping[str, object], files: Mapping[str, bytes] | None = None) -> Any:
        content = {"assets/ngrams/alphabet.npy": ALPHABET, **(files or {})}
        return SimpleNamespace(
            manifest=SimpleNamespace(task=TaskSpec(name, config), files=dict.fromkeys(content)),
            read_asset=lambda path: content[f"assets/{path}"],
            read_file=content.__getitem__,
        )

    return make


@pytest.fixture
def make_session() -> Callable[..., LinearSession]:
    """Function (weights, output names) -> LinearSession."""
    return lambda weights, *outputs: LinearSession(weights, outputs)


@pytest.fixture
def text_config() -> dict[str, object]:
    """The ``input`` object of a model over the characters a, b and c."""
    return dict(INPUT)


@pytest.fixture
def tiny_session(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Function (nodes, inputs, outputs, constants) -> an open session of an ONNX model of these.

    Nodes are (operator, inputs, outputs, attributes), inputs and outputs are shapes of float32 by name, or pairs of a
    dtype of onnx and a shape.
    """
    onnx = pytest.importorskip("onnx")
    from ortolan.engine import open_session

    opened = []

    def value(name: str, spec: Any) -> Any:
        dtype, shape = spec if isinstance(spec, tuple) else (onnx.TensorProto.FLOAT, spec)
        return onnx.helper.make_tensor_value_info(name, dtype, shape)

    def make(nodes: Any, inputs: Any, outputs: Any, constants: Mapping[str, Any] | None = None) -> Any:
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node(kind, ins, outs, **attributes) for kind, ins, outs, attributes in nodes],
            "g",
            [value(name, spec) for name, spec in inputs.items()],
            [value(name, spec) for name, spec in outputs.items()],
            [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        path = tmp_path / f"tiny{len(opened)}.onnx"
        onnx.save(model, path)
        opened.append(open_session(path, SessionConfig(threads=1)))
        return opened[-1]

    yield make
    for session in opened:
        session.close()

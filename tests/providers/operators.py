"""One small graph for each operator that the table of providers says something about."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

RNG = np.random.default_rng(3)
MICROSOFT, CLASSICAL = "com.microsoft", "ai.onnx.ml"


def _normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def _bytes(*shape: int) -> np.ndarray:
    return RNG.integers(0, 255, shape).astype(np.uint8)


def _signed(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 127, shape).astype(np.int8)


_SCALE, _MIDDLE, _ZERO = np.array(0.02, np.float32), np.array(128, np.uint8), np.array(0, np.int8)
_QUANTIZED = {"sa": _SCALE, "za": _MIDDLE, "w": None, "sb": _SCALE, "zb": _ZERO, "sc": _SCALE, "zc": _MIDDLE}
_TREE = {
    "n_targets": 1,
    "nodes_falsenodeids": [2, 0, 0],
    "nodes_featureids": [0, 0, 0],
    "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
    "nodes_nodeids": [0, 1, 2],
    "nodes_treeids": [0, 0, 0],
    "nodes_truenodeids": [1, 0, 0],
    "nodes_values": [0.0, 0.0, 0.0],
    "target_ids": [0, 0],
    "target_nodeids": [1, 2],
    "target_treeids": [0, 0],
    "target_weights": [1.0, 2.0],
}
_COUNTS = {
    "max_gram_length": 1,
    "min_gram_length": 1,
    "max_skip_count": 0,
    "mode": "TF",
    "ngram_counts": [0],
    "ngram_indexes": [0, 1],
    "pool_int64s": [1, 2],
}

# operator: (inputs, weights, attributes, domain, number of outputs)
_CASES: dict[str, tuple[dict, dict, dict, str, int]] = {
    "MatMul": ({"x": _normal(2, 8)}, {"w": _normal(8, 16)}, {}, "", 1),
    "Gemm": ({"x": _normal(2, 8)}, {"w": _normal(8, 16)}, {}, "", 1),
    "Conv": ({"x": _normal(1, 3, 8, 8)}, {"w": _normal(4, 3, 3, 3)}, {}, "", 1),
    "ConvTranspose": ({"x": _normal(1, 3, 8, 8)}, {"w": _normal(3, 4, 3, 3)}, {}, "", 1),
    "Einsum": ({"x": _normal(2, 3, 4)}, {"w": _normal(2, 4, 5)}, {"equation": "bij,bjk->bik"}, "", 1),
    "LSTM": ({"x": _normal(5, 1, 4)}, {"w": _normal(1, 12, 4), "r": _normal(1, 12, 3)}, {"hidden_size": 3}, "", 1),
    "GRU": ({"x": _normal(5, 1, 4)}, {"w": _normal(1, 9, 4), "r": _normal(1, 9, 3)}, {"hidden_size": 3}, "", 1),
    "RNN": ({"x": _normal(5, 1, 4)}, {"w": _normal(1, 3, 4), "r": _normal(1, 3, 3)}, {"hidden_size": 3}, "", 1),
    "MatMulInteger": ({"x": _bytes(2, 8)}, {"w": _signed(8, 16), "za": _MIDDLE, "zb": _ZERO}, {}, "", 1),
    "ConvInteger": ({"x": _bytes(1, 3, 8, 8)}, {"w": _signed(4, 3, 3, 3), "za": _MIDDLE, "zb": _ZERO}, {}, "", 1),
    "DynamicQuantizeLinear": ({"x": _normal(2, 8)}, {}, {}, "", 3),
    "DynamicQuantizeMatMul": ({"x": _normal(2, 8)}, {"w": _signed(8, 16), "s": _SCALE, "z": _ZERO}, {}, MICROSOFT, 1),
    "QLinearMatMul": ({"x": _bytes(2, 8)}, {**_QUANTIZED, "w": _signed(8, 16)}, {}, "", 1),
    "QLinearConv": ({"x": _bytes(1, 3, 8, 8)}, {**_QUANTIZED, "w": _signed(4, 3, 3, 3)}, {}, "", 1),
    "MatMulNBits": (
        {"x": _normal(2, 32)},
        {"w": _bytes(16, 1, 16), "s": np.abs(_normal(16))},
        {"K": 32, "N": 16, "bits": 4, "block_size": 32},
        MICROSOFT,
        1,
    ),
    "NonZero": ({"x": _normal(2, 8)}, {}, {}, "", 1),
    "NonMaxSuppression": ({"x": _normal(1, 6, 4), "s": np.abs(_normal(1, 1, 6))}, {"m": np.array([3])}, {}, "", 1),
    "TfIdfVectorizer": ({"x": np.array([[1, 2, 3]])}, {}, _COUNTS, "", 1),
    "TreeEnsembleRegressor": ({"x": _normal(2, 2)}, {}, _TREE, CLASSICAL, 1),
    "Softmax": ({"x": _normal(2, 8)}, {}, {}, "", 1),
    "Gather": ({"x": _normal(4, 8)}, {"i": np.array([1, 2])}, {}, "", 1),
}

NAMES = tuple(_CASES)


def graph(operator: str) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model of that one node, and values for its inputs."""
    feeds, weights, attributes, domain, outputs = _CASES[operator]
    names = [f"y{number}" for number in range(outputs)]
    made = helper.make_graph(
        [helper.make_node(operator, [*feeds, *weights], names, domain=domain, **attributes)],
        "graph",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))
            for name, value in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in names],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1), helper.make_opsetid(CLASSICAL, 3)]
    model = helper.make_model(made, opset_imports=imports)
    model.ir_version = 8
    return model, feeds

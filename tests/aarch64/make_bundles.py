"""Make small bundles of the tasks that images, tables, sound and tokens come into, and ask them here, on x86-64.

    make_bundles.py DIRECTORY

Runs in the environment that has the converters; writes a bundle per task, and ``asked.npz``: for each task what it was
asked and what it answered. Weights are random: what is tried is arithmetic, and the way of an input to the tensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from answering import numbers
from onnx import TensorProto, helper, numpy_helper

import ortolan
from ortolan_convert.convert import convert

RNG = np.random.default_rng(11)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
SIDE, CHANNELS, CLASSES = 24, 8, 5
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
WORDS = (*SPECIAL, "ortolan", "is", "a", "small", "bird", "whose", "name", "begins", "with", "runtime")
WIDTH, HIDDEN, CHUNK = 32, 24, 64


def normal(*shape, scale=0.3):
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


def save(path, nodes, inputs, outputs, weights):
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        path.stem,
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def image(directory):
    """A convolution, pooled: uint8 arrays of the right size, without Pillow."""
    model = save(
        directory / "image.onnx",
        [
            ("Conv", ["x", "w1", "b1"], ["a"], {"strides": [2, 2]}),
            ("Relu", ["a"], ["b"]),
            ("GlobalAveragePool", ["b"], ["c"]),
            ("Flatten", ["c"], ["d"]),
            ("MatMul", ["d", "w2"], ["y"]),
        ],
        [("x", FLOAT, ["batch", 3, SIDE, SIDE])],
        [("y", FLOAT, ["batch", CLASSES])],
        {"w1": normal(CHANNELS, 3, 3, 3), "b1": normal(CHANNELS), "w2": normal(CHANNELS, CLASSES, scale=2)},
    )
    entry = {"kind": "image", "color": "rgb", "layout": "nchw", "dtype": "float32", "scale": 1 / 255}
    entry |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    config = {"input": entry, "activation": "softmax", "top": CLASSES, "labels": None}
    asked = [RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(4)]
    return model, {"task": "image-classification", "config": config}, asked


def table(directory):
    """A tree of four leaves over three features."""
    tree = {
        "n_targets": 1,
        "nodes_treeids": [0] * 7,
        "nodes_nodeids": list(range(7)),
        "nodes_modes": ["BRANCH_LEQ"] * 3 + ["LEAF"] * 4,
        "nodes_featureids": [0, 1, 2, 0, 0, 0, 0],
        "nodes_values": [0.25, -1.5, 3.0, 0.0, 0.0, 0.0, 0.0],
        "nodes_truenodeids": [1, 3, 5, 0, 0, 0, 0],
        "nodes_falsenodeids": [2, 4, 6, 0, 0, 0, 0],
        "target_treeids": [0] * 4,
        "target_nodeids": [3, 4, 5, 6],
        "target_ids": [0] * 4,
        "target_weights": [1.5, -2.25, 40.0, 0.125],
        "domain": "ai.onnx.ml",
    }
    model = save(
        directory / "table.onnx",
        [("TreeEnsembleRegressor", ["X"], ["value"], tree)],
        [("X", FLOAT, ["n", 3])],
        [("value", FLOAT, ["n", 1])],
        {},
    )
    columns = {"input": "X", "cast": "round", "features": ["width", "height", "weight"]}
    asked = [RNG.normal(0, 3, 3) for _ in range(12)]
    config = {"columns": columns, "output": "value", "targets": ["price"]}
    return model, {"task": "tabular-regression", "config": config}, asked


def stream(directory):
    """A recurrent layer whose state goes from chunk to chunk."""
    model = save(
        directory / "stream.onnx",
        [
            ("Unsqueeze", ["x", "first"], ["steps"]),
            ("GRU", ["steps", "w", "r", "b", "", "h"], ["", "next"], {"hidden_size": HIDDEN}),
            ("Squeeze", ["next", "first"], ["last"]),
            ("MatMul", ["last", "v"], ["logit"]),
            ("Sigmoid", ["logit"], ["speech"]),
        ],
        [("x", FLOAT, [1, CHUNK]), ("h", FLOAT, [1, 1, HIDDEN])],
        [("speech", FLOAT, [1, 1]), ("next", FLOAT, [1, 1, HIDDEN])],
        {
            "first": np.array([0]),
            "w": normal(1, 3 * HIDDEN, CHUNK),
            "r": normal(1, 3 * HIDDEN, HIDDEN),
            "b": normal(1, 6 * HIDDEN),
            "v": normal(HIDDEN, 1, scale=2),
        },
    )
    config = {
        "sample_rate": 16000,
        "samples": {"input": "x", "shape": [1, CHUNK]},
        "chunk": CHUNK,
        "states": [{"input": "h", "output": "next", "shape": [1, 1, HIDDEN], "initial": 0}],
        "answer": {"output": "speech"},
        "last": "pad",
    }
    seconds = np.arange(20 * CHUNK + 7) / 16000
    asked = [(np.sin(2 * np.pi * pitch * seconds) * seconds * 9).astype(np.float32) for pitch in (220.0, 3000.0)]
    return model, {"task": "audio-stream", "config": config}, asked


def embed(directory):
    """Rows of a table, mixed by a layer and pooled as the configuration says; words at white space."""
    model = save(
        directory / "embed.onnx",
        [
            ("Gather", ["embeddings", "input_ids"], ["rows"]),
            ("MatMul", ["rows", "w"], ["mixed"]),
            ("Tanh", ["mixed"], ["bent"]),
            ("Cast", ["attention_mask"], ["counted"], {"to": FLOAT}),
            ("Unsqueeze", ["counted", "last"], ["weights"]),
            ("Mul", ["bent", "weights"], ["hidden"]),
        ],
        [(name, INT64, ["batch", "sequence"]) for name in ("input_ids", "attention_mask")],
        [("hidden", FLOAT, ["batch", "sequence", WIDTH])],
        {"embeddings": normal(len(WORDS), WIDTH, scale=1), "w": normal(WIDTH, WIDTH), "last": np.array([-1])},
    )
    ids = {word: number for number, word in enumerate(WORDS)}
    special = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in ("[CLS]", "[SEP]")}
    frame = [
        {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
    ]
    tokenizer = {
        **dict.fromkeys(("truncation", "padding", "decoder")),
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame,
            "pair": [*frame, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": special,
        },
        "model": {"type": "WordLevel", "vocab": ids, "unk_token": "[UNK]"},
    }
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    tokens = {"kind": "tokens", "tokenizer": "tokenizer.json", "vocabulary": len(WORDS), "max_length": 16}
    tokens |= {"lowercase": False, "truncation": "right", "padding": {"side": "right", "id": 0, "type_id": 0}}
    config = {"input": tokens, "output": "hidden", "pooling": "mean", "normalize": True}
    asked = ["Ortolan is a small bird", "whose name begins with ORT", "runtime", "a bird a name a small runtime"]
    content = {"task": "embedding", "config": config, "assets": {"tokenizer.json": "tokenizer.json"}}
    return model, content, asked


def main(directory):
    kept = {}
    for make in (image, table, stream, embed):
        name = make.__name__
        model, content, asked = make(directory)
        (directory / f"{name}.yaml").write_text(json.dumps(content), encoding="utf-8")
        convert(model, directory / f"{name}.bundle", config=directory / f"{name}.yaml")
        kept[f"{name}.asked"] = np.array(asked)
        with ortolan.load(directory / f"{name}.bundle") as loaded:
            kept[f"{name}.answered"] = np.array([numbers(name, loaded, one) for one in kept[f"{name}.asked"]])
    np.savez(directory / "asked.npz", **kept)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Make the bundles of plain tensors that other providers and other processors are tried with.

    make_bundles.py DIRECTORY

Runs in the environment that has the converters. Weights are random: what is tried is arithmetic, and where it runs. The
real model is magika's (Apache-2.0), from its package; where the registry does not give it, its bundle is left out.
"""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from ortolan_convert.convert import convert

RNG = np.random.default_rng(7)
FEATURES, HIDDEN, CLASSES, CHANNELS = 64, 48, 10, 8


def model(nodes, inputs, outputs, weights):
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "graph",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def normal(*shape, scale=0.2):
    return (scale * RNG.standard_normal(shape)).astype(np.float32)


def perceptron(dtype, element):
    """Two dense layers and a softmax: float[batch, 64] -> float[batch, 10]."""
    return model(
        [
            ("MatMul", ["x", "w1"], ["a"]),
            ("Add", ["a", "b1"], ["b"]),
            ("Relu", ["b"], ["c"]),
            ("MatMul", ["c", "w2"], ["d"]),
            ("Softmax", ["d"], ["y"], {"axis": -1}),
        ],
        [("x", element, ["batch", FEATURES])],
        [("y", element, ["batch", CLASSES])],
        {
            "w1": normal(FEATURES, HIDDEN).astype(dtype),
            "b1": normal(HIDDEN).astype(dtype),
            "w2": normal(HIDDEN, CLASSES).astype(dtype),
        },
    )


def convolutions():
    """Two convolutions, pooled: float[1, 3, 24, 24] -> float[1, 10]."""
    return model(
        [
            ("Conv", ["x", "w1", "b1"], ["a"], {"pads": [1, 1, 1, 1]}),
            ("Relu", ["a"], ["b"]),
            ("Conv", ["b", "w2"], ["c"], {"strides": [2, 2]}),
            ("GlobalAveragePool", ["c"], ["d"]),
            ("Flatten", ["d"], ["e"]),
            ("Gemm", ["e", "w3"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [1, 3, 24, 24])],
        [("y", TensorProto.FLOAT, [1, CLASSES])],
        {
            "w1": normal(CHANNELS, 3, 3, 3),
            "b1": normal(CHANNELS),
            "w2": normal(CHANNELS, CHANNELS, 3, 3),
            "w3": normal(CHANNELS, CLASSES),
        },
    )


def odd_channels():
    """A convolution of as many channels as a spectrum has bins: float[1, 129, 16] -> float[1, 32, 16]."""
    return model(
        [("Conv", ["x", "w"], ["y"], {"pads": [1, 1]})],
        [("x", TensorProto.FLOAT, [1, 129, 16])],
        [("y", TensorProto.FLOAT, [1, 32, 16])],
        {"w": normal(32, 129, 3)},
    )


def magika(directory):
    """The path of magika's model; None where its package cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(directory), "magika==1.0.3"]
    if subprocess.run(command, capture_output=True, check=False, timeout=300).returncode:
        return None
    with zipfile.ZipFile(next(directory.glob("magika-*"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("model.onnx"))
        (directory / "magika.onnx").write_bytes(wheel.read(name))
    return directory / "magika.onnx"


def main(directory):
    onnx.save(perceptron(np.float32, TensorProto.FLOAT), directory / "fp32.onnx")
    onnx.save(perceptron(np.float16, TensorProto.FLOAT16), directory / "fp16.onnx")
    onnx.save(convolutions(), directory / "conv.onnx")
    # Weights of 7 bits: x86-64 processors without VNNI saturate sums of 8-bit products, which Arm does not.
    quantize_dynamic(
        directory / "fp32.onnx",
        directory / "int8.onnx",
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
    )
    onnx.save(odd_channels(), directory / "odd.onnx")
    names = ["fp32", "fp16", "int8", "conv", "odd"]
    if magika(directory) is not None:
        names.append("magika")
    for name in names:
        convert(directory / f"{name}.onnx", directory / f"{name}.bundle")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Small networks of every kind in every format of TensorFlow and Keras: ONNX answers as the framework does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

import ortolan
from ortolan.errors import UnsupportedError, UsageError
from ortolan_convert.convert import convert
from ortolan_convert.graph import IR_VERSION, OPSET
from ortolan_convert.networks.exam import asked
from ortolan_convert.request import Request
from ortolan_convert.sources import keras as keras_reader
from ortolan_convert.sources import saved_model as saved_model_reader
from ortolan_convert.sources import tflite as tflite_reader
from ortolan_convert.sources.tensorflow import large
from ortolan_convert.sources.tensorflow.quiet import silenced, tensorflow
from ortolan_convert.task_config import TaskConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ortolan_convert.networks.source import NetworkSource
    from ortolan_convert.sources.kinds import Kind

pytest.importorskip("tf2onnx")
tf = tensorflow()
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")

READERS: Mapping[str, Any] = {
    "saved-model": saved_model_reader,
    "keras": keras_reader,
    "hdf5": keras_reader,
    "tflite": tflite_reader,
}


def dense(api: Any) -> Any:
    x = api.Input((16,), name="x")
    hidden = api.layers.Dense(96, activation="relu")(x)
    return api.Model(x, api.layers.Dense(5, activation="softmax", name="kind")(hidden))


def images(api: Any) -> Any:
    """Strides, batch normalization, depthwise and dilated convolutions, a residual, pools and paddings."""
    layers = api.layers
    image = api.Input((17, 16, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", strides=2, use_bias=False)(image)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    y = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Add()([x, layers.Activation("sigmoid")(y)])
    x = layers.Conv2D(12, 1, activation="relu")(x)
    x = layers.MaxPooling2D()(layers.ZeroPadding2D(1)(x))
    x = layers.Conv2D(16, 3, dilation_rate=2, activation="tanh", padding="same")(x)
    x = layers.AveragePooling2D(2, padding="same")(x)
    return api.Model(image, layers.Dense(4, name="kind")(layers.GlobalAveragePooling2D()(x)))


def upsampling(api: Any) -> Any:
    layers = api.layers
    image = api.Input((12, 12, 2), name="image")
    down = layers.Conv2D(6, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(layers.MaxPooling2D()(down))
    up = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(x)
    x = layers.Concatenate()([down, up, layers.UpSampling2D(2, interpolation="bilinear")(x)])
    return api.Model(image, layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))


def several(api: Any) -> Any:
    a, b = api.Input((8,), name="a"), api.Input((6,), name="b")
    x = api.layers.Concatenate()([api.layers.Dense(90, activation="sigmoid")(a), b])
    first, second = api.layers.Dense(3, name="first")(x), api.layers.Dense(2, activation="tanh", name="second")(x)
    return api.Model([a, b], [first, second])


def tokens(api: Any) -> Any:
    layers = api.layers
    ids = api.Input((12,), dtype="int32", name="tokens")
    x = layers.Conv1D(6, 3, activation="relu")(layers.Embedding(50, 32)(ids))
    return api.Model(ids, layers.Dense(2, activation="softmax", name="kind")(layers.GlobalMaxPooling1D()(x)))


def recurrent(api: Any) -> Any:
    layers = api.layers
    sequence = api.Input(batch_shape=(1, 9, 5), name="sequence")
    x = layers.LSTM(24, return_sequences=True)(sequence)
    x = layers.Bidirectional(layers.GRU(6))(x)
    return api.Model(sequence, layers.Dense(3, name="kind")(x))


def attention(api: Any) -> Any:
    layers = api.layers
    x = api.Input((9, 8), name="x")
    y = layers.LayerNormalization()(layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)]))
    y = layers.Dense(140, activation="gelu")(y)
    return api.Model(x, layers.Dense(3, name="kind")(layers.GlobalAveragePooling1D()(y)))


NETWORKS = (dense, images, upsampling, several, tokens, recurrent, attention)
OUTPUTS = {several: ["first", "second"], upsampling: ["mask"]}


def made(network: Callable[[Any], Any], api: Any) -> Any:
    """The network with weights that matter: statistics and biases are no longer 0 and 1."""
    api.utils.set_random_seed(3)
    if network is recurrent and api is tf_keras:
        api = _KerasTwo()
    model = network(api)
    random = np.random.default_rng(0)
    for weight in model.weights:
        name = getattr(weight, "path", weight.name)
        if "variance" in name:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif any(part in name for part in ("mean", "bias", "beta")):
            weight.assign(random.normal(0, 0.1, weight.shape))
    return model


class _KerasTwo:
    """Keras 2 with Keras 3's name for the shape of an input."""

    layers, Model = tf_keras.layers, tf_keras.Model

    @staticmethod
    def Input(batch_shape: tuple[int, ...], name: str) -> Any:  # noqa: N802 - Keras's name
        return tf_keras.Input(batch_size=batch_shape[0], shape=batch_shape[1:], name=name)


def feeds(network: NetworkSource, seed: int, batch: int = 1) -> dict[str, Any]:
    """Inputs for an ONNX file."""
    random = np.random.default_rng(seed)
    session = onnxruntime.InferenceSession(str(network.model))
    arrays = {}
    for value in session.get_inputs():
        shape = [size if isinstance(size, int) else batch for size in value.shape]
        dtype = {"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}.get(value.type, "int32")
        if dtype == "float32":
            arrays[value.name] = random.normal(0, 1, shape).astype(dtype)
        else:
            low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype != "int32" else (0, 50)
            arrays[value.name] = random.integers(low, high, shape).astype(dtype)
    return arrays


def read(path: Path, kind: Kind, room: Path, settings: TaskConfig | None = None) -> NetworkSource:
    request = Request(artifacts=((path, kind),), target=room / "x.bundle", progress=lambda _: None)
    room.mkdir(exist_ok=True)
    network: NetworkSource = READERS[kind].read_network(request, settings or TaskConfig(), room)
    return network


def check_parity(network: NetworkSource, *, batches: tuple[int, ...] = (1,), samples: int = 12) -> None:
    """The framework is asked as `convert` asks it; versions keep the floor contract."""
    model = onnx.load(str(network.model))
    assert max(one.version for one in model.opset_import) <= OPSET
    assert model.ir_version <= IR_VERSION
    onnx.checker.check_model(str(network.model))
    session = onnxruntime.InferenceSession(str(network.model))
    names = [value.name for value in session.get_outputs()]
    inputs = [feeds(network, seed, batch) for batch in batches for seed in range(samples)]
    found = [dict(zip(names, session.run(None, one), strict=True)) for one in inputs]
    answers = asked(network, inputs, found)
    for ours, theirs in zip(found, answers, strict=True):
        assert {name: array.shape for name, array in ours.items()} == {n: array.shape for n, array in theirs.items()}
        assert {name: array.dtype for name, array in ours.items()} == {n: array.dtype for n, array in theirs.items()}
    network.close()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_three(network: Any, suffix: str, tmp_path: Path) -> None:
    """Archives and HDF5 files of Keras 3, by the names of their inputs and outputs, at any batch size."""
    model = made(network, keras)
    file = tmp_path / f"model.{suffix}"
    with silenced():
        model.save(file)
    source = read(file, "keras" if suffix == "keras" else "hdf5", tmp_path / "room")
    assert source.framework == "keras"
    assert source.version == keras.__version__
    given = onnx.load(str(source.model)).graph
    assert sorted(value.name for value in given.input) == sorted(value.name for value in model.inputs)
    assert [value.name for value in given.output] == OUTPUTS.get(network, ["kind"])
    check_parity(source, batches=(1,) if network is recurrent else (1, 3))


@pytest.mark.parametrize("network", [dense, images, several, recurrent])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_two(network: Any, suffix: str, tmp_path: Path) -> None:
    """Files of Keras 2, whose recurrent and depthwise layers Keras 3 does not load."""
    model = made(network, tf_keras)
    file = tmp_path / f"model.{suffix}"
    with silenced():
        model.save(file)
    source = read(file, "keras" if suffix == "keras" else "hdf5", tmp_path / "room")
    assert source.version == tf_keras.__version__
    check_parity(source, batches=(1,) if network is recurrent else (1, 3))


def test_keras_two_with_operators_of_tensorflow(tmp_path: Path) -> None:
    """A network of Keras 2 that calls TensorFlow's functions on its tensors needs no trust: they only calculate."""
    x = tf_keras.Input((4,), name="x")
    with silenced():
        tf_keras.Model(x, tf.nn.relu(x) * 2 + tf.reduce_mean(x, axis=1, keepdims=True)).save(tmp_path / "model.h5")
    check_parity(read(tmp_path / "model.h5", "hdf5", tmp_path / "room"), batches=(2,))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_saved_model(network: Any, tmp_path: Path) -> None:
    """What Keras 3 exports, at any batch size."""
    with silenced():
        made(network, keras).export(tmp_path / "saved")
    source = read(tmp_path / "saved", "saved-model", tmp_path / "room")
    assert source.framework == "tensorflow"
    assert {path.name for path in source.files} >= {"saved_model.pb", "variables.index"}
    check_parity(source, batches=(1,) if network is recurrent else (1, 3))


@pytest.mark.parametrize("network", [network for network in NETWORKS if network is not recurrent])
@pytest.mark.parametrize("kind", ["keras", "saved-model"])
def test_variables_too_large_for_a_graph(network: Any, kind: Kind, tmp_path: Path, monkeypatch: Any) -> None:
    """All variables reach the ONNX file beside TensorFlow's graph, as the largest do in models of 2 GiB."""
    monkeypatch.setattr(large, "LARGEST", 0)
    model = made(network, keras)
    file = tmp_path / "model.keras"
    with silenced():
        model.save(file) if kind == "keras" else model.export(file)
    source = read(file, kind, tmp_path / "room")
    graph = onnx.load(str(source.model)).graph
    assert sorted(value.name for value in graph.input) == sorted(value.name for value in model.inputs)
    # Kernels of convolutions are brought into ONNX's order here, not on the device.
    weights = {tensor.name for tensor in graph.initializer}
    assert not [node for node in graph.node if node.op_type == "Transpose" and node.input[0] in weights]
    check_parity(source, batches=(1, 3))


def test_an_input_called_as_a_variable_too_large_for_a_graph(tmp_path: Path, monkeypatch: Any) -> None:
    """The user's name for an input is not taken for the variable's."""
    monkeypatch.setattr(large, "LARGEST", 0)
    with tf.Graph().as_default() as graph:
        given = tf.compat.v1.placeholder(tf.float32, (None, 4), "given")
        table = tf.compat.v1.get_variable("table", initializer=np.ones((4, 3), np.float32), use_resource=True)
        answer = tf.matmul(given, table, name="answer")
        with tf.compat.v1.Session(graph=graph) as session, silenced():
            session.run(table.initializer)
            tf.compat.v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"table": given}, {"kind": answer})
    source = read(tmp_path / "saved", "saved-model", tmp_path / "room")
    assert [value.name for value in onnx.load(str(source.model)).graph.input] == ["table"]
    check_parity(source, batches=(1, 3))


def test_recurrent_weights_too_large_for_a_graph_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    """tf2onnx looks at the weights of recurrent layers, which therefore have to be in the graph."""
    monkeypatch.setattr(large, "LARGEST", 0)
    with silenced():
        made(recurrent, keras).export(tmp_path / "saved")
    with pytest.raises(UnsupportedError, match=r"lstm\S*kernel\S* must be Const"):
        read(tmp_path / "saved", "saved-model", tmp_path / "room")


def test_only_the_largest_variables_stay_outside_of_a_graph(monkeypatch: Any) -> None:
    """As few as bring the rest below the limit; none of a model that fits."""
    from tensorflow.python.framework import tensor_util

    monkeypatch.setattr(large, "LARGEST", 10)
    with large.kept_aside([4, 8, 4]) as values:
        tensors = [tensor_util.make_tensor_proto(np.zeros(count, np.uint8)) for count in (4, 8, 4)]
    assert [one.size for one in values] == [8]
    assert [one.version_number for one in tensors] == [0, 1, 0]
    with large.kept_aside([2, 8]) as values:
        tensor_util.make_tensor_proto(np.zeros(8, np.uint8))
    assert values == []


def test_a_saved_model_of_tensorflow_one(tmp_path: Path) -> None:
    """Variables of TensorFlow 1, with and without resources, in a graph of its own."""
    one = tf.compat.v1
    for resources in (False, True):
        directory = tmp_path / f"saved-{resources}"
        with tf.Graph().as_default(), one.Session() as session, silenced():
            x = one.placeholder(tf.float32, [None, 4], name="x")
            weights = one.get_variable("weights", [4, 3], use_resource=resources)
            y = tf.nn.softmax(tf.matmul(x, weights))
            session.run(one.global_variables_initializer())
            one.saved_model.simple_save(session, str(directory), {"x": x}, {"y": y})
        check_parity(read(directory, "saved-model", tmp_path / f"room-{resources}"), batches=(2,))


def test_a_loop_of_tensorflow_one(tmp_path: Path) -> None:
    """Written when loops were Switch and Merge: a recurrent layer step by step, its steps in a TensorArray."""
    one = tf.compat.v1
    one.disable_control_flow_v2()
    try:
        with tf.Graph().as_default(), one.Session() as session, silenced():
            x = one.placeholder(tf.float32, [None, 7, 5], name="x")
            weights = one.get_variable("weights", [5, 5], use_resource=False)
            steps = tf.transpose(x, [1, 0, 2])

            def step(i: Any, state: Any, seen: Any) -> Any:
                state = tf.tanh(tf.matmul(steps[i] + state, weights))
                return i + 1, state, seen.write(i, state)

            start = [0, tf.zeros_like(steps[0]), one.TensorArray(tf.float32, 7)]
            _, last, seen = one.while_loop(lambda i, *_: i < 7, step, start)
            outputs = {"all": seen.stack(), "last": last}
            session.run(one.global_variables_initializer())
            one.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, outputs)
    finally:
        one.enable_control_flow_v2()
    check_parity(read(tmp_path / "saved", "saved-model", tmp_path / "room"), batches=(1, 3))


class Two(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Two signatures, of which none is the usual one."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = tf.Variable(np.eye(3, dtype=np.float32) * 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def double(self, x: Any) -> Any:
        return {"y": x @ self.weights}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def negate(self, x: Any) -> Any:
        return {"y": -x}


def _two(directory: Path) -> None:
    module = Two()
    with silenced():
        tf.saved_model.save(module, str(directory), {"double": module.double, "negate": module.negate})


def test_one_of_several_signatures(tmp_path: Path) -> None:
    """The description names it; without, or with a wrong name, the message lists them."""
    _two(tmp_path / "two")
    source = read(tmp_path / "two", "saved-model", tmp_path / "room", TaskConfig(source={"signature": "double"}))
    check_parity(source, batches=(2,))
    for settings, words in (
        (TaskConfig(), "double, negate.*source: {signature: NAME}"),
        (TaskConfig(source={"signature": "triple"}), "no 'triple'; it has: double, negate"),
        (TaskConfig(source={"sign": "double"}), "source.sign: unknown key; known: signature"),
    ):
        with pytest.raises(UsageError, match=words):
            read(tmp_path / "two", "saved-model", tmp_path / "room", settings)


def test_an_operator_without_counterpart_is_named(tmp_path: Path) -> None:
    """With the place it is in."""

    class Odd(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
        @tf.function(input_signature=[tf.TensorSpec([3, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            with tf.name_scope("decomposition"):
                return {"y": tf.linalg.qr(x)[0]}

    module = Odd()
    with silenced():
        tf.saved_model.save(module, str(tmp_path / "odd"), {"serving_default": module.__call__})
    with pytest.raises(UnsupportedError, match=r"operators that cannot be converted: Qr \(of '.*decomposition"):
        read(tmp_path / "odd", "saved-model", tmp_path / "room")


def lite(network: Any, mode: str) -> bytes:
    """The network as a TensorFlow Lite model, quantized or not."""
    model = made(network, keras)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if mode != "float":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if mode == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if mode in {"int8", "uint8", "int8 inside"}:
        random = np.random.default_rng(7)

        def calibration() -> Any:
            for _ in range(30):
                arrays = {
                    one.name: random.integers(0, 50, (1, *one.shape[1:])).astype("int32")
                    if one.dtype == "int32"
                    else random.normal(0, 1, (1, *one.shape[1:])).astype("float32")
                    for one in model.inputs
                }
                yield arrays if len(arrays) > 1 else list(arrays.values())

        converter.representative_dataset = calibration
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if mode != "int8 inside":
            kind = tf.int8 if mode == "int8" else tf.uint8
            converter.inference_input_type = converter.inference_output_type = kind
    with silenced():
        content: bytes = converter.convert()
    return content


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("mode", ["float", "float16", "dynamic"])
def test_tensorflow_lite(network: Any, mode: str, tmp_path: Path) -> None:
    """Weights in float32, float16 and int8; those in integers or float16 are not made larger."""
    file = tmp_path / "model.tflite"
    file.write_bytes(lite(network, mode))
    source = read(file, "tflite", tmp_path / "room")
    assert source.framework == "tensorflow-lite"
    check_parity(source)
    if mode != "float":
        stored = sum(path.stat().st_size for path in source.model.parent.iterdir())
        assert stored < len(lite(network, "float"))


@pytest.mark.parametrize("network", [dense, images, upsampling, several, tokens, attention])
@pytest.mark.parametrize("mode", ["int8", "uint8", "int8 inside"])
def test_quantized_tensorflow_lite(network: Any, mode: str, tmp_path: Path) -> None:
    """Integers within, and at the ends where the file has them there: numbers within a few steps, in a small file."""
    file = tmp_path / "model.tflite"
    file.write_bytes(lite(network, mode))
    source = read(file, "tflite", tmp_path / "room")
    assert source.steps
    model = onnx.load(str(source.model))
    kinds = {
        tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1 and np.prod(tensor.dims) > 64
    }
    assert onnx.TensorProto.FLOAT not in kinds
    ends = {value.type.tensor_type.elem_type for value in model.graph.output}
    assert ends == {{"int8": onnx.TensorProto.INT8, "uint8": onnx.TensorProto.UINT8}.get(mode, onnx.TensorProto.FLOAT)}
    check_parity(source, samples=30)


def test_signatures_of_tensorflow_lite(tmp_path: Path) -> None:
    """Each is a graph of its own; the description names one."""
    module = Two()
    functions = [module.double.get_concrete_function(), module.negate.get_concrete_function()]
    _two(tmp_path / "two")
    with silenced():
        content = tf.lite.TFLiteConverter.from_saved_model(
            str(tmp_path / "two"), signature_keys=["double", "negate"]
        ).convert()
    assert len(functions) == 2
    (tmp_path / "two.tflite").write_bytes(content)
    for name, factor in (("double", 2), ("negate", -1)):
        settings = TaskConfig(source={"signature": name})
        source = read(tmp_path / "two.tflite", "tflite", tmp_path / f"room-{name}", settings)
        check_parity(source, batches=(1,))
        session = onnxruntime.InferenceSession(str(source.model))
        x = np.ones((1, 3), np.float32)
        np.testing.assert_allclose(session.run(None, {"x": x})[0], x * factor)


def test_an_operator_of_tensorflow_in_a_lite_model_is_named(tmp_path: Path) -> None:
    """What the converter could not express in TensorFlow Lite's own operators."""
    function = tf.function(lambda x: tf.linalg.qr(x)[0]).get_concrete_function(tf.TensorSpec([3, 3], tf.float32))
    with silenced():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
        (tmp_path / "flex.tflite").write_bytes(converter.convert())
    with pytest.raises(UnsupportedError, match="CUSTOM 'FlexQr'"):
        read(tmp_path / "flex.tflite", "tflite", tmp_path / "room")


def test_a_quantized_model_becomes_one_variant_that_checks(tmp_path: Path, monkeypatch: Any) -> None:
    """It is not quantized again; its golden answers are TensorFlow Lite's, and it passes them."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "model.tflite").write_bytes(lite(images, "int8 inside"))
    report = convert(tmp_path / "model.tflite", tmp_path / "model.bundle")
    assert len([one for one in report.variants if one.left_out is None]) == 1
    assert any("already quantized" in warning for warning in report.warnings)
    with ortolan.load(tmp_path / "model.bundle") as model:
        assert model.check().drop == 0


def test_a_keras_model_becomes_a_bundle(tmp_path: Path, monkeypatch: Any) -> None:
    """Whatever the file is called; fp16 and int8 are tried, and the answers are Keras's."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    model = made(dense, keras)
    with silenced():
        model.save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "weights.bin")
    report = convert(tmp_path / "weights.bin", tmp_path / "model.bundle")
    assert report.provenance.framework == "keras"
    assert "tensorflow" in report.provenance.versions
    x = np.random.default_rng(5).normal(0, 1, (4, 16)).astype(np.float32)
    with ortolan.load(tmp_path / "model.bundle", variant="fp32") as loaded:
        assert loaded.check().drop == 0
        np.testing.assert_allclose(loaded.run({"x": x})["kind"], model(x).numpy(), atol=1e-5)

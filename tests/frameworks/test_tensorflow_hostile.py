"""Files of TensorFlow and Keras that are damaged, hostile or too new are refused in one line and run nothing."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan.errors import ConversionError, OrtolanError, StorageError, TrustRequiredError, UnsupportedError, UsageError
from ortolan_convert.convert import convert
from ortolan_convert.sources.tensorflow.keras_config import check_config
from ortolan_convert.sources.tensorflow.quiet import silenced, tensorflow
from ortolan_convert.sources.tensorflow_lite.file import read_lite

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("tf2onnx")
tf = tensorflow()
h5py = pytest.importorskip("h5py")
keras = pytest.importorskip("keras")
tf_keras = pytest.importorskip("tf_keras")


def small(api: Any, *more: Any) -> Any:
    x = api.Input((4,), name="x")
    y = api.layers.Dense(3, name="inner")(x)
    for layer in more:
        y = layer(y)
    return api.Model(x, y)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small sound model in every format."""
    directory = tmp_path_factory.mktemp("sound")
    model = small(keras)
    with silenced():
        model.save(directory / "model.keras")
        model.save(directory / "model.h5")
        model.save_weights(directory / "model.weights.h5")
        model.export(directory / "saved")
        content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (directory / "model.tflite").write_bytes(content)
    return directory


def refused(path: Path, room: Path, error: type[OrtolanError] = ConversionError, *, trust: bool = False) -> str:
    """The one line that says why it is refused; nothing is left behind."""
    with pytest.raises(error) as caught:
        convert(path, room / "x.bundle", trust=trust)
    assert not (room / "x.bundle").exists()
    message = str(caught.value)
    assert "\n" not in message
    return message


def rezipped(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes] | None = None
) -> Path:
    """The archive with its members changed, and more of them."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in (more or {}).items():
            new.writestr(name, content)
    return target


def unchanged(name: str, content: bytes) -> bytes:
    return content


@pytest.mark.parametrize("api", [keras, tf_keras], ids=["keras-3", "keras-2"])
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_lambda_layer_needs_trust(api: Any, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its canary does not run without, however deep the layer is; with trust it does, and the model converts."""
    canary = tmp_path / "canary"
    monkeypatch.setenv("ORTOLAN_CANARY", str(canary))
    x = api.Input((3,))
    bite = api.layers.Lambda(
        lambda x: (__import__("pathlib").Path(__import__("os").environ["ORTOLAN_CANARY"]).touch(), x * 2)[1],
        output_shape=(3,),
        name="bite",
    )
    model = small(api, api.Model(x, bite(x)))
    file = tmp_path / f"model.{suffix}"
    with silenced():
        model.save(file)
    canary.unlink(missing_ok=True)
    assert "layer 'bite'" in refused(file, tmp_path, TrustRequiredError)
    assert not canary.exists()
    report = convert(file, tmp_path / "trusted.bundle", trust=True)
    assert canary.exists()
    assert any("layer 'bite'" in warning for warning in report.warnings)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"class_name": "Lambda", "config": {"name": "a"}}, "a Python function"),
        ({"class_name": "keras.layers.lambda", "config": {"name": "a"}}, "a Python function"),
        ({"class_name": "TFSMLayer", "module": "keras.layers", "config": {"name": "a"}}, "SavedModel"),
        ({"class_name": "TorchModuleWrapper", "config": {"name": "a"}}, "pickled"),
        ({"class_name": "Popen", "module": "subprocess", "config": {"args": ["true"]}}, "module subprocess"),
        ({"class_name": "function", "module": "builtins", "config": "eval"}, "module builtins"),
        ({"class_name": "function", "module": "keras.utils", "config": "get_file"}, "module keras.utils"),
        ({"class_name": "function", "module": "keras.src.utils.file_utils", "config": "get_file"}, "module keras.src"),
        ({"class_name": "function", "config": "mine"}, "of its maker's"),
        ({"class_name": "My", "module": None, "registered_name": "mine>My", "config": {"name": "a"}}, "mine>My"),
        ({"class_name": "mine>My", "config": {"name": "a"}}, "mine>My"),
        ({"class_name": "TFOpLambda", "config": {"name": "a", "function": "io.gfile.remove"}}, "io.gfile.remove"),
        ({"class_name": "TFOpLambda", "config": {"name": "a", "function": "py_function"}}, "py_function"),
        ({"class_name": "ClassMethod", "config": {"name": "a"}}, "a method"),
    ],
)
def test_descriptions_that_run_code(entry: dict[str, Any], words: str) -> None:
    """Wherever they hide: as a layer, in a wrapper, as an initializer."""
    for config in (
        {"layers": [entry]},
        {"layers": [{"class_name": "TimeDistributed", "config": {"name": "outer", "layer": entry}}]},
        {"layers": [{"class_name": "Dense", "config": {"name": "d", "kernel_initializer": entry}}]},
    ):
        with pytest.raises(TrustRequiredError, match=words):
            check_config({"class_name": "Functional", "config": config}, Path("model.keras"), trust=False)


def test_a_table_layer_is_refused_by_name() -> None:
    """It could also read a file that the description names."""
    entry = {"class_name": "StringLookup", "config": {"name": "words", "vocabulary": "/etc/passwd"}}
    with pytest.raises(UnsupportedError, match="layer 'words': StringLookup"):
        check_config({"class_name": "Functional", "config": {"layers": [entry]}}, Path("m.keras"), trust=True)


def _saved(directory: Path, function: Any) -> Path:
    module = tf.Module()
    module.f = tf.function(function, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    with silenced():
        tf.saved_model.save(module, str(directory), {"serving_default": module.f})
    return directory


def test_a_graph_that_writes_a_file(tmp_path: Path) -> None:
    """The operator is named, and does not run: neither in the graph nor in a function that it calls."""
    canary = tmp_path / "canary"

    def write(x: Any) -> Any:
        tf.io.write_file(str(canary), "ran")
        return {"y": x * 2}

    message = refused(_saved(tmp_path / "saved", write), tmp_path, UnsupportedError)
    assert "operator WriteFile" in message
    assert not canary.exists()


def test_a_graph_that_reads_a_file(tmp_path: Path) -> None:
    """What is on the disk does not get into a model."""

    def read(x: Any) -> Any:
        return {"y": x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)}

    assert "operator" in refused(_saved(tmp_path / "saved", read), tmp_path, UnsupportedError)


def test_a_graph_that_calls_python(tmp_path: Path) -> None:
    """A Python function cannot be converted."""

    def call(x: Any) -> Any:
        return {"y": tf.ensure_shape(tf.numpy_function(lambda x: x, [x], tf.float32), [None, 4])}

    assert "operator PyFunc" in refused(_saved(tmp_path / "saved", call), tmp_path, UnsupportedError)


def test_an_initializer_does_not_run(tmp_path: Path) -> None:
    """TensorFlow 1's main operator of a SavedModel would run on loading: the graph is taken without it."""
    canary = tmp_path / "canary"
    one = tf.compat.v1
    with tf.Graph().as_default(), one.Session() as session, silenced():
        x = one.placeholder(tf.float32, [None, 4], name="x")
        y = tf.matmul(x, one.get_variable("weights", [4, 3]))
        session.run(one.global_variables_initializer())
        builder = one.saved_model.Builder(str(tmp_path / "saved"))
        info = one.saved_model.predict_signature_def({"x": x}, {"y": y})
        main = tf.io.write_file(str(canary), "ran")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": info}, main_op=main)
        builder.save()
    convert(tmp_path / "saved", tmp_path / "x.bundle")
    assert not canary.exists()


def test_texts_and_tables_are_refused_by_name(tmp_path: Path) -> None:
    """With the operator and its place."""
    module = tf.Module()
    module.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0)
    module.f = tf.function(
        lambda x: {"y": module.table.lookup(x)}, input_signature=[tf.TensorSpec([None], tf.string, name="x")]
    )
    with silenced():
        tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.f})
    assert "Table" in refused(tmp_path / "saved", tmp_path, UnsupportedError)


def test_a_network_with_a_memory_is_refused(tmp_path: Path) -> None:
    """Its answers would depend on what it was asked before."""
    module = tf.Module()
    module.state = tf.Variable(tf.zeros([4]))

    def count(x: Any) -> Any:
        return {"y": x + module.state.assign_add(tf.ones([4]))}

    module.f = tf.function(count, input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])
    with silenced():
        tf.saved_model.save(module, str(tmp_path / "saved"), {"serving_default": module.f})
    assert "changes its own variables" in refused(tmp_path / "saved", tmp_path, UnsupportedError)


def test_links_out_of_an_hdf5_file(files: Path, tmp_path: Path) -> None:
    """External links and data sets could read any file."""
    (tmp_path / "secret").write_bytes(bytes(64))
    for change in (
        lambda file: file.__setitem__("model_weights/leak", h5py.ExternalLink("/etc/passwd", "/")),
        lambda file: file.__setitem__("model_weights/leak", h5py.SoftLink("/model_weights")),
        lambda file: file.create_dataset("leak", (16,), "f4", external=[(str(tmp_path / "secret"), 0, 64)]),
    ):
        (tmp_path / "model.h5").write_bytes((files / "model.h5").read_bytes())
        with h5py.File(tmp_path / "model.h5", "a") as file:
            change(file)
        assert "/leak" in refused(tmp_path / "model.h5", tmp_path, UnsupportedError)


def test_an_hdf5_file_that_swells(files: Path, tmp_path: Path) -> None:
    """A data set of a terabyte that takes no place in the file."""
    (tmp_path / "model.h5").write_bytes((files / "model.h5").read_bytes())
    with h5py.File(tmp_path / "model.h5", "a") as file:
        file.create_dataset("bomb", (1 << 38,), "f4", chunks=(1 << 20,), compression="gzip")
    assert "/bomb" in refused(tmp_path / "model.h5", tmp_path)


def test_members_that_do_not_belong(files: Path, tmp_path: Path) -> None:
    """Assets, paths out of the archive and members that come twice."""
    for name in ("assets/vocabulary.txt", "../escape", "config.json"):
        path = tmp_path / "model.keras"
        with pytest.warns(UserWarning, match="Duplicate") if name == "config.json" else silenced():
            rezipped(files / "model.keras", path, unchanged, {name: b"{}"})
        refused(path, tmp_path, UnsupportedError)
    assert not (tmp_path.parent / "escape").exists()


def test_a_newer_version(files: Path, tmp_path: Path) -> None:
    """Of Keras, of SavedModel and of TensorFlow Lite: the message says both versions or the one expected."""

    def newer(name: str, content: bytes) -> bytes:
        return json.dumps({"keras_version": "9.1.0"}).encode() if name == "metadata.json" else content

    message = refused(rezipped(files / "model.keras", tmp_path / "m.keras", newer), tmp_path, UnsupportedError)
    assert "Keras 9.1.0" in message
    assert keras.__version__ in message
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((files / "saved" / "saved_model.pb").read_bytes())
    saved.saved_model_schema_version = 7
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(saved.SerializeToString())
    assert "schema version 1, found 7" in refused(tmp_path / "saved", tmp_path, UnsupportedError)
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf((files / "model.tflite").read_bytes(), 0)
    model.version = 9
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "m.tflite").write_bytes(bytes(builder.Output()))
    assert "version 3 of the format, found 9" in refused(tmp_path / "m.tflite", tmp_path, UnsupportedError)


def test_weights_alone(files: Path, tmp_path: Path) -> None:
    """They do not say which network they are of."""
    assert "save the whole model" in refused(files / "model.weights.h5", tmp_path, UnsupportedError)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    """NaN is refused with the weight's name, in every format."""
    model = small(keras)
    kernel = model.get_layer("inner").kernel
    kernel.assign(np.where(np.arange(12).reshape(4, 3) == 5, np.nan, 1).astype("float32"))
    with silenced():
        model.save(tmp_path / "model.keras")
        model.save(tmp_path / "model.h5")
        model.export(tmp_path / "saved")
        content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (tmp_path / "model.tflite").write_bytes(content)
    for name in ("model.keras", "model.h5", "saved", "model.tflite"):
        message = refused(tmp_path / name, tmp_path)
        assert "1 of its 12 numbers are NaN" in message
        assert name == "saved" or "inner" in message or "MatMul" in message


def test_variables_that_are_missing(files: Path, tmp_path: Path) -> None:
    """A SavedModel whose variables were not copied along."""
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes((files / "saved" / "saved_model.pb").read_bytes())
    assert "variables/ is missing" in refused(tmp_path / "saved", tmp_path)


def _damaged(content: bytes, seed: int) -> bytes:
    """Cut short, or with some bits flipped."""
    chance = random.Random(seed)
    if seed % 4 == 0:
        return content[: chance.randrange(1, len(content))]
    changed = bytearray(content)
    for _ in range(chance.choice([1, 4, 16])):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize("name", ["model.keras", "model.h5", "saved/saved_model.pb", "saved/variables/variables.index"])
def test_damaged_files(name: str, files: Path, tmp_path: Path) -> None:
    """They convert (where only a weight changed) or are refused in one line."""
    for seed in range(16):
        for file in (files / "saved").rglob("*"):
            if file.is_file():
                copy = tmp_path / "saved" / file.relative_to(files / "saved")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
        (tmp_path / name).write_bytes(_damaged((files / name).read_bytes(), seed))
        try:
            convert(tmp_path / Path(name).parts[0], tmp_path / "x.bundle", overwrite=True, quantize=())
        except OrtolanError as error:
            assert "\n" not in str(error)


_FUZZ = """
import sys
from pathlib import Path
from ortolan.errors import OrtolanError
from ortolan_convert.convert import convert
for name in sys.argv[1:]:
    try:
        convert(name, name + ".bundle", overwrite=True, quantize=())
    except OrtolanError as error:
        assert chr(10) not in str(error)
print("survived")
"""


def test_damaged_lite_files_do_not_end_the_process(files: Path, tmp_path: Path) -> None:
    """TensorFlow Lite's interpreter would follow a wrong offset: what gets to it was checked."""
    content = (files / "model.tflite").read_bytes()
    names = []
    for seed in range(40):
        path = tmp_path / f"{seed}.tflite"
        path.write_bytes(_damaged(content, seed))
        names.append(str(path))
    done = subprocess.run([sys.executable, "-c", _FUZZ, *names], capture_output=True, text=True, check=False)
    assert "survived" in done.stdout, done.stderr[-2000:]


def test_empty_and_cut_lite_files(files: Path, tmp_path: Path) -> None:
    """At every length of the beginning, and none."""
    content = (files / "model.tflite").read_bytes()
    for length in (8, 9, 20, 40, 100, len(content) // 2, len(content) - 4):
        (tmp_path / "cut.tflite").write_bytes(content[:length])
        with pytest.raises(ConversionError):
            read_lite(tmp_path / "cut.tflite")
    (tmp_path / "empty.tflite").write_bytes(b"")
    assert "empty" in refused(tmp_path / "empty.tflite", tmp_path)


def test_keys_that_a_keras_model_does_not_have(files: Path, tmp_path: Path) -> None:
    """A description with a `source` for it is a mistake."""
    (tmp_path / "task.yaml").write_text("source: {signature: x}")
    with pytest.raises(UsageError, match=r"source\.signature"):
        convert(files / "model.keras", tmp_path / "x.bundle", config=tmp_path / "task.yaml")


def test_nothing_is_printed(files: Path, tmp_path: Path) -> None:
    """TensorFlow's own messages stay off the terminal."""
    program = (
        "from pathlib import Path\n"
        "from ortolan_convert.request import Request\n"
        "from ortolan_convert.task_config import TaskConfig\n"
        "from ortolan_convert.sources import keras, saved_model, tflite\n"
        "import sys\n"
        "for reader, name, kind in ((keras, 'model.keras', 'keras'), (saved_model, 'saved', 'saved-model'),"
        " (tflite, 'model.tflite', 'tflite')):\n"
        "    room = Path(sys.argv[2], kind); room.mkdir()\n"
        "    request = Request(artifacts=((Path(sys.argv[1], name), kind),), target=room / 'x', progress=print)\n"
        "    network = reader.read_network(request, TaskConfig(), room)\n"
        "    import numpy\n"
        "    network.ask({'x': numpy.zeros((1, 4), 'float32')})\n"
        "    network.close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(files), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert done.stderr == ""


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """As any other."""
    with pytest.raises(StorageError):
        convert(tmp_path / "none.keras", tmp_path / "x.bundle")

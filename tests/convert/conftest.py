"""Small corpora, trained pipelines and conversions for the tests of the converters."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from typing import TYPE_CHECKING, Any

import joblib
import onnx
import pytest
import skops.io
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ortolan_convert.report import ConversionReport

ENGLISH = (
    ("a good phone, good price", "pos"),
    ("the battery is bad and the screen is bad", "neg"),
    ("I love this café, naïve but good", "pos"),
    ("terrible service, never again", "neg"),
    ("Great camera and GREAT sound", "pos"),
    ("does not work, bad bad bad", "neg"),
    ("works fine, nothing special", "mid"),
    ("it is okay for the price", "mid"),
    ("average sound, average screen", "mid"),
    ("good service and a good camera", "pos"),
    ("bad price, terrible battery", "neg"),
    ("okay phone, fine screen", "mid"),
)
CHINESE = (
    ("这个手机很好用，物流也快", "pos"),
    ("质量太差了，退货", "neg"),
    ("非常满意，还会再来", "pos"),
    ("电池不行，充电慢", "neg"),
    ("一般般，凑合用", "mid"),
    ("价格还行，质量一般", "mid"),
    ("很好很喜欢", "pos"),
    ("差评，客服态度差", "neg"),
    ("还可以吧，一般", "mid"),
)
CORPUS = (*ENGLISH, *CHINESE) * 3


@pytest.fixture(scope="session")
def corpus() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts in English and Chinese, and their labels pos, neg and mid."""
    texts, labels = zip(*CORPUS, strict=True)
    return texts, labels


@pytest.fixture(scope="session")
def binary(corpus: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The texts labelled pos and neg."""
    texts, labels = zip(*(row for row in zip(*corpus, strict=True) if row[1] != "mid"), strict=True)
    return texts, labels


@pytest.fixture
def converted(tmp_path: Path) -> Callable[..., ConversionReport]:
    """Saves fitted estimators with joblib and converts them, on samples if texts are given."""

    def run(*estimators: Any, texts: Sequence[str] | None = None, **options: Any) -> ConversionReport:
        files = []
        for index, estimator in enumerate(estimators):
            files.append(tmp_path / f"part{index}.joblib")
            joblib.dump(estimator, files[-1])
        if texts is not None:
            samples = tmp_path / "samples.jsonl"
            samples.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
            options["samples"] = samples
        options = {"trust": True, "overwrite": True, **options}
        return convert(files, tmp_path / "out.bundle", **options)

    return run


@pytest.fixture(scope="session")
def sentiment(tmp_path_factory: pytest.TempPathFactory, binary: Any) -> Path:
    """A joblib file of characters 1-2 grams and logistic regression."""
    path: Path = tmp_path_factory.mktemp("artifacts") / "sentiment.joblib"
    pipeline = make_pipeline(TfidfVectorizer(analyzer="char", ngram_range=(1, 2)), LogisticRegression())
    joblib.dump(pipeline.fit(*binary), path)
    return path


def _zipped(members: Mapping[str, str | bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def _field(number: int, content: bytes) -> bytes:
    """A field of a Protocol Buffers message, of less than 128 bytes a piece."""
    return bytes([number << 3 | 2]) + bytes([len(content) & 0x7F | 0x80, len(content) >> 7]) + content


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def _state_dict(*more: bytes) -> bytes:
    """The pickle in a file of `torch.save` of one tensor of 2 x 3 numbers, written without torch."""
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x06tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86\x89N" + b"tR"
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + _text("a.weight") + tensor + b"".join(more) + b"u."


def _program(**changes: object) -> bytes:
    """The JSON in an ExportedProgram of PyTorch, written without torch."""
    node = {"target": "torch.ops.aten.relu.default", "inputs": [], "outputs": [], "metadata": {}}
    size = {"as_expr": {"expr_str": "Symbol('s77', positive=True, integer=True)", "hint": {"as_int": 2}}}
    graph = {"nodes": [node], "tensor_values": {"x": {"sizes": [size, {"as_int": 4}]}}}
    signature = {"input_specs": [{"user_input": {"arg": {"as_tensor": {"name": "x"}}}}]}
    module = {"graph": graph, "signature": signature}
    return json.dumps({"graph_module": module, "torch_version": "2.9.0", "guards_code": [], **changes}).encode()


def _keras(*layers: str) -> str:
    inner = [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "dtype": "float32", "name": "x"}},
        *({"module": "keras.layers", "class_name": name, "config": {"name": name.lower()}} for name in layers),
    ]
    return json.dumps({"class_name": "Sequential", "config": {"name": "m", "layers": inner}})


def _saved_model(*operators: str) -> bytes:
    nodes = b"".join(_field(1, _field(1, b"n") + _field(2, name.encode())) for name in operators)
    dims = _field(2, b"\x08" + b"\xff" * 9 + b"\x01") + _field(2, b"\x08\x04")
    tensor = _field(1, _field(1, b"x") + _field(2, b"\x10\x01" + _field(3, dims)))
    signature = _field(5, _field(1, b"serving_default") + _field(2, tensor))
    about = _field(1, _field(4, b"serve") + _field(5, b"2.21.0"))
    return b"\x08\x01" + _field(2, about + _field(2, nodes) + signature)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory, binary: Any, sentiment: Path) -> Mapping[str, Path]:
    """A small file or directory of every kind, and of some that hold code; most are too small to be models."""
    place = tmp_path_factory.mktemp("kinds")
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    hdf5 = (
        b"\x89HDF\r\n\x1a\n" + bytes(80) + b"keras_version" + bytes(9) + b"GCOL\x01" + bytes(9) + b"3.15.1" + bytes(9)
    )
    xgboost = {"learner": {"gradient_booster": {"name": "gbtree"}, "learner_model_param": {"num_feature": "4"}}}
    ubjson = (
        b"{L" + struct.pack(">q", 7) + b"learner{L" + struct.pack(">q", 11) + b"num_featureSL" + struct.pack(">q", 1)
    )
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> m (float[n] x) => (float[n] y) { y = Relu(x) }'
    )
    attack = b"cposix\nsystem\n" + _text("true") + b"\x85R"
    contents = {
        "onnx": model.SerializeToString(),
        "keras": _zipped({"config.json": _keras("Dense"), "metadata.json": '{"keras_version": "3.15.1"}'}),
        "keras lambda": _zipped({"config.json": _keras("Lambda"), "metadata.json": '{"keras_version": "3.15.1"}'}),
        "hdf5": hdf5 + _keras("Dense").encode() + bytes(9),
        "hdf5 lambda": hdf5 + _keras("Lambda").encode() + bytes(9),
        "tflite": b"\x1c\x00\x00\x00TFL3" + bytes(64),
        "torch-exported": _zipped({"m/models/model.json": _program(), "m/archive_format": "pt2"}),
        "torch-exported code": _zipped(
            {
                "m/models/model.json": _program(guards_code=["__import__('os').system('true')"]),
                "m/archive_format": "pt2",
            }
        ),
        "torchscript": _zipped(
            {
                "m/data.pkl": b"\x80\x02c__torch__\nN\n)\x81}b.",
                "m/constants.pkl": b"\x80\x02).",
                "m/version": "3\n",
                "m/code/__torch__.py": "class N(Module):\n def forward(self: __torch__.N,\n  x: Tensor) -> Tensor:\n",
            }
        ),
        "torch-weights": _zipped({"m/data.pkl": _state_dict(), "m/version": "3\n", "m/data/0": bytes(24)}),
        "torch-weights code": _zipped({"m/data.pkl": _state_dict(_text("b"), attack), "m/version": "3\n"}),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(8),
        "xgboost-json": json.dumps({**xgboost, "version": [3, 2, 0]}).encode(),
        "xgboost-ubj": ubjson + b"4" + b"}}",
        "lightgbm": b"tree\nversion=v4\nnum_class=1\nobjective=regression\nfeature_names=a b\ntree_sizes=9\n\nTree=0\n",
        "catboost": b"CBM1" + bytes(60) + b"Branch: tags/v1.2.10" + bytes(9),
        "pickle": sentiment.read_bytes(),
        "pickle code": pickle.dumps([_Harmless()]),
    }
    for name, content in contents.items():
        (place / name).write_bytes(content)
    skops.io.dump(joblib.load(sentiment), place / "skops")
    for name, file, inner in (
        ("saved-model", "saved_model.pb", _saved_model("Relu", "PyFunc", "ReadFile")),
        ("huggingface", "config.json", b'{"architectures": ["BertModel"], "transformers_version": "5.24.0"}'),
        ("huggingface code", "config.json", b'{"auto_map": {"AutoModel": "modeling.Own"}}'),
    ):
        (place / name).mkdir()
        (place / name / file).write_bytes(inner)
    return {path.name: path for path in sorted(place.iterdir())}


class _Harmless:
    def __reduce__(self) -> Any:
        return print, ("a canary sang",)

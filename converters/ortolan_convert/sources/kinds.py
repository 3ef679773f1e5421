"""The kinds of training artifacts: what each is called, what it needs, and who converts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal[
    "onnx",
    "huggingface",
    "saved-model",
    "keras",
    "hdf5",
    "tflite",
    "torch-exported",
    "torchscript",
    "torch-weights",
    "safetensors",
    "xgboost-json",
    "xgboost-ubj",
    "lightgbm",
    "catboost",
    "skops",
    "pickle",
]

_NETWORK = "ortolan_convert.networks.bundle:convert_network"
_SCIKIT_LEARN = "ortolan_convert.sources.scikit_learn.convert:convert_scikit_learn"
_TREES = "ortolan_convert.tables.bundle:convert_table"


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """A kind of artifact.

    Args:
        title: what it is, with its article, for messages.
        extra: Ortolan's extra that brings what it needs.
        modules: what must be importable: module -> its package.
        converter: ``module:function`` that takes a :class:`~ortolan_convert.request.Request`.
        reader: ``module:function`` that reads it for that converter; None where the converter does it itself.
        runs_code: what of it runs code when it is read; None if nothing does.
        always_runs_code: whether there is no such file that can be read without running code.
    """

    title: str
    extra: str
    modules: Mapping[str, str]
    converter: str
    reader: str | None = None
    runs_code: str | None = None
    always_runs_code: bool = False


_ONNX = {"onnx": "onnx", "onnxruntime": "onnxruntime"}
_TORCH = {**_ONNX, "torch": "torch", "onnxscript": "onnxscript"}
_TENSORFLOW = {**_ONNX, "tensorflow": "tensorflow", "tf2onnx": "tf2onnx"}
_UNPICKLING = "it calls what it names"

KINDS: Mapping[Kind, KindRow] = {
    "onnx": KindRow(
        title="an ONNX model",
        extra="convert",
        modules=_ONNX,
        converter=_NETWORK,
        reader="ortolan_convert.sources.onnx_file:read_network",
    ),
    "huggingface": KindRow(
        title="a directory of a Hugging Face model",
        extra="transformers",
        modules={**_ONNX, "tokenizers": "tokenizers"},
        converter="ortolan_convert.huggingface.bundle:convert_huggingface",
        runs_code="weights that are a pickle, and a model that is code of its own (auto_map)",
    ),
    "saved-model": KindRow(
        title="a TensorFlow SavedModel",
        extra="tensorflow",
        modules=_TENSORFLOW,
        converter=_NETWORK,
        reader="ortolan_convert.sources.saved_model:read_network",
    ),
    "keras": KindRow(
        title="a Keras model",
        extra="tensorflow",
        modules=_TENSORFLOW,
        converter=_NETWORK,
        reader="ortolan_convert.sources.keras:read_network",
        runs_code="Lambda layers in it",
    ),
    "hdf5": KindRow(
        title="an HDF5 file of Keras",
        extra="tensorflow",
        modules=_TENSORFLOW,
        converter=_NETWORK,
        reader="ortolan_convert.sources.keras:read_network",
        runs_code="Lambda layers in it",
    ),
    "tflite": KindRow(
        title="a TensorFlow Lite model",
        extra="tensorflow",
        modules=_TENSORFLOW,
        converter=_NETWORK,
        reader="ortolan_convert.sources.tflite:read_network",
    ),
    "torch-exported": KindRow(
        title="a PyTorch ExportedProgram (.pt2)",
        extra="torch",
        modules=_TORCH,
        converter=_NETWORK,
        reader="ortolan_convert.sources.pytorch.reader:read_network",
        runs_code="anything in it but a graph of PyTorch's own operators and tensors",
    ),
    "torchscript": KindRow(
        title="a TorchScript model",
        extra="torch",
        modules=_TORCH,
        converter=_NETWORK,
        reader="ortolan_convert.sources.pytorch.reader:read_network",
        runs_code="operators in it that reach files or other machines",
    ),
    "torch-weights": KindRow(
        title="weights or a checkpoint saved by PyTorch",
        extra="torch",
        modules=_TORCH,
        converter=_NETWORK,
        reader="ortolan_convert.sources.pytorch.reader:read_network",
        runs_code="anything in it but tensors and plain values",
    ),
    "safetensors": KindRow(
        title="a safetensors file of weights",
        extra="torch",
        modules={**_TORCH, "safetensors": "safetensors"},
        converter=_NETWORK,
        reader="ortolan_convert.sources.pytorch.reader:read_network",
    ),
    "xgboost-json": KindRow(
        title="an XGBoost model (JSON)",
        extra="boosting",
        modules={**_ONNX, "xgboost": "xgboost"},
        converter=_TREES,
        reader="ortolan_convert.sources.boosting.xgboost:read_table_model",
    ),
    "xgboost-ubj": KindRow(
        title="an XGBoost model (UBJSON)",
        extra="boosting",
        modules={**_ONNX, "xgboost": "xgboost"},
        converter=_TREES,
        reader="ortolan_convert.sources.boosting.xgboost:read_table_model",
    ),
    "lightgbm": KindRow(
        title="a LightGBM model",
        extra="boosting",
        modules={**_ONNX, "lightgbm": "lightgbm"},
        converter=_TREES,
        reader="ortolan_convert.sources.boosting.lightgbm:read_table_model",
    ),
    "catboost": KindRow(
        title="a CatBoost model",
        extra="boosting",
        modules={**_ONNX, "catboost": "catboost"},
        converter=_TREES,
        reader="ortolan_convert.sources.boosting.catboost:read_table_model",
    ),
    "skops": KindRow(
        title="a skops file of a scikit-learn model",
        extra="sklearn",
        modules={**_ONNX, "sklearn": "scikit-learn", "skops": "skops"},
        converter=_SCIKIT_LEARN,
    ),
    "pickle": KindRow(
        title="a joblib or pickle file",
        extra="sklearn",
        modules={**_ONNX, "sklearn": "scikit-learn", "joblib": "joblib"},
        converter=_SCIKIT_LEARN,
        runs_code=_UNPICKLING,
        always_runs_code=True,
    ),
}
"""In the order in which they decide: of several kinds given together, the first here converts them all."""

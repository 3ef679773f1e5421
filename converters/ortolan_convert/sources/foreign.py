"""Files that look like models and cannot be converted: what each is called, and what to give instead."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    Rows = tuple[tuple[re.Pattern[bytes], str], ...]

MOST_ENTRIES = 10_000
"""Entries of a directory that are looked at."""

_GGUF = "a GGUF file of llama.cpp; give the Hugging Face directory or ONNX file of the original model"
_TAR = "a tar archive; unpack it and give the model inside"
_NEEDS_WEIGHTS = (
    "the architecture of a Keras model without its weights; save the whole model with model.save('m.keras')"
)


def _rows(*rows: tuple[bytes, str]) -> Rows:
    return tuple((re.compile(pattern, re.DOTALL), title) for pattern, title in rows)


_FILES = _rows(
    (rb"GGUF", _GGUF),
    (rb"\x93NUMPY", "a numpy array; expected a model (arrays can be its --samples)"),
    (rb"\x7fELF", "an executable or library"),
    (rb".{257}ustar", _TAR),
    (rb"%PDF", "a PDF document"),
    (rb"(?:\xef\xbb\xbf)?\s*<[^>]*>?\s*<?[^<]*<PMML|<PMML", "a PMML file; save the model in its library's own format"),
    (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?<net\b", "an OpenVINO model; give what it was converted from"),
    (
        rb"(?:\xef\xbb\xbf)?\s*<(?:![dD][oO][cC][tT][yY][pP][eE]|[hH][tT][mM][lL])",
        "an HTML page, perhaps the error of a download",
    ),
    (rb"(?:\xef\xbb\xbf)?\s*<\?xml", "an XML file"),
    (rb"binf", "an XGBoost model in its old binary format; save it as .json or .ubj with model.save_model"),
    (rb"version https://git-lfs", "a Git LFS pointer; fetch the real file with git lfs pull"),
    (rb"ftrt", "a TensorRT engine, which runs on one kind of GPU only; give the ONNX file that it was built from"),
    (rb".{4}ORTM", "a model in onnxruntime's own ORT format; give the ONNX file that it was made from"),
    (rb".{4}ET\d\d", "an ExecuTorch program; give the ExportedProgram (torch.export.save) that it was made from"),
    (rb"RKNN", "an RKNN model; give the ONNX file that it was made from"),
    (rb"7767517\n", "an ncnn parameter file; give the ONNX file that it was made from"),
    (rb"\xba\x16\x4f\x2f", "a fastText model, which has no converter"),
    (rb"MATLAB 5\.0 MAT-file", "a MATLAB file; export the network to ONNX there"),
    (rb"\s*ir_version\s*:", "an ONNX model as text; give the binary file, onnx.save(onnx.load(path), 'model.onnx')"),
    (rb"PK\x05\x06", "an empty zip archive"),
    (
        rb"[\x81-\x8f\xde\xdf].{0,8}[\xa1-\xbf](?:params|batch_stats|target|opt_state|step)",
        "a msgpack file, such as Flax writes; export the model to TensorFlow with jax2tf and give the SavedModel",
    ),
)
_JSON = _rows(
    (rb'"tree_info"|"name"\s*:\s*"tree"', "a JSON dump of LightGBM; save the model with booster.save_model('m.txt')"),
    (
        rb'"features_info"|"oblivious_trees"|"catboost_version_info"',
        "a CatBoost model as JSON; save it with model.save_model('m.cbm')",
    ),
    (rb'"class_name"\s*:\s*"(?:Sequential|Functional|Model)"', _NEEDS_WEIGHTS),
    (rb'"weight_map"', "the index of a model's weights; give the directory that it lies in"),
    (rb'"architectures"|"model_type"', "the configuration of a Hugging Face model; give the directory that it lies in"),
    (rb'"added_tokens"|"truncation"', "a tokenizer; give the directory of the model that it lies in"),
    (rb'"schema_version".*"components"', "the manifest of a bundle, which is converted already"),
    (rb'"nodeid"|"split_condition"', "a dump of XGBoost's trees; save the model with model.save_model('m.json')"),
)
_ZIP_ENTRIES = _rows(
    (rb"(?:^|/)MAR-INF/", "a TorchServe archive; unpack it and give the model inside"),
    (rb"\.so$", "a compiled package of PyTorch (AOTInductor); give the program saved by torch.export.save"),
    (rb"\.mlmodel$|\.mlpackage/", "a Core ML model; give what it was converted from"),
    (rb"(?:^|/)saved_model\.pb$", "a zipped SavedModel; unpack it and give the directory"),
    (rb"(?:^|/)manifest\.json$", "a zipped bundle or model package"),
    (rb"\.npy$", "a numpy archive; expected a model (arrays can be its --samples)"),
    (rb"(?:^|/)(?:config|modules)\.json$", "a zipped Hugging Face directory; unpack it and give the directory"),
    (rb"(?:^|/)data/\d+$|\.pkl$", "a zip archive with parts of a PyTorch file, but without its data.pkl"),
    (rb"^xl/|^word/|\[Content_Types\]", "an office document"),
)
_DIRECTORY_ENTRIES = _rows(
    (rb"^component\.json$|^manifest\.json$", "a bundle or model package, which is converted already"),
    (rb"^genai_config\.json$", "a model for onnxruntime-genai, which is ONNX already"),
    (rb"^adapter_config\.json$", "an adapter; merge it into its base model (merge_and_unload) and save that"),
    (rb"^model_index\.json$", "a diffusion pipeline, which has no converter"),
    (rb"^MLmodel$", "an MLflow model; give the model file inside"),
    (rb"\.gguf$", _GGUF.replace("a GGUF file", "a directory of GGUF files")),
    (rb"^Manifest\.json$|\.mlmodel$", "a Core ML model; give what it was converted from"),
    (
        rb"^__model__$|\.pdmodel$|\.pdiparams$",
        "a PaddlePaddle model; export it to ONNX with paddle2onnx",
    ),
    (rb"^checkpoint$|\.index$", "a TensorFlow checkpoint, which has weights only; give a SavedModel"),
    (rb"^_CHECKPOINT_METADATA$|\.msgpack$", "a JAX checkpoint; export it to TensorFlow with jax2tf, as a SavedModel"),
    (rb"^meta\.json$", "a spaCy pipeline, which has no converter"),
    (rb"\.onnx$", "a directory with ONNX files; give the .onnx file itself"),
    (rb"\.(?:safetensors|pt|pth|bin)$", "a directory with weights but without the config.json that describes them"),
)


def file_title(head: bytes) -> str | None:
    """What a file is, by its first bytes; None if that is not known."""
    for pattern, title in _FILES:
        if pattern.match(head):
            return title
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in {b"{", b"["}:
        found = next(
            (title for pattern, title in _JSON if pattern.search(head)), "a JSON file without a model that is known"
        )
        return found if _is_text(head) else None
    return None


def zip_title(names: Iterable[str]) -> str | None:
    """What a zip archive is, by the names in it."""
    return _of_entries(_ZIP_ENTRIES, names)


def directory_title(path: Path) -> str | None:
    """What a directory is, by the names in it."""
    names = []
    try:
        for entry in path.iterdir():
            names.append(entry.name)
            if len(names) >= MOST_ENTRIES:
                break
    except OSError:
        return None
    return _of_entries(_DIRECTORY_ENTRIES, names)


def _of_entries(rows: Rows, names: Iterable[str]) -> str | None:
    raw = [name.encode(errors="surrogateescape") for name in names]
    return next((title for pattern, title in rows if any(map(pattern.search, raw))), None)


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 for byte in head)


def protobuf_title(fields: frozenset[int], name: str) -> str | None:
    """What a Protocol Buffers file other than ONNX is.

    Args:
        fields: numbers of its outermost fields.
        name: the file's.
    """
    if 1 in fields and any(number >= 200 for number in fields):
        return "a Core ML model; give what it was converted from"
    if fields == {1, 2} and name.startswith("saved_model"):
        return "the graph of a SavedModel; give the directory that it lies in"
    if 1 in fields and fields <= {1, 2, 3, 4, 5}:
        return "perhaps a frozen TensorFlow graph, which has no signature; give a SavedModel"
    if 100 in fields and fields <= set(range(1, 9)) | {100}:
        return "perhaps a Caffe model, which has no converter"
    return None

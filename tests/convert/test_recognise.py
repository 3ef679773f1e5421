"""What an artifact is, is told by its content: every kind, files of others, and damage of every sort."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import tarfile
import time
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ortolan.errors import ConversionError, ModelFileError, OrtolanError, StorageError, UnsupportedError
from ortolan_convert.explain import explain
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.recognise import LARGEST_DIRECTORY, recognise

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FEW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _zip(*names: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.onnx"))
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_by_content(kind: str, artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """Whatever its name: each sample is renamed to something that it is not."""
    for name, path in artifacts.items():
        if name.partition(" ")[0] == kind:
            renamed = tmp_path / f"{name}.{'pkl' if kind != 'pickle' else 'safetensors'}"
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, renamed)
            assert recognise(renamed) == kind


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{ "version" : [1, 6, 2],\n "learner" : {"attributes": {}}}', "xgboost-json"),
        (b'{"learner":{"feature_names":["a"]}}', "xgboost-json"),
        (b"{i\x07learner{", "xgboost-ubj"),
        (b"{l\x00\x00\x00\x07learner{", "xgboost-ubj"),
        (
            b"{L" + struct.pack(">q", 7) + b"version[#L" + struct.pack(">q", 3) + b"i\x02i\x01i\x00i\x07learner{",
            "xgboost-ubj",
        ),
        (b"tree\r\nversion=v4\r\nnum_class=1\r\n", "lightgbm"),
        (b"\n\ntree\nversion=v3\n", "lightgbm"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.", "torch-weights"),
        (b"\x80\x04\x95\r\x00\x00\x00\x00\x00\x00\x00\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x04", "torch-weights"),
        (_zip("schema.json", "1.npy"), "skops"),
        (_zip("m/config.json", "m/metadata.json", "m/model.weights.h5"), "keras"),
        (_zip("m/models/model.json", "m/archive_format"), "torch-exported"),
        (_zip("serialized_exported_program.json", "version"), "torch-exported"),
        (_zip("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"), "torchscript"),
        (_zip("m/data.pkl", "m/version", "m/data/0"), "torch-weights"),
    ],
)
def test_variations_of_a_kind(content: bytes, kind: str, tmp_path: Path) -> None:
    """Other versions, orders of keys, line ends and places of files."""
    path = tmp_path / "artifact"
    path.write_bytes(content)
    assert recognise(path) == kind


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"GGUF\x03\x00\x00\x00", "GGUF file of llama.cpp; give the Hugging Face directory"),
        (_tar(), "tar archive; unpack it"),
        (b"ftrt" + bytes(40), "TensorRT engine"),
        (b"\x00\x00\x00\x00ORTM", "onnxruntime's own ORT format"),
        (b"\x00\x00\x00\x00ET12", "ExecuTorch program"),
        (b"binf\x00", r"old binary format; save it as \.json or \.ubj"),
        (b"\x81\xa6params\x82", "msgpack file, such as Flax writes"),
        (b'<?xml version="1.0"?>\n<PMML xmlns="http://www.dmg.org/PMML-4_4">', "PMML file"),
        (b'<?xml version="1.0"?>\n<net name="m" version="11">', "OpenVINO model"),
        (b"<!DOCTYPE html>\n<html>", "an HTML page, perhaps the error of a download"),
        (b"ir_version: 8\nproducer_name: ", "an ONNX model as text"),
        (b'{"name":"tree","version":"v4","tree_info":[]}', r"JSON dump of LightGBM; .* booster\.save_model"),
        (b'{\n  "features_info":\n {', r"CatBoost model as JSON; .*m\.cbm"),
        (b'{"class_name": "Sequential", "config": {}}', "architecture of a Keras model without its weights"),
        (b'{"architectures": ["BertModel"]}', "configuration of a Hugging Face model; give the directory"),
        (b'{"metadata": {}, "weight_map": {}}', "index of a model's weights; give the directory"),
        (b"[1, 2]", "a JSON file"),
        (b"\x0a\x0b\x0a\x01x\x12\x06Pl", "perhaps a frozen TensorFlow graph"),
        (b"\x08\x04\x12\x02ab\xca\x25\x01\x00", "Core ML model"),
        (b"PK\x05\x06" + bytes(18), "an empty zip archive"),
        (_zip("MAR-INF/MANIFEST.json", "model.pt"), "TorchServe archive"),
        (_zip("m/data/aotinductor/model/a.so", "m/archive_format"), "compiled package of PyTorch"),
        (_zip("arr_0.npy"), "numpy archive"),
        (_zip("m/saved_model.pb"), "zipped SavedModel; unpack it"),
        (_zip("config.json", "model.safetensors"), "zipped Hugging Face directory; unpack it"),
        (gzip.compress(b"GGUF\x03\x00\x00\x00"), "gzip-compressed, but no pickle inside, it is a GGUF file"),
        (gzip.compress(b"\x08\x08\x12\x00"), "decompress it first"),
    ],
)
def test_models_of_others_are_named_with_what_to_do(content: bytes, message: str, tmp_path: Path) -> None:
    """A refusal says what the file is and what to give instead."""
    path = tmp_path / "artifact"
    path.write_bytes(content)
    with pytest.raises(UnsupportedError, match=message):
        recognise(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.gguf", "directory of GGUF files"),
        ("adapter_config.json", "merge it into its base model"),
        ("component.json", "converted already"),
        ("inference.pdmodel", "export it to ONNX with paddle2onnx"),
        ("ckpt-1.index", "TensorFlow checkpoint"),
        ("MLmodel", "give the model file inside"),
        ("model.onnx", r"give the \.onnx file itself"),
        ("model.safetensors", r"without the config\.json"),
        ("Manifest.json", "Core ML model"),
    ],
)
def test_directories_of_others(name: str, message: str, tmp_path: Path) -> None:
    """They are told by the names in them."""
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnsupportedError, match=message):
        recognise(tmp_path)


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    """A named pipe does not make the command wait."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(StorageError, match="found a pipe or device"):
            recognise(tmp_path / path)


def test_a_safetensors_file_that_is_cut_short(artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """Its header does not fit into the file."""
    (tmp_path / "m").write_bytes(artifacts["safetensors"].read_bytes()[:20])
    with pytest.raises(ConversionError, match="damaged or cut short: its header has"):
        recognise(tmp_path / "m")


def test_a_zip_archive_of_file_names_only(tmp_path: Path) -> None:
    """Its table of contents is not read into memory if the end of the file says that it is huge."""
    path = tmp_path / "m.zip"
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, LARGEST_DIRECTORY + 1, 4, 0)
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(LARGEST_DIRECTORY + 8)
        file.seek(0, 2)
        file.write(end)
    with pytest.raises(ConversionError) as refused:
        recognise(path)
    assert str(refused.value).startswith(f"{path}: a zip archive with {LARGEST_DIRECTORY + 1} bytes of file names")


def _ends_in_one_line(path: Path) -> None:
    """Recognising and explaining a file give an answer or a typed error of one line, and run nothing."""
    try:
        assert recognise(path) in KINDS
    except OrtolanError as error:
        assert isinstance(error, ConversionError | ModelFileError | StorageError)
        assert "\n" not in str(error)
    (found,) = explain([path])
    assert all("\n" not in line for line in found.lines())
    json.dumps(found.to_json())


@FEW
@given(content=st.binary(max_size=300))
@example(content=b"\x80\x02" + b"(" * 200)
@example(content=b"\x80\x04\x95" + b"\xff" * 8)
@example(content=b"\x80\x02\x8b\xff\xff\xff\x7f")
@example(content=b"cposix\nsystem\n(S'true'\ntR.")
@example(content=b"{" * 300)
def test_random_bytes(content: bytes, tmp_path: Path) -> None:
    """Any bytes are something, or a typed error."""
    path = tmp_path / "artifact"
    path.write_bytes(content)
    _ends_in_one_line(path)


@FEW
@given(data=st.data())
def test_every_kind_damaged(data: Any, artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """Cut anywhere, or with bits flipped, above all in its first bytes."""
    files = [path for path in artifacts.values() if path.is_file()]
    content = bytearray(data.draw(st.sampled_from(files)).read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        where = data.draw(st.one_of(st.integers(0, min(63, len(content) - 1)), st.integers(0, len(content) - 1)))
        content[where] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path / "artifact"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    _ends_in_one_line(path)


@FEW
@given(data=st.data())
def test_saved_models_damaged(data: Any, artifacts: Mapping[str, Path], tmp_path: Path) -> None:
    """The graph of a SavedModel, cut or with bits flipped."""
    content = bytearray((artifacts["saved-model"] / "saved_model.pb").read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (tmp_path / "saved_model.pb").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    _ends_in_one_line(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"K\x01\x85" + b"2\x86" * 60_000 + b".",  # a tuple of itself, doubled again and again
        b"\x80\x02" + b"K\x01\x85" + b"2\x86" * 60 + b"}2s.",  # such a tuple as a key
        b"\x80\x02" + b"K\x01\x85" + b"2\x86" * 60 + b"2\x93.",  # such a tuple as a name
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x02\x8e" + struct.pack("<Q", 1 << 62) + b".",
        b"\x80\x02cbuiltins\ndict\n)R" + b"}2b" * 100_000 + b".",
    ],
    ids=["doubled", "doubled key", "doubled name", "marks", "nested", "long string", "states"],
)
def test_pickles_that_would_swell(content: bytes, tmp_path: Path) -> None:
    """A short pickle cannot keep the explanation busy, or fill the memory."""
    path = tmp_path / "m.pkl"
    path.write_bytes(content)
    begun = time.monotonic()
    _ends_in_one_line(path)
    assert time.monotonic() - begun < 30


def test_the_explanation_reads_a_huge_sparse_file_quickly(tmp_path: Path) -> None:
    """Of 100 GB of zeros the beginning is looked at."""
    with (tmp_path / "m").open("wb") as file:
        file.truncate(100 << 30)
    _ends_in_one_line(tmp_path / "m")

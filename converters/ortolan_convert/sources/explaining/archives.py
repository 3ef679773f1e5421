"""Keras' files, skops files and safetensors: JSON, and weights beside it."""

from __future__ import annotations

import json
import mmap
import re
import zipfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.sources.explaining.facts import LARGEST_TEXT, Facts, counted, listed, member, parsed
from ortolan_convert.sources.tensorflow.keras_config import check_config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_MODEL_CONFIG = re.compile(rb'\{\s*"(?:class_name|module)"\s*:\s*"')
_VERSION = re.compile(rb"(?<![\d.])\d+\.\d+\.\d+[\w.-]*")
_HEAP = 1 << 16
"""Bytes behind the start of an HDF5 file's heap of strings in which the version lies."""


def keras_facts(path: Path) -> Facts:
    """Of a ``.keras`` file."""
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/")[2]: name for name in archive.namelist() if name.count("/") <= 1}
        config = parsed(member(archive, names["config.json"]), "config.json")
        metadata = parsed(member(archive, names["metadata.json"]), "metadata.json")
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return _keras(config, f"Keras {version}" if isinstance(version, str) else "Keras", path)


def hdf5_facts(path: Path) -> Facts:
    """Of an HDF5 file of Keras. The description is found as text: nothing of HDF5's structure is followed."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        heap = content.find(b"GCOL")
        written = (
            _VERSION.search(content, heap, heap + _HEAP) if heap >= 0 and content.find(b"keras_version") >= 0 else None
        )
        version = f"Keras {written[0].decode()}" if written else None
        found = _MODEL_CONFIG.search(content)
        text = content[found.start() : found.start() + LARGEST_TEXT] if found else b""
    if not found:
        note = "no description of a model was found in it: it may hold weights only, which cannot be converted"
        return Facts(made_by=version, notes=(note,))
    try:
        config, _ = json.JSONDecoder().raw_decode(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise ConversionError(f"{path}: the description of the model in it is damaged: {error}") from None
    return _keras(config, version or "Keras", path)


def _keras(config: Any, made_by: str, path: Path) -> Facts:
    objects = list(_objects(config))
    layers = Counter(
        str(layer.get("class_name"))
        for one in objects
        for layer in _layers(one)
        if layer.get("class_name") != "InputLayer"
    )
    shapes = [_input(one) for one in objects if one.get("class_name") == "InputLayer"]
    name = config.get("class_name") if isinstance(config, dict) else None
    inside = [("model", str(name)), ("layers", listed(f"{count} {kind}" for kind, count in layers.most_common()))]
    inside += [("input", shape) for shape in dict.fromkeys(shapes)]
    code, notes = [], []
    try:
        code = [f"layer {one.layer!r} ({one.what}): {one.runs}" for one in check_config(config, path, trust=True)]
    except UnsupportedError as error:
        notes = [str(error).removeprefix(f"{path}: ")]
    return Facts(made_by=made_by, inside=tuple(inside), code=tuple(code), notes=tuple(notes))


def _objects(config: Any) -> Iterator[Mapping[str, Any]]:
    """Every object of a description that names a class."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _layers(one: Mapping[str, Any]) -> list[dict[str, Any]]:
    config = one.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    return [layer for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []


def _input(layer: Mapping[str, Any]) -> str:
    config = layer.get("config")
    config = config if isinstance(config, dict) else {}
    shape = config.get("batch_shape", config.get("batch_input_shape"))
    sizes = ", ".join("?" if size is None else str(size) for size in shape) if isinstance(shape, list) else "?"
    return f"{config.get('name')}[{sizes}] {config.get('dtype')}"


def skops_facts(path: Path) -> Facts:
    """Of a skops file. Reading one runs nothing: types outside the known ones are refused."""
    with zipfile.ZipFile(path) as archive:
        schema = parsed(member(archive, "schema.json"), "schema.json")
    types: dict[str, None] = {}
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("__module__"), str) and isinstance(value.get("__class__"), str):
                types[f"{value['__module__']}.{value['__class__']}"] = None
            waiting.extend(reversed(value.values()))
        elif isinstance(value, list):
            waiting.extend(reversed(value))
    ours = [name for name in types if name.startswith("sklearn.")]
    others = [name for name in types if name.partition(".")[0] not in {"sklearn", "numpy", "scipy", "builtins"}]
    version = schema.get("_skops_version") if isinstance(schema, dict) else None
    inside = [("object", next(iter(types), "?")), ("of scikit-learn", listed(name.rpartition(".")[2] for name in ours))]
    notes = [f"types outside scikit-learn, which are not loaded: {listed(others)}"] if others else []
    return Facts(made_by=f"skops {version}" if version else None, inside=tuple(inside), notes=tuple(notes))


def safetensors_facts(path: Path) -> Facts:
    """Of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = parsed(file.read(min(length, LARGEST_TEXT)), "the header")
    if not isinstance(header, dict):
        raise ConversionError(f"{path}: the header: expected tensors by name")
    metadata = header.pop("__metadata__", {})
    tensors = {name: row for name, row in header.items() if isinstance(row, dict)}
    types = Counter(str(row.get("dtype")) for row in tensors.values())
    numbers = sum(_count(row.get("shape")) for row in tensors.values())
    inside = [
        ("tensors", f"{counted(len(tensors), 'tensor')}, {numbers:,} numbers: {listed(types)}"),
        ("names", listed(tensors)),
    ]
    if isinstance(metadata, dict) and metadata:
        inside.append(("metadata", listed(f"{key}={value!s:.60}" for key, value in metadata.items())))
    return Facts(inside=tuple(inside))


def _count(shape: Any) -> int:
    count = 1
    for size in shape if isinstance(shape, list) else [0]:
        count *= size if isinstance(size, int) else 0
    return count

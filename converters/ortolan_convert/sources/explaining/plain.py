"""ONNX files and Hugging Face directories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ortolan.bundle.onnxfile import read_model
from ortolan_convert.sources.explaining.facts import Facts, counted, listed
from ortolan_convert.sources.json_file import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ortolan.types import TensorSpec

_OWN = "ai.onnx::"
_STANDARD = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Domains of operators that onnxruntime brings."""


def onnx_facts(path: Path) -> Facts:
    """Of an ONNX file."""
    model = read_model(path)
    opsets = listed(f"{domain or 'ai.onnx'} {version}" for domain, version in model.opsets.items())
    common = sorted(model.operators.items(), key=lambda item: -item[1])
    inside = [("form", f"IR {model.ir_version}, operator sets {opsets}")]
    inside += [
        (title, _spec(spec)) for title, specs in (("input", model.inputs), ("output", model.outputs)) for spec in specs
    ]
    nodes = sum(model.operators.values())
    inside.append(
        ("operators", f"{counted(nodes, 'node')}: {listed(f'{n} {name.removeprefix(_OWN)}' for name, n in common)}")
    )
    inside.append(("weights", f"{model.parameters:,} numbers, {model.weight_bytes:,} bytes"))
    if model.external_files:
        inside.append(("files beside it", listed(model.external_files)))
    foreign = [domain for domain in model.opsets if domain not in _STANDARD]
    notes = [f"operators of the domains {listed(foreign)}, which onnxruntime may not know"] if foreign else []
    return Facts(made_by=model.producer or None, inside=tuple(inside), notes=tuple(notes))


def _spec(spec: TensorSpec) -> str:
    shape = "any shape" if spec.shape is None else ", ".join("?" if n is None else str(n) for n in spec.shape)
    return f"{spec.name}[{shape}] {spec.dtype}"


def huggingface_facts(path: Path) -> Facts:
    """Of a Hugging Face or sentence-transformers directory."""
    modules = read_json(path / "modules.json", object) if (path / "modules.json").is_file() else None
    steps = [str(entry.get("type")).rpartition(".")[2] for entry in modules or () if isinstance(entry, dict)]
    config = read_json(path / "config.json", object) if (path / "config.json").is_file() else {}
    config = config if isinstance(config, dict) else {}
    files = sorted(entry.name for entry in path.iterdir())
    pickled = [name for name in files if name.endswith((".bin", ".pt", ".pth", ".pkl", ".ckpt"))]
    safe = [name for name in files if name.endswith(".safetensors")]
    inside = [("modules", " -> ".join(steps))] if steps else []
    inside += list(_described(config))
    inside.append(("weights", listed(safe or pickled) or "none"))
    tokenizer = [name for name in files if "token" in name or name in {"vocab.txt", "vocab.json", "spiece.model"}]
    inside += [("tokenizer", listed(tokenizer))] if tokenizer else []
    inside += [("images", "preprocessor_config.json")] if "preprocessor_config.json" in files else []
    code = (
        [f"auto_map: the model is code, in {listed(sorted(map(str, _classes(config))))}"]
        if "auto_map" in config
        else []
    )
    if pickled and not safe:
        code.append(f"{listed(pickled)}: a pickle of weights")
    version = config.get("transformers_version")
    return Facts(made_by=f"transformers {version}" if version else None, inside=tuple(inside), code=tuple(code))


def _described(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for title, key in (("architecture", "architectures"), ("type", "model_type"), ("width", "hidden_size")):
        value = config.get(key)
        if value is not None:
            yield title, listed(value) if isinstance(value, list) else str(value)
    layers = config.get("num_hidden_layers", config.get("n_layers"))
    if layers is not None:
        yield "layers", str(layers)
    labels = config.get("id2label")
    if isinstance(labels, dict):
        yield "labels", f"{len(labels)}: {listed(labels.values())}"


def _classes(config: dict[str, Any]) -> list[Any]:
    mapped = config.get("auto_map")
    return list(mapped.values()) if isinstance(mapped, dict) else [mapped]

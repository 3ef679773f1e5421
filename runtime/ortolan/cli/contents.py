"""What ``ortolan inspect`` says of a bundle or model, as text and as JSON."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ortolan.bundle.manifest import MANIFEST, fidelity_json, serialize
from ortolan.cli.tables import table
from ortolan.tasks import is_experimental

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ortolan.bundle.directory import Bundle
    from ortolan.bundle.manifest import Variant
    from ortolan.bundle.onnxfile import OnnxModel, Tensor
    from ortolan.types import Polynomial, TensorSpec

_SHA256_SHOWN = 16


def storage(bundle: Bundle) -> int:
    """Bytes of all files of a bundle."""
    return sum(entry.bytes for entry in bundle.manifest.files.values()) + len(serialize(bundle.manifest)[MANIFEST])


def bundle_json(bundle: Bundle) -> dict[str, object]:
    """The documented JSON of a bundle; sizes in bytes, costs at the usual sizes of the free dimensions."""
    manifest = bundle.manifest
    provenance = manifest.provenance
    return {
        "schema": "ortolan.inspect/1",
        "kind": "bundle",
        "path": str(bundle.path),
        "name": manifest.package_name,
        "version": manifest.version,
        "digest": bundle.digest,
        "storage_bytes": storage(bundle),
        "task": {
            "name": manifest.task.name,
            "config": manifest.task.config,
            "experimental": is_experimental(manifest.task),
        },
        "provenance": {
            "framework": provenance.framework,
            "framework_version": provenance.framework_version,
            "versions": provenance.versions,
            "sources": [{"name": s.name, "sha256": s.sha256, "bytes": s.bytes} for s in provenance.sources],
        },
        "dims": manifest.dims,
        "max_dims": manifest.max_dims,
        "variants": [
            _variant_json(bundle, variant) for component in manifest.components for variant in component.variants
        ],
        "files": {path: {"bytes": entry.bytes, "sha256": entry.sha256} for path, entry in manifest.files.items()},
    }


def _variant_json(bundle: Bundle, variant: Variant) -> dict[str, object]:
    manifest, info = bundle.manifest, variant.info
    return {
        "component": variant.component,
        "variant": variant.name,
        "digest": manifest.variant_digest(variant),
        "model": variant.model_path,
        "precision": info.precision,
        "providers": info.providers,
        "min_onnxruntime": info.min_onnxruntime,
        "cpu_features": info.cpu_features,
        "weight_bytes": info.weight_bytes,
        "storage_bytes": manifest.variant_storage(variant.name),
        "macs": _at(info.macs, manifest.dims),
        "activation_bytes": _at(info.activation_bytes, manifest.dims),
        "fidelity": fidelity_json(info.fidelity),
    }


def _at(polynomial: Polynomial | None, dims: Mapping[str, int]) -> float | None:
    return None if polynomial is None else polynomial.at(dims)


def _sizes(dims: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {dim}" for name, dim in dims.items())


def bundle_text(bundle: Bundle) -> str:
    """A bundle for people."""
    manifest = bundle.manifest
    provenance = manifest.provenance
    sources = [f"{s.name} ({size(s.bytes)}, SHA-256 {s.sha256[:_SHA256_SHOWN]}…)" for s in provenance.sources]
    experimental = " (experimental: tried with generated models only)" if is_experimental(manifest.task) else ""
    facts = [
        ("bundle", f"{manifest.package_name} {manifest.version}"),
        ("task", manifest.task.name + experimental),
        ("size", f"{size(storage(bundle))} in {len(manifest.files) + 1} files"),
        ("digest", bundle.digest),
        ("from", f"{provenance.framework} {provenance.framework_version}"),
        *(("source", source) for source in sources),
        ("made with", ", ".join(f"{name} {version}" for name, version in provenance.versions.items())),
        ("usual sizes", _sizes(manifest.dims) or "all fixed"),
        *([("at most", _sizes(manifest.max_dims))] if manifest.max_dims else []),
    ]
    lines = [f"{name:<13}{value}" for name, value in facts]
    header = (
        "variant",
        "precision",
        "weights",
        "storage",
        "drop (95 % interval)",
        "largest error",
        "may run on",
        "needs",
    )
    for component in manifest.components:
        rows = [_variant_row(bundle, variant) for variant in component.variants]
        lines += [
            "",
            f"Variants of {component.name!r}, the reference first:",
            *(f"  {line}" for line in table(header, rows)),
        ]
    if any(variant.info.fidelity.inputs == "generated" for c in manifest.components for variant in c.variants):
        lines += [
            "",
            "Fidelity was measured on generated inputs: convert with --samples for figures that mean something.",
        ]
    return "\n".join(map(_printable, lines))


def _variant_row(bundle: Bundle, variant: Variant) -> tuple[str, ...]:
    info = variant.info
    fidelity = info.fidelity
    low, high = fidelity.interval.low, fidelity.interval.high
    return (
        variant.name,
        info.precision,
        size(info.weight_bytes),
        size(bundle.manifest.variant_storage(variant.name)),
        f"{fidelity.drop:.2%} ({low:.2%} to {high:.2%}) of {fidelity.n} {fidelity.metric}s",
        f"{fidelity.worst:.1e}",
        ", ".join(info.providers),
        ", ".join([f"onnxruntime {info.min_onnxruntime}", *info.cpu_features]),
    )


def model_json(path: Path, model: OnnxModel) -> dict[str, object]:
    """The documented JSON of an ONNX file."""
    return {
        "schema": "ortolan.inspect/1",
        "kind": "onnx",
        "path": str(path),
        "file_bytes": path.stat().st_size,
        "ir_version": model.ir_version,
        "opsets": model.opsets,
        "producer": model.producer,
        "inputs": [_spec_json(spec) for spec in model.inputs],
        "outputs": [_spec_json(spec) for spec in model.outputs],
        "operators": dict(sorted(model.operators.items())),
        "parameters": model.parameters,
        "weight_bytes": model.weight_bytes,
        "external_files": model.external_files,
        "metadata": model.metadata,
        "initializers": [_tensor_json(tensor) for tensor in model.initializers],
    }


def _tensor_json(tensor: Tensor) -> dict[str, object]:
    external = None if tensor.external is None else tensor.external.location
    return {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": tensor.dims,
        "bytes": tensor.bytes,
        "external_file": external,
    }


def _spec_json(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": spec.shape}


def model_text(path: Path, model: OnnxModel) -> str:
    """An ONNX file for people."""
    kinds: dict[str, int] = {}
    for tensor in model.initializers:
        kinds[tensor.dtype] = kinds.get(tensor.dtype, 0) + prod(tensor.dims)
    parameters = ", ".join(f"{count:,} {dtype}" for dtype, count in sorted(kinds.items(), key=lambda kind: -kind[1]))
    opsets = ", ".join(f"{domain} {version}" for domain, version in model.opsets.items())
    facts = [
        ("model", f"{path.name}, {size(path.stat().st_size)}"),
        ("format", f"IR {model.ir_version}; operator sets {opsets}"),
        ("producer", model.producer or "unknown"),
        *(("input", str(spec)) for spec in model.inputs),
        *(("output", str(spec)) for spec in model.outputs),
        ("parameters", f"{parameters or 'none'} ({size(model.weight_bytes)})"),
        ("operators", _operators(model)),
        *(("external data", location) for location in model.external_files),
        *(("metadata", f"{key} = {_shorten(value)}") for key, value in model.metadata.items()),
    ]
    return "\n".join(_printable(f"{name:<15}{value}") for name, value in facts)


def _operators(model: OnnxModel) -> str:
    ranked = sorted(model.operators.items(), key=lambda item: (-item[1], item[0]))
    counted = ", ".join(f"{name.removeprefix('ai.onnx::')} {count}" for name, count in ranked)
    return f"{model.operators.total() if ranked else 0} nodes: {counted or 'none'}"


def _shorten(value: str, limit: int = 100) -> str:
    return value if len(value) <= limit else value[:limit] + "…"


def _printable(line: str) -> str:
    """The line with escapes for what would move the cursor or hide text on a terminal: names come from anybody."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def size(count: int) -> str:
    """Bytes in the unit that fits, in powers of 1000 as disks and links are sold."""
    value = float(count)
    for unit in ("bytes", "kB", "MB"):
        if value < 1000:
            return f"{count} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"

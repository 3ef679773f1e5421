"""The JSON form of a bundle's description: read strictly, written deterministically.

``manifest.json`` and ``<component>/component.json`` follow ONNX Runtime's model package, schema version 1. What is
Ortolan's lies in ``additional_metadata.ortolan`` of the manifest and in ``executor_info.ortolan`` of each variant.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from ortolan.bundle.description import (
    EXECUTION_PROVIDER,
    Component,
    FileEntry,
    Manifest,
    Provenance,
    Source,
    TaskSpec,
    Variant,
    VariantInfo,
    WeightMemory,
)
from ortolan.bundle.fields import (
    Record,
    array,
    choice,
    decode,
    integer,
    join,
    mapping,
    number,
    optional,
    raw_object,
    text,
)
from ortolan.bundle.names import COMPONENT, MANIFEST, NAME, NAME_RULE, is_below, relative_path
from ortolan.errors import ManifestError
from ortolan.records import replace
from ortolan.types import Fidelity, Interval, Polynomial

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

__all__ = [
    "EXECUTION_PROVIDER",
    "FORMAT",
    "MANIFEST",
    "SCHEMA_VERSION",
    "Component",
    "FileEntry",
    "Manifest",
    "Provenance",
    "Source",
    "TaskSpec",
    "Variant",
    "VariantInfo",
    "WeightMemory",
    "described",
    "listed_files",
    "parse_manifest",
    "serialize",
]

SCHEMA_VERSION = "1.0"
"""Of ONNX Runtime's model package."""
FORMAT = 1
"""Of Ortolan's section."""
OURS = "additional_metadata.ortolan"
_OUR_KEYS = ("format", "version", "task", "provenance", "dims", "max_dims", "files")


def described(manifest: Manifest) -> Manifest:
    """The same manifest with the rows of its own ``component.json`` files brought up to date, rows sorted by path."""
    from ortolan.digest import sha256

    files = dict(manifest.files)
    for component in manifest.components:
        document = _dump(_component_json(component))
        entry = FileEntry(len(document), sha256(document).hexdigest())
        files[f"{component.directory}/{COMPONENT}"] = entry
    return replace(manifest, files=dict(sorted(files.items())))


def parse_manifest(manifest_json: bytes, component_json: Callable[[str], bytes] | Mapping[str, bytes]) -> Manifest:
    """Read a manifest and its components.

    Args:
        manifest_json: content of ``manifest.json``.
        component_json: content of each ``<directory>/component.json``, by that path.

    Raises:
        ManifestError: with the dotted path of what is wrong.
    """
    top, ours = _sections(manifest_json)
    package_name = top.get("package_name", _title)
    metadata = top.get("additional_metadata", raw_object)
    version = ours.get("version", _version)
    task = ours.get("task", _task)
    provenance = ours.get("provenance", _provenance)
    dims = ours.get("dims", mapping(integer(1), _title))
    nothing: dict[str, int] = {}
    max_dims = ours.get("max_dims", mapping(integer(1), _title), nothing)
    files = _files(ours)
    directories = top.get("components", mapping(relative_path, _name, least=1))
    read = component_json if callable(component_json) else component_json.__getitem__
    components = []
    for name, directory in directories.items():
        path = f"{directory}/{COMPONENT}"
        if path not in files:
            raise ManifestError(join("components", name), f"{path!r} is not listed in {OURS}.files")
        components.append(_component(decode(read(path), path), name, directory))
    manifest = Manifest(
        package_name=package_name,
        version=version,
        task=task,
        provenance=provenance,
        dims=dims,
        max_dims=max_dims,
        files=files,
        components=tuple(components),
        other_metadata={key: value for key, value in metadata.items() if key != "ortolan"},
    )
    _check_variants(manifest)
    return manifest


def listed_files(manifest_json: bytes) -> dict[str, FileEntry]:
    """The files a manifest lists, read before anything else of the bundle is there.

    Raises:
        ManifestError: with the dotted path of what is wrong.
    """
    return _files(_sections(manifest_json)[1])


def serialize(manifest: Manifest) -> dict[str, bytes]:
    """The JSON files of a manifest by path, ``manifest.json`` first; equal manifests give equal bytes.

    Raises:
        ManifestError: a value that JSON cannot hold.
    """
    ours = {
        "format": FORMAT,
        "version": manifest.version,
        "task": {"name": manifest.task.name, "config": manifest.task.config},
        "provenance": {
            "framework": manifest.provenance.framework,
            "framework_version": manifest.provenance.framework_version,
            "versions": dict(manifest.provenance.versions),
            "sources": [
                {"name": source.name, "sha256": source.sha256, "bytes": source.bytes}
                for source in manifest.provenance.sources
            ],
        },
        "dims": dict(manifest.dims),
        **({"max_dims": dict(manifest.max_dims)} if manifest.max_dims else {}),
        "files": {
            path: {"bytes": entry.bytes, "sha256": entry.sha256} for path, entry in sorted(manifest.files.items())
        },
    }
    document = {
        "schema_version": SCHEMA_VERSION,
        "package_name": manifest.package_name,
        "components": {component.name: component.directory for component in manifest.components},
        "additional_metadata": {"ortolan": ours, **manifest.other_metadata},
    }
    result = {MANIFEST: _dump(document)}
    for component in manifest.components:
        result[f"{component.directory}/{COMPONENT}"] = _dump(_component_json(component))
    return result


def _dump(document: object) -> bytes:
    try:
        return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ManifestError("", f"expected values that JSON can hold: {error}") from error


def _component_json(component: Component) -> dict[str, object]:
    prefix = len(component.directory) + 1
    return {
        "variants": {
            variant.name: {
                "variant_directory": variant.directory[prefix:],
                "ep": variant.ep,
                "executor_info": {
                    "ort": {"model_file": variant.model_file},
                    "ortolan": _info_json(variant.info),
                },
            }
            for variant in component.variants
        }
    }


def fidelity_json(fidelity: Fidelity) -> dict[str, object]:
    """A fidelity as the manifest, and all that is printed as JSON, has it."""
    return {
        "metric": fidelity.metric,
        "n": fidelity.n,
        "drop": fidelity.drop,
        "interval": [fidelity.interval.low, fidelity.interval.high],
        "worst": fidelity.worst,
        "inputs": fidelity.inputs,
    }


def _info_json(info: VariantInfo) -> dict[str, object]:
    return {
        "precision": info.precision,
        "providers": list(info.providers),
        "min_onnxruntime": info.min_onnxruntime,
        "weight_bytes": info.weight_bytes,
        "macs": _polynomial_json(info.macs),
        "activation_bytes": _polynomial_json(info.activation_bytes),
        "cpu_features": list(info.cpu_features),
        "fidelity": fidelity_json(info.fidelity),
        **({} if info.weights is None else {"weights": _weights_json(info.weights)}),
    }


def _weights_json(weights: WeightMemory) -> dict[str, int]:
    return {name: getattr(weights, name) for name in _WEIGHTS}


def _polynomial_json(polynomial: Polynomial | None) -> object:
    if polynomial is None:
        return None
    return {"terms": [[coefficient, list(names)] for coefficient, names in polynomial.terms]}


_title = text(re.compile(r"[^\x00-\x1f\x7f]{1,200}"), "1 to 200 characters without control characters")
_name = text(NAME, NAME_RULE)
_sha256 = text(re.compile(r"[0-9a-f]{64}"), "64 lower-case hexadecimal digits")
_version = text(re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}"), "a version such as '1.0.0'")
_release = text(re.compile(r"\d{1,4}\.\d{1,4}(\.\d{1,4})?", re.ASCII), "a version such as '1.20.0'")
_schema = text(re.compile(r"\d{1,4}\.\d{1,4}", re.ASCII), "a version such as '1.0'")
_inputs = choice(["samples", "generated"])
_WEIGHTS = ("inside", "largest", "mapped", "repacked", "reordered", "derived", "nested", "gathered")
_provider = text(re.compile(r"[a-z][a-z0-9-]{0,31}"), "a provider's short name such as 'cpu'")


def _sections(manifest_json: bytes) -> tuple[Record, Record]:
    """The top level of a manifest, and Ortolan's section; of versions that are known here."""
    keys = ["schema_version", "package_name", "components", "additional_metadata"]
    top = Record(decode(manifest_json, MANIFEST), "", keys)
    top.get("schema_version", _schema_version)
    metadata = top.get("additional_metadata", raw_object)
    if "ortolan" not in metadata:
        raise ManifestError(OURS, "missing; this is a model package, but no Ortolan bundle")
    _format(metadata["ortolan"])
    return top, Record(metadata["ortolan"], OURS, _OUR_KEYS)


def _schema_version(value: object, at: str) -> str:
    found = _schema(value, at)
    if found.partition(".")[0] != SCHEMA_VERSION.partition(".")[0]:
        raise ManifestError(at, f"expected {SCHEMA_VERSION!r}, got {found!r}; a newer Ortolan is needed to read it")
    return found


def _format(ours: object) -> None:
    """Check the format before anything else of our section: another one may have other keys."""
    if not isinstance(ours, dict) or "format" not in ours:
        return
    found = integer(1)(ours["format"], f"{OURS}.format")
    if found != FORMAT:
        raise ManifestError(f"{OURS}.format", f"expected {FORMAT}, got {found}; a newer Ortolan is needed to read it")


def _task(value: object, at: str) -> TaskSpec:
    record = Record(value, at, ["name", "config"])
    return TaskSpec(record.get("name", _name), record.get("config", raw_object))


def _source(value: object, at: str) -> Source:
    record = Record(value, at, ["name", "sha256", "bytes"])
    return Source(record.get("name", _title), record.get("sha256", _sha256), record.get("bytes", integer()))


def _provenance(value: object, at: str) -> Provenance:
    record = Record(value, at, ["framework", "framework_version", "versions", "sources"])
    return Provenance(
        framework=record.get("framework", _title),
        framework_version=record.get("framework_version", _title),
        versions=record.get("versions", mapping(_title, _title)),
        sources=record.get("sources", array(_source)),
    )


def _file_entry(value: object, at: str) -> FileEntry:
    record = Record(value, at, ["bytes", "sha256"])
    return FileEntry(record.get("bytes", integer()), record.get("sha256", _sha256))


def _files(ours: Record) -> dict[str, FileEntry]:
    """The listed files: none is the manifest itself, and none is another one's directory."""
    files = ours.get("files", mapping(_file_entry, relative_path, least=1))
    at = f"{OURS}.files"
    if MANIFEST in files:
        raise ManifestError(join(at, MANIFEST), "the manifest cannot list itself")
    for path in files:
        parent = path.rpartition("/")[0]
        while parent:
            if parent in files:
                raise ManifestError(join(at, path), f"{parent!r} is listed as a file")
            parent = parent.rpartition("/")[0]
    return files


def _component(document: object, name: str, directory: str) -> Component:
    at = join("components", name)
    record = Record(document, at, ["variants"])

    def variant(value: object, at: str) -> Variant:
        return _variant(value, at, name, directory)

    variants = record.get("variants", mapping(variant, _name, least=1))
    return Component(name, directory, tuple(replace(found, name=key) for key, found in variants.items()))


def _variant(value: object, at: str, component: str, directory: str) -> Variant:
    record = Record(value, at, ["variant_directory", "ep", "executor_info"])
    executors = Record(record.get("executor_info", raw_object), join(at, "executor_info"), ["ort", "ortolan"])
    ort = Record(executors.get("ort", raw_object), join(executors.at, "ort"), ["model_file"])
    return Variant(
        name="",
        component=component,
        directory=f"{directory}/{record.get('variant_directory', relative_path)}",
        model_file=ort.get("model_file", relative_path),
        ep=record.get("ep", _name),
        info=executors.get("ortolan", _info),
    )


def _info(value: object, at: str) -> VariantInfo:
    keys = ["precision", "providers", "min_onnxruntime", "weight_bytes", "macs", "activation_bytes", "cpu_features"]
    record = Record(value, at, [*keys, "fidelity", "weights"])
    return VariantInfo(
        precision=record.get("precision", _name),
        providers=record.get("providers", array(_provider, least=1)),
        min_onnxruntime=record.get("min_onnxruntime", _release),
        weight_bytes=record.get("weight_bytes", integer()),
        macs=record.get("macs", optional(_polynomial)),
        activation_bytes=record.get("activation_bytes", optional(_polynomial)),
        cpu_features=record.get("cpu_features", array(_name)),
        fidelity=record.get("fidelity", _fidelity),
        weights=record.get("weights", _weights, None),
    )


def _weights(value: object, at: str) -> WeightMemory | None:
    record = Record(value, at, _WEIGHTS)
    return WeightMemory(**{name: record.get(name, integer()) for name in _WEIGHTS})


def _polynomial(value: object, at: str) -> Polynomial:
    return Polynomial(Record(value, at, ["terms"]).get("terms", array(_term, most=10_000)))


def _term(value: object, at: str) -> tuple[float, tuple[str, ...]]:
    coefficient, names = array(lambda element, _: element, least=2, most=2)(value, at)
    return number()(coefficient, join(at, 0)), array(_title, most=16)(names, join(at, 1))


def _fidelity(value: object, at: str) -> Fidelity:
    record = Record(value, at, ["metric", "n", "drop", "interval", "worst", "inputs"])
    low, high = record.get("interval", array(number(0, 1), least=2, most=2))
    if low > high:
        raise ManifestError(join(at, "interval"), f"expected the lower end first, got [{low}, {high}]")
    return Fidelity(
        metric=record.get("metric", _name),
        n=record.get("n", integer()),
        drop=record.get("drop", number(0, 1)),
        interval=Interval(low, high),
        worst=record.get("worst", number(0)),
        inputs=record.get("inputs", _inputs),
    )


def _check_variants(manifest: Manifest) -> None:
    """Models are listed, directories do not contain each other, and costs use the dimensions that have sizes."""
    directories = {component.directory for component in manifest.components}
    if len(directories) < len(manifest.components):
        raise ManifestError("components", "expected a directory of its own for each component")
    variants = [variant for component in manifest.components for variant in component.variants]
    directories |= {variant.directory for variant in variants}
    for component in manifest.components:
        _check_apart(
            join("components", component.name),
            component.directory,
            directories - {variant.directory for variant in component.variants},
        )
    for name in manifest.max_dims:
        if name not in manifest.dims:
            raise ManifestError(join(f"{OURS}.max_dims", name), f"has no usual size in {OURS}.dims")
    for variant in variants:
        at = join(join(join("components", variant.component), "variants"), variant.name)
        _check_apart(join(at, "variant_directory"), variant.directory, directories)
        if variant.model_path not in manifest.files:
            problem = f"{variant.model_path!r} is not listed in {OURS}.files"
            raise ManifestError(f"{at}.executor_info.ort.model_file", problem)
        for cost in ("macs", "activation_bytes"):
            polynomial: Polynomial | None = getattr(variant.info, cost)
            for _, names in () if polynomial is None else polynomial.terms:
                for name in names:
                    if name not in manifest.dims:
                        problem = f"dimension {name!r} has no size in {OURS}.dims"
                        raise ManifestError(f"{at}.executor_info.ortolan.{cost}", problem)


def _check_apart(at: str, directory: str, others: Collection[str]) -> None:
    for other in others:
        if is_below(other, directory):
            raise ManifestError(at, f"{directory!r} contains {other!r}; directories must lie apart")

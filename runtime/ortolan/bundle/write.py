"""Writing a bundle: everything is checked, hashed and flushed before it appears under its name."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.bundle.atomic import check_target, staged_directory, write_file
from ortolan.bundle.description import Component, FileEntry, Manifest, Provenance, TaskSpec, Variant, VariantInfo
from ortolan.bundle.directory import Bundle
from ortolan.bundle.manifest import described, parse_manifest, serialize
from ortolan.bundle.names import ASSETS, GOLDEN, MANIFEST, MODEL
from ortolan.bundle.verify import check_models
from ortolan.errors import BundleError, StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Content = bytes | Path
    """A file's bytes, or the path of a file to copy."""
    VariantFiles = tuple[str, VariantInfo, Mapping[str, Content]]
    """Name, figures, and files by POSIX path relative to the variant's directory; its model is ``model.onnx``."""

_UNKNOWN = FileEntry(0, "0" * 64)
"""Stands for a file until it was written."""


def write_bundle(
    target: Path,
    *,
    package_name: str,
    version: str,
    task: TaskSpec,
    provenance: Provenance,
    dims: Mapping[str, int],
    components: Sequence[tuple[str, Sequence[VariantFiles]]],
    assets: Mapping[str, Content],
    golden: Mapping[str, Content],
    max_dims: Mapping[str, int] | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Write a new bundle directory. It appears complete under ``target``, or not at all.

    Args:
        target: the directory to make; its parent must exist.
        package_name: the bundle's name.
        version: the bundle's version.
        task: what it answers.
        provenance: where it comes from.
        dims: usual sizes of the free dimensions.
        components: name and variants of each, the reference first, then by preference.
        assets: files by POSIX path below ``assets/``.
        golden: files by POSIX path below ``golden/``.
        max_dims: the largest sizes that memory has to be there for, where they are not the usual ones.
        overwrite: replace a bundle that is already there.

    Raises:
        StorageError: the target exists, its parent does not, or something could not be read or written.
        ManifestError: a value the format does not allow.
        ModelFileError: a model is damaged, or refers to data outside its variant's files.
    """
    check_target(Path(target), overwrite=overwrite)
    contents: dict[str, Content] = {}
    described_components = []
    for component, rows in components:
        variants = []
        for name, info, files in rows:
            directory = f"{component}/{name}"
            contents.update({f"{directory}/{path}": content for path, content in files.items()})
            variants.append(Variant(name=name, component=component, directory=directory, model_file=MODEL, info=info))
        described_components.append(Component(component, component, tuple(variants)))
    contents.update({f"{ASSETS}/{path}": content for path, content in assets.items()})
    contents.update({f"{GOLDEN}/{path}": content for path, content in golden.items()})
    manifest = Manifest(
        package_name=package_name,
        version=version,
        task=task,
        provenance=provenance,
        dims=dims,
        max_dims=max_dims or {},
        files=dict.fromkeys(contents, _UNKNOWN),
        components=tuple(described_components),
    )
    return write_files(Path(target), manifest, contents, overwrite=overwrite)


def write_files(
    target: Path, manifest: Manifest, contents: Mapping[str, Content], *, overwrite: bool = False
) -> Bundle:
    """Write a bundle of this description and these files, by POSIX path relative to the bundle.

    The description's ``files`` are replaced by what was written, which must equal those that it lists; its
    ``component.json`` files are made.

    Raises:
        StorageError, ManifestError, ModelFileError: as for :func:`write_bundle`.
        BundleError: two components or variants of one name.
    """
    _check_names(manifest)
    _round_trip(replace(manifest, files=dict.fromkeys(contents, _UNKNOWN)))
    with staged_directory(target, overwrite=overwrite) as partial:
        files = {path: FileEntry(*write_file(partial / path, content)) for path, content in contents.items()}
        for path, entry in files.items():
            if manifest.files.get(path, _UNKNOWN) not in {_UNKNOWN, entry}:
                raise StorageError(f"{str(contents[path])!r} changed while it was copied; nothing was written")
        final, documents = _round_trip(replace(manifest, files=files))
        for path, document in documents.items():
            write_file(partial / path, document)
        check_models(partial, final, shown=target)
    return Bundle(target, final, sha256(documents[MANIFEST]).hexdigest())


def _check_names(manifest: Manifest) -> None:
    """Two of one name would become one key of a JSON object."""
    names = [component.name for component in manifest.components]
    names += [f"{variant.component}/{variant.name}" for c in manifest.components for variant in c.variants]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise BundleError(f"expected different names, got two components or variants called {name!r}")


def _round_trip(manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest as it will be read, and its documents: what cannot be read back is not written."""
    documents = serialize(described(manifest))
    return parse_manifest(documents[MANIFEST], documents), documents

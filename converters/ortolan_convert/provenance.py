"""A bundle's origin and name: digests of its sources, and versions of the packages that took part."""

from __future__ import annotations

import hashlib
import platform
import re
from importlib import metadata
from typing import TYPE_CHECKING

from ortolan.bundle.manifest import Provenance, Source
from ortolan.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def source_of(path: Path, below: Path | None = None) -> Source:
    """Name, SHA-256 and size of a file; of a file of a directory its path in there.

    Raises:
        StorageError: it cannot be read.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    name = path.name if below is None else path.relative_to(below).as_posix()
    return Source(name, digest.hexdigest(), size)


def provenance_of(framework: str, version: str, sources: Sequence[Source], packages: Iterable[str] = ()) -> Provenance:
    """The provenance of a conversion made here and now; it holds no time, so equal content gives equal bytes.

    Args:
        framework: e.g. ``"scikit-learn"``.
        version: of the framework that trained the model.
        sources: the artifacts.
        packages: further distributions whose versions matter.
    """
    names = ("ortolan", "numpy", "onnx", "onnxruntime", *packages)
    versions = {"python": platform.python_version()}
    versions |= {name: found for name in names if (found := installed(name)) is not None}
    return Provenance(framework=framework, framework_version=version, versions=versions, sources=tuple(sources))


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, or of its build for the CPU alone (``tensorflow-cpu``); None without."""
    found = (list(metadata.distributions(name=name)) for name in (distribution, f"{distribution}-cpu"))
    return next((one.version for several in found for one in several), None)


def package_name(target: Path) -> str:
    """A bundle's name: its directory's, without the suffix and what names may not hold."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", target.name.removesuffix(".bundle")).strip("-._")[:64]
    return name or "model"

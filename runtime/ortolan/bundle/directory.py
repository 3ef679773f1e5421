"""A bundle on disk, opened: its manifest and the way to its files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.bundle.fields import MAX_JSON_BYTES
from ortolan.bundle.files import read_bounded, reason_of
from ortolan.bundle.manifest import parse_manifest
from ortolan.bundle.names import ASSETS, MANIFEST
from ortolan.bundle.verify import Mode, verify_files
from ortolan.errors import BundleError, ManifestError, StorageError, UnknownNameError
from ortolan.records import dataclass

if TYPE_CHECKING:
    from ortolan.bundle.description import Manifest, Variant


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was verified when it was opened.

    Args:
        path: its directory.
        manifest: what it says of itself.
        digest: SHA-256 of its ``manifest.json``; names the bundle and all its content.
    """

    path: Path
    manifest: Manifest
    digest: str

    def file_path(self, path: str) -> Path:
        """Path of a listed file.

        Args:
            path: POSIX path relative to the bundle, e.g. ``"golden/inputs.json"``.

        Raises:
            UnknownNameError: the manifest lists no such file.
        """
        if path not in self.manifest.files:
            raise UnknownNameError(f"file of bundle {str(self.path)!r}:", path, self.manifest.files)
        return self.path / path

    def read_file(self, path: str) -> bytes:
        """Content of a listed file; ``path`` as for :meth:`file_path`.

        Raises:
            UnknownNameError: the manifest lists no such file.
            StorageError: it cannot be read.
        """
        return read_bounded(self.file_path(path), self.manifest.files[path].bytes)

    def asset_path(self, name: str) -> Path:
        """Path of an asset; ``name`` is its POSIX path below ``assets/``.

        Raises:
            UnknownNameError: the manifest lists no such asset.
        """
        return self.file_path(f"{ASSETS}/{name}")

    def read_asset(self, name: str) -> bytes:
        """Content of an asset; ``name`` is its POSIX path below ``assets/``.

        Raises:
            UnknownNameError: the manifest lists no such asset.
            StorageError: it cannot be read.
        """
        return self.read_file(f"{ASSETS}/{name}")

    def model_path(self, variant: Variant) -> Path:
        """Path of a variant's model."""
        return self.path / variant.model_path


def open_bundle(path: str | os.PathLike[str], *, verify: Mode = "once") -> Bundle:
    """Open a bundle directory.

    Args:
        path: the directory.
        verify: ``"once"`` hashes what is not remembered as unchanged, ``"full"`` everything.

    Raises:
        BundleError: it is no bundle; the message says what it looks like.
        ManifestError: its manifest is not what the format says.
        VerificationError: a file is changed, missing or unlisted.
        ModelFileError: a model is damaged, or refers to data outside its variant's directory.
        StorageError: it does not exist or cannot be read.
    """
    root = Path(path)
    manifest, digest = read_manifest(root)
    verify_files(root, manifest, digest, verify)
    return Bundle(root, manifest, digest)


def read_manifest(root: Path) -> tuple[Manifest, str]:
    """Manifest and digest of a bundle directory, without looking at any other file.

    Raises:
        BundleError, ManifestError, StorageError: as for :func:`open_bundle`.
    """
    from ortolan.digest import sha256

    _check_directory(root)
    document = read_bounded(root / MANIFEST, MAX_JSON_BYTES)
    try:
        manifest = parse_manifest(document, lambda name: read_bounded(root / name, MAX_JSON_BYTES))
    except ManifestError as error:
        raise ManifestError(error.path, f"{error.problem} (in bundle {str(root)!r})") from error
    return manifest, sha256(document).hexdigest()


def _check_directory(root: Path) -> None:
    try:
        mode = os.stat(root).st_mode  # noqa: PTH116  Path.stat of a path with NUL differs between versions of Python
        is_bundle = stat.S_ISDIR(mode) and os.path.lexists(root / MANIFEST)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot open bundle {str(root)!r}: {reason_of(error)}") from error
    if is_bundle:
        return
    if stat.S_ISDIR(mode):
        raise BundleError(f"{str(root)!r} is no bundle: it has no {MANIFEST}")
    if root.suffix == ".tar":
        raise BundleError(
            f"{str(root)!r} is a packed bundle; run `ortolan unpack {root}` and open the directory it makes"
        )
    if root.suffix == ".onnx":
        raise BundleError(f"{str(root)!r} is a bare model; run `ortolan convert {root} -o OUT.bundle` to make a bundle")
    raise BundleError(f"{str(root)!r} is no bundle: expected a directory with a {MANIFEST}, found a file")

"""Whether a bundle on disk is what its manifest says: every file there, unchanged, and nothing else.

Hashing everything takes time, so a bundle that was found right is remembered in the state directory against size,
inode, modification and change time of each file. Opening it again costs a look at each directory and file. A missing
or unlisted file is noticed every time.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ortolan.bundle.files import digest_of, reason_of
from ortolan.bundle.names import MANIFEST
from ortolan.errors import ModelFileError, StorageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan.bundle.description import FileEntry, Manifest

Mode = Literal["once", "full"]
"""``"once"``: hash what is not remembered as unchanged; ``"full"``: hash everything."""

_SETTLED_S = 0.02
"""A file modified this recently could change again within the resolution of its times (a tick of the kernel's clock is
4 or 10 ms): this time must pass before it can be remembered."""

Stamp = list[int]
"""Size in bytes, inode, modification time and change time in nanoseconds."""
_CHANGED = 3
"""Index of the change time, which is never older than the modification unless somebody sets the clock."""


def verify_files(root: Path, manifest: Manifest, digest: str, mode: Mode = "once") -> None:
    """Check a bundle's files against its manifest.

    Args:
        root: the bundle's directory.
        manifest: its parsed manifest.
        digest: SHA-256 of its ``manifest.json``.
        mode: whether an earlier verification counts.

    Raises:
        VerificationError: a file is changed, missing, unlisted, or not a regular file.
        ModelFileError: a model is damaged, or refers to data outside its variant's directory.
        StorageError: a file or directory cannot be read.
    """
    from ortolan import state

    root = Path(os.path.realpath(root))
    stamps = _survey(root, manifest.files)
    name = _stamp_name(root, digest)
    if mode == "once" and state.read_json(name) == {"path": str(root), "digest": digest, "files": stamps}:
        return
    _check_content(root, manifest)
    newest = max(stamp[_CHANGED] for stamp in stamps.values())
    time.sleep(min(max(newest / 1e9 + _SETTLED_S - time.time(), 0), _SETTLED_S))
    if _survey(root, manifest.files) != stamps:
        raise VerificationError(f"bundle {str(root)!r} was changed while it was verified; verify it again")
    state.write_json(name, {"path": str(root), "digest": digest, "files": stamps})


def _stamp_name(root: Path, digest: str) -> str:
    from ortolan.digest import sha256

    place = sha256(os.fsencode(root)).hexdigest()
    return f"verified/{digest[:32]}-{place[:16]}.json"


def _survey(root: Path, files: Mapping[str, FileEntry]) -> dict[str, Stamp]:
    """Stamps of all listed files, after a walk that finds everything that should not be there, or should and is not."""
    directories = {""}
    for path in files:
        parent = path.rpartition("/")[0]
        while parent not in directories:
            directories.add(parent)
            parent = parent.rpartition("/")[0]
    stamps: dict[str, Stamp] = {}
    problems: list[str] = []
    pending = [""]
    while pending:
        directory = pending.pop()
        for entry in _entries(root, directory):
            path = f"{directory}/{entry.name}" if directory else entry.name
            found = _look(root, path, entry)
            mode = found.st_mode
            if stat.S_ISLNK(mode):
                problems.append(f"{path!r} is a symbolic link; a bundle holds regular files only")
            elif stat.S_ISDIR(mode):
                if path in directories:
                    pending.append(path)
                else:
                    problems.append(f"directory {path!r} is not listed in its manifest")
            elif path != MANIFEST and path not in files:
                problems.append(f"{path!r} is not listed in its manifest")
            elif not stat.S_ISREG(mode):
                problems.append(f"{path!r} is not a regular file")
            elif path != MANIFEST:
                stamps[path] = [found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns]
                if found.st_size != files[path].bytes:
                    problems.append(f"{path!r} changed: expected {files[path].bytes} bytes, found {found.st_size}")
    if not problems:
        problems += [f"{path!r} is missing" for path in files if path not in stamps]
    _refuse(root, problems)
    return stamps


def _entries(root: Path, directory: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root / directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(f"cannot read directory {str(root / directory)!r}: {reason_of(error)}") from error


def _look(root: Path, path: str, entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        raise StorageError(f"cannot read {str(root / path)!r}: {reason_of(error)}") from error


def _check_content(root: Path, manifest: Manifest) -> None:
    """Hash every file and read every model."""
    problems = []
    for path, entry in manifest.files.items():
        size, sha256 = digest_of(root / path)
        if size != entry.bytes:
            problems.append(f"{path!r} changed: expected {entry.bytes} bytes, found {size}")
        elif sha256 != entry.sha256:
            problems.append(f"{path!r} changed: expected SHA-256 {entry.sha256[:16]}…, found {sha256[:16]}…")
    _refuse(root, problems)
    check_models(root, manifest)


def check_models(root: Path, manifest: Manifest, shown: Path | None = None) -> None:
    """Read every model and check its external data.

    Args:
        root: the bundle's directory.
        manifest: its manifest.
        shown: the directory to name in errors, if it is not ``root``.

    Raises:
        ModelFileError: a model is damaged, or refers to data outside its variant's directory.
    """
    from ortolan.bundle.onnxfile import check_external_data

    variants = (variant for component in manifest.components for variant in component.variants)
    try:
        for path, directory in dict.fromkeys((variant.model_path, variant.directory) for variant in variants):
            check_external_data(root / path, within=root / directory)
    except ModelFileError as error:
        if shown is None:
            raise
        raise ModelFileError(str(error).replace(str(root), str(shown))) from error


def _refuse(root: Path, problems: list[str]) -> None:
    if problems:
        more = f"; and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise VerificationError(f"bundle {str(root)!r}: {problems[0]}{more}")

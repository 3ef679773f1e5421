"""The state directory: measurements, verification stamps and other facts that are only worth keeping.

Nothing in it is needed: everything can be lost at any time, and where no directory can be written (a read-only root, no
``HOME``) Ortolan works without and says so once. Values are JSON files, written beside their place and renamed into it.
"""

from __future__ import annotations

import json
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.errors import ArchiveError, OrtolanError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from tarfile import TarFile, TarInfo

MAX_FILE_BYTES = 64 << 20
"""Largest state file that is read or imported."""
MAX_FILES = 10_000
"""Most files that are imported from one archive."""
MAX_TOTAL_BYTES = 256 << 20
"""Largest sum of the files imported from one archive."""

_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,127}/){0,3}[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_warned = False


def state_directory() -> Path | None:
    """The directory of this process's state, made if need be; None if there is none that can be written.

    ``ORTOLAN_STATE_DIR`` if it is set, and then nothing else; otherwise the first that can be written of
    ``$XDG_STATE_HOME/ortolan``, ``~/.local/state/ortolan`` and ``/var/lib/ortolan``.
    """
    candidates = list(_candidates())
    for candidate in candidates:
        if _usable(candidate):
            return candidate
    tried = ", ".join(map(str, candidates))
    _warn_once(f"no state directory can be written (tried {tried}); set ORTOLAN_STATE_DIR to keep measurements")
    return None


def read_json(name: str) -> object | None:
    """The value stored under ``name``; None if it is missing, damaged or cannot be read.

    Args:
        name: up to four parts of ASCII letters, digits, ``.``, ``_`` and ``-`` separated by ``/``; ``.json`` is added
            if it is not there.

    Raises:
        UsageError: a name that is none.
    """
    relative = _relative(name)
    directory = state_directory()
    if directory is None:
        return None
    try:
        with (directory / relative).open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        value: object = json.loads(content) if len(content) <= MAX_FILE_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return value


def write_json(name: str, value: object) -> None:
    """Store ``value`` under ``name`` (see `read_json`) atomically.

    Does nothing but warn, once per process, where it cannot be written: no directory, a full disk.

    Raises:
        UsageError: a name that is none.
        TypeError: a value that JSON cannot express.
    """
    relative = _relative(name)
    content = json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
    directory = state_directory()
    if directory is None:
        return
    try:
        _keep(directory / relative, content)
    except OSError as error:
        _warn_once(f"state cannot be kept in {directory}: {error.strerror or error}")


def export_state(tar_path: str | Path) -> int:
    """Write everything in the state directory to a tar archive; equal state gives equal bytes.

    Returns:
        the number of files in the archive.

    Raises:
        StorageError: there is no state directory, or the archive cannot be written.
    """
    import io
    import tarfile

    directory = _required_directory()
    target = Path(tar_path)
    buffer = io.BytesIO()
    try:
        files = sorted(path for path in directory.rglob("*.json") if path.is_file() and not path.is_symlink())
        contents = [(path.relative_to(directory).as_posix(), path.read_bytes()) for path in files]
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, content in contents:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        _replace(target, buffer.getvalue())
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error
    return len(contents)


def import_state(tar_path: str | Path) -> int:
    """Add the files of an archive made by `export_state` to the state directory, replacing those of the same name.

    Everything is checked before anything is written: only regular ``.json`` files with plain names and JSON content are
    accepted, within bounds of size and number.

    Returns:
        the number of files written.

    Raises:
        ArchiveError: the archive is damaged or holds anything else.
        StorageError: there is no state directory, or a file cannot be read or written.
    """
    import tarfile

    directory = _required_directory()
    source = Path(tar_path)
    try:
        # "r:" reads plain tar only: a compressed archive could grow without bound.
        with tarfile.open(source, mode="r:") as archive:
            contents = dict(_checked_members(archive, source))
    except OSError as error:
        raise StorageError(f"cannot read {source}: {error.strerror or error}") from error
    except OrtolanError:
        raise
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise ArchiveError(f"{source}: not a tar archive made by `ortolan state export`: {error}") from error
    try:
        for name, content in contents.items():
            _keep(directory / name, content)
    except OSError as error:
        raise StorageError(f"cannot write to {directory}: {error.strerror or error}") from error
    return len(contents)


def _checked_members(archive: TarFile, source: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    for count, member in enumerate(archive, start=1):
        problem = _problem(member)
        total += member.size
        if count > MAX_FILES or total > MAX_TOTAL_BYTES:
            problem = f"more than {MAX_FILES} files or {MAX_TOTAL_BYTES >> 20} MiB in all"
        if problem is not None:
            raise ArchiveError(f"{source}: {member.name[:200]!r}: {problem}; nothing was imported")
        stream = archive.extractfile(member)
        content = b"" if stream is None else stream.read()
        try:
            json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ArchiveError(f"{source}: {member.name!r}: not JSON: {error}; nothing was imported") from error
        yield member.name, content


def _problem(member: TarInfo) -> str | None:
    import tarfile

    if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
        return "expected a regular file, found a link, directory or device"
    if not (_NAME.fullmatch(member.name) and member.name.endswith(".json")):
        return "expected a plain relative name that ends in .json"
    if not 0 <= member.size <= MAX_FILE_BYTES:
        return f"expected at most {MAX_FILE_BYTES >> 20} MiB, found {member.size} bytes"
    return None


def _candidates() -> Iterator[Path]:
    chosen = os.environ.get("ORTOLAN_STATE_DIR")
    if chosen:
        yield Path(chosen)
        return
    xdg = os.environ.get("XDG_STATE_HOME", "")
    if xdg.startswith("/"):  # the XDG specification says that a relative path is ignored
        yield Path(xdg, "ortolan")
    home = os.environ.get("HOME", "")
    # System services get "/" or a directory that is not there: as root it would be made, and be no home.
    if home.startswith("/") and home != "/" and os.path.isdir(home):  # noqa: PTH112 - Path() costs more here
        yield Path(home, ".local/state/ortolan")
    yield Path("/var/lib/ortolan")


def _usable(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)


def _required_directory() -> Path:
    directory = state_directory()
    if directory is None:
        raise StorageError("there is no state directory that can be written; set ORTOLAN_STATE_DIR")
    return directory


def _relative(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"expected a state name such as 'measurements/0a1b', got {name!r}")
    return name if name.endswith(".json") else f"{name}.json"


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, content)


def _replace(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path``, and rename: a reader sees the old file or the new one, never a part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _warn_once(message: str) -> None:
    global _warned  # noqa: PLW0603 - once per process is what is meant
    if not _warned:
        _warned = True
        import logging

        logging.getLogger("ortolan").warning("%s", message)

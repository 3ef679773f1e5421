"""A directory that appears complete or not at all.

It is written beside its target under another name, flushed to the disk, and renamed. What an interrupted process leaves
behind is recognised by a lock nobody holds any more, and removed by the next writer in the same directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

from ortolan.bundle.files import chunks, reason_of
from ortolan.bundle.names import MANIFEST
from ortolan.errors import OrtolanError, StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ATTEMPTS = 10
WRITE_BYTES = 64 * 1024
"""Written at once. Linux keeps larger pieces together in its page cache, and since 6.18 maps all of such a folio into a
process that touches a byte of it: each row of mapped weights that is looked up would cost a megabyte of its memory."""
_PARTIAL = re.compile(r"\..+\.partial-(?P<owner>[0-9]+)", re.DOTALL)
"""Name of a directory that is being filled, with the process that does it."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Both from Linux' ``fcntl.h`` and ``fs.h``, for ``renameat2``."""


def check_target(target: Path, *, overwrite: bool, kind: Literal["bundle", "file"] = "bundle") -> None:
    """Refuse early what could only fail after the work.

    Raises:
        StorageError: the parent directory is missing, or the target exists (to overwrite: and is not of that kind).
    """
    try:
        parent = target.parent
        if not target.name:
            raise StorageError(f"cannot write {str(target)!r}: it has no name")
        if not stat.S_ISDIR(os.stat(parent).st_mode):  # noqa: PTH116  Path.stat differs on NUL between versions
            raise StorageError(f"cannot write {str(target)!r}: {str(parent)!r} is not a directory")
        if not os.path.lexists(target):
            return
        if not overwrite:
            raise StorageError(f"{str(target)!r} already exists; choose another name, or replace it with --overwrite")
        found = target.is_file() if kind == "file" else (target / MANIFEST).is_file()
        if target.is_symlink() or not found:
            raise StorageError(f"{str(target)!r} exists and is no {kind}; it is not overwritten")
    except (OSError, ValueError) as error:
        raise _write_error(target, error) from error


@contextlib.contextmanager
def staged_directory(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A new directory to fill; when the block ends it becomes ``target``, when it raises it is removed.

    Raises:
        StorageError: something could not be written; nothing remains.
    """
    check_target(target, overwrite=overwrite)
    with locked_directory(target) as partial:
        yield partial
        _sync_directories(partial)
        check_target(target, overwrite=overwrite)
        _publish(partial, target)


@contextlib.contextmanager
def staged_file(target: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A new file to write; when the block ends it becomes ``target``, when it raises it is removed.

    Raises:
        StorageError: something could not be written; nothing remains.
    """
    check_target(target, overwrite=overwrite, kind="file")
    with locked_directory(target) as partial:
        path = partial / "content"
        with path.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        check_target(target, overwrite=overwrite, kind="file")
        path.replace(target)


@contextlib.contextmanager
def locked_directory(target: Path, *, label: str = "") -> Iterator[Path]:
    """A new directory beside the target; whatever is in it, or under its name, is removed in the end.

    Args:
        target: what is being made.
        label: tells several directories of one target apart.

    Raises:
        StorageError: it could not be made, or something in it not be written; nothing remains.
    """
    try:
        _remove_stale(target)
        partial, lock = _claim(target, partial_path(target, label=label))
    except (OSError, ValueError) as error:
        raise _write_error(target, error) from error
    try:
        yield partial
        _sync(target.parent)
    except OrtolanError:
        # Some are OSErrors too, and not about writing: trust that was not given is a PermissionError.
        raise
    except OSError as error:
        raise _write_error(target, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def partial_path(target: Path, *, label: str = "") -> Path:
    """Where this process puts a target's :func:`locked_directory`."""
    return target.parent / f".{target.name}{label}.partial-{os.getpid()}"


def write_file(path: Path, content: bytes | Path | Iterable[bytes | memoryview]) -> tuple[int, str]:
    """Write a new file, flushed to the disk, making its parent directories; gives its bytes and SHA-256.

    Args:
        path: where to; must not exist.
        content: the bytes, in one or many pieces, or the file to copy them from.

    Raises:
        OSError: it could not be written; StorageError if the source could not be read.
    """
    from hashlib import sha256

    path.parent.mkdir(parents=True, exist_ok=True)
    digest = sha256()
    size = 0
    if isinstance(content, bytes):
        content = [content]
    elif isinstance(content, Path):
        content = chunks(Path(os.path.realpath(content)))
    with path.open("xb", buffering=0) as file:
        for piece in content:
            digest.update(piece)
            size += len(piece)
            rest = memoryview(piece)
            while rest:
                rest = rest[file.write(rest[:WRITE_BYTES]) :]
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _write_error(target: Path, error: OSError | ValueError) -> StorageError:
    if isinstance(error, StorageError):
        return error
    return StorageError(f"cannot write {str(target)!r}: {reason_of(error)}; nothing was left there")


def _claim(target: Path, partial: Path) -> tuple[Path, int]:
    """Make and lock the partial directory. The lock is released by the system when the process ends in any way."""
    for _ in range(_ATTEMPTS):
        try:
            partial.mkdir()
        except FileExistsError:
            raise StorageError(f"cannot write {str(target)!r}: another thread is writing it") from None
        # Before it is locked, another writer may take the new directory for a stale one: then make it again.
        try:
            lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        # A filesystem without locks: the process id in the name is what remains.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        if partial.exists():
            return partial, lock
        os.close(lock)
    raise StorageError(f"cannot write {str(target)!r}: another process is writing it")


def _remove_stale(target: Path) -> None:
    """Remove what writers into the same directory left that did not live to clean up."""
    for name in os.listdir(target.parent):  # noqa: PTH208  names are enough
        found = _PARTIAL.fullmatch(name)
        if found is None:
            continue
        path = target.parent / name
        try:
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if not _is_held(lock, int(found["owner"])):
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _is_held(lock: int, owner: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return owner == os.getpid() or Path(f"/proc/{owner}").exists()
    return False


def _publish(partial: Path, target: Path) -> None:
    """Rename the partial directory to the target. A bundle that was there gets the partial's name, to be removed."""
    if not os.path.lexists(target):
        partial.rename(target)
    elif not _exchange(partial, target):
        old = partial.with_name(f"{partial.name}-old")
        target.rename(old)
        try:
            partial.rename(target)
        except BaseException:
            old.rename(target)
            raise
        old.rename(partial)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two directories in one step, so that a reader always finds one of them; False where that is not possible."""
    import ctypes

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)


def _sync_directories(root: Path) -> None:
    for directory, _, _ in os.walk(root):
        _sync(Path(directory))


def _sync(directory: Path) -> None:
    # Some directories cannot be opened or flushed; their renames are as durable as they get.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

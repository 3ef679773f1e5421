"""Reading files that somebody else wrote: regular files only, never through a link, with bounds."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ortolan.errors import BundleError, OrtolanError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CHUNK_BYTES = 2**20
"""Files are read, hashed and copied in pieces of this size."""


def open_regular(path: Path) -> int:
    """Descriptor of a regular file, for reading. A last path segment that is a symlink is refused.

    Raises:
        StorageError: it cannot be opened, or is no regular file.
    """
    try:
        # O_NONBLOCK: a named pipe must not hang the caller. It has no effect on regular files.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = "is a symbolic link" if _is_link(path) else reason_of(error)
        raise StorageError(f"cannot read {str(path)!r}: {reason}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"cannot read {str(path)!r}: is not a regular file")
    return descriptor


def read_bounded(path: Path, limit: int) -> bytes:
    """Content of a file of at most ``limit`` bytes.

    Raises:
        StorageError: it cannot be read.
        BundleError: it is larger.
    """
    descriptor = open_regular(path)
    try:
        size = os.fstat(descriptor).st_size
        if size > limit:
            raise BundleError(f"{str(path)!r} has {size} bytes, expected at most {limit}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(limit + 1)[:limit]
    except OrtolanError:
        raise
    except OSError as error:
        raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error
    finally:
        os.close(descriptor)


def chunks(path: Path, report: Callable[[int], object] | None = None) -> Iterator[memoryview]:
    """Content of a file piece by piece; each piece is valid until the next is asked for.

    Args:
        path: the file.
        report: called with the number of bytes of each piece.

    Raises:
        StorageError: it cannot be read.
    """
    descriptor = open_regular(path)
    buffer = memoryview(bytearray(CHUNK_BYTES))
    try:
        while True:
            try:
                count = os.readv(descriptor, [buffer])
            except OSError as error:
                raise StorageError(f"cannot read {str(path)!r}: {reason_of(error)}") from error
            if not count:
                return
            yield buffer[:count]
            if report is not None:
                report(count)
    finally:
        os.close(descriptor)


def digest_of(path: Path) -> tuple[int, str]:
    """Bytes and SHA-256 of a file.

    Raises:
        StorageError: it cannot be read.
    """
    from hashlib import sha256

    digest = sha256()
    size = 0
    for piece in chunks(path):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def reason_of(error: OSError | ValueError) -> str:
    """The operating system's words for an error, without path and number."""
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except (OSError, ValueError):
        return False

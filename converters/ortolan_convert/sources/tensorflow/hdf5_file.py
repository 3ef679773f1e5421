"""HDF5 files, looked through before their numbers are read: nothing outside of them, nothing larger than it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, OrtolanError, StorageError, UnsupportedError
from ortolan_convert.messages import words
from ortolan_convert.sources.packages import require

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_EXPANDED = 200
"""Times that a data set may be larger than its bytes in the file: compressed weights reach 2, zeros more."""
SMALL = 1 << 20
"""Bytes that a data set may have whatever the file holds of it."""
MOST_OBJECTS = 1 << 18
"""Groups and data sets."""


@contextmanager
def opened(path: Path, origin: Path) -> Iterator[Any]:
    """The file, opened by h5py for reading.

    Args:
        path: the file.
        origin: what messages call it: the archive it came out of.

    Raises:
        ConversionError: it is damaged.
        StorageError: it cannot be read.
    """
    h5py = require("h5py", "h5py", "tensorflow")
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OrtolanError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise ConversionError(f"{origin}: an HDF5 file that is damaged or cut short: {words(error)}") from error


def check_contained(file: Any, origin: Path) -> None:
    """Refuse links and data sets that lead out of the file, and data sets that would swell when they are read.

    Raises:
        UnsupportedError: they lead out.
        ConversionError: they would swell.
    """
    import h5py

    seen: set[Any] = set()
    waiting = [("", file)]
    while waiting:
        above, group = waiting.pop()
        for key in group:
            name = f"{above}/{key}"
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise UnsupportedError(f"{origin}: {name}: a link within or out of the HDF5 file; Keras writes none")
            entry = group[key]
            identity = h5py.h5o.get_info(entry.id).addr
            if identity in seen:
                raise UnsupportedError(f"{origin}: {name}: a second name for something in the HDF5 file")
            seen.add(identity)
            if len(seen) > MOST_OBJECTS:
                raise ConversionError(f"{origin}: expected at most {MOST_OBJECTS} objects in an HDF5 file")
            if isinstance(entry, h5py.Group):
                waiting.append((name, entry))
            elif isinstance(entry, h5py.Dataset):
                _check_data(entry, name, origin)


def _check_data(data: Any, name: str, origin: Path) -> None:
    if data.external or data.is_virtual:
        raise UnsupportedError(f"{origin}: {name}: its numbers are in another file; expected them in this one")
    stored = data.id.get_storage_size()
    if data.dtype.kind not in "fiubSOV":
        raise UnsupportedError(f"{origin}: {name}: expected numbers, found {data.dtype}")
    size = data.dtype.itemsize
    for dim in data.shape or ():
        size *= int(dim)
    if size > SMALL and size > MOST_EXPANDED * stored:
        raise ConversionError(f"{origin}: {name}: {size} bytes when read, of which the file holds {stored}")

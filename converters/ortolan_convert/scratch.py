"""Where a conversion leaves what it does not keep: one directory beside its target, gone however the process ends.

Everything that makes temporary files through :mod:`tempfile` or ``$TMPDIR``, the training frameworks too, makes them in
there. It is removed at the end, when an exception or a handled signal ends the conversion, and by a watcher when the
process is killed. Where even the watcher does not live on (a container that is stopped, a power cut), the next
conversion into the same directory removes it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ortolan.bundle.atomic import locked_directory, partial_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LABEL = ".scratch"
_WATCH = 'read -r word || for try in 1 2 3 4 5; do command -p rm -rf -- "$@" && exit; command -p sleep 1; done'
"""A shell waits for a line, which says that all is tidy. The end of the file instead says that the process is gone.
What its children still write may have to be removed again."""

_lock = Lock()
_places: list[tuple[str | None, str | None]] = []
"""Where temporary files go, as `tempfile` and ``$TMPDIR`` say: before the first conversion, then for each that runs."""


@contextlib.contextmanager
def scratch(target: Path) -> Iterator[Path]:
    """A directory on the target's disk for the time of a conversion, in which all temporary files are made.

    Args:
        target: the bundle that is being made; its parent exists.

    Raises:
        StorageError: it cannot be made, or something could not be written.
    """
    # The bundle is filled in a directory of its own, since it is renamed and not copied in the end.
    paths = [str(path.absolute()) for path in (partial_path(target, label=_LABEL), partial_path(target))]
    watcher = _watch(paths)
    ours = False
    try:
        with locked_directory(target, label=_LABEL):
            ours = True
            with _temporary_files_in(paths[0]):
                yield Path(paths[0])
    finally:
        # Another thread's directory of the same name is not touched.
        _dismiss(watcher, tidy=not ours or not any(map(os.path.lexists, paths)))


@contextlib.contextmanager
def _temporary_files_in(room: str) -> Iterator[None]:
    """Make `tempfile` and child processes use a directory. Of several conversions at once the latest one's counts."""
    with _lock:
        if not _places:
            _places.append((tempfile.tempdir, os.environ.get("TMPDIR")))
        _places.append((room, room))
        _use(*_places[-1])
    try:
        yield
    finally:
        with _lock:
            _places.remove((room, room))
            _use(*_places[-1])
            if len(_places) == 1:
                _places.clear()


def _use(directory: str | None, variable: str | None) -> None:
    tempfile.tempdir = directory
    if variable is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = variable


def _watch(paths: Sequence[str]) -> subprocess.Popen[bytes] | None:
    """A shell that removes the paths once this process is gone. None where there is none to be had.

    In a session of its own it is out of reach of Ctrl-C and of a kill of this process's group.
    """
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "sh", *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError:
        return None


def _dismiss(watcher: subprocess.Popen[bytes] | None, *, tidy: bool) -> None:
    """Let the watcher go, or have it remove what is left."""
    if watcher is not None:
        watcher.communicate(b"tidy\n" if tidy else b"")

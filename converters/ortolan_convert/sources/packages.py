"""Packages that only some sources need: imported when they are, and asked for by the extra that brings them."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib import import_module
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from ortolan.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_QUIET: Mapping[str, Mapping[str, str]] = {
    "tensorflow": {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0", "KERAS_BACKEND": "tensorflow"},
}
"""Modules that print when they are imported, and what they are told by the environment before.

oneDNN's kernels round differently from run to run."""


def require(module: str, package: str, extra: str) -> Any:
    """The imported module.

    Args:
        module: what to import.
        package: its package's name, for the message.
        extra: Ortolan's extra that installs it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        if module not in _QUIET or module in sys.modules:
            return import_module(module)
        for name, value in _QUIET[module].items():
            os.environ.setdefault(name, value)
        with silenced():
            return import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{package} is needed to convert this artifact and cannot be imported ({error}); "
            f"install it: pip install 'ortolan[{extra}]'"
        ) from None


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what libraries write to standard output and standard error, in C++ too, off the terminal.

    It holds for the whole process. What Python has buffered comes out before and after.
    """
    kept: list[tuple[int, int]] = []
    with TemporaryFile() as sink:
        try:
            for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
                _flush(stream)
                try:
                    kept.append((descriptor, os.dup(descriptor)))
                except OSError:
                    continue  # a daemon may have closed it
                os.dup2(sink.fileno(), descriptor)
            yield
        finally:
            _flush(sys.stdout)
            _flush(sys.stderr)
            for descriptor, saved in kept:
                os.dup2(saved, descriptor)
                os.close(saved)


def _flush(stream: Any) -> None:
    if stream is not None and not stream.closed:
        stream.flush()

"""TensorFlow, imported and used without what it prints."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from ortolan_convert.sources.packages import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ENVIRONMENT: Mapping[str, str] = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "KERAS_BACKEND": "tensorflow",
}
"""What TensorFlow and Keras are told before they are imported. oneDNN's kernels round otherwise from run to run."""


def tensorflow() -> Any:
    """The module ``tensorflow``.

    Raises:
        MissingPackageError: it is not installed.
    """
    with silenced():
        if "tensorflow" in sys.modules:
            return require("tensorflow", "tensorflow", "tensorflow")
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        tf = require("tensorflow", "tensorflow", "tensorflow")
        # The source is asked on the CPU: elsewhere TensorFlow takes all memory of the GPU, and rounds otherwise.
        tf.config.set_visible_devices([], "GPU")
        return tf


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what libraries write to standard output and standard error, in C++ too, off the terminal.

    It holds for the whole process. What Python has buffered comes out before and after.
    """
    kept: list[tuple[int, int]] = []
    with TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
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

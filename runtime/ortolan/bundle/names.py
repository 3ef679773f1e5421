"""What files, components and variants of a bundle may be called."""

from __future__ import annotations

import re

from ortolan.bundle.fields import shorten
from ortolan.errors import ManifestError

MANIFEST = "manifest.json"
COMPONENT = "component.json"
ASSETS = "assets"
"""Directory of the files a task reads."""
GOLDEN = "golden"
"""Directory of sample inputs and the source's answers."""
MODEL = "model.onnx"
"""What ``write_bundle`` expects a variant's model to be called."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_RULE = "a name of at most 64 letters, digits, dots, dashes and underscores"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_SEGMENT_BYTES = 255
_MAX_PATH_BYTES = 1024


def relative_path(value: object, at: str) -> str:
    """Converter: a relative POSIX path that stays below its root on every system and means the same on each.

    Raises:
        ManifestError: anything else, with the reason.
    """
    if not isinstance(value, str):
        raise ManifestError(at, f"expected a path, got {type(value).__name__}")
    problem = path_problem(value)
    if problem is not None:
        raise ManifestError(at, f"expected a relative path within the bundle, got {shorten(value)}: {problem}")
    return value


def path_problem(path: str) -> str | None:
    """Why a string is no safe relative POSIX path; None if it is one."""
    if not path:
        return "it is empty"
    if path.startswith("/") or _DRIVE.match(path):
        return "it is absolute"
    if "\\" in path:
        return "it has a backslash"
    if _CONTROL.search(path):
        return "it has a control character"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "it has a lone surrogate"
    if len(encoded) > _MAX_PATH_BYTES:
        return f"it is longer than {_MAX_PATH_BYTES} bytes"
    for segment in encoded.split(b"/"):
        if segment in {b"", b".", b".."}:
            return f"it has the segment {segment.decode()!r}"
        if len(segment) > _MAX_SEGMENT_BYTES:
            return f"it has a segment longer than {_MAX_SEGMENT_BYTES} bytes"
    return None


def is_below(path: str, directory: str) -> bool:
    """Whether a relative path lies in a directory, at any depth."""
    return path.startswith(directory + "/")

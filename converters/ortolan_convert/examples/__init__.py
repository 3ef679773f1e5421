"""Task descriptions of ONNX models, to use or to start from: ``NAME.yaml`` beside this file."""

from __future__ import annotations

from pathlib import Path

from ortolan.errors import UnknownNameError

DIRECTORY = Path(__file__).parent


def names() -> list[str]:
    """What `text` takes; each begins with the name of its task."""
    return sorted(path.stem for path in DIRECTORY.glob("*.yaml"))


def text(name: str) -> str:
    """The description of that name, as YAML.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in names():
        raise UnknownNameError("example", name, names())
    return (DIRECTORY / f"{name}.yaml").read_text(encoding="utf-8")

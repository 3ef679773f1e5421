"""The installed onnxruntime: imported at first use, and compared with what a variant needs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from ortolan.errors import MissingPackageError, RuntimeTooOldError

JETSON_WHEELS = "https://pypi.jetson-ai-lab.io (the index of your JetPack version)"
"""Where NVIDIA publishes onnxruntime-gpu for Jetson; PyPI has no aarch64 wheel with CUDA for it."""

_module: Any = None


def onnxruntime() -> Any:
    """The onnxruntime module, with its telemetry off.

    Wheels from 1.29 on write an identifier of the device into the home directory and report to Microsoft over HTTPS,
    unless ``ORT_DISABLE_TELEMETRY`` is set before the import (onnxruntime's Privacy.md). Set it to ``0`` to allow that.
    An application that imported onnxruntime first has made the choice; then only later events are held back.

    Raises:
        MissingPackageError: none is installed, or it cannot be imported; says what to install here.
    """
    global _module  # noqa: PLW0603 - an import statement in every call would cost more than the check
    if _module is None:
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        try:
            import onnxruntime as module
        except ModuleNotFoundError as error:
            if error.name != "onnxruntime":
                raise MissingPackageError(f"onnxruntime cannot be imported: {error}; reinstall it") from error
            raise MissingPackageError(f"no onnxruntime is installed; {advice()}") from error
        except ImportError as error:
            raise MissingPackageError(f"onnxruntime cannot be imported: {_line(error)}; {advice()}") from error
        if not hasattr(module, "InferenceSession"):
            # Its wheels share one directory: removing one of two leaves an empty shell of the other.
            raise MissingPackageError(
                "the installed onnxruntime is incomplete (two of its wheels overwrote each other); "
                f"{replacing(advice())}"
            )
        if os.environ["ORT_DISABLE_TELEMETRY"] == "1":
            module.disable_telemetry_events()
        _module = module
    return _module


def advice(root: Path = Path("/")) -> str:
    """What to install on the machine whose file system is at ``root``, as part of a sentence."""
    if is_jetson(root):
        return (
            f"on this Jetson install onnxruntime-gpu from {JETSON_WHEELS}, "
            "or for the CPU alone: pip install 'ortolan[cpu]'"
        )
    return "install one: pip install 'ortolan[cpu]'"


def wheels() -> tuple[tuple[str, str], ...]:
    """Name and version of every installed distribution that brings a package ``onnxruntime``.

    They share one directory, so what is there of several is a mixture: the files of the one installed last lie over
    those of the others.
    """
    from importlib.metadata import distributions

    # Only the package's own files tell: onnxruntime-ggml, onnxruntime-genai and others bring packages of other names.
    found = {
        (distribution.metadata["Name"], distribution.version)
        for distribution in distributions()
        if distribution.metadata["Name"].lower().startswith("onnxruntime")
        and any(file.as_posix() == "onnxruntime/__init__.py" for file in distribution.files or ())
    }
    return tuple(sorted(found))


def mixture() -> str:
    """What is wrong if several wheels of onnxruntime are installed, as part of a sentence; empty if it is one."""
    found = wheels()
    if len(found) < 2:
        return ""
    return f"{len(found)} of its wheels overwrote each other ({', '.join(map(' '.join, found))})"


def replacing(install: str) -> str:
    """The commands that put another wheel in the place of those that are installed, as part of a sentence."""
    names = " ".join(name for name, _ in wheels())
    return f"pip uninstall {names}, then {install}" if names else install


def is_jetson(root: Path = Path("/")) -> bool:
    """Whether the machine is an NVIDIA Jetson."""
    if (root / "etc/nv_tegra_release").exists():
        return True
    try:
        return b"jetson" in (root / "proc/device-tree/model").read_bytes().lower()
    except OSError:
        return False


def parse_version(text: str) -> tuple[int, ...]:
    """Leading numbers of a version: ``"1.23.2.post1"`` gives ``(1, 23, 2)``; empty if there are none."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(map(int, match.group().split("."))) if match else ()


def installed_version() -> tuple[int, ...] | None:
    """Version of the installed onnxruntime, e.g. ``(1, 32, 0)``; None if none can be imported."""
    try:
        return parse_version(onnxruntime().__version__)
    except MissingPackageError:
        return None


def runtime_id() -> str:
    """Name and version of what runs the models, e.g. ``"onnxruntime 1.32.0"``.

    Raises:
        MissingPackageError: no onnxruntime is installed.
    """
    return f"onnxruntime {onnxruntime().__version__}"


def require(minimum: str) -> None:
    """Check that the installed onnxruntime is at least ``minimum``, e.g. ``"1.20.0"``.

    Raises:
        MissingPackageError: no onnxruntime is installed.
        RuntimeTooOldError: it is older.
    """
    found = onnxruntime().__version__
    if _padded(parse_version(found)) < _padded(parse_version(minimum)):
        raise RuntimeTooOldError(
            f"this variant needs onnxruntime >= {minimum}, found {found}; pip install -U 'onnxruntime>={minimum}', "
            "or load another variant"
        )


def _padded(version: tuple[int, ...]) -> tuple[int, ...]:
    """Three numbers at least, so that 1.20 is not older than 1.20.0."""
    return version + (0,) * (3 - len(version))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]

"""Packages that only some sources need: imported when they are, and asked for by the extra that brings them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ortolan.errors import MissingPackageError


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
        return import_module(module)
    except ImportError as error:
        raise missing_package(package, extra, str(error)) from None


def missing_package(package: str, extra: str, reason: str) -> MissingPackageError:
    """The error for a package that is not there, with the extra that brings it."""
    return MissingPackageError(
        f"{package} is needed to convert this artifact and cannot be imported ({reason}); "
        f"install it: pip install 'ortolan[{extra}]'"
    )


def is_installed(module: str) -> bool:
    """Whether a top-level module is there to be imported; it is not imported, which can take seconds."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False

"""Packages that only some sources need: imported when they are, and asked for by the extra that brings them."""

from __future__ import annotations

from importlib import import_module
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
        raise MissingPackageError(
            f"{package} is needed to convert this artifact and cannot be imported ({error}); "
            f"install it: pip install 'ortolan[{extra}]'"
        ) from None

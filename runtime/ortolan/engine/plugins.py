"""Plug-in execution providers: libraries of their own that a stock onnxruntime loads while it runs.

onnxruntime has the interface since 1.23 (``register_execution_provider_library``, ``get_ep_devices``,
``SessionOptions.add_provider_for_devices``); a library may ask for a newer one. A library that was loaded stays so
until the process ends: sessions of any thread may use it.
"""

from __future__ import annotations

import os
import threading
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.engine.failures import plain
from ortolan.engine.installation import onnxruntime
from ortolan.errors import ProviderUnavailableError
from ortolan.records import dataclass

if TYPE_CHECKING:
    from ortolan.engine.providers import Provider

_NEEDED = ("register_execution_provider_library", "get_ep_devices")
_registered: set[str] = set()
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """Where the library of a plug-in provider is.

    Args:
        package: the Python package that brings it; empty if ``library`` is given.
        locate: the function of that package that returns the library's path.
        library: the path itself.
        environment: variables that are set before it is loaded, unless the user has set them.
    """

    package: str = ""
    locate: str = ""
    library: str = ""
    environment: tuple[tuple[str, str], ...] = ()


def supported() -> bool:
    """Whether the installed onnxruntime can load plug-ins."""
    return all(hasattr(onnxruntime(), name) for name in _NEEDED)


def installed(plugin: Plugin) -> bool:
    """Whether the library's package is installed, or the library given by its path is a file."""
    if plugin.library:
        return Path(plugin.library).is_file()
    return PathFinder.find_spec(plugin.package) is not None


def devices(provider: Provider, plugin: Plugin) -> list[Any]:
    """The device of the plug-in, as ``add_provider_for_devices`` takes it; its library is loaded if need be.

    The first alone if there are several: a session runs on one device.

    Raises:
        ProviderUnavailableError: the library cannot be loaded, or it finds no device that it can use.
    """
    module = onnxruntime()
    library = _library(provider, plugin)
    with _lock:
        if library not in _registered:
            for name, value in plugin.environment:
                os.environ.setdefault(name, value)
            try:
                module.register_execution_provider_library(provider.ort_name, library)
            except Exception as error:
                raise ProviderUnavailableError(
                    f"{provider.name}: onnxruntime {module.__version__} could not load the plug-in {library}: "
                    f"{plain(str(error))}{provider.needs}"
                ) from error
            _registered.add(library)
    found = [device for device in module.get_ep_devices() if device.ep_name == provider.ort_name]
    if not found:
        names = sorted({device.ep_name for device in module.get_ep_devices()})
        raise ProviderUnavailableError(
            f"{provider.name}: the plug-in {library} finds no device here that it can use "
            f"(providers with a device: {', '.join(names)}){provider.needs}"
        )
    return found[:1]


def _library(provider: Provider, plugin: Plugin) -> str:
    if plugin.library:
        return plugin.library
    try:
        path: str = getattr(import_module(plugin.package), plugin.locate)()
    except Exception as error:
        raise ProviderUnavailableError(
            f"{provider.name}: its package {plugin.package} does not say where its library is: {plain(str(error))}; "
            f"reinstall it: {provider.install}"
        ) from error
    return path

"""Plug-in providers: found, loaded once, and every way that can fail. A real one runs in `make test-providers`."""

from __future__ import annotations

import os
import threading
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from ortolan.engine import plugins, providers
from ortolan.engine.plugins import Plugin
from ortolan.engine.providers import PROVIDERS, Provider, available, parse, require_built_in, resolve
from ortolan.errors import ProviderUnavailableError, UnknownNameError

if TYPE_CHECKING:
    from pathlib import Path


class _Runtime:
    """An onnxruntime that loads plug-ins."""

    __version__ = "1.30.0"

    def __init__(self, *names: str, failure: Exception | None = None) -> None:
        self.loaded: list[tuple[str, str]] = []
        self._devices = [SimpleNamespace(ep_name=name) for name in names]
        self._failure = failure

    def get_available_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def register_execution_provider_library(self, name: str, path: str) -> None:
        if self._failure is not None:
            raise self._failure
        self.loaded.append((name, path))

    def get_ep_devices(self) -> list[SimpleNamespace]:
        return self._devices


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins in a process without plug-ins."""
    monkeypatch.setattr(plugins, "_registered", set())


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> _Runtime:
    """One with two devices of the plug-in."""
    return _use(monkeypatch, _Runtime("CPUExecutionProvider", "acme", "acme"))


def _use(monkeypatch: pytest.MonkeyPatch, runtime: _Runtime) -> _Runtime:
    for module in (plugins, providers):
        monkeypatch.setattr(module, "onnxruntime", lambda: runtime)
    return runtime


def _acme(**settings: object) -> tuple[Provider, Plugin]:
    plugin = Plugin(**{"library": "/opt/acme.so", **settings})  # type: ignore[arg-type]  # by keyword
    row = Provider(name="acme", ort_name="acme", install="buy one", plugin=plugin, note="needs a card")
    return row, plugin


def test_a_library_is_loaded_once_and_gives_one_device(runtime: _Runtime) -> None:
    """Also when many threads ask at the same time."""
    row, plugin = _acme()
    found = []
    threads = [threading.Thread(target=lambda: found.append(plugins.devices(row, plugin))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runtime.loaded == [("acme", "/opt/acme.so")]
    assert all([device.ep_name for device in devices] == ["acme"] for devices in found)
    assert len(found) == 8


def test_its_environment_gives_way_to_the_users(runtime: _Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set stays."""
    monkeypatch.setenv("ACME_LOG", "debug")
    monkeypatch.setenv("ACME_MODE", "")
    monkeypatch.delenv("ACME_MODE")
    row, plugin = _acme(environment=(("ACME_LOG", "off"), ("ACME_MODE", "quiet")))
    plugins.devices(row, plugin)
    assert (os.environ["ACME_LOG"], os.environ["ACME_MODE"]) == ("debug", "quiet")


def test_a_library_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line; and it is tried again the next time."""
    _use(monkeypatch, _Runtime("acme", failure=RuntimeError("[ONNXRuntimeError] : 1 : FAIL : wrong\nversion")))
    row, plugin = _acme()
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError) as caught:
            plugins.devices(row, plugin)
        assert str(caught.value) == (
            "acme: onnxruntime 1.30.0 could not load the plug-in /opt/acme.so: wrong version; acme needs a card"
        )


def test_a_plug_in_without_a_device_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is not in the slot."""
    _use(monkeypatch, _Runtime("CPUExecutionProvider"))
    row, plugin = _acme()
    with pytest.raises(
        ProviderUnavailableError,
        match=r"finds no device here that it can use \(providers with a device: CPUExecutionProvider\); acme needs",
    ):
        plugins.devices(row, plugin)


def test_the_package_says_where_the_library_is(runtime: _Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function of its module; a package that has none is broken."""
    module = ModuleType("acme_provider")
    module.where = lambda: "/site/acme.so"  # type: ignore[attr-defined]  # a module made for the test
    monkeypatch.setitem(__import__("sys").modules, "acme_provider", module)
    row, plugin = _acme(library="", package="acme_provider", locate="where")
    plugins.devices(row, plugin)
    assert runtime.loaded == [("acme", "/site/acme.so")]
    row, plugin = _acme(library="", package="acme_provider", locate="gone")
    with pytest.raises(ProviderUnavailableError, match=r"acme_provider does not say where .*; reinstall it: buy one"):
        plugins.devices(row, plugin)


def test_any_plug_in_has_a_name(runtime: _Runtime, tmp_path: Path) -> None:
    """Of the provider and its library; it is there if the library is."""
    library = tmp_path / "libacme.so"
    request = f"AcmeExecutionProvider@{library}"
    row, best_effort = parse(f"{request}-or-cpu")
    assert best_effort
    assert (row.name, row.ort_name) == (request, "AcmeExecutionProvider")
    assert row.plugin == Plugin(library=str(library))
    with pytest.raises(ProviderUnavailableError) as caught:
        require_built_in(row)
    assert str(caught.value) == (
        f"{request} is a plug-in and {library} is not installed; put the plug-in's library at {library}"
    )
    library.touch()
    require_built_in(row)


@pytest.mark.parametrize("name", ["@/lib.so", "acme@", "@"])
def test_half_a_name_is_unknown(name: str) -> None:
    """It takes both."""
    with pytest.raises(UnknownNameError):
        resolve(name)


def test_an_onnxruntime_without_plug_ins_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before 1.23 there is no interface for them."""
    old = SimpleNamespace(__version__="1.20.1", get_available_providers=lambda: ["CPUExecutionProvider"])
    _use(monkeypatch, old)  # type: ignore[arg-type]  # what an old version has
    (tmp_path / "lib.so").touch()
    with pytest.raises(
        ProviderUnavailableError, match=r"^a@\S+ is a plug-in and onnxruntime 1\.20\.1 cannot load any; update it$"
    ):
        require_built_in(resolve(f"a@{tmp_path}/lib.so"))
    assert available() == ("cpu",)


def test_a_plug_in_that_is_not_installed_names_its_extra(runtime: _Runtime) -> None:
    """Nothing has to be uninstalled for it."""
    if plugins.installed(PROVIDERS["ggml"].plugin or Plugin()):
        pytest.skip("it is installed here")
    with pytest.raises(
        ProviderUnavailableError,
        match=r"^ggml is a plug-in and onnxruntime_ggml is not installed; pip install 'ortolan\[ggml\]'; ggml needs",
    ):
        require_built_in(PROVIDERS["ggml"])

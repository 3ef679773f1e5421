"""The state directory: where it is, what it keeps, and that its loss is no error."""

from __future__ import annotations

import io
import json
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

from ortolan import state
from ortolan.errors import ArchiveError, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not yet said that state cannot be kept."""
    monkeypatch.setattr(state, "_warned", False)


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tar archive of the given members."""

    def write(*members: tuple[tarfile.TarInfo, bytes]) -> Path:
        path = tmp_path / "state.tar"
        with tarfile.open(path, "w") as tar:
            for member, content in members:
                member.size = len(content) if member.isreg() else 0
                tar.addfile(member, io.BytesIO(content))
        return path

    return write


def test_the_chosen_directory_is_the_only_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ORTOLAN_STATE_DIR that cannot be made means no state, not state in another place."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "file/below"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state.state_directory() is None


def test_xdg_state_home_comes_before_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a chosen directory, $XDG_STATE_HOME/ortolan is used and made."""
    monkeypatch.delenv("ORTOLAN_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state.state_directory() == tmp_path / "xdg/ortolan"
    assert (tmp_path / "xdg/ortolan").is_dir()


@pytest.mark.parametrize("xdg", ["", "relative/path"])
def test_home_is_used_without_a_valid_xdg_state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, xdg: str) -> None:
    """An empty or relative XDG_STATE_HOME counts as unset, as its specification says."""
    monkeypatch.delenv("ORTOLAN_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", xdg)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert state.state_directory() == tmp_path / ".local/state/ortolan"


def test_a_home_that_does_not_exist_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service's HOME=/nonexistent stays nonexistent even when root could make it."""
    monkeypatch.delenv("ORTOLAN_STATE_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "absent"))
    monkeypatch.setattr(state, "_usable", lambda directory: tmp_path in directory.parents)
    assert state.state_directory() is None
    assert not (tmp_path / "absent").exists()


@pytest.mark.usefixtures("not_warned")
def test_no_directory_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading and writing without a directory work, and warn a single time."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "file/below"))
    state.write_json("a", 1)
    state.write_json("a", 2)
    assert state.read_json("a") is None
    assert caplog.messages == [
        f"no state directory can be written (tried {tmp_path}/file/below); set ORTOLAN_STATE_DIR to keep measurements"
    ]


def test_a_value_is_read_back(state_dir: Path) -> None:
    """What was written under a name is what is read under it."""
    state.write_json("measurements/ab12", {"x": [1, 2.5, None, "é"]})
    assert state.read_json("measurements/ab12.json") == {"x": [1, 2.5, None, "é"]}
    assert [path.name for path in state_dir.rglob("*") if path.is_file()] == ["ab12.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_reads_as_nothing(state_dir: Path, content: bytes) -> None:
    """A file cut off by a power failure counts as missing."""
    state_dir.mkdir()
    (state_dir / "a.json").write_bytes(content)
    assert state.read_json("a") is None


@pytest.mark.parametrize("name", ["", "../a", "/a", "a/../b", ".hidden", "a//b", "a b", "ä", "a/b/c/d/e"])
def test_a_name_that_could_leave_the_directory_is_refused(name: str) -> None:
    """Names are plain relative paths."""
    with pytest.raises(UsageError, match="expected a state name such as"):
        state.read_json(name)
    with pytest.raises(UsageError, match="expected a state name such as"):
        state.write_json(name, 1)


@pytest.mark.usefixtures("not_warned")
def test_a_full_disk_leaves_the_old_value_and_no_partial(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A write that fails is a warning; the value before it stays."""
    state.write_json("a", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    state.write_json("a", "new")
    assert state.read_json("a") == "old"
    assert [path.name for path in state_dir.iterdir()] == ["a.json"]
    assert caplog.messages == [f"state cannot be kept in {state_dir}: No space left on device"]


def test_export_and_import_move_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second machine has everything the first one exported, and keeps what it had."""
    state.write_json("a", 1)
    state.write_json("measurements/b", {"two": 2})
    assert state.export_state(tmp_path / "state.tar") == 2
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "other"))
    state.write_json("a", "replaced")
    state.write_json("c", "kept")
    assert state.import_state(tmp_path / "state.tar") == 2
    assert [state.read_json(name) for name in ("a", "measurements/b", "c")] == [1, {"two": 2}, "kept"]


def test_equal_state_exports_to_equal_bytes(tmp_path: Path) -> None:
    """An export has no time stamps and a fixed order."""
    state.write_json("b", 1)
    state.write_json("a", 2)
    state.export_state(tmp_path / "1.tar")
    state.write_json("b", 1)
    state.export_state(tmp_path / "2.tar")
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = link
    return member


@pytest.mark.parametrize(
    ("member", "content", "problem"),
    [
        (_member("../a.json"), b"1", "expected a plain relative name that ends in .json"),
        (_member("/a.json"), b"1", "expected a plain relative name that ends in .json"),
        (_member("a.sh"), b"1", "expected a plain relative name that ends in .json"),
        (_member("a.json", tarfile.SYMTYPE, "/etc/passwd"), b"", "expected a regular file, found a link"),
        (_member("a.json", tarfile.LNKTYPE, "b.json"), b"", "expected a regular file, found a link"),
        (_member("a.json", tarfile.DIRTYPE), b"", "expected a regular file, found a link, directory"),
        (_member("a.json", tarfile.CHRTYPE), b"", "expected a regular file, found a link, directory or device"),
        (_member("a.json"), b"not json", "not JSON"),
        (_member("a.json"), b"[" * 100_000, "not JSON"),
    ],
)
def test_a_hostile_member_stops_the_whole_import(
    archive: Callable[..., Path], member: tarfile.TarInfo, content: bytes, problem: str
) -> None:
    """Nothing is written if any member is anything but a plain JSON file."""
    path = archive((_member("good.json"), b"1"), (member, content))
    with pytest.raises(ArchiveError, match=problem) as caught:
        state.import_state(path)
    assert "\n" not in str(caught.value)
    assert state.read_json("good") is None


def test_an_import_is_bounded_in_number(archive: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of very many files is refused."""
    monkeypatch.setattr(state, "MAX_FILES", 2)
    path = archive(*((_member(f"{number}.json"), b"1") for number in range(3)))
    with pytest.raises(ArchiveError, match="more than 2 files"):
        state.import_state(path)


@pytest.mark.parametrize("content", [b"", b"junk" * 1000, b"\0" * 100])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """Random and empty files are no archives."""
    path = tmp_path / "state.tar"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match="not a tar archive"):
        state.import_state(path)


def test_a_missing_archive_is_a_storage_error(tmp_path: Path) -> None:
    """The message names the file and the reason."""
    with pytest.raises(StorageError, match=r"cannot read .*absent.tar: No such file or directory"):
        state.import_state(tmp_path / "absent.tar")


def test_an_export_to_a_missing_directory_is_a_storage_error(tmp_path: Path) -> None:
    """An export never makes directories: a mistyped path is an error."""
    with pytest.raises(StorageError, match=r"cannot write .*absent/x.tar: No such file or directory"):
        state.export_state(tmp_path / "absent/x.tar")


def test_state_is_plain_json(state_dir: Path) -> None:
    """Files can be read with any tool."""
    state.write_json("a", {"k": "v"})
    assert json.loads((state_dir / "a.json").read_text()) == {"k": "v"}

"""Opening a bundle: what is verified, when, and what a damaged one says."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.bundle import verify as verification
from ortolan.bundle.directory import open_bundle
from ortolan.errors import (
    BundleError,
    ManifestError,
    ModelFileError,
    StorageError,
    UnknownNameError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.bundle.directory import Bundle

LISTED = [
    "assets/words/list.txt",
    "golden/inputs.json",
    "model/component.json",
    "model/fp32/model.onnx",
    "model/int8/model.onnx",
    "model/int8/notes.txt",
]


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed since."""
    seen: list[Path] = []
    real = verification.digest_of

    def record(path: Path) -> tuple[int, str]:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(verification, "digest_of", record)
    return seen


def test_an_opened_bundle_is_what_was_written(bundle: Bundle) -> None:
    """Manifest, digest and files come back."""
    opened = open_bundle(str(bundle.path))
    assert opened == bundle
    assert sorted(opened.manifest.files) == LISTED
    assert opened.read_asset("words/list.txt") == b"one\ntwo\n"
    assert opened.asset_path("words/list.txt") == bundle.path / "assets/words/list.txt"
    assert opened.read_file("golden/inputs.json") == b"[]"
    assert opened.model_path(opened.manifest.variant("int8")) == bundle.path / "model/int8/model.onnx"


def test_a_file_the_manifest_does_not_list_cannot_be_read(bundle: Bundle) -> None:
    """Not even by a path out of the bundle."""
    with pytest.raises(UnknownNameError, match=r"did you mean 'assets/words/list.txt'"):
        bundle.read_asset("words/lists.txt")
    with pytest.raises(UnknownNameError):
        bundle.read_asset("../manifest.json")


@pytest.mark.parametrize("name", LISTED)
def test_a_changed_byte_in_any_file_is_found(bundle: Bundle, name: str) -> None:
    """Also by a process that has opened the bundle before, with the size and modification time as they were."""
    open_bundle(bundle.path)
    file = bundle.path / name
    times = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    for mode in ("once", "full"):
        with pytest.raises(BundleError) as caught:
            open_bundle(bundle.path, verify=mode)
        assert isinstance(caught.value, VerificationError | ManifestError)
    if name != "model/component.json":
        assert str(caught.value).startswith(f"bundle {str(bundle.path)!r}: {name!r} changed: expected SHA-256 ")


def test_a_longer_file_is_found_by_its_size(bundle: Bundle) -> None:
    """The message gives both sizes."""
    with (bundle.path / "golden/inputs.json").open("ab") as file:
        file.write(b" ")
    with pytest.raises(VerificationError, match=r"'golden/inputs.json' changed: expected 2 bytes, found 3$"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("name", [name for name in LISTED if name != "model/component.json"])
def test_a_missing_file_is_found(bundle: Bundle, name: str) -> None:
    """At every opening."""
    open_bundle(bundle.path)
    (bundle.path / name).unlink()
    with pytest.raises(VerificationError, match=f"{name!r} is missing$"):
        open_bundle(bundle.path)


def test_a_missing_component_description_is_found(bundle: Bundle) -> None:
    """The variants stand in it."""
    (bundle.path / "model/component.json").unlink()
    with pytest.raises(StorageError, match=r"cannot read '.*model/component.json': No such file or directory"):
        open_bundle(bundle.path)


def test_an_unlisted_file_or_directory_is_found(bundle: Bundle) -> None:
    """At every opening, however deep."""
    open_bundle(bundle.path)
    added = bundle.path / "model/int8/extra.bin"
    added.touch()
    with pytest.raises(VerificationError, match=r"'model/int8/extra.bin' is not listed in its manifest$"):
        open_bundle(bundle.path)
    added.unlink()
    (bundle.path / "a/b/c").mkdir(parents=True)
    with pytest.raises(VerificationError, match=r"directory 'a' is not listed in its manifest$"):
        open_bundle(bundle.path)


def test_several_faults_are_counted(bundle: Bundle) -> None:
    """One line names the first and says how many follow."""
    for name in ("x", "y", "z"):
        (bundle.path / name).touch()
    with pytest.raises(VerificationError, match=r"'x' is not listed in its manifest; and 2 more$"):
        open_bundle(bundle.path)


@pytest.mark.parametrize("name", ["golden/inputs.json", "model/int8", "assets"])
def test_a_symbolic_link_is_refused(bundle: Bundle, tmp_path: Path, name: str) -> None:
    """In place of a file or of a directory, even if its content is right."""
    (bundle.path / name).rename(tmp_path / "moved")
    (bundle.path / name).symlink_to(tmp_path / "moved")
    with pytest.raises(VerificationError, match=f"{name!r} is a symbolic link; a bundle holds regular files only"):
        open_bundle(bundle.path)


def test_a_linked_manifest_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """The manifest itself is a file of the bundle."""
    (bundle.path / "manifest.json").rename(tmp_path / "moved")
    (bundle.path / "manifest.json").symlink_to(tmp_path / "moved")
    with pytest.raises(StorageError, match=r"cannot read '.*manifest.json': is a symbolic link"):
        open_bundle(bundle.path)


def test_a_named_pipe_does_not_hang(bundle: Bundle) -> None:
    """Only regular files are opened."""
    for name, error in (("golden/inputs.json", VerificationError), ("manifest.json", StorageError)):
        (bundle.path / name).unlink()
        os.mkfifo(bundle.path / name)
        with pytest.raises(error, match="is not a regular file"):
            open_bundle(bundle.path)


def test_a_link_to_a_whole_bundle_is_followed(bundle: Bundle, tmp_path: Path) -> None:
    """``current -> v2`` is how devices name the bundle in use."""
    (tmp_path / "current").symlink_to(bundle.path)
    assert open_bundle(tmp_path / "current").digest == bundle.digest


def test_a_second_opening_hashes_nothing(bundle: Bundle, hashed: list[Path]) -> None:
    """A bundle found right is remembered."""
    open_bundle(bundle.path)
    assert len(hashed) == len(LISTED)
    open_bundle(bundle.path)
    assert len(hashed) == len(LISTED)


def test_full_verification_always_hashes(bundle: Bundle, hashed: list[Path]) -> None:
    """Whatever is remembered."""
    open_bundle(bundle.path)
    open_bundle(bundle.path, verify="full")
    assert len(hashed) == 2 * len(LISTED)


def test_a_copy_or_a_touched_file_is_hashed_again(bundle: Bundle, hashed: list[Path], tmp_path: Path) -> None:
    """What is remembered holds for one place and one set of files."""
    open_bundle(bundle.path)
    hashed.clear()
    shutil.copytree(bundle.path, tmp_path / "copy")
    open_bundle(tmp_path / "copy")
    assert len(hashed) == len(LISTED)
    hashed.clear()
    os.utime(bundle.path / "golden/inputs.json", ns=(1, 1))
    open_bundle(bundle.path)
    assert len(hashed) == len(LISTED)


def test_a_damaged_record_means_hashing(bundle: Bundle, hashed: list[Path], state_dir: Path) -> None:
    """Nothing depends on what the state directory holds."""
    open_bundle(bundle.path)
    (stamp,) = (state_dir / "verified").iterdir()
    stamp.write_text('{"path": 1}')
    open_bundle(bundle.path)
    assert len(hashed) == 2 * len(LISTED)


def test_without_a_state_directory_every_opening_hashes(
    bundle: Bundle, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works without, only slower."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", "/proc/no/such")
    open_bundle(bundle.path)
    open_bundle(bundle.path)
    assert len(hashed) == 2 * len(LISTED)


def test_a_change_during_verification_is_noticed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that changes after it was hashed must not be remembered as right."""
    real = verification._check_content

    def meddle(root: Path, manifest: Any) -> None:
        real(root, manifest)
        (root / "golden/inputs.json").write_bytes(b"{}")

    monkeypatch.setattr(verification, "_check_content", meddle)
    with pytest.raises(VerificationError, match="was changed while it was verified; verify it again"):
        open_bundle(bundle.path)


def test_a_model_with_data_outside_is_refused(bundle: Bundle, external_model: Callable[..., bytes]) -> None:
    """Even if its manifest lists the model as it is."""
    model = external_model(location="../secret.bin")
    (bundle.path / "model/int8/model.onnx").write_bytes(model)
    manifest = json.loads((bundle.path / "manifest.json").read_bytes())
    from hashlib import sha256

    entry = {"bytes": len(model), "sha256": sha256(model).hexdigest()}
    manifest["additional_metadata"]["ortolan"]["files"]["model/int8/model.onnx"] = entry
    (bundle.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFileError, match=r"external data of tensor \"w\": expected a location below"):
        open_bundle(bundle.path)


def test_a_manifest_error_names_the_bundle(bundle: Bundle) -> None:
    """The dotted path comes first, the bundle last."""
    (bundle.path / "manifest.json").write_text("{}")
    with pytest.raises(ManifestError) as caught:
        open_bundle(bundle.path)
    assert str(caught.value) == f"schema_version: missing (in bundle {str(bundle.path)!r})"


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    """Each kind of mistaken path gets its own advice."""
    (tmp_path / "empty").mkdir()
    for name in ("x.tar", "x.onnx", "x.txt"):
        (tmp_path / name).touch()
    cases = [
        ("empty", BundleError, "is no bundle: it has no manifest.json"),
        ("x.tar", BundleError, "is a packed bundle; run `ortolan unpack"),
        ("x.onnx", BundleError, "is a bare model; run `ortolan convert"),
        ("x.txt", BundleError, "expected a directory with a manifest.json, found a file"),
        ("none", StorageError, "cannot open bundle .*: No such file or directory"),
        ("x.txt/y", StorageError, "cannot open bundle .*: Not a directory"),
        ("a\0b", StorageError, "cannot open bundle .*: .*null"),
        ("n" * 300, StorageError, "cannot open bundle .*: File name too long"),
    ]
    for name, error, message in cases:
        with pytest.raises(error, match=message):
            open_bundle(tmp_path / name)


def test_an_unreadable_file_is_a_storage_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's refusal becomes one line with the path."""
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if str(path).endswith("notes.txt"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StorageError, match=r"^cannot read '.*/notes.txt': Permission denied$"):
        open_bundle(bundle.path)


def test_an_unreadable_directory_is_a_storage_error(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does its refusal to list a directory."""

    def refuse(path: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(StorageError, match=r"^cannot read directory '.*': Permission denied$"):
        open_bundle(bundle.path)

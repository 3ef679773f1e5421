"""Packing, unpacking and subsets."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ortolan.bundle.archive import pack, subset, unpack
from ortolan.bundle.directory import open_bundle
from ortolan.errors import (
    ArchiveError,
    BundleError,
    ManifestError,
    ModelFileError,
    StorageError,
    UnknownNameError,
    UsageError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.bundle.directory import Bundle

    Rewrite = Callable[..., Path]


def names(directory: Path) -> set[str]:
    """What lies in a directory, the state directory aside."""
    return {path.name for path in directory.iterdir()} - {"state"}


def members(tar: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """All members of an archive with their content."""
    with tarfile.open(tar, "r:") as archive:
        return [(member, _content(archive, member)) for member in archive]


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    assert stream is not None
    return stream.read()


@pytest.fixture
def tar(bundle: Bundle, tmp_path: Path) -> Path:
    """The packed bundle."""
    return pack(bundle.path, tmp_path / "doubled.tar")


@pytest.fixture
def rewrite(tar: Path, tmp_path: Path) -> Rewrite:
    """Writes the archive again after ``change`` was called with the list of its members."""

    def write(change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], object], **options: Any) -> Path:
        rows = members(tar)
        change(rows)
        target = tmp_path / "changed.tar"
        with tarfile.open(target, "w:", **options) as archive:
            for member, content in rows:
                archive.addfile(member, io.BytesIO(content) if member.isreg() else None)
        return target

    return write


def test_unpacking_gives_the_bundle_that_was_packed(bundle: Bundle, tar: Path, tmp_path: Path) -> None:
    """File by file; the result passes full verification."""
    unpacked = unpack(tar, tmp_path / "new.bundle")
    assert unpacked == open_bundle(tmp_path / "new.bundle", verify="full")
    assert unpacked.digest == bundle.digest
    for path in bundle.manifest.files:
        assert (unpacked.path / path).read_bytes() == (bundle.path / path).read_bytes()


def test_an_archive_depends_on_the_content_alone(bundle: Bundle, tar: Path, tmp_path: Path) -> None:
    """Not on names, times, owners or modes."""
    shutil.copytree(bundle.path, tmp_path / "copy")
    for path in (tmp_path / "copy").rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert pack(tmp_path / "copy", tmp_path / "copy.tar").read_bytes() == tar.read_bytes()
    found = members(tar)
    assert [member.name for member, _ in found] == ["manifest.json", *sorted(bundle.manifest.files)]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m, _ in found} == {(0, 0, 0, "", "", 0o644)}


def test_long_and_foreign_names_survive(make_bundle: Callable[..., Bundle], tmp_path: Path) -> None:
    """Longer than the 100 characters of the old format, and not ASCII."""
    assets = {f"{'数' * 60}/{'x' * 200}/ü": b"1"}
    bundle = make_bundle("long.bundle", assets=assets)
    assert unpack(pack(bundle.path, tmp_path / "long.tar"), tmp_path / "again").digest == bundle.digest


def test_a_damaged_bundle_is_not_packed(bundle: Bundle, tmp_path: Path) -> None:
    """What is packed was verified."""
    (bundle.path / "golden/inputs.json").write_bytes(b"{}")
    with pytest.raises(VerificationError, match=r"'golden/inputs.json' changed"):
        pack(bundle.path, tmp_path / "x.tar")
    assert names(tmp_path) == {"doubled.bundle"}


def test_a_file_that_changes_while_it_is_packed_is_noticed(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written then."""
    from ortolan.bundle import archive

    monkeypatch.setattr(archive, "open_bundle", lambda path: bundle)
    (bundle.path / "golden/inputs.json").write_bytes(b"{}")
    with pytest.raises(VerificationError, match=r"'golden/inputs.json' changed while it was packed"):
        pack(bundle.path, tmp_path / "x.tar")
    (bundle.path / "golden/inputs.json").write_bytes(b"{")
    with pytest.raises(StorageError, match="cannot write"):
        pack(bundle.path, tmp_path / "x.tar")
    assert names(tmp_path) == {"doubled.bundle"}


def test_existing_targets_are_kept(bundle: Bundle, tar: Path, tmp_path: Path) -> None:
    """Unless they are to be overwritten, and are of the kind that is written."""
    with pytest.raises(StorageError, match="already exists"):
        pack(bundle.path, tar)
    with pytest.raises(StorageError, match="exists and is no file"):
        pack(bundle.path, bundle.path, overwrite=True)
    with pytest.raises(StorageError, match="already exists"):
        unpack(tar, bundle.path)
    pack(bundle.path, tar, overwrite=True)
    assert unpack(tar, bundle.path, overwrite=True).digest == bundle.digest
    assert names(tmp_path) == {"doubled.bundle", "doubled.tar"}


def test_nothing_is_written_into_a_bundle(bundle: Bundle) -> None:
    """It would be a file that the manifest does not list."""
    with pytest.raises(StorageError, match="it lies within the bundle"):
        pack(bundle.path, bundle.path / "x.tar")
    with pytest.raises(StorageError, match="it lies within the bundle"):
        subset(bundle.path, ["fp32"], bundle.path / "assets/x")
    open_bundle(bundle.path, verify="full")


def _add(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"x", link: str = "") -> Callable[[Any], object]:
    def change(rows: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, len(content) if kind == tarfile.REGTYPE else 0, link
        rows.append((member, content))

    return change


def _replace(name: str, **attributes: Any) -> Callable[[Any], object]:
    def change(rows: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for member, _ in rows:
            if member.name == name:
                for key, value in attributes.items():
                    setattr(member, key, value)

    return change


def _swap_content(name: str, content: bytes) -> Callable[[Any], object]:
    def change(rows: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for index, (member, _) in enumerate(rows):
            if member.name == name:
                member.size = len(content)
                rows[index] = (member, content)

    return change


HOSTILE: list[tuple[str, Callable[[Any], object], str]] = [
    ("parent", _add("../escape"), 'member "../escape" is not listed in the manifest'),
    ("absolute", _add("/tmp/escape"), 'member "/tmp/escape" is not listed in the manifest'),
    ("unlisted", _add("assets/more"), 'member "assets/more" is not listed in the manifest'),
    ("twice", _add("golden/inputs.json", content=b"[]"), "member 'golden/inputs.json' occurs twice"),
    ("manifest twice", _add("manifest.json"), 'member "manifest.json" is not listed in the manifest'),
    ("directory", _add("assets", tarfile.DIRTYPE), 'member "assets" is not listed in the manifest'),
    (
        "symlink",
        _replace("golden/inputs.json", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        "member 'golden/inputs.json': expected a regular file, found a link, directory, device or sparse file",
    ),
    (
        "hard link",
        _replace("golden/inputs.json", type=tarfile.LNKTYPE, linkname="manifest.json"),
        "member 'golden/inputs.json': expected a regular file, found a link, directory, device or sparse file",
    ),
    (
        "device",
        _replace("golden/inputs.json", type=tarfile.CHRTYPE),
        "member 'golden/inputs.json': expected a regular file, found a link, directory, device or sparse file",
    ),
    (
        "pipe",
        _replace("golden/inputs.json", type=tarfile.FIFOTYPE),
        "member 'golden/inputs.json': expected a regular file, found a link, directory, device or sparse file",
    ),
    (
        "linked manifest",
        _replace("manifest.json", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0),
        "member 'manifest.json': expected a regular file, found a link, directory, device or sparse file",
    ),
    ("longer", _swap_content("golden/inputs.json", b"[ ]"), "member 'golden/inputs.json': expected 2 bytes, found 3"),
    (
        "changed",
        _swap_content("golden/inputs.json", b"{}"),
        "member 'golden/inputs.json' is not what the manifest says: its content changed or is cut off",
    ),
    ("missing", lambda rows: rows.pop(), "member 'model/int8/notes.txt' is missing; the archive may be cut off"),
    (
        "order",
        lambda rows: rows.append(rows.pop(0)),
        'expected manifest.json of at most 16777216 bytes as first member, found "assets/words/list.txt" of 8 bytes',
    ),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_a_hostile_archive_is_refused(
    rewrite: Rewrite, tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    """Only what the manifest lists is extracted, once, as regular files; otherwise nothing remains."""
    changed = rewrite(change)
    before = names(tmp_path)
    with pytest.raises(ArchiveError) as caught:
        unpack(changed, tmp_path / "new")
    assert str(caught.value) == f"{str(changed)!r}: {message}; nothing was extracted"
    assert names(tmp_path) == before
    assert not os.path.lexists(tmp_path.parent / "escape")


def test_an_archive_without_members_is_refused(rewrite: Rewrite, tmp_path: Path) -> None:
    """The end of an archive is not an archive."""
    with pytest.raises(ArchiveError, match=r"changed.tar': expected .*, found (none|nothing); nothing was extracted$"):
        unpack(rewrite(lambda rows: rows.clear()), tmp_path / "new")


def test_a_sparse_member_is_refused(rewrite: Rewrite, tmp_path: Path) -> None:
    """It could claim terabytes in a few bytes."""
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1", "GNU.sparse.size": "2"}
    changed = rewrite(_replace("golden/inputs.json", pax_headers=headers), format=tarfile.PAX_FORMAT)
    with pytest.raises(ArchiveError, match="expected a regular file, found a link, directory, device or sparse file"):
        unpack(changed, tmp_path / "new")


def test_a_huge_header_is_not_read(tar: Path, tmp_path: Path) -> None:
    """An extended header that claims more than the bound is refused before it is read."""
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**33
    huge = tmp_path / "huge.tar"
    with huge.open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(2**34)
    with pytest.raises(ArchiveError, match=r"expected headers of at most 16777216 bytes, found one of 8589934592"):
        unpack(huge, tmp_path / "new")


def test_a_member_of_negative_size_is_refused(tar: Path, tmp_path: Path) -> None:
    """GNU's binary sizes can be negative."""
    content = bytearray(tar.read_bytes())
    content[124:136] = b"\xff" * 12
    info = content[:512]
    info[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(info)
    (tmp_path / "negative.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"negative\.tar"):
        unpack(tmp_path / "negative.tar", tmp_path / "new")


def test_a_hostile_manifest_in_an_archive_is_refused(rewrite: Rewrite, tmp_path: Path) -> None:
    """A listed path that leads outside never becomes a file."""

    def change(rows: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        document = json.loads(rows[0][1])
        files = document["additional_metadata"]["ortolan"]["files"]
        files["../escape"] = files["golden/inputs.json"]
        hostile = json.dumps(document).encode()
        _swap_content("manifest.json", hostile)(rows)
        rows[0][0].pax_headers = {"ORTOLAN.sha256": sha256(hostile).hexdigest()}
        _add("../escape", content=b"[]")(rows)

    with pytest.raises(ManifestError, match=r"files\[\"../escape\"\]: expected a relative path within the bundle"):
        unpack(rewrite(change), tmp_path / "new")
    assert not (tmp_path.parent / "escape").exists()


def test_a_changed_manifest_in_an_archive_is_refused(rewrite: Rewrite, tmp_path: Path) -> None:
    """Also where it still makes sense: the archive holds the digest of the manifest that was packed."""

    def change(rows: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        _swap_content("manifest.json", rows[0][1].replace(b'"1.0.0"', b'"1.0.1"'))(rows)

    with pytest.raises(ArchiveError, match=r"manifest\.json is not the one that was packed"):
        unpack(rewrite(change), tmp_path / "new")


def test_a_model_with_data_outside_is_not_unpacked(
    make_bundle: Callable[..., Bundle],
    external_model: Callable[..., bytes],
    tmp_path: Path,
    parts: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error names the archive."""
    from ortolan.bundle import write

    ((name, (fp32, _)),) = parts["components"]
    with monkeypatch.context() as patched:
        patched.setattr(write, "check_models", lambda *args, **options: None)
        bundle = make_bundle(
            "evil", components=[(name, [(*fp32[:2], {"model.onnx": external_model(location="/etc/x")})])]
        )
    from ortolan.bundle import archive

    monkeypatch.setattr(archive, "open_bundle", lambda path: bundle)
    tar = pack(bundle.path, tmp_path / "evil.tar")
    with pytest.raises(ModelFileError, match=r"evil.tar/model/fp32/model.onnx': external data .* it is absolute"):
        unpack(tar, tmp_path / "new")
    assert names(tmp_path) == {"evil", "evil.tar"}


@pytest.mark.parametrize("content", [b"", b"x" * 2000, b"\x1f\x8b\x08" + b"x" * 600, b"PK\x03\x04" + b"x" * 600])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    """Empty files, text, compressed archives."""
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match=r"x.tar'"):
        unpack(tmp_path / "x.tar", tmp_path / "new")
    assert names(tmp_path) == {"x.tar"}


def test_an_archive_that_cannot_be_read_is_a_storage_error(tmp_path: Path) -> None:
    """Missing, or a directory."""
    with pytest.raises(StorageError, match="No such file or directory"):
        unpack(tmp_path / "missing.tar", tmp_path / "new")
    with pytest.raises(StorageError, match="is not a regular file"):
        unpack(tmp_path, tmp_path / "new")


def test_every_truncation_is_refused(tar: Path, tmp_path: Path) -> None:
    """At any length that loses content."""
    content = tar.read_bytes()
    end = len(content.rstrip(b"\0"))
    for size in range(0, end, 331):
        (tmp_path / "cut.tar").write_bytes(content[:size])
        with pytest.raises(BundleError):
            unpack(tmp_path / "cut.tar", tmp_path / "new")
    assert names(tmp_path) == {"doubled.bundle", "doubled.tar", "cut.tar"}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_flipped_bytes_change_nothing_or_are_refused(
    tar: Path, tmp_path: Path, bundle: Bundle, data: st.DataObject
) -> None:
    """Damage to an archive gives a typed error, or (in unused fields) the very same bundle."""
    content = bytearray(tar.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "flipped.tar").write_bytes(content)
    shutil.rmtree(tmp_path / "new", ignore_errors=True)
    try:
        unpacked = unpack(tmp_path / "flipped.tar", tmp_path / "new")
    except BundleError:
        assert not (tmp_path / "new").exists()
    else:
        assert unpacked.digest == bundle.digest


def test_a_subset_has_the_variants_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    """It is a bundle of its own, smaller, as predicted; digests of variants stay."""
    smaller = subset(bundle.path, ["int8"], tmp_path / "small")
    opened = open_bundle(tmp_path / "small", verify="full")
    assert opened == smaller
    assert not (tmp_path / "small/model/fp32").exists()
    variant, original = opened.manifest.variant("int8"), bundle.manifest.variant("int8")
    assert opened.manifest.variant_digest(variant) == bundle.manifest.variant_digest(original)
    files = [path for path in (tmp_path / "small").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == bundle.manifest.variant_storage("int8")
    assert bundle.manifest.variant_storage("int8") == smaller.manifest.variant_storage("int8")


def test_a_subset_of_all_variants_is_the_bundle(bundle: Bundle, tmp_path: Path) -> None:
    """In the bundle's own order of preference."""
    assert subset(bundle.path, ["int8", "fp32"], tmp_path / "all").digest == bundle.digest


def test_a_bundle_can_be_made_smaller_in_place(bundle: Bundle, tmp_path: Path) -> None:
    """Overwriting the bundle that is read."""
    subset(bundle.path, ["int8"], bundle.path, overwrite=True)
    assert [v.name for v in open_bundle(bundle.path).manifest.components[0].variants] == ["int8"]
    assert names(tmp_path) == {"doubled.bundle"}


def test_an_unknown_or_no_variant_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    """Nothing is written."""
    with pytest.raises(UnknownNameError, match="unknown variant 'int4'; did you mean 'int8'"):
        subset(bundle.path, ["fp32", "int4"], tmp_path / "small")
    with pytest.raises(UsageError, match="expected at least one variant to keep, got none"):
        subset(bundle.path, [], tmp_path / "small")
    assert names(tmp_path) == {"doubled.bundle"}

"""A bundle as one file for transport, and smaller bundles made from larger ones.

The archive is a plain ``.tar`` whose first member is ``manifest.json``: it names every other member with its size, so
that nothing is extracted that was not announced. A PAX header of that member holds the bundle's digest, so that damage
to the manifest itself shows. Equal bundles give equal archives.
"""

from __future__ import annotations

import os
import tarfile
from hashlib import sha256
from io import BufferedReader, BytesIO, FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.bundle.atomic import check_target, staged_directory, staged_file, write_file
from ortolan.bundle.description import FileEntry
from ortolan.bundle.directory import Bundle, open_bundle
from ortolan.bundle.fields import MAX_JSON_BYTES, shorten
from ortolan.bundle.files import CHUNK_BYTES, chunks, open_regular, read_bounded
from ortolan.bundle.manifest import listed_files, parse_manifest
from ortolan.bundle.names import COMPONENT, MANIFEST
from ortolan.bundle.verify import check_models
from ortolan.bundle.write import write_files
from ortolan.errors import ArchiveError, ManifestError, StorageError, UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

_MAX_READ = max(MAX_JSON_BYTES, CHUNK_BYTES)
_DIGEST = "ORTOLAN.sha256"
"""PAX keyword of the bundle's digest."""
_DAMAGE = (tarfile.TarError, EOFError, ValueError, ArithmeticError, LookupError, TypeError, RecursionError)
"""What tarfile raises for damaged archives, beside its own errors."""


def pack(bundle: str | os.PathLike[str], target: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a bundle as one tar archive; gives the archive's path.

    Raises:
        BundleError: the bundle is not valid.
        StorageError: something could not be read or written; nothing remains.
    """
    tar = Path(target)
    check_target(tar, overwrite=overwrite, kind="file")
    opened = open_bundle(bundle)
    _check_outside(tar, opened)
    with (
        staged_file(tar, overwrite=overwrite) as file,
        tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as archive,
    ):
        manifest = read_bounded(opened.path / MANIFEST, MAX_JSON_BYTES)
        if sha256(manifest).hexdigest() != opened.digest:
            raise VerificationError(f"{MANIFEST!r} changed while it was packed")
        first = _member(MANIFEST, len(manifest))
        first.pax_headers = {_DIGEST: opened.digest}
        archive.addfile(first, BytesIO(manifest))
        for path, entry in sorted(opened.manifest.files.items()):
            source = _Checked(opened.path / path, path, entry)
            archive.addfile(_member(path, entry.bytes), source)
            source.finish()
    return tar


def unpack(source: str | os.PathLike[str], target: str | os.PathLike[str], *, overwrite: bool = False) -> Bundle:
    """Check a packed bundle and extract it to a new directory.

    Raises:
        ArchiveError: the archive is damaged, or has a member that its manifest does not list, a link, a device, …
        ManifestError: its manifest is not what the format says.
        ModelFileError: a model is damaged, or refers to data outside its variant's directory.
        StorageError: something could not be read or written; nothing remains.
    """
    tar, directory = Path(source), Path(target)
    check_target(directory, overwrite=overwrite)
    with _Bounded(FileIO(open_regular(tar))) as file, staged_directory(directory, overwrite=overwrite) as partial:
        try:
            with tarfile.open(fileobj=file, mode="r:") as archive:
                document = _extract(archive, partial)
        except ArchiveError as error:
            raise ArchiveError(f"{str(tar)!r}: {error}; nothing was extracted") from error
        except ManifestError as error:
            raise ManifestError(error.path, f"{error.problem} (in {str(tar)!r})") from error
        except _DAMAGE as error:
            raise ArchiveError(f"{str(tar)!r}: expected a tar archive made by `ortolan pack`: {error}") from error
        try:
            manifest = parse_manifest(document, lambda path: read_bounded(partial / path, MAX_JSON_BYTES))
        except ManifestError as error:
            raise ManifestError(error.path, f"{error.problem} (in {str(tar)!r})") from error
        check_models(partial, manifest, shown=tar)
    return Bundle(directory, manifest, sha256(document).hexdigest())


def subset(
    bundle: str | os.PathLike[str],
    variants: Collection[str],
    target: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Bundle:
    """Write a new bundle with only some of the variants; their digests stay what they were.

    Raises:
        UnknownNameError: the bundle has no such variant.
        BundleError: the bundle is not valid.
        StorageError: something could not be read or written; nothing remains.
    """
    if not variants:
        raise UsageError("expected at least one variant to keep, got none")
    check_target(Path(target), overwrite=overwrite)
    opened = open_bundle(bundle)
    _check_outside(Path(target), opened)
    smaller = opened.manifest.subset(variants)
    made = {f"{component.directory}/{COMPONENT}" for component in smaller.components}
    contents: dict[str, bytes | Path] = {path: opened.path / path for path in smaller.files if path not in made}
    return write_files(Path(target), smaller, contents, overwrite=overwrite)


def _check_outside(target: Path, bundle: Bundle) -> None:
    """What is written into a bundle's own directory would be a file that its manifest does not list."""
    root = bundle.path.resolve()
    if root in target.resolve().parents:
        raise StorageError(
            f"cannot write {str(target)!r}: it lies within the bundle {str(root)!r}; choose another place"
        )


def _member(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size = size
    member.mode = 0o644
    return member


class _Checked:
    """A listed file that is read to its end by tarfile, and must then be what the manifest says."""

    def __init__(self, file: Path, path: str, entry: FileEntry) -> None:
        self._pieces = chunks(file)
        self._path = path
        self._entry = entry
        self._digest = sha256()
        self._rest = b""

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """The next bytes, ``size`` of them unless the file ends."""
        while len(self._rest) < size:
            piece = bytes(next(self._pieces, b""))
            if not piece:
                break
            self._digest.update(piece)
            self._rest += piece
        result, self._rest = self._rest[:size], self._rest[size:]
        return result

    def finish(self) -> None:
        """Raise VerificationError if the content is another one than the manifest's."""
        if self._digest.hexdigest() != self._entry.sha256:
            raise VerificationError(f"{self._path!r} changed while it was packed")


class _Bounded(BufferedReader):
    """A file whose single reads are bounded: tarfile reads a header's extensions whole, whatever size they claim."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _MAX_READ:
            raise ArchiveError(f"expected headers of at most {_MAX_READ} bytes, found one of {size}")
        return super().read(size)

    def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
        # Before Python 3.11, tarfile does this for an archive without members; the system's error would say nothing.
        if target < 0 and whence == os.SEEK_SET:
            raise ArchiveError("expected members, found none")
        return super().seek(target, whence)


def _extract(archive: tarfile.TarFile, root: Path) -> bytes:
    """Extract all members; gives the content of the manifest."""
    first = archive.next()
    if first is None or first.name != MANIFEST or not 0 <= first.size <= MAX_JSON_BYTES:
        found = "nothing" if first is None else f"{shorten(first.name)} of {first.size} bytes"
        raise ArchiveError(f"expected {MANIFEST} of at most {MAX_JSON_BYTES} bytes as first member, found {found}")
    _check_kind(first)
    document = b"".join(_pieces(archive, first))
    if sha256(document).hexdigest() != first.pax_headers.get(_DIGEST):
        raise ArchiveError(
            f"{MANIFEST} is not the one that was packed: the archive is damaged, or made by another program"
        )
    files = listed_files(document)
    write_file(root / MANIFEST, document)
    missing = dict(files)
    while (member := archive.next()) is not None:
        _check_member(member, files, missing)
        del missing[member.name]
        written = FileEntry(*write_file(root / member.name, _pieces(archive, member)))
        if written != files[member.name]:
            raise ArchiveError(
                f"member {member.name!r} is not what the manifest says: its content changed or is cut off"
            )
    if missing:
        raise ArchiveError(f"member {next(iter(missing))!r} is missing; the archive may be cut off")
    return document


def _check_member(member: tarfile.TarInfo, files: Mapping[str, FileEntry], missing: Mapping[str, FileEntry]) -> None:
    entry = files.get(member.name)
    if entry is None:
        raise ArchiveError(f"member {shorten(member.name)} is not listed in the manifest")
    if member.name not in missing:
        raise ArchiveError(f"member {member.name!r} occurs twice")
    _check_kind(member)
    if member.size != entry.bytes:
        raise ArchiveError(f"member {member.name!r}: expected {entry.bytes} bytes, found {member.size}")


def _check_kind(member: tarfile.TarInfo) -> None:
    if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.sparse is not None:
        raise ArchiveError(
            f"member {member.name!r}: expected a regular file, found a link, directory, device or sparse file"
        )


def _pieces(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise ArchiveError(f"member {member.name!r}: expected a regular file")
    with stream:
        while piece := stream.read(CHUNK_BYTES):
            yield piece

"""Writing a bundle: complete or not at all."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.bundle import atomic
from ortolan.bundle.directory import open_bundle
from ortolan.errors import BundleError, ManifestError, ModelFileError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan.bundle.directory import Bundle

    Make = Callable[..., Bundle]


def names(directory: Path) -> set[str]:
    """What lies in a directory, the state directory aside."""
    return {path.name for path in directory.iterdir()} - {"state"}


def test_equal_content_gives_equal_bytes(make_bundle: Make) -> None:
    """Bundles hold no time, no path and no order of the machine."""
    one, two = make_bundle("one"), make_bundle("two")
    assert one.digest == two.digest
    assert (one.path / "manifest.json").read_bytes() == (two.path / "manifest.json").read_bytes()


def test_files_are_copied_from_paths(make_bundle: Make, tmp_path: Path) -> None:
    """Content given as a path is copied, through a link as well."""
    content = os.urandom(3_000_000)
    (tmp_path / "large").write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "large")
    bundle = make_bundle(assets={"large": tmp_path / "link"})
    assert open_bundle(bundle.path).read_asset("large") == content


def test_access_follows_the_umask(make_bundle: Make) -> None:
    """A bundle made by root can be read by the service that runs it."""
    old = os.umask(0o022)
    try:
        bundle = make_bundle()
    finally:
        os.umask(old)
    for path in [bundle.path, *bundle.path.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_an_existing_target_is_refused_before_any_work(make_bundle: Make, tmp_path: Path) -> None:
    """Nothing is read, and what is there stays."""
    make_bundle()
    with pytest.raises(StorageError, match="already exists; choose another name, or replace it with --overwrite"):
        make_bundle(assets={"x": tmp_path / "missing"})
    assert names(tmp_path) == {"doubled.bundle"}


def test_overwriting_replaces_a_bundle(make_bundle: Make, tmp_path: Path) -> None:
    """In one step, and nothing of the old one remains."""
    make_bundle()
    bundle = make_bundle(version="2.0.0", assets={}, overwrite=True)
    assert open_bundle(bundle.path).manifest.version == "2.0.0"
    assert names(tmp_path) == {"doubled.bundle"}


def test_overwriting_works_where_directories_cannot_be_exchanged(
    make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then by two renames."""
    make_bundle()
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    bundle = make_bundle(version="2.0.0", overwrite=True)
    assert open_bundle(bundle.path).manifest.version == "2.0.0"
    assert names(tmp_path) == {"doubled.bundle"}


def test_the_old_bundle_comes_back_if_the_new_one_cannot_take_its_place(
    make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure between the two renames is undone."""
    make_bundle()
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        if self.name.endswith(str(os.getpid())):
            raise OSError(5, "Input/output error")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(StorageError, match="Input/output error"):
        make_bundle(version="2.0.0", overwrite=True)
    assert open_bundle(tmp_path / "doubled.bundle").manifest.version == "1.0.0"
    assert names(tmp_path) == {"doubled.bundle"}


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_only_a_bundle_is_overwritten(make_bundle: Make, tmp_path: Path, kind: str) -> None:
    """Not somebody's directory, file, or link."""
    target = tmp_path / "doubled.bundle"
    if kind == "directory":
        (target / "precious").mkdir(parents=True)
    elif kind == "file":
        target.touch()
    else:
        target.symlink_to(make_bundle("other").path)
    with pytest.raises(StorageError, match="exists and is no bundle; it is not overwritten"):
        make_bundle(overwrite=True)
    assert target.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/x.bundle", "No such file or directory"),
        ("file/x.bundle", "is not a directory"),
        ("n" * 300, "File name too long"),
        ("n" * 250, "File name too long"),
        ("a\0b", "null"),
    ],
)
def test_a_place_that_cannot_be_written_is_a_storage_error(
    make_bundle: Make, tmp_path: Path, name: str, message: str
) -> None:
    """One line with the target and the system's reason."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=f"^cannot write '.*': .*{message}"):
        make_bundle(name)
    assert names(tmp_path) == {"file"}


@pytest.mark.parametrize(("number", "reason"), [(13, "Permission denied"), (30, "Read-only file system")])
def test_a_refused_directory_is_a_storage_error(
    make_bundle: Make, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    """Read-only roots and missing permissions."""

    def refuse(self: Path, *args: Any, **options: Any) -> None:
        raise OSError(number, reason, str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError, match=rf"^cannot write '.*': {reason}; nothing was left there$"):
        make_bundle()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"package_name": ""}, ManifestError, "package_name: expected 1 to 200 characters"),
        ({"dims": {}}, ManifestError, "dimension 'batch' has no size"),
        ({"assets": {"../x": b""}}, ManifestError, "it has the segment '..'"),
        ({"assets": {"a": b"", "a/b": b""}}, ManifestError, "'assets/a' is listed as a file"),
        ({"assets": {"x": Path("/no/such/file")}}, StorageError, "cannot read '/no/such/file': No such file"),
        ({"assets": {"x": Path("/dev")}}, StorageError, "is not a regular file"),
        ({"components": []}, ManifestError, "components: expected at least 1 entry, got 0"),
    ],
)
def test_what_cannot_be_read_back_is_not_written(
    make_bundle: Make, tmp_path: Path, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The format's rules hold for the writer as well; nothing remains."""
    with pytest.raises(error, match=message):
        make_bundle(**change)
    assert names(tmp_path) == set()


def test_variants_need_different_names(make_bundle: Make, parts: dict[str, Any], tmp_path: Path) -> None:
    """One would silently replace the other."""
    ((name, (fp32, _)),) = parts["components"]
    with pytest.raises(BundleError, match="two components or variants called 'model/fp32'"):
        make_bundle(components=[(name, [fp32, fp32])])
    assert names(tmp_path) == set()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x0a\xff"])
def test_a_model_that_is_none_is_not_written(
    make_bundle: Make, parts: dict[str, Any], tmp_path: Path, content: bytes
) -> None:
    """The error names the bundle to be, not the temporary directory."""
    ((name, (fp32, _)),) = parts["components"]
    with pytest.raises(ModelFileError, match=r"doubled.bundle/model/fp32/model.onnx'") as caught:
        make_bundle(components=[(name, [(*fp32[:2], {"model.onnx": content})])])
    assert "partial" not in str(caught.value)
    assert names(tmp_path) == set()


def test_external_data_within_the_variant_is_written(
    make_bundle: Make, parts: dict[str, Any], external_model: Callable[..., bytes]
) -> None:
    """Weights beside the model are files of the variant."""
    ((name, (fp32, _)),) = parts["components"]
    files = {"model.onnx": external_model(location="w.bin", offset="4", length="12"), "w.bin": bytes(16)}
    bundle = make_bundle(components=[(name, [(*fp32[:2], files)])])
    assert open_bundle(bundle.path, verify="full").manifest.files["model/fp32/w.bin"].bytes == 16


def test_a_keyboard_interrupt_leaves_nothing(
    make_bundle: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the writing."""

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_bundle()
    assert names(tmp_path) == set()


WRITER = textwrap.dedent("""
    import resource, signal, sys
    from dataclasses import dataclass
    from pathlib import Path
    from ortolan.bundle.directory import open_bundle
    from ortolan.bundle.write import write_files
    from ortolan.bundle import write

    source, target, large, how = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    bundle = open_bundle(source)
    made = {"model/component.json"}
    contents = {path: source / path for path in bundle.manifest.files if path not in made}
    contents["assets/large"] = large
    if how == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    else:
        real = write.write_file
        def killing(path, content):
            if path.name == "large":
                print("writing", flush=True)
                sys.stdin.read()
            return real(path, content)
        write.write_file = killing
    write_files(target, bundle.manifest, contents)
""")


def test_a_full_disk_is_one_line_and_leaves_nothing(bundle: Bundle, tmp_path: Path) -> None:
    """A write that the system refuses in the middle of a file."""
    (tmp_path / "large").write_bytes(bytes(5_000_000))
    arguments = [str(bundle.path), str(tmp_path / "new"), str(tmp_path / "large"), "full"]
    done = subprocess.run([sys.executable, "-c", WRITER, *arguments], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"ortolan.errors.StorageError: cannot write {str(tmp_path / 'new')!r}: File too large; nothing was left there"
    )
    assert names(tmp_path) == {"doubled.bundle", "large"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_killed_writer_leaves_no_bundle_and_the_next_one_cleans_up(
    bundle: Bundle, make_bundle: Make, tmp_path: Path
) -> None:
    """A living writer's partial directory is left alone, a dead one's is removed."""
    (tmp_path / "large").write_bytes(b"x")
    arguments = [str(bundle.path), str(tmp_path / "new"), str(tmp_path / "large"), "kill"]
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        assert process.stdout.readline() == "writing\n"
        partial = f".new.partial-{process.pid}"
        atomic._remove_stale(tmp_path / "new")
        assert names(tmp_path) == {"doubled.bundle", "large", partial}
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert names(tmp_path) == {"doubled.bundle", "large", partial}
    make_bundle("new")
    assert names(tmp_path) == {"doubled.bundle", "large", "new"}


def test_what_killed_writers_left_is_removed(make_bundle: Make, tmp_path: Path) -> None:
    """Also that of another target, but no directory that merely looks similar."""
    for name in (".other.partial-1", ".doubled.bundle.partial-x", ".doubled.bundle.partial-1-old"):
        (tmp_path / name).mkdir()
    made = make_bundle()
    assert names(tmp_path) == {made.path.name, ".doubled.bundle.partial-x", ".doubled.bundle.partial-1-old"}


def test_what_a_living_writer_fills_is_left_alone(make_bundle: Make, tmp_path: Path) -> None:
    """It holds a lock on it."""
    busy = tmp_path / ".other.partial-1"
    busy.mkdir()
    lock = os.open(busy, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_bundle()
        assert busy.exists()
    finally:
        os.close(lock)


def test_a_source_that_changes_while_it_is_copied_is_noticed(bundle: Bundle, tmp_path: Path) -> None:
    """Files of a verified bundle keep the digests that were verified."""
    from ortolan.bundle.write import write_files

    contents: dict[str, bytes | Path] = {
        path: bundle.path / path for path in bundle.manifest.files if path != "model/component.json"
    }
    contents["golden/inputs.json"] = b"{}"
    with pytest.raises(StorageError, match="changed while it was copied; nothing was written"):
        write_files(tmp_path / "new", replace(bundle.manifest), contents)
    assert names(tmp_path) == {"doubled.bundle"}

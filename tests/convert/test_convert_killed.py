"""A conversion that is ended in any way leaves its bundle or nothing: no half bundle, no temporary file."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ortolan.bundle.directory import open_bundle
from ortolan.errors import ConversionError, StorageError, TrustRequiredError
from ortolan_convert.convert import convert
from ortolan_convert.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 20
"""Seconds that something may take which takes milliseconds."""

AT_WORK = """
import os, signal, subprocess, sys, tempfile, time
from pathlib import Path
from ortolan.bundle.atomic import staged_directory
from ortolan_convert.scratch import scratch
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
signal.signal(signal.SIGINT, signal.default_int_handler)
target = Path(sys.argv[1])
with scratch(target) as room:
    (room / "weights").write_bytes(bytes(1000))
    tempfile.mkdtemp()
    subprocess.run(["mktemp", "-d"], check=True, stdout=subprocess.DEVNULL)
    if sys.argv[2] == "writing":
        with staged_directory(target) as partial:
            (partial / "model.onnx").write_bytes(bytes(1000))
            print("ready", flush=True)
            time.sleep(60)
    print("ready", flush=True)
    time.sleep(60)
"""


def _wait_until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end
        time.sleep(0.005)


def _as_at_a_terminal() -> None:
    """In the child: signals that this process was told to ignore, as in the background, end it again."""
    for name in ("SIGINT", "SIGQUIT", "SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def _end(process: subprocess.Popen[Any], how: str) -> None:
    if how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(getattr(signal, how))
    process.wait(PATIENCE)


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "ortolan", "convert", *map(str, arguments)]


@pytest.mark.parametrize("moment", ["converting", "writing"])
@pytest.mark.parametrize("how", ["SIGKILL", "group", "SIGTERM", "SIGINT", "SIGQUIT"])
def test_nothing_is_left_of_an_ended_process(how: str, moment: str, tmp_path: Path) -> None:
    """Neither scratch nor half a bundle, nor what tools put into the temporary directory."""
    command = [sys.executable, "-c", AT_WORK, str(tmp_path / "out.bundle"), moment]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_as_at_a_terminal,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        scratched = next(path for path in tmp_path.iterdir() if "scratch" in path.name)
        assert len(list(scratched.iterdir())) == 3
        assert len(list(tmp_path.iterdir())) == (2 if moment == "writing" else 1)
        _end(process, how)
    _wait_until(lambda: not list(tmp_path.iterdir()))


@pytest.mark.parametrize("how", ["SIGKILL", "group", "SIGINT", "SIGTERM", "SIGHUP"])
def test_a_command_that_is_ended_leaves_what_was_there(how: str, sentiment: Path, tmp_path: Path) -> None:
    """`ortolan convert`, from the moment that its scratch appears."""
    command = _command(sentiment, "-o", tmp_path / "out.bundle", "--trust")
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=_as_at_a_terminal
    ) as process:
        _wait_until(lambda: bool(list(tmp_path.iterdir())))
        _end(process, how)
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    _wait_until(lambda: not list(tmp_path.iterdir()))


@pytest.mark.parametrize("delay", [0.2, 0.8])
def test_a_kill_at_any_moment_leaves_all_or_nothing(delay: float, sentiment: Path, tmp_path: Path) -> None:
    """The bundle is complete or not there, and nothing else is there."""
    target = tmp_path / "out.bundle"
    with subprocess.Popen(_command(sentiment, "-o", target, "--trust"), stdout=subprocess.DEVNULL) as process:
        _wait_until(lambda: bool(list(tmp_path.iterdir())))
        time.sleep(delay)
        process.kill()
    _wait_until(lambda: not [path for path in tmp_path.iterdir() if path != target])
    if target.exists():
        open_bundle(target, verify="full")


def test_a_bundle_that_is_replaced_outlives_a_kill(sentiment: Path, tmp_path: Path) -> None:
    """With --overwrite the old bundle stays as it is until the new one takes its place."""
    target = tmp_path / "out.bundle"
    before = convert(sentiment, target, trust=True).bundle.digest
    with subprocess.Popen(_command(sentiment, "-o", target, "--trust", "--overwrite", "--quantize", "")) as process:
        _wait_until(lambda: len(list(tmp_path.iterdir())) > 1)
        process.kill()
    _wait_until(lambda: list(tmp_path.iterdir()) == [target])
    assert open_bundle(target, verify="full").digest == before


def test_children_that_live_on_do_not_keep_the_scratch(tmp_path: Path) -> None:
    """What a tool writes after its parent was killed is removed too."""
    script = (
        "import subprocess, sys, time\nfrom pathlib import Path\nfrom ortolan_convert.scratch import scratch\n"
        "with scratch(Path(sys.argv[1])):\n"
        "    subprocess.Popen(['sh', '-c', 'for i in 1 2 3 4 5 6 7 8; do : > \"$TMPDIR/$i\"; sleep .05; done'])\n"
        "    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "out.bundle")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    _wait_until(lambda: not list(tmp_path.iterdir()))


def test_what_an_outage_left_is_removed_by_the_next_conversion(sentiment: Path, tmp_path: Path) -> None:
    """After a power cut there is no watcher: the next conversion into the same directory tidies up."""
    for name in (".other.bundle.scratch.partial-999999999", ".out.bundle.partial-999999999"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(bytes(10))
    convert(sentiment, tmp_path / "out.bundle", trust=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out.bundle"]


def test_temporary_files_are_where_they_were_afterwards(tmp_path: Path) -> None:
    """tempfile and $TMPDIR are put back, also when conversions overlap and end in another order."""
    before = tempfile.gettempdir(), os.environ.get("TMPDIR")
    first, second = scratch(tmp_path / "a.bundle"), scratch(tmp_path / "b.bundle")
    one = first.__enter__()
    two = second.__enter__()
    assert tempfile.gettempdir() == os.environ["TMPDIR"] == str(two)
    first.__exit__(None, None, None)
    assert tempfile.gettempdir() == str(two)
    second.__exit__(None, None, None)
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == before
    assert one != two
    assert not list(tmp_path.iterdir())


def test_two_threads_cannot_write_the_same_bundle(tmp_path: Path) -> None:
    """The second is refused, and the first one's files stay."""
    problems: list[str] = []

    def again() -> None:
        with pytest.raises(StorageError) as caught, scratch(tmp_path / "out.bundle"):
            raise AssertionError
        problems.append(str(caught.value))

    with scratch(tmp_path / "out.bundle") as room:
        (room / "weights").write_bytes(b"1")
        thread = threading.Thread(target=again)
        thread.start()
        thread.join()
        assert (room / "weights").read_bytes() == b"1"
    assert len(problems) == 1
    assert "another thread is writing it" in problems[0]
    assert not list(tmp_path.iterdir())


def test_a_failed_conversion_leaves_nothing(tmp_path: Path) -> None:
    """Also where the failure is no error of Ortolan's."""
    with pytest.raises(ZeroDivisionError), scratch(tmp_path / "out.bundle") as room:
        (room / "weights").write_bytes(bytes(10))
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [0, 1000])
def test_files_may_not_grow(size: int, sentiment: Path, tmp_path: Path) -> None:
    """A limit on file sizes, as on a shared machine, ends in one line and nothing is left."""
    target = tmp_path / "out.bundle"
    done = subprocess.run(
        _command(sentiment, "-o", target, "--trust"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A memory file system with the options given."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", place], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("mounting needs root")
        return place

    yield mount
    subprocess.run(["umount", place], capture_output=True, check=False)


@pytest.mark.parametrize("size", ["8k", "16k", "32k"])
def test_a_full_disk(size: str, sentiment: Path, mounted: Callable[[str], Path]) -> None:
    """It ends in one line that says so, and nothing is left on it."""
    place = mounted(f"size={size}")
    with pytest.raises(StorageError, match="No space left on device"):
        convert(sentiment, place / "out.bundle", trust=True)
    assert not list(place.iterdir())


def test_a_read_only_directory(sentiment: Path, mounted: Callable[[str], Path]) -> None:
    """It is refused before the artifact is read."""
    place = mounted("ro")
    said: list[str] = []
    with pytest.raises(StorageError, match="Read-only file system"):
        convert(sentiment, place / "out.bundle", trust=True, progress=said.append)
    assert not said


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": None},
        {"HOME": "/nonexistent", "XDG_CACHE_HOME": "/nonexistent", "XDG_STATE_HOME": "/nonexistent"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TMPDIR": "/nonexistent"},
        {"PATH": "/nonexistent"},
    ],
    ids=["no home", "unwritable home", "C locale", "no temporary directory", "no programs"],
)
def test_a_poor_environment_is_enough(environment: dict[str, str | None], sentiment: Path, tmp_path: Path) -> None:
    """Nothing outside the target's directory needs to be writable."""
    given = {**os.environ, **environment}
    target = tmp_path / "größe.bundle"
    done = subprocess.run(
        _command(sentiment, "-o", target, "--trust"),
        env={name: value for name, value in given.items() if value is not None},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [target]


def test_errors_nobody_foresaw_are_one_line(sentiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a framework raises becomes an error of Ortolan's, with its words in one line."""

    def fail(_: object) -> None:
        raise RuntimeError("something\nin many\nlines")

    monkeypatch.setattr("ortolan_convert.sources.scikit_learn.convert.convert_scikit_learn", fail)
    with pytest.raises(ConversionError) as caught:
        convert(sentiment, tmp_path / "out.bundle", trust=True)
    assert str(caught.value).endswith("(RuntimeError: something in many lines)")
    assert not list(tmp_path.iterdir())


def test_errors_of_the_conversion_stay_what_they_are(tmp_path: Path) -> None:
    """A want of trust is an OSError, too, and no failure to write."""
    with pytest.raises(TrustRequiredError, match=r"^why$"), scratch(tmp_path / "out.bundle"):
        raise TrustRequiredError("why")
    assert not list(tmp_path.iterdir())

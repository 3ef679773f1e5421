"""The command line's root: table, help, exit statuses."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ortolan.cli import COMMANDS, main


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "ortolan", *arguments], capture_output=True, text=True, timeout=60)


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`ortolan --help` lists the whole table."""
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each name resolves to a command whose --help says what it does."""
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    assert f"Usage: ortolan {name}" in capsys.readouterr().out


def test_unknown_command_suggests_the_near_one() -> None:
    """One line, exit 2."""
    done = run("benhc")
    assert done.returncode == 2
    assert done.stderr == "error: unknown command 'benhc'; did you mean 'bench'?\n"


def test_unknown_option_is_misuse() -> None:
    """click's own words in one line, exit 2."""
    done = run("verify", "--fast", "x.bundle")
    assert done.returncode == 2
    assert done.stderr.startswith("error: No such option")
    assert done.stderr.endswith("; see `ortolan verify --help`\n")
    assert done.stderr.count("\n") == 1


def test_missing_option_is_one_line() -> None:
    """What is missing, and where to read on."""
    done = run("subset", "x.bundle", "-o", "y.bundle")
    assert done.returncode == 2
    assert done.stderr.startswith("error: Missing option '--variant'")
    assert done.stderr.endswith("; see `ortolan subset --help`\n")
    assert done.stderr.count("\n") == 1


def test_full_standard_output_is_one_line() -> None:
    """No traceback when the answer cannot be written."""
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "ortolan", "profiles", "raspberry-pi-5"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 3
    assert done.stderr == "error: cannot write to standard output: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_end_cleans_up(number: signal.Signals, tmp_path: Path) -> None:
    """As after Ctrl-C: the block that was left runs its clean-up."""
    script = """
import pathlib, sys, time
from ortolan.bundle.atomic import staged_directory
from ortolan import cli
def busy(*_, **__):
    with staged_directory(pathlib.Path(sys.argv[1])):
        print("writing", flush=True)
        time.sleep(60)
cli.root.main = busy
cli.main([])
"""
    command = [sys.executable, "-c", script, str(tmp_path / "x.bundle")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("moment", ["finalizer", "weak reference"])
def test_being_told_to_end_while_python_forgets_exceptions(number: signal.Signals, moment: str) -> None:
    """A finalizer, or a weak reference's callback, swallows what the handler raises; the command ends all the same."""
    script = """
import signal, sys, time, weakref
from ortolan import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
class Busy:
    def __del__(self):
        if sys.argv[2] == "finalizer":
            signal.raise_signal(int(sys.argv[1]))
def interrupted(_):
    signal.raise_signal(int(sys.argv[1]))
def busy(*_, **__):
    value = Busy()
    reference = weakref.ref(value, interrupted if sys.argv[2] == "weak reference" else None)
    del value
    print("went on", flush=True)
    time.sleep(60)
cli.root.main = busy
cli.main([])
"""
    command = [sys.executable, "-c", script, str(int(number)), moment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 128 + number
    assert done.stdout == "went on\n"
    assert done.stderr == ("interrupted\n" if number == signal.SIGINT else "")


def test_missing_bundle_is_one_line() -> None:
    """No traceback reaches a user."""
    done = run("predict", "nowhere.bundle", "text")
    assert done.returncode in {2, 3}
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "nowhere.bundle" in done.stderr


def test_version() -> None:
    """`ortolan --version` names the distribution's version."""
    from importlib.metadata import version

    assert run("--version").stdout == f"ortolan, version {version('ortolan')}\n"

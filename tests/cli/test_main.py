"""The command line's root: table, help, exit statuses."""

from __future__ import annotations

import subprocess
import sys

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
    """click's own message, exit 2."""
    done = run("verify", "--fast", "x.bundle")
    assert done.returncode == 2
    assert "No such option" in done.stderr


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

"""The convert command: answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ortolan.errors import OrtolanError, StorageError, TrustRequiredError, UnknownNameError, UsageError
from ortolan_convert import examples
from ortolan_convert.cli import convert
from ortolan_convert.task_config import task_config


def _run(*arguments: object) -> tuple[str, str]:
    result = CliRunner().invoke(convert, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout, result.stderr


def test_json_is_documented_and_alone_on_stdout(sentiment: Path, tmp_path: Path) -> None:
    """--json prints one document of schema ortolan.convert/1; warnings go to standard error."""
    stdout, stderr = _run(sentiment, "-o", tmp_path / "out.bundle", "--trust", "--json")
    document = json.loads(stdout)
    assert document["schema"] == "ortolan.convert/1"
    assert document["variants"][0]["name"] == "fp32"
    assert document["variants"][0]["fidelity"]["inputs"] == "generated"
    assert document["warnings"]
    assert stderr.startswith("warning: no samples were given")


def test_people_get_a_table(sentiment: Path, tmp_path: Path) -> None:
    """Without --json there is one row for the source and one per variant."""
    stdout, _ = _run(sentiment, "-o", tmp_path / "out.bundle", "--trust", "--quantize", "fp16")
    lines = stdout.splitlines()
    assert lines[0].endswith(
        "out.bundle: text-classification, compared with the source's own answers on 1,000 made-up inputs"
    )
    assert [line.split()[0] for line in lines[3:6]] == ["source", "fp32", "fp16"]
    assert lines[4].split()[1:4] == ["0", "(at", "most"]


def test_errors_are_raised_for_the_root_command(sentiment: Path, tmp_path: Path) -> None:
    """The command raises typed errors; the root turns them into a line and an exit status."""
    with pytest.raises(TrustRequiredError) as caught:
        _run(sentiment, "-o", tmp_path / "out.bundle")
    assert isinstance(caught.value, OrtolanError)


def test_the_whole_command_line(sentiment: Path, tmp_path: Path) -> None:
    """`ortolan convert` without --trust ends with status 3 and one line on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "ortolan", "convert", str(sentiment), "-o", str(tmp_path / "out.bundle")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    """The command's module needs neither scikit-learn, onnx nor numpy to show its help."""
    script = "import sys, ortolan_convert.cli; print([m for m in ('sklearn', 'onnx', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_progress_stays_out_of_a_pipe(sentiment: Path, tmp_path: Path) -> None:
    """Progress is for terminals: in a pipe standard error holds warnings alone."""
    _, stderr = _run(sentiment, "-o", tmp_path / "out.bundle", "--trust")
    assert all(line.startswith("warning: ") for line in stderr.splitlines())


def test_the_shipped_descriptions_are_printed() -> None:
    """--example prints one as it is, --help names them all, and a task without a description names its own."""
    listed, _ = _run("--help")
    for path in sorted(examples.DIRECTORY.glob("*.yaml")):
        assert f"\n  {path.stem}\n" in listed
        assert _run("--example", path.stem)[0] == path.read_text(encoding="utf-8")
    with pytest.raises(UnknownNameError, match="did you mean 'object-detection-ppocr'"):
        _run("--example", "object-detection-pocr")
    with pytest.raises(UsageError, match=r"`ortolan convert --example NAME` prints tabular-regression$"):
        task_config(None, "tabular-regression")
    with pytest.raises(StorageError, match=r"No such file .*; `ortolan convert --example tabular-regression`"):
        task_config(Path("tabular-regression"), None)

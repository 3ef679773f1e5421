"""What applications see of the types: the public interface and the examples under two strict checkers."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ortolan

HERE = Path(__file__).parent
API = HERE / "typing" / "api.py"
EXAMPLES = sorted((HERE.parent / "runtime" / "examples").glob("*.py"))


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@needs("mypy")
@pytest.mark.slow
def test_mypy_agrees(tmp_path: Path) -> None:
    """mypy --strict, for the oldest Python, finds nothing."""
    options = ["--strict", "--python-version=3.10", "--config-file=", "--no-error-summary"]
    options += [f"--python-executable={sys.executable}", f"--cache-dir={tmp_path}"]
    command = [sys.executable, "-m", "mypy", *options, str(API), *map(str, EXAMPLES)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@needs("basedpyright")
@pytest.mark.slow
def test_basedpyright_agrees(tmp_path: Path) -> None:
    """basedpyright in strict mode finds no error in what an application writes."""
    settings = {
        "typeCheckingMode": "strict",
        "pythonVersion": "3.10",
        "include": [str(API), *map(str, EXAMPLES)],
        "reportMissingModuleSource": "none",
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    command += ["-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == 1 + len(EXAMPLES)
    found = [
        f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}"
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    assert found == []


def test_every_public_name_is_used() -> None:
    """A name that is added to the public interface is added to what is checked."""
    used = {
        node.attr
        for node in ast.walk(ast.parse(API.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "ortolan"
    }
    assert sorted(set(ortolan.__all__) - used - {"errors"}) == []

"""Every command and code block of the README is executed, in order, as a reader would type it.

`sh` and `python` blocks run; `text` blocks are output. A comment `<!-- device -->` before a block says that it runs on
the device: in another directory, with an environment of its own. What a test cannot have is replaced: another machine
(`scp` copies between two directories), the device's architecture (this one's), and the tree's two commands (`make demo`
becomes `ortolan demo`; `make test` is what runs this).
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
TOP = Path(__file__).parent.parent
README = TOP / "README.md"
SHIMS = {
    "make": '[ "$1" = test ] || exec ortolan "$1"',
    "scp": 'shift $(( $# > 2 ? $# - 2 : 0 )); exec cp -r "$1" "$DEVICE/"',
    "sudo": "exit 0",
    "git": "exit 0",
}


def blocks() -> list[tuple[str, bool, str]]:
    """(language, on the device, text) of each fenced block."""
    pattern = re.compile(r"(<!-- device -->\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(m[2], bool(m[1]), m[3]) for m in pattern.finditer(README.read_text(encoding="utf-8"))]


def environment(room: Path) -> dict[str, str]:
    shims = room / "shims"
    shims.mkdir()
    for name, body in SHIMS.items():
        (shims / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (shims / name).chmod(0o755)
    for name in ("home", "device", "pc"):
        (room / name).mkdir()
    kept = {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "LANG", "LC_", "TMP", "OPENBLAS"))}
    return kept | {
        "PATH": f"{shims}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(room / "home"),
        "DEVICE": str(room / "device"),
        "PIP_FIND_LINKS": f"{TOP / 'dist'} {os.environ.get('PIP_FIND_LINKS', '')}".strip(),
        "PYTHONNOUSERSITE": "1",
    }


def test_every_block_names_its_language() -> None:
    """No block escapes execution by having no language."""
    assert {language for language, _, _ in blocks()} <= {"sh", "python", "text", "yaml", "ini"}


@pytest.mark.slow
def test_readme_commands_run(tmp_path: Path) -> None:
    """All sh and python blocks, top to bottom, in one pair of directories."""
    if not list((TOP / "dist").glob("*.whl")):
        pytest.skip("needs the built wheel in dist/, as `make test` provides")
    env = environment(tmp_path)
    ran = 0
    for language, on_device, text in blocks():
        if language not in {"sh", "python"}:
            continue
        code = text.replace("aarch64", platform.machine()).replace("version 3.11", f"version {VERSION}")
        where = tmp_path / ("device" if on_device else "pc")
        venv = tmp_path / "home" / "ortolan" / "bin"
        path = f"{venv}:{env['PATH']}" if on_device and venv.exists() else env["PATH"]
        command = ["bash", "-euo", "pipefail", "-c", code] if language == "sh" else ["python", "-c", code]
        python = venv / "python" if on_device and venv.exists() else Path(sys.executable)
        if language == "python":
            command[0] = str(python)
        around = env | {"PATH": path}
        if "--no-index" in code:  # the wheelhouse alone
            around.pop("PIP_FIND_LINKS")
        done = subprocess.run(command, cwd=where, env=around, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"{code}\n--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-4000:]}"
        ran += 1
    assert ran >= 8

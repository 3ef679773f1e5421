"""Import hygiene: what each package may import, and what starting up must not import."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

LAYERS = [
    "errors",
    "records",
    "types",
    "digest",
    "state",
    "bundle",
    "hardware",
    "choose",
    "engine",
    "inputs",
    "tasks",
    "model",
    "planning",
    "loading",
    "cli",
]
"""Of `ortolan`, each may import those before it."""
PACKAGES = ["ortolan", "ortolan_bench", "ortolan_convert"]
HEAVY = {"numpy", "onnxruntime", "yaml", "psutil", "tokenizers", "click", "onnx", "sklearn", "torch", "dataclasses"}


def root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0])


def modules() -> list[tuple[str, Path]]:
    found = []
    for package in PACKAGES:
        top = root(package)
        for path in sorted(top.rglob("*.py")):
            parts = [package, *path.relative_to(top).with_suffix("").parts]
            found.append((".".join(p for p in parts if p != "__init__"), path))
    return found


def imported(path: Path) -> set[str]:
    """Every module imported anywhere in a file, also inside functions and for type checking."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def loaded_by(code: str) -> set[str]:
    """Top-level modules loaded by code in a fresh interpreter."""
    script = f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize(("name", "path"), modules(), ids=lambda v: v if isinstance(v, str) else "")
def test_packages_import_only_what_stands_before_them(name: str, path: Path) -> None:
    """ortolan < ortolan_bench < ortolan_convert."""
    later = PACKAGES[PACKAGES.index(name.partition(".")[0]) + 1 :]
    assert not [used for used in imported(path) if used.partition(".")[0] in later]


@pytest.mark.parametrize(
    ("name", "path"),
    [m for m in modules() if m[0].startswith("ortolan.")],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_layers_of_the_runtime_are_linear(name: str, path: Path) -> None:
    """Inside ortolan, a layer imports only layers before it; the package's own top holds only names resolved late."""
    own = name.split(".")[1]
    if own not in LAYERS:
        assert own == "__main__"
        return
    allowed = LAYERS[: LAYERS.index(own) + 1]
    used = {parts[1] for parts in (n.split(".") for n in imported(path)) if parts[0] == "ortolan" and len(parts) > 1}
    assert not [layer for layer in used if layer in LAYERS and layer not in allowed]


@pytest.mark.parametrize(
    ("name", "path"),
    [m for m in modules() if m[0].startswith("ortolan")],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_training_frameworks_stay_in_the_converters(name: str, path: Path) -> None:
    """Only the converters import training frameworks and onnx; only the engine imports onnxruntime."""
    if name.startswith("ortolan_convert"):
        return
    tops = {used.partition(".")[0] for used in imported(path)}
    assert not tops & {"onnx", "onnx_ir", "sklearn", "joblib", "torch", "tensorflow", "transformers"}
    if "onnxruntime" in tops:
        assert name.startswith("ortolan.engine")


def test_importing_ortolan_is_light() -> None:
    """`import ortolan` loads nothing heavy."""
    assert not loaded_by("import ortolan") & HEAVY


def test_help_is_light() -> None:
    """`ortolan --help` loads neither numpy nor onnxruntime."""
    loaded = loaded_by("from ortolan.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass")
    assert not loaded & (HEAVY - {"click", "dataclasses"})


def test_reading_a_manifest_is_light() -> None:
    """Reading bundles needs neither numpy nor onnxruntime."""
    assert not loaded_by("import ortolan.bundle.directory") & (HEAVY - {"dataclasses"})


def test_loading_needs_no_slow_modules() -> None:
    """The road to a loaded model avoids modules that cost a cold start."""
    loaded = loaded_by("from ortolan.loading import load; from ortolan.model import TextClassifier")
    assert not loaded & {
        "yaml",
        "psutil",
        "tokenizers",
        "click",
        "zipfile",
        "tarfile",
        "tempfile",
        "subprocess",
        "platform",
    } - {*loaded_by("import numpy, onnxruntime")}

"""PyTorch's programs: ExportedProgram (``.pt2``) and TorchScript."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING, Any

from ortolan.errors import TrustRequiredError, UnsupportedError
from ortolan_convert.sources.explaining.bounded_stream import BoundedStream
from ortolan_convert.sources.explaining.facts import Facts, counted, listed, member, parsed
from ortolan_convert.sources.explaining.pickle_outline import outline
from ortolan_convert.sources.explaining.symbols import Made
from ortolan_convert.sources.pytorch.checked_archives import check_script
from ortolan_convert.sources.pytorch.checked_program import check_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LARGEST_PROGRAM = 512 << 20
"""Bytes of an ExportedProgram's JSON, or of TorchScript's code, that are read."""

_MODEL = re.compile(r"(?:[^/]+/)?models/[^/]+\.json|(?:[^/]+/)?serialized_exported_program\.json")
_SIZE = re.compile(r"Symbol\('(\w+)'[^()]*\)")
_SIGNATURE = re.compile(r"def forward\((self[^)]*)\)\s*->\s*([^:\n]+):")


def exported_facts(path: Path) -> Facts:
    """Of a program saved by ``torch.export.save``."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        models = [name for name in names if _MODEL.fullmatch(name)]
        programs = [parsed(member(archive, name, LARGEST_PROGRAM), name) for name in models]
        code, notes = _checked(check_program, path, _members(archive, (".json",)))
    first = programs[0] if isinstance(programs[0], dict) else {}
    module = _at(first, "graph_module")
    version = _at(first, "torch_version")
    nodes = _at(module, "graph", "nodes")
    form = _at(first, "schema_version")
    inside = [("form", f"schema {form.get('major')}.{form.get('minor')}")] if isinstance(form, dict) else []
    if isinstance(nodes, list):
        targets = [str(_at(node, "target")) for node in nodes]
        inside.append(("graph", f"{counted(len(nodes), 'node')}: {listed(dict.fromkeys(targets))}"))
    inside += [("input", text) for text in _inputs(module)]
    weights = [name for name in names if "/weights/" in name and not name.endswith(".json")]
    if weights:
        inside.append(("weights", counted(len(weights), "tensor")))
    return Facts(
        made_by=f"PyTorch {version}" if isinstance(version, str) else "PyTorch",
        inside=tuple(inside),
        code=code,
        notes=notes,
    )


def _members(archive: zipfile.ZipFile, endings: tuple[str, ...]) -> dict[str, bytes | None]:
    """Names below the archive's one directory, with the content of those of some endings."""
    return {
        name.partition("/")[2] or name: member(archive, name, LARGEST_PROGRAM) if name.endswith(endings) else None
        for name in archive.namelist()
    }


def _checked(
    check: Callable[..., None], path: Path, content: Mapping[str, bytes | None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What of a program runs code, and why it cannot be converted, as its reader will find."""
    try:
        check(path, content, trust=False)
    except TrustRequiredError as error:
        reason = str(error).removeprefix(f"{path}: ").partition("; if you")[0]
        return (reason,), ()
    except UnsupportedError as error:
        return (), (str(error).removeprefix(f"{path}: "),)
    return (), ()


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _inputs(module: Any) -> Iterator[str]:
    """Name and sizes of what a user gives it."""
    values = _at(module, "graph", "tensor_values") or {}
    specs = _at(module, "signature", "input_specs")
    for spec in specs if isinstance(specs, list) else []:
        name = _at(spec, "user_input", "arg", "as_tensor", "name")
        if isinstance(name, str):
            sizes = _at(values, name, "sizes")
            shown = [_size(size) for size in sizes] if isinstance(sizes, list) else ["?"]
            yield f"{name}[{', '.join(shown)}]"


def _size(size: Any) -> str:
    fixed = _at(size, "as_int")
    if fixed is not None:
        return str(fixed)
    expression = str(_at(size, "as_expr", "expr_str"))
    symbol = _SIZE.fullmatch(expression)
    return symbol[1] if symbol else f"{expression:.40}"


def torchscript_facts(path: Path) -> Facts:
    """Of a program saved by ``torch.jit.save``. Its code is run by PyTorch's interpreter, which reaches no Python."""
    with zipfile.ZipFile(path) as archive:
        code, notes = _checked(check_script, path, _members(archive, (".py", ".pkl")))
        names = archive.namelist()
        scripts = [name for name in names if "/code/" in name and name.endswith(".py")]
        data = next(name for name in names if name.rpartition("/")[2] == "data.pkl")
        top = data.rpartition("/")[0]
        with archive.open(data) as stream:
            content = outline(BoundedStream(stream)).content
        root = content.by if isinstance(content, Made) and isinstance(content.by, str) else "?"
        module, _, name = root.rpartition(".")
        source = f"{top}/code/{module.replace('.', '/')}.py"
        text = member(archive, source).decode("utf-8", "replace") if source in names else ""
        version = member(archive, f"{top}/version", 64).decode("latin-1").strip() if f"{top}/version" in names else "?"
    found = _SIGNATURE.search(text, max(0, text.find(f"class {name}(")))
    inside = [("module", root), ("code", counted(len(scripts), "file"))]
    if found:
        arguments = [part.strip() for part in " ".join(found[1].split()).split(",")[1:]]
        inside.append(("forward", f"{listed(arguments) or 'no inputs'} -> {' '.join(found[2].split())}"))
    inside.append(("weights", counted(sum("/data/" in one or "/constants/" in one for one in names), "tensor")))
    return Facts(made_by=f"PyTorch (form {version})", inside=tuple(inside), code=code, notes=notes)

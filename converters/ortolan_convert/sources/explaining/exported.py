"""PyTorch's programs: ExportedProgram (``.pt2``) and TorchScript.

``torch.export.load`` runs what an ExportedProgram says in more places than its pickles: sizes are evaluated as Python
by ``sympy.sympify``, guards by ``exec``, operators are looked up by any dotted path. So everything in it that becomes
code is compared with what PyTorch writes, and whatever else is found there is code that would run.
"""

from __future__ import annotations

import ast
import re
import zipfile
from typing import TYPE_CHECKING, Any

from ortolan_convert.sources.explaining.facts import Facts, counted, listed, member, parsed
from ortolan_convert.sources.explaining.pickle_outline import BoundedStream, Made, outline
from ortolan_convert.sources.explaining.pickled import torch_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LARGEST_PROGRAM = 512 << 20
"""Bytes of an ExportedProgram's JSON that are read."""
LONGEST_EXPRESSION = 4096
"""Characters of a size or guard."""

_MODEL = re.compile(r"(?:[^/]+/)?models/[^/]+\.json|(?:[^/]+/)?serialized_exported_program\.json")
_TARGET = re.compile(
    r"torch\.ops\.\w+\.\w+(?:\.\w+)?|torch\.ops\.higher_order\.\w+|_?operator\.\w+|math\.\w+|torch\.sym_\w+"
    r"|torch\._sym_\w+|torch\.utils\._sympy\.functions\.\w+"
)
"""What the nodes of a graph call."""
_FUNCTIONS = re.compile(r"[A-Z][A-Za-z]*\w*|max|min|abs|int|float|bool|len|isinstance|floor|ceiling|ceil|sqrt|sum")
"""Sympy's classes, to which nothing but numbers, sizes and names are given, and arithmetic of Python."""
_SYMBOL = re.compile(r"[a-z]{1,4}\d+|True|False|oo|zoo|int_oo|inf|L|math|torch|cast_symbool_to_symint_guardless")
"""Names of sizes in PyTorch's shape environment: ``s77``, ``u0``."""
_METHODS = re.compile(
    r"size|stride|storage_offset|dim|numel|shape|dtype|device|requires_grad|ndim|layout|is_\w+|sym_\w+"
)
_ARITHMETIC = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.Tuple, ast.List, ast.Subscript,
    ast.Load, ast.keyword, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
)  # fmt: skip
_SIZE = re.compile(r"Symbol\('(\w+)'[^()]*\)")
_SIGNATURE = re.compile(r"def forward\((self[^)]*)\)\s*->\s*([^:\n]+):")


def exported_facts(path: Path) -> Facts:
    """Of a program saved by ``torch.export.save``."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        models = [name for name in names if _MODEL.fullmatch(name)]
        programs = [parsed(member(archive, name, LARGEST_PROGRAM), name) for name in models]
        code = [line for program in programs for line in _code(program)]
        code += [line for name in names for line in _pickled_code(archive, name)]
        code += [f"the library {name}" for name in names if name.endswith((".so", ".dll", ".dylib"))]
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
        code=tuple(dict.fromkeys(code)),
    )


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


def _code(program: Any) -> Iterator[str]:
    """What of a program's JSON would run, beside the arithmetic of sizes and PyTorch's own operators."""
    waiting = [program]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            for key, item in value.items():
                if key in {"expr_str", "guards_code"}:
                    texts = item if isinstance(item, list) else [item]
                    yield from (f"the expression {text!r:.80}" for text in texts if not is_arithmetic(text))
                elif key == "target" and "inputs" in value and not (isinstance(item, str) and _TARGET.fullmatch(item)):
                    yield f"a call of {item!r:.80}"
                elif isinstance(item, dict | list):
                    waiting.append(item)
            # Sizes are also the keys of what bounds them.
            ranges = value.get("range_constraints")
            if isinstance(ranges, dict):
                yield from (f"the expression {text!r:.80}" for text in ranges if not is_arithmetic(text))


def is_arithmetic(text: object) -> bool:
    """Whether an expression only computes with sizes, as PyTorch writes it."""
    if not isinstance(text, str) or len(text) > LONGEST_EXPRESSION:
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return all(map(_is_plain, ast.walk(tree)))


def _is_plain(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = node.func
        named = isinstance(called, ast.Name) and _FUNCTIONS.fullmatch(called.id)
        method = isinstance(called, ast.Attribute) and _METHODS.fullmatch(called.attr)
        return bool(named or method)
    if isinstance(node, ast.Attribute):
        return bool(_METHODS.fullmatch(node.attr) or (re.fullmatch(r"[a-z]\w*", node.attr) and _of_torch(node.value)))
    if isinstance(node, ast.Name):
        return bool(_SYMBOL.fullmatch(node.id) or _FUNCTIONS.fullmatch(node.id))
    if isinstance(node, ast.Constant):
        # Strings are the keys of inputs in guards: sympy evaluates them no further only if they are no code either.
        return isinstance(node.value, int | float) or (isinstance(node.value, str) and node.value.isidentifier())
    return isinstance(node, _ARITHMETIC)


def _of_torch(value: ast.AST) -> bool:
    return isinstance(value, ast.Name) and value.id == "torch"


def _pickled_code(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    """What the pickles in an archive call, beside what makes tensors."""
    with archive.open(name) as stream:
        head = stream.read(4)
    if head == b"PK\x03\x04":
        with archive.open(name) as stream, zipfile.ZipFile(stream) as inner:
            for part in inner.namelist():
                if part.endswith(".pkl"):
                    with inner.open(part) as pickled:
                        yield from torch_calls(outline(BoundedStream(pickled)).names)
    elif head[:1] == b"\x80" and 2 <= head[1] <= 5 and not name.rpartition("/")[2].startswith(("weight_", "tensor_")):
        with archive.open(name) as pickled:
            yield from torch_calls(outline(BoundedStream(pickled)).names)


def torchscript_facts(path: Path) -> Facts:
    """Of a program saved by ``torch.jit.save``. Its code is run by PyTorch's interpreter, which reaches no Python."""
    with zipfile.ZipFile(path) as archive:
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
    return Facts(made_by=f"PyTorch (form {version})", inside=tuple(inside))

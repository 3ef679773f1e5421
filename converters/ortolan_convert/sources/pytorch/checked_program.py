"""What torch would run when it reads an ExportedProgram: found in its archive before torch reads it.

``torch.export.load`` evaluates the archive's strings: expressions of sizes go through sympy's ``sympify``, which is an
``eval``; names of nodes and guards become the source of a function; operators are looked up anywhere below ``torch``;
constants may be pickles and, beside a program, there may be a library to be loaded. So every string must be one of the
harmless forms here, and pickles are read with ``weights_only``.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, TrustRequiredError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_PLAIN = re.compile(r"[\w .,:>+/*|-]*", re.ASCII)
"""Strings that stay harmless as a part of Python source: names, types, einsum equations."""
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed|torchvision)\.\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|while_loop|scan|map_impl|associative_scan|wrap_with_set_grad_enabled"
    r"|wrap_with_autocast)"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_|lshift|rshift)"
    r"|math\.(ceil|floor|trunc|sqrt|pow|log2)"
    r"|torch\.sym_(int|float|max|min|not|ite|sqrt|sum|fresh_size)|torch\._sym_\w+",
    re.ASCII,
)
"""Operators that compute and do nothing else."""
_SYMBOLIC = frozenset(
    [
        "Symbol",
        "Integer",
        "Float",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Abs",
        "Mod",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
        "And",
        "Or",
        "Not",
        "floor",
        "ceiling",
        "sqrt",
        "FloorDiv",
        "ModularIndexing",
        "Where",
        "PythonMod",
        "CleanDiv",
        "CeilToInt",
        "FloorToInt",
        "CeilDiv",
        "LShift",
        "RShift",
        "PowByNatural",
        "FloatPow",
        "FloatTrueDiv",
        "IntTrueDiv",
        "TruncToFloat",
        "TruncToInt",
        "RoundToInt",
        "RoundDecimal",
        "ToFloat",
        "Identity",
        "IsNonOverlappingAndDenseIndicator",
    ]
)
"""What an expression of sizes may call."""
_EXPRESSION_NODES = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare),
    *(ast.operator, ast.unaryop, ast.cmpop, ast.BoolOp, ast.boolop),
)
_TREES = frozenset({None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
"""Containers of inputs and outputs; other types look up classes by name."""
_SIZE = re.compile(r"L(\['\w+'\]|\[\d+\])+\.(size|stride)\(\)\[\d+\]", re.ASCII)
"""A size of an input, as guards write it."""
_LONGEST_EXPRESSION = 2000


def check_program(path: Path, content: dict[str, bytes | None], *, trust: bool) -> None:
    """Check an ExportedProgram's archive.

    Raises:
        UnsupportedError: it is, or holds, compiled code.
        TrustRequiredError: reading it would run code that is not a graph of PyTorch's operators.
        ConversionError: what is in it is not JSON.
    """
    for name in content:
        if "aotinductor" in name or name.endswith((".so", ".cubin", ".o", ".cpp", ".pyd", ".dll")):
            raise UnsupportedError(
                f"{path}: compiled by AOTInductor for one processor ({name}); give the ExportedProgram it was made of, "
                "saved by torch.export.save"
            )
    if trust:
        return
    for name, data in content.items():
        if not name.endswith(".json") or name.startswith("extra/"):
            continue
        try:
            parsed = json.loads(data or b"")
            problem = _problem(parsed, "")
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"{path}: damaged: {name} is not JSON that can be read: {error}") from None
        if problem is not None:
            raise TrustRequiredError(
                f"{path}: reading it would run more than a graph of PyTorch's operators ({name}: {problem}); if you "
                "trust where it comes from, add --trust"
            )


def _problem(value: Any, key: str) -> str | None:
    """What in a part of the JSON is not harmless; None if nothing is."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name == "metadata" and isinstance(one, dict) and all(isinstance(text, str) for text in one.values()):
                continue  # where the operators come from; never evaluated
            problem = _name_problem(name, key) or _problem(one, name)
            if problem is not None:
                return problem
        return None
    if isinstance(value, list):
        return next((problem for one in value if (problem := _problem(one, key)) is not None), None)
    return _text_problem(value, key) if isinstance(value, str) else None


def _name_problem(name: str, key: str) -> str | None:
    return None if _PLAIN.fullmatch(name) else f"{key}: the name {name[:80]!r}"


def _text_problem(text: str, key: str) -> str | None:
    harmless = _HARMLESS.get(key, _is_plain)
    return None if harmless(text) else f"{key}: {text[:80]!r}"


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None


def _is_identifier(text: str) -> bool:
    return _IDENTIFIER.fullmatch(text) is not None


def _is_expression(text: str) -> bool:
    """Whether sympy would only build an expression of sizes of it."""
    if len(text) > _LONGEST_EXPRESSION or not text.isascii():
        return False
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in ast.walk(tree):
        if not isinstance(node, _EXPRESSION_NODES):
            return False
        if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and node.func.id in _SYMBOLIC):
            return False
        if isinstance(node, ast.Constant) and not (
            isinstance(node.value, int | float)
            or (isinstance(node.value, str) and _IDENTIFIER.fullmatch(node.value) is not None)
        ):
            return False
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
            power = node.right
            if not (isinstance(power, ast.Constant) and isinstance(power.value, int) and power.value <= 64):
                return False
    return True


def _is_tree(text: str) -> bool:
    """Whether a tree of inputs or outputs, JSON in JSON, is made of plain containers with plain names."""
    return not text or _is_plain_tree(json.loads(text))


def _is_plain_tree(value: Any) -> bool:
    if isinstance(value, dict):
        names = all(_PLAIN.fullmatch(key) is not None and "__" not in key for key in value)
        return names and value.get("type") in _TREES and all(map(_is_plain_tree, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain_tree, value))
    if isinstance(value, str) and value[:1] in ("[", "{", '"'):
        return _is_plain_tree(json.loads(value))
    return not isinstance(value, str) or _PLAIN.fullmatch(value) is not None


_HARMLESS: Mapping[str, Callable[[str], bool]] = {
    "expr_str": _is_expression,
    "guards_code": lambda text: _is_expression(_SIZE.sub("s0", text)),
    "target": lambda text: _TARGET.fullmatch(text) is not None,
    "in_spec": _is_tree,
    "out_spec": _is_tree,
    "name": _is_identifier,
    "as_name": _is_identifier,
    "path_name": lambda text: re.fullmatch(r"(weight|tensor)_\d+", text) is not None,
}
"""What a string has to be under a key of the JSON; plain under any other."""

"""Where in a network something lies that cannot be exported: operators by the layer they came from, and state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ortolan.errors import OrtolanError, UnsupportedError
from ortolan_convert.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OPERATORS = (re.compile(r"OpOverload\(op='([\w.]+)'"), re.compile(r"operator '?(\w+::\w+)'?"))
"""How torch's exporters name the operator that they do not know."""
_TRAINED = {"aten::dropout": 2, "aten::feature_dropout": 2, "aten::alpha_dropout": 2, "aten::batch_norm": 5}
"""Operators that act otherwise in training, and where their switch is among the arguments."""


def explained(error: Exception, exported: Any, path: Path) -> OrtolanError:
    """What a failure of torch's exporter means: the operator it does not know, and the layer that operator came from.

    Args:
        error: what the exporter raised.
        exported: the ExportedProgram or the module.
        path: the file, for messages.
    """
    if isinstance(error, OrtolanError):
        return error
    chain = list(_chain(error))
    for text in map(str, chain):
        for pattern in _OPERATORS:
            if (match := pattern.search(text)) is not None:
                layer = _layer(exported, re.split(r"[.:]+", match[1])[-1])
                return UnsupportedError(f"{path}: ONNX has no counterpart of the operator {match[1]}{layer}")
    return UnsupportedError(f"{path}: torch cannot export it to ONNX: {one_line(chain[-1])}")


def refuse_program(program: Any, path: Path) -> None:
    """Refuse an ExportedProgram with operators of training or of PyTorch's quantization.

    Raises:
        UnsupportedError: it has some; the message names the layer.
    """
    for node in program.graph.nodes:
        name = str(node.target)
        if name.startswith(("quantized", "quantized_decomposed")):
            raise UnsupportedError(f"{path}: quantized by PyTorch ({name}{_stack(node)}); give the float32 network")
        schema = name.split(".")[0:2]
        switch = _TRAINED.get("::".join(schema))
        if node.op == "call_function" and switch is not None and _argument(node, switch) is True:
            raise _in_training(path, name, _stack(node))


def refuse_script(module: Any, path: Path) -> None:
    """Refuse TorchScript that keeps state, is quantized, or was traced in training mode.

    Raises:
        UnsupportedError: it does; the message names attributes, operators and layers.
    """
    graph = module.inlined_graph
    changed = sorted({node.s("name") for node in graph.findAllNodes("prim::SetAttr")})
    if changed:
        parts = [name for name, part in module.named_children() if _stateless(part)]
        hint = f"; parts that keep none, for source: {{submodule: …}}: {', '.join(parts)}" if parts else ""
        raise UnsupportedError(
            f"{path}: its forward changes its own attributes ({', '.join(changed)}); a state has to be an input and an "
            f"output{hint}"
        )
    for kind in sorted({node.kind() for node in _nodes(graph) if node.kind().startswith("quantized::")}):
        raise UnsupportedError(f"{path}: quantized by PyTorch ({kind}); give the float32 network it was made of")
    for kind, switch in _TRAINED.items():
        for node in graph.findAllNodes(kind):
            if list(node.inputs())[switch].toIValue() is True:
                raise _in_training(path, kind, _layer(module, kind.partition("::")[2]))


def _in_training(path: Path, operator: str, layer: str) -> UnsupportedError:
    return UnsupportedError(
        f"{path}: it was exported or traced in training mode ({operator}{layer}), which cannot be undone; call .eval() "
        "on the module first"
    )


def _stateless(part: Any) -> bool:
    try:
        return not part.inlined_graph.findAllNodes("prim::SetAttr")
    except (RuntimeError, AttributeError):
        return False


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _argument(node: Any, index: int) -> Any:
    return node.args[index] if len(node.args) > index else node.kwargs.get("train", node.kwargs.get("training"))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes, the first cause last."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__


def _layer(exported: Any, operator: str) -> str:
    """`` (in the layer a.b)`` of the first node of an operator; empty if it is not found."""
    if hasattr(exported, "graph_module"):
        for node in exported.graph.nodes:
            if operator in str(node.target):
                return _stack(node)
        return ""
    found = [name for name, part in exported.named_modules() if _has(part, operator)]
    where = (
        max(found, key=lambda name: (bool(name), name.count(".")), default="").removeprefix("network").removeprefix(".")
    )
    return f" (in the layer {where})" if where else ""


def _has(part: Any, operator: str) -> bool:
    """Whether TorchScript of a module, or of a part of it, has an operator of that name."""
    try:
        return any(node.kind().endswith(f"::{operator}") for node in _nodes(part.inlined_graph))
    except (RuntimeError, AttributeError):
        return False


def _stack(node: Any) -> str:
    stack = [path for path, _ in (node.meta.get("nn_module_stack") or {}).values() if isinstance(path, str)]
    where = re.sub(r"^(L\['self'\]\.)?network\.?", "", stack[-1]) if stack else ""
    return f" (in the layer {where})" if where else ""

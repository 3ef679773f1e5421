"""An ExportedProgram (``.pt2``): its types and free dimensions are its own."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UnsupportedError, UsageError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.pytorch import shapes
from ortolan_convert.sources.pytorch.checked_archives import check_intact, members, weights_only
from ortolan_convert.sources.pytorch.checked_program import check_program
from ortolan_convert.sources.pytorch.flat import TorchNetwork, check_tensors, flat_module
from ortolan_convert.sources.pytorch.layers import refuse_program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ortolan_convert.request import Request
    from ortolan_convert.sources.pytorch.description import Description, Input


def read_program(path: Path, description: Description, request: Request) -> tuple[TorchNetwork, list[str]]:
    """The network of an ExportedProgram, and what has to be said about it.

    Raises:
        TrustRequiredError: reading it would run code.
        UnsupportedError: compiled, quantized, in training mode, not float32, or with a state.
        ConversionError: it is damaged, or of a version that torch cannot read.
        UsageError: the description asks for what it has not.
    """
    import torch

    check_intact(path)
    check_program(path, members(path), trust=request.trust)
    if description.submodule is not None:
        raise UsageError(f"{request.config}: source.submodule: an ExportedProgram has no parts to convert alone")
    try:
        if request.trust:
            program = torch.export.load(str(path))
        else:
            with weights_only():
                program = torch.export.load(str(path))
    except Exception as error:
        raise ConversionError(
            f"{path}: torch {torch.__version__} cannot read it (damaged, or of another version): {one_line(error)}"
        ) from error
    refuse_program(program, path)
    inputs, names = shapes.program_inputs(program, path)
    module = _module_of(program)
    notes = check_tensors(module, path)
    if notes or any(one.dtype in {"float16", "float64", "bfloat16"} for one in inputs):
        raise UnsupportedError(
            f"{path}: its types are fixed and not float32; export the module again after .float(), with float32 inputs"
        )
    flat = flat_module(module, _program_caller(program))
    network = TorchNetwork(
        path=path,
        module=flat,
        program=program,
        inputs=_renamed(inputs, description.inputs, path),
        outputs=description.outputs,
        ranges=shapes.program_ranges(program, _other_names(names, inputs, description.inputs)),
    )
    return network, []


def _module_of(program: Any) -> Any:
    """Its module, without the checks of inputs that torch would make from the archive's strings."""
    options = {"check_guards": False} if "check_guards" in inspect.signature(program.module).parameters else {}
    return program.module(**options)


def _program_caller(program: Any) -> Callable[..., Any]:
    """Puts tensors and the program's constants where it takes them."""
    from torch.utils._pytree import tree_unflatten

    arguments = shapes.user_arguments(program)
    spec = program.call_spec.in_spec

    def call(module: Any, *fed: Any) -> Any:
        tensors = iter(fed)
        leaves = [argument.value if hasattr(argument, "value") else next(tensors) for argument in arguments]
        positional, named = tree_unflatten(leaves, spec)
        return module(*positional, **named)

    return call


def _renamed(found: tuple[Input, ...], declared: tuple[Input, ...], path: Path) -> tuple[Input, ...]:
    """The program's inputs under the names that were declared for them and their dimensions."""
    if not declared:
        return found
    fits = len(found) == len(declared) and all(
        len(one.shape) == len(other.shape)
        and one.dtype == other.dtype
        and all(
            isinstance(a, str) == isinstance(b, str) and (isinstance(a, str) or a == b)
            for a, b in zip(one.shape, other.shape, strict=True)
        )
        for one, other in zip(found, declared, strict=True)
    )
    if not fits:
        shown = ", ".join(f"{one.name} {list(one.shape)} {one.dtype}" for one in found)
        raise UnsupportedError(f"{path}: source.inputs are not those it was exported with: {shown}")
    return declared


def _other_names(names: Mapping[str, str], found: tuple[Input, ...], declared: tuple[Input, ...]) -> dict[str, str]:
    """Symbols with the declared names of their dimensions."""
    declared_as = {
        a: b
        for one, other in zip(found, declared, strict=False)
        for a, b in zip(one.shape, other.shape, strict=False)
        if isinstance(a, str) and isinstance(b, str)
    }
    return {symbol: declared_as.get(name, name) for symbol, name in names.items()}

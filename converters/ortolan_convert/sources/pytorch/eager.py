"""Modules of Python: made by a factory and filled with weights, out of a pickle, or handed over in memory."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UsageError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.pytorch import shapes
from ortolan_convert.sources.pytorch.checkpoint import modules_in, pick, put_into, read_weights
from ortolan_convert.sources.pytorch.flat import (
    TorchNetwork,
    caller,
    check_tensors,
    flat_module,
    parameters_of,
    submodule,
)
from ortolan_convert.sources.pytorch.layers import refuse_script

if TYPE_CHECKING:
    from collections.abc import Callable

    from ortolan_convert.request import Request
    from ortolan_convert.sources.pytorch.description import Description, Input


def read_with_weights(path: Path, description: Description, request: Request) -> tuple[TorchNetwork, list[str]]:
    """The network of a file of weights, and what has to be said: what ``--module`` makes, or a whole module in it.

    Raises:
        TrustRequiredError: it holds more than tensors and plain values.
        UnsupportedError: tensors without a place in a graph.
        ConversionError: it is damaged, or its weights are not those of the module.
        UsageError: nothing says what the module, its weights or its inputs are.
    """
    content = read_weights(path, request.kind, trust=request.trust)
    notes: list[str] = []
    if request.module is not None:
        module = _made(request.module, description)
        found = modules_in(content)
        if found and description.weights is None:
            content = {name or "module": one.state_dict() for name, one in found.items()}
        picked = pick(content, module, description.weights, path)
        put_into(module, picked, path)
        if picked.entry:
            notes.append(f"the weights are the entry {picked.entry!r} of the checkpoint")
        if picked.prefix:
            notes.append(f"names of weights lost the prefix {picked.prefix!r}")
        lowered = sorted(
            {str(one.dtype).removeprefix("torch.") for one in picked.weights.values() if one.is_floating_point()}
            - {"float32"}
        )
        if lowered:
            notes.append(f"weights of {', '.join(lowered)} became float32")
    else:
        module = _whole(content, description, path)
    network, more = eager_network(module, description, path, inputs=description.inputs, samples=request.samples)
    return network, [*notes, *(note for note in more if note not in notes)]


def _whole(content: Any, description: Description, path: Path) -> Any:
    found = modules_in(content)
    wanted = description.weights
    if wanted is not None and wanted in found:
        return found[wanted]
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise UsageError(
            f"{path}: holds several modules; say which in the YAML file, e.g. source: {{weights: {next(iter(found))}}}"
        )
    raise UsageError(
        f"{path}: holds weights without the network they are for; give --module PACKAGE.MODULE:FACTORY, what makes it, "
        "with its arguments in the YAML file under source: arguments"
    )


def _made(name: str, description: Description) -> Any:
    """The module that the user's factory makes."""
    import torch

    where, colon, attribute = name.partition(":")
    if not colon or not where or not attribute:
        raise UsageError(f"--module {name}: expected PACKAGE.MODULE:FACTORY")
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as `python -m` has it: the user's own module lies where the user is
    try:
        factory: Any = import_module(where)
        for part in attribute.split("."):
            factory = getattr(factory, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--module {name}: cannot be imported: {error}") from error
    except Exception as error:
        raise ConversionError(f"--module {name}: importing it fails: {one_line(error)}") from error
    finally:
        sys.path.remove(here)
    if isinstance(factory, torch.nn.Module):
        return factory
    try:
        module = factory(**description.arguments)
    except Exception as error:
        raise ConversionError(
            f"--module {name}: calling it with source.arguments {dict(description.arguments)} fails: {one_line(error)}"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"--module {name}: expected it to make a torch.nn.Module, found {type(module).__name__}")
    return module


def eager_network(
    module: Any,
    description: Description,
    path: Path,
    *,
    inputs: tuple[Input, ...],
    samples: Path | None = None,
    call: Callable[..., Any] | None = None,
    declared: bool = True,
) -> tuple[TorchNetwork, list[str]]:
    """A module in inference mode and float32 as a network, and what has to be said about it.

    Args:
        module: what is changed so.
        description: names the part to convert, and the outputs.
        path: what messages call it.
        inputs: what was declared; empty to find it.
        samples: a file of samples to find it in.
        call: takes the module and the tensors, calls it; None for by name or position.
        declared: whether the inputs' free dimensions were; others may prove fixed.

    Raises:
        UnsupportedError: quantized, sparse, complex or stateful.
        ConversionError: weights that are not finite.
        UsageError: nothing says which shapes its inputs have.
    """
    import torch

    module = submodule(module, description.submodule, path)
    # A module just made is always in training mode; that says nothing.
    module.eval()
    notes = check_tensors(module, path)
    module.float().cpu()
    scripted = isinstance(module, torch.jit.ScriptModule)
    if scripted:
        refuse_script(module, path)
    parameters = parameters_of(module)
    declared = declared and bool(inputs)
    inputs = shapes.with_values(inputs, samples) or shapes.inputs_of_samples(samples, parameters)
    if not inputs:
        raise shapes.missing_shapes(path, parameters)
    network = TorchNetwork(
        path=path,
        module=flat_module(module, call or caller([one.name for one in inputs], parameters)),
        scripted=scripted,
        inputs=tuple(map(shapes.as_float32, inputs)),
        declared=declared,
        outputs=description.outputs,
    )
    return network, notes

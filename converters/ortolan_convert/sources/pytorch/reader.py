"""Reads what PyTorch leaves behind into a network that is ready to be compared and asked."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, UsageError
from ortolan_convert.messages import one_line
from ortolan_convert.networks.source import NetworkSource
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.pytorch import shapes
from ortolan_convert.sources.pytorch.description import Description, described
from ortolan_convert.sources.pytorch.eager import eager_network, read_with_weights
from ortolan_convert.sources.pytorch.export import exported
from ortolan_convert.sources.pytorch.program import read_program
from ortolan_convert.sources.pytorch.quiet import quiet
from ortolan_convert.sources.pytorch.script import read_script

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ortolan_convert.networks.source import Tensors
    from ortolan_convert.request import Request
    from ortolan_convert.sources.kinds import Kind
    from ortolan_convert.sources.pytorch.description import Input
    from ortolan_convert.sources.pytorch.flat import TorchNetwork
    from ortolan_convert.task_config import TaskConfig

    Read = Callable[[Path, Description, Request], tuple[TorchNetwork, list[str]]]

PACKAGES = ("torch", "onnxscript", "safetensors")
_READERS: Mapping[Kind, Read] = {
    "torch-exported": read_program,
    "torchscript": read_script,
    "torch-weights": read_with_weights,
    "safetensors": read_with_weights,
}


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:
    """Read a file of PyTorch; see `ortolan_convert.networks.source.NetworkSource`.

    Raises:
        TrustRequiredError: reading it would run code.
        UnsupportedError: what has no place in an ONNX graph, by name and layer.
        ConversionError: it is damaged, or weights do not fit their module.
        ParityError: what torch exports does not give torch's answers.
        UsageError: it does not say what is needed, and neither do the options.
    """
    path = request.only_path()
    description = described(settings.source, request.config)
    _check_options(request, description)
    with quiet():
        network, notes = _READERS[request.kind](path, description, request)
        return _source(network, notes, settings, room, files=(path,))


def read_module(
    module: Any,
    inputs: Sequence[Input],
    call: Callable[..., Any],
    request: Request,
    settings: TaskConfig,
    room: Path,
    *,
    declared: bool,
) -> NetworkSource:
    """Read a torch module in memory, which is left as it is.

    Args:
        module: the module.
        inputs: what it takes, its free dimensions named.
        call: takes the module and a tensor for each input, calls it.
        request: what was asked for; it has no artifacts.
        settings: the task.
        room: a directory to write into.
        declared: whether somebody declared the free dimensions; others may prove fixed.

    Raises:
        UnsupportedError, ConversionError, ParityError: as of a file.
        UsageError: the description says what is for files.
    """
    description = described(settings.source, request.config)
    if description != Description(submodule=description.submodule, outputs=description.outputs):
        raise UsageError(
            f"{request.config}: source: for a module in memory expected no more than submodule and outputs"
        )
    name = type(module).__name__
    try:
        copied = copy.deepcopy(module)
    except Exception as error:
        raise ConversionError(f"{name}: the module cannot be copied: {one_line(error)}") from error
    with quiet():
        network, notes = eager_network(
            copied, description, Path(name), inputs=tuple(inputs), call=call, declared=declared
        )
        return _source(network, notes, settings, room, files=())


def _source(
    network: TorchNetwork, notes: list[str], settings: TaskConfig, room: Path, *, files: tuple[Path, ...]
) -> NetworkSource:
    import torch

    model, network, more = exported(network, settings.dims, room)
    held = [network]
    return NetworkSource(
        framework="torch",
        version=str(torch.__version__),
        files=files,
        packages=PACKAGES,
        model=model,
        ask=lambda feeds: _answers(held[0], feeds),
        close=held.clear,
        notes=(*notes, *more),
    )


def _answers(network: TorchNetwork, feeds: Tensors) -> Tensors:
    """Torch's answers to one sample.

    Raises:
        ConversionError: torch fails on it.
    """
    import torch

    # What the graph does not take, because nothing depends on it, torch still wants.
    made_up = shapes.examples(network.inputs, shapes.sizes(network.inputs, {}, 2))
    tensors = [
        torch.from_numpy(np.ascontiguousarray(feeds[one.name])) if one.name in feeds else other
        for one, other in zip(network.inputs, made_up, strict=True)
    ]
    with quiet():
        try:
            return {name: tensor.numpy() for name, tensor in network.answers(tensors).items()}
        except OrtolanError:
            raise
        except Exception as error:
            raise ConversionError(f"{network.path}: torch fails on a sample: {one_line(error)}") from error


def _check_options(request: Request, description: Description) -> None:
    """Refuse options that say nothing about this kind of file.

    Raises:
        UsageError: there is one.
    """
    of_weights = request.kind in {"torch-weights", "safetensors"}
    title = KINDS[request.kind].title
    if description.weights is not None and not of_weights:
        raise UsageError(f"{request.config}: source.weights is for checkpoints, this is {title}")
    if description.arguments and request.module is None:
        raise UsageError(f"{request.config}: source.arguments are for the factory that --module names")

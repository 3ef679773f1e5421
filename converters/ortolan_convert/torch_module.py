"""PyTorch modules in memory to bundles: what ``ortolan convert`` does, for a training script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.errors import UsageError
from ortolan_convert.request import DEFAULT_MAX_DROP, Request
from ortolan_convert.scratch import scratch
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.packages import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan_convert.networks.source import NetworkSource
    from ortolan_convert.report import ConversionReport
    from ortolan_convert.request import Progress
    from ortolan_convert.sources.pytorch.description import Input
    from ortolan_convert.task_config import TaskConfig


def from_torch(
    module: Any,
    example_inputs: Sequence[Any] | Mapping[str, Any],
    output: str | Path,
    *,
    dynamic_shapes: Mapping[str, Mapping[int, str]] | None = None,
    samples: str | Path | None = None,
    task: str | None = None,
    config: str | Path | None = None,
    quantize: Sequence[str] | None = None,
    max_drop: float = DEFAULT_MAX_DROP,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a PyTorch module to a bundle, as for inference; the module itself stays as it is.

    Args:
        module: a `torch.nn.Module` that takes and returns tensors, alone or in tuples, lists, mappings and dataclasses.
        example_inputs: a tensor for each argument of its ``forward``, by position or by name; their types, shapes and
            values are what it is exported with.
        output: the bundle directory to write.
        dynamic_shapes: the free dimensions: argument -> axis -> name, e.g. ``{"images": {0: "batch"}}``. Arguments by
            position are called as ``forward`` calls them. None for the first axis of every input, where it proves free.
        samples: inputs to compare the bundle with the module on; made up if there are none.
        task: expected task.
        config: YAML file with the task's configuration; its ``source`` may name the ``outputs`` and a ``submodule``.
        quantize: smaller variants to try; None for all there are.
        max_drop: largest share of samples whose decision a variant may change, 0 to 1.
        overwrite: replace a bundle that is already there.
        progress: told in a few words what happens next.

    Returns:
        What was made, what was left out, and why.

    Raises:
        UnsupportedError: an operator without a counterpart in ONNX, a state, a dimension that is not free, quantized,
            sparse or complex tensors; the message names the layer.
        ParityError: the converted model disagrees with the module.
        ConversionError: the module fails, or has weights that are not finite.
        InputError: the samples are not what the model takes.
        StorageError: something could not be read or written.
        MissingPackageError: a package is needed; the message names the extra.
        UsageError: arguments that make no sense.
    """
    from ortolan.bundle.atomic import check_target
    from ortolan_convert.convert import wanted_precisions

    row = KINDS["torch-weights"]
    for needed, package in row.modules.items():
        require(needed, package, row.extra)
    from ortolan_convert.networks.bundle import convert_read

    precisions = wanted_precisions(quantize, max_drop)
    inputs, call = _inputs(module, example_inputs, dynamic_shapes)
    check_target(Path(output), overwrite=overwrite)
    request = Request(
        artifacts=(),
        target=Path(output),
        samples=None if samples is None else Path(samples),
        task=task,
        config=None if config is None else Path(config),
        quantize=precisions,
        max_drop=max_drop,
        overwrite=overwrite,
        progress=progress or (lambda _: None),
    )

    def read(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:
        from ortolan_convert.sources.pytorch.reader import read_module

        declared = dynamic_shapes is not None
        return read_module(module, inputs, call, request, settings, room, declared=declared)

    with scratch(request.target):
        return convert_read(request, read)


def _inputs(
    module: Any, example_inputs: Any, dynamic_shapes: Mapping[str, Mapping[int, str]] | None
) -> tuple[tuple[Input, ...], Callable[..., Any]]:
    """The module's inputs with their free dimensions, and how it is called with them.

    Raises:
        UsageError: no module, no tensors, or free dimensions of what there is not.
    """
    import torch

    from ortolan_convert.sources.pytorch.flat import caller, parameters_of

    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"module: expected a torch.nn.Module, found {type(module).__name__}")
    if isinstance(example_inputs, torch.Tensor):
        example_inputs = (example_inputs,)
    by_name = isinstance(example_inputs, Mapping)
    tensors = list(example_inputs.values() if by_name else example_inputs)
    wrong = next((type(one).__name__ for one in tensors if not isinstance(one, torch.Tensor)), None)
    if wrong is not None or not tensors:
        raise UsageError(f"example_inputs: expected tensors, found {wrong or 'none'}")
    names = list(example_inputs) if by_name else list(parameters_of(module))[: len(tensors)]
    names += [f"input_{index}" for index in range(len(names), len(tensors))]
    free = {name: {0: "batch"} for name in names} if dynamic_shapes is None else dynamic_shapes
    for name, axes in free.items():
        if name not in names:
            raise UsageError(f"dynamic_shapes.{name}: no such input; expected {', '.join(names)}")
        rank = tensors[names.index(name)].ndim
        wrong_axis = next((axis for axis in axes if not 0 <= axis < rank), None)
        if wrong_axis is not None and dynamic_shapes is not None:
            raise UsageError(f"dynamic_shapes.{name}: no axis {wrong_axis}; the example has {rank}")
    inputs = tuple(_input(name, tensor, free.get(name, {})) for name, tensor in zip(names, tensors, strict=True))
    # By position they may stand for star arguments, which have no names.
    return inputs, caller(names, names if by_name else ())


def _input(name: str, tensor: Any, axes: Mapping[int, str]) -> Input:
    import torch

    from ortolan_convert.sources.pytorch.description import Input

    tensor = tensor.detach().cpu()
    values = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    shape = tuple(axes.get(axis, size) for axis, size in enumerate(tensor.shape))
    return Input(name, shape, str(values.dtype), values)

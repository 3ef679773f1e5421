"""TorchScript, scripted or traced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.pytorch import shapes
from ortolan_convert.sources.pytorch.checked_archives import check_intact, check_script, members
from ortolan_convert.sources.pytorch.flat import (
    TorchNetwork,
    caller,
    check_tensors,
    flat_module,
    in_eval_mode,
    parameters_of,
    submodule,
)
from ortolan_convert.sources.pytorch.layers import refuse_script

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.request import Request
    from ortolan_convert.sources.pytorch.description import Description


def read_script(path: Path, description: Description, request: Request) -> tuple[TorchNetwork, list[str]]:
    """The network of a TorchScript file, and what has to be said about it.

    Raises:
        TrustRequiredError: it uses operators that reach files or other machines.
        UnsupportedError: quantized, traced in training mode, or with a state of its own.
        ConversionError: it is damaged, or of a version that torch cannot read.
        UsageError: nothing says which shapes its inputs have.
    """
    import torch

    check_intact(path)
    content = members(path)
    check_script(path, content, trust=request.trust)
    try:
        whole = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise ConversionError(
            f"{path}: torch {torch.__version__} cannot read it (damaged, or of another version): {one_line(error)}"
        ) from error
    module = submodule(whole, description.submodule, path)
    if not hasattr(module, "forward"):
        raise UnsupportedError(f"{path}: it has no method forward")
    notes = in_eval_mode(module)
    refuse_script(module, path)
    notes += check_tensors(module, path)
    module.float()
    parameters = parameters_of(module)
    inputs = shapes.with_values(description.inputs, request.samples)
    if not inputs and description.submodule is None:
        inputs = shapes.inputs_of_samples(request.samples, parameters) or shapes.traced_inputs(
            content.get("traced_inputs.pkl"), parameters
        )
    if not inputs:
        raise shapes.missing_shapes(path, parameters)
    network = TorchNetwork(
        path=path,
        module=flat_module(module, caller([one.name for one in inputs], parameters)),
        scripted=True,
        inputs=tuple(map(shapes.as_float32, inputs)),
        declared=bool(description.inputs),
        outputs=description.outputs,
    )
    return network, notes

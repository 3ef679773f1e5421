"""A torch network to an ONNX file, by whichever of torch's exporters gives a graph that is right at every size."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx

from ortolan.engine.session import open_session
from ortolan.errors import ModelFileError, ParityError, SessionError, UnsupportedError
from ortolan.types import SessionConfig
from ortolan_convert.messages import one_line
from ortolan_convert.networks.reference.probes import unlike
from ortolan_convert.networks.source import TOLERANCE
from ortolan_convert.networks.weight_file import tidy, write_model
from ortolan_convert.sources.pytorch import shapes
from ortolan_convert.sources.pytorch.layers import explained
from ortolan_convert.sources.pytorch.trials import output_shape, running_sizes, trials_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from ortolan_convert.sources.pytorch.flat import TorchNetwork
    from ortolan_convert.sources.pytorch.trials import Trial

    Route = Callable[[TorchNetwork, list[Any], Path], onnx.ModelProto]

OPSET = 20
"""Its Gelu and LayerNormalization keep graphs small, onnxruntime 1.20 runs it, and both exporters know it."""


def exported(network: TorchNetwork, usual: Mapping[str, int], room: Path) -> tuple[Path, TorchNetwork, list[str]]:
    """Write the network as an ONNX file whose answers are torch's, also at other sizes of its free dimensions.

    Args:
        network: what to export.
        usual: sizes of free dimensions that somebody gave.
        room: an empty directory to write into.

    Returns:
        The file, the network as it was exported (found dimensions may have proven fixed), and what has to be said.

    Raises:
        UnsupportedError: an operator without a counterpart, control flow that depends on data, state, a dimension that
            is declared free and is not.
        ParityError: the graph's answers differ from torch's.
        ConversionError: the network fails on inputs of the declared shapes.
    """
    dims = running_sizes(network, usual)
    try:
        return _exported(network, dims, room), network, []
    except (UnsupportedError, ParityError) as error:
        if network.declared or not shapes.free_dims(network.inputs):
            raise
        failure = error
    fixed = tuple(
        replace(one, shape=tuple(dims[dim] if isinstance(dim, str) else dim for dim in one.shape))
        for one in network.inputs
    )
    network = replace(network, inputs=fixed, declared=True)
    (room / "fixed").mkdir()
    taken = ", ".join(f"{one.name} {list(one.shape)}" for one in fixed)
    return (
        _exported(network, {}, room / "fixed"),
        network,
        [f"no dimension proved free ({failure}): it takes {taken} only"],
    )


def _exported(network: TorchNetwork, dims: Mapping[str, int], room: Path) -> Path:
    trials = list(trials_of(network, dims))
    tensors = shapes.examples(network.inputs, dims)
    failure: UnsupportedError | ParityError | None = None
    for number, route in enumerate(_routes(network)):
        directory = room / str(number)
        directory.mkdir()
        try:
            model = route(network, tensors, directory)
            _name_dims(model, network, trials)
            write_model(tidy(model), directory)
            del model
            _compare(network, directory / "model.onnx", trials)
        except (UnsupportedError, ParityError) as error:
            failure = failure or error
            continue
        return directory / "model.onnx"
    raise failure or UnsupportedError(f"{network.path}: torch exported nothing")


def _routes(network: TorchNetwork) -> Sequence[Route]:
    """Ways to export it, the one with the better graphs first."""
    if network.scripted:
        # The first keeps control flow; the second knows the ranks of what was traced.
        return (_through_torchscript, _through_converted)
    if network.program is not None:
        return (_through_program,)
    # Loops over a dimension are unrolled by the first and kept by the second, as those of an LSTM.
    return (_through_program, _through_torchscript)


def _through_program(network: TorchNetwork, tensors: list[Any], _room: Path) -> onnx.ModelProto:
    import torch

    program = network.program
    if program is None:
        auto = torch.export.Dim.AUTO
        free = tuple({a: auto for a, dim in enumerate(one.shape) if isinstance(dim, str)} for one in network.inputs)
        try:
            program = torch.export.export(network.module, tuple(tensors), dynamic_shapes={"fed": free}, strict=False)
        except Exception as error:
            raise UnsupportedError(f"{network.path}: torch cannot export it: {one_line(error)}") from error
    return _converted(network, program)


def _through_converted(network: TorchNetwork, tensors: list[Any], _room: Path) -> onnx.ModelProto:
    """TorchScript without control flow, as an ExportedProgram."""
    import torch
    from torch._export.converter import TS2EPConverter  # torch's errors name it as the way to do this

    try:
        traced = torch.jit.trace(network.module, tuple(tensors), check_trace=False)
        program = TS2EPConverter(traced, tuple(tensors), {}).convert()
    except Exception as error:
        raise UnsupportedError(f"{network.path}: torch cannot export it: {one_line(error)}") from error
    return _converted(network, program)


def _converted(network: TorchNetwork, program: Any) -> onnx.ModelProto:
    """An ExportedProgram's ONNX graph."""
    import torch

    try:
        done = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=[one.name for one in network.inputs],
            output_names=list(network.output_names()),
            optimize=True,
            verbose=False,
        )
    except Exception as error:
        raise explained(error, program, network.path) from error
    if done is None:
        raise UnsupportedError(f"{network.path}: torch exported nothing")
    model: onnx.ModelProto = done.model_proto
    return model


def _through_torchscript(network: TorchNetwork, tensors: list[Any], room: Path) -> onnx.ModelProto:
    import torch

    axes = {one.name: {a: dim for a, dim in enumerate(one.shape) if isinstance(dim, str)} for one in network.inputs}
    raw = room / "exported.onnx"
    try:
        # Traced first: only so does control flow inside TorchScript stay.
        traced = torch.jit.trace(network.module, tuple(tensors), check_trace=False)
        torch.onnx.export(
            traced,
            tuple(tensors),
            str(raw),
            dynamo=False,
            opset_version=OPSET,
            input_names=[one.name for one in network.inputs],
            output_names=list(network.output_names()),
            dynamic_axes={name: found for name, found in axes.items() if found},
        )
    except Exception as error:
        raise explained(error, network.module, network.path) from error
    return onnx.load(raw)


def _name_dims(model: onnx.ModelProto, network: TorchNetwork, trials: Sequence[Trial]) -> None:
    """Give free dimensions their own names, and outputs the shapes that torch's answers have.

    Raises:
        UnsupportedError: a free dimension became a fixed one.
    """
    declared = {one.name: one.shape for one in network.inputs}
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, declared.get(value.name, ()), strict=False):
            if isinstance(size, str) and dim.HasField("dim_value"):
                raise UnsupportedError(
                    f"{network.path}: the dimension {size!r} of {value.name} is not free: exporting fixed it at "
                    f"{dim.dim_value}; declare that size, or change the network"
                )
            if isinstance(size, str):
                dim.dim_param = size
    for value in model.graph.output:
        shape = output_shape(value.name, trials)
        value.type.tensor_type.ClearField("shape")
        if shape is None:
            continue
        value.type.tensor_type.shape.SetInParent()
        for size in shape:
            dim = value.type.tensor_type.shape.dim.add()
            if isinstance(size, int):
                dim.dim_value = size
            else:
                dim.dim_param = size
    used = {node.domain for node in model.graph.node}
    kept = [opset for opset in model.opset_import if opset.domain in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _compare(network: TorchNetwork, model: Path, trials: Sequence[Trial]) -> None:
    """Compare the graph's answers with torch's, which were asked before.

    Raises:
        UnsupportedError: onnxruntime does not load or run it.
        ParityError: they differ.
    """
    try:
        session = open_session(model, SessionConfig(threads=1), min_onnxruntime="1.20.0")
    except (SessionError, ModelFileError) as error:
        raise UnsupportedError(f"{network.path}: onnxruntime does not load what torch exported: {error}") from error
    with closing(session):
        taken = {spec.name for spec in session.inputs}
        for trial in trials:
            try:
                found = session.run({name: array for name, array in trial.feeds.items() if name in taken})
            except SessionError as error:
                raise UnsupportedError(f"{network.path}: the exported graph fails{trial.where}: {error}") from error
            for name, expected in trial.answers.items():
                gap = unlike(found, {name: expected})
                if not gap <= TOLERANCE:
                    raise ParityError(
                        f"{network.path}: the exported graph's {name} differs from torch's by {gap:.2g} of the "
                        f"largest{trial.where}; sizes or values may have become constants when it was traced"
                    )

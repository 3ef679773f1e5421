"""Shapes that a model declares, corrected by what it was seen to take and to give."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import onnx

from ortolan_convert.networks.free_dims import axis_names

_READ = 1024
"""Constants of fewer numbers may be shapes and axes, which shape inference needs to know."""

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.types import Array, TensorSpec
    from ortolan_convert.networks.reference.probes import Probes

    Tensors = Mapping[str, Array]
    Shape = tuple[int | str, ...]


def with_shapes_seen(
    model: onnx.ModelProto, inputs: Sequence[TensorSpec], probes: Probes
) -> tuple[onnx.ModelProto | None, list[str]]:
    """The model with right shapes of inputs and outputs, and one sentence for each that was wrong.

    A free dimension of an input that only one size works for is declared with it. An output's axis that was seen with
    another size than declared becomes the input's dimension it always equals, else its size if that is always the same,
    else free. Shapes within the graph are left out where one of them contradicts what follows from the operators.

    Args:
        model: left as it is.
        inputs: as declared.
        probes: what it was asked and answered.

    Returns:
        The model, None if everything was right; and the sentences.
    """
    notes: list[str] = []
    ends = onnx.GraphProto(input=model.graph.input, output=model.graph.output)
    for spec in inputs:
        value = next(one for one in ends.input if one.name == spec.name)
        notes += _corrected_input(value, spec, probes)
    for value in ends.output:
        notes += _corrected_output(value, inputs, probes)
    contradicting = _contradicts_itself(model)
    if contradicting:
        notes.append("shapes declared within the graph contradict its operators; they are left out")
    if not notes:
        return None, []
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.input[:], result.graph.output[:]
    result.graph.input.extend(ends.input)
    result.graph.output.extend(ends.output)
    if contradicting:
        del result.graph.value_info[:]
    return result, notes


def _corrected_input(value: onnx.ValueInfoProto, spec: TensorSpec, probes: Probes) -> list[str]:
    axes = axis_names(spec)
    if axes is None:
        rank = probes.asked[0][0][spec.name].ndim
        _declare(value, tuple(f"{spec.name}.{axis}" for axis in range(rank)))
        return [f"input {spec.name}: its rank was not declared; the samples have {rank} axes"]
    fixed = tuple(probes.stiff.get(axis, axis) if isinstance(axis, str) else axis for axis in axes)
    if fixed == axes:
        return []
    _declare(value, fixed)
    return [
        f"input {spec.name}: its dimension {axis} was declared free, but the model takes {size} only"
        for axis, size in zip(axes, fixed, strict=True)
        if axis != size
    ]


def _corrected_output(value: onnx.ValueInfoProto, inputs: Sequence[TensorSpec], probes: Probes) -> list[str]:
    if not value.type.HasField("tensor_type"):
        return []
    shapes = [outputs[value.name].shape for _, outputs in probes.asked]
    if len({len(shape) for shape in shapes}) > 1:
        return []
    declared = _declared(value)
    sizes = [_sizes_fed(inputs, feeds) for feeds, _ in probes.asked]
    rank = len(shapes[0])
    told: Sequence[int | str | None] = (None,) * rank
    if declared is not None and len(declared) == rank:
        # What is named after a dimension that one size works for is of that size.
        told = [probes.stiff.get(axis, axis) if isinstance(axis, str) else axis for axis in declared]
    seen: Shape = tuple(
        _axis(f"{value.name}.{axis}", told[axis], [shape[axis] for shape in shapes], sizes) for axis in range(rank)
    )
    if declared is not None and seen == declared:
        return []
    _declare(value, seen)
    found = "[" + ", ".join(map(str, seen)) + "]"
    if declared is None:
        return [f"output {value.name}: its rank was not declared; found {found}"]
    was = "[" + ", ".join(str(axis or "?") for axis in declared) + "]"
    return [f"output {value.name}: declared as {was}, but what comes out is {found}"]


def _axis(own: str, declared: int | str | None, seen: Sequence[int], fed: Sequence[Mapping[str, int]]) -> int | str:
    """The right declaration of an output's axis: the one there is, if it fits."""
    constant = len(set(seen)) == 1
    known = {name for sizes in fed for name in sizes}
    fits = (
        (constant and seen[0] == declared)
        if isinstance(declared, int) and declared > 0
        else declared is not None
        and (
            declared not in known
            or all(size == sizes.get(str(declared)) for size, sizes in zip(seen, fed, strict=True))
        )
    )
    if fits and declared is not None:
        return declared
    equal = [name for name in sorted(known) if all(s == sizes.get(name) for s, sizes in zip(seen, fed, strict=True))]
    varied = [name for name in equal if len({sizes[name] for sizes in fed}) > 1]
    if varied:
        return varied[0]
    return seen[0] if constant and len(seen) > 1 else own


def _sizes_fed(inputs: Sequence[TensorSpec], feeds: Tensors) -> dict[str, int]:
    return {
        axis: size
        for spec in inputs
        for axis, size in zip(axis_names(spec) or (), feeds[spec.name].shape, strict=False)
        if isinstance(axis, str)
    }


def _declared(value: onnx.ValueInfoProto) -> Shape | None:
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param for dim in kind.shape.dim
    )


def _declare(value: onnx.ValueInfoProto, axes: Sequence[int | str]) -> None:
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for axis in axes:
        if isinstance(axis, int):
            shape.dim.add().dim_value = axis
        else:
            shape.dim.add().dim_param = axis


def _contradicts_itself(model: onnx.ModelProto) -> bool:
    """Whether shape inference disagrees with shapes declared within the graph."""
    if not model.graph.value_info:
        return False
    slim = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    slim.graph.MergeFrom(onnx.GraphProto(name="g", node=model.graph.node, input=model.graph.input))
    slim.graph.value_info.extend(model.graph.value_info)
    declared = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if prod(tensor.dims) < _READ:
            slim.graph.initializer.append(tensor)
        elif tensor.name not in declared:
            # Of weights the shape alone is needed.
            slim.graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    try:
        onnx.shape_inference.infer_shapes(slim, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        return "existing shape" in str(error) or "differ" in str(error)
    except (ValueError, RuntimeError, MemoryError):
        return False
    return False

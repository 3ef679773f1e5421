"""Multiply-accumulates and peak memory of activations of an ONNX model, as functions of its free dimensions.

Both are upper bounds. Sizes that are rounded (``H // 2``) are bounded by a polynomial from above. The peak over time is
a maximum of polynomials, one for each node, which is no polynomial itself: what is stored is their envelope, of each
power the largest coefficient of any node. That is no smaller than any of them wherever the dimensions are not
negative.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan_convert.analysis.sizes import polynomial

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.types import Polynomial

TIME_LIMIT_S = 60.0
"""Of the analysis of one model; what it has not reached by then is unknown."""
LARGEST_SHAPE = 64
"""Elements of a tensor beside the model that may be a shape, axes or scales."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What a run takes; None where it is unknown.

    Args:
        macs: multiply-accumulates.
        activation_bytes: of all tensors that are alive at once, inputs and outputs included, at the worst moment.
    """

    macs: Polynomial | None
    activation_bytes: Polynomial | None


UNKNOWN = Costs(None, None)


def costs_of(path: Path, model: OnnxModel) -> Costs:
    """Of an ONNX file; unknown without the onnx package.

    Args:
        path: the file. Its external data has been checked.
        model: what the file says of itself.
    """
    try:
        import onnx

        from ortolan_convert.analysis.liveness import peak
        from ortolan_convert.analysis.macs import graph_macs
        from ortolan_convert.analysis.shapes import graph_shapes
    except ImportError:
        return UNKNOWN
    loaded = onnx.load(path, load_external_data=False)
    _load_shapes(loaded, path.parent)
    deadline = time.monotonic() + TIME_LIMIT_S

    def out_of_time() -> bool:
        return time.monotonic() > deadline

    scope = graph_shapes(loaded, model.inputs, out_of_time)
    macs, most = graph_macs(loaded.graph, scope), peak(loaded.graph, scope, out_of_time)
    return Costs(None if macs is None else polynomial(macs.bound()), None if most is None else polynomial(most))


def _load_shapes(model: onnx.ModelProto, directory: Path) -> None:
    """Take in what the shapes of other tensors may depend on."""
    from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

    for tensor in model.graph.initializer:
        if uses_external_data(tensor) and len(tensor.dims) <= 1 and sum(tensor.dims) <= LARGEST_SHAPE:
            load_external_data_for_tensor(tensor, str(directory))
            tensor.data_location = tensor.DEFAULT

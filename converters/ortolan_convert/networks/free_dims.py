"""Names and sizes of a model's free dimensions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan.types import Array, TensorSpec

NAME = re.compile(r"[^\W\d]\w*(?:[.\-:/]\w+)*")
"""Names of dimensions that mean something: exporters write ``?`` for several dimensions that have nothing in common."""
USUAL_SHARE = 0.9
"""The usual size is that of this share of the samples, or smaller."""


def axis_names(spec: TensorSpec) -> tuple[int | str, ...] | None:
    """Sizes and names of an input's axes; None if its rank is unknown.

    An axis without a usable name is called after the input and its position, e.g. ``x.1``.
    """
    if spec.shape is None:
        return None
    return tuple(
        dim
        if (isinstance(dim, int) and dim > 0)
        or (isinstance(dim, str) and NAME.fullmatch(dim) and spec.shape.count(dim) == 1)
        else f"{spec.name}.{axis}"
        for axis, dim in enumerate(spec.shape)
    )


def free_dims(inputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Names of the free dimensions, sorted."""
    return tuple(sorted({dim for spec in inputs for dim in axis_names(spec) or () if isinstance(dim, str)}))


def bounded_dims(inputs: Sequence[TensorSpec], shapes: Mapping[str, Sequence[int | None]]) -> dict[str, int]:
    """The free dimensions that have a bound, and the largest one.

    Args:
        inputs: of the model.
        shapes: bounds of the first axes of inputs by name; None for a size without a bound.
    """
    bounds: dict[str, int] = {}
    for spec in inputs:
        for dim, size in zip(axis_names(spec) or (), shapes.get(spec.name, ()), strict=False):
            if isinstance(dim, str) and size is not None:
                bounds[dim] = max(size, bounds.get(dim, 1))
    return bounds


def sizes_seen(
    inputs: Sequence[TensorSpec], samples: Sequence[Mapping[str, Array]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Usual and largest size of each free dimension in the samples."""
    seen: dict[str, list[int]] = {}
    for name, size in _sizes(inputs, samples):
        seen.setdefault(name, []).append(max(1, size))
    usual = {name: sorted(sizes)[int(USUAL_SHARE * (len(sizes) - 1))] for name, sizes in seen.items()}
    return usual, {name: max(sizes) for name, sizes in seen.items()}


def _sizes(inputs: Sequence[TensorSpec], samples: Sequence[Mapping[str, Array]]) -> Iterator[tuple[str, int]]:
    for spec in inputs:
        for sample in samples:
            for dim, size in zip(axis_names(spec) or (), sample[spec.name].shape, strict=False):
                if isinstance(dim, str):
                    yield dim, size

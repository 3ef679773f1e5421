"""The golden files of a network's bundle: inputs and the source's answers, as many as there is room for."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan.types import Array

    Tensors = Mapping[str, Array]

GOLDEN = 16
"""Samples that go into the bundle."""
GOLDEN_BYTES = 64 << 20
"""Fewer do if they would take more than this, uncompressed."""
GOLDEN_FILE_BYTES = 16 << 20
"""Or more than this, compressed."""


def golden_files(inputs: Sequence[Tensors], outputs: Sequence[Tensors]) -> tuple[int, dict[str, bytes]]:
    """How many samples go into the bundle, and its golden files by name."""
    count = _shipped(inputs, outputs)
    return count, {"inputs.npz": _packed(inputs[:count]), "outputs.npz": _packed(outputs[:count])}


def _shipped(inputs: Sequence[Tensors], outputs: Sequence[Tensors]) -> int:
    each = sum(array.nbytes for array in (*inputs[0].values(), *outputs[0].values()))
    most = max(1, min(GOLDEN, len(inputs), GOLDEN_BYTES // max(each, 1)))
    if most * each <= GOLDEN_FILE_BYTES:
        return most
    left = GOLDEN_FILE_BYTES
    for index in range(most):
        left -= len(_packed(inputs[index : index + 1])) + len(_packed(outputs[index : index + 1]))
        if left < 0:
            return max(index, 1)
    return most


def _packed(samples: Sequence[Tensors]) -> bytes:
    # Strings as numpy's fixed-width ones: anything else would have to be pickled.
    arrays = {
        f"{index:04d}/{name}": array.astype(np.str_) if array.dtype.hasobject else array
        for index, sample in enumerate(samples)
        for name, array in sample.items()
    }
    stream = BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()

"""Arrays kept as .npy files among a bundle's assets, read without copying and checked before use."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    ReadAsset = Callable[[str], bytes]
    """Content of an asset by its path below ``assets/``, e.g. ``"ngrams/alphabet.npy"``."""


def read_array(read_asset: ReadAsset, path: str, dtypes: str, ndim: int = 1) -> NDArray[Any]:
    """The array in the .npy asset ``path``, read-only, over the asset's own bytes.

    Args:
        read_asset: gives the content of an asset.
        path: path of the asset below ``assets/``.
        dtypes: names of the accepted dtypes separated by spaces, all little-endian, e.g. ``"uint8 uint16"``.
        ndim: the number of axes it must have.

    Raises:
        BundleError: no such file, no .npy file, a truncated one, pickled objects, another dtype or rank.
    """
    try:
        raw = read_asset(path)
    except LookupError:
        raise BundleError(f"assets/{path}: expected this file, found none") from None
    stream = BytesIO(raw)
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"its version is {version}")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, EOFError) as error:
        raise BundleError(
            f"assets/{path}: expected a .npy file of version 1.0, found another content ({error})"
        ) from None
    if dtype.name not in dtypes.split() or dtype.str.startswith(">"):
        raise BundleError(f"assets/{path}: expected little-endian {dtypes.replace(' ', ' or ')}, found {dtype.str}")
    if len(shape) != ndim or (fortran and ndim > 1):
        raise BundleError(f"assets/{path}: expected {ndim} axes in C order, found shape {shape}")
    start = stream.tell()
    count = 1
    for length in shape:
        count *= length
    size = len(raw) - start
    if size != count * dtype.itemsize:
        raise BundleError(f"assets/{path}: expected {count * dtype.itemsize} bytes for shape {shape}, found {size}")
    if count == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(raw, dtype, count, start).reshape(shape)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The .npy file of an array: what :func:`read_array` reads. Equal arrays give equal bytes."""
    stream = BytesIO()
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    np.lib.format.write_array(stream, little, version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def smallest_unsigned(largest: int) -> np.dtype[Any]:
    """The smallest unsigned dtype that holds 0 to ``largest``."""
    return np.min_scalar_type(max(int(largest), 0))

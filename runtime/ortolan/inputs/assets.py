"""Arrays kept as .npy files among a bundle's assets, read without copying and checked before use."""

from __future__ import annotations

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    ReadAsset = Callable[[str], bytes]
    """Content of an asset by its path below ``assets/``, e.g. ``"ngrams/alphabet.npy"``."""


_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[^']{1,8})', 'fortran_order': (?P<fortran>True|False),"
    rb" 'shape': \((?P<shape>[0-9]{1,18},|[0-9]{1,18}, [0-9]{1,18}|)\), \} *\n"
)
"""What numpy.lib.format writes, up to two axes. numpy's own reader runs Python's parser on the header: slow, and it
fails on damaged ones in many ways."""
_DTYPES = {np.dtype(name).str: np.dtype(name) for name in ("u1", "<u2", "<u4", "<i4", "<f8")}


def no_assets(path: str) -> bytes:
    """Reads the assets of what has none."""
    raise LookupError(path)


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
    if raw[:8] != _MAGIC:
        raise BundleError(f"assets/{path}: expected a .npy file of version 1.0, found bytes {raw[:8]!r}")
    start = 10 + int.from_bytes(raw[8:10], "little")
    header = _HEADER.fullmatch(raw[10:start])
    if header is None:
        raise BundleError(f"assets/{path}: expected the header of a plain array, found {raw[10:start][:80]!r}")
    descr = header["descr"].decode("latin-1")
    dtype = _DTYPES.get(descr)
    if dtype is None or dtype.name not in dtypes.split():
        raise BundleError(f"assets/{path}: expected little-endian {dtypes.replace(' ', ' or ')}, found {descr}")
    shape = tuple(int(length) for length in header["shape"].split(b",") if length)
    fortran = header["fortran"] == b"True"
    if len(shape) != ndim or (fortran and ndim > 1):
        raise BundleError(f"assets/{path}: expected {ndim} axes in C order, found shape {shape}")
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

"""CityHash64 of short strings, version 1: the hash by which CatBoost knows a category.

The algorithm is Geoff Pike's and Jyrki Alakuijala's (Google, MIT licence), as it was before version 1.1 changed its
results: https://github.com/google/cityhash/blob/1.0.3/src/city.cc. CatBoost has a copy of it in util/digest/city.cpp.
"""

from __future__ import annotations

from functools import lru_cache

KNOWN = 65_536
"""Most strings whose hashes are kept."""
LONG = 256
"""Letters from which a string is hashed anew each time: what is kept must be small."""

_MASK = 0xFFFFFFFFFFFFFFFF
K0, K1, K2, K3 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F, 0xC949D7C7509E6557
"""Primes that everything is multiplied with."""
MIXING = 0x9DDFEA08EB382D69
"""Multiplies when two numbers become one."""


def category_hash(text: str) -> int:
    """CatBoost's hash of a category: the lower half of its CityHash64 in UTF-8, read as an int32.

    Raises:
        UnicodeEncodeError: a lone surrogate, which has no UTF-8 form.
    """
    return _remembered(text) if len(text) < LONG else _hash(text)


def _hash(text: str) -> int:
    low = city_hash_64(text.encode()) & 0xFFFFFFFF
    return low - ((low & 0x80000000) << 1)


_remembered = lru_cache(KNOWN)(_hash)


def city_hash_64(data: bytes) -> int:
    """The hash of bytes, from 0 to 2**64 - 1."""
    length = len(data)
    if length <= 16:
        return _up_to_16(data, length)
    if length <= 32:
        return _up_to_32(data, length)
    if length <= 64:
        return _up_to_64(data, length)
    return _longer(data, length)


def _word(data: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _turned(value: int, by: int) -> int:
    """A number below 2**64 with its bits rotated to the right."""
    return (value >> by | value << (64 - by)) & _MASK


def _folded(value: int) -> int:
    return value ^ value >> 47


def _joined(u: int, v: int) -> int:
    """Two numbers below 2**64 to one."""
    a = _folded((u ^ v) * MIXING & _MASK)
    b = _folded((v ^ a) * MIXING & _MASK)
    return b * MIXING & _MASK


def _up_to_16(data: bytes, length: int) -> int:
    if length > 8:
        a, b = _word(data, 0), _word(data, length - 8)
        return _joined(a, _turned((b + length) & _MASK, length)) ^ b
    if length >= 4:
        return _joined(length + (_word(data, 0, 4) << 3), _word(data, length - 4, 4))
    if length:
        y = data[0] + (data[length >> 1] << 8)
        z = length + (data[-1] << 2)
        return _folded((y * K2 ^ z * K3) & _MASK) * K2 & _MASK
    return K2


def _up_to_32(data: bytes, length: int) -> int:
    a = _word(data, 0) * K1 & _MASK
    b = _word(data, 8)
    c = _word(data, length - 8) * K2 & _MASK
    d = _word(data, length - 16) * K0 & _MASK
    first = _turned((a - b) & _MASK, 43) + _turned(c, 30) + d
    return _joined(first & _MASK, (a + _turned(b ^ K3, 20) - c + length) & _MASK)


def _up_to_64(data: bytes, length: int) -> int:
    last = _word(data, length - 16)
    first, second = _half(_word(data, 0) + (length + last) * K0, data, 8, 16, _word(data, 24))
    a = _word(data, 16) + _word(data, length - 32)
    third, fourth = _half(a, data, length - 24, length - 16, _word(data, length - 8))
    r = _folded(((first + fourth) * K2 + (third + second) * K0) & _MASK)
    return _folded((r * K0 + second) & _MASK) * K2 & _MASK


def _half(a: int, data: bytes, second: int, third: int, z: int) -> tuple[int, int]:
    a &= _MASK
    b, c = _turned((a + z) & _MASK, 52), _turned(a, 37)
    a = (a + _word(data, second)) & _MASK
    c += _turned(a, 7)
    a = (a + _word(data, third)) & _MASK
    return (a + z) & _MASK, (b + _turned(a, 31) + c) & _MASK


def _longer(data: bytes, length: int) -> int:
    x = _word(data, 0)
    y = _word(data, length - 16) ^ K1
    z = _word(data, length - 56) ^ K0
    v = _four(data, length - 64, length, y)
    w = _four(data, length - 32, length * K1, K0)
    z = (z + _folded(v[1]) * K1) & _MASK
    x = _turned((z + x) & _MASK, 39) * K1 & _MASK
    y = _turned(y, 33) * K1 & _MASK
    for at in range(0, (length - 1) & ~63, 64):
        x = _turned((x + y + v[0] + _word(data, at + 16)) & _MASK, 37) * K1 & _MASK
        y = _turned((y + v[1] + _word(data, at + 48)) & _MASK, 42) * K1 & _MASK
        x ^= w[1]
        y ^= v[0]
        z = _turned(z ^ w[0], 33)
        v = _four(data, at, v[1] * K1, x + w[0])
        w = _four(data, at + 32, z + w[1], y)
        z, x = x, z
    first = _joined(v[0], w[0]) + _folded(y) * K1 + z
    return _joined(first & _MASK, (_joined(v[1], w[1]) + x) & _MASK)


def _four(data: bytes, at: int, a: int, b: int) -> tuple[int, int]:
    """Four words and two seeds to two numbers."""
    first, second, third, fourth = (_word(data, at + offset) for offset in (0, 8, 16, 24))
    a = (a + first) & _MASK
    b = _turned((b + a + fourth) & _MASK, 21)
    c = a
    a = (a + second + third) & _MASK
    b += _turned(a, 44)
    return (a + fourth) & _MASK, (b + c) & _MASK

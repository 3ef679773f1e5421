"""Sound to float32 samples: WAV files, arrays of int16 or float32, channels to one, and one rate to another."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from ortolan.errors import InputError, InputTypeError, StorageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Source = str | os.PathLike[str] | bytes | bytearray | memoryview
    """A WAV file's path or content."""
    Samples = NDArray[Any]
    """Samples of one channel: int16, or float32 from -1 to 1."""

Channels = Literal["refuse", "mean", "first"]
"""What is done with a recording of several channels."""

MAX_BYTES = 1 << 30
"""Largest file that is read whole; nine hours of 16 bits at 16 kHz."""
MAX_CHANNELS = 64
MAX_RATE = 1 << 20

_INT16, _FLOAT32 = np.dtype(np.int16), np.dtype(np.float32)
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
"""What follows the format's number in the GUID of an extensible format."""
_OTHERS = {2: "Microsoft ADPCM", 6: "A-law", 7: "µ-law", 17: "IMA ADPCM", 85: "MP3"}
_UNKNOWN_SIZE = 0x7FFFF000
"""From here on a size stands for "until the end": programs that write to a pipe cannot go back to the header (sox
writes this, arecord 0x7fffff00, ffmpeg 0xffffffff), and no file that is read here is that long."""
_LONG = 0xFFFFFFFF
"""Size of the samples in a header of 64-bit sizes, which has it elsewhere (EBU Tech 3306, chunk ds64)."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Sound of a known rate.

    Args:
        samples: float32[n, channels], from -1 to 1.
        rate: samples per second and channel.
    """

    samples: NDArray[np.float32]
    rate: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True, slots=True)
class _Format:
    code: int
    channels: int
    rate: int
    bits: int

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * self.bits // 8


def read_wav(source: Source) -> Recording:
    """Read a WAV file: 8, 16, 24 or 32-bit integers or 32 or 64-bit floats, up to 64 channels; RIFF, RIFX, RF64.

    Sound written to a pipe, whose header has no size, ends with its last whole sample.

    Args:
        source: path of the file, or its content.

    Raises:
        InputTypeError: neither a path nor bytes.
        InputError: not a WAV file, a truncated one, or an encoding that is not supported.
        StorageError: the file cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return _parsed(memoryview(source).cast("B"), "the WAV data")
    if not isinstance(source, str | os.PathLike):
        raise InputTypeError(f"expected the path of a WAV file or its bytes, found {type(source).__name__}")
    path = os.fspath(source)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - any path-like
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: expected at most {MAX_BYTES} bytes; feed longer sound to a stream in pieces")
    return _parsed(memoryview(content), path)


def _parsed(data: memoryview, where: str) -> Recording:
    magic = bytes(data[:4])
    if magic not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or bytes(data[8:12]) != b"WAVE":
        found = bytes(data[:12])
        raise InputError(f"{where}: expected a WAV file (RIFF … WAVE), found {found or 'nothing'!r}")
    order = ">" if magic == b"RIFX" else "<"
    form: _Format | None = None
    long_size = _LONG
    at = 12
    while at + 8 <= len(data):
        name, size = bytes(data[at : at + 4]), int(struct.unpack_from(f"{order}I", data, at + 4)[0])
        at += 8
        if name == b"data":
            if form is None:
                raise InputError(f"{where}: expected a format chunk before the samples, found none")
            return Recording(_samples(_body(data[at:], size, long_size, form, where), form, order, where), form.rate)
        if name == b"ds64" and len(data) >= at + 16:
            (long_size,) = struct.unpack_from("<Q", data, at + 8)
        if name == b"fmt ":
            form = _format(data[at : at + size], order, where)
        at += size + size % 2
    raise InputError(f"{where}: truncated: expected a chunk of samples, found the file's end at byte {len(data)}")


def _body(rest: memoryview, size: int, long_size: int, form: _Format, where: str) -> memoryview:
    """The bytes of the samples, of those that follow."""
    size = long_size if size == _LONG else size
    if size >= _UNKNOWN_SIZE:
        return rest[: len(rest) - len(rest) % form.frame]
    if len(rest) < size:
        raise InputError(
            f"{where}: truncated: expected {size} bytes of samples, found {len(rest)}; copy or record it again"
        )
    return rest[:size]


def _format(body: memoryview, order: str, where: str) -> _Format:
    if len(body) < 16:
        raise InputError(f"{where}: truncated: expected 16 bytes of format, found {len(body)}")
    code, channels, rate, _, align, bits = struct.unpack_from(f"{order}HHIIHH", body)
    if code == _EXTENSIBLE:
        if len(body) < 40 or bytes(body[26:40]) != _GUID_TAIL:
            raise InputError(f"{where}: expected an extensible format with a known encoding, found another")
        (code,) = struct.unpack_from(f"{order}H", body, 24)
    widths = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(code)
    if widths is None:
        name = _OTHERS.get(code, f"encoding {code}")
        raise InputError(f"{where}: {name} is not supported; convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav")
    if bits not in widths:
        listed = ", ".join(map(str, widths))
        raise InputError(f"{where}: expected samples of {listed} bits, found {bits}; convert it to 16")
    if not 1 <= channels <= MAX_CHANNELS or not 1 <= rate <= MAX_RATE:
        raise InputError(
            f"{where}: expected 1 to {MAX_CHANNELS} channels and 1 to {MAX_RATE} Hz, found {channels} and {rate}"
        )
    form = _Format(code, channels, rate, bits)
    if align != form.frame:
        raise InputError(f"{where}: expected {form.frame} bytes for {channels} x {bits} bits, found {align}")
    return form


def _samples(body: memoryview, form: _Format, order: str, where: str) -> NDArray[np.float32]:
    spare = len(body) % form.frame
    if spare:
        raise InputError(
            f"{where}: truncated in the middle of a sample: {len(body)} bytes are no multiple of {form.frame}"
        )
    if form.code == _FLOAT:
        samples = np.frombuffer(body, f"{order}f{form.bits // 8}").astype(np.float32)
        _require_finite(samples, where)
    elif form.bits == 24:
        raw = np.frombuffer(body, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(raw), 4), np.uint8)
        wide[:, 1:] = raw if order == "<" else raw[:, ::-1]
        samples = wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    elif form.bits == 8:
        samples = (np.frombuffer(body, np.uint8).astype(np.float32) - np.float32(128)) / np.float32(128)
    else:
        bits = form.bits
        samples = np.frombuffer(body, f"{order}i{bits // 8}").astype(np.float32) / np.float32(2 ** (bits - 1))
    return samples.reshape(-1, form.channels)


def checked_samples(samples: object, where: str = "samples") -> Samples:
    """The samples of one channel, checked but not copied: 1-D, int16 or float32 of any byte order, finite.

    Raises:
        InputTypeError: no numpy array, or another dtype.
        InputError: another number of axes, NaN or infinity.
    """
    if type(samples) is np.ndarray and samples.ndim == 1:
        # Nearly every array is one of these two: identity of dtypes is enough for them. This is asked for every chunk.
        if samples.dtype is _INT16:
            return samples
        if samples.dtype is _FLOAT32 and math.isfinite(samples.dot(samples)):
            return samples
    if not isinstance(samples, np.ndarray) or isinstance(samples, np.ma.MaskedArray):
        hint = "; np.frombuffer(data, '<i2') reads raw 16-bit samples" if isinstance(samples, bytes) else ""
        raise InputTypeError(
            f"{where}: expected a numpy array of int16 or float32, found {type(samples).__name__}{hint}"
        )
    if samples.dtype.kind + str(samples.dtype.itemsize) not in ("i2", "f4"):
        hint = "; convert it with .astype(np.float32), scaled to -1 to 1"
        raise InputTypeError(f"{where}: expected int16, or float32 from -1 to 1, found {samples.dtype}{hint}")
    if samples.ndim != 1:
        hint = "; take one channel: samples[:, 0]" if samples.ndim == 2 else ""
        raise InputError(f"{where}: expected one axis, found shape {list(samples.shape)}{hint}")
    if samples.dtype.kind == "f":
        _require_finite(samples, where)
    return samples


def one_channel(recording: Recording, channels: Channels, where: str = "the recording") -> NDArray[np.float32]:
    """The samples as float32[n].

    Args:
        recording: what was read.
        channels: ``"mean"`` averages several channels, ``"first"`` takes the first, ``"refuse"`` takes one only.
        where: what to call it in messages.

    Raises:
        InputError: several channels and ``"refuse"``.
    """
    count = recording.samples.shape[1]
    if count == 1 or channels == "first":
        return np.ascontiguousarray(recording.samples[:, 0])
    if channels == "refuse":
        raise InputError(
            f"{where}: expected one channel, found {count}; the bundle does not say how to mix them "
            "(channels: refuse): mix them first, e.g. ffmpeg -i IN.wav -ac 1 OUT.wav"
        )
    return cast("NDArray[np.float32]", recording.samples.mean(axis=1, dtype=np.float32))


def _require_finite(samples: NDArray[Any], where: str) -> None:
    finite = np.isfinite(samples)
    if not finite.all():
        at = int(finite.argmin())
        raise InputError(f"{where}: expected finite samples, found {samples[at]} at position {at}")

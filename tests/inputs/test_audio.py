"""Sound: WAV files of every width, damaged ones, samples as arrays, and other rates."""

from __future__ import annotations

import math
import struct
import wave
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.errors import InputError, InputTypeError, OrtolanError, StorageError
from ortolan.inputs.audio import Recording, checked_samples, one_channel, read_wav
from ortolan.inputs.resample import resampled

if TYPE_CHECKING:
    from pathlib import Path

GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")


def wav(
    body: bytes,
    *,
    code: int = 1,
    channels: int = 1,
    rate: int = 16000,
    bits: int = 16,
    order: str = "<",
    extra: bytes = b"",
    size: int | None = None,
    align: int | None = None,
    extensible: bool = False,
) -> bytes:
    """A WAV file around the samples' bytes."""
    frame = channels * bits // 8 if align is None else align
    form = struct.pack(f"{order}HHIIHH", 0xFFFE if extensible else code, channels, rate, rate * frame, frame, bits)
    if extensible:
        form += struct.pack(f"{order}HHIH", 22, bits, 0, code) + GUID_TAIL
    chunks = b"fmt " + struct.pack(f"{order}I", len(form)) + form + extra
    chunks += b"data" + struct.pack(f"{order}I", len(body) if size is None else size) + body
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(f"{order}I", 4 + len(chunks)) + b"WAVE" + chunks


def pcm(values: list[float], bits: int, order: str = "<") -> bytes:
    """Integers of a width for numbers from -1 to 1."""
    full = 2 ** (bits - 1)
    whole = [max(-full, min(full - 1, round(v * full))) for v in values]
    if bits == 8:
        return bytes(v + 128 for v in whole)
    return b"".join(v.to_bytes(bits // 8, "little" if order == "<" else "big", signed=True) for v in whole)


VALUES = [0.0, 0.5, -0.5, 0.25, -1.0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_integers_of_every_width(bits: int, order: str, extensible: bool) -> None:
    """Full scale is 1, whatever the width, byte order and form of the header."""
    found = read_wav(wav(pcm(VALUES, bits, order), bits=bits, order=order, extensible=extensible))
    assert (found.samples.dtype, found.samples.shape, found.rate) == (np.float32, (5, 1), 16000)
    np.testing.assert_array_equal(found.samples[:, 0], np.float32(VALUES))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [32, 64])
def test_floats(bits: int, order: str) -> None:
    """They are taken as they are, beyond full scale too."""
    body = np.array([*VALUES, 1.5], f"{order}f{bits // 8}").tobytes()
    found = read_wav(wav(body, code=3, bits=bits, order=order))
    np.testing.assert_array_equal(found.samples[:, 0], np.float32([*VALUES, 1.5]))


def test_the_standard_library_writes_the_same(tmp_path: Path) -> None:
    """A file of Python's wave module, by path, by str and by bytes; odd rates are kept."""
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(11025)
        file.writeframes(np.array([[1, 2], [3, 4], [-5, 6]], "<i2").tobytes())
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        found = read_wav(source)
        assert found.rate == 11025
        assert found.duration == 3 / 11025
        assert (found.samples * 32768).tolist() == [[1, 2], [3, 4], [-5, 6]]


def test_other_chunks_are_passed_over() -> None:
    """Lists of comments stand before the samples, padded to even length."""
    found = read_wav(wav(pcm(VALUES, 16), extra=b"LIST" + struct.pack("<I", 3) + b"abc\0"))
    assert len(found.samples) == 5


@pytest.mark.parametrize("size", [0x7FFFF000, 0x7FFFFF00, 0xFFFFFFFF])
def test_a_file_from_a_pipe_has_no_size(size: int) -> None:
    """What sox, arecord and ffmpeg write stands for "until the end"; half a sample there is left out."""
    assert len(read_wav(wav(pcm(VALUES, 16), size=size)).samples) == 5
    assert len(read_wav(wav(pcm(VALUES, 16)[:-1], size=size)).samples) == 4


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_sizes_of_64_bits(magic: bytes) -> None:
    """The size stands in a chunk of its own; what follows the samples is none of them."""
    body = pcm(VALUES, 24)
    plain = wav(body, bits=24, size=0xFFFFFFFF)
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, len(body), 5, 0)
    content = magic + b"\xff" * 4 + b"WAVE" + sizes + plain[12:] + b"\0" + b"LIST" + struct.pack("<I", 4) + b"more"
    np.testing.assert_array_equal(read_wav(content).samples[:, 0], np.float32(VALUES))
    with pytest.raises(InputError, match="truncated: expected 15 bytes of samples, found 14"):
        read_wav(content[: content.index(body) + 14])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000, 88200, 96000, 176400, 192000])
def test_every_usual_rate_becomes_the_models(rate: int) -> None:
    """A tone of 440 Hz stays one, at the level it had."""
    time = np.arange(rate) / rate
    tone = (0.5 * np.sin(2 * np.pi * 440 * time)).tolist()
    found = read_wav(wav(pcm(tone, 24), bits=24, rate=rate))
    at_model = resampled(found.samples[:, 0], rate, 16000)
    assert len(at_model) == 16000
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(at_model[500:-500], expected[500:-500], atol=5e-3)


def test_silence_of_no_length_is_a_recording() -> None:
    """Zero samples are no fault."""
    assert read_wav(wav(b"")).samples.shape == (0, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a WAV file (RIFF … WAVE), found 'nothing'"),
        (b"OggS\0\0\0\0\0\0\0\0", r"expected a WAV file (RIFF … WAVE), found b'OggS\x00\x00\x00\x00\x00\x00\x00\x00'"),
        (b"RIFF\0\0\0\0AVI ", r"expected a WAV file (RIFF … WAVE), found b'RIFF\x00\x00\x00\x00AVI '"),
        (wav(b"")[:36], "truncated: expected a chunk of samples, found the file's end at byte 36"),
        (wav(b"")[:20], "truncated: expected 16 bytes of format, found 0"),
        (
            wav(pcm(VALUES, 16))[:-3],
            "truncated: expected 10 bytes of samples, found 7; copy or record it again",
        ),
        (wav(b"abc"), "truncated in the middle of a sample: 3 bytes are no multiple of 2"),
        (wav(b"", bits=12), "expected samples of 8, 16, 24, 32 bits, found 12; convert it to 16"),
        (wav(b"", bits=0), "expected samples of 8, 16, 24, 32 bits, found 0; convert it to 16"),
        (wav(b"", code=3, bits=16), "expected samples of 32, 64 bits, found 16; convert it to 16"),
        (
            wav(b"", code=7, bits=8),
            "µ-law is not supported; convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav",
        ),
        (wav(b"", code=999), "encoding 999 is not supported; convert it: ffmpeg -i IN.wav -c:a pcm_s16le OUT.wav"),
        (wav(b"", channels=0), "expected 1 to 64 channels and 1 to 1048576 Hz, found 0 and 16000"),
        (wav(b"", rate=0), "expected 1 to 64 channels and 1 to 1048576 Hz, found 1 and 0"),
        (wav(b"", align=3), "expected 2 bytes for 1 x 16 bits, found 3"),
        (
            wav(np.array([0, math.nan], "<f4").tobytes(), code=3, bits=32),
            "expected finite samples, found nan at position 1",
        ),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "expected a format chunk before the samples, found none"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\1\0data\0\0\0\0", "truncated: expected 16 bytes of format, found 2"),
    ],
)
def test_faulty_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    """What was expected, what was found; the same for bytes and files."""
    with pytest.raises(InputError) as raised:
        read_wav(content)
    assert str(raised.value) == f"the WAV data: {message}"
    path = tmp_path / "faulty.wav"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_wav(path)
    assert str(raised.value) == f"{path}: {message}"


def test_paths_that_are_none(tmp_path: Path) -> None:
    """Missing files, directories, NUL in the name, other types."""
    for path in (tmp_path / "none.wav", tmp_path, "a\0b"):
        with pytest.raises(StorageError, match="cannot read"):
            read_wav(path)
    with pytest.raises(InputTypeError, match="expected the path of a WAV file or its bytes, found int"):
        read_wav(5)  # type: ignore[arg-type] # the fault in question


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_headers_never_do_anything_else(data: st.DataObject) -> None:
    """Any bytes give a recording or a typed error."""
    good = wav(pcm(VALUES, 24), bits=24, extensible=True)
    raw = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        found = read_wav(bytes(raw[:cut]))
    except OrtolanError:
        return
    assert np.isfinite(found.samples).all()


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(3, np.int16),
        np.zeros(3, ">i2"),
        np.zeros(3, np.float32),
        np.zeros(3, ">f4"),
        np.zeros(6, np.float32)[::2],
        np.zeros(0, np.int16),
        np.broadcast_to(np.float32(0), 3),
        np.array([3e38, 3e38], np.float32),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_samples_are_taken_as_they_lie(samples: Any) -> None:
    """Any byte order, stride, read-only or of zero size; loud ones too."""
    assert checked_samples(samples) is samples


@pytest.mark.parametrize(
    ("samples", "kind", "message"),
    [
        ([0.0], InputTypeError, "samples: expected a numpy array of int16 or float32, found list"),
        (
            b"\0\0",
            InputTypeError,
            "samples: expected a numpy array of int16 or float32, found bytes; "
            "np.frombuffer(data, '<i2') reads raw 16-bit samples",
        ),
        (
            np.zeros(3),
            InputTypeError,
            "samples: expected int16, or float32 from -1 to 1, found float64; "
            "convert it with .astype(np.float32), scaled to -1 to 1",
        ),
        (
            np.zeros(3, np.int32),
            InputTypeError,
            "samples: expected int16, or float32 from -1 to 1, found int32; "
            "convert it with .astype(np.float32), scaled to -1 to 1",
        ),
        (
            np.zeros((3, 2), np.int16),
            InputError,
            "samples: expected one axis, found shape [3, 2]; take one channel: samples[:, 0]",
        ),
        (np.zeros((), np.int16), InputError, "samples: expected one axis, found shape []"),
        (
            np.array([0, np.nan, np.inf], np.float32),
            InputError,
            "samples: expected finite samples, found nan at position 1",
        ),
        (
            np.array([0, -np.inf], ">f4"),
            InputError,
            "samples: expected finite samples, found -inf at position 1",
        ),
        (
            np.ma.masked_array(np.zeros(2, np.float32)),
            InputTypeError,
            "samples: expected a numpy array of int16 or float32, found MaskedArray",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_other_samples_are_refused(samples: Any, kind: type[Exception], message: str) -> None:
    """With what to do instead."""
    with pytest.raises(kind) as raised:
        checked_samples(samples)
    assert str(raised.value) == message


def test_channels_are_mixed_as_declared() -> None:
    """The mean, the first, or refused; one channel needs no mixing."""
    two = Recording(np.array([[1, 3], [2, 6]], np.float32), 8000)
    assert one_channel(two, "mean").tolist() == [2, 4]
    assert one_channel(two, "first").tolist() == [1, 2]
    with pytest.raises(InputError, match=r"^x.wav: expected one channel, found 2; the bundle does not say how"):
        one_channel(two, "refuse", "x.wav")
    assert one_channel(Recording(two.samples[:, :1], 8000), "refuse").tolist() == [1, 2]


@pytest.mark.parametrize(("rate", "target"), [(48000, 16000), (44100, 16000), (8000, 16000), (11025, 16000), (3, 2)])
@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_resampling_is_scipys(rate: int, target: int, count: int) -> None:
    """The same filter as scipy.signal.resample_poly, to float32's precision."""
    signal = pytest.importorskip("scipy.signal")
    samples = np.random.default_rng(0).standard_normal(count).astype(np.float32)
    found = resampled(samples, rate, target)
    divisor = math.gcd(rate, target)
    expected = (
        signal.resample_poly(samples.astype(np.float64), target // divisor, rate // divisor) if count else samples
    )
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_tone_survives_and_what_no_longer_fits_does_not() -> None:
    """1 kHz keeps its level from 48 to 16 kHz; 12 kHz, beyond the new Nyquist frequency, goes."""
    time = np.arange(48000) / 48000
    for frequency, level in ((1000, 0.5), (12000, 0.0)):
        tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
        middle = resampled(tone, 48000, 16000)[2000:-2000].astype(np.float64)
        assert np.mean(middle**2) == pytest.approx(level, abs=1e-3)


def test_the_same_rate_changes_nothing() -> None:
    """Not even a copy."""
    samples = np.ones(3, np.float32)
    assert resampled(samples, 16000, 16000) is samples


def test_rates_without_a_common_divisor_are_refused() -> None:
    """The filter would be gigantic."""
    with pytest.raises(InputError, match="expected a rate with a divisor in common with 16000 Hz, found 1048573 Hz"):
        resampled(np.zeros(9, np.float32), 1048573, 16000)

"""What kind of file an artifact is, by its content; its name decides nothing."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import pickletools
import re
import stat
import struct
import zipfile
import zlib
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, cast

from ortolan.bundle.files import reason_of
from ortolan.bundle.onnxfile import read_model
from ortolan.bundle.wire import FIXED32, FIXED64, LENGTH, VARINT, Wire
from ortolan.errors import ConversionError, ModelFileError, OrtolanError, StorageError, UnsupportedError
from ortolan_convert.sources.foreign import directory_title, file_title, protobuf_title, zip_title
from ortolan_convert.sources.huggingface.directory import is_huggingface

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.sources.kinds import Kind

HEAD_BYTES = 4096
"""How much of a file is looked at."""
LARGEST_ARCHIVE = 1 << 34
"""Bytes that a zip archive may unpack to."""
LARGEST_DIRECTORY = 1 << 26
"""Bytes of a zip archive's table of contents."""
LARGEST_HEADER = 100_000_000
"""Bytes of a safetensors file's header: the format's own bound."""

_UBJ_LENGTH = rb"(?:[iU].|I..|l.{4}|L.{8})"
_SIGNATURES: tuple[tuple[re.Pattern[bytes], Kind], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in cast(
        "tuple[tuple[bytes, Kind], ...]",
        (
            (rb"\x89HDF\r\n\x1a\n", "hdf5"),
            (rb".{4}TFL3", "tflite"),
            (rb"\s*tree\s+version=", "lightgbm"),
            (rb"CBM1", "catboost"),
            # PyTorch before 1.6: a pickle of its magic number, then more pickles.
            (rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", "torch-weights"),
            (rb'\s*\{\s*(?:"version"\s*:\s*\[[\d,\s]*\]\s*,\s*)?"learner"\s*:\s*\{', "xgboost-json"),
            (rb"\{(?:" + _UBJ_LENGTH + rb"version\[.{0,40})?" + _UBJ_LENGTH + rb"learner\{", "xgboost-ubj"),
        ),
    )
)
"""What a kind's files begin with."""
_ZIP_KINDS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("schema.json",), "skops"),
    (("config.json", "metadata.json"), "keras"),
    (("serialized_exported_program.json",), "torch-exported"),
    (("constants.pkl", "data.pkl"), "torchscript"),
    (("data.pkl",), "torch-weights"),
)
"""File names that a zip archive of a kind has together, at its top or in its one directory."""
_EXPORTED_MODEL = re.compile(r"(?:[^/]+/)?models/[^/]+\.json")
"""What tells an ExportedProgram from other archives that PyTorch calls .pt2."""
_ZIP_TAIL = 1 << 17
"""Bytes at the end of a zip archive in which its last records lie."""
_SKIPPED = {VARINT: 0, LENGTH: 0, FIXED32: 4, FIXED64: 8}
"""Wire types of Protocol Buffers, and the bytes of those with a fixed size."""
_COMPRESSED: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"\x78\x01", "zlib"),
    (b"\x78\x5e", "zlib"),
    (b"\x78\x9c", "zlib"),
    (b"\x78\xda", "zlib"),
)
_KNOWN = (
    "known: ONNX, scikit-learn (joblib, pickle, skops), XGBoost, LightGBM, CatBoost, PyTorch, TensorFlow, Keras, "
    "TensorFlow Lite, directories of Hugging Face models"
)


def recognise(path: Path) -> Kind:
    """The kind of artifact in ``path``. Reads at most its beginning, decompressed, and runs nothing.

    Raises:
        StorageError: it cannot be read.
        ConversionError: it is empty or damaged.
        ModelFileError: an ONNX file that is damaged.
        UnsupportedError: it is something else; the message says what it looks like.
    """
    if path.is_dir():
        return _directory_kind(path)
    head, size = read_head(path)
    if not head:
        raise ConversionError(f"{path}: the file is empty; expected a trained model")
    if head.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    compression = compression_of(head)
    if compression is not None:
        inner = decompressed_head(path, compression)
        if is_pickle(inner):
            return "pickle"
        what = file_title(inner)
        found = f", it is {what}" if what else "; if it is a model, decompress it first"
        raise UnsupportedError(f"{path}: {compression}-compressed, but no pickle inside{found}; {_KNOWN}")
    for pattern, kind in _SIGNATURES:
        if pattern.match(head):
            return kind
    if is_pickle(head, whole=size <= len(head)):
        return "pickle"
    title = file_title(head)
    if title is not None:
        raise UnsupportedError(f"{path}: cannot be converted: this is {title}")
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LARGEST_HEADER:
        return _safetensors(path, head, size)
    if _is_onnx(path, head):
        return "onnx"
    raise UnsupportedError(f"{path}: not a model file that is known, or damaged; {_KNOWN}")


def read_head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file and its size. A link is followed; a pipe or device is not read.

    Raises:
        StorageError: missing, a directory, or not readable.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise StorageError(f"{path}: expected a model file, found a pipe or device")
            return file.read(HEAD_BYTES), status.st_size
    except IsADirectoryError:
        raise StorageError(f"{path}: expected a model file, found a directory; {_KNOWN}") from None
    except OrtolanError:
        raise
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read: {reason_of(error)}") from None


def _without_waiting(path: str, flags: int) -> int:
    # Opening a named pipe would wait for somebody to write to it.
    return os.open(path, flags | os.O_NONBLOCK)


def _directory_kind(path: Path) -> Kind:
    if any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return "saved-model"
    if is_huggingface(path):
        return "huggingface"
    title = directory_title(path)
    if title is not None:
        raise UnsupportedError(f"{path}: cannot be converted: this is {title}")
    raise StorageError(f"{path}: expected a model file, found a directory; {_KNOWN}")


def _safetensors(path: Path, head: bytes, size: int) -> Kind:
    length = int.from_bytes(head[:8], "little")
    if length > size - 8:
        raise ConversionError(
            f"{path}: a safetensors file that is damaged or cut short: its header has {length} bytes, the file {size}"
        )
    return "safetensors"


def compression_of(head: bytes) -> str | None:
    """Name of the compression that a file's first bytes announce."""
    return next((name for magic, name in _COMPRESSED if head.startswith(magic)), None)


def open_decompressed(path: Path, compression: str | None, stack: ExitStack) -> IO[bytes]:
    """The file's content as a stream, decompressed.

    Raises:
        ImportError: lz4 is not installed.
    """
    if compression == "lz4":
        import lz4.frame  # type: ignore[import-not-found, unused-ignore]  # an optional dependency of joblib

        stream: IO[bytes] = stack.enter_context(lz4.frame.open(path))
        return stream
    if compression == "zlib":
        from joblib.compressor import BinaryZlibFile

        return stack.enter_context(BinaryZlibFile(str(path), "rb"))
    if compression == "gzip":
        return cast("IO[bytes]", stack.enter_context(gzip.open(path, "rb")))
    if compression == "bzip2":
        return stack.enter_context(bz2.open(path, "rb"))
    if compression in {"xz", "lzma"}:
        return stack.enter_context(lzma.open(path, "rb"))
    return stack.enter_context(path.open("rb"))


def decompressed_head(path: Path, compression: str) -> bytes:
    """The first bytes of what a compressed file holds.

    Raises:
        ConversionError: the compressed data is damaged.
        StorageError: it cannot be read.
    """
    try:
        if compression == "zlib":
            with path.open("rb") as file:
                return zlib.decompressobj().decompress(file.read(2 * HEAD_BYTES), HEAD_BYTES)
        with ExitStack() as stack:
            return open_decompressed(path, compression, stack).read(HEAD_BYTES)
    except ImportError:
        raise ConversionError(f"{path}: lz4-compressed; install lz4 to read it: pip install lz4") from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, RuntimeError) as error:
        raise ConversionError(f"{path}: its {compression} data is damaged: {error}") from None


def is_pickle(head: bytes, *, whole: bool = False) -> bool:
    """Whether these are the first bytes of a pickle. Nothing is run.

    Args:
        head: the first bytes.
        whole: whether they are all there are (old text pickles are only told by being complete).
    """
    if len(head) >= 2 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return True
    if head[:1] not in {b"(", b"c", b"]", b"}", b"I", b"S", b"V", b"F", b"N"}:
        return False
    try:
        for count, _ in enumerate(pickletools.genops(head)):
            if count >= 8 and not whole:
                return True
    except ValueError:
        return False
    return True


def _is_onnx(path: Path, head: bytes) -> bool:
    """Whether the file is an ONNX model, read without its weights.

    Raises:
        ModelFileError: it begins as one, or is named as one, but is damaged.
    """
    try:
        read_model(path)
    except ModelFileError:
        title = protobuf_title(_outermost(head), path.name)
        if title is not None:
            raise UnsupportedError(f"{path}: cannot be converted: this is {title}") from None
        # An IR version, then the tag of another field of ModelProto.
        begins_as_one = len(head) > 2 and head[0] == 0x08 and 1 <= head[1] <= 32 and head[2] & 7 in {0, 2}
        if begins_as_one or path.suffix.lower() == ".onnx":
            raise
        return False
    return True


def _outermost(head: bytes) -> frozenset[int]:
    """Numbers of the outermost fields of a Protocol Buffers message, as far as its first bytes reach."""
    wire, found, position = Wire(head), set(), 0
    with contextlib.suppress(ModelFileError):
        while position < len(head):
            key, after = wire.varint(position, len(head))
            if not key >> 3 or key & 7 not in _SKIPPED:
                return frozenset()
            found.add(key >> 3)
            length, after = wire.varint(after, len(head)) if key & 7 in {VARINT, LENGTH} else (_SKIPPED[key & 7], after)
            position = after + (0 if key & 7 == VARINT else length)
    return frozenset(found)


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(_bounded(path)) as archive:
            names = archive.namelist()
            unpacked = sum(member.file_size for member in archive.infolist())
    except OrtolanError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, struct.error) as error:
        raise ConversionError(f"{path}: a zip archive that is damaged or cut short: {error}") from None
    if unpacked > LARGEST_ARCHIVE:
        raise ConversionError(f"{path}: a zip archive that would unpack to {unpacked} bytes; expected a model")
    if any(map(_EXPORTED_MODEL.fullmatch, names)):
        return "torch-exported"
    top = {name.rpartition("/")[2] for name in names if name.count("/") <= 1}
    for members, kind in _ZIP_KINDS:
        if top.issuperset(members):
            return kind
    title = zip_title(names) or f"a zip archive without a model that is known; {_KNOWN}"
    raise UnsupportedError(f"{path}: cannot be converted: this is {title}")


def _bounded(path: Path) -> Path:
    """The path of a zip archive whose table of contents fits into memory.

    Raises:
        ConversionError: it does not, by what the end of the file says.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ZIP_TAIL))
        tail = file.read(_ZIP_TAIL)
    for signature, offset, width in ((b"PK\x05\x06", 12, 4), (b"PK\x06\x06", 40, 8)):
        at = tail.rfind(signature)
        size = int.from_bytes(tail[at + offset : at + offset + width], "little") if at >= 0 else 0
        if size > LARGEST_DIRECTORY and (width == 8 or size != 0xFFFFFFFF):
            raise ConversionError(f"{path}: a zip archive with {size} bytes of file names; expected a model")
    return path

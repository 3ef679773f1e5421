"""What kind of file an artifact is, by its content; its name decides nothing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickletools
import zipfile
import zlib
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, cast

from ortolan.bundle.onnxfile import read_model
from ortolan.errors import ConversionError, ModelFileError, StorageError, UnsupportedError
from ortolan_convert.sources.huggingface import is_huggingface

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.sources.kinds import Kind

HEAD_BYTES = 4096
"""How much of a file is looked at."""

LARGEST_ARCHIVE = 1 << 34
"""Bytes that a zip archive may unpack to."""

_KINDS_BY_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89HDF\r\n\x1a\n", "hdf5"),
    (4, b"TFL3", "tflite"),
    (0, b"tree\nversion=", "lightgbm"),
    (0, b"CBM1", "catboost"),
    (0, b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "torch-weights"),  # before PyTorch 1.6
)
"""Where a kind's first bytes lie, and which."""
_OTHER_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"GGUF", "a GGUF file (llama.cpp)"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"\x7fELF", "an executable or library"),
    (257, b"ustar", "a tar archive"),
    (0, b"%PDF", "a PDF document"),
    (0, b"<?xml", "an XML file (PMML or OpenVINO)"),
    (0, b"binf", "an XGBoost model of its old binary format (save it again as .json or .ubj)"),
    (0, b"{", "a JSON file"),
    (0, b"version https://git-lfs", "a Git LFS pointer (fetch the real file with git lfs pull)"),
)
"""What cannot be converted, to be called by its name."""
_ZIP_KINDS: tuple[tuple[tuple[str, ...], Kind], ...] = (
    (("schema.json",), "skops"),
    (("config.json", "metadata.json"), "keras"),
    (("archive_format",), "torch-exported"),
    (("serialized_exported_program.json",), "torch-exported"),
    (("constants.pkl", "data.pkl"), "torchscript"),
    (("data.pkl",), "torch-weights"),
)
"""File names that a zip archive of a kind has together, at its top or in its one directory."""
_OTHER_ZIPS: tuple[tuple[str, str], ...] = (
    (".npy", "a numpy archive"),
    ("manifest.json", "a zipped bundle or model package"),
)
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
        if is_huggingface(path):
            return "huggingface"
        if any((path / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
            return "saved-model"
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
        raise UnsupportedError(f"{path}: {compression}-compressed, but no pickle inside; {_KNOWN}")
    for offset, magic, kind in _KINDS_BY_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    if is_pickle(head, whole=size <= len(head)):
        return "pickle"
    if head.startswith(b"{") and b'"learner"' in head:
        return "xgboost-json"
    if head.startswith(b"{") and b"\x07learner{" in head[:64]:
        return "xgboost-ubj"
    for offset, magic, name in _OTHER_MAGIC:
        if head[offset : offset + len(magic)] == magic:
            raise UnsupportedError(f"{path}: this is {name}, which cannot be converted; {_KNOWN}")
    if b'{"' in head[8:16]:
        return "safetensors"
    if _is_onnx(path, head):
        return "onnx"
    raise UnsupportedError(f"{path}: not a model file that is known, or damaged; {_KNOWN}")


def read_head(path: Path) -> tuple[bytes, int]:
    """The first bytes of a file and its size.

    Raises:
        StorageError: missing, a directory, or not readable.
    """
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES), path.stat().st_size
    except IsADirectoryError:
        raise StorageError(f"{path}: expected a model file, found a directory; {_KNOWN}") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from None


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
        # An IR version, then the tag of another field of ModelProto.
        begins_as_one = len(head) > 2 and head[0] == 0x08 and 1 <= head[1] <= 32 and head[2] & 7 in {0, 2}
        if begins_as_one or path.suffix.lower() == ".onnx":
            raise
        return False
    return True


def _zip_kind(path: Path) -> Kind:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            unpacked = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ConversionError(f"{path}: a zip archive that is damaged or cut short: {error}") from None
    if unpacked > LARGEST_ARCHIVE:
        raise ConversionError(f"{path}: a zip archive that would unpack to {unpacked} bytes; expected a model")
    top = {name.rpartition("/")[2] for name in names if name.count("/") <= 1}
    for members, kind in _ZIP_KINDS:
        if top.issuperset(members):
            return kind
    for suffix, title in _OTHER_ZIPS:
        if any(name.endswith(suffix) for name in names):
            raise UnsupportedError(f"{path}: this is {title}, which cannot be converted; {_KNOWN}")
    raise UnsupportedError(f"{path}: a zip archive without a model that is known; {_KNOWN}")

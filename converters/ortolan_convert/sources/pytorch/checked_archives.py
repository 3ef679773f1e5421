"""Archives of torch: what its own reader finds in them, and what TorchScript would run.

TorchScript is run by torch's own interpreter, which knows no Python, but some of its operators open files, and methods
of its classes run while it is loaded.
"""

from __future__ import annotations

import os
import pickletools
import re
import zipfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ortolan.errors import ConversionError, TrustRequiredError, UnsupportedError
from ortolan_convert.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FILES = re.compile(rb"\b(save|from_file|load_tensor|rpc_sync|rpc_async|rpc_remote)\b")
"""Operators of TorchScript that reach beyond it, by all that torch 2.13 registers."""
_NAMESPACES = re.compile(rb"\bops\s*\.\s*(?!(?:aten|prim|quantized|prepacked|torchvision|torchaudio)\b)(\w+)")
_COMPILED_CLASSES = re.compile(r"torch\.classes\.(\w+)")


def check_intact(path: Path) -> None:
    """Check what the archive's members say their bytes sum up to; torch does not.

    Raises:
        ConversionError: a member is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise ConversionError(f"{path}: damaged or cut short: {error}") from None
    except Exception as error:
        # zlib.error, lzma.LZMAError: of a member that is compressed, which torch's own are not.
        raise ConversionError(f"{path}: damaged: {error}") from error
    if damaged is not None:
        raise ConversionError(f"{path}: damaged: {damaged} is not what its checksum says")


def members(path: Path) -> dict[str, bytes | None]:
    """Names in an archive as torch's own reader sees them, with the content of those that torch interprets.

    Raises:
        ConversionError: torch cannot open it, or another reader finds other names in it.
    """
    import torch

    try:
        with zipfile.ZipFile(path) as archive:
            if "serialized_exported_program.json" in archive.namelist():  # until PyTorch 2.7, which reads it so itself
                return {name: archive.read(name) if name.endswith(".json") else None for name in archive.namelist()}
        reader = torch._C.PyTorchFileReader(str(path))  # noqa: SLF001 - the one that torch.load uses
        names = reader.get_all_records()
        with zipfile.ZipFile(path) as archive:
            others = [name.partition("/")[2] for name in archive.namelist() if not name.endswith("/")]
        if sorted(names) != sorted(others) or len(set(names)) != len(names):
            raise ConversionError(f"{path}: damaged: two readers of zip archives find different files in it")
        return {
            name: reader.get_record(name) if name.endswith((".json", ".pkl", ".py", "archive_format")) else None
            for name in names
        }
    except RuntimeError as error:
        raise ConversionError(f"{path}: torch cannot open it: {one_line(error)}") from None


def check_script(path: Path, content: dict[str, bytes | None], *, trust: bool) -> None:
    """Check TorchScript's archive.

    Raises:
        UnsupportedError: it is quantized.
        TrustRequiredError: something in it may read or write files, or is a compiled class.
    """
    for name, data in content.items():
        found = None
        if name.endswith(".py"):
            match = _FILES.search(data or b"") or _NAMESPACES.search(data or b"")
            found = match[1].decode() if match else _compiled_class((data or b"").decode("utf-8", "replace"))
        elif name.endswith(".pkl") and not name.endswith(".debug_pkl"):
            found = _compiled_class(" ".join(globals_of(data or b"")))
        elif name == "model.json":
            found = "the format before PyTorch 1.2"
        if found == "quantized":
            raise UnsupportedError(f"{path}: quantized by PyTorch ({name}); give the float32 network it was made of")
        if found is not None and not trust:
            raise TrustRequiredError(
                f"{path}: it asks for {found} ({name}), which may reach files or other machines; if you trust where "
                "it comes from, add --trust"
            )


def globals_of(pickle: bytes) -> list[str]:
    """Dotted names that a pickle refers to; nothing of it runs. What is not a pickle has none."""
    names: list[str] = []
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickle):
            if opcode.name in {"GLOBAL", "INST"}:
                names.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                names.append(".".join(strings[-2:]))
            elif isinstance(argument, str):
                strings.append(argument)
    except ValueError:
        return names
    return names


@contextmanager
def weights_only() -> Iterator[None]:
    """Makes each ``torch.load`` inside torch read tensors and plain values alone, whatever it was told."""
    names = ("TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD")
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ[names[0]] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _compiled_class(text: str) -> str | None:
    match = _COMPILED_CLASSES.search(text)
    if match is None:
        return None
    return "quantized" if match[1] == "quantized" else f"the compiled class {match[0]}"

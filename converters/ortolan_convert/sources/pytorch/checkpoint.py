"""Weights of a file: read without running what is in it, picked out of a checkpoint, put into their module."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, OrtolanError, TrustRequiredError, UnsupportedError, UsageError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.pytorch.checked_archives import check_intact, globals_of, weights_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DEEPEST = 4
"""How many mappings inside each other are searched for weights."""
SHOWN = 5
"""How many names an error lists."""
_LATER = (".num_batches_tracked",)
"""Buffers that answers do not depend on and that old files lack."""
LARGEST_PICKLE = 1 << 28
"""Bytes of a pickle that is searched for the names it asks for."""


@dataclass(frozen=True, slots=True)
class Picked:
    """Weights out of a checkpoint.

    Args:
        entry: dotted name of the entry they were in; empty for the whole.
        prefix: what their names began with and the module's do not.
        weights: tensors by the module's names.
    """

    entry: str
    prefix: str
    weights: Mapping[str, Any]


def read_weights(path: Path, kind: str, *, trust: bool) -> Any:
    """What a file of weights holds: tensors and plain values, with trust anything.

    Raises:
        TrustRequiredError: something else is in it; nothing of it has run.
        ConversionError: it is damaged.
    """
    if kind == "safetensors":
        return _safetensors(path)
    import torch

    zipped = zipfile.is_zipfile(path)
    if zipped:
        check_intact(path)
    # Memory-mapped, weights that are not asked for are never read.
    options: dict[str, Any] = {"map_location": "cpu", "mmap": zipped}
    try:
        with weights_only():
            return torch.load(path, weights_only=True, **options)
    except Exception as error:
        wanted = sorted({name for name in _globals(path) if not name.startswith(("torch._utils.", "collections."))})
        unsafe = "Unsupported" in str(error) or "unsupported" in str(error) or "blocked" in str(error)
        if not unsafe:
            raise _unreadable(path, error) from error
        if not trust:
            raise TrustRequiredError(
                f"{path}: holds more than tensors and plain values, and reading that runs code: it asks for "
                f"{_some(_unusual(wanted))}; if you trust where it comes from, add --trust"
            ) from None
    try:
        return torch.load(path, weights_only=False, **options)
    except (ImportError, AttributeError) as error:
        raise ConversionError(
            f"{path}: holds an object of a class that cannot be imported here ({error}); install its package, or give "
            "its state_dict() and --module"
        ) from error
    except Exception as error:
        raise _unreadable(path, error) from error


def modules_in(content: Any) -> dict[str, Any]:
    """Whole modules in a checkpoint, by the dotted name of their entry; only what trust lets in has any."""
    import torch

    found = {name: value for name, value in _entries(content) if isinstance(value, torch.nn.Module)}
    return {"": found[""]} if "" in found else found


def pick(content: Any, module: Any, wanted: str | None, path: Path) -> Picked:
    """The weights of a module out of what a file holds.

    Args:
        content: of the file.
        module: what they are for: its names and shapes decide.
        wanted: the entry to take; None to look for it.
        path: the file, for messages.

    Raises:
        ConversionError: none fit; the message names what is missing, unexpected or of another shape.
        UsageError: several different ones fit, or there is no such entry.
    """
    candidates = {name: value for name, value in _entries(content) if _is_weights(value)}
    if wanted is not None:
        if wanted not in candidates:
            raise UsageError(f"source.weights: {path} has no such entry of weights; it has: {_some(list(candidates))}")
        candidates = {wanted: candidates[wanted]}
    if not candidates:
        raise ConversionError(f"{path}: expected tensors by name, found {_kind_of(content)}")
    own = module.state_dict()
    tried = [_stripped(name, weights, own) for name, weights in candidates.items()]
    fitting = [picked for picked in tried if not _misfits(picked.weights, module)]
    if not fitting:
        best = min(tried, key=lambda picked: sum(map(len, _misfits(picked.weights, module).values())))
        raise _misfit(best, module, path)
    first = fitting[0]
    others = [one.entry for one in fitting[1:] if not _equal(one.weights, first.weights)]
    if others:
        raise UsageError(
            f"{path}: the weights of {', '.join(repr(one.entry) for one in fitting)} all fit and are not the same; say "
            f"which in the YAML file, e.g. source: {{weights: {first.entry}}}"
        )
    return first


def put_into(module: Any, picked: Picked, path: Path) -> None:
    """Put weights into their module, which is then in their place.

    Raises:
        UnsupportedError: quantized, sparse or complex ones.
        ConversionError: torch refuses them.
    """
    for name, tensor in picked.weights.items():
        refuse_tensor(name, tensor, path)
    try:
        module.load_state_dict(dict(picked.weights), strict=False)
    except Exception as error:
        raise ConversionError(f"{path}: the module does not take the weights: {one_line(error)}") from error


def refuse_tensor(name: str, tensor: Any, path: Path) -> None:
    """Refuse a tensor that has no place in the graph.

    Raises:
        UnsupportedError: it is quantized, sparse, complex, or without content.
    """
    import torch

    problem = None
    if tensor.is_quantized:
        problem = "quantized by PyTorch; give the float32 network it was made of"
    elif tensor.layout != torch.strided:
        problem = f"sparse ({tensor.layout}); save it after .to_dense()"
    elif tensor.is_complex():
        problem = f"complex ({tensor.dtype}), which ONNX has no operators for"
    elif tensor.is_meta:
        problem = "without content (on the meta device)"
    if problem is not None:
        raise UnsupportedError(f"{path}: the tensor {name} is {problem}")


def _safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except MemoryError:
        raise ConversionError(f"{path}: does not fit into memory, or is damaged") from None
    except Exception as error:
        raise ConversionError(f"{path}: damaged or cut short: {one_line(error)}") from error


def _globals(path: Path) -> Iterator[str]:
    """What the pickles in a file ask for."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                # Its magic number, protocol, system and content, one pickle each.
                for _ in range(4):
                    yield from globals_of(_next_pickle(file))
            return
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith("/data.pkl") and member.file_size <= LARGEST_PICKLE:
                    yield from globals_of(archive.read(member))
    except (OSError, ValueError, zipfile.BadZipFile):
        return


def _next_pickle(file: Any) -> bytes:
    import pickletools

    start = file.tell()
    for _ in pickletools.genops(file):
        if file.tell() - start > LARGEST_PICKLE:
            break
    end = file.tell()
    file.seek(start)
    content: bytes = file.read(end - start)
    return content


def _unusual(names: list[str]) -> list[str]:
    """Without what plain weights ask for too."""
    import torch

    safe = {f"{one.__module__}.{one.__qualname__}" for one in torch.serialization.get_safe_globals() if callable(one)}
    return [name for name in names if name not in safe and not name.endswith("Storage")] or names


def _unreadable(path: Path, error: Exception) -> OrtolanError:
    if isinstance(error, OrtolanError):
        return error
    return ConversionError(f"{path}: damaged, cut short, or of a version that torch cannot read: {one_line(error)}")


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Mappings and modules in mappings, by dotted name, from the outside inwards; what optimizers keep is left out."""
    level = [("", content)]
    for _ in range(DEEPEST):
        yield from level
        level = [
            (f"{name}.{key}" if name else key, inner)
            for name, value in level
            if isinstance(value, dict) and not _is_weights(value)
            for key, inner in value.items()
            if isinstance(key, str) and _is_entry(key, inner)
        ]


def _is_entry(key: str, value: Any) -> bool:
    import torch

    return isinstance(value, dict | torch.nn.Module) and not key.lower().startswith(("optim", "scheduler", "lr_sch"))


def _is_weights(value: Any) -> bool:
    """Whether it holds tensors by name and nothing else, but for what modules add of their own."""
    import torch

    if not isinstance(value, dict) or not value or not all(isinstance(name, str) for name in value):
        return False
    tensors = [isinstance(one, torch.Tensor) for name, one in value.items() if not name.endswith("_extra_state")]
    return bool(tensors) and all(tensors)


def _stripped(entry: str, weights: Mapping[str, Any], own: Mapping[str, Any]) -> Picked:
    """Without what all names begin with, unless the module's begin with it too."""
    import torch

    prefix = ""
    weights = {name: one for name, one in weights.items() if isinstance(one, torch.Tensor)}
    while not set(weights) & set(own):
        first = {name.partition(".")[0] for name in weights}
        if len(first) != 1 or not all("." in name for name in weights):
            break
        prefix += f"{first.pop()}."
        weights = {name.partition(".")[2]: one for name, one in weights.items()}
    return Picked(entry, prefix, weights)


def _misfits(weights: Mapping[str, Any], module: Any) -> dict[str, list[str]]:
    """Names that are missing, unexpected, or of another shape; empty if the weights fit."""
    own = module.state_dict(keep_vars=True)
    given = {id(own[name]) for name in weights if name in own}
    found = {
        # One tensor under two names needs to be in the file once.
        "missing": [
            name
            for name, one in own.items()
            if name not in weights and id(one) not in given and not name.endswith((*_LATER, "_extra_state"))
        ],
        "unexpected": [name for name in weights if name not in own and not name.endswith("_extra_state")],
        "of another shape": [
            f"{name} {list(one.shape)} instead of {list(own[name].shape)}"
            for name, one in weights.items()
            if name in own and one.shape != own[name].shape
        ],
    }
    return {problem: names for problem, names in found.items() if names}


def _misfit(picked: Picked, module: Any, path: Path) -> ConversionError:
    where = f"the entry {picked.entry!r} of {path}" if picked.entry else str(path)
    problems = "; ".join(f"{problem}: {_some(names)}" for problem, names in _misfits(picked.weights, module).items())
    return ConversionError(f"{where}: the weights are not those of the module --module makes: {problems}")


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    import torch

    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(name or "(the whole)" for name in names[:SHOWN]) or "nothing") + rest


def _kind_of(content: Any) -> str:
    if isinstance(content, dict):
        return f"a mapping with {_some([str(key) for key in content])}" if content else "an empty mapping"
    return f"{type(content).__module__}.{type(content).__qualname__}"

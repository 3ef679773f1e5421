"""A network as the ONNX graph has it: tensors by position in, tensors by name out."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, UnsupportedError
from ortolan_convert.sources.pytorch.checkpoint import refuse_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ortolan_convert.sources.pytorch.description import Input

_UNNAMED = re.compile(r"\W+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchNetwork:
    """A network, ready to be exported and asked.

    Args:
        path: its file, for messages.
        module: a torch module that takes the inputs by position and gives a tuple of tensors.
        scripted: whether TorchScript does the work.
        program: the ExportedProgram it came from; None if it has to be exported.
        inputs: what it takes.
        declared: whether somebody declared the free dimensions; otherwise they were found and may prove fixed.
        outputs: names that were declared; empty for the network's own.
        ranges: smallest and largest size of free dimensions, where there are bounds.
    """

    path: Path
    module: Any
    inputs: tuple[Input, ...]
    scripted: bool = False
    program: Any = None
    declared: bool = True
    outputs: tuple[str, ...] = ()
    ranges: Mapping[str, tuple[int, int]] | None = None

    def answers(self, tensors: Sequence[Any]) -> dict[str, Any]:
        """Output tensors by name.

        Raises:
            Exception: whatever the network raises.
        """
        import torch

        with torch.inference_mode():
            found = self.module(*tensors)
        return dict(zip(self.output_names(), found, strict=True))

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs: declared ones, else by the keys and fields of what the network returned last.

        Raises:
            UnsupportedError: another number of them is declared.
        """
        own = tuple(self.module.output_names)
        if self.outputs and len(self.outputs) != len(own):
            raise UnsupportedError(
                f"{self.path}: source.outputs names {len(self.outputs)} outputs, the network has {len(own)}: "
                f"{', '.join(own)}"
            )
        taken = {one.name for one in self.inputs}
        return self.outputs or tuple(f"{name}_out" if name in taken else name for name in own)


def flat_module(network: Any, call: Callable[..., Any]) -> Any:
    """A module that takes tensors by position and gives a tuple of all tensors in what the network returns.

    Args:
        network: the module; it becomes the part ``network`` of the flat one.
        call: takes the network and the tensors, calls it.
    """
    import torch

    class Flat(torch.nn.Module):  # type: ignore[misc]  # torch is optional, and so without types
        """Its ``output_names`` are known once it has run."""

        output_names: tuple[str, ...] = ()

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *fed: Any) -> Any:
            leaves = list(_leaves(call(self.network, *fed), ""))
            self.output_names = _distinct([name or "output" for name, _ in leaves])
            return tuple(tensor for _, tensor in leaves)

    flat = Flat()
    flat.training = False  # the network's own mode was set before, and an ExportedProgram has none
    return flat


def caller(names: Sequence[str], parameters: Sequence[str]) -> Callable[..., Any]:
    """How tensors are handed to a network: under their names if it has all of them, else by position."""
    if set(names) <= set(parameters):
        return lambda network, *fed: network(**dict(zip(names, fed, strict=True)))
    return lambda network, *fed: network(*fed)


def parameters_of(module: Any) -> tuple[str, ...]:
    """Names of what a module's forward takes, without those of star arguments."""
    import torch

    if isinstance(module, torch.jit.ScriptModule):
        return tuple(argument.name for argument in module.forward.schema.arguments[1:])
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    found = inspect.signature(module.forward).parameters.items()
    return tuple(name for name, parameter in found if parameter.kind in named)


def submodule(module: Any, name: str | None, path: Path) -> Any:
    """The part of a module that is asked for.

    Raises:
        ConversionError: there is none of that name.
    """
    if name is None:
        return module
    parts = dict(module.named_modules())
    if name not in parts:
        known = ", ".join(one for one, _ in module.named_children()) or "none"
        raise ConversionError(f"{path}: source.submodule: no part {name!r}; it has: {known}")
    return parts[name]


def check_tensors(module: Any, path: Path) -> list[str]:
    """Refuse tensors that are damaged or that no graph can hold; what has to be said about the others.

    Raises:
        UnsupportedError: quantized modules or tensors, sparse and complex ones.
        ConversionError: numbers that are not finite, by the tensor's name.
    """
    import torch

    for name, part in module.named_modules():
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        if re.match(r"torch\.(ao\.)?nn\.(intrinsic\.)?(quantized|qat)", kind):
            raise UnsupportedError(
                f"{path}: {name or 'it'} is quantized by PyTorch ({kind}); give the float32 network it was made of"
            )
    other = set()
    parameters = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        refuse_tensor(name, tensor, path)
        if not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            other.add(str(tensor.dtype).removeprefix("torch."))
        # Masks of attention are buffers with minus infinity.
        bad = ~torch.isfinite(tensor) if name in parameters else torch.isnan(tensor) | (tensor == torch.inf)
        if bad.any():
            raise ConversionError(
                f"{path}: {int(bad.sum())} of {tensor.numel()} numbers of {name} are not finite (NaN or infinite)"
            )
    return [f"weights of {', '.join(sorted(other))} became float32"] if other else []


def in_eval_mode(module: Any) -> list[str]:
    """Switch to inference; what has to be said if it was in training mode and that makes a difference."""
    training = [
        name or type(part).__name__
        for name, part in module.named_modules()
        if part.training and re.search("Dropout|BatchNorm|InstanceNorm", _kind(part))
    ]
    module.eval()
    if not training:
        return []
    rest = f" and {len(training) - 3} more" if len(training) > 3 else ""
    return [f"it was saved in training mode; {', '.join(training[:3])}{rest} became as they are for inference"]


def _kind(part: Any) -> str:
    """Class of a module, of a scripted one that it was made of."""
    return str(getattr(part, "original_name", type(part).__name__))


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Tensors in containers, named by keys, fields and positions."""
    import torch

    if isinstance(value, torch.Tensor):
        yield name, value
        return
    if isinstance(value, dict):
        parts = [(str(key), one) for key, one in value.items()]
    elif hasattr(value, "_fields"):
        parts = [(str(key), getattr(value, key)) for key in value._fields]
    elif isinstance(value, tuple | list):
        parts = [(f"output_{index}" if not name else str(index), one) for index, one in enumerate(value)]
        parts = [(name, one) for _, one in parts] if len(parts) == 1 else parts
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(key, getattr(value, key)) for key in value.__dataclass_fields__]
    else:
        return
    for key, one in parts:
        yield from _leaves(one, f"{name}_{key}" if name and key != name else key)


def _distinct(names: list[str]) -> tuple[str, ...]:
    plain = [_UNNAMED.sub("_", name) for name in names]
    plain = [name if name[:1].isalpha() else f"output_{name.strip('_')}" for name in plain]
    return tuple(name if plain.count(name) == 1 else f"{name}_{index}" for index, name in enumerate(plain))

"""What follows the transformer in a sentence-transformers directory: pooling, dense layers, normalization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan.bundle.names import path_problem
from ortolan.errors import ConversionError, TrustRequiredError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.sources.json_file import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MODULES, CONFIG = "modules.json", "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")

RUNTIME_POOLINGS = {"mean": "mean", "cls": "cls", "max": "max", "lasttoken": "last"}
"""sentence-transformers' poolings that task ``embedding`` has too -> their names there."""
_POOLINGS = (*RUNTIME_POOLINGS, "mean_sqrt_len_tokens", "weightedmean")
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""The older form of a pooling's configuration, in the order in which several are joined."""
_ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid", "SiLU")
"""Of ``torch.nn.modules``; none other is made of its name."""
_LARGEST_SIDE = 1 << 16


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer over vectors.

    Args:
        kind: ``Dense``, ``LayerNorm`` or ``Normalize``.
        weights: its file of weights; None for ``Normalize``.
        config: its configuration, checked.
    """

    kind: str
    weights: Path | None = None
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceHead:
    """What makes one vector of a text's tokens.

    Args:
        poolings: sentence-transformers' names; the vectors of several are joined.
        layers: what the vectors go through then.
        normalize: whether they are made unit length at last.
        files: what it was read from.
    """

    poolings: tuple[str, ...]
    layers: tuple[Layer, ...] = ()
    normalize: bool = False
    files: tuple[Path, ...] = ()

    @property
    def pooling(self) -> str | None:
        """What task ``embedding`` does to the hidden states; None where the graph gives vectors already."""
        return RUNTIME_POOLINGS.get(self.poolings[0]) if len(self.poolings) == 1 and not self.layers else None


def read_sentence_head(path: Path, *, trust: bool) -> tuple[Path, SentenceHead]:
    """The directory of the transformer and what follows it, from ``modules.json`` in ``path``.

    Raises:
        StorageError, ConversionError: a file cannot be read, is damaged or missing.
        TrustRequiredError: a layer's weights are a pickle, without trust.
        UnsupportedError: a module or option that cannot be converted; the message names it.
    """
    modules = _modules(path)
    kinds = [kind for kind, _ in modules]
    known = ("Transformer", "Pooling", *_LAYERS, "Dropout")
    for kind in kinds:
        if kind not in known:
            raise UnsupportedError(f"{path / MODULES}: module {kind!r} cannot be converted; known: {', '.join(known)}")
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]):
        raise UnsupportedError(
            f"{path / MODULES}: expected the modules Transformer, Pooling and maybe layers after them "
            f"({', '.join(known[2:])}) in this order, found {', '.join(kinds) or 'none'}"
        )
    pooling = modules[1][1] / CONFIG
    layers = [_LAYERS[kind](place, trust) for kind, place in modules[2:] if kind != "Dropout"]
    normalize = bool(layers) and layers[-1].kind == "Normalize"
    if normalize:
        layers.pop()
    # Normalizing twice does what once does.
    kept = tuple(layer for i, layer in enumerate(layers) if layer.kind != "Normalize" or i + 1 < len(layers))
    files = [path / MODULES, pooling]
    for layer in kept:
        files += [] if layer.weights is None else [layer.weights, layer.weights.parent / CONFIG]
    return modules[0][1], SentenceHead(
        poolings=_poolings(pooling), layers=kept, normalize=normalize, files=tuple(files)
    )


def _modules(path: Path) -> list[tuple[str, Path]]:
    """Class name and directory of each module, in order."""
    found = []
    for position, entry in enumerate(read_json(path / MODULES, list)):
        kind, place = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(place, str):
            raise ConversionError(f"{path / MODULES}: [{position}]: expected a type and a path")
        if place and path_problem(place) is not None:
            raise ConversionError(f"{path / MODULES}: [{position}].path: expected a path below it, found {place!r}")
        found.append((kind.rpartition(".")[2], path / place))
    return found


def _poolings(file: Path) -> tuple[str, ...]:
    config = read_json(file)
    named = config.get("pooling_mode")
    chosen = [name for key, name in _SWITCHES.items() if config.get(key)]
    unknown = [key for key, value in config.items() if value and key.startswith("pooling_mode_")]
    if named is not None:
        chosen = named if isinstance(named, list) else [named]
        chosen = [_SWITCHES.get(f"pooling_mode_{name}", name) for name in chosen]
        unknown = []
    wrong = [str(name) for name in (*chosen, *unknown) if name not in _POOLINGS and name not in _SWITCHES]
    if wrong or not chosen:
        raise UnsupportedError(f"{file}: pooling by {' and '.join(wrong) or 'nothing'} cannot be converted")
    if config.get("include_prompt") is False:
        raise UnsupportedError(f"{file}: pooling without the prompt's tokens cannot be converted")
    return tuple(chosen)


def _dense(path: Path, trust: bool) -> Layer:
    file = path / CONFIG
    config = read_json(file)
    for key in ("module_input_name", "module_output_name"):
        if config.get(key) not in (None, "sentence_embedding"):
            raise UnsupportedError(f"{file}: {key}: a layer over {config[key]!r} cannot be converted")
    if config.get("use_residual"):
        raise UnsupportedError(f"{file}: use_residual: a layer with a residual cannot be converted")
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    module, _, name = activation.rpartition(".")
    if not module.startswith("torch.nn.") or name not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise UnsupportedError(f"{file}: activation_function {activation!r} cannot be converted; known: {known}")
    sizes = {key: _side(config.get(key), file, key) for key in ("in_features", "out_features")}
    checked = {**sizes, "bias": config.get("bias") is not False, "activation": name}
    return Layer("Dense", _weights(path, trust=trust), checked)


def _layer_norm(path: Path, trust: bool) -> Layer:
    file = path / CONFIG
    size = _side(read_json(file).get("dimension"), file, "dimension")
    return Layer("LayerNorm", _weights(path, trust=trust), {"dimension": size})


_LAYERS: Mapping[str, Callable[[Path, bool], Layer]] = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": lambda _path, _trust: Layer("Normalize"),
}
"""Class name of a module after the pooling -> what reads it."""


def _side(value: object, file: Path, key: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LARGEST_SIDE:
        raise ConversionError(f"{file}: {key}: expected an int from 1 to {_LARGEST_SIDE}, found {value!r}")
    return value


def _weights(path: Path, *, trust: bool) -> Path:
    safe, pickled = (path / name for name in WEIGHTS)
    if safe.is_file():
        return safe
    if not pickled.is_file():
        raise ConversionError(f"{path}: expected weights as {WEIGHTS[0]}, found none")
    if not trust:
        raise TrustRequiredError(
            f"{pickled}: a PyTorch pickle, which can run code when it is read; prefer {WEIGHTS[0]}, "
            "or if you trust where it comes from, add --trust"
        )
    return pickled


def pooled(hidden: Any, mask: Any, poolings: tuple[str, ...]) -> Any:
    """Torch tensors [batch, sequence, d] and mask [batch, sequence] to [batch, d of all poolings together].

    As the module Pooling of sentence-transformers: ``mean_sqrt_len_tokens`` divides the sum by the root of the length,
    ``weightedmean`` weighs each token with its position, counted from 1.
    """
    import torch

    weights = mask[:, :, None].to(hidden.dtype)

    def weighted(factors: Any, power: float = 1.0) -> Any:
        return (hidden * factors).sum(1) / factors.sum(1).clamp(min=1e-9) ** power

    def at(positions: Any) -> Any:
        return hidden.gather(1, positions[:, None, None].expand(-1, 1, hidden.shape[2]))[:, 0]

    made = {
        "mean": lambda: weighted(weights),
        "mean_sqrt_len_tokens": lambda: weighted(weights, 0.5),
        "weightedmean": lambda: weighted(weights * mask.cumsum(1)[:, :, None].to(hidden.dtype)),
        "max": lambda: hidden.masked_fill(weights == 0, float("-inf")).max(1).values,
        "cls": lambda: at(mask.argmax(1)),
        "lasttoken": lambda: at((torch.arange(mask.shape[1], device=mask.device).expand_as(mask) * mask).argmax(1)),
    }
    parts = [made[name]() for name in poolings]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def built_layers(layers: tuple[Layer, ...]) -> Any:
    """A torch module of the layers, with their weights.

    Raises:
        ConversionError: weights that are damaged or do not fit.
    """
    import torch

    modules = []
    for layer in layers:
        config = layer.config or {}
        if layer.kind == "Normalize":
            modules.append(_normalizing())
            continue
        if layer.kind == "Dense":
            inner = torch.nn.Linear(config["in_features"], config["out_features"], bias=config["bias"])
        else:
            inner = torch.nn.LayerNorm(config["dimension"])
        _load(inner, layer.weights, "linear." if layer.kind == "Dense" else "norm.")
        modules.append(inner)
        if layer.kind == "Dense":
            modules.append(getattr(torch.nn, config["activation"])())
    return torch.nn.Sequential(*modules).eval()


def _normalizing() -> Any:
    import torch

    class Normalizing(torch.nn.Module):  # type: ignore[misc]  # torch is optional, and so without types
        """Vectors of unit length."""

        def forward(self, vectors: Any) -> Any:
            return torch.nn.functional.normalize(vectors, dim=1)

    return Normalizing()


def _load(module: Any, file: Path | None, prefix: str) -> None:
    import torch
    from safetensors.torch import load_file

    try:
        if file is not None and file.suffix == ".safetensors":
            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        named = {name.removeprefix(prefix): tensor.float() for name, tensor in state.items()}
        module.load_state_dict(named, strict=True)
    except Exception as error:
        reason = one_line(error)
        raise ConversionError(f"{file}: expected the weights of a layer ({reason})") from error

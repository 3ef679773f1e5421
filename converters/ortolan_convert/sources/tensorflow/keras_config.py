"""Keras's description of a model, looked through before Keras reads it: what in it runs code, or reads files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan.errors import ConversionError, TrustRequiredError, UnsupportedError
from ortolan_convert.sources.tensorflow.operators import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

DEEPEST = 200
"""Levels of nesting: models within models have a few dozen."""

_CODE: Mapping[str, str] = {
    "Lambda": "a Python function",
    "__lambda__": "a Python function",
    "TFSMLayer": "a SavedModel elsewhere on the disk",
    "TorchModuleWrapper": "a pickled PyTorch module",
    "JaxLayer": "a Python function",
    "FlaxLayer": "a Python object",
    "ClassMethod": "a method of TensorFlow by its name",
    "InstanceMethod": "a method of TensorFlow by its name",
    "InstanceProperty": "a property of TensorFlow by its name",
}
"""Classes that run code when they are read, and what."""
_TABLES = words("StringLookup IntegerLookup TextVectorization")
"""Layers of tables; they may read files, too."""
_MODULES = ("keras", "tf_keras")
_MODULES_WITHOUT = ("utils", "saving", "datasets", "export", "callbacks", "wrappers", "distribution", "trainers")
"""Modules of Keras whose functions do more than calculate."""
_FUNCTION_MODULES = ("activations", "ops", "initializers", "layers", "losses")
_OPERATIONS = ("math.", "nn.", "linalg.", "image.", "signal.", "bitwise.", "__operators__.")
_PLAIN_OPERATIONS = words(
    "abs add add_n argmax argmin argsort boolean_mask broadcast_to cast clip_by_value concat cos cumsum divide "
    "dynamic_slice einsum equal exp expand_dims eye fill floor gather gather_nd greater greater_equal identity less "
    "less_equal logical_and logical_not logical_or matmul maximum meshgrid minimum multiply negative norm not_equal "
    "one_hot ones ones_like pad pow range rank realdiv reduce_all reduce_any reduce_max reduce_mean reduce_min "
    "reduce_prod reduce_sum repeat reshape reverse roll round scalar_mul scan searchsorted shape sigmoid sign sin size "
    "slice sort space_to_batch split sqrt square squeeze stack stop_gradient strided_slice subtract switch_case tanh "
    "tensor_scatter_nd_update tensordot tile transpose truediv unstack where zeros zeros_like"
)
"""Functions of TensorFlow that a layer of Keras 2 may be: `tf.io` and others do more than calculate."""


@dataclass(frozen=True, slots=True)
class Code:
    """Something in the description that runs code.

    Args:
        layer: the name of the layer it is in.
        what: the class or function.
        runs: what runs.
    """

    layer: str
    what: str
    runs: str


def check_config(config: object, origin: Path, *, trust: bool) -> tuple[Code, ...]:
    """Refuse what runs code or reads files.

    Args:
        config: of the model, parsed JSON.
        origin: for messages.
        trust: whether code may run.

    Returns:
        What will run code.

    Raises:
        TrustRequiredError: there is some, and no trust.
        UnsupportedError: a layer of tables.
        ConversionError: this is no description of a model.
    """
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ConversionError(f"{origin}: expected the description of a Keras model with its class_name")
    found: list[Code] = []
    for layer, entry in _entries(config, "the model", origin, 0):
        name = str(entry["class_name"])
        if name in _TABLES:
            raise UnsupportedError(
                f"{origin}: layer {layer!r}: {name} looks texts or numbers up in a table, which cannot be converted; "
                "export the network without it, and do its work before"
            )
        runs = _runs(entry)
        if runs is not None and all(layer != one.layer for one in found):
            found.append(Code(layer, name, runs))
    if found and not trust:
        first = found[0]
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise TrustRequiredError(
            f"{origin}: layer {first.layer!r} ({first.what}) runs {first.runs} when it is read{more}; if you know "
            "where the file is from, give --trust"
        )
    return tuple(found)


def _entries(value: object, layer: str, origin: Path, depth: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    """All descriptions of objects, each with the layer it belongs to."""
    if depth > DEEPEST:
        raise ConversionError(f"{origin}: the description of the model is nested more than {DEEPEST} levels deep")
    if isinstance(value, list):
        for item in value:
            yield from _entries(item, layer, origin, depth + 1)
    if not isinstance(value, dict):
        return
    if isinstance(value.get("class_name"), str):
        inner = value.get("config")
        if isinstance(inner, dict) and isinstance(inner.get("name"), str) and _is_layer(value):
            layer = inner["name"]
        yield layer, value
    for key, item in value.items():
        if key != "compile_config":  # left out of what is loaded
            yield from _entries(item, layer, origin, depth + 1)


def _is_layer(entry: Mapping[str, object]) -> bool:
    return entry["class_name"] not in {"DTypePolicy", "function"} and "name" in entry.get("config", {})  # type: ignore[operator]  # a dict, as seen by the caller


def _runs(entry: Mapping[str, object]) -> str | None:
    """What code reading this object runs; None if it is one of Keras's own."""
    name, module, registered = entry["class_name"], entry.get("module"), entry.get("registered_name")
    config = entry.get("config")
    for known, runs in _CODE.items():
        if str(name).rpartition(".")[2].lower() == known.lower():
            return runs
    if name == "TFOpLambda":
        function = config.get("function") if isinstance(config, dict) else None
        plain = isinstance(function, str) and (function in _PLAIN_OPERATIONS or function.startswith(_OPERATIONS))
        return None if plain else f"the function {function!r}"
    if isinstance(registered, str) and ">" in registered:
        return f"a class of its maker's ({registered})"
    if isinstance(name, str) and ">" in name:
        return f"a class of its maker's ({name})"
    if module is None:
        return f"a function of its maker's ({config})" if name == "function" else None
    parts = str(module).split(".")
    if parts[0] not in _MODULES or any(part in _MODULES_WITHOUT for part in parts):
        return f"the module {module}"
    if name == "function" and not any(part in _FUNCTION_MODULES for part in parts):
        return f"a function of the module {module}"
    return None

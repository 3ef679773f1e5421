"""What tasks with named classes share: labels, the output they read, scores."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import numpy as np

from ortolan.errors import BundleError, ManifestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ortolan.inputs.assets import ReadAsset
    from ortolan.types import Array, Session, TensorSpec

Activation = Literal["softmax", "sigmoid", "none"]


def read_labels(value: object, at: str, read_asset: ReadAsset) -> tuple[str, ...] | None:
    """Labels as they are declared.

    Args:
        value: None, a list of str, or the name of an asset: a JSON list where it ends in ``.json``, else one a line.
        at: dotted path, for messages.
        read_asset: gives the content of an asset.

    Raises:
        ManifestError: anything else.
        BundleError: a missing or damaged asset.
    """
    if value is None:
        return None
    where = at
    if isinstance(value, str):
        where = f"assets/{value}"
        value = _from_asset(value, read_asset)
    if not isinstance(value, list) or not value or not all(isinstance(label, str) for label in value):
        problem = "expected labels: a list of texts, not empty"
        raise (ManifestError(where, problem) if where == at else BundleError(f"{where}: {problem}"))
    return tuple(value)


def read_lines(name: str, read_asset: ReadAsset) -> list[str]:
    """The lines of a text asset; one empty line at the end does not count.

    Raises:
        BundleError: no such asset, or not UTF-8.
    """
    try:
        text = read_asset(name).decode("utf-8")
    except LookupError:
        raise BundleError(f"assets/{name}: expected this file, found none") from None
    except UnicodeDecodeError as error:
        raise BundleError(f"assets/{name}: expected UTF-8: {error}") from None
    # Not str.splitlines: a label may be one of the rarer line separators.
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def only_output(session: Session, name: object, at: str) -> TensorSpec:
    """The output of that name; without a name, the model's only one.

    Raises:
        ManifestError: it is no name.
        BundleError: the model has no such output, or several.
    """
    specs = {spec.name: spec for spec in session.outputs}
    if name is None:
        if len(specs) != 1:
            raise BundleError(f"model: {at} must name one of the outputs {', '.join(specs)}")
        return next(iter(specs.values()))
    if named(name, at) not in specs:
        raise BundleError(f"model: expected an output {name!r}, found {', '.join(specs) or 'none'}")
    return specs[named(name, at)]


def named(value: object, at: str) -> str:
    """The name of an output or an asset.

    Raises:
        ManifestError: it is none.
    """
    if not isinstance(value, str):
        raise ManifestError(at, f"expected a name, found {value!r}")
    return value


def scores_of(numbers: Array, activation: Activation) -> NDArray[np.float64]:
    """Numbers of classes along the last axis to scores."""
    values = np.asarray(numbers, np.float64)
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=-1, keepdims=True))
        scores: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
        return scores
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * values)), np.float64)  # no overflow, unlike 1 / (1 + exp(-x))
    return values


def _from_asset(name: str, read_asset: ReadAsset) -> object:
    if not name.endswith(".json"):
        return read_lines(name, read_asset)
    try:
        labels: object = json.loads(read_asset(name))
    except LookupError:
        raise BundleError(f"assets/{name}: expected this file, found none") from None
    except (ValueError, RecursionError) as error:
        raise BundleError(f"assets/{name}: expected a JSON list: {error}") from None
    return labels

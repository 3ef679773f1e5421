"""The estimators inside an estimator, wherever it keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan_convert.sources.scikit_learn.registry import key_of

if TYPE_CHECKING:
    from collections.abc import Iterator


def estimators_in(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """An estimator of a known package and all inside it, each once."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple):
        inner: list[Any] = list(value)
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, np.ndarray) and value.dtype.hasobject:
        inner = value.ravel().tolist()
    elif key_of(value) is not None and hasattr(value, "__dict__"):
        yield value
        inner = list(vars(value).values())
    else:
        return
    for one in inner:
        yield from estimators_in(one, seen)

"""Reads a pickle that asks for what does not exist here, with stand-ins in its place, to say what is missing and where.

Nothing new is trusted: this runs only after reading the same file with trust has failed.
"""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ortolan_convert.sources.recognise import compression_of, open_decompressed, read_head

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PICKLERS = ("dill", "cloudpickle")
"""Packages whose files need them to be read."""
DEEPEST = 6
"""How many levels below the object stand-ins are looked for."""
_NUMERIC = frozenset({"sklearn", "numpy", "scipy", "joblib"})


class Unimportable:
    """Stands for a function or class of a pickle that does not exist here."""

    where = ""

    def __init__(self, *args: object, **kwargs: object) -> None:
        """Accept what the original would have been made of."""

    def __setstate__(self, state: object) -> None:
        """Forget what the original held."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stand-in lies.

    Args:
        where: the dotted name it stands for.
        keys: keys and attributes that lead to it.
        words: those as words, e.g. ``option 'tokenizer'``.
    """

    where: str
    keys: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def private(self) -> bool:
        """Whether it is scikit-learn's own affair: part of a private attribute, not an option that a user set."""
        return any(key.startswith("_") for key in self.keys)


@dataclass(frozen=True, slots=True)
class Missing:
    """What a pickle asks for and does not find.

    Args:
        content: the object, with stand-ins; None if it cannot be read even so.
        names: what is missing, dotted.
        places: where the stand-ins lie.
    """

    content: Any
    names: tuple[str, ...]
    places: tuple[Place, ...]

    @property
    def package(self) -> str | None:
        """The first one's top-level package."""
        return self.names[0].partition(".")[0] if self.names else None

    @property
    def harmless(self) -> bool:
        """Whether all of it is private to scikit-learn's estimators, so that coefficients and options can be read."""
        return self.content is not None and all(self._private(name) for name in self.names)

    @property
    def custom(self) -> str | None:
        """The custom callable and its place; None if all that is missing is of scikit-learn."""
        outside = next((name for name in self.names if self._outside(name)), None)
        if outside is None:
            return None
        words = next((place.words for place in self.places if place.where == outside), ())
        return f"{', '.join(words)}: {outside}" if words else f"uses {outside}"

    def _outside(self, name: str) -> bool:
        """Whether it is no part of scikit-learn. Its compiled modules name themselves without it: ``_loss``."""
        top = name.partition(".")[0]
        if top in _NUMERIC or (top.startswith("_") and top != "__main__"):
            return False
        return not self._private(name)

    def _private(self, name: str) -> bool:
        places = [place for place in self.places if place.where == name]
        return bool(places) and all(place.private for place in places)


def read_with_stand_ins(path: Path) -> Missing | None:
    """What a pickle asks for that does not exist here; None if nothing does.

    Args:
        path: a pickle or joblib file that is trusted.
    """
    names: list[str] = []
    try:
        content = _read(path, names)
    except Exception as error:  # noqa: BLE001 - the first failure is what gets reported
        del error
        content = None
    return Missing(content, tuple(dict.fromkeys(names)), tuple(_places(content, (), ()))) if names else None


def _read(path: Path, names: list[str]) -> Any:
    from joblib.numpy_pickle import NumpyUnpickler

    class Tolerant(NumpyUnpickler):  # type: ignore[misc]  # joblib is untyped
        def find_class(self, module: str, name: str) -> Any:
            try:
                return super().find_class(module, name)
            except (ImportError, AttributeError):
                where = f"{module}.{name}"
                names.append(where)
                return type(name, (Unimportable,), {"where": where})

    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = open_decompressed(path, compression_of(read_head(path)[0]), stack)
        return Tolerant(str(path), stream, ensure_native_byte_order=True).load()


def _places(value: Any, keys: tuple[str, ...], words: tuple[str, ...]) -> Iterator[Place]:
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, Unimportable):
        yield Place(kind.where, keys, words)
    elif len(keys) <= DEEPEST:
        for key, named, item in _children(value):
            yield from _places(item, (*keys, key), (*words, *named))


def _children(value: Any) -> Iterator[tuple[str, tuple[str, ...], Any]]:
    """Key, words and value of all in a container or an object; a pipeline's step is a pair of name and object."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key), (f"entry {key!r}",), item
    elif isinstance(value, list | tuple):
        step = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)
        for index, item in enumerate(value):
            yield str(index), (f"step {value[0]!r}",) if step and index else (), item
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        for key, item in vars(value).items():
            yield key, () if key == "steps" else (f"option {key!r}",), item

"""Reading untrusted JSON: a strict decoder, and converters that compose.

A converter takes a value and its dotted path and gives the typed value, or raises ManifestError with that path.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

from ortolan.errors import ManifestError

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
Convert = Callable[[object, str], T]

MAX_JSON_BYTES = 16 * 2**20
"""Largest JSON document that is read."""
MAX_DEPTH = 64
"""Deepest nesting of objects and arrays that is read."""
MAX_INT = 2**53
"""Largest size or count: what every JSON implementation can represent."""
_MAX_DIGITS = 20
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_TYPE_NAMES: dict[type, str] = {dict: "object", list: "array", type(None): "null"}


def decode(document: bytes, at: str) -> object:
    """Decode UTF-8 JSON of bounded size and depth.

    Refused beside malformed text: duplicate keys, NaN and infinities, integers beyond 64 bits, lone surrogates (not
    text, and no other reader accepts them). ``at`` names the document in errors.

    Raises:
        ManifestError: always with the path ``at``.
    """
    if len(document) > MAX_JSON_BYTES:
        raise ManifestError(at, f"expected at most {MAX_JSON_BYTES} bytes, found {len(document)}")
    try:
        value: object = json.loads(
            document.decode(),
            object_pairs_hook=_unique_keys,
            parse_int=_bounded_int,
            parse_float=_finite_float,
            parse_constant=_no_constant,
        )
    except UnicodeDecodeError as error:
        raise ManifestError(at, f"expected UTF-8, found byte 0x{document[error.start]:02x} at {error.start}") from error
    except json.JSONDecodeError as error:
        what = f"expected JSON, {error.msg} at line {error.lineno} column {error.colno}" if document else "is empty"
        raise ManifestError(at, what) from error
    except ValueError as error:
        raise ManifestError(at, str(error)) from error
    except RecursionError as error:
        raise ManifestError(at, f"expected at most {MAX_DEPTH} levels of nesting, found more") from error
    _check_depth(value, at)
    if b"\\ud" in document.lower():
        _check_text(value, at)
    return value


def join(at: str, key: object) -> str:
    """Dotted path of an entry: ``a.b``, ``a[3]``, or ``a["x/y.z"]`` for a key that is no plain word."""
    if isinstance(key, int):
        return f"{at}[{key}]"
    plain = isinstance(key, str) and _PLAIN_KEY.fullmatch(key)
    if not plain:
        return f"{at}[{json.dumps(key)}]"
    return f"{at}.{key}" if at else str(key)


class Record:
    """A JSON object with a fixed set of keys.

    Args:
        value: what should be an object.
        at: its dotted path.
        known: the keys it may have.

    Raises:
        ManifestError: it is no object, or has another key.
    """

    __slots__ = ("_values", "at")

    def __init__(self, value: object, at: str, known: Sequence[str]) -> None:
        if not isinstance(value, dict):
            mismatch("object", value, at)
        for key in value:
            if key not in known:
                raise ManifestError(join(at, key), f"unknown key; known here: {', '.join(known) or 'none'}")
        self._values = value
        self.at = at

    def get(self, key: str, convert: Convert[T], *default: T) -> T:
        """The converted value of a key that must be there, unless there is a default."""
        if key not in self._values:
            if default:
                return default[0]
            raise ManifestError(join(self.at, key), "missing")
        return convert(self._values[key], join(self.at, key))


def integer(low: int = 0, high: int = MAX_INT) -> Convert[int]:
    """An int within bounds; a bool or a float is none."""

    def convert(value: object, at: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            mismatch("int", value, at)
        if not low <= value <= high:
            raise ManifestError(at, f"expected {low} to {high}, got {value}")
        return value

    return convert


def number(low: float = -math.inf, high: float = math.inf) -> Convert[float]:
    """A finite number, int or float, within bounds."""

    def convert(value: object, at: str) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            mismatch("number", value, at)
        if not low <= value <= high:
            raise ManifestError(at, f"expected {low:g} to {high:g}, got {value:g}")
        return value

    return convert


def text(pattern: re.Pattern[str], what: str) -> Convert[str]:
    """A string that matches ``pattern`` as a whole; ``what`` describes such strings."""

    def convert(value: object, at: str) -> str:
        if not isinstance(value, str):
            mismatch("str", value, at)
        if not pattern.fullmatch(value):
            raise ManifestError(at, f"expected {what}, got {shorten(value)}")
        return value

    return convert


def choice(known: Sequence[str]) -> Convert[str]:
    """One of a few strings."""
    return text(re.compile("|".join(map(re.escape, known))), " or ".join(repr(name) for name in known))


def array(of: Convert[T], least: int = 0, most: int = 100_000) -> Convert[tuple[T, ...]]:
    """An array of alike elements, as a tuple."""

    def convert(value: object, at: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            mismatch("array", value, at)
        if not least <= len(value) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ManifestError(at, f"expected {wanted} elements, got {len(value)}")
        return tuple(of(element, join(at, index)) for index, element in enumerate(value))

    return convert


def mapping(of: Convert[T], key: Convert[str], least: int = 0) -> Convert[dict[str, T]]:
    """An object of alike values under free keys, in the order of the document."""

    def convert(value: object, at: str) -> dict[str, T]:
        if not isinstance(value, dict):
            mismatch("object", value, at)
        if len(value) < least:
            raise ManifestError(
                at, f"expected at least {least} {'entry' if least == 1 else 'entries'}, got {len(value)}"
            )
        return {key(name, join(at, name)): of(entry, join(at, name)) for name, entry in value.items()}

    return convert


def optional(of: Convert[T]) -> Convert[T | None]:
    """Null, or what ``of`` accepts."""
    return lambda value, at: None if value is None else of(value, at)


def raw_object(value: object, at: str) -> dict[str, object]:
    """An object whose content is somebody else's to read."""
    if not isinstance(value, dict):
        mismatch("object", value, at)
    return value


def mismatch(expected: str, value: object, at: str) -> NoReturn:
    """Raise for a value of the wrong JSON type."""
    raise ManifestError(at, f"expected {expected}, got {_TYPE_NAMES.get(type(value), type(value).__name__)}")


def shorten(value: str, limit: int = 60) -> str:
    """An escaped, quoted and bounded form of untrusted text for a one-line message."""
    return json.dumps(value if len(value) <= limit else value[:limit] + "…", ensure_ascii=not value.isprintable())


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"expected each key once, found {shorten(key)} twice in one object")
            seen.add(key)
    return values


def _bounded_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"expected integers of at most {_MAX_DIGITS} characters, found one of {len(digits)}")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"expected numbers within the range of a double, found {shorten(digits, 20)}")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"expected JSON numbers, found {name}")


def _check_depth(value: object, at: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ())
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise ManifestError(at, f"expected at most {MAX_DEPTH} levels of nesting, found more")


def _check_text(value: object, at: str) -> None:
    if isinstance(value, dict):
        for key, entry in value.items():
            _check_text(key, join(at, key))
            _check_text(entry, join(at, key))
    elif isinstance(value, list):
        for index, entry in enumerate(value):
            _check_text(entry, join(at, index))
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ManifestError(at, "expected text, found a lone surrogate")

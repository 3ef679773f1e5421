"""The text of LightGBM's model files: a head, trees and a tail, of lines ``key=value``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_END = "end of trees"
_PARAMETERS, _END_OF_PARAMETERS = "\nparameters:\n", "\nend of parameters\n"
_PARAMETER = re.compile(r"\[\w+: .*\]")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|inf|nan)")
_CATEGORIES = "pandas_categorical:"


@dataclass(frozen=True, slots=True)
class LightGBMText:
    """A file's content.

    Args:
        head: what stands before the trees.
        trees: of each tree what stands in it.
        categories: of the data frame's columns of categories, in their order; None if there was no data frame.
    """

    head: Mapping[str, str]
    trees: tuple[Mapping[str, str], ...]
    categories: list[list[Any]] | None


def read_text(text: str) -> LightGBMText:
    """Take the file apart.

    Raises:
        ValueError: it is cut short or damaged.
    """
    text = text.replace("\r\n", "\n")
    if "\0" in text or "\r" in text:
        raise ValueError("a zero byte or a carriage return in it")
    before, end, tail = text.partition(f"\n{_END}\n")
    if not end:
        raise ValueError(f"expected {_END!r}, the file is cut short")
    if "version=v2" not in before[:64] and "\nend of parameters\n" not in tail:
        raise ValueError("expected 'end of parameters', the file is cut short")
    _check_parameters(f"\n{tail}")
    head, *trees = before.split("\nTree=")
    found = LightGBMText(_lines(head), tuple(_lines(f"Tree={tree}") for tree in trees), _categories(tail))
    _check_numbers(found.trees)
    if any("=" not in line for tree in trees for line in f"Tree={tree}".split("\n") if line):
        raise ValueError("a line of a tree without =")
    for i, tree in enumerate(found.trees):
        if tree["Tree"] != str(i):
            raise ValueError(f"expected tree {i}, found {tree['Tree']!r}")
    sizes = found.head.get("tree_sizes")
    # LightGBM itself finds the trees by these sizes.
    expected = [len(f"Tree={tree}\n".encode()) for tree in trees]
    if sizes is not None and trees and [int(size) for size in sizes.split()] != _sizes(expected, trees):
        raise ValueError("trees of other sizes than the file's head says")
    return found


def without_tail(text: str) -> str:
    """The file without the options it was trained with: they answer nothing, and damaged ones crash LightGBM."""
    before, end, tail = text.replace("\r\n", "\n").partition(f"\n{_END}\n")
    line = next((line for line in reversed(tail.split("\n")) if line.startswith(_CATEGORIES)), f"{_CATEGORIES}null")
    return f"{before}{end}\n{line}\n"


def _check_parameters(tail: str) -> None:
    """Refuse a list of parameters on which LightGBM itself crashes: one without an end, or a line of another form."""
    _, begun, after = tail.partition(_PARAMETERS)
    lines, end, _ = after.partition(_END_OF_PARAMETERS)
    if begun and not end:
        raise ValueError(f"expected {_END_OF_PARAMETERS.strip()!r}, the file is cut short")
    for line in lines.split("\n"):
        if line and not _PARAMETER.fullmatch(line):
            raise ValueError(f"expected a parameter in brackets, found {line[:40]!r}")


def _check_numbers(trees: tuple[Mapping[str, str], ...]) -> None:
    """Refuse what is no number, also where it does not count for the answers: LightGBM itself crashes on it."""
    for tree in trees:
        if "num_cat" not in tree:
            raise ValueError("a tree without num_cat")
        for key, value in tree.items():
            if not all(map(_NUMBER.fullmatch, value.split())):
                raise ValueError(f"{key[:40]}: expected numbers, found {value[:40]!r}")


def _sizes(lengths: list[int], trees: list[str]) -> list[int]:
    # The last tree's empty lines stand before the end of the trees.
    return [*lengths[:-1], lengths[-1] + (0 if trees[-1].endswith("\n") else 1)]


def _lines(block: str) -> dict[str, str]:
    found = {}
    for line in block.split("\n"):
        key, _, value = line.partition("=")
        if key:
            found[key] = value
    return found


def _categories(tail: str) -> list[list[Any]] | None:
    line = next((line for line in reversed(tail.split("\n")) if line.startswith(_CATEGORIES)), None)
    if line is None:
        return None
    found = json.loads(line.removeprefix(_CATEGORIES))
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(one, list) for one in found):
        raise ValueError("expected lists of categories")
    return found

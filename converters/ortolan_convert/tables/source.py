"""A model over the rows of a table: its columns, its ONNX graph, and the library it came from, to be asked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.parity import Answers

    Rows = Mapping[str, NDArray[Any]]
    """Columns by name: float64 [n], or object [n] of str (None where missing; whole numbers as digits if hashed)."""


MISSING = "\uffff"
"""Stands for a missing string in a graph, which has no None. The code point is no character."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of the table that a model takes.

    Args:
        name: as in the training data, else ``x0``, ``x1``, …
        kind: whether it holds numbers, strings (categories), categories that the model knows by their hashes, text
            that becomes features of words, or what the model does not look at.
        missing: whether NaN or None may stand for an unknown value.
        infinite: whether infinities are taken.
        values: what made-up rows draw from beside random values: known categories, thresholds.
        closed: whether the source refuses all but ``values``.
        text: of a text, how it becomes the model's inputs; see `ortolan.inputs.ngram_sets`.
        hash: of hashed categories, a name of `ortolan.inputs.column_hashes.HASHES`.
    """

    name: str
    kind: Literal["number", "string", "hashed", "text", "unused"] = "number"
    missing: bool = False
    infinite: bool = False
    values: tuple[str | float, ...] = ()
    closed: bool = False
    text: Mapping[str, object] | None = None
    hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSource:
    """What a reader (:mod:`ortolan_convert.sources.kinds`) makes of an artifact.

    Args:
        framework: it was trained with, e.g. ``"lightgbm"``.
        version: of the framework that wrote the artifact, as far as that says; else of the one that read it.
        packages: distributions that took part, whose versions are noted.
        task: ``tabular-classification``, ``tabular-regression`` or ``clustering``.
        columns: of the table, in the order of the model.
        labels: of a classifier, in the order of its numbers.
        targets: of a regression.
        ask: the library's own answers to rows, of all columns but unused ones.
        build: adds the model's nodes, given one value for all number columns (float64 [batch, n], in their order) and
            one for each column of strings (object [batch, 1], :data:`MISSING` where one is missing) or of hashes
            (int64 [batch, 1]) by name, and adds the inputs of texts itself; gives the
            outputs by name, each float64 [batch, n]: ``probabilities``, ``scores``, ``values``, ``distances``; and
            ``label``, int64 [batch], the number of the class, where it does not follow from the largest probability
            (or score, where there are no probabilities).
        assets: what columns of texts need, by path below ``assets/``.
        notes: what a user should know, one sentence each.
    """

    framework: str
    version: str
    packages: tuple[str, ...] = ()
    task: str
    columns: tuple[Column, ...]
    labels: tuple[Label, ...] = ()
    targets: tuple[str, ...] = ()
    ask: Callable[[Rows], Answers]
    build: Callable[[GraphBuilder, Value | None, Mapping[str, Value]], Mapping[str, Value]]
    assets: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

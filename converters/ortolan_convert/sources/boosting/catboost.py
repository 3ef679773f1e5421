"""CatBoost's models, saved as cbm. CatBoost asks ``float32(x) > border`` and sums in float64."""

from __future__ import annotations

import json
import struct
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.parity import Answers
from ortolan_convert.sources.boosting.catboost_trees import read_categories, read_columns, read_symmetric, read_trees
from ortolan_convert.sources.boosting.first_read import read_apart
from ortolan_convert.sources.boosting.table import MOST_VALUES, BoostingTable, source_of
from ortolan_convert.sources.packages import require
from ortolan_convert.trees.answers import BOTH_SIDES, largest, sigmoid, softmax
from ortolan_convert.trees.symmetric import is_worth_while, sums_of_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.request import Request
    from ortolan_convert.sources.boosting.catboost_categories import Categories
    from ortolan_convert.tables.source import Column, TableSource
    from ortolan_convert.trees.ensemble import Trees
    from ortolan_convert.trees.symmetric import SymmetricTree

_READS = """
import catboost, os, tempfile
model = catboost.CatBoost()
model.load_model(sys.argv[1], format="cbm")
with tempfile.TemporaryDirectory(prefix="ortolan-") as directory:
    model.save_model(os.path.join(directory, "model.json"), format="json")
row = [0.0] * len(model.feature_names_)
for column in model.get_cat_feature_indices():
    row[column] = ""
model.predict([row])
"""

Kind = Literal["binary", "softmax", "one-vs-all", "identity", "exponential"]

LOSSES: Mapping[str, Kind] = {
    "Logloss": "binary",
    "CrossEntropy": "binary",
    "Focal": "binary",
    "MultiClass": "softmax",
    "MultiClassOneVsAll": "one-vs-all",
    "Poisson": "exponential",
    "Tweedie": "exponential",
}
"""What losses make of the sums; others leave them as they are."""
REFUSED: Mapping[str, str] = {
    "RMSEWithUncertainty": "its answers are a mean and a variance; train with RMSE",
    "MultiLogloss": "several labels at once; train a classifier for each",
    "MultiCrossEntropy": "several labels at once; train a classifier for each",
}
"""Losses, and why they cannot be converted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CatBoostModel:
    """A model of CatBoost, read and checked.

    Args:
        kind: what it makes of the sums.
        labels: of a classifier.
        border: score above which a binary classifier answers with its second class.
        trees: over ``table``'s columns of numbers and what ``categories`` makes of the others.
        symmetric: the same trees, if they are symmetric; else none.
        table: the columns.
        categories: what the trees ask of columns of categories.
    """

    kind: Kind
    labels: tuple[Label, ...]
    border: float
    trees: Trees
    symmetric: tuple[SymmetricTree, ...]
    table: BoostingTable
    categories: Categories

    def columns(self) -> tuple[Column, ...]:
        """The table's columns; made-up rows draw from borders in combinations too."""
        found = list(self.table.columns(self.trees, infinite=True, closed=False))
        numbers = [place for place, column in enumerate(found) if column.kind == "number"]
        for column, place in enumerate(numbers):
            more = self.categories.borders(column)[:MOST_VALUES]
            found[place] = replace(found[place], values=(*found[place].values, *more))
        return tuple(found)

    def matrix(self, graph: GraphBuilder, numbers: Value | None, others: Mapping[str, Value]) -> Value:
        """float64 [batch, columns]: what the trees see."""
        if not self.categories.columns:
            return self.table.matrix(graph, numbers, others)
        hashes = [others[self.table.names[column]] for column in self.categories.columns]
        return self.categories.matrix(graph, numbers, hashes)

    def notes(self) -> tuple[str, ...]:
        """What a user should know about rows that are made up for columns of categories."""
        names = [self.table.names[column] for column in self.categories.columns]
        unknown = [
            name for column, name in zip(self.categories.columns, names, strict=True) if not self.table.hashed[column]
        ]
        found = []
        if len(names) > len(unknown):
            found.append(
                "the model holds hashes of categories, not the categories: made-up rows have other strings with the "
                "same hashes"
            )
        if unknown:
            listed = ", ".join(map(repr, unknown[:8]))
            found.append(
                f"no known category of column {listed} stands in the model: made-up rows have only unknown ones"
            )
        return tuple(found)

    def build(self, graph: GraphBuilder, x: Value) -> Mapping[str, Value]:
        """Add the nodes; gives the outputs by name."""
        sums = self._sums(graph, x)
        if self.kind == "binary":
            # The logistic function is the softmax of the halves.
            halves = graph.node("MatMul", sums, graph.constant(BOTH_SIDES / 2), shape=(x.shape[0], 2))
            found = {"probabilities": softmax(graph, halves)}
            if self.border:
                shifted = graph.node("Add", halves, graph.constant(np.array([self.border, -self.border]) / 2))
                found["label"] = largest(graph, shifted)
            return found
        if self.kind in ("softmax", "one-vs-all"):
            return {"probabilities": softmax(graph, sums) if self.kind == "softmax" else sigmoid(graph, sums)}
        return {"values": graph.node("Exp", sums) if self.kind == "exponential" else sums}

    def _sums(self, graph: GraphBuilder, x: Value) -> Value:
        """float64 [batch, outputs]."""

        def walked() -> Value:
            return self.trees.rounded_sums(graph, x) if self.trees.outputs == 1 else self.trees.sums(graph, x)

        if not is_worth_while(self.symmetric):
            return walked()
        return graph.one_or_more(x, lambda: sums_of_one(graph, x, self.symmetric, self.trees.base), walked)

    def answers(self, model: Any, x: NDArray[Any]) -> Answers:
        """The library's answers to rows."""
        if not self.labels:
            kind = "Exponent" if self.kind == "exponential" else "RawFormulaVal"
            values = np.asarray(model.predict(x, prediction_type=kind), np.float64)
            return Answers(np.zeros(len(values), np.int64), {"values": values.reshape(len(values), -1)}, "values")
        shares = np.asarray(model.predict(x, prediction_type="Probability"), np.float64)
        found = np.asarray(model.predict(x, prediction_type="Class")).reshape(-1)
        position = {str(label): i for i, label in enumerate(self.labels)}
        labels = np.array([position[str(label)] for label in found.tolist()], np.int64)
        return Answers(labels, {"probabilities": shares}, "probabilities")


def read_table_model(request: Request) -> TableSource:
    """Read a model of CatBoost.

    Raises:
        ConversionError: the file is damaged, cut short or of a later form.
        UnsupportedError: texts or embeddings among its features; a loss outside what is supported.
        MissingPackageError: catboost is not installed.
    """
    request.without_config()
    path = request.only_path()
    catboost = require("catboost", "catboost", "boosting")
    check_file(path.read_bytes(), path.name)
    read_apart(path, "catboost", _READS)
    library = catboost.CatBoost()
    try:
        library.load_model(str(path), format="cbm")
    except (catboost.CatBoostError, ValueError, MemoryError) as error:
        reason = " ".join(str(error).split())[-160:]
        raise ConversionError(f"{path}: catboost {catboost.__version__} cannot read it: {reason}") from None
    return table_source(library, path.name, sampled=request.samples is not None)


def table_source(library: Any, place: str, *, sampled: bool) -> TableSource:
    """What becomes a bundle, of a model of the library; see :func:`read_model` for the errors.

    Args:
        library: the model.
        place: where it stands, for messages.
        sampled: whether the user has given rows, which leaves nothing to say of those that are made up.
    """
    catboost = require("catboost", "catboost", "boosting")
    model = read_model(library, place)
    return source_of(
        "catboost",
        catboost.__version__,
        model.trees,
        model.labels,
        columns=model.columns(),
        ask=lambda rows: model.answers(library, model.table.frame(rows)),
        build=lambda graph, numbers, others: model.build(graph, model.matrix(graph, numbers, others)),
        notes=() if sampled else model.notes(),
    )


def check_file(data: bytes, place: str) -> None:
    """Check a cbm file's frame: what it announces must be there.

    Raises:
        ConversionError: it is cut short.
    """
    if len(data) < 8:
        raise ConversionError(f"{place}: a CatBoost model cut short after {len(data)} bytes")
    (size,) = struct.unpack_from("<I", data, 4)
    if not 0 < size <= len(data) - 8:
        raise ConversionError(f"{place}: a CatBoost model of {size + 8} bytes that is cut short to {len(data)}")


def count_tables(data: bytes) -> int:
    """How many tables of counters a whole cbm file has: the number that follows the trees, if anything does."""
    (size,) = struct.unpack_from("<I", data, 4)
    return int(struct.unpack_from("<I", data, 8 + size)[0]) if len(data) >= 12 + size else 0


def read_model(library: Any, place: str) -> CatBoostModel:
    """A model of CatBoost from the library's own, by its export to JSON.

    Raises:
        ConversionError: the model is damaged.
        UnsupportedError: texts or embeddings among its features; a loss outside what is supported; counters that the
            export does not tell apart.
    """
    names = [name or f"x{i}" for i, name in enumerate(library.feature_names_)]
    others = [*library._get_text_feature_indices(), *library._get_embedding_feature_indices()]  # noqa: SLF001 - their only names
    if others:
        raise UnsupportedError(f"{place}: column {names[others[0]]!r} holds text or embeddings; train without it")
    data = _saved(library, "json", place)
    tables = count_tables(_saved(library, "cbm", place))
    try:
        content = json.loads(data)
        if tables != len(content.get("ctr_data") or {}):
            raise UnsupportedError(
                f"{place}: several counters of one type that divide the target differently, which CatBoost's export "
                "does not tell apart; train with one TargetBorderCount for each type of simple_ctr and combinations_ctr"
            )
        return _read(content, library, place)
    except OrtolanError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = one_line(error)
        raise ConversionError(f"{place}: a CatBoost model that is damaged or of an unknown form ({reason})") from None


def _saved(library: Any, form: str, place: str) -> bytes:
    """The model as the library saves it."""
    catboost = require("catboost", "catboost", "boosting")
    with tempfile.TemporaryDirectory(prefix="ortolan-") as directory:
        path = Path(directory, f"model.{form}")
        try:
            library.save_model(str(path), format=form)
        except catboost.CatBoostError as error:
            reason = " ".join(str(error).split())[-160:]
            raise ConversionError(f"{place}: catboost {catboost.__version__} cannot save it again: {reason}") from None
        return path.read_bytes()


def _read(content: Any, library: Any, place: str) -> CatBoostModel:
    information = content.get("model_info", {})
    loss = information.get("params", {}).get("loss_function", {}).get("type", "RMSE")
    if loss in REFUSED:
        raise UnsupportedError(f"{place}: loss {loss!r} is not supported: {REFUSED[loss]}")
    kind = LOSSES.get(loss, "identity")
    columns, of_categories = read_columns(content["features_info"])
    categories, questions = read_categories(content, of_categories)
    known = categories.known()
    hashed = {column: known.get(i, ()) for i, column in enumerate(of_categories)}
    table = BoostingTable(columns, {}, place, hashed)
    table.check()
    labels: tuple[Label, ...] = ()
    if kind in ("binary", "softmax", "one-vs-all"):
        labels = tuple(one.item() if isinstance(one, np.generic) else one for one in library.classes_)
    trees = read_trees(content, questions, categories.width, place)
    wanted = 1 if kind == "binary" else len(labels) or trees.outputs
    if trees.outputs != wanted or (labels and len(labels) < 2):
        raise ValueError(f"{trees.outputs} outputs for {len(labels)} classes")
    border = 0.0
    if kind == "binary":
        share = float(dict(library.get_metadata().items()).get("binclass_probability_threshold", "0.5"))
        border = float(np.log(share) - np.log1p(-share)) if 0 < share < 1 else 0.0
    return CatBoostModel(
        kind=kind,
        labels=labels,
        border=border,
        trees=trees,
        symmetric=read_symmetric(content, questions),
        table=table,
        categories=categories,
    )

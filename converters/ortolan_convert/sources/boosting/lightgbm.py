"""LightGBM's models, saved as text. LightGBM compares and sums in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.messages import one_line, words
from ortolan_convert.parity import Answers
from ortolan_convert.provenance import installed
from ortolan_convert.sources.boosting.first_read import read_apart
from ortolan_convert.sources.boosting.lightgbm_text import LightGBMText, read_text, without_tail
from ortolan_convert.sources.boosting.lightgbm_trees import read_categories, read_tree
from ortolan_convert.sources.boosting.table import BoostingTable, source_of
from ortolan_convert.sources.packages import require
from ortolan_convert.trees.answers import BOTH_SIDES, logistic, sigmoid, softmax
from ortolan_convert.trees.joining import joined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.request import Request
    from ortolan_convert.tables.source import TableSource
    from ortolan_convert.trees.ensemble import Trees

VERSIONS = ("v2", "v3", "v4")
"""Forms of the file that are known."""

_READS = """
import lightgbm
trees, end, _ = open(sys.argv[1], encoding="utf-8").read().partition("end of trees")
booster = lightgbm.Booster(model_str=f"{trees}{end}\\n\\npandas_categorical:null\\n")
booster.predict(numpy.zeros((1, booster.num_feature())))
"""

Link = Literal["identity", "square", "exponential", "logistic", "log-one-plus-exp"]

CLASSES = ("binary", "multiclass", "multiclassova")
"""Objectives of classifiers."""
VALUES: Mapping[str, Link] = {
    "regression": "identity",
    "regression_l1": "identity",
    "huber": "identity",
    "fair": "identity",
    "quantile": "identity",
    "mape": "identity",
    "poisson": "exponential",
    "gamma": "exponential",
    "tweedie": "exponential",
    "cross_entropy": "logistic",
    "cross_entropy_lambda": "log-one-plus-exp",
    "lambdarank": "identity",
    "rank_xendcg": "identity",
}
"""Objectives of regressions, and what they make of the sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LightGBMModel:
    """A model of LightGBM, read and checked.

    Args:
        objective: its name; ``regression`` for one of the user's own, whose model answers with the sums.
        link: what a regression makes of the sums.
        steepness: factor of the sums before the logistic function.
        rounds: what the sums are divided by: the rounds of a random forest, else 1.
        trees: over ``table``'s columns.
        table: the columns.
    """

    objective: str
    link: Link
    steepness: float
    rounds: int
    trees: Trees
    table: BoostingTable

    @property
    def classes(self) -> int:
        """How many classes there are; 0 of a regression."""
        if self.objective not in CLASSES:
            return 0
        return 2 if self.objective == "binary" else self.trees.outputs

    def build(self, graph: GraphBuilder, x: Value) -> Mapping[str, Value]:
        """Add the nodes; gives the outputs by name."""
        binary = self.objective == "binary"
        sums = self.trees.sums(graph, x, BOTH_SIDES if binary else None)
        if self.rounds > 1:
            sums = graph.node("Div", sums, graph.number(float(self.rounds)))
        if binary:
            return {"probabilities": logistic(graph, sums, self.steepness)}
        if self.objective == "multiclass":
            return {"probabilities": softmax(graph, sums)}
        if self.objective == "multiclassova":
            steep = sums if self.steepness == 1 else graph.node("Mul", sums, graph.number(self.steepness))
            return {"probabilities": sigmoid(graph, steep)}
        return {"values": _LINKS[self.link](graph, sums)}

    def answers(self, predicted: NDArray[Any]) -> Answers:
        """LightGBM's predictions, [n] or [n, outputs], as answers."""
        columns = np.asarray(predicted, np.float64).reshape(len(predicted), -1)
        if not self.classes:
            return Answers(np.zeros(len(columns), np.int64), {"values": columns}, "values")
        shares = np.concatenate([1 - columns, columns], axis=1) if self.objective == "binary" else columns
        return Answers(shares.argmax(axis=1), {"probabilities": shares}, "probabilities")


def read_table_model(request: Request) -> TableSource:
    """Read a model of LightGBM.

    Raises:
        ConversionError: the file is damaged, cut short or of a later version.
        UnsupportedError: an objective outside what is supported, linear trees.
        MissingPackageError: lightgbm is not installed.
    """
    request.without_config()
    path = request.only_path()
    lightgbm = require("lightgbm", "lightgbm", "boosting")
    data = path.read_bytes()
    model = parse_model(data, path.name)
    read_apart(path, "lightgbm", _READS)
    try:
        booster = lightgbm.Booster(model_str=without_tail(data.decode()))
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise ConversionError(f"{path}: lightgbm {lightgbm.__version__} cannot read it: {words(error)}") from None
    return table_source(booster, model, tuple(range(model.classes)))


def table_source(booster: Any, model: LightGBMModel, labels: tuple[Label, ...]) -> TableSource:
    """What becomes a bundle.

    Args:
        booster: the library's own, to be asked.
        model: what was read of it.
        labels: of a classifier; a file does not have them.
    """
    return source_of(
        "lightgbm",
        installed("lightgbm") or "unknown",
        model.trees,
        labels,
        columns=model.table.columns(model.trees, infinite=True, closed=False),
        ask=lambda rows: model.answers(np.asarray(booster.predict(model.table.frame(rows)))),
        build=lambda graph, numbers, others: model.build(graph, model.table.matrix(graph, numbers, others)),
    )


def parse_model(data: bytes, place: str) -> LightGBMModel:
    """A model of LightGBM from what its ``save_model`` or ``model_to_string`` wrote.

    Raises:
        ConversionError: damaged, cut short or of a later version.
        UnsupportedError: an objective outside what is supported, linear trees.
    """
    try:
        return _read(read_text(data.decode()), place)
    except OrtolanError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, OverflowError) as error:
        reason = one_line(error)
        raise ConversionError(f"{place}: a LightGBM model that is damaged or of an unknown form ({reason})") from None


def _read(text: LightGBMText, place: str) -> LightGBMModel:
    head = text.head
    if head["version"] not in VERSIONS:
        raise ConversionError(f"{place}: LightGBM's form {head['version']!r}; known: {', '.join(VERSIONS)}")
    names = tuple(head["feature_names"].split(" "))
    if len(names) != int(head["max_feature_idx"]) + 1:
        raise ValueError(f"{len(names)} names for {int(head['max_feature_idx']) + 1} columns")
    table = BoostingTable(names, read_categories(text, names, place), place)
    table.check()
    outputs = int(head["num_tree_per_iteration"])
    if not 1 <= outputs <= max(1, len(text.trees)):
        raise ValueError(f"{len(text.trees)} trees for {outputs} outputs")
    # The user's own objective is not in the file: LightGBM answers with the sums.
    objective, *options = head.get("objective", "regression").split()
    settings = dict(option.split(":", 1) for option in options if ":" in option)
    if objective not in CLASSES and objective not in VALUES:
        known = ", ".join((*CLASSES, *VALUES))
        raise UnsupportedError(f"{place}: objective {objective!r} is not supported; known: {known}")
    link = VALUES.get(objective, "identity")
    places = table.places()
    trees = [read_tree(tree, table, places, place) for tree in text.trees]
    return LightGBMModel(
        objective=objective,
        link="square" if "sqrt" in options and link == "identity" else link,
        steepness=float(settings.get("sigmoid", "1")),
        rounds=len(trees) // outputs if "average_output" in head else 1,
        trees=joined(trees, np.arange(len(trees)) % outputs, np.zeros(outputs), place, features=len(names)),
        table=table,
    )


def _square(graph: GraphBuilder, sums: Value) -> Value:
    return graph.node("Mul", sums, graph.node("Abs", sums))


def _log_one_plus_exp(graph: GraphBuilder, sums: Value) -> Value:
    return graph.node("Log", graph.node("Add", graph.node("Exp", sums), graph.number(1.0)))


_LINKS: Mapping[Link, Callable[[GraphBuilder, Value], Value]] = {
    "identity": lambda _, sums: sums,
    "square": _square,
    "exponential": lambda graph, sums: graph.node("Exp", sums),
    "logistic": sigmoid,
    "log-one-plus-exp": _log_one_plus_exp,
}

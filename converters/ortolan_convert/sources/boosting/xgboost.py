"""XGBoost's models, saved as JSON or UBJSON.

XGBoost takes float32: ``float32(x) < float32(threshold)`` goes left. It sums in float32, the base score first, then
tree after tree; what follows the sum is float32 too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ortolan.errors import ConversionError, OrtolanError, UnsupportedError
from ortolan_convert.messages import one_line
from ortolan_convert.parity import Answers
from ortolan_convert.sources.boosting.first_read import read_apart
from ortolan_convert.sources.boosting.table import BoostingTable, column_names, source_of
from ortolan_convert.sources.boosting.ubjson import read_ubjson
from ortolan_convert.sources.boosting.xgboost_trees import read_categories, read_trees
from ortolan_convert.sources.packages import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan.tasks.text_classification import Label
    from ortolan_convert.graph import GraphBuilder, Value
    from ortolan_convert.request import Request
    from ortolan_convert.tables.source import Rows, TableSource
    from ortolan_convert.trees.ensemble import Trees

NEWEST = 3
"""Largest major version whose files are known."""

_READS = """
import xgboost
booster = xgboost.Booster()
booster.load_model(bytearray(open(sys.argv[1], "rb").read()))
rows = numpy.zeros((1, booster.num_features()))
booster.predict(xgboost.DMatrix(rows, feature_names=booster.feature_names, feature_types=booster.feature_types))
"""

Link = Literal["identity", "logistic", "exponential", "softmax", "hinge"]


@dataclass(frozen=True, slots=True)
class Objective:
    """What an objective makes of the sums.

    Args:
        link: the function.
        classifies: whether its answers are those of classes.
        base: the function whose inverse the base score goes through; what it is stored as.
    """

    link: Link
    classifies: bool = False
    base: Literal["identity", "logistic", "exponential"] = "identity"


_VALUES = Objective("identity")
_POSITIVE = Objective("exponential", base="exponential")

OBJECTIVES: Mapping[str, Objective] = {
    "binary:logistic": Objective("logistic", classifies=True, base="logistic"),
    "binary:logitraw": _VALUES,
    "binary:hinge": Objective("hinge", classifies=True),
    "multi:softprob": Objective("softmax", classifies=True),
    "multi:softmax": Objective("softmax", classifies=True),
    "reg:squarederror": _VALUES,
    "reg:linear": _VALUES,
    "reg:squaredlogerror": _VALUES,
    "reg:pseudohubererror": _VALUES,
    "reg:absoluteerror": _VALUES,
    "reg:quantileerror": _VALUES,
    "reg:logistic": Objective("logistic", base="logistic"),
    "reg:gamma": _POSITIVE,
    "reg:tweedie": _POSITIVE,
    "count:poisson": _POSITIVE,
    "survival:cox": _POSITIVE,
    "survival:aft": _POSITIVE,
    "rank:pairwise": _VALUES,
    "rank:ndcg": _VALUES,
    "rank:map": _VALUES,
}
"""By XGBoost's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XGBoostModel:
    """A model of XGBoost, read and checked.

    Args:
        objective: what it makes of the sums.
        trees: over ``table``'s columns.
        table: the columns.
        iterations: how many rounds count; 0 for all.
        version: of the library that wrote it.
    """

    objective: Objective
    trees: Trees
    table: BoostingTable
    iterations: int
    version: str

    @property
    def classes(self) -> int:
        """How many classes there are; 0 of a regression."""
        if not self.objective.classifies:
            return 0
        return self.trees.outputs if self.objective.link == "softmax" else 2

    def build(self, graph: GraphBuilder, x: Value) -> Mapping[str, Value]:
        """Add the nodes; gives the outputs by name."""
        link = self.objective.link
        sums = self.trees.float32_sums(graph, x)
        if link in ("logistic", "hinge"):
            positive = _logistic_in_float32(graph, sums) if link == "logistic" else _positive(graph, sums)
            if not self.objective.classifies:
                return {"values": positive}
            sides = (np.array([[-1, 1]], np.float32), np.array([1, 0], np.float32))
            numbers = graph.node("Gemm", positive, *map(graph.constant, sides), shape=(x.shape[0], 2))
        elif link == "softmax":
            numbers = graph.cast(graph.node("Softmax", graph.cast(sums, "float64"), axis=1), "float32")
        else:
            wide = graph.cast(sums, "float64")
            return {"values": graph.node("Exp", wide) if link == "exponential" else wide}
        return {"probabilities": numbers}

    def answers(self, predicted: NDArray[Any]) -> Answers:
        """XGBoost's predictions as answers.

        Args:
            predicted: [n] or [n, outputs], what the library's ``predict`` gave; of ``multi:softmax`` probabilities too.
        """
        predicted = np.asarray(predicted, np.float64)
        columns = predicted.reshape(len(predicted), -1)
        nothing = np.zeros(len(columns), np.int64)
        if not self.objective.classifies:
            return Answers(nothing, {"values": columns}, "values")
        if self.objective.link == "softmax":
            return Answers(columns.argmax(axis=1), {"probabilities": columns}, "probabilities")
        label = (columns[:, 0] > 0.5).astype(np.int64)
        shares = np.concatenate([np.float32(1) - columns.astype(np.float32), columns], axis=1)
        return Answers(label, {"probabilities": shares}, "probabilities")


def read_table_model(request: Request) -> TableSource:
    """Read a model of XGBoost.

    Raises:
        ConversionError: the file is damaged, cut short or of a later version.
        UnsupportedError: an objective or a booster outside what is supported.
        MissingPackageError: xgboost is not installed.
    """
    request.without_config()
    path = request.only_path()
    xgboost = require("xgboost", "xgboost", "boosting")
    data = path.read_bytes()
    model = parse_model(data, path.name)
    read_apart(path, "xgboost", _READS)
    booster = xgboost.Booster()
    try:
        booster.load_model(bytearray(data))
    except (xgboost.core.XGBoostError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise ConversionError(f"{path}: xgboost {xgboost.__version__} cannot read it: {first}") from None
    return table_source(booster, model, tuple(range(model.classes)))


def table_source(booster: Any, model: XGBoostModel, labels: tuple[Label, ...]) -> TableSource:
    """What becomes a bundle.

    Args:
        booster: the library's own, to be asked.
        model: what was read of it.
        labels: of a classifier; a file does not have them.
    """
    xgboost = require("xgboost", "xgboost", "boosting")
    early = f"stopped early: the best {model.iterations} rounds count, as in XGBoost's scikit-learn classes"
    return source_of(
        "xgboost",
        model.version,
        model.trees,
        labels,
        columns=model.table.columns(model.trees, infinite=False, closed=True),
        ask=lambda rows: model.answers(_predicted(xgboost, booster, model, rows)),
        build=lambda graph, numbers, others: model.build(graph, model.table.matrix(graph, numbers, others)),
        notes=(early,) if model.iterations else (),
    )


def parse_model(data: bytes, place: str) -> XGBoostModel:
    """A model of XGBoost from what its ``save_model`` or ``save_raw`` wrote.

    Args:
        data: JSON or UBJSON.
        place: for messages.

    Raises:
        ConversionError: damaged, cut short or of a later version.
        UnsupportedError: an objective or a booster outside what is supported.
    """
    content = _parsed(data, place)
    try:
        return _read(content, place)
    except OrtolanError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = one_line(error)
        raise ConversionError(f"{place}: an XGBoost model that is damaged or of an unknown form ({reason})") from None


def _parsed(data: bytes, place: str) -> Any:
    if data[:2] != b"{L" and b"learner{" not in data[:64]:
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ConversionError(f"{place}: its JSON is damaged or cut short ({error})") from None
    return read_ubjson(data, place)


def _read(content: Any, place: str) -> XGBoostModel:
    version = [int(number) for number in content["version"]]
    if version[0] > NEWEST:
        raise ConversionError(
            f"{place}: written by XGBoost {'.'.join(map(str, version))}; versions up to {NEWEST} are known"
        )
    learner = content["learner"]
    name = learner["objective"]["name"]
    objective = OBJECTIVES.get(name)
    if objective is None:
        raise UnsupportedError(f"{place}: objective {name!r} is not supported; known: {', '.join(OBJECTIVES)}")
    parameters = learner["learner_model_param"]
    count = int(parameters["num_feature"])
    names = column_names(learner.get("feature_names"), count)
    table = BoostingTable(names, read_categories(learner, place), place)
    table.check()
    if len(names) != count:
        raise ConversionError(f"{place}: {len(names)} names for {count} columns; the file is damaged")
    outputs = max(int(parameters["num_class"]), int(parameters.get("num_target", "1")), 1)
    attributes = learner.get("attributes") or {}
    iterations = int(attributes["best_iteration"]) + 1 if "best_iteration" in attributes else 0
    base = _base(parameters["base_score"], objective, outputs)
    trees = read_trees(learner["gradient_booster"], base, table, place, iterations)
    return XGBoostModel(
        objective=objective,
        trees=trees,
        table=table,
        iterations=iterations,
        version=".".join(map(str, version)),
    )


def _base(stored: object, objective: Objective, outputs: int) -> NDArray[Any]:
    """float32 [outputs]: what the sums begin with. Files hold it as text, one number or a list, before the link."""
    text = str(stored).strip("[] ")
    score = np.array([float(part) for part in text.split(",")], np.float32)
    if len(score) not in (1, outputs):
        raise ValueError(f"{len(score)} base scores for {outputs} outputs")
    with np.errstate(all="ignore"):
        if objective.base == "logistic":
            score = -np.log((np.float32(1) / score - np.float32(1)).astype(np.float64)).astype(np.float32)
        elif objective.base == "exponential":
            score = np.log(score.astype(np.float64)).astype(np.float32)
    return np.broadcast_to(score, (outputs,))


def _predicted(xgboost: Any, booster: Any, model: XGBoostModel, rows: Rows) -> NDArray[Any]:
    frame = model.table.frame(rows)
    names = None if model.table.categories else booster.feature_names
    types = None if model.table.categories else booster.feature_types
    matrix = xgboost.DMatrix(frame, feature_names=names, feature_types=types, enable_categorical=True, missing=np.nan)
    kept = (0, model.iterations)
    if model.objective.link != "softmax":
        return np.asarray(booster.predict(matrix, iteration_range=kept))
    # multi:softmax would answer with the label alone.
    margin = booster.predict(matrix, output_margin=True, iteration_range=kept)
    shares = np.exp(margin - margin.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def _logistic_in_float32(graph: GraphBuilder, sums: Value) -> Value:
    """``1 / (1 + exp(-x))``, each step rounded to float32 as XGBoost's are: near 1 the other class has few digits."""
    power = exp_in_float32(graph, graph.node("Neg", sums))
    return graph.node("Reciprocal", graph.node("Add", power, graph.constant(np.ones(1, np.float32))))


_EXP_STEPS = 32
_EXP_POLYNOMIAL = (0x1C6AF84B912394 / 2**57, 0x1EBFCE50FAC4F3 / 2**55, 0x162E42FF0C52D6 / 2**53)
"""Of r^3, r^2 and r: 2^r - 1 for r from -1/64 to 1/64."""
_EXP_LARGEST = 88.7
"""XGBoost's bound of the power (src/common/math.h)."""


def exp_in_float32(graph: GraphBuilder, power: Value) -> Value:
    """float32 ``exp`` as the C library's ``expf``, to the last bit: 1 in 1,600 results is not the nearest float32.

    In float64, x / ln 2 is a whole number of steps of 1/32 and a rest: exp(x) = 2^(steps / 32) * 2^rest, the latter by
    a polynomial (glibc since 2.27, sysdeps/ieee754/flt-32/e_expf.c, which is of Arm's optimized routines).
    """
    number = graph.number
    bounded = graph.node("Min", power, graph.constant(np.array(_EXP_LARGEST, np.float32)))
    # A rest r of steps is r / 32 of a power of 2.
    scaled = graph.node("Mul", graph.cast(bounded, "float64"), number(_EXP_STEPS / np.log(2)))
    steps = graph.node("Round", scaled)
    rest = graph.node("Sub", scaled, steps)
    cubic, square, linear = (c / _EXP_STEPS**degree for c, degree in zip(_EXP_POLYNOMIAL, (3, 2, 1), strict=True))
    high = graph.node("Add", graph.node("Mul", rest, number(cubic)), number(square))
    inner = graph.node("Add", graph.node("Mul", rest, high), number(linear))
    near_one = graph.node("Add", graph.node("Mul", rest, inner), number(1.0))
    two = graph.node("Pow", number(2.0), graph.node("Mul", steps, number(1 / _EXP_STEPS)), shape=steps.shape)
    return graph.cast(graph.node("Mul", near_one, two), "float32")


def _positive(graph: GraphBuilder, sums: Value) -> Value:
    """Float32 1 above 0, else 0."""
    above = graph.node("Greater", sums, graph.constant(np.zeros(1, np.float32)), dtype="bool")
    return graph.cast(above, "float32")

"""The trees of CatBoost's models, from their export to JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.sources.boosting.catboost_categories import Categories
from ortolan_convert.sources.boosting.catboost_counters import Same, checked_index, read_combination, read_counters
from ortolan_convert.trees.joining import Tree, joined
from ortolan_convert.trees.splits import at_most_in_float32
from ortolan_convert.trees.symmetric import SymmetricTree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ortolan_convert.trees.ensemble import Trees

DEEPEST = 16
"""Most levels of a symmetric tree, as in CatBoost itself: it has a leaf for each of their answers."""


def read_columns(features: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names of the columns, in their order, and where those of categories stand."""
    categories = features.get("categorical_features") or []
    floats = features.get("float_features") or []
    found = [""] * (len(floats) + len(categories))
    for one in (*floats, *categories):
        index = int(one["flat_feature_index"])
        if not 0 <= index < len(found) or found[index]:
            raise ValueError(f"column {index} of {len(found)}")
        found[index] = one.get("feature_id") or f"x{index}"
    return tuple(found), tuple(int(one["flat_feature_index"]) for one in categories)


@dataclass(frozen=True, slots=True)
class Questions:
    """What trees may ask of the columns that `catboost_categories.Categories` gives.

    Args:
        numbers: the column of each number, and its answer for NaN: no, unless NaN stands for more than all numbers.
        same: the column of each question for a category.
        counters: by the number of a split, the column of the counter and the border.
    """

    numbers: tuple[tuple[int, bool], ...]
    same: Mapping[Same, int]
    counters: Mapping[int, tuple[int, float]]

    def read(self, one: Mapping[str, Any]) -> tuple[int, float, bool]:
        """The column, the border that it is to be above, and the answer for NaN."""
        kind = one["split_type"]
        if kind == "FloatFeature":
            column, missing = self.numbers[checked_index(one["float_feature_index"], len(self.numbers))]
            return column, float(one["border"]), missing
        if kind == "OneHotFeature":
            return self.same[Same(int(one["cat_feature_index"]), int(one["value"]))], 0.5, False
        if kind == "OnlineCtr":
            column, border = self.counters[int(one["split_index"])]
            if border != float(one["border"]):
                raise ValueError(f"split {one['split_index']} at {one['border']} instead of {border}")
            return column, border, False
        raise UnsupportedError(f"a split of type {kind}")


def read_categories(content: Mapping[str, Any], columns: Sequence[int]) -> tuple[Categories, Questions]:
    """What becomes of categories, and what trees may ask.

    Splits are numbered: the borders of all numbers, then the values of categories, then the borders of counters.

    Args:
        content: the export.
        columns: where those of categories stand in the table.

    Raises:
        UnsupportedError: counters of a kind that is not known, or too many.
    """
    features = content["features_info"]
    floats, categories = features.get("float_features") or [], features.get("categorical_features") or []
    # Columns of numbers come side by side, in their order.
    order = {flat: place for place, flat in enumerate(sorted(one["flat_feature_index"] for one in floats))}
    numbers = tuple((order[one["flat_feature_index"]], one.get("nan_value_treatment") == "AsTrue") for one in floats)
    asked = tuple(Same(place, int(value)) for place, one in enumerate(categories) for value in one.get("values") or [])
    counted = features.get("ctrs") or []
    parts = [read_combination(one["elements"], numbers, len(categories)) for one in counted]
    combinations, counters = read_counters(counted, content.get("ctr_data") or {}, parts)
    first = len(numbers) + len(asked)
    number = sum(len(one.get("borders") or []) for one in floats) + len(asked)
    borders = [(first + place, float(border)) for place, one in enumerate(counted) for border in one["borders"]]
    found = Categories(
        columns=tuple(columns), numbers=len(numbers), asked=asked, combinations=combinations, counters=counters
    )
    same = {one: len(numbers) + place for place, one in enumerate(asked)}
    return found, Questions(numbers, same, dict(enumerate(borders, number)))


def read_symmetric(content: Mapping[str, Any], questions: Questions) -> tuple[SymmetricTree, ...]:
    """The trees of a model that `read_trees` has read, if all are symmetric and NaN fails every question; else none."""
    if "oblivious_trees" not in content:
        return ()
    scale, bias = content["scale_and_bias"]
    found = []
    for stored in content["oblivious_trees"]:
        splits = [questions.read(one) for one in stored["splits"] or []]
        if any(missing for _, _, missing in splits):
            return ()
        found.append(
            SymmetricTree(
                feature=np.array([column for column, _, _ in splits], np.int64),
                threshold=at_most_in_float32(np.array([border for _, border, _ in splits], np.float64)),
                values=np.asarray(stored["leaf_values"], np.float64).reshape(1 << len(splits), np.size(bias)) * scale,
            )
        )
    return tuple(found)


def read_trees(content: Mapping[str, Any], questions: Questions, width: int, place: str) -> Trees:
    """The trees of a model.

    Args:
        content: the export.
        questions: what they ask.
        width: how many columns they see.
        place: of the model, for messages.

    Raises:
        ConversionError: they are damaged.
    """
    scale, bias = content["scale_and_bias"]
    base = np.asarray(bias, np.float64).reshape(-1)
    if "oblivious_trees" in content:
        trees = [_symmetric(one, questions, len(base), scale) for one in content["oblivious_trees"]]
    else:
        trees = [_any_form(one, questions, len(base), scale) for one in content["trees"]]
    return joined(trees, [0] * len(trees), base, place, features=width)


def _symmetric(stored: Mapping[str, Any], questions: Questions, width: int, scale: float) -> Tree:
    """A tree with one question for each level; the first is the last bit of a leaf's number."""
    splits = [questions.read(one) for one in reversed(stored["splits"] or [])]
    depth = len(splits)
    if depth > DEEPEST:
        raise ValueError(f"{depth} levels")
    inner, leaves = (1 << depth) - 1, 1 << depth
    values = np.asarray(stored["leaf_values"], np.float64).reshape(leaves, width) * scale
    level = np.repeat(np.arange(depth), 1 << np.arange(depth))
    column = np.array([one[0] for one in splits], np.int64)[level]
    border = np.array([one[1] for one in splits], np.float64)[level]
    missing_right = np.array([one[2] for one in splits], bool)[level]
    number = np.arange(inner)
    nothing = np.zeros(leaves)
    return Tree(
        feature=np.concatenate([column, np.full(leaves, -1)]).astype(np.int64),
        threshold=np.concatenate([at_most_in_float32(border), nothing]),
        left=np.concatenate([2 * number + 1, nothing]).astype(np.int64),
        right=np.concatenate([2 * number + 2, nothing]).astype(np.int64),
        values=np.concatenate([np.zeros((inner, width)), values]),
        missing_left=np.concatenate([~missing_right, nothing]).astype(bool),
    )


def _any_form(stored: Mapping[str, Any], questions: Questions, width: int, scale: float) -> Tree:
    """A tree of nested nodes."""
    rows: list[tuple[int, float, bool, Any]] = []
    children: list[list[int]] = []
    waiting: list[tuple[Mapping[str, Any], int, int]] = [(stored, -1, 0)]
    while waiting:
        node, parent, side = waiting.pop()
        number = len(rows)
        if parent >= 0:
            children[parent][side] = number
        children.append([0, 0])
        if "split" in node:
            column, border, missing_right = questions.read(node["split"])
            rows.append((column, border, not missing_right, [0.0] * width))
            waiting += [(node["right"], number, 1), (node["left"], number, 0)]
        else:
            value = np.asarray(node["value"], np.float64).reshape(-1) * scale
            rows.append((-1, 0.0, False, value.tolist()))
    both = np.array(children, np.int64)
    return Tree(
        feature=np.array([row[0] for row in rows], np.int64),
        threshold=at_most_in_float32(np.array([row[1] for row in rows])),
        left=both[:, 0],
        right=both[:, 1],
        values=np.array([row[3] for row in rows]).reshape(len(rows), width),
        missing_left=np.array([row[2] for row in rows], bool),
    )

"""The trees of CatBoost's models, from their export to JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.symmetric_trees import SymmetricTree
from ortolan_convert.tree_joining import Tree, joined
from ortolan_convert.tree_splits import at_most_in_float32

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan_convert.sources.boosting_table import BoostingTable
    from ortolan_convert.trees import Trees

DEEPEST = 16
"""Most levels of a symmetric tree, as in CatBoost itself: it has a leaf for each of their answers."""


def read_columns(features: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the columns, in their order."""
    floats = features["float_features"]
    found = [""] * len(floats)
    for one in floats:
        index = int(one["flat_feature_index"])
        if not 0 <= index < len(found) or found[index]:
            raise ValueError(f"column {index} of {len(found)}")
        found[index] = one.get("feature_id") or f"x{index}"
    return tuple(found)


def read_symmetric(content: Mapping[str, Any]) -> tuple[SymmetricTree, ...]:
    """The trees of a model that `read_trees` has read, if all are symmetric and NaN fails every question; else none."""
    floats = content["features_info"]["float_features"]
    if "oblivious_trees" not in content or any(one.get("nan_value_treatment") == "AsTrue" for one in floats):
        return ()
    columns = np.array([one["flat_feature_index"] for one in floats], np.int64)
    scale, bias = content["scale_and_bias"]
    found = []
    for stored in content["oblivious_trees"]:
        splits = [_split(one, columns) for one in stored["splits"]]
        leaves = np.asarray(stored["leaf_values"], np.float64).reshape(1 << len(splits), np.size(bias))
        found.append(
            SymmetricTree(
                feature=columns[[one for one, _ in splits]],
                threshold=at_most_in_float32(np.array([one for _, one in splits])),
                values=leaves * scale,
            )
        )
    return tuple(found)


def read_trees(content: Mapping[str, Any], table: BoostingTable, place: str) -> Trees:
    """The trees of a model.

    Raises:
        ConversionError: they are damaged.
    """
    floats = content["features_info"]["float_features"]
    columns = np.array([one["flat_feature_index"] for one in floats], np.int64)
    # NaN fails every question, unless it stands for more than all numbers.
    missing_right = np.array([one.get("nan_value_treatment") == "AsTrue" for one in floats], bool)
    scale, bias = content["scale_and_bias"]
    base = np.asarray(bias, np.float64).reshape(-1)
    if "oblivious_trees" in content:
        trees = [_symmetric(one, columns, missing_right, len(base), scale) for one in content["oblivious_trees"]]
    else:
        trees = [_any_form(one, columns, missing_right, len(base), scale) for one in content["trees"]]
    return joined(trees, [0] * len(trees), base, place, features=len(table.names))


def _split(one: Mapping[str, Any], columns: NDArray[Any]) -> tuple[int, float]:
    if one["split_type"] != "FloatFeature":
        raise UnsupportedError(f"a split of type {one['split_type']}")
    index = int(one["float_feature_index"])
    if not 0 <= index < len(columns):
        raise ValueError(f"column {index} of {len(columns)}")
    return index, float(one["border"])


def _symmetric(
    stored: Mapping[str, Any], columns: NDArray[Any], missing_right: NDArray[Any], width: int, scale: float
) -> Tree:
    """A tree with one question for each level; the first is the last bit of a leaf's number."""
    splits = [_split(one, columns) for one in reversed(stored["splits"])]
    depth = len(splits)
    if depth > DEEPEST:
        raise ValueError(f"{depth} levels")
    inner, leaves = (1 << depth) - 1, 1 << depth
    values = np.asarray(stored["leaf_values"], np.float64).reshape(leaves, width) * scale
    level = np.repeat(np.arange(depth), 1 << np.arange(depth))
    index = np.array([one for one, _ in splits], np.int64)[level]
    border = np.array([one for _, one in splits], np.float64)[level]
    number = np.arange(inner)
    nothing = np.zeros(leaves)
    return Tree(
        feature=np.concatenate([columns[index], np.full(leaves, -1)]).astype(np.int64),
        threshold=np.concatenate([at_most_in_float32(border), nothing]),
        left=np.concatenate([2 * number + 1, nothing]).astype(np.int64),
        right=np.concatenate([2 * number + 2, nothing]).astype(np.int64),
        values=np.concatenate([np.zeros((inner, width)), values]),
        missing_left=np.concatenate([~missing_right[index], nothing]).astype(bool),
    )


def _any_form(
    stored: Mapping[str, Any], columns: NDArray[Any], missing_right: NDArray[Any], width: int, scale: float
) -> Tree:
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
            index, border = _split(node["split"], columns)
            rows.append((int(columns[index]), border, not missing_right[index], [0.0] * width))
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

"""The trees of XGBoost's models."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.trees.joining import Tree, joined
from ortolan_convert.trees.splits import categories_go_left, less_in_float32, values_go_left

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan_convert.sources.boosting.table import BoostingTable
    from ortolan_convert.trees.ensemble import Trees
    from ortolan_convert.trees.splits import Steps

_INVALID = 1 << 24
"""From here on XGBoost takes no category."""


def read_categories(learner: Mapping[str, Any], place: str) -> dict[int, tuple[Any, ...]]:
    """The categories of columns by position, as versions from 3.1 store them: offsets into a text, or numbers.

    Raises:
        UnsupportedError: letters beyond ASCII.
    """
    booster = learner["gradient_booster"]
    model = booster.get("gbtree", booster).get("model") or {}
    found: dict[int, tuple[Any, ...]] = {}
    for column, stored in enumerate((model.get("cats") or {}).get("enc", ())):
        values = np.asarray(stored["values"])
        if len(values) == 0:
            continue
        if "offsets" in stored:
            text = values.astype(np.int64).astype(np.uint8).tobytes()
            if not text.isascii():
                raise UnsupportedError(
                    f"{place}: column {column}: categories with letters beyond ASCII, of which XGBoost's file holds "
                    "only the beginning; rename them and train again"
                )
            ends = [int(end) for end in stored["offsets"]]
            if ends != sorted(ends) or not 0 <= ends[0] <= ends[-1] <= len(text):
                raise ValueError("categories outside of their text")
            found[column] = tuple(text[low:high].decode() for low, high in pairwise(ends))
        else:
            found[column] = tuple(values.tolist())
    return found


def read_trees(
    booster: Mapping[str, Any], base: NDArray[Any], table: BoostingTable, place: str, iterations: int
) -> Trees:
    """The trees of a booster.

    Args:
        booster: the object ``gradient_booster``.
        base: float32 [outputs].
        table: the columns.
        place: for messages.
        iterations: how many rounds count; 0 for all.

    Raises:
        UnsupportedError: a linear booster.
        ConversionError: the trees are damaged.
    """
    weights = None
    if booster["name"] == "dart":
        weights = np.asarray(booster["weight_drop"], np.float32)
        booster = booster["gbtree"]
    elif booster["name"] != "gbtree":
        raise UnsupportedError(f"{place}: booster {booster['name']!r} is not supported; known: gbtree, dart")
    model = booster["model"]
    stored = model["trees"]
    output = np.asarray(model["tree_info"], np.int64)
    if len(output) != len(stored) or (weights is not None and len(weights) != len(stored)):
        raise ValueError(f"{len(stored)} trees, {len(output)} outputs of trees")
    if iterations:
        count = _trees_of(model, iterations, len(base))
        stored, output = stored[:count], output[:count]
    places = table.places()
    trees = [
        _tree(tree, table, places, np.float32(1) if weights is None else weights[i]) for i, tree in enumerate(stored)
    ]
    return joined(trees, output, base, place, features=len(table.names))


def _trees_of(model: Mapping[str, Any], iterations: int, outputs: int) -> int:
    """How many trees the first rounds have."""
    ends = model.get("iteration_indptr")
    if ends is not None:
        return int(ends[iterations])
    return iterations * outputs * max(1, int(model["gbtree_model_param"].get("num_parallel_tree", "1")))


def _tree(stored: Mapping[str, Any], table: BoostingTable, places: NDArray[Any], weight: Any) -> Tree:
    left = np.asarray(stored["left_children"], np.int64)
    right = np.asarray(stored["right_children"], np.int64)
    column = np.asarray(stored["split_indices"], np.int64)
    condition = np.asarray(stored["split_conditions"], np.float64).astype(np.float32)
    missing_left = np.asarray(stored["default_left"]).astype(bool)
    if len({len(left), len(right), len(column), len(condition), len(missing_left)}) > 1:
        raise ValueError("arrays of a tree that differ in length")
    leaf = left == -1
    if ((column < 0) | (column >= len(places)))[~leaf].any():
        raise ValueError("a split of a column that does not exist")
    vector = int(stored["tree_param"]["size_leaf_vector"])
    values: NDArray[Any]
    if vector > 1:
        # A leaf's right child is the number of its values.
        weights = np.asarray(stored["leaf_weights"], np.float64).reshape(-1, vector)
        values = weights[np.where(leaf, right, 0)]
    else:
        values = condition[:, None]
    return Tree(
        feature=np.where(leaf, -1, places[np.where(leaf, 0, column)]),
        threshold=less_in_float32(np.where(leaf, np.float32(0), condition)),
        left=left,
        right=right,
        values=np.where(leaf[:, None], (values.astype(np.float32) * weight).astype(np.float32), 0),
        missing_left=missing_left,
        steps=_steps(stored, table, column, missing_left),
    )


def _steps(
    stored: Mapping[str, Any], table: BoostingTable, column: NDArray[Any], missing_left: NDArray[Any]
) -> dict[int, Steps]:
    """Nodes that look a category up: those in the set go right, all others left."""
    categories = np.asarray(stored.get("categories", ()), np.int64)
    found: dict[int, Steps] = {}
    parts = (stored.get(f"categories_{name}", ()) for name in ("nodes", "segments", "sizes"))
    for node, start, size in zip(*(np.asarray(part, np.int64).tolist() for part in parts), strict=True):
        if not (0 <= node < len(column) and 0 <= start <= start + size <= len(categories)):
            raise ValueError("categories of a split outside of those of the tree")
        codes = categories[start : start + size]
        known = table.categories.get(int(column[node]))
        missing = bool(missing_left[node])
        if known is None or table.is_strings(int(column[node])):
            valid = codes[(codes >= 0) & (codes < _INVALID)]
            found[node] = categories_go_left(valid, missing_left=missing, rest_left=True, in_float32=True)
        else:
            # Others than the known ones are refused, so that it does not matter where they go.
            left = ~np.isin(np.arange(len(known)), codes)
            found[node] = values_go_left(np.asarray(known, np.float64), left, missing_left=missing)
    return found

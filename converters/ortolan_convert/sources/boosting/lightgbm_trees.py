"""The trees of LightGBM's models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.trees.joining import Tree
from ortolan_convert.trees.splits import Steps, categories_go_left, values_go_left

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ortolan_convert.sources.boosting.lightgbm_text import LightGBMText
    from ortolan_convert.sources.boosting.table import BoostingTable

ZERO = float(np.float32(1e-35))
"""Numbers no farther from 0 than this are 0 (``kZeroThreshold``)."""
_BELOW = float(np.nextafter(-ZERO, -np.inf))
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_NONE, _ZERO, _NAN = range(3)


def read_categories(text: LightGBMText, names: tuple[str, ...], place: str) -> dict[int, tuple[Any, ...]]:
    """The categories of columns of a data frame, by position.

    Raises:
        UnsupportedError: the file does not say which columns they belong to.
    """
    if not text.categories:
        return {}
    infos = text.head["feature_infos"].split(" ")
    if len(infos) != len(names):
        raise ValueError(f"{len(infos)} descriptions of {len(names)} columns")
    # Columns of categories list them; others have a range, or "none" if they are the same in all rows.
    columns = [i for i, info in enumerate(infos) if info != "none" and not info.startswith("[")]
    if len(columns) != len(text.categories):
        raise UnsupportedError(
            f"{place}: {len(text.categories)} columns were categories, but only {len(columns)} of them have more than "
            "one in the training data, and the file does not say which; leave the others out and train again"
        )
    return {column: tuple(known) for column, known in zip(columns, text.categories, strict=True)}


def read_tree(stored: Mapping[str, str], table: BoostingTable, places: NDArray[Any], place: str) -> Tree:
    """A tree: its inner nodes, then its leaves.

    Raises:
        UnsupportedError: its leaves hold linear models.
        ValueError: arrays that do not fit each other.
    """
    if stored.get("is_linear", "0") != "0":
        raise UnsupportedError(f"{place}: linear trees are not supported; train with linear_tree=false")
    leaves = int(stored["num_leaves"])
    inner = leaves - 1
    values = _numbers(stored["leaf_value"], leaves, np.float64)
    if inner == 0:
        none = np.array([-1])
        return Tree(feature=none, threshold=np.zeros(1), left=none, right=none, values=values)
    column = _numbers(stored["split_feature"], inner, np.int64)
    threshold = _numbers(stored["threshold"], inner, np.float64)
    kind = _numbers(stored["decision_type"], inner, np.int64)
    if ((column < 0) | (column >= len(places))).any():
        raise ValueError("a split of a column that does not exist")
    children = [_numbers(stored[f"{side}_child"], inner, np.int64) for side in ("left", "right")]
    # Negative children are leaves: -1 is the first.
    left, right = (np.where(child < 0, inner - 1 - child, child) for child in children)
    default_left = kind & _DEFAULT_LEFT != 0
    missing = kind >> 2 & 3
    steps: dict[int, Steps] = {}
    categorical = kind & _CATEGORICAL != 0
    if categorical.any():
        steps |= _category_steps(stored, table, column, np.flatnonzero(categorical), threshold)
    for node in np.flatnonzero(~categorical & (missing == _ZERO)).tolist():
        steps[node] = _zero_steps(float(threshold[node]), left=bool(default_left[node]))
    # A threshold so near 0 sends all of these numbers where 0 goes.
    near = np.abs(threshold) <= ZERO
    threshold = np.where(near, np.where(threshold < 0, _BELOW, ZERO), threshold)
    # Without missing values NaN is taken for 0.
    missing_left = np.where(missing == _NONE, threshold >= 0, default_left)
    nothing = np.zeros(leaves)
    return Tree(
        feature=np.concatenate([places[column], np.full(leaves, -1)]),
        threshold=np.concatenate([np.where(categorical, 0.0, threshold), nothing]),
        left=np.concatenate([left, nothing]).astype(np.int64),
        right=np.concatenate([right, nothing]).astype(np.int64),
        values=np.concatenate([np.zeros(inner), values]),
        missing_left=np.concatenate([missing_left & ~categorical, nothing]).astype(bool),
        steps=steps,
    )


def _numbers(text: str, count: int, dtype: Any) -> NDArray[Any]:
    found = np.array(text.split(), dtype)
    if len(found) != count:
        raise ValueError(f"expected {count} numbers, found {len(found)}")
    return found


def _category_steps(
    stored: Mapping[str, str],
    table: BoostingTable,
    column: NDArray[Any],
    nodes: NDArray[Any],
    threshold: NDArray[Any],
) -> dict[int, Steps]:
    """Categories of a node's set go left; all others, and what is missing, right."""
    count = int(stored["num_cat"])
    bounds = _numbers(stored["cat_boundaries"], count + 1, np.int64)
    words = np.array(stored["cat_threshold"].split(), np.uint32)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != len(words):
        raise ValueError("sets of categories outside of those of the tree")
    found = {}
    for node in nodes.tolist():
        number = int(threshold[node])
        if not 0 <= number < count:
            raise ValueError("a set of categories that does not exist")
        part = words[bounds[number] : bounds[number + 1]]
        codes = np.flatnonzero(np.unpackbits(part.astype("<u4").view(np.uint8), bitorder="little"))
        known = table.categories.get(int(column[node]))
        if known is None or table.is_strings(int(column[node])):
            found[node] = categories_go_left(codes, missing_left=False)
        else:
            left = np.isin(np.arange(len(known)), codes)
            found[node] = values_go_left(np.asarray(known, np.float64), left, missing_left=False)
    return found


def _zero_steps(threshold: float, *, left: bool) -> Steps:
    """A comparison beside which 0, like what is missing, goes its own way."""
    ends = np.unique([_BELOW, ZERO, threshold])
    middle = np.append(ends, np.inf)
    sides = np.where((middle > _BELOW) & (middle <= ZERO), left, middle <= threshold)
    kept = np.flatnonzero(sides[1:] != sides[:-1])
    return Steps(ends[kept], sides[np.append(kept, len(sides) - 1)], left)

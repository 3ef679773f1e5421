"""CatBoost's counters ("CTR"): how often, and with which targets, training met a category or several things together.

A counter looks up the hash of a category, or of several together with answers to other questions. Its numbers are
worked out here, in float32 as TModelCtr::Calc does it (catboost/libs/model/online_ctr.h, static_ctr_provider.cpp), so
that a graph only has to look them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.errors import UnsupportedError
from ortolan_convert.trees.splits import at_most_in_float32

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

MOST_NUMBERS = 1 << 26
"""Most numbers that the counters of a model may have together; a bound against hostile files."""


@dataclass(frozen=True, slots=True)
class Above:
    """Whether a number is above a border.

    Args:
        column: among the columns of numbers.
        threshold: the largest float64 that is not above it.
        missing: the answer for NaN.
    """

    column: int
    threshold: float
    missing: bool


@dataclass(frozen=True, slots=True)
class Same:
    """Whether a category has a hash.

    Args:
        category: among the columns of categories.
        value: the hash.
    """

    category: int
    value: int


@dataclass(frozen=True, slots=True)
class Combination:
    """What is hashed together, and the hashes that training met.

    Args:
        parts: columns of categories, and questions, in their order.
        keys: int64 [n], different ones.
    """

    parts: tuple[int | Above | Same, ...]
    keys: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Counter:
    """A number for each key of a combination.

    Args:
        combination: its position.
        values: float32 [n], in the order of the keys.
        other: float32, for all other hashes.
    """

    combination: int
    values: NDArray[Any]
    other: np.float32


def read_combination(
    stored: Sequence[Mapping[str, Any]], numbers: Sequence[tuple[int, bool]], categories: int
) -> tuple[int | Above | Same, ...]:
    """What a counter hashes together, in the order that the library does it.

    Args:
        stored: the ``elements`` of a counter.
        numbers: the place of each column of numbers, and its answer for NaN.
        categories: how many columns of categories there are.
    """
    parts: tuple[list[Any], ...] = ([], [], [])
    for one in stored:
        kind = one["combination_element"]
        if kind == "float_feature":
            column, missing = numbers[checked_index(one["float_feature_index"], len(numbers))]
            parts[1].append(Above(column, float(at_most_in_float32(np.array([one["border"]]))[0]), missing))
        elif kind in ("cat_feature_value", "cat_feature_exact_value"):
            category = checked_index(one["cat_feature_index"], categories)
            if kind == "cat_feature_value":
                parts[0].append(category)
            else:
                parts[2].append(Same(category, int(one["value"])))
        else:
            raise UnsupportedError(f"a combination with an element of type {kind}")
    if not any(parts):
        raise ValueError("a combination of nothing")
    return (*parts[0], *parts[1], *parts[2])


def read_counters(
    features: Sequence[Mapping[str, Any]], tables: Mapping[str, Any], parts: Sequence[tuple[int | Above | Same, ...]]
) -> tuple[tuple[Combination, ...], tuple[Counter, ...]]:
    """The combinations and counters of a model.

    Args:
        features: the ``ctrs``.
        tables: ``ctr_data``.
        parts: what each counter hashes together.

    Raises:
        UnsupportedError: too many numbers, or a kind of counter that is not known.
    """
    stored = {one["identifier"]: _table(tables[one["identifier"]]) for one in features}
    met: dict[tuple[int | Above | Same, ...], dict[str, NDArray[Any]]] = {}
    for one, combined in zip(features, parts, strict=True):
        met.setdefault(combined, {})[one["identifier"]] = stored[one["identifier"]][0]
    order = {combined: place for place, combined in enumerate(met)}
    keys = [np.unique(np.concatenate(list(mine.values()))) for mine in met.values()]
    counters = []
    count = 0
    for one, combined in zip(features, parts, strict=True):
        place = order[combined]
        count += len(keys[place])
        if count > MOST_NUMBERS:
            raise UnsupportedError(f"counters of more than {MOST_NUMBERS:,} numbers; set ctr_leaf_count_limit")
        known, history = stored[one["identifier"]]
        denominator = int(tables[one["identifier"]].get("counter_denominator", 0))
        values, other = _calculated(one, history, denominator)
        all_values = np.full(len(keys[place]), other, np.float32)
        all_values[np.searchsorted(keys[place], known)] = values
        counters.append(Counter(place, all_values, other))
    combinations = tuple(Combination(one, mine) for one, mine in zip(order, keys, strict=True))
    return combinations, tuple(counters)


def checked_index(value: Any, count: int) -> int:
    """The position of a column.

    Raises:
        ValueError: there is none.
    """
    index = int(value)
    if not 0 <= index < count:
        raise ValueError(f"column {index} of {count}")
    return index


def _table(stored: Mapping[str, Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """int64 [n], the hashes; float64 [n, stride - 1], what was counted."""
    stride, flat = int(stored["hash_stride"]), stored["hash_map"] or []
    if stride < 2 or len(flat) % stride:
        raise ValueError(f"a table of {len(flat)} numbers in rows of {stride}")
    hashes = np.array([int(one) for one in flat[::stride]], np.uint64)
    columns = [np.array(flat[i::stride], np.float64) for i in range(1, stride)]
    # All bits set: nothing is stored there.
    used = hashes != np.uint64(2**64 - 1)
    keys = hashes[used].view(np.int64)
    if len(np.unique(keys)) != len(keys):
        raise ValueError("a table with a hash twice")
    return keys, np.stack(columns, axis=1)[used]


def _calculated(feature: Mapping[str, Any], history: NDArray[Any], denominator: int) -> tuple[NDArray[Any], np.float32]:
    """float32: the numbers of a counter, and the one for what training never met."""
    kind = feature["ctr_type"]
    border = int(feature["target_border_idx"])
    nothing = np.zeros((1, history.shape[1]))
    rows = np.concatenate([history, nothing])
    if kind in ("Counter", "FeatureFreq"):
        good, total = rows[:, 0], np.full(len(rows), float(denominator))
    elif kind in ("BinarizedTargetMeanValue", "FloatTargetMeanValue"):
        good, total = rows[:, 0], rows[:, 1]
    elif kind in ("Buckets", "Borders"):
        if not 0 <= border < rows.shape[1]:
            raise ValueError(f"class {border} of {rows.shape[1]}")
        total = rows.sum(axis=1)
        good = rows[:, border] if kind == "Buckets" else rows[:, border + 1 :].sum(axis=1)
    else:
        raise UnsupportedError(f"a counter of type {kind}")
    prior, prior_total, shift, scale = (
        np.float32(feature[name]) for name in ("prior_numerator", "prior_denomerator", "shift", "scale")
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (good.astype(np.float32) + prior) / (total.astype(np.float32) + prior_total)
        found = (shares + shift) * scale
    return found[:-1], found[-1]

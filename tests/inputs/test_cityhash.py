"""Hashes of categories, as CatBoost has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ortolan.errors import BundleError, InputError, InputTypeError, ManifestError
from ortolan.inputs.cityhash import LONG, category_hash, city_hash_64
from ortolan.inputs.columns import Columns
from ortolan.types import TensorSpec

HASHED = {"name": "shop", "input": "shop", "hash": "catboost"}


def columns(**shop: Any) -> Columns:
    """A number, and categories that the model knows by their hashes."""
    inputs = [TensorSpec("X", "float64", ("rows", 1)), TensorSpec("shop", "int64", ("rows", 1))]
    raw = {"input": "X", "missing": "allow", "features": [{**HASHED, **shop}, "size"]}
    return Columns.open(raw, inputs, "columns")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 797982799),
        ("a", -805065478),
        ("ab", -204718274),
        ("abc", 978243121),
        ("Köln", -1003598801),
        ("Amsterdam", -696537713),
        ("exactly16 bytes!", -639395624),
        ("a string of 17 by", -1748801570),
        ("Llanfairpwllgwyngyllgogery", -1440987121),
        ("a" * 32, -889907642),
        ("b" * 33, -177832693),
        ("c" * 64, -1716228617),
        ("d" * 65, 755957051),
        ("東京都千代田区丸の内一丁目九番一号 東京駅", -1798024420),
        ("0123456789" * 13, -1581348362),
        ("\U0001f600" * 40, -1818798821),
    ],
)
def test_hashes_are_those_of_catboost(text: str, expected: int) -> None:
    """As catboost 1.2.10 writes them beside its models (``save_model(format="json", pool=pool)``)."""
    assert category_hash(text) == expected
    low = city_hash_64(text.encode()) & 0xFFFFFFFF
    assert low == expected % 2**32


def test_long_strings_are_hashed_anew() -> None:
    """They are not kept, and their hash is the same each time."""
    text = "x" * (LONG + 1)
    assert category_hash(text) == category_hash("x" * (LONG + 1)) != category_hash("x" * LONG)


@pytest.mark.parametrize("shape", [("rows", 1), ("rows",)])
def test_categories_become_hashes(shape: tuple[Any, ...]) -> None:
    """One by one and together, in the shape that the model takes."""
    table = Columns.open({"features": [HASHED]}, [TensorSpec("shop", "int64", shape)], "columns")
    (tensor,) = table.one({"shop": "Köln"}).values()
    assert tensor.dtype == np.int64
    assert tensor.shape == (1, 1)[: len(shape)]
    ((_, feeds),) = table.batches([["Köln"], ["abc"], ["a"]])
    assert feeds["shop"].ravel().tolist() == [-1003598801, 978243121, -805065478]


@pytest.mark.parametrize(
    ("value", "text"),
    [(7, "7"), (-5, "-5"), (True, "1"), (False, "0"), (np.int8(7), "7"), (np.bool_(True), "1"), (np.str_("7"), "7")],
)
def test_whole_numbers_stand_for_their_digits(value: Any, text: str) -> None:
    """Integers, truth values and numpy's."""
    assert columns().one({"shop": value, "size": 1.5})["shop"].tolist() == [[category_hash(text)]]


def test_an_array_of_whole_numbers_holds_categories() -> None:
    """A matrix of integers is rows as good as any."""
    ((_, feeds),) = columns().batches(np.array([[7, 1], [-5, 2]]))
    assert feeds["shop"].ravel().tolist() == [category_hash("7"), category_hash("-5")]
    assert feeds["X"].ravel().tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (2.0, InputTypeError, r"feature 'shop': expected a category \(a str or a whole number\), found float 2\.0"),
        (b"a", InputTypeError, r"feature 'shop': expected a category \(a str or a whole number\), found bytes"),
        (None, InputError, r"feature 'shop': expected a category, found None; .* give the string that stood for them"),
        (float("nan"), InputError, r"feature 'shop': expected a category, found nan"),
        ("\ud800", InputError, r"feature 'shop': a lone surrogate at 0"),
        (2**63, InputError, r"feature 'shop': expected a whole number from -9223372036854775808 to"),
    ],
)
def test_what_catboost_refuses_is_refused(value: object, error: type[InputError], message: str) -> None:
    """Floats, missing values and what has no UTF-8 form, with the place."""
    with pytest.raises(error, match=message):
        columns().one([value, 1.0])
    with pytest.raises(error, match=f"row 1, {message}"):
        list(columns().batches([["a", 1.0], [value, 1.0]]))


def test_cells_of_files_are_taken_as_they_stand() -> None:
    """No number is read from them."""
    assert columns().parsed({"shop": "07", "size": "1"}, 0) == {"shop": "07", "size": 1}
    assert columns().parsed({"shop": "", "size": ""}, 0) == {"shop": "", "size": None}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"hash": "md5"}, r"columns\.features\[0\]\.hash"),
        ({"missing": "allow"}, "missing"),
        ({"values": ["a"]}, "values"),
    ],
)
def test_other_configurations_are_refused(entry: dict[str, Any], message: str) -> None:
    """An unknown hash, and what does not go with one."""
    with pytest.raises(ManifestError, match=message):
        columns(**entry)


def test_hashes_need_an_input_of_int64() -> None:
    """Of their own."""
    with pytest.raises(BundleError, match="expected input 'shop' to take hashes in int64"):
        Columns.open({"features": [HASHED]}, [TensorSpec("shop", "float64", ("rows", 1))], "columns")
    with pytest.raises(BundleError, match="expected an input 'shop'"):
        Columns.open({"features": [HASHED]}, [TensorSpec("other", "int64", ("rows", 1))], "columns")

"""Rows of a table to tensors: every form of a row, and every fault with its place."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ortolan.errors import BundleError, InputError, InputTypeError, ManifestError, StorageError
from ortolan.inputs.columns import Columns
from ortolan.inputs.table_file import read_row_samples, read_table
from ortolan.types import TensorSpec

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("age", "income", "size")


def matrix(dtype: str = "float32", shape: tuple[Any, ...] | None = ("rows", 3), **config: Any) -> Columns:
    raw = {"input": "X", "features": list(NAMES), **config}
    return Columns.open(raw, [TensorSpec("X", dtype, shape)], "task.config.columns")


def mixed(**config: Any) -> Columns:
    """A float, an optional float, an int and a string, each with an input of its own."""
    inputs = [
        TensorSpec("age", "float64", (None, 1)),
        TensorSpec("income", "float32", (None, 1)),
        TensorSpec("rooms", "int64", (None,)),
        TensorSpec("city", "str", (None, 1)),
    ]
    features: list[Any] = [{"name": name, "input": name} for name in ("age", "income", "rooms", "city")]
    features[1]["missing"] = "allow"
    return Columns.open({"cast": "round", "features": features, **config}, inputs, "columns")


@pytest.mark.parametrize(
    "row",
    [
        {"size": 3, "age": 1, "income": 2.5},
        [1, 2.5, 3],
        (1, 2.5, 3.0),
        [np.float32(1), np.int8(2) + 0.5, np.float64(3)],
        np.array([1, 2.5, 3]),
        np.array([[1, 2.5, 3]], np.float16),
        np.array([1, 2.5, 3], ">f8"),
        np.array([1, 0, 2.5, 0, 3, 0])[::2],
        np.array([1, 2.5, 3], object),
    ],
    ids=lambda row: type(row).__name__,
)
def test_a_row_has_many_forms(row: Any) -> None:
    """Mappings in any order, sequences, arrays of any kind of number and layout give the same tensor."""
    (tensor,) = matrix().one(row).values()
    assert tensor.dtype is np.dtype(np.float32)
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, [[1, 2.5, 3]])


def test_each_column_can_have_an_input_of_its_own() -> None:
    """Types and ranks are the inputs' own."""
    feeds = mixed().one({"age": 41, "income": 0.1, "rooms": 3.0, "city": "Graz"})
    assert {name: (array.dtype.name, array.shape) for name, array in feeds.items()} == {
        "age": ("float64", (1, 1)),
        "income": ("float32", (1, 1)),
        "rooms": ("int64", (1,)),
        "city": ("object", (1, 1)),
    }
    assert feeds["income"][0, 0] == np.float32(0.1)
    assert feeds["city"][0, 0] == "Graz"


def test_some_columns_can_share_an_input() -> None:
    """The matrix takes those that name no other, in their order."""
    inputs = [TensorSpec("X", "float32", ("n", 2)), TensorSpec("city", "str", ("n", 1))]
    columns = Columns.open({"input": "X", "features": ["a", {"name": "city", "input": "city"}, "b"]}, inputs, "columns")
    feeds = columns.one([1, "Graz", 2])
    assert feeds["X"].tolist() == [[1, 2]]
    assert feeds["city"].tolist() == [["Graz"]]


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"age": 1, "income": 2}, InputError, "missing: 'size'; the model takes 'age', 'income', 'size'"),
        (
            {"age": 1, "income": 2, "size": 3, "sex": 4},
            InputError,
            "unknown: 'sex'; the model takes 'age', 'income', 'size'",
        ),
        ([1, 2], InputError, "expected 3 values ('age', 'income', 'size'), found 2"),
        (np.zeros(4), InputError, "expected rows of 3 values ('age', 'income', 'size'), found 4"),
        (np.zeros((2, 3)), InputError, "expected a row of 3 values, found an array of 2 axes"),
        ("abc", InputTypeError, "expected values by feature name or a sequence of 3 values, found str"),
        (None, InputTypeError, "expected values by feature name or a sequence of 3 values, found None"),
        (
            [1, "2", 3],
            InputTypeError,
            "feature 'income': expected a number, found str '2'; convert it to a number first",
        ),
        ([1, 2j, 3], InputTypeError, "feature 'income': expected a number, found complex 2j"),
        (np.array([1, 2j, 3]), InputTypeError, "expected an array of numbers or str, found complex128"),
        (
            [1, None, 3],
            InputError,
            "feature 'income': expected a number, found None; the model does not take missing values",
        ),
        (
            np.array([1, np.nan, 3]),
            InputError,
            "feature 'income': expected a number, found nan; the model does not take missing values",
        ),
        ([1, math.inf, 3], InputError, "feature 'income': expected a finite float32, found inf"),
        ([1, 1e39, 3], InputError, "feature 'income': expected a finite float32, found 1e+39"),
        ([1, 10**400, 3], InputError, f"feature 'income': expected a finite float32, found {10**400}"),
        (
            np.ma.masked_array([1.0, 2, 3], [0, 1, 0]),
            InputTypeError,
            "expected a plain array, found a masked one; fill it: array.filled(np.nan)",
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else None,
)
def test_faults_of_a_row_name_the_feature(row: Any, kind: type[Exception], message: str) -> None:
    """What was expected, what was found, and where."""
    with pytest.raises(kind) as raised:
        matrix().one(row)
    assert str(raised.value) == message


def test_faults_of_many_rows_name_the_row() -> None:
    """Rows count from 0, over all runs."""
    rows: list[Any] = [[1, 2, 3]] * 5000
    rows[4321] = {"age": 1, "income": "x", "size": 3}
    with pytest.raises(InputTypeError, match=r"^row 4321, feature 'income': expected a number, found str 'x'"):
        list(matrix().batches(rows))
    grid = np.zeros((5000, 3))
    grid[4999, 2] = np.inf
    with pytest.raises(InputError, match=r"^row 4999, feature 'size': expected a finite float32, found inf$"):
        list(matrix().batches(grid))


@pytest.mark.parametrize("rows", [5, "abc", None, {"age": 1}, np.float32(1)])
def test_many_rows_are_a_list_or_an_array(rows: Any) -> None:
    """Anything else is refused with its type."""
    with pytest.raises(InputTypeError, match="expected a list of rows or a 2-D array, found"):
        list(matrix().batches(rows))


def test_runs_are_bounded_in_rows_and_values() -> None:
    """4096 rows, fewer of wide ones, and never less than one."""
    assert matrix().most_rows == 4096
    wide = TensorSpec("X", "float32", ("rows", 5000))
    columns = Columns.open({"input": "X", "features": [f"f{i}" for i in range(5000)]}, [wide], "columns")
    assert columns.most_rows == 209
    runs = list(columns.batches(np.zeros((300, 5000), np.float32)))
    assert [feeds["X"].shape for _, feeds in runs] == [(209, 5000), (91, 5000)]


def test_no_rows_make_no_runs() -> None:
    """Empty batches are fine."""
    assert list(matrix().batches([])) == []
    assert list(matrix().batches(np.zeros((0, 3)))) == []


@pytest.mark.parametrize("value", [2.5, 16777216, -0.0, True])
def test_exact_takes_what_the_dtype_has(value: float) -> None:
    """Numbers that float32 holds exactly pass, whatever their type was."""
    assert matrix(cast="exact").one([value, 0, 0])["X"][0, 0] == value


@pytest.mark.parametrize("value", [0.1, 16777217, 1e-50])
def test_exact_refuses_what_would_be_rounded(value: float) -> None:
    """It is the default: rounding may change a decision, so it must be declared."""
    near = float(np.float32(value))
    expected = (
        f"feature 'age': {value!r} is no float32, the nearest is {near!r}; the bundle forbids rounding "
        "(columns.cast: exact), so round it yourself or convert the model with columns.cast: round"
    )
    for row in ([value, 0, 0], np.array([value, 0, 0])):
        with pytest.raises(InputError) as raised:
            matrix().one(row)
        assert str(raised.value).replace("16777217.0", "16777217") == expected


def test_round_takes_the_nearest() -> None:
    """As numpy's own conversion does, for Python numbers and arrays alike."""
    columns = matrix(cast="round")
    assert columns.one([0.1, 16777217, 1e-50])["X"].tolist() == [[np.float32(0.1), 16777216, 0]]
    assert columns.one(np.array([0.1, 16777217, 1e-50]))["X"].tolist() == [[np.float32(0.1), 16777216, 0]]


@pytest.mark.parametrize("value", [1.5, math.inf, 2**63, -(2**63) - 1, 1e300])
def test_whole_numbers_never_round(value: float) -> None:
    """Not even with cast: round."""
    with pytest.raises(InputError, match=r"^feature 'age': expected a whole number from -9223372036854775808 to"):
        matrix("int64", cast="round").one([value, 0, 0])


@pytest.mark.parametrize("value", [2**53 + 1, -(2**63), 2**63 - 1])
def test_large_whole_numbers_stay_exact(value: int) -> None:
    """They never pass through a float."""
    assert matrix("int64").one([value, 0, 0])["X"][0, 0] == value
    assert matrix("int64").one(np.array([value, 0, 0]))["X"][0, 0] == value
    if value != -(2**63):
        with pytest.raises(InputError, match="is no float64"):
            matrix("float64", cast="exact").one([value, 0, 0])


def test_missing_values_are_nan_where_allowed() -> None:
    """None and NaN, in rows and arrays; only in the features that allow it."""
    features = ["age", {"name": "income", "missing": "allow"}, "size"]
    columns = matrix(features=features)
    for row in ([1, None, 3], [1, math.nan, 3], np.array([1, np.nan, 3])):
        assert np.isnan(columns.one(row)["X"]).tolist() == [[False, True, False]]
    with pytest.raises(InputError, match="feature 'age': expected a number, found nan"):
        columns.one(np.array([np.nan, np.nan, 3]))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "feature 'city': expected a str, found int; the training data had strings here"),
        (None, "feature 'city': expected a str, found None; the training data had strings here"),
        ("\ud800", "feature 'city': a lone surrogate at 0 has no UTF-8 form"),
    ],
)
def test_strings_are_strings(value: Any, message: str) -> None:
    """Numbers are not turned into text."""
    with pytest.raises(InputError) as raised:
        mixed().one([1, 2, 3, value])
    assert str(raised.value) == message


def test_a_model_for_one_row_gets_one_row_per_run() -> None:
    """A fixed first axis of 1 is kept."""
    runs = list(matrix(shape=(1, 3)).batches([[1, 2, 3], [4, 5, 6]]))
    assert [(rows, feeds["X"].tolist()) for rows, feeds in runs] == [
        (range(1), [[1, 2, 3]]),
        (range(1, 2), [[4, 5, 6]]),
    ]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.one_of(st.floats(-1e30, 1e30), st.integers(-(2**60), 2**60), st.booleans())] * 3), max_size=9
    )
)
def test_lists_and_mappings_and_arrays_agree(rows: list[tuple[float, ...]]) -> None:
    """Whatever the form, each number is the nearest float32."""
    expected = np.array([[np.float32(float(v)) for v in row] for row in rows], np.float32).reshape(-1, 3)
    columns = matrix(cast="round")
    for form in (rows, [dict(zip(NAMES, row, strict=True)) for row in rows]):
        found = [feeds["X"] for _, feeds in columns.batches(form)]
        np.testing.assert_allclose(np.concatenate(found) if found else expected, expected, rtol=1e-7)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"features": []}, "columns.features: expected 1 to 65536 elements, got 0"),
        ({"cast": "truncate"}, "columns.cast: expected 'exact' or 'round', got \"truncate\""),
        ({"extra": 1}, "columns.extra: unknown key; known here: input, cast, missing, infinite, features"),
        ({"features": ["a", "a", "b"]}, "columns.features[1]: expected distinct names, found 'a' twice"),
        ({"features": [1]}, "columns.features[0]: expected str or object, got int"),
        ({"input": None}, "columns.features[0].input: missing: the columns share no input, so 'age' needs its own"),
    ],
)
def test_the_configuration_is_strict(config: dict[str, Any], message: str) -> None:
    """Faults have a dotted path."""
    raw = {"input": "X", "features": list(NAMES), **config}
    with pytest.raises(ManifestError) as raised:
        Columns.open(raw, [TensorSpec("X", "float32", (None, 3))], "columns")
    assert str(raised.value) == message


def test_missing_is_for_floats_only() -> None:
    """Whole numbers and strings have no value for it."""
    with pytest.raises(ManifestError, match="'age' is int64, which has no value for missing"):
        matrix("int64", missing="allow")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TensorSpec("Y", "float32", (None, 3)), "expected an input 'X' for 'age', found Y"),
        (TensorSpec("X", "float32", (None, 4)), "expected input 'X' to have 3 columns, found X: float32[?, 4]"),
        (TensorSpec("X", "float32", (None, 3, 1)), "expected input 'X' to have the shape [rows, 3]"),
        (TensorSpec("X", "bfloat16", (None, 3)), "expected input 'X' to take numbers or strings"),
        (TensorSpec("X", "float32", (7, 3)), "expected inputs of one row or of any number, found 7 rows"),
    ],
)
def test_the_model_must_fit(spec: TensorSpec, message: str) -> None:
    """A model with other inputs is refused when the bundle is made and opened."""
    with pytest.raises(BundleError) as raised:
        Columns.open({"input": "X", "features": list(NAMES)}, [spec], "columns")
    assert message in str(raised.value)


def test_every_input_needs_a_feature() -> None:
    """None is left to chance."""
    inputs = [TensorSpec("X", "float32", (None, 3)), TensorSpec("Z", "float32", (None, 1))]
    with pytest.raises(BundleError, match="expected a feature for input 'Z', found none"):
        Columns.open({"input": "X", "features": list(NAMES)}, inputs, "columns")


def test_tables_are_read_from_files(tmp_path: Path) -> None:
    """Names in any order, empty cells as missing numbers, a label column left out."""
    path = tmp_path / "rows.csv"
    path.write_text("city,label,rooms,income,age\nGraz,x,3,,41.5\n,y,2, 7 ,1e1\n", encoding="utf-8")
    assert read_table(path, mixed()) == [
        {"age": 41.5, "income": None, "rooms": 3, "city": "Graz"},
        {"age": 10.0, "income": 7, "rooms": 2, "city": ""},
    ]
    tabs = tmp_path / "rows.tsv"
    tabs.write_text("age\tincome\trooms\tcity\n1\t2\t3\tx,y\n", encoding="utf-8")
    assert read_table(tabs, mixed())[0]["city"] == "x,y"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"age,income,rooms,city\n1,2,x,y\n", "row 0, feature 'rooms': expected a number, found 'x'"),
        (b"age,income,rooms\n1,2,3\n", "row 0: missing: 'city'; the model takes 'age', 'income', 'rooms', 'city'"),
        (b"age,income,rooms,city\n1,2,3,y\n1,2,3\n", "row 1, feature 'city': the row ends before it"),
        (b"age,income,rooms,city\n1,2,3,y,5\n", "row 0: expected 4 cells, found 5"),
        (b"age,income,rooms,city\n", "expected a line of names and at least one row, found none"),
        (b"", "expected a line of names and at least one row, found none"),
        (b"age,\xff\n", "expected UTF-8, found byte 0xff at 4"),
        (b'age,income,rooms,city\n1,2,3,"y\n', "not a well-formed table: unexpected end of data"),
    ],
)
def test_faults_of_a_file_name_it(content: bytes, message: str, tmp_path: Path) -> None:
    """The path, the row and the feature."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_table(path, mixed())
    assert str(raised.value) == f"{path}: {message}"
    with pytest.raises(StorageError):
        read_table(tmp_path / "none.csv", mixed())


def special() -> Columns:
    """A number that may be infinite, strings that may be missing, limited values, and a column without use."""
    inputs = [TensorSpec("X", "float64", (None, 2)), TensorSpec("city", "str", (None, 1))]
    features: list[Any] = [
        {"name": "size", "infinite": "allow"},
        {"name": "id", "unused": True},
        {"name": "rooms", "values": [1, 2, 3]},
        {"name": "city", "input": "city", "missing": "allow", "missing_as": "?", "values": ["Graz", "Wien"]},
    ]
    return Columns.open({"input": "X", "features": features}, inputs, "columns")


@pytest.mark.parametrize("size", [math.inf, -math.inf, np.float32("inf")])
def test_infinite_numbers_where_they_are_allowed(size: float) -> None:
    """They go in as they are; elsewhere they are refused."""
    feeds = special().one([size, None, 1, "Graz"])
    assert feeds["X"].tolist() == [[float(size), 1.0]]
    with pytest.raises(InputError, match="feature 'rooms': expected a finite float64, found inf"):
        special().one([1.0, None, math.inf, "Graz"])


@pytest.mark.parametrize("missing", [None, math.nan, np.nan])
def test_missing_strings(missing: object) -> None:
    """The model is given the string that stands for them, which no value may be."""
    assert special().one({"size": 1, "rooms": 2, "city": missing})["city"].tolist() == [["?"]]
    with pytest.raises(InputError, match="feature 'city': '\\?' stands for missing strings"):
        special().one({"size": 1, "rooms": 2, "city": "?"})


def test_values_that_the_model_does_not_know() -> None:
    """They are refused with what is known, in rows and in arrays."""
    with pytest.raises(InputError, match=r"feature 'city': expected one of 'Graz', 'Wien', found 'Linz'"):
        special().one([1, None, 2, "Linz"])
    numbers = Columns.open(
        {"input": "X", "missing": "allow", "features": [{"name": "a", "values": [1, 2.5]}]},
        [TensorSpec("X", "float32", (None, 1))],
        "columns",
    )
    assert numbers.one(np.array([2.5]))["X"].tolist() == [[2.5]]
    assert math.isnan(numbers.one([math.nan])["X"][0, 0])
    with pytest.raises(InputError, match=r"row 1, feature 'a': expected one of 1, 2.5, found 3.0"):
        list(numbers.batches(np.array([[1.0], [3.0]])))


def test_a_column_without_use_may_be_anything() -> None:
    """It may be left out by name and keeps its place in the order."""
    by_name = special().one({"size": 1, "rooms": 2, "city": "Graz", "id": object()})
    assert by_name["X"].tolist() == special().one([1, "x17", 2, "Graz"])["X"].tolist() == [[1.0, 2.0]]
    assert special().parsed({"size": "1", "id": "x", "rooms": "2", "city": ""}, 0) == {
        "size": 1,
        "rooms": 2,
        "city": None,
    }


def test_missing_strings_need_a_name() -> None:
    """A graph has no None."""
    features = [{"name": "city", "input": "city", "missing": "allow"}]
    with pytest.raises(ManifestError, match="'city' is str, which has no value for missing"):
        Columns.open({"features": features}, [TensorSpec("city", "str", (None, 1))], "columns")


def test_lines_of_json(tmp_path: Path) -> None:
    """A row on each line, by name; the label beside it is given too."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"size": 1, "rooms": 2, "city": null, "label": 1.0}\n\n{"city": "Wien", "size": 2, "rooms": 3}\n')
    found = read_row_samples(path, special())
    assert found.rows == [{"size": 1, "rooms": 2, "city": None}, {"size": 2, "rooms": 3, "city": "Wien"}]
    assert found.labels is None
    path.write_text('{"size": 1, "rooms": 2, "city": null, "label": 1.0}\n')
    assert read_row_samples(path, special()).labels == ("1",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1, 2]\n", "line 1: expected a JSON object, found list"),
        ("{1}\n", "line 1: expected a JSON object"),
        ('{"size": 1}\n', "row 0: missing: 'rooms', 'city'"),
        ("\n", "at least one row"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    """The line is named, and the file."""
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as raised:
        read_table(path, special())
    assert str(path) in str(raised.value)


@given(
    row=st.lists(
        st.one_of(
            st.floats(),
            st.integers(-(2**70), 2**70),
            st.booleans(),
            st.none(),
            st.floats(width=32).map(np.float32),
            st.floats().map(np.float64),
            st.sampled_from([2**53, 2**53 + 1, 1e38, 3.5e38, -1e39, 10**400]),
        ),
        min_size=3,
        max_size=3,
    ),
    dtype=st.sampled_from(["float32", "float64", "int64"]),
    cast=st.sampled_from(["exact", "round"]),
    missing=st.sampled_from(["allow", "refuse"]),
    infinite=st.sampled_from(["allow", "refuse"]),
)
def test_what_is_checked_at_once_is_what_is_checked_one_by_one(
    row: list[Any], dtype: str, cast: str, missing: str, infinite: str
) -> None:
    """A row of plain numbers gives the tensor or the fault that its numbers give one after the other."""
    allowed = {"missing": missing, "infinite": infinite} if dtype.startswith("float") else {}
    columns = matrix(dtype, cast=cast, **allowed)
    try:
        with patch("ortolan.inputs.columns._PLAIN", set()):
            expected = columns.one(row)["X"]
    except InputError as fault:
        with pytest.raises(InputError) as raised:
            columns.one(row)
        assert str(raised.value) == str(fault)
    else:
        for form in (row, tuple(row), dict(zip(NAMES, row, strict=True))):
            (tensor,) = columns.one(form).values()
            assert tensor.dtype == dtype
            np.testing.assert_array_equal(tensor, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_fault_shows_wherever_it_stands(dtype: str) -> None:
    """One number that may not be there among many, in lists and in arrays, without a warning."""
    names = [f"x{i}" for i in range(40)]
    columns = Columns.open(
        {"input": "X", "cast": "round", "features": names}, [TensorSpec("X", dtype, (None, 40))], "c"
    )
    numbers = np.linspace(-3, 1e15, 40)
    np.testing.assert_array_equal(columns.one(numbers.tolist())["X"], numbers.astype(dtype)[None])
    for fault in (math.nan, math.inf, -math.inf, 10**400):
        for place in (0, 21, 39):
            row = numbers.tolist()
            row[place] = fault
            for form in (row, np.array(row), np.array(row, np.float32)) if isinstance(fault, float) else (row,):
                with pytest.raises(InputError, match=f"feature 'x{place}': expected a"):
                    columns.one(form)


def test_an_array_that_is_given_is_not_the_tensor() -> None:
    """Whoever writes to it afterwards changes nothing."""
    row = np.array([1.0, 2.0, 3.0])
    tensor = matrix("float64").one(row)["X"]
    row[:] = 9
    assert tensor.tolist() == [[1.0, 2.0, 3.0]]

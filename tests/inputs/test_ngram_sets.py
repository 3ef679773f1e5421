"""Texts to the inputs of several vectorizers, alone and as columns of a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from ortolan.errors import BundleError, InputError, InputTypeError, ManifestError
from ortolan.inputs import column_texts
from ortolan.inputs.assets import npy_bytes
from ortolan.inputs.columns import Columns
from ortolan.inputs.config import NgramConfig
from ortolan.inputs.ngram_sets import NgramSets
from ortolan.types import TensorSpec

LETTERS = NgramConfig(analyzer="char", ngram_range=(1, 1), features=3, kept=3).to_json()
HASHED = NgramConfig(analyzer="char", ngram_range=(1, 2), features=16, kept=16, hashed="plain").to_json()
ASSETS = {"letters/ngrams/alphabet.npy": npy_bytes(np.array([97, 98, 99], np.uint32))}
SETS: dict[str, Any] = {
    "kind": "ngram-sets",
    "sets": [{"name": "letters", "ngrams": LETTERS}, {"name": "hashed", "ngrams": HASHED}],
}
INPUTS = [
    TensorSpec(f"{name}.{part}", dtype, ("batch", f"{name}.terms"))
    for name in ("letters", "hashed")
    for part, dtype in (("ids", "int64"), ("values", "float64"))
]
NUMBERS = TensorSpec("numbers", "float64", ("batch", 2))
COLUMNS: dict[str, Any] = {
    "input": "numbers",
    "features": ["width", {"name": "review", "text": SETS}, "height"],
}


def opened(raw: object = SETS, assets: dict[str, bytes] = ASSETS) -> NgramSets:
    """The sets of a configuration."""
    return NgramSets.open(raw, assets.__getitem__, "input")


def columns(raw: object = COLUMNS, inputs: Any = (NUMBERS, *INPUTS)) -> Columns:
    """The columns of a configuration."""
    return Columns.open(raw, list(inputs), "columns", ASSETS.__getitem__)


def test_each_set_has_its_own_ids_and_values() -> None:
    """In float64; the letters of a text, and the buckets of its n-grams."""
    feeds = opened().one("abba")
    assert feeds["letters.ids"].tolist() == [[0, 1]]
    assert feeds["letters.values"].tolist() == [[2.0, 2.0]]
    assert feeds["hashed.values"].sum() == 7.0
    assert {name: array.dtype.name for name, array in feeds.items()} == {spec.name: spec.dtype for spec in INPUTS}


def test_a_text_without_features_is_one_of_weight_zero() -> None:
    """So that no tensor is empty."""
    feeds = opened().one("")
    assert [feeds[spec.name].tolist() for spec in INPUTS] == [[[0]], [[0.0]]] * 2


def test_several_texts_are_padded() -> None:
    """Each set to its own longest text, with id 0 and value 0."""
    feeds = opened().many(["a", "", "abc"]).padded(np.array([2, 0, 1]))
    assert feeds["letters.ids"].tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert feeds["letters.values"].tolist() == [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert feeds["hashed.values"].sum(axis=1).tolist() == [5.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "ngrams"}, r"input\.kind: expected 'ngram-sets', found 'ngrams'"),
        ({"sets": []}, r"input\.sets: "),
        ({"sets": [{"name": "a"}]}, r"input\.sets\[0\]\.ngrams: expected object"),
        ({"sets": [{"name": "a/b", "ngrams": HASHED}]}, r"input\.sets\[0\]\.name: expected a name of 1 to 64 letters"),
        ({"sets": [{"name": "a", "ngrams": {**HASHED, "norm": 3}}]}, r"input\.sets\[0\]\.ngrams\.norm: expected one"),
        ({"sets": [{"name": "a", "ngrams": HASHED}] * 2}, r"input\.sets: expected distinct names"),
        ({"more": 1}, r"input\.more: unknown key"),
    ],
)
def test_wrong_configurations(change: dict[str, object], message: str) -> None:
    """Each error names the dotted path of the value."""
    with pytest.raises(ManifestError, match=message):
        opened({**SETS, **change})


@pytest.mark.parametrize("raw", [None, [], "ngram-sets"])
def test_no_configuration_at_all(raw: object) -> None:
    """Anything but an object is refused."""
    with pytest.raises(ManifestError, match="input: expected object"):
        opened(raw)


def test_damaged_assets_are_named_with_their_set() -> None:
    """Two sets have files of the same names."""
    with pytest.raises(BundleError, match=r"input\.sets\[0\], assets/letters: assets/ngrams/alphabet\.npy: expected"):
        opened(assets={"letters/ngrams/alphabet.npy": b"\x93NUMPY"})
    with pytest.raises(BundleError, match=r"assets/letters: assets/ngrams/alphabet\.npy: expected this file"):
        opened(assets={})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS[1:], r"expected an input 'letters\.ids', found"),
        ([TensorSpec("letters.ids", "int32", (None, None)), *INPUTS[1:]], "to be int64"),
        ([TensorSpec("letters.ids", "int64", (None,)), *INPUTS[1:]], "to be int64"),
    ],
)
def test_a_model_with_other_inputs(inputs: list[TensorSpec], message: str) -> None:
    """The model must have what the sets give."""
    with pytest.raises(BundleError, match=message):
        opened().check(inputs)


def test_a_row_with_a_text() -> None:
    """Numbers go to their matrix, the text to the inputs of its sets, by name and by order."""
    by_name = columns().one({"review": "abba", "height": 2, "width": 1})
    assert by_name["numbers"].tolist() == [[1.0, 2.0]]
    assert by_name["letters.values"].tolist() == [[2.0, 2.0]]
    in_order = columns().one([1, "abba", 2])
    assert {name: array.tolist() for name, array in in_order.items()} == {
        name: array.tolist() for name, array in by_name.items()
    }


def test_rows_go_in_runs_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours go together as long as their features, padding included, are few; none is lost."""
    monkeypatch.setattr(column_texts, "CELLS", 12)
    rows = [[i, "abc" * (i % 3) * 10, -i] for i in range(20)]
    seen = []
    for run, feeds in columns().batches(rows):
        assert feeds["letters.ids"].shape[0] == feeds["numbers"].shape[0] == len(run)
        assert len(run) == 1 or feeds["hashed.ids"].size <= 12
        assert feeds["numbers"][:, 0].tolist() == list(run)
        seen += run
    assert seen == list(range(20))


def test_rows_as_an_array_of_objects() -> None:
    """A numpy array of rows with texts is taken like a list."""
    rows = np.array([[1, "a", 2], [3, "bb", 4]], object)
    runs = list(columns().batches(rows))
    assert [run for run, _ in runs] == [range(2)]
    assert runs[0][1]["letters.values"].tolist() == [[1.0], [2.0]]
    assert columns().one(rows[1])["letters.ids"].tolist() == [[1]]


@pytest.mark.parametrize("value", [None, math.nan, 3, b"bytes", ["a"]])
def test_what_is_no_text(value: object) -> None:
    """The row and the column are named; a missing text is not taken for an empty one."""
    with pytest.raises(InputTypeError, match=r"^feature 'review': expected a text of type str, found "):
        columns().one([1, value, 2])
    with pytest.raises(InputTypeError, match=r"^row 1, feature 'review': expected a text of type str"):
        list(columns().batches([[1, "a", 2], [1, value, 2]]))


def test_an_array_of_numbers_has_no_texts() -> None:
    """The number in the text's place is refused."""
    with pytest.raises(InputTypeError, match=r"^row 0, feature 'review': expected a text"):
        list(columns().batches(np.ones((2, 3))))


def test_a_text_that_cannot_be_hashed() -> None:
    """A lone surrogate is told with the column."""
    with pytest.raises(InputError, match=r"^feature 'review': '\\ud800' is a lone surrogate"):
        columns().one([1, "\ud800", 2])


def test_cells_of_a_file() -> None:
    """A text stays what it is, an empty one too."""
    assert columns().parsed({"width": "1", "review": "", "height": "2"}, 0) == {"width": 1, "review": "", "height": 2}
    assert columns().parsed({"width": "1", "review": " 7 ", "height": "2"}, 0)["review"] == " 7 "


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([{"name": "review", "text": SETS, "missing": "allow"}], "missing: unknown key"),
        (
            [{"name": "a", "text": SETS}, {"name": "b", "text": SETS}],
            "expected an input of its own, found 'letters.ids'",
        ),
        ([{"name": "a", "text": {"kind": "tokens"}}], r"features\[0\]\.text"),
    ],
)
def test_wrong_columns_of_texts(features: list[object], message: str) -> None:
    """Each error names the column."""
    with pytest.raises(ManifestError, match=message):
        columns({"features": features}, INPUTS)


def test_an_input_that_no_column_feeds() -> None:
    """Inputs of texts count as fed, others do not."""
    with pytest.raises(BundleError, match="expected a feature for input 'numbers'"):
        columns({"features": [{"name": "review", "text": SETS}]})

"""What a model over tables is asked: made-up rows, and how its answers are compared with the source's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ortolan.errors import ConversionError, ParityError
from ortolan_convert.parity import Answers
from ortolan_convert.request import Request
from ortolan_convert.tables.exam import exam_of
from ortolan_convert.tables.parity import choose_rows, compare_rows, gate_rows
from ortolan_convert.tables.rows import UNKNOWN, made_up_rows
from ortolan_convert.tables.source import Column, TableSource

if TYPE_CHECKING:
    from pathlib import Path


def source(refuses: float) -> TableSource:
    """A regression of one column that takes no number above a limit."""

    def ask(rows: Any) -> Answers:
        if (rows["x"] > refuses).any():
            raise ConversionError("too large")
        return Answers(np.zeros(len(rows["x"]), np.int64), {"values": rows["x"][:, None] * 2}, "values")

    return TableSource(
        framework="test",
        version="1",
        task="tabular-regression",
        columns=(Column(name="x", values=(0.0, 10.0)),),
        targets=("y",),
        ask=ask,
        build=lambda *_: {},
    )


def request(tmp_path: Path) -> Request:
    return Request(artifacts=((tmp_path / "model", "pickle"),), target=tmp_path / "out", progress=lambda _: None)


def test_rows_that_the_source_refuses_are_left_out(tmp_path: Path) -> None:
    """And counted; the answers are those to the other rows, in order."""
    exam = exam_of(source(9.0), request(tmp_path))
    assert 0 < exam.refused < 1000
    assert exam.count == len(exam.rows["x"]) == 2000 - exam.refused
    assert exam.rows["x"].max() <= 9
    np.testing.assert_array_equal(exam.answers.numbers["values"][:, 0], exam.rows["x"] * 2)


def test_a_source_that_refuses_most_rows(tmp_path: Path) -> None:
    """Its own reason is the error."""
    with pytest.raises(ConversionError, match="too large"):
        exam_of(source(0.5), request(tmp_path))


def test_made_up_rows_lie_on_and_beside_what_the_model_knows() -> None:
    """As float64 and as float32 know it, with what a column allows, the same every time."""
    columns = (
        Column(name="x", values=(0.1, 0.3), missing=True, infinite=True),
        Column(name="code", values=(1.0, 2.0), closed=True),
        Column(name="town", kind="string", values=("Graz", "Wien"), missing=True),
        Column(name="size", kind="string", values=("S", "M"), closed=True),
        Column(name="id", kind="unused"),
    )
    rows = made_up_rows(columns)
    again = made_up_rows(columns)
    assert list(rows) == ["x", "code", "town", "size"]
    assert all(np.array_equal(rows[name], again[name], equal_nan=name == "x") for name in rows)
    x = rows["x"]
    single = np.float32(0.3)
    for expected in (
        0.1,
        np.nextafter(0.3, 1),
        np.nextafter(0.3, 0),
        float(single),
        float(np.nextafter(single, np.float32(1))),
        np.inf,
        -np.inf,
    ):
        assert (x == expected).any()
    assert np.isnan(x).any()
    assert set(rows["code"].tolist()) == {1.0, 2.0}
    assert set(rows["size"].tolist()) == {"S", "M"}
    assert {"Graz", "Wien", None, *UNKNOWN} == set(rows["town"].tolist())


def answers(probabilities: Any, **options: Any) -> Answers:
    numbers = np.array(probabilities, np.float64)
    return Answers(numbers.argmax(axis=1), {"probabilities": numbers}, "probabilities", **options)


def test_another_label_is_no_tie() -> None:
    """Unless the source's own numbers for both are equal to a millionth."""
    expected = answers([[0.6, 0.4], [0.5, 0.5 - 1e-7]])
    found = {"probabilities": np.array([[0.4, 0.6], [0.5 - 1e-7, 0.5]])}
    comparison = compare_rows(expected, found, np.array([1, 1]))
    assert comparison.changed.tolist() == [True, False]
    with pytest.raises(ParityError, match=r"disagrees with its source on 1 of 2 rows .*: 'a': source 'no', conv"):
        gate_rows(expected, comparison, ["a", "b"], ["no", "yes"])


def test_numbers_are_compared_to_a_millionth_of_what_is_usual() -> None:
    """Tiny values of a regression too; what cancels to nothing is compared with the others."""
    values = np.array([[1e-9], [2e-9], [0.0]])
    expected = Answers(np.zeros(3, np.int64), {"values": values}, "values")
    fine = compare_rows(expected, {"values": values * (1 + 1e-8) + 1e-17}, np.zeros(3, np.int64))
    gate_rows(expected, fine, ["a", "b", "c"], [])
    off = compare_rows(expected, {"values": values * 1.001}, np.zeros(3, np.int64))
    with pytest.raises(ParityError, match="on 2 of 3 rows"):
        gate_rows(expected, off, ["a", "b", "c"], [])


def test_what_is_not_a_number_equals_itself_alone() -> None:
    """NaN and infinities of the source must be the model's."""
    expected = Answers(np.zeros(2, np.int64), {"values": np.array([[np.nan], [np.inf]])}, "values")
    same = compare_rows(expected, {"values": np.array([[np.nan], [np.inf]])}, np.zeros(2, np.int64))
    gate_rows(expected, same, ["a", "b"], [])
    other = compare_rows(expected, {"values": np.array([[0.0], [1e300]])}, np.zeros(2, np.int64))
    with pytest.raises(ParityError, match="on 2 of 2 rows"):
        gate_rows(expected, other, ["a", "b"], [])


def test_rows_without_an_answer_are_not_compared() -> None:
    """Nor do they become golden samples."""
    slack = np.array([np.inf, 0.0, 0.0])
    expected = answers([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]], slack=slack)
    comparison = compare_rows(expected, {"probabilities": np.full((3, 2), [0.2, 0.8])}, np.array([1, 1, 1]))
    assert comparison.changed.tolist() == [False, True, False]
    assert comparison.difference[0] == 0
    assert 0 not in choose_rows(expected, 3, 2)


def test_golden_rows_are_firm_and_of_every_label() -> None:
    """Those that another processor could decide otherwise stay out while there are others."""
    numbers = np.array([[0.5, 0.5 - 1e-9], *([[0.9, 0.1]] * 40), [0.2, 0.8]])
    chosen = choose_rows(answers(numbers), len(numbers), 10)
    assert len(chosen) == 10
    assert 0 not in chosen
    assert 41 in chosen

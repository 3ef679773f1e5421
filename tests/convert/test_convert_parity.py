"""The parity gate, ties, golden selection and rounding of coefficients."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.isotonic import IsotonicRegression

from ortolan.errors import ParityError
from ortolan_convert.graph import GraphBuilder
from ortolan_convert.parity import Answers, choose_golden, compare, fidelity, gate
from ortolan_convert.passes import LINEAR_PASSES
from ortolan_convert.passes.float32 import references
from ortolan_convert.sources.scikit_learn.text_calibrated import step_sizes

COEFFICIENTS = arrays.arrays(
    np.float64, st.tuples(st.integers(1, 3), st.integers(0, 9)), elements=st.floats(-1e6, 1e6, allow_nan=False)
)


def _answers(probabilities: list[list[float]], labels: list[int]) -> Answers:
    return Answers(np.array(labels), {"probabilities": np.array(probabilities)}, "probabilities")


def test_a_changed_label_counts() -> None:
    """A label that differs is a change, and its difference is the largest of a number."""
    source = _answers([[0.9, 0.1], [0.4, 0.6]], [0, 1])
    found = compare(source, {"probabilities": np.array([[0.9, 0.1], [0.7, 0.3]])})
    assert found.changed.tolist() == [False, True]
    assert found.difference[1] == pytest.approx(0.3)


def test_a_tie_is_no_change() -> None:
    """Where the source itself holds two classes equal, either is right."""
    source = _answers([[0.5, 0.5]], [0])
    assert not compare(source, {"probabilities": np.array([[0.4999999, 0.5000001]])}).changed.any()


def test_scores_are_compared_relative_to_the_largest() -> None:
    """Without probabilities a difference is divided by the sample's largest score, if that is above 1."""
    source = Answers(np.array([1]), {"scores": np.array([[-100.0, 100.0]])}, "scores")
    assert compare(source, {"scores": np.array([[-100.0, 101.0]])}).difference[0] == pytest.approx(0.01)


def test_nan_does_not_pass_the_gate() -> None:
    """An answer that is not a number is a disagreement."""
    source = _answers([[0.9, 0.1]], [0])
    found = compare(source, {"probabilities": np.array([[np.nan, np.nan]])})
    with pytest.raises(ParityError, match="disagrees with its source on 1 of 1 inputs"):
        gate(source, found, ["text"], ["a", "b"])


def test_the_error_shows_both_answers() -> None:
    """The message has the input, shortened, and what each side said."""
    source = _answers([[0.9, 0.1]], [0])
    found = compare(source, {"probabilities": np.array([[0.2, 0.8]])})
    with pytest.raises(ParityError) as caught:
        gate(source, found, ["lone \ud800 " + "x" * 90], ["neg", "pos"])
    assert "source 'neg', converted 'pos', difference 0.7" in str(caught.value)
    str(caught.value).encode()


def test_edge_cases_count_for_the_worst_alone() -> None:
    """Fidelity is a share of the samples; its worst difference covers everything that was compared."""
    source = _answers([[0.9, 0.1], [0.9, 0.1]], [0, 0])
    found = compare(source, {"probabilities": np.array([[0.9, 0.1], [0.1, 0.9]])})
    result = fidelity(found, count=1, metric="label", inputs="samples")
    assert (result.n, result.drop) == (1, 0.0)
    assert result.worst == pytest.approx(0.8)


def test_golden_holds_every_label_and_the_least_certain() -> None:
    """Labels of few samples and samples near the boundary are among the golden ones."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet([9, 1, 1], 500)
    probabilities[7] = [0.3334, 0.3333, 0.3333]
    probabilities[11] = [0.0, 0.0, 1.0]
    labels = probabilities.argmax(axis=1)
    texts = [f"text {'x' * (index % 50)} {index}" for index in range(500)]
    source = Answers(labels, {"probabilities": probabilities}, "probabilities")
    chosen = choose_golden(texts, 500, source)
    assert 16 <= len(chosen) <= 24
    assert 7 in chosen
    assert set(labels[chosen].tolist()) == set(labels.tolist())


def test_golden_has_no_text_twice() -> None:
    """Equal texts are one sample."""
    source = _answers([[0.9, 0.1]] * 40, [0] * 40)
    assert choose_golden(["same"] * 30 + [str(n) for n in range(10)], 40, source).__len__() == 11


@given(COEFFICIENTS)
def test_rounding_stays_within_half_a_step(coefficients: np.ndarray) -> None:
    """int8 is off by at most half a step of its column; float16 by 2^-11 of a number or less than its least step.

    Columns that float32 could not tell from zero become zero.
    """
    largest = np.maximum(np.abs(coefficients).max(axis=1, initial=0.0)[:, None], 1e-27)
    int8 = LINEAR_PASSES["int8"](coefficients, "float32").decoded
    assert (np.abs(int8 - coefficients) <= largest / 254 * (1 + 1e-9)).all()
    half = LINEAR_PASSES["fp16"](coefficients, "float32").decoded
    assert (np.abs(half - coefficients) <= np.abs(coefficients) * 2.0**-11 + largest * 2.0**-24).all()


def test_references_grow_more_exact() -> None:
    """The cheapest comes first; distances begin with float64 arithmetic; what overflows float32 is float64 at once."""
    small = np.ones((1, 2))
    assert [(w.precision, w.compute) for w in references(small, wide=False)] == [
        ("fp32", "float32"),
        ("fp32", "float64"),
        ("fp64", "float64"),
    ]
    assert next(iter(references(small, wide=True))).compute == "float64"
    with np.errstate(over="ignore"):
        assert [w.precision for w in references(small * 1e300, wide=False)] == ["fp64"]


def test_memory_counts_what_is_alive() -> None:
    """A value is freed after its last use; inputs and outputs stay."""
    graph = GraphBuilder("float32")
    value = graph.input("x", "float32", ("n",))
    for _ in range(3):
        value = graph.node("Neg", value)
    graph.output(value, "y")
    built = graph.build({"n": 1})
    # The input and two values at a time: 3 * 4 bytes.
    assert built.activation_bytes.at({"n": 10}) == 120


def test_a_sample_on_a_step_of_the_calibration_has_slack() -> None:
    """Where rounding moves an isotonic calibrator, the source has no exact answer, and the gate allows as much."""
    steep = IsotonicRegression(out_of_bounds="clip").fit([0.0, 1.0, 1.0 + 1e-9, 2.0], [0.0, 0.2, 0.8, 1.0])
    model = SimpleNamespace(decision_function=lambda features: features[:, 0])
    part = SimpleNamespace(estimator=model, calibrators=[steep])
    features = np.array([[0.5], [1.0], [1.5]])
    slack = step_sizes(SimpleNamespace(calibrated_classifiers_=[part]), features)
    assert slack[[0, 2]].max() < 1e-5
    assert slack[1] >= 0.6
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    source = Answers(np.array([0, 0, 1]), {"probabilities": probabilities}, "probabilities", slack)
    moved = probabilities + np.array([[0, 0], [-0.6, 0.6], [0, 0]])
    gate(source, compare(source, {"probabilities": moved}), "abc", ["neg", "pos"])

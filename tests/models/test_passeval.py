"""passeval: a forest of 100 trees that rates passwords, from its pickle to a bundle."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import ortolan
import ortolan_convert
from ortolan.errors import InputError, InputTypeError
from ortolan_convert.convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow

CONFIG = Path(ortolan_convert.__path__[0], "examples", "tabular-classification-passeval.yaml")
TIE = 1e-6
"""Labels whose probabilities are nearer than this are decided by the order of summing."""


@pytest.fixture(scope="module")
def forest(registry: Callable[[str], Path]) -> Any:
    """scikit-learn's own model."""
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was trained with an older scikit-learn
        return joblib.load(registry("passeval==0.2.0") / "passeval" / "passeval_model.pkl")


@pytest.fixture(scope="module")
def onnx_file(forest: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    skl2onnx = pytest.importorskip("skl2onnx")
    path = tmp_path_factory.mktemp("passeval") / "passeval.onnx"
    example = np.zeros((1, 10), np.float32)
    converted = skl2onnx.to_onnx(forest, example, options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    path.write_bytes(converted.SerializeToString())
    return path


@pytest.fixture(scope="module")
def rows() -> Any:
    """Float64 rows: such as passwords give, and others far away from them."""
    random = np.random.default_rng(0)
    counts = random.integers(0, 12, (5000, 4))
    length = counts.sum(axis=1, keepdims=True)
    entropy = random.uniform(0, 4, (5000, 1)).round(4)
    unique = random.integers(0, length + 1)
    flags = (counts[:, [0, 2, 3]] > 0).astype(int)
    likely = np.hstack([length, counts, entropy, unique, flags]).astype(np.float64)
    return np.vstack([likely, random.uniform(-5, 40, (5000, 10))])


@pytest.fixture
def model(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ortolan.TabularClassifier]:
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    convert(onnx_file, tmp_path / "passeval.bundle", config=CONFIG)
    with ortolan.load(tmp_path / "passeval.bundle", ortolan.TabularClassifier) as loaded:
        yield loaded


def test_it_answers_as_scikit_learn_does(model: ortolan.TabularClassifier, forest: Any, rows: Any) -> None:
    """10,000 rows: every label but those of ties, and every probability."""
    answers = model.predict_batch(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows have no names here
        expected = forest.predict_proba(rows)
    found = np.array([list((a.probabilities or {}).values()) for a in answers])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    second, first = np.sort(expected, axis=1)[:, -2:].T
    clear = first - second > TIE
    assert clear.mean() > 0.99
    labels = np.array([a.label for a in answers])
    np.testing.assert_array_equal(labels[clear], forest.classes_[expected.argmax(axis=1)][clear])
    assert len(np.unique(labels)) == 3


def test_rows_of_any_form_are_the_same(model: ortolan.TabularClassifier, forest: Any, rows: Any) -> None:
    """By name, in order, alone or together."""
    names = list(forest.feature_names_in_)
    some = rows[::100]
    answers = model.predict_batch(some)
    assert answers == model.predict_batch([dict(zip(names, row, strict=True)) for row in some.tolist()])
    for row, answer in zip(some, answers, strict=True):
        alone = model.predict(dict(zip(reversed(names), reversed(row.tolist()), strict=True)))
        assert alone.probabilities == pytest.approx(answer.probabilities, abs=1e-6)
    assert model.check().drop == 0


def test_faults_name_the_feature(model: ortolan.TabularClassifier, forest: Any) -> None:
    """What an application would get wrong first."""
    row: dict[str, Any] = dict.fromkeys(forest.feature_names_in_, 1)
    with pytest.raises(InputTypeError, match=r"feature 'entropy': expected a number, found str '1\.5'"):
        model.predict({**row, "entropy": "1.5"})
    with pytest.raises(InputError, match="feature 'entropy': expected a number, found nan; the model does not take"):
        model.predict({**row, "entropy": float("nan")})
    with pytest.raises(InputError, match="missing: 'entropy'"):
        model.predict({name: value for name, value in row.items() if name != "entropy"})

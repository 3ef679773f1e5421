"""Bundles made with the newest tools, run by the runtime alone on the onnxruntime that is installed here."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest

import ortolan

BUNDLES = Path(os.environ.get("ORTOLAN_TEST_BUNDLES", ""))
pytestmark = pytest.mark.skipif(
    "ORTOLAN_TEST_BUNDLES" not in os.environ, reason="`make test-oldest` makes the bundles this needs"
)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def expected() -> dict[str, object]:
    content: dict[str, object] = json.loads((BUNDLES / "expected.json").read_text(encoding="utf-8"))
    return content


def test_no_training_framework_is_here() -> None:
    """What runs here is what a device has."""
    assert importlib.util.find_spec("sklearn") is None


@pytest.mark.parametrize("name", ["char", "word"])
def test_reference_gives_the_source_s_answers(name: str, expected: dict[str, dict[str, list[object]]]) -> None:
    """Labels are equal and probabilities agree to 1e-5."""
    texts, answers = expected["texts"], expected["answers"]
    with ortolan.load(BUNDLES / f"{name}.bundle", ortolan.TextClassifier, variant="fp32") as model:
        found = model.predict_batch(texts)
        singles = [model.predict(text) for text in texts]
    assert [f.label for f in found] == answers[name]
    assert [s.label for s in singles] == answers[name]
    got = [[f.probabilities[label] for label in sorted(f.probabilities)] for f in found]
    np.testing.assert_allclose(got, answers[f"{name}.probabilities"], atol=1e-5)


def test_clusters_are_the_source_s(expected: dict[str, dict[str, list[object]]]) -> None:
    """Cluster numbers are equal."""
    with ortolan.load(BUNDLES / "clusters.bundle", ortolan.Clusterer, variant="fp32") as model:
        assert [c.label for c in model.predict_batch(expected["texts"])] == expected["answers"]["clusters"]


@pytest.mark.parametrize("name", ["char", "word", "clusters"])
def test_every_variant_passes_its_golden_samples(name: str) -> None:
    """Each variant runs on this onnxruntime within the fidelity found at conversion."""
    from ortolan.bundle.directory import open_bundle

    for variant in open_bundle(BUNDLES / f"{name}.bundle").manifest.components[0].variants:
        with ortolan.load(BUNDLES / f"{name}.bundle", variant=variant.name) as model:
            assert model.check().n >= 16


def test_bare_model_runs_and_binds() -> None:
    """A bare .onnx loads; run and bind agree."""
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with ortolan.load(BUNDLES / "bare.onnx") as model:
        expected = x @ np.array([[1, 2], [3, 4], [5, 6]], dtype=np.float32)
        np.testing.assert_allclose(model.run({"x": x})["y"], expected)
        bound = model.bind({"x": x})
        bound.inputs["x"][...] = 2 * x
        bound()
        np.testing.assert_allclose(bound.outputs["y"], 2 * expected)

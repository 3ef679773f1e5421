"""Golden samples: reading them and comparing with them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from ortolan.bundle.description import VariantInfo
from ortolan.errors import BundleError
from ortolan.tasks import golden, open_task
from ortolan.tasks.golden import agrees, compare, read_golden, wilson
from ortolan.types import HALF_SLACK, SLACK, Fidelity, Interval

WEIGHTS = [[-1, 1], [1, -1], [0, 0]]
PROMISED = Fidelity("label", 100, 0.0, Interval(0.0, 0.04), 1e-3, "samples")


def npz(**arrays):
    """The bytes of a .npz file."""
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.fixture
def ask(make_bundle, make_session, text_config):
    """Function: golden texts and the source's arrays -> the fidelity measured here."""

    def measure(texts, weights=WEIGHTS, outputs=("scores", "probabilities"), **arrays):
        files = {"golden/inputs.json": json.dumps(texts).encode(), "golden/outputs.npz": npz(**arrays)}
        config = {"labels": [0, 1], "input": text_config, "decision": "scores"}
        bundle, session = make_bundle("text-classification", config, files), make_session(weights, *outputs)
        return compare(open_task(bundle, {"model": session}), session, read_golden(bundle), PROMISED)

    return measure


def test_the_same_answers_agree(ask):
    """Scores are compared where there are no probabilities; lone surrogates survive the file."""
    found = ask(["aaa", "\ud800b", ""], labels=np.array([1, 0, 0]), scores=np.array([[-3.0, 3], [1, -1], [0, 0]]))
    assert found == Fidelity("label", 3, 0.0, wilson(0, 3), 0.0, "samples")
    assert agrees(found, PROMISED)


def test_another_label_does_not_agree(ask):
    """Its share and the largest difference, relative to the sample's largest score, are reported."""
    found = ask(["aaa", "b"], labels=np.array([0, 0]), scores=np.array([[4.0, -4.0], [1, -1]]))
    assert (found.drop, found.worst) == (0.5, 7 / 4)
    assert not agrees(found, PROMISED)


def test_another_label_at_a_near_tie_of_the_source(ask):
    """Where the source's numbers are closer than twice the tolerance, either label is right."""
    near = np.array([[0.0001, -0.0001]])
    found = ask(["ac"], weights=[[-1e-4, 1e-4], [0, 0], [0, 0]], labels=np.array([0]), scores=near)
    assert found.drop == 0
    assert agrees(found, PROMISED)
    far = np.array([[0.1, -0.1]])
    found = ask(["ac"], weights=[[-1e-4, 1e-4], [0, 0], [0, 0]], labels=np.array([0]), scores=far)
    assert found.drop == 1


def test_the_same_labels_with_other_numbers_do_not_agree(ask):
    """A fault that has not yet flipped a label."""
    found = ask(["a"], labels=np.array([1]), probabilities=np.array([[0.2, 0.8]]), scores=np.array([[-1.0, 1.0]]))
    assert found.drop == 0
    assert found.worst == pytest.approx(0.8807971 - 0.8, abs=1e-6)
    assert not agrees(found, PROMISED)


def test_nan_is_a_difference(ask):
    """NaN where the source has a number never passes."""
    found = ask(["a"], weights=[[np.nan, 1], [0, 0], [0, 0]], labels=np.array([1]), scores=np.array([[-1.0, 1.0]]))
    assert found.worst == np.inf
    assert not agrees(found, PROMISED)


def test_clusters(make_bundle, make_session, text_config):
    """The nearest center must be the source's."""
    files = {
        "golden/inputs.json": b'["a", "b"]',
        "golden/outputs.npz": npz(labels=np.array([1, 1]), distances=np.array([[3.0, 1.0], [0.0, 5.0]])),
    }
    bundle = make_bundle("clustering", {"clusters": 2, "input": text_config}, files)
    session = make_session([[3, 1], [0, 5], [0, 0]], "distances")
    found = compare(open_task(bundle, {"model": session}), session, read_golden(bundle), PROMISED)
    assert (found.metric, found.drop, found.worst) == ("cluster", 0.5, 0.0)


def test_tensors(make_bundle, make_session):
    """Each sample's outputs are compared by name; beyond the tolerance a sample counts as changed."""
    feeds = {"0000/ids": np.array([[0]]), "0000/values": np.ones((1, 1), np.float32)}
    feeds |= {name.replace("0000", "0001"): array for name, array in feeds.items()}
    wanted = {"0000/y": np.array([[1.0]], np.float32), "0001/y": np.array([[1.5]], np.float32)}
    files = {"golden/inputs.npz": npz(**feeds), "golden/outputs.npz": npz(**wanted)}
    bundle, session = make_bundle("tensor", {}, files), make_session([[1], [0], [0]], "y")
    found = compare(open_task(bundle, {"model": session}), session, read_golden(bundle), PROMISED)
    assert (found.metric, found.n, found.drop, found.worst) == ("tensor", 2, 0.5, pytest.approx(0.5 / 1.5))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected golden/outputs.npz and one of golden/inputs.json and golden/inputs.npz"),
        ({"inputs.json": b"[]"}, "expected golden/outputs.npz and one of"),
        ({"inputs.json": b"{", "outputs.npz": npz(labels=np.zeros(0, int))}, "golden/inputs.json: expected JSON"),
        ({"inputs.json": b"[1]", "outputs.npz": npz(labels=np.zeros(1, int))}, "inputs.json: expected a list of texts"),
        ({"inputs.json": b'["a"]', "outputs.npz": b"PK"}, "golden/outputs.npz: expected a .npz file of arrays"),
        ({"inputs.json": b'["a"]', "outputs.npz": npz(x=np.array([None]))}, "expected a .npz file of arrays"),
        ({"inputs.json": b'["a"]', "outputs.npz": npz(scores=np.zeros((1, 2)))}, "expected labels int64[1], found"),
        ({"inputs.json": b'["a"]', "outputs.npz": npz(labels=np.zeros(1, int))}, "expected matrices of 1 rows"),
        (
            {"inputs.json": b'["a"]', "outputs.npz": npz(labels=np.array([2]), scores=np.zeros((1, 2)))},
            "golden/outputs.npz: expected labels from 0 to 1",
        ),
        ({"inputs.npz": npz(x=np.zeros(1)), "outputs.npz": npz()}, "expected names like '0000/<name>', found 'x'"),
        (
            {"inputs.npz": npz(**{"0001/x": np.zeros(1)}), "outputs.npz": npz()},
            "golden/inputs.npz: expected samples numbered from 0000 without gaps",
        ),
        (
            {"inputs.npz": npz(**{"0000/x": np.zeros(1)}), "outputs.npz": npz()},
            "golden/outputs.npz: expected answers to 1 inputs, found 0",
        ),
    ],
)
def test_damaged_golden_files(make_bundle, files, message):
    """Each is refused with what was expected."""
    with pytest.raises(BundleError) as caught:
        read_golden(make_bundle("x", {}, {f"golden/{name}": content for name, content in files.items()}))
    assert message in str(caught.value)


def test_golden_files_that_unpack_to_too_much(make_bundle, monkeypatch):
    """The size is read from the directory of the file before anything is unpacked."""
    monkeypatch.setattr(golden, "MAX_UNPACKED", 1000)
    files = {"golden/inputs.json": b"[]", "golden/outputs.npz": npz(labels=np.zeros(1000, int))}
    with pytest.raises(BundleError, match="expected at most 1000 bytes of arrays, found 8"):
        read_golden(make_bundle("x", {}, files))


def test_answers_of_an_output_that_the_model_lacks(ask):
    """The message names the outputs there are."""
    with pytest.raises(BundleError, match="the model has no output 'probabilities', only scores"):
        ask(["a"], outputs=("scores",), labels=np.array([1]), probabilities=np.array([[0.2, 0.8]]))


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 0.27753),
        (10, 10, 0.72247, 1.0),
        (5, 10, 0.23659, 0.76341),
        (1, 1000, 0.00018, 0.00565),
    ],
)
def test_wilson_interval(hits, n, low, high):
    """Figures as published calculators give them."""
    found = wilson(hits, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-5), pytest.approx(high, abs=1e-5))


@pytest.mark.parametrize(
    ("precision", "metric", "tolerance"),
    [
        ("fp32", "tensor", 1e-4),
        ("int8", "tensor", 1e-4),
        ("fp16", "tensor", 2**-8),
        ("fp16", "label", 2**-8),
        ("fp16", "embedding", 1e-4),
    ],
)
def test_float16_is_granted_its_own_arithmetic(precision, metric, tolerance):
    """A processor that computes in halves is no fault; with other precisions the same difference is."""
    promised = VariantInfo(
        precision=precision,
        providers=("cpu",),
        min_onnxruntime="1.20.0",
        weight_bytes=1,
        macs=None,
        activation_bytes=None,
        fidelity=Fidelity(metric, 16, 0.0, wilson(0, 16), 0.0, "samples"),
    ).fidelity
    assert promised.tolerance == tolerance
    on_a_cortex_a76 = Fidelity(metric, 16, 0.0, wilson(0, 16), 1.5e-3, "samples")
    assert agrees(on_a_cortex_a76, promised) == (tolerance > 1.5e-3)


def test_products_in_halves_stay_within_what_is_granted():
    """Three layers of 64 in float16: off by more than float32 is granted, and by less than float16 is."""
    random = np.random.default_rng(0)
    exact = random.standard_normal((200, 64))
    halves = exact.astype(np.float16)
    for _ in range(3):
        weights = (random.standard_normal((64, 64)) / 8).astype(np.float16)
        sums = np.zeros_like(halves)
        for i in range(64):
            sums += halves[:, i : i + 1] * weights[i]
        halves, exact = np.maximum(sums, np.float16(0)), np.maximum(exact @ weights.astype(np.float64), 0)
    worst = float(np.abs(halves - exact).max() / np.abs(exact).max())
    assert SLACK < worst < HALF_SLACK

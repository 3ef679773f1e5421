"""Bundles of tiny models, and a state directory of its own for each test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx
import pytest

from ortolan.bundle.description import Provenance, Source, TaskSpec, VariantInfo
from ortolan.bundle.write import write_bundle
from ortolan.types import Fidelity, Interval, Polynomial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.bundle.directory import Bundle

MODEL = """
<ir_version: 8, opset_import: ["": 17]>
doubled (float[batch, 3] x) => (float[batch, 3] y)
<float[3] w = {2.0, 2.0, 2.0}>
{ y = Mul(x, w) }
"""


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that no other test sees."""
    directory = tmp_path / "state"
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(directory))
    return directory


@pytest.fixture(scope="session")
def model_bytes() -> bytes:
    """An ONNX model that doubles its input: 12 bytes of weights."""
    return onnx.parser.parse_model(MODEL).SerializeToString()


def info(precision: str) -> VariantInfo:
    """Figures of a variant, with every optional part present."""
    return VariantInfo(
        precision=precision,
        providers=("cpu", "cuda"),
        min_onnxruntime="1.20.0",
        weight_bytes=12,
        macs=Polynomial(((3, ("batch",)),)),
        activation_bytes=Polynomial(((12, ("batch",)), (64, ()))),
        cpu_features=("avx2",),
        fidelity=Fidelity("tensor", 100, 0.01, Interval(0.001, 0.05), 1.5e-7, "samples"),
    )


@pytest.fixture
def parts(model_bytes: bytes) -> dict[str, Any]:
    """Arguments of write_bundle for a bundle of two variants, an asset and a golden file."""
    return {
        "package_name": "doubled 数",
        "version": "1.0.0",
        "task": TaskSpec("tensor", {"note": "数", "labels": [1, 2.5, "x", None, True]}),
        "provenance": Provenance(
            framework="onnx", framework_version="1.22", versions={"python": "3.11"}, sources=(Source("m", "0" * 64, 5),)
        ),
        "dims": {"batch": 1},
        "components": [
            (
                "model",
                [
                    ("fp32", info("fp32"), {"model.onnx": model_bytes}),
                    ("int8", info("int8"), {"model.onnx": model_bytes, "notes.txt": b"n"}),
                ],
            )
        ],
        "assets": {"words/list.txt": b"one\ntwo\n"},
        "golden": {"inputs.json": b"[]"},
    }


@pytest.fixture
def make_bundle(tmp_path: Path, parts: dict[str, Any]) -> Callable[..., Bundle]:
    """Writes the bundle of ``parts`` under a name, with changed arguments."""

    def make(name: str = "doubled.bundle", **changes: Any) -> Bundle:
        return write_bundle(tmp_path / name, **{**parts, **changes})

    return make


@pytest.fixture
def bundle(make_bundle: Callable[..., Bundle]) -> Bundle:
    """The bundle of ``parts``."""
    return make_bundle()


@pytest.fixture
def documents(bundle: Bundle) -> dict[str, Any]:
    """Its manifest and component description, decoded, to be changed by a test."""
    return {name: json.loads((bundle.path / name).read_bytes()) for name in ("manifest.json", "model/component.json")}


@pytest.fixture
def external_model() -> Callable[..., bytes]:
    """Makes a model whose float32[3] initializer ``w`` lies outside its file, as the given entries say."""

    def make(**entries: str) -> bytes:
        model = onnx.parser.parse_model(MODEL)
        (tensor,) = model.graph.initializer
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        return model.SerializeToString()

    return make

"""Hand-made manifests, profiles and measurements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from ortolan.bundle.description import (
    Component,
    FileEntry,
    Manifest,
    Provenance,
    Source,
    TaskSpec,
    Variant,
    VariantInfo,
)
from ortolan.hardware.profiles import Profile, load_profile
from ortolan.types import Candidate, Fidelity, Interval, Measurement, Polynomial, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory that no other test sees."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def info() -> Callable[..., VariantInfo]:
    """A text classifier's variant, with some fields changed."""

    def make(drop: float = 0.0, **changes: object) -> VariantInfo:
        usual = VariantInfo(
            precision="fp32",
            providers=("cpu", "cuda"),
            min_onnxruntime="1.20.0",
            weight_bytes=800_000,
            macs=Polynomial(((2, ("batch", "terms")),)),
            activation_bytes=Polynomial(((16, ("batch", "terms")),)),
            fidelity=Fidelity("label", 1000, drop, Interval(0.0, 0.01), 0.0, "samples"),
        )
        return replace(usual, **changes)  # type: ignore[arg-type] # the tests name real fields

    return make


@pytest.fixture
def manifest(info: Callable[..., VariantInfo]) -> Callable[..., Manifest]:
    """A bundle with the given variants; without any fp32, fp16 and int8."""

    def make(**variants: VariantInfo) -> Manifest:
        infos = variants or {
            "fp32": info(),
            "fp16": info(precision="fp16", weight_bytes=400_000),
            "int8": info(precision="int8", weight_bytes=200_000, drop=0.002),
        }
        files = {"assets/vocabulary.npz": FileEntry(500_000, "a" * 64)}
        for index, (name, found) in enumerate(infos.items()):
            files[f"model/{name}/model.onnx"] = FileEntry(found.weight_bytes + 2000, f"{index}" * 64)
        rows = tuple(
            Variant(name=name, component="model", directory=f"model/{name}", model_file="model.onnx", info=found)
            for name, found in infos.items()
        )
        return Manifest(
            package_name="sentiment",
            version="1.0.0",
            task=TaskSpec("text-classification", {}),
            provenance=Provenance(
                framework="scikit-learn",
                framework_version="1.9.1",
                versions={},
                sources=(Source("sentiment.joblib", "b" * 64, 2_000_000),),
            ),
            dims={"batch": 1, "terms": 100},
            files=files,
            components=(Component("model", "model", rows),),
        )

    return make


@pytest.fixture
def pi() -> Profile:
    """A Raspberry Pi Zero 2 W."""
    return load_profile("raspberry-pi-zero-2-w")


@pytest.fixture
def orin() -> Profile:
    """A Jetson Orin Nano, which has CUDA too."""
    return load_profile("jetson-orin-nano")


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    """A candidate of one component."""

    def make(variant: str, **config: object) -> Candidate:
        return Candidate((("model", variant),), SessionConfig(**config))  # type: ignore[arg-type] # real fields

    return make


@pytest.fixture
def measured(
    manifest: Callable[..., Manifest], pi: Profile, candidate: Callable[..., Candidate]
) -> Callable[..., Measurement]:
    """A measurement on the Raspberry Pi of a variant of the usual manifest, two processes with the given medians."""

    def make(variant: str, low: float, high: float, **changes: object) -> Measurement:
        bundle = manifest()
        usual = Measurement(
            candidate=candidate(variant),
            variant_digest=bundle.variant_digest(bundle.variant(variant)),
            workload="golden",
            hardware_id=pi.hardware.id,
            runtime_id="onnxruntime 1.32.0",
            load=(0.1, 0.2),
            first_run=(0.01,),
            samples=((low,) * 40, (high,) * 40),
            peak_memory=60_000_000,
            validity="valid",
            faithful=True,
        )
        return replace(usual, **changes)  # type: ignore[arg-type] # the tests name real fields

    return make

"""Whose fault it is that a session does not open, and what older versions of onnxruntime can tell."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from ortolan.engine import installation, open_session, opening, placement, trial
from ortolan.engine.providers import PROVIDERS, Provider, able
from ortolan.errors import ModelFileError, ProviderUnavailableError
from ortolan.types import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def broken(azure: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """That provider fails when it starts, as WebGPU does without a driver."""
    real = opening._create

    def create(path: str, config: SessionConfig, provider: Provider, *rest: Any, **settings: Any) -> Any:
        if provider.name == "azure":
            raise RuntimeError(
                "/onnxruntime_src/onnxruntime/core/providers/azure/context.cc:65 onnxruntime::azure::Context::Start("
                "const Config&)::<lambda()> status == Status::Success was false. Failed to get an adapter"
            )
        return real(path, config, provider, *rest, **settings)

    monkeypatch.setattr(opening, "_create", create)


@pytest.mark.usefixtures("broken")
def test_a_provider_that_fails_is_to_blame(doubling: Path) -> None:
    """The CPU loads the model, so the model is not at fault; the C++ around the reason is left out."""
    with pytest.raises(ProviderUnavailableError) as caught:
        open_session(doubling, SessionConfig(provider="azure"))
    assert str(caught.value) == (
        f"azure could not load {doubling}: Failed to get an adapter; the cpu loads it; azure needs nothing"
    )


@pytest.mark.usefixtures("broken")
def test_a_model_that_nobody_loads_is_to_blame(tmp_path: Path) -> None:
    """The error is the one the CPU provider gives."""
    (tmp_path / "bad.onnx").write_bytes(b"junk")
    with pytest.raises(ModelFileError, match="damaged"):
        open_session(tmp_path / "bad.onnx", SessionConfig(provider="azure"))


def test_the_library_that_a_provider_lacks_is_named(
    azure: None, doubling: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """onnxruntime goes on with the CPU, and writes the reason to stderr alone."""
    real = installation.onnxruntime()
    session = real.InferenceSession(str(doubling), providers=["CPUExecutionProvider"])
    runtime = SimpleNamespace(
        __file__=str(tmp_path / "__init__.py"),
        __version__=real.__version__,
        InferenceSession=SimpleNamespace(get_provider_graph_assignment_info=None),
    )
    monkeypatch.setattr(opening, "onnxruntime", lambda: runtime)
    monkeypatch.setattr(opening, "_create", lambda *_, **__: session)
    with pytest.raises(ProviderUnavailableError, match=r"^azure could not be started here: onnxruntime says on stderr"):
        open_session(doubling, SessionConfig(provider="azure"))
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi/libonnxruntime_providers_azure.so").write_bytes(b"no library")
    with pytest.raises(ProviderUnavailableError, match=r"^azure could not be started here: \S+\.so: .*; azure needs"):
        open_session(doubling, SessionConfig(provider="azure"))


@pytest.fixture
def taking(azure: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """That provider is said to have taken every node."""
    monkeypatch.setattr(
        opening, "_created", lambda path, config, provider, engines: (_Session("azure"), {"azure": Counter(Add=1)})
    )
    monkeypatch.setattr(opening, "_create", lambda path, config, provider: _Session("cpu"))


class _Session:
    """A session of the provider that is named."""

    def __init__(self, provider: str) -> None:
        self.provider = provider

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="x", type="tensor(float)", shape=["n", 4])]

    get_outputs = get_inputs


@pytest.mark.usefixtures("taking")
def test_a_provider_that_cannot_run_what_it_took_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by a run on zeros when the session is opened, not by the application's first."""

    def run(session: _Session, size: int) -> None:
        if session.provider == "azure":
            raise RuntimeError("no float16 here")

    monkeypatch.setattr(trial, "run_on_zeros", run)
    with pytest.raises(ProviderUnavailableError) as caught:
        open_session("m.onnx", SessionConfig(provider="azure"))
    assert str(caught.value) == "azure took m.onnx and cannot run it: no float16 here; the cpu can; azure needs nothing"


@pytest.mark.usefixtures("taking")
def test_a_provider_that_needs_larger_images_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO cannot run a layer for which an image of one pixel leaves nothing, as the CPU can."""
    tried = []

    def run(session: _Session, size: int) -> None:
        tried.append((session.provider, size))
        if session.provider == "azure" and size < 64:
            raise RuntimeError("nothing is left")

    monkeypatch.setattr(trial, "run_on_zeros", run)
    opened = opening.open_on("m.onnx", SessionConfig(provider="azure"), PROVIDERS["azure"], strict=True)
    assert opened.nodes == {"azure": {"Add": 1}}
    assert tried == [("azure", 1), ("azure", 64)]


@pytest.mark.usefixtures("taking")
def test_zeros_that_no_provider_can_run_tell_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some models take no image of one pixel."""

    def run(session: _Session, size: int) -> None:
        raise RuntimeError("too small")

    monkeypatch.setattr(trial, "run_on_zeros", run)
    monkeypatch.setattr(opening.placement, "works", lambda nodes, provider: True)
    opened = opening.open_on("m.onnx", SessionConfig(provider="azure"), PROVIDERS["azure"], strict=True)
    assert opened.nodes == {"azure": {"Add": 1}}


def test_zeros_fit_the_inputs(write_model: Callable[..., Path]) -> None:
    """Numbers, booleans and strings; the first free dimension is 1."""
    path = write_model(
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["s"], ["t"])],
        [("x", TensorProto.BOOL, ["n", 3]), ("s", TensorProto.STRING, ["n"])],
        [("y", TensorProto.BOOL, ["n", 3]), ("t", TensorProto.STRING, ["n"])],
    )
    session = installation.onnxruntime().InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in trial.SIZES:
        trial.run_on_zeros(session, size)


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> None:
    """An onnxruntime that does not tell where its nodes are."""
    real = installation.onnxruntime()
    old = SimpleNamespace(
        __version__="1.23.2", InferenceSession=lambda *args, **rest: real.InferenceSession(*args, **rest)
    )
    monkeypatch.setattr(opening, "onnxruntime", lambda: old)


@pytest.mark.usefixtures("azure", "older")
def test_an_older_version_tells_by_the_profile_of_a_run(write_model: Callable[..., Path]) -> None:
    """The refusal names the nodes all the same."""
    path = write_model(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["y"])],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
        {"w": np.eye(4, dtype=np.float32)},
    )
    with pytest.raises(ProviderUnavailableError, match=r"^azure took none of the work of .*: 1 x MatMul on cpu; use"):
        open_session(path, SessionConfig(provider="azure"))
    session = open_session(path, SessionConfig(provider="azure-or-cpu"))
    assert session.config.provider == "cpu"


@pytest.mark.usefixtures("azure", "older")
def test_a_model_that_takes_no_zeros_cannot_be_told_about(write_model: Callable[..., Path]) -> None:
    """Then an older version does not know, and strict means no."""
    path = write_model(
        [helper.make_node("Gather", ["w", "i"], ["y"]), helper.make_node("Reshape", ["y", "s"], ["z"])],
        [("i", TensorProto.INT64, ["n"])],
        [("z", TensorProto.FLOAT, [3])],
        {"w": np.zeros(3, np.float32), "s": np.array([3])},
    )
    with pytest.raises(
        ProviderUnavailableError,
        match=r"cannot run every node of .*, and onnxruntime 1\.23\.2 does not tell which "
        r"\(the model does not run on zeros\); update onnxruntime, or use another provider",
    ):
        open_session(path, SessionConfig(provider="azure"))


WEBGPU = PROVIDERS["webgpu"]


@pytest.mark.parametrize(
    ("listed", "operators", "expected"),
    [
        ({}, {"MatMul": 1, "Relu": 1}, {"webgpu": {"MatMul": 1}}),
        ({}, {"Add": 2}, {"webgpu": {"Add": 2}}),
        ({"cpu": Counter(Cast=2)}, {"MatMul": 2, "Cast": 2}, {"cpu": {"Cast": 2}, "webgpu": {"MatMul": 2}}),
        ({"cpu": Counter(GRU=1)}, {"MatMul": 2, "GRU": 1}, {"cpu": {"GRU": 1}, "webgpu": {"MatMul": 2}}),
        ({"cpu": Counter(Gemm=2)}, {"MatMul": 2, "Add": 2}, {"cpu": {"Gemm": 2}}),
        ({"cpu": Counter(Add=1)}, {"Add": 1}, {"cpu": {"Add": 1}}),
        ({"webgpu": Counter(Add=1)}, {"Add": 9}, {"webgpu": {"Add": 1}}),
    ],
)
def test_nodes_that_are_not_listed_are_what_is_left(
    listed: dict[str, Counter[str]], operators: dict[str, int], expected: dict[str, dict[str, int]]
) -> None:
    """onnxruntime does not list WebGPU's own; nodes that multiply count, whatever they are called after fusion."""
    assert placement.completed(listed, WEBGPU, operators) == expected


def test_a_provider_without_a_row_counts_under_the_name_it_was_asked_for() -> None:
    """Its nodes are its own."""
    row = Provider(name="acme@/lib.so", ort_name="acme", install="")
    part = SimpleNamespace(ep_name="acme", get_nodes=lambda: [SimpleNamespace(op_type="Conv")])
    session = SimpleNamespace(get_provider_graph_assignment_info=lambda: [part])
    assert placement.assignment(session, row) == {"acme@/lib.so": {"Conv": 1}}


def test_exclusions_say_who_may_run_a_graph() -> None:
    """Integer products are not for GPUs, trees for the CPU alone; domains do not matter."""
    assert able(["MatMul", "Add"]) == tuple(PROVIDERS)
    assert able(["MatMulInteger", "DynamicQuantizeLinear"]) == ("cpu", "openvino")
    assert able(["ai.onnx.ml::TreeEnsembleClassifier"]) == ("cpu",)
    assert able(["::Conv"]) == ("cpu", "cuda", "tensorrt", "openvino", "webgpu")


def test_the_cpu_excludes_nothing_and_needs_nothing() -> None:
    """Every variant may run there."""
    assert PROVIDERS["cpu"].excludes == frozenset()
    assert PROVIDERS["cpu"].needs == ""

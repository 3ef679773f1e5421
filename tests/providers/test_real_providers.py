"""Providers that really run: right answers, all of the work or a refusal, and every way to fail."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import ortolan
from ortolan.bundle.directory import open_bundle
from ortolan.choose.measurements import store
from ortolan.engine import installation, open_session, opening, runtime_id
from ortolan.engine.placement import WORK
from ortolan.engine.providers import PROVIDERS, available
from ortolan.engine.usable import obstacle
from ortolan.errors import (
    ModelFileError,
    NoCandidateError,
    ProviderUnavailableError,
)
from ortolan.hardware.probe import probe
from ortolan.tasks.golden import agrees
from ortolan.types import Candidate, Measurement, SessionConfig

if TYPE_CHECKING:
    from ortolan.engine.providers import Provider


OPERATORS = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("operators.py"))))
TENSORS = ("fp32", "fp16", "int8", "conv", "odd", "magika")
TEXTS = ("char", "word", "clusters")

REFUSED = {
    # SwiftShader has no float16; distances need an operator that only its CPU neighbors have.
    "webgpu": {"fp16", "int8", "clusters"},
    "openvino": {"clusters"},
    "ggml": {"conv", "int8", "odd", "magika"},
}
"""Bundles whose work a provider cannot do, or not all of it."""

WRONG = {("webgpu", "odd")}
"""Bundles that a provider takes, and answers wrongly: what the golden samples are for."""

ROUNDED = {("openvino", "MatMulNBits"), ("openvino", "DynamicQuantizeMatMul")}
"""OpenVINO rounds activations to 8 bits on its own terms."""


def test_it_is_there(provider: str) -> None:
    """Its wheel is the one that is installed, and no other accelerator is claimed."""
    assert set(available()) == {"cpu", provider}


def test_it_runs_here(usable: str) -> None:
    """What `ortolan devices` tries."""
    assert obstacle(usable) is None


@pytest.mark.parametrize("name", TENSORS)
def test_golden_samples_of_tensors_are_answered(usable: str, bundles: Path, name: str) -> None:
    """Strictly on the provider: within what the bundle promises, or refused; never from the CPU."""
    path = bundles / f"{name}.bundle"
    if not path.exists():
        pytest.skip(f"the package registry gives no {name}")
    if name in REFUSED[usable]:
        with pytest.raises((ProviderUnavailableError, NoCandidateError), match=usable):
            ortolan.load(path, provider=usable)
        return
    with ortolan.load(path, provider=usable) as model:
        assert model.plan.chosen.config.provider == usable
        if (usable, name) == ("webgpu", "magika"):  # a GPU in software takes minutes for all of them
            x = np.arange(2048, dtype=np.int32).reshape(1, 2048) % 257
            with ortolan.load(path, provider="cpu") as reference:
                for output, expected in reference.run({"bytes": x}).items():
                    np.testing.assert_allclose(model.run({"bytes": x})[output], expected, atol=1e-4)
            return
        right = agrees(model.check(), open_bundle(path).manifest.components[0].variants[0].info.fidelity)
        assert right == ((usable, name) not in WRONG)


@pytest.mark.parametrize("name", TEXTS)
def test_golden_samples_of_texts_are_answered(usable: str, bundles: Path, name: str) -> None:
    """The reference variant gives the source's labels, strictly on the provider."""
    path = bundles / f"{name}.bundle"
    if name in REFUSED[usable]:
        with pytest.raises(ProviderUnavailableError, match=rf"{usable} .*MatMul on cpu"):
            ortolan.load(path, variant="fp32", provider=usable)
        return
    expected = json.loads((bundles / "expected.json").read_text(encoding="utf-8"))
    with ortolan.load(path, variant="fp32", provider=usable) as model:
        found = [answer.label for answer in model.predict_batch(expected["texts"])]
        assert agrees(model.check(), open_bundle(path).manifest.variant("fp32").info.fidelity)
    assert found == expected["answers"][name]


@pytest.mark.parametrize("name", TENSORS)
def test_best_effort_always_answers(usable: str, bundles: Path, name: str) -> None:
    """What the provider cannot do the CPU does, and the plan says so."""
    path = bundles / f"{name}.bundle"
    if not path.exists():
        pytest.skip(f"the package registry gives no {name}")
    with ortolan.load(path, provider=f"{usable}-or-cpu") as model:
        notes = [note for note in model.plan.notes if usable in note]
        on_cpu = model.plan.chosen.config.provider == "cpu"
        answers = model.check() if on_cpu else None
    if answers is not None:
        assert name in REFUSED[usable]
        assert notes[0].startswith(f"{usable} could not be used, the cpu is: ")
        assert answers.drop == 0
    else:
        claim = f"{open_bundle(path).manifest.components[0].variants[0].name} was not made for {usable}, and "
        claim *= name in REFUSED[usable]
        assert notes[-1].startswith(f"{claim}its answers on {usable} were not compared with the source's here: ")


@pytest.fixture
def mixed(tmp_path: Path, usable: str) -> Path:
    """Two layers that any provider takes, and what only the CPU has before the last of them, or, for ggml, after it."""
    product = [helper.make_node("MatMul", ["b", "w"], ["y"])]
    nodes = {
        # OpenVINO has no operators on strings.
        "openvino": [
            helper.make_node("Cast", ["a"], ["t"], to=TensorProto.STRING),
            helper.make_node("Cast", ["t"], ["b"], to=TensorProto.FLOAT),
            *product,
        ],
        # WebGPU has only one kind of recurrent layer.
        "webgpu": [
            helper.make_node("Unsqueeze", ["a", "zero"], ["u"]),
            helper.make_node("GRU", ["u", "k", "r"], ["", "h"], hidden_size=4),
            helper.make_node("Squeeze", ["h", "zero"], ["b"]),
            *product,
        ],
        # ggml has no Einsum, and version 0.2.0 takes no nodes on both sides of one that it leaves.
        "ggml": [
            helper.make_node("MatMul", ["a", "w"], ["b"]),
            helper.make_node("Einsum", ["b", "w"], ["y"], equation="ij,jk->ik"),
        ],
    }[usable]
    rng = np.random.default_rng(5)
    weights = {
        "w": np.eye(4, dtype=np.float32) + 0.1 * rng.standard_normal((4, 4)).astype(np.float32),
        "k": rng.standard_normal((1, 12, 4)).astype(np.float32),
        "r": rng.standard_normal((1, 12, 4)).astype(np.float32),
        "zero": np.array([0]),
    }
    used = {name for node in nodes for name in node.input} | {"w"}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), *nodes],
        "mixed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(value, name) for name, value in weights.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "mixed.onnx")
    return tmp_path / "mixed.onnx"


def test_a_part_of_the_work_is_not_enough(usable: str, mixed: Path) -> None:
    """Strict refuses and names the nodes; best effort says what runs where, and is right."""
    stray = {"openvino": "MatMul", "webgpu": "GRU", "ggml": "Einsum"}[usable]
    with pytest.raises(
        ProviderUnavailableError,
        match=rf"^{usable} cannot do all the work of .*mixed\.onnx: 1 x {stray} on cpu; ask for '{usable}-or-cpu'",
    ):
        ortolan.load(mixed, provider=usable)
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    with ortolan.load(mixed, provider=f"{usable}-or-cpu") as model, ortolan.load(mixed, provider="cpu") as reference:
        assert model.plan.chosen.config.provider == usable
        assert model.plan.notes[0] == f"{usable} does not do all the work: 1 x {stray} on cpu"
        assert model.plan.notes[-1].startswith(f"its answers on {usable} were compared with nothing")
        np.testing.assert_allclose(model.run({"x": x})["y"], reference.run({"x": x})["y"], rtol=1e-4, atol=1e-5)


def test_an_older_onnxruntime_refuses_a_part_too(usable: str, mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot tell of each node, the profile of a run does: before 1.24, as on a Jetson."""
    if usable == "ggml":
        pytest.skip("plug-ins need newer ones")
    real = installation.onnxruntime()
    old = SimpleNamespace(
        __version__="1.23.2", InferenceSession=lambda *args, **settings: real.InferenceSession(*args, **settings)
    )
    monkeypatch.setattr(opening, "onnxruntime", lambda: old)
    stray = {"openvino": "MatMul", "webgpu": "GRU"}[usable]
    with pytest.raises(
        ProviderUnavailableError, match=rf"^{usable} cannot do all the work of .*: 1 x {stray} on cpu; "
    ):
        ortolan.load(mixed, provider=usable)
    with ortolan.load(mixed, provider=f"{usable}-or-cpu") as model:
        assert model.plan.chosen.config.provider == usable
        assert model.plan.notes[0] == f"{usable} does not do all the work: 1 x {stray} on cpu"


@pytest.mark.parametrize("operator", OPERATORS.NAMES)
def test_the_table_of_exclusions_is_right(usable: str, tmp_path: Path, operator: str) -> None:
    """An operator that is excluded is refused; one of real work that is not gives the CPU's answer."""
    model, feeds = OPERATORS.graph(operator)
    onnx.save(model, tmp_path / "one.onnx")
    excluded = operator in PROVIDERS[usable].excludes
    if not excluded and operator not in WORK:
        pytest.skip("such a node may run anywhere")
    if excluded:
        with pytest.raises(ProviderUnavailableError, match=usable):
            open_session(tmp_path / "one.onnx", SessionConfig(provider=usable, threads=1))
        return
    ours = open_session(tmp_path / "one.onnx", SessionConfig(provider=usable, threads=1)).run(feeds)
    theirs = open_session(tmp_path / "one.onnx", SessionConfig(threads=1)).run(feeds)
    tolerance = 0.05 if (usable, operator) in ROUNDED else 1e-4
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=tolerance, atol=tolerance * float(np.abs(value).max()))


def _measure(path: Path, provider: str, seconds: float, *, faithful: bool = True) -> None:
    """Keep a measurement of the reference as `ortolan bench` does; whether its golden answers were right."""
    manifest = open_bundle(path).manifest
    store(
        Measurement(
            candidate=Candidate((("model", "fp32"),), SessionConfig(provider=provider)),
            variant_digest=manifest.variant_digest(manifest.variant("fp32")),
            workload="golden",
            hardware_id=probe().id,
            runtime_id=runtime_id(),
            load=(0.1,),
            first_run=(0.1,),
            samples=((seconds,) * 100,) * 5,
            peak_memory=50_000_000,
            validity="valid",
            faithful=faithful,
        )
    )


def test_the_provider_that_was_measured_to_be_faster_is_chosen(usable: str, bundles: Path) -> None:
    """Without a word of the application; and its answers were compared then."""
    path = bundles / "fp32.bundle"
    _measure(path, "cpu", 2e-3)
    _measure(path, usable, 1e-3)
    with ortolan.load(path) as model:
        assert model.plan.chosen.config.provider == usable
        assert model.plan.notes == ()
        assert model.check().drop == 0
    _measure(path, "cpu", 1e-4)
    with ortolan.load(path) as model:
        assert model.plan.chosen.config.provider == "cpu"


def test_wrong_answers_are_remembered(usable: str, bundles: Path) -> None:
    """What `ortolan bench` found them to be; best effort takes the CPU for it."""
    path = bundles / "fp32.bundle"
    _measure(path, usable, 1e-3)
    with ortolan.load(path, provider=f"{usable}-or-cpu") as model:
        assert model.plan.chosen.config.provider == usable
        assert model.plan.assessments[0].basis == "measured"
    _measure(path, usable, 1e-3, faithful=False)
    with pytest.raises(NoCandidateError, match=f"fp32 on {usable}.* its golden answers were wrong on this hardware"):
        ortolan.load(path, provider=usable)
    with ortolan.load(path, provider=f"{usable}-or-cpu") as model:
        assert model.plan.chosen.config.provider == "cpu"
        assert model.plan.notes[0].startswith(f"{usable} is not used, the cpu is: ")
        assert "its golden answers were wrong" in model.plan.notes[0]


def test_a_measured_provider_whose_driver_has_gone_is_replaced(
    usable: str, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application asked for none, so the CPU answers, and the plan says why."""
    path = bundles / "fp32.bundle"
    _measure(path, "cpu", 2e-3)
    _measure(path, usable, 1e-3)
    real = opening._create

    def create(path: str, config: SessionConfig, provider: Provider, *rest: Any, **settings: Any) -> Any:
        if provider.name == usable:
            raise RuntimeError("no adapter")
        return real(path, config, provider, *rest, **settings)

    monkeypatch.setattr(opening, "_create", create)
    with ortolan.load(path) as model:
        assert model.plan.chosen.config.provider == "cpu"
        assert model.plan.notes[0].startswith(
            f"{usable} was measured to be the best here and could not be used: {usable} could not load "
        )
    with pytest.raises(ProviderUnavailableError, match="no adapter"):
        ortolan.load(path, provider=usable)


def test_bound_runs_see_new_inputs(usable: str, bundles: Path) -> None:
    """Also where inputs are copied to another memory."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 64)).astype(np.float32)
    with ortolan.load(bundles / "fp32.bundle", provider=usable) as model:
        bound = model.bind({"x": x})
        bound()
        np.testing.assert_allclose(bound.outputs["y"], model.run({"x": x})["y"], atol=1e-6)
        bound.inputs["x"][...] = -x
        bound()
        np.testing.assert_allclose(bound.outputs["y"], model.run({"x": -x})["y"], atol=1e-6)


def test_many_threads_share_a_model(usable: str, bundles: Path) -> None:
    """Each thread gets the answer to its own input."""
    rng = np.random.default_rng(2)
    inputs = [rng.standard_normal((1 + number % 3, 64)).astype(np.float32) for number in range(12)]
    with ortolan.load(bundles / "fp32.bundle", provider=usable) as model:
        expected = [model.run({"x": x})["y"] for x in inputs]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda x: model.run({"x": x})["y"], inputs * 4))
    for answer, right in zip(found, expected * 4, strict=True):
        np.testing.assert_allclose(answer, right, atol=1e-6)


def test_nothing_is_printed_to_stdout(usable: str, bundles: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output is the application's."""
    with ortolan.load(bundles / "fp32.bundle", provider=usable) as model:
        model.run({"x": np.zeros((1, 64), np.float32)})
    assert capfd.readouterr().out == ""


UNSUPPORTED = {
    "an operator that nobody has": ([("Frobnicate", "")], 17, 8, "not a registered function/op|No Op registered"),
    "a domain that nobody knows": ([("Frob", "acme")], 17, 8, "acme"),
    "an opset of the future": ([("Relu", "")], 99, 8, "opset"),
    "a file format of the future": ([("Relu", "")], 17, 99, "IR version"),
}
"""Nodes, opset, IR version, and what the message says."""


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_a_model_that_nobody_supports_is_not_the_providers_fault(usable: str, tmp_path: Path, case: str) -> None:
    """The error is the model's, in one line, strict or not, and says what may help."""
    nodes, opset, ir_version, message = UNSUPPORTED[case]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], domain=domain) for operator, domain in nodes],
        "unsupported",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid("acme", 1)])
    model.ir_version = ir_version
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    for request in (usable, f"{usable}-or-cpu"):
        with pytest.raises(ModelFileError, match=rf"m\.onnx: .*({message}).*; the model may need a newer") as caught:
            ortolan.load(tmp_path / "m.onnx", provider=request)
        assert "\n" not in str(caught.value)


def test_a_damaged_model_is_not_the_providers_fault(usable: str, tmp_path: Path) -> None:
    """The error is the file's, strict or not."""
    (tmp_path / "bad.onnx").write_bytes(b"\xff\0junk" * 100)
    for request in (usable, f"{usable}-or-cpu"):
        with pytest.raises(ModelFileError, match="damaged"):
            open_session(tmp_path / "bad.onnx", SessionConfig(provider=request))


def test_another_wheel_is_named_when_it_is_missing(provider: str, bundles: Path) -> None:
    """What to install, for a built-in provider and for a plug-in."""
    with pytest.raises(
        ProviderUnavailableError, match=r"not cuda; pip uninstall \S+, then pip install 'ortolan\[cuda\]'"
    ):
        ortolan.load(bundles / "fp32.bundle", provider="cuda")
    if provider != "ggml":
        with pytest.raises(
            ProviderUnavailableError,
            match=r"ggml is a plug-in and onnxruntime_ggml is not installed; pip install 'ortolan\[ggml\]'",
        ):
            ortolan.load(bundles / "fp32.bundle", provider="ggml")


@pytest.mark.parametrize("best_effort", [False, True], ids=["strict", "best effort"])
def test_a_provider_that_fails_to_start_is_no_cpu_in_disguise(usable: str, bundles: Path, best_effort: bool) -> None:
    """A device that is not there: onnxruntime alone would print something and go on with the CPU."""
    options = {"openvino": ("device_type", "GPU.7"), "ggml": ("device", "gpu")}
    if usable not in options:
        pytest.skip("its driver is taken away in a test of its own")
    config = SessionConfig(provider=usable, provider_options=(options[usable],))
    path = bundles / "fp32.bundle/model/fp32/model.onnx"
    if not best_effort:
        with pytest.raises(ProviderUnavailableError, match=usable):
            open_session(path, config)
        return
    session = open_session(path, replace(config, provider=f"{usable}-or-cpu"))
    assert session.config.provider == "cpu"
    assert session.notes[0].startswith(f"{usable} could not be used, the cpu is: ")


WITHOUT_DRIVER = """
import sys, ortolan
from ortolan.engine.usable import obstacle
from ortolan.errors import ProviderUnavailableError
try:
    ortolan.load(sys.argv[1], provider="webgpu")
except ProviderUnavailableError as error:
    print(error)
with ortolan.load(sys.argv[1], provider="webgpu-or-cpu") as model:
    print(model.plan.chosen.config.provider, model.check().drop)
    print(model.plan.notes[0])
print(obstacle("webgpu"))
"""


def test_webgpu_without_its_driver_says_so(provider: str, bundles: Path) -> None:
    """Strict is an error that names the driver; best effort is the CPU with a note, and right."""
    if provider != "webgpu":
        pytest.skip("a test of WebGPU")
    environment = {
        key: value for key, value in os.environ.items() if key not in ("VK_ICD_FILENAMES", "LD_LIBRARY_PATH")
    }
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DRIVER, str(bundles / "fp32.bundle")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    error, answer, note, obstacle = done.stdout.splitlines()
    assert obstacle.startswith("webgpu could not load a model of one node: Failed to get a WebGPU adapter")
    assert "Failed to get a WebGPU adapter" in error
    assert error.endswith("; webgpu needs a GPU with a Vulkan driver and its loader libvulkan.so.1")
    assert answer == "cpu 0.0"
    assert note.startswith("webgpu could not be used, the cpu is: webgpu could not load ")


def test_a_plug_in_without_a_row_is_named_by_its_library(provider: str, bundles: Path, tmp_path: Path) -> None:
    """Any plug-in can be tried: its name, an at sign, and where its library is."""
    if provider != "ggml":
        pytest.skip("needs a plug-in")
    import onnxruntime_ggml

    request = f"ggml@{onnxruntime_ggml.library_path()}"
    session = open_session(
        bundles / "fp32.bundle/model/fp32/model.onnx",
        SessionConfig(provider=f"ggml@{onnxruntime_ggml.library_path()}", provider_options=(("weights", "f32"),)),
    )
    assert session.config.provider == request
    assert set(session.placement) == {request}
    for library, message in (
        (tmp_path / "none.so", "is not installed"),
        (Path(__file__), "could not load the plug-in"),
    ):
        with pytest.raises(ProviderUnavailableError, match=message):
            open_session(
                bundles / "fp32.bundle/model/fp32/model.onnx", SessionConfig(provider=f"ggml@{library}", threads=1)
            )


def test_ggml_keeps_the_weights_as_they_are(provider: str, tmp_path: Path) -> None:
    """Left alone it rounds them to float16, and nobody is told."""
    if provider != "ggml":
        pytest.skip("a test of ggml")
    rng = np.random.default_rng(4)
    weights, x = rng.standard_normal((64, 64)).astype(np.float32), rng.standard_normal((3, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, tmp_path / "product.onnx")
    exact = x.astype(np.float64) @ weights
    for options, low, high in (((), 0.0, 1e-4), ((("weights", "f16"),), 1e-4, 0.1)):
        session = open_session(tmp_path / "product.onnx", SessionConfig(provider="ggml", provider_options=options))
        worst = float(np.abs(session.run({"x": x})["y"] - exact).max())
        assert low <= worst < high

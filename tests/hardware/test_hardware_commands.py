"""``ortolan devices``, ``profiles`` and ``select`` as they are typed."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from ortolan.bundle.description import Provenance, Source, TaskSpec, VariantInfo
from ortolan.bundle.write import write_bundle
from ortolan.choose.measurements import candidate_digest, store
from ortolan.cli import main
from ortolan.engine import installation
from ortolan.engine.providers import PROVIDERS, Provider
from ortolan.hardware.probe import probe
from ortolan.types import Candidate, Fidelity, Interval, Measurement, Polynomial, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.bundle.directory import Bundle

    Run = Callable[..., "Result"]


@dataclass(frozen=True)
class Result:
    """Of one command."""

    status: object
    out: str
    err: str


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with a state directory of its own."""
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "state"))

    def call(*arguments: str) -> Result:
        with pytest.raises(SystemExit) as caught:
            main(list(arguments))
        return Result(caught.value.code, *capsys.readouterr())

    return call


def _model() -> bytes:
    node = helper.make_node("Relu", ["x"], ["y"])
    shape = helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", 4])
    graph = helper.make_graph([node], "g", [helper.make_value_info("x", shape)], [helper.make_value_info("y", shape)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(onnx.ModelProto.SerializeToString(model))


@pytest.fixture
def bundle(tmp_path: Path, run: Run) -> Bundle:
    """Two variants, the second of which changes some answers."""

    def row(name: str, drop: float) -> tuple[str, VariantInfo, dict[str, bytes]]:
        info = VariantInfo(
            precision=name,
            providers=("cpu", "cuda"),
            min_onnxruntime="1.20.0",
            weight_bytes=4000,
            macs=Polynomial(((4, ("batch",)),)),
            activation_bytes=Polynomial(((16, ("batch",)),)),
            fidelity=Fidelity("tensor", 100, drop, Interval(0.0, 0.1), 0.0, "samples"),
        )
        return name, info, {"model.onnx": _model()}

    return write_bundle(
        tmp_path / "relu.bundle",
        package_name="relu",
        version="1.0.0",
        task=TaskSpec("tensor", {}),
        provenance=Provenance(
            framework="onnx", framework_version="1.0", versions={}, sources=(Source("relu.onnx", "a" * 64, 1),)
        ),
        dims={"batch": 1},
        components=[("model", [row("fp32", 0.0), row("int8", 0.05)])],
        assets={},
        golden={},
    )


def test_devices_shows_this_machine(run: Run) -> None:
    """Its cores, id, onnxruntime and state directory."""
    result = run("devices")

    assert result.status == 0
    for name in ("cores", "architecture", "hardware id", "onnxruntime", "state"):
        assert f"\n{name}" in f"\n{result.out}"
    assert probe().id in result.out


def test_devices_as_json(run: Run, tmp_path: Path) -> None:
    """Units stand in the keys."""
    content = json.loads(run("devices", "--json").out)

    assert content["schema"] == "ortolan.devices/1"
    assert content["hardware"]["id"] == probe().id
    assert content["state"]["available_bytes"] > 0
    assert "cpu" in content["onnxruntime"]
    assert content["state_directory"] == str(tmp_path / "state")


def test_devices_tries_what_is_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that cannot do any work here is not shown as one that can."""
    azure = Provider(name="azure", ort_name="AzureExecutionProvider", install="never")
    if azure.ort_name not in installation.onnxruntime().get_available_providers():
        pytest.skip("this build of onnxruntime has no provider that takes no nodes")
    monkeypatch.setitem(PROVIDERS, "azure", azure)
    assert "\nazure         does not run here: azure took none of the work of a model of one node" in run("devices").out
    assert json.loads(run("devices", "--json").out)["obstacles"]["azure"].startswith("azure took none")
    monkeypatch.setattr("ortolan.engine.usable.obstacle", lambda name: None)
    assert "\nazure         runs here\n" in run("devices").out


def test_devices_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no onnxruntime, it is not an error to ask."""
    monkeypatch.setattr(installation, "_module", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out = run("devices").out
    assert "\nonnxruntime   no onnxruntime is installed; install one: pip install 'ortolan[cpu]'\n" in out


def test_profiles_lists_the_boards_within_100_columns(run: Run) -> None:
    """One line each."""
    lines = run("profiles").out.splitlines()

    assert any(line.startswith("raspberry-pi-zero-2-w  4 x Cortex-A53 at 1.0 GHz") for line in lines)
    assert max(map(len, lines)) <= 100


def test_profile_shows_every_figure_with_tag_and_source(run: Run) -> None:
    """Measured, datasheet or estimated."""
    out = run("profiles", "raspberry-pi-5").out

    assert "calibration.providers.cpu.memory_bandwidth_bytes_s: 4.5 GB/s  [measured]\n    memcpy" in out
    assert "price_usd: $60  [datasheet]\n    https://www.raspberrypi.com/" in out


def test_profile_as_json(run: Run) -> None:
    """The same figures for programs."""
    content = json.loads(run("profiles", "jetson-orin-nano", "--json").out)

    (profile,) = content["profiles"]
    assert profile["figures"]["software.onnxruntime.cuda"]["basis"] == "estimated"
    assert profile["hardware"]["accelerators"] == ["NVIDIA Ampere GPU (Orin)"]


def test_profile_of_this_machine(run: Run) -> None:
    """``here`` is a profile like the others."""
    assert "[estimated]" in run("profiles", "here").out


def test_unknown_profile_suggests_near_ones(run: Run) -> None:
    """One line, exit status 2."""
    result = run("profiles", "raspberry-pi-zero")

    assert result.status == 2
    assert result.err.startswith("error: unknown profile 'raspberry-pi-zero'; did you mean 'raspberry-pi-zero-2-w'")


def test_select_on_several_boards(run: Run, bundle: Bundle) -> None:
    """A table and the reasons for each, within 100 columns."""
    result = run(
        "select", str(bundle.path), "--profile", "here", "--profile", "jetson-orin-nano", "--max-drop", "1%", "--link",
        "1Mbit", "--max-memory", "200MB",
    )  # fmt: skip

    assert result.status == 0
    assert "(this machine)" in result.out and "Jetson Orin Nano 8 GB (jetson-orin-nano)" in result.out
    assert result.out.count("not int8 on cpu: changes 5 % of the decisions, only 1 % allowed") == 2
    assert "not fp32 on cuda: needs up to 608 MB of memory (predicted), only 200 MB allowed" in result.out
    assert "chosen fp32 on cpu: the only one of 4 candidates that passes" in result.out
    assert max(map(len, result.out.splitlines())) <= 100


@pytest.mark.parametrize("threads", [None, 1])
def test_select_prefers_what_was_measured_here(run: Run, bundle: Bundle, threads: int | None) -> None:
    """The store's figures replace predictions, also those of another number of threads than would be tried."""
    candidate = Candidate((("model", "int8"),), SessionConfig(threads=threads))
    store(
        Measurement(
            candidate=candidate,
            variant_digest=candidate_digest(bundle.manifest, candidate),
            workload="golden",
            hardware_id=probe().id,
            runtime_id="onnxruntime 1.32.0",
            load=(0.1,),
            first_run=(0.01,),
            samples=((1e-6,) * 100,),
            peak_memory=50_000_000,
            validity="valid",
        )
    )

    content = json.loads(run("select", str(bundle.path), "--json").out)

    (profile,) = content["profiles"]
    assert profile["chosen"] == candidate.name
    assert profile["assessments"][0]["latency_s"] == {"low": 1e-6, "high": 1e-6}
    assert profile["assessments"][0]["basis"] == "measured"


def test_select_exits_with_3_if_nothing_fits(run: Run, bundle: Bundle) -> None:
    """The table is printed all the same."""
    result = run("select", str(bundle.path), "--max-storage", "1kB")

    assert result.status == 3
    assert "nothing fits" in result.out
    assert result.err == "error: no variant of 'relu' fits; the reasons are above\n"


def test_select_as_json_says_why_nothing_fits(run: Run, bundle: Bundle) -> None:
    """Programs get the reasons and the exit status."""
    result = run("select", str(bundle.path), "--profile", "raspberry-pi-5", "--max-storage", "1kB", "--json")

    (profile,) = json.loads(result.out)["profiles"]
    assert result.status == 3
    assert profile["chosen"] is None
    assert all("of storage, only 1 kB allowed" in one["rejection"] for one in profile["assessments"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-memory", "lots"), "--max-memory: expected a size such as 200MB or 64MiB, got 'lots'"),
        (("--link", "5"), "--link: expected a rate with its unit such as 1Mbit or 2MB/s, got '5'"),
        (("--max-transfer", "5s"), "--max-transfer needs --link, the rate of the link to the device"),
        (("--profile", "raspberry-pi-6"), "unknown profile 'raspberry-pi-6'; did you mean "),
    ],
)
def test_wrong_options_are_one_line(run: Run, bundle: Bundle, arguments: tuple[str, ...], message: str) -> None:
    """Exit status 2, naming the option."""
    result = run("select", str(bundle.path), *arguments)

    assert result.status == 2
    assert result.err.startswith(f"error: {message}")
    assert result.out == ""

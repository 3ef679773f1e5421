"""Providers: names, what is missing, and that work is never moved silently."""

from __future__ import annotations

import sys
from collections import Counter
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from ortolan.engine import installation, open_session, placement
from ortolan.engine.providers import PROVIDERS, Provider, available, parse, require_built_in, resolve
from ortolan.errors import (
    MissingPackageError,
    ModelFileError,
    ProviderUnavailableError,
    RuntimeTooOldError,
    UnknownNameError,
)
from ortolan.types import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.engine import OrtSession


@pytest.mark.parametrize("row", PROVIDERS.values(), ids=lambda row: row.name)
def test_both_names_find_a_provider(row: Provider) -> None:
    """Ortolan's short name and onnxruntime's."""
    assert resolve(row.name) is row
    assert resolve(row.ort_name) is row


def test_best_effort_is_part_of_the_name() -> None:
    """Only "-or-cpu" allows the CPU; cpu-or-cpu is just the CPU."""
    assert parse("cuda") == (PROVIDERS["cuda"], False)
    assert parse("cuda-or-cpu") == (PROVIDERS["cuda"], True)
    assert parse("cpu-or-cpu") == (PROVIDERS["cpu"], False)
    with pytest.raises(UnknownNameError, match="unknown provider 'coda'; did you mean 'cuda'"):
        parse("coda-or-cpu")


def test_the_cpu_is_always_available() -> None:
    """Every build has the CPU provider."""
    assert "cpu" in available()


@pytest.mark.usefixtures("azure")
def test_a_strict_provider_that_takes_no_work_is_an_error(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """onnxruntime would have answered from the CPU and said nothing."""
    with pytest.raises(ProviderUnavailableError, match=r"azure (took none of the work|cannot run every node) of "):
        opened(doubling, provider="azure")


@pytest.mark.usefixtures("azure")
def test_best_effort_takes_the_cpu_and_notes_it(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """The session's config and notes say what really happened."""
    session = opened(doubling, provider="azure-or-cpu")
    assert session.config == SessionConfig(provider="cpu", threads=1)
    assert session.notes[0].startswith("azure could not be used, the cpu is: azure ")
    assert session.run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[2, 2, 2, 2]]


def test_best_effort_does_not_hide_a_damaged_model(tmp_path: Path, opened: Callable[..., OrtSession]) -> None:
    """The fault is the file's, not the provider's."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"junk")
    with pytest.raises(ModelFileError, match="damaged"):
        opened(path, provider="cuda-or-cpu")


@pytest.mark.skipif("cuda" in available(), reason="this onnxruntime has CUDA")
def test_a_provider_that_is_not_built_in_names_what_brings_it(
    doubling: Path, opened: Callable[..., OrtSession]
) -> None:
    """The message has the pip command."""
    with pytest.raises(
        ProviderUnavailableError, match=r"not cuda; pip uninstall \S+, then pip install 'ortolan\[cuda\]'"
    ):
        opened(doubling, provider="cuda")


@pytest.fixture
def half_supported(write_model: Callable[..., Path]) -> Path:
    """A product that any provider takes, and another behind operators on strings that only the CPU has."""
    return write_model(
        [
            helper.make_node("MatMul", ["x", "w"], ["a"]),
            helper.make_node("Cast", ["a"], ["text"], to=TensorProto.STRING),
            helper.make_node("Cast", ["text"], ["b"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["b", "w"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, ["n", 4])],
        [("y", TensorProto.FLOAT, ["n", 4])],
        {"w": np.eye(4, dtype=np.float32)},
        name="half.onnx",
    )


@pytest.mark.skipif("openvino" not in available(), reason="needs onnxruntime-openvino")
def test_openvino_does_all_the_work_or_none(
    doubling: Path, half_supported: Path, opened: Callable[..., OrtSession]
) -> None:
    """A real provider: strict where it can do everything, refused where it cannot, noted on best effort."""
    assert opened(doubling, provider="openvino").placement == {"openvino": 1}
    with pytest.raises(ProviderUnavailableError, match="MatMul on cpu"):
        opened(half_supported, provider="openvino")
    with pytest.raises(ProviderUnavailableError):
        opened(doubling, provider="openvino", provider_options=(("device_type", "NONSENSE"),))
    assert opened(half_supported, provider="openvino-or-cpu").notes


def _session(**nodes: list[str]) -> SimpleNamespace:
    """Something that tells its nodes the way an InferenceSession does."""
    parts = [
        SimpleNamespace(
            ep_name=PROVIDERS[name].ort_name, get_nodes=lambda ops=ops: [SimpleNamespace(op_type=op) for op in ops]
        )
        for name, ops in nodes.items()
    ]
    return SimpleNamespace(get_provider_graph_assignment_info=lambda: parts)


def test_work_that_strayed_is_counted_by_operator() -> None:
    """Nodes that only move data may run anywhere; nodes that multiply may not."""
    nodes = placement.assignment(_session(cuda=["Conv", "Relu"], cpu=["MatMul", "MatMul", "Shape", "Gemm"]))
    assert nodes == {"cuda": Counter(Conv=1, Relu=1), "cpu": Counter(MatMul=2, Shape=1, Gemm=1)}
    assert placement.strays(nodes, PROVIDERS["cuda"]) == "1 x Gemm on cpu, 2 x MatMul on cpu"
    assert placement.works(nodes, PROVIDERS["cuda"])
    assert placement.totals(nodes) == {"cuda": 2, "cpu": 4}


def test_shapes_on_the_cpu_are_no_strays() -> None:
    """What CUDA leaves to the CPU on purpose is not a fallback."""
    nodes = placement.assignment(_session(cuda=["Conv"], cpu=["Shape", "Gather", "Concat"]))
    assert nodes is not None
    assert placement.strays(nodes, PROVIDERS["cuda"]) == ""


def test_a_provider_with_only_the_small_nodes_does_not_work() -> None:
    """A few activations on the GPU are not a model on the GPU."""
    nodes = placement.assignment(_session(cuda=["Relu"], cpu=["Conv"]))
    assert nodes is not None
    assert not placement.works(nodes, PROVIDERS["cuda"])


def test_older_versions_do_not_tell() -> None:
    """No method, no assignment."""
    assert placement.assignment(SimpleNamespace()) is None


def test_an_onnxruntime_that_is_too_old_is_named(doubling: Path) -> None:
    """Both versions and the command are in the message."""
    found = installation.onnxruntime().__version__
    with pytest.raises(RuntimeTooOldError) as caught:
        open_session(doubling, SessionConfig(), min_onnxruntime="99.1.0")
    assert str(caught.value) == (
        f"this variant needs onnxruntime >= 99.1.0, found {found}; pip install -U 'onnxruntime>=99.1.0', "
        "or load another variant"
    )


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("1.23.2", (1, 23, 2)), ("1.20", (1, 20)), ("1.24.1.dev20", (1, 24, 1)), ("1.19.0+cu12", (1, 19, 0)), ("x", ())],
)
def test_versions_are_compared_as_numbers(text: str, numbers: tuple[int, ...]) -> None:
    """Suffixes do not count."""
    assert installation.parse_version(text) == numbers


def test_a_short_version_equals_its_long_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.20 is not older than 1.20.0."""
    monkeypatch.setattr(installation, "_module", SimpleNamespace(__version__="1.20"))
    installation.require("1.20.0")


@pytest.fixture
def no_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which onnxruntime was not imported and cannot be."""
    monkeypatch.setattr(installation, "_module", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)


@pytest.mark.usefixtures("no_onnxruntime")
def test_a_missing_onnxruntime_names_the_extra() -> None:
    """The message is a command to type."""
    with pytest.raises(
        MissingPackageError, match=r"^no onnxruntime is installed; install one: pip install 'ortolan\[cpu\]'$"
    ):
        installation.onnxruntime()
    assert installation.installed_version() is None


def test_half_an_onnxruntime_is_recognized(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing one of two wheels leaves a package without content."""
    monkeypatch.setattr(installation, "_module", None)
    monkeypatch.setitem(sys.modules, "onnxruntime", ModuleType("onnxruntime"))
    with pytest.raises(MissingPackageError, match=r"incomplete .*; pip uninstall \S+, then install one: pip"):
        installation.onnxruntime()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts distributions where Python looks for them, and nowhere else."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])

    def install(name: str, version: str, file: str) -> None:
        directory = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        directory.mkdir()
        (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (directory / "RECORD").write_text(f"{file},,\n")

    return install


def test_wheels_that_overwrote_each_other_are_named(wheels: Callable[..., None]) -> None:
    """Two that bring the package onnxruntime are a mixture; a plug-in beside one is not."""
    assert installation.replacing("pip install x") == "pip install x"
    wheels("onnxruntime", "1.32.0", "onnxruntime/__init__.py")
    wheels("onnxruntime-ggml", "0.2.0", "onnxruntime_ggml/__init__.py")
    wheels("numpy", "2.0.0", "numpy/__init__.py")
    assert (installation.mixture(), installation.replacing("pip install x")) == (
        "",
        "pip uninstall onnxruntime, then pip install x",
    )
    wheels("onnxruntime-openvino", "1.24.1", "onnxruntime/__init__.py")
    mixture = "2 of its wheels overwrote each other (onnxruntime 1.32.0, onnxruntime-openvino 1.24.1)"
    assert installation.mixture() == mixture
    with pytest.raises(ProviderUnavailableError) as caught:
        require_built_in(Provider(name="acme", ort_name="Acme", install="buy one"))
    assert str(caught.value).endswith(
        f"not acme, and {mixture}; pip uninstall onnxruntime onnxruntime-openvino, then buy one"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("proc/device-tree/model", b"NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("etc/nv_tegra_release", b"# R36 (release)"),
    ],
)
def test_a_jetson_is_sent_to_its_own_index(tmp_path: Path, name: str, content: bytes) -> None:
    """PyPI has no onnxruntime-gpu for it."""
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_bytes(content)
    assert installation.advice(tmp_path).startswith("on this Jetson install onnxruntime-gpu from https://")


def test_another_board_is_not_a_jetson(tmp_path: Path) -> None:
    """A Raspberry Pi takes PyPI's wheel."""
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert not installation.is_jetson(tmp_path)

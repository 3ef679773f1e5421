"""From a path to a model: what is chosen, what is refused, and that nothing is left open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import ortolan
from ortolan import planning
from ortolan.bundle.directory import open_bundle
from ortolan.choose.measurements import store
from ortolan.engine import OrtSession, runtime_id
from ortolan.errors import (
    BundleError,
    MemoryBudgetError,
    ModelFileError,
    NoCandidateError,
    OrtolanError,
    ProviderUnavailableError,
    RuntimeTooOldError,
    StorageError,
    TaskMismatchError,
    UnknownNameError,
    UsageError,
    VerificationError,
)
from ortolan.hardware.probe import probe
from ortolan.types import Candidate, Measurement, SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_bundle_is_verified_planned_and_answers(text_bundle: Callable[..., Path]) -> None:
    """One call from a path to a model of the task's own class."""
    with ortolan.load(text_bundle(), ortolan.TextClassifier) as model:
        assert type(model) is ortolan.TextClassifier
        assert model.task == "text-classification"
        assert model.predict("aab").label == "neg"
        assert model.plan.chosen == Candidate((("model", "fp32"),), SessionConfig())
        assert [one.candidate.name for one in model.plan.assessments] == ["fp32 on cpu", "int8 on cpu"]


def test_without_a_class_the_task_decides(text_bundle: Callable[..., Path]) -> None:
    """Model takes any task."""
    with ortolan.load(text_bundle()) as model:
        assert type(model) is ortolan.TextClassifier


def test_another_class_than_the_tasks_is_an_error(text_bundle: Callable[..., Path]) -> None:
    """The message names the class to use."""
    path = text_bundle()
    with pytest.raises(TaskMismatchError) as caught:
        ortolan.load(path, ortolan.Clusterer)
    assert str(caught.value) == (
        f"{path} is a text-classification bundle; load it as ortolan.TextClassifier, not Clusterer"
    )


def test_an_applications_own_class_is_used(text_bundle: Callable[..., Path]) -> None:
    """A subclass of the task's class is what comes out."""

    class Sentiment(ortolan.TextClassifier):
        pass

    with ortolan.load(text_bundle(), Sentiment) as model:
        assert type(model) is Sentiment


def test_a_named_variant_is_the_only_candidate(text_bundle: Callable[..., Path]) -> None:
    """The variant that was asked for answers: its coefficients are twice the reference's."""
    with ortolan.load(text_bundle(), ortolan.TextClassifier, variant="int8", threads=1) as model:
        assert model.plan.chosen.name == "int8 on cpu, 1 thread"
        assert len(model.plan.assessments) == 1
        assert model.predict("aab").score == 6


def test_an_unknown_variant_suggests_the_near_ones(text_bundle: Callable[..., Path]) -> None:
    """A slip of the keyboard is answered with what was meant."""
    with pytest.raises(UnknownNameError, match=r"^unknown variant 'int9'; did you mean 'int8'\?$"):
        ortolan.load(text_bundle(), variant="int9")


def _measure(path: Path, variant: str, threads: int | None, seconds: float, runtime: str | None = None) -> None:
    manifest = open_bundle(path).manifest
    store(
        Measurement(
            candidate=Candidate((("model", variant),), SessionConfig(threads=threads)),
            variant_digest=manifest.variant_digest(manifest.variant(variant)),
            workload="golden",
            hardware_id=probe().id,
            runtime_id=runtime or runtime_id(),
            load=(0.1,),
            first_run=(0.1,),
            samples=((seconds,) * 100,) * 5,
            peak_memory=50_000_000,
            validity="valid",
        )
    )


def test_what_was_measured_here_wins(text_bundle: Callable[..., Path]) -> None:
    """The faster variant, with its number of threads; the peak is no less than the measured one."""
    path = text_bundle()
    _measure(path, "fp32", None, 2e-6)
    _measure(path, "int8", 1, 1e-6)
    with ortolan.load(path) as model:
        assert model.plan.chosen == Candidate((("model", "int8"),), SessionConfig(threads=1))
        assert model.memory.predicted_peak is not None
        assert model.memory.predicted_peak >= 50_000_000
        assert model.plan.assessments[0].peak_memory is not None
        assert model.plan.assessments[0].peak_memory.low == 50_000_000
    with ortolan.load(path, threads=2) as model:
        assert model.plan.chosen.config.threads == 2


def test_a_named_provider_leaves_nothing_to_tune(text_bundle: Callable[..., Path]) -> None:
    """A configuration that is asked for is run as it is, whatever was measured to be faster."""
    path = text_bundle()
    _measure(path, "int8", 1, 1e-6)
    with ortolan.load(path, variant="int8", provider="cpu") as model:
        assert model.plan.chosen.config == SessionConfig()


@pytest.mark.parametrize("limit", ["10MB", 10_000_000])
def test_too_little_memory_is_refused_before_loading(
    text_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, limit: int | str
) -> None:
    """The message has the parts of the predicted peak, and no session is opened."""
    monkeypatch.setattr("ortolan.engine.open_session", None)
    with pytest.raises(MemoryBudgetError, match=r"only 10 MB allowed.*process up to .*weights up to .*low_memory=True"):
        ortolan.load(text_bundle(), max_memory=limit)


def test_what_is_free_is_the_limit_by_default(
    text_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device without free memory refuses to load instead of being killed."""
    monkeypatch.setattr(planning, "probe_memory", lambda: planning.HardwareState(available_bytes=1_000_000))
    with pytest.raises(MemoryBudgetError, match="available"):
        ortolan.load(text_bundle())


def test_low_memory_turns_the_arena_and_repacking_off(text_bundle: Callable[..., Path]) -> None:
    """And the plan says how the model runs."""
    with ortolan.load(text_bundle(), low_memory=True) as model:
        assert model.plan.chosen.config == SessionConfig(arena=False, prepack=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threads": 0}, "expected a number of threads from 1 to 1024, got 0"),
        ({"max_memory": 0}, "expected max_memory in bytes or as text such as '200MB', got 0"),
        ({"max_memory": True}, "expected max_memory in bytes or as text such as '200MB', got True"),
        ({"max_memory": "lots"}, "expected a size such as 200MB or 64MiB, got 'lots'"),
        ({"verify": "never"}, "expected verify to be 'once' or 'full', got 'never'"),
        ({"as_": int}, "expected as_ to be ortolan.Model or a class of its own kind, got <class 'int'>"),
        ({"provider": 7}, "expected the name of a provider, e.g. 'cpu', got int"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(
    text_bundle: Callable[..., Path], settings: dict[str, object], message: str
) -> None:
    """What was expected, and what was given."""
    with pytest.raises(UsageError) as caught:
        ortolan.load(text_bundle(), **settings)  # type: ignore[call-overload]  # what the checks are for
    assert str(caught.value) == message


@pytest.mark.parametrize("path", [None, 3, b"x.onnx"])
def test_what_is_no_path_is_refused(path: object) -> None:
    """Paths are text or os.PathLike."""
    with pytest.raises(UsageError, match=r"expected the path of a bundle or an \.onnx file, got"):
        ortolan.load(path)  # type: ignore[call-overload]  # what the check is for


def test_best_effort_ends_on_the_cpu_with_a_note(text_bundle: Callable[..., Path]) -> None:
    """The plan shows the provider that is used, and why."""
    from ortolan.engine import available_providers

    if "cuda" in available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with ortolan.load(text_bundle(providers=("cpu", "cuda")), provider="cuda-or-cpu") as model:
        assert model.plan.chosen.config.provider == "cpu"
        assert any(note.startswith("cuda could not be used, the cpu is:") for note in model.plan.notes)
    with pytest.raises(ProviderUnavailableError, match="not cuda"):
        ortolan.load(text_bundle("other.bundle"), provider="cuda")


def test_a_bundle_for_a_newer_onnxruntime_says_so(text_bundle: Callable[..., Path]) -> None:
    """Both versions are in the message."""
    with pytest.raises(RuntimeTooOldError, match=r"needs onnxruntime >= 99\.0\.0, found 1\."):
        ortolan.load(text_bundle(min_onnxruntime="99.0.0"))


def test_a_bundle_for_other_providers_says_why(text_bundle: Callable[..., Path]) -> None:
    """No candidate, with the reason for each."""
    with pytest.raises(NoCandidateError, match="fp32 was not made for cpu, only for cuda"):
        ortolan.load(text_bundle(providers=("cuda",)))


def test_a_changed_byte_is_found(text_bundle: Callable[..., Path]) -> None:
    """Verification is part of loading."""
    path = text_bundle()
    model = path / "model/fp32/model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    with pytest.raises(VerificationError, match=r"model/fp32/model\.onnx"):
        ortolan.load(path)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """A missing path and an empty directory."""
    with pytest.raises(StorageError, match="No such file or directory"):
        ortolan.load(tmp_path / "absent.bundle")
    with pytest.raises(BundleError, match=r"it has no manifest\.json"):
        ortolan.load(tmp_path)


def test_a_failed_load_closes_its_session(text_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that cannot be opened does not leave a model in memory."""
    closed = []

    def fail(*_: object) -> None:
        raise BundleError("no")

    monkeypatch.setattr("ortolan.tasks.open_task", fail)
    monkeypatch.setattr(OrtSession, "close", lambda self: closed.append(self))
    with pytest.raises(BundleError, match=r"^no$"):
        ortolan.load(text_bundle())
    assert len(closed) == 1


def test_a_bare_file_is_a_model_of_tensors(doubling: Path) -> None:
    """No bundle, no task, one way to run it."""
    with ortolan.load(doubling, threads=1) as model:
        assert type(model) is ortolan.Model
        assert model.task == "tensor"
        assert str(model.plan) == (
            "model on cpu, 1 thread: a bare .onnx file leaves no choice\n"
            "  note: a bare .onnx file does not say what its activations take: unknown, and put at 13 MB; "
            "`ortolan convert` works them out"
        )
        assert model.run({"x": np.ones((1, 4), np.float32)})["y"].tolist() == [[2, 2, 2, 2]]


def test_a_bare_file_has_no_task_variant_or_golden_samples(doubling: Path) -> None:
    """What only a bundle has is refused with the way to get one."""
    with pytest.raises(TaskMismatchError, match=r"has no task; load it as ortolan\.Model, not TextClassifier"):
        ortolan.load(doubling, ortolan.TextClassifier)
    with pytest.raises(UsageError, match="has no variants, got variant='fp32'"):
        ortolan.load(doubling, variant="fp32")
    with ortolan.load(doubling) as model, pytest.raises(UsageError, match="`ortolan convert` makes a bundle"):
        model.check()


def test_a_bare_file_larger_than_the_budget_is_refused(doubling: Path) -> None:
    """The message names the parts, and what may help."""
    message = (
        r"model\.onnx needs up to .* of memory \(predicted\), only 10 bytes allowed \(process up to .*, "
        r"activations up to 13 MB\); raise max_memory, or try low_memory=True, or take a smaller variant or model$"
    )
    with pytest.raises(MemoryBudgetError, match=message):
        ortolan.load(doubling, max_memory=10)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname"])
def test_a_bare_file_cannot_read_elsewhere(tmp_path: Path, location: str) -> None:
    """External data outside the model's directory is refused before onnxruntime sees it."""
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [weight],
    )
    path = tmp_path / "model/model.onnx"
    path.parent.mkdir()
    path.write_bytes(helper.make_model(graph, ir_version=8).SerializeToString())
    with pytest.raises(ModelFileError, match='external data of tensor "w"'):
        ortolan.load(path)


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"\x08"])
def test_a_damaged_bare_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    """Empty, random and cut-off files."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(OrtolanError, match=r"bad\.onnx") as caught:
        ortolan.load(path)
    assert "\n" not in str(caught.value)


def test_a_directory_of_external_data_loads(tmp_path: Path) -> None:
    """Weights beside the model are read."""
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
        [onnx.numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save_model(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    with ortolan.load(tmp_path / "m.onnx") as loaded:
        assert loaded.run({"x": np.zeros(4, np.float32)})["y"].tolist() == [0, 1, 2, 3]


def test_an_unreadable_measurement_is_passed_over(text_bundle: Callable[..., Path], state_dir: Path) -> None:
    """Damaged state costs knowledge, never a load."""
    path = text_bundle()
    _measure(path, "int8", 1, 1e-3)
    for file in state_dir.rglob("*.json"):
        file.write_text(json.dumps({"format": 1, "entries": [{"nonsense": True}]}))
    with ortolan.load(path) as model:
        assert model.plan.chosen.variants == (("model", "fp32"),)


def test_a_measurement_of_another_version_does_not_count(text_bundle: Callable[..., Path]) -> None:
    """Another onnxruntime may be faster or slower."""
    path = text_bundle()
    _measure(path, "int8", None, 2e-6)
    _measure(path, "fp32", 1, 1e-9, runtime="onnxruntime 0.1.0")
    with ortolan.load(path) as model:
        assert model.plan.chosen == Candidate((("model", "int8"),), SessionConfig())

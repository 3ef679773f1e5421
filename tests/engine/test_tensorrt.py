"""TensorRT's engine cache: what it is keyed by, who builds, what is said. No GPU: its libraries are stood in for.

The stand-ins have the C interfaces of cuda.h, cuda_runtime_api.h and NvInferRuntime.h; names of options are those in
the TensorRT provider of onnxruntime-gpu 1.20.2 and 1.31.1.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ortolan.engine import installation, open_session, opening, providers, tensorrt
from ortolan.engine.tensorrt import EngineCache, Facts, engine_cache, facts, model_digest
from ortolan.types import SessionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORIN = Facts(
    onnxruntime="1.23.2",
    tensorrt=100300,
    cuda=12060,
    driver=12060,
    driver_release="36.4.3",
    gpu="Orin",
    compute_capability="8.7",
)
DIGEST = "d" * 64


def _writes(value: int) -> Callable[[Any], int]:
    def function(pointer: Any) -> int:
        pointer._obj.value = value
        return 0

    return function


def _driver(failing: str = "") -> SimpleNamespace:
    """libcuda.so.1 of a Jetson, of which one function fails."""

    def get(device: Any, number: int) -> int:
        device._obj.value = number
        return 101 if number > 0 else 0

    def name(text: Any, length: int, device: Any) -> int:
        text.value = b"Orin"
        return int(failing == "cuDeviceGetName")

    def attribute(value: Any, which: int, device: Any) -> int:
        value._obj.value = {75: 8, 76: 7}[which]
        return int(failing == "cuDeviceGetAttribute")

    return SimpleNamespace(
        cuInit=lambda flags: int(failing == "cuInit"),
        cuDriverGetVersion=_writes(12060),
        cuDeviceGet=get,
        cuDeviceGetName=name,
        cuDeviceGetAttribute=attribute,
    )


LIBRARIES = {
    "libcuda.so.1": _driver(),
    "libcudart.so.12": SimpleNamespace(cudaRuntimeGetVersion=_writes(12060)),
    "libnvinfer.so.10": SimpleNamespace(getInferLibVersion=lambda: 100300),
}


def _loader(libraries: dict[str, Any]) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        if name not in libraries:
            raise OSError(f"{name}: cannot open shared object file")
        return libraries[name]

    return load


def test_versions_and_the_gpu_are_read_from_the_libraries() -> None:
    """The driver's interface needs no context on the GPU."""
    found = facts(0, _loader(LIBRARIES))
    assert (found.tensorrt, found.cuda, found.driver) == (100300, 12060, 12060)
    assert (found.gpu, found.compute_capability) == ("Orin", "8.7")
    assert found.onnxruntime == installation.onnxruntime().__version__


def test_without_libraries_nothing_is_known() -> None:
    """And nothing fails."""
    found = facts(0, _loader({}))
    assert (found.tensorrt, found.cuda, found.driver, found.compute_capability) == (None, None, None, None)


@pytest.mark.parametrize("failing", ["cuInit", "cuDeviceGetName", "cuDeviceGetAttribute"])
def test_a_driver_that_fails_leaves_the_gpu_unknown(failing: str) -> None:
    """E.g. a driver without a GPU."""
    assert facts(0, _loader({"libcuda.so.1": _driver(failing)})).compute_capability is None


def test_a_gpu_that_is_not_there_is_unknown() -> None:
    """The number is the provider option device_id."""
    assert facts(3, _loader(LIBRARIES)).compute_capability is None


def _cache(model: str = "m.onnx", digest: str = DIGEST, found: Facts = ORIN, **options: str) -> EngineCache:
    cache = engine_cache(model, digest, options, found)
    assert cache is not None
    return cache


def test_equal_models_share_their_engines() -> None:
    """Wherever the file lies, and whatever the order of the options."""
    one = _cache("a/m.onnx", device_id="0", trt_fp16_enable="1")
    other = _cache("b/m.onnx", trt_fp16_enable="1", device_id="0")
    assert one.directory == other.directory


@pytest.mark.parametrize(
    "change",
    [
        {"tensorrt": 100301},
        {"cuda": 12080},
        {"driver": 12080},
        {"driver_release": "36.5.0"},
        {"gpu": "Orin NX"},
        {"compute_capability": "8.9"},
        {"onnxruntime": "1.24.0"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_engines_are_kept_apart_by_what_they_depend_on(change: dict[str, Any]) -> None:
    """Another version or GPU: another directory."""
    assert _cache().directory != _cache(found=replace(ORIN, **change)).directory


def test_engines_are_kept_apart_by_model_and_options() -> None:
    """Precision and the profiles of sizes are options."""
    others = [{"trt_fp16_enable": "1"}, {"trt_profile_max_shapes": "x:8x3"}, {"trt_profile_max_shapes": "x:9x3"}]
    caches = [_cache(), _cache(digest="e" * 64), *(_cache(**options) for options in others)]
    assert len({cache.directory for cache in caches}) == 5


def test_the_directory_says_what_it_is_for(state_dir: Path) -> None:
    """A JSON file beside the engines."""
    cache = _cache(trt_fp16_enable="1")
    assert cache.directory.parent == state_dir / "engines"
    made_for = json.loads((cache.directory / "made-for.json").read_text(encoding="utf-8"))
    assert (made_for["model"], made_for["options"]) == (DIGEST, {"trt_fp16_enable": "1"})
    assert made_for["facts"]["compute_capability"] == "8.7"


@pytest.mark.parametrize("unknown", ["tensorrt", "compute_capability"])
def test_what_cannot_be_told_apart_is_not_kept(unknown: str) -> None:
    """An engine of an unknown version could be any."""
    assert engine_cache("m.onnx", DIGEST, {}, replace(ORIN, **{unknown: None})) is None


def test_without_a_state_directory_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It works, and says that it will take as long again."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("ORTOLAN_STATE_DIR", str(tmp_path / "file"))
    assert engine_cache("m.onnx", DIGEST, {}, ORIN) is None
    assert "the engine of m.onnx is built anew each time" in caplog.text


def test_a_long_build_is_announced(caplog: pytest.LogCaptureFixture) -> None:
    """Once there is an engine, nothing is said."""
    cache = _cache("big.onnx")
    with cache.building():
        assert (
            f"building an engine for big.onnx, which can take minutes; it is kept in {cache.directory}" in caplog.text
        )
        assert caplog.records[-1].levelno == logging.WARNING
        (cache.directory / "TensorrtExecutionProvider_TRTKernel_graph_g_1_0_0_sm87.engine").touch()
    caplog.clear()
    with cache.building():
        assert caplog.text == ""


HOLDER = """
import sys
from pathlib import Path
from ortolan.engine.tensorrt import EngineCache
place = Path(sys.argv[1])
with EngineCache(place, "m.onnx").building():
    print("building", flush=True)
    sys.stdin.readline()
    (place / "g.engine").touch()
"""


def test_a_second_process_waits_and_finds_the_engine(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The bench's workers build an engine once among them."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "building\n"
        stdin = other.stdin

        class Waiting(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                stdin.write("\n")
                stdin.flush()

        handler = Waiting()
        logging.getLogger("ortolan").addHandler(handler)
        try:
            with EngineCache(tmp_path, "m.onnx").building():
                assert (tmp_path / "g.engine").exists()
        finally:
            logging.getLogger("ortolan").removeHandler(handler)
    assert [record.message for record in caplog.records] == [
        f"tensorrt: another process is building or loading in {tmp_path}; waiting for it"
    ]


def test_only_new_sizes_are_guarded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An engine for free sizes is built at the first run of a size; later runs of it cost nothing more."""
    calls: list[tuple[int, ...]] = []

    def run(names: object, feeds: dict[str, np.ndarray], options: object) -> str:
        calls.append(feeds["x"].shape)
        return "answer"

    guarded = EngineCache(tmp_path, "m.onnx").guarded(run)
    said = []
    for shape in ((1, 4), (1, 4), (2, 4), (1, 4)):
        caplog.clear()
        assert guarded(["y"], {"x": np.zeros(shape)}, None) == "answer"
        said.append(len(caplog.records))
    assert calls == [(1, 4), (1, 4), (2, 4), (1, 4)]
    assert said == [1, 0, 1, 0]


def test_a_failed_build_is_tried_again(tmp_path: Path) -> None:
    """The lock is given back, and the size is still new."""

    def run(names: object, feeds: object, options: object) -> None:
        raise RuntimeError("no")

    guarded = EngineCache(tmp_path, "m.onnx").guarded(run)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            guarded(["y"], {"x": np.zeros(1)}, None)


def test_a_models_digest_covers_its_external_data(write_model: Callable[..., Path], tmp_path: Path) -> None:
    """Weights beside the file count, the file's directory does not."""
    node = helper.make_node("Add", ["x", "w"], ["y"])
    tensors = ([("x", TensorProto.FLOAT, [4])], [("y", TensorProto.FLOAT, [4])])
    model = write_model([node], *tensors, {"w": np.arange(4, dtype=np.float32)}, name="inside.onnx")
    digests = []
    for name in ("a", "b", "c"):
        path = tmp_path / name / "m.onnx"
        path.parent.mkdir()
        onnx.save(onnx.load(model), path, save_as_external_data=True, location="w.bin", size_threshold=0)
        digests.append(model_digest(path))
    weights = tmp_path / "c" / "w.bin"
    weights.write_bytes(bytes(byte ^ 1 for byte in weights.read_bytes()))
    assert digests[0] == digests[1] == digests[2] != model_digest(tmp_path / "c" / "m.onnx")


class _Recorder:
    """An onnxruntime with CUDA and TensorRT that writes down what it is asked, and runs everything on the CPU."""

    def __init__(self, listed: bool = True) -> None:
        self.asked: list[list[tuple[str, dict[str, str]]]] = []
        self._real = installation.onnxruntime()
        self._listed = listed

    def __getattr__(self, name: str) -> Any:
        return self._open if name == "InferenceSession" else getattr(self._real, name)

    def get_available_providers(self) -> list[str]:
        return ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]

    def _open(self, path: str, options: object, *, providers: Any, enable_fallback: int) -> Any:
        self.asked.append(providers)
        assert enable_fallback == 0
        session = self._real.InferenceSession(path, providers=["CPUExecutionProvider"])
        session.get_providers = lambda: [name for name, _ in providers] if self._listed else ["CPUExecutionProvider"]
        return session


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> _Recorder:
    """Stands in for onnxruntime-gpu on a machine with a GPU."""
    recorder = _Recorder()
    for module in (opening, providers):
        monkeypatch.setattr(module, "onnxruntime", lambda: recorder)
    monkeypatch.setattr(tensorrt, "facts", lambda device: replace(ORIN, gpu=f"GPU {device}"))
    return recorder


def test_a_session_gets_the_caches_options_and_cuda_as_helper(recorder: _Recorder, doubling: Path) -> None:
    """What onnxruntime is asked for, to the letter."""
    config = SessionConfig(provider="tensorrt", provider_options=(("device_id", "1"), ("trt_fp16_enable", "1")))
    session = open_session(doubling, config, digest=DIGEST)
    cache = _cache(found=replace(ORIN, gpu="GPU 1"), device_id="1", trt_fp16_enable="1")
    cuda = {
        "use_tf32": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "arena_extend_strategy": "kSameAsRequested",
        "device_id": "1",
    }
    trt = {
        "device_id": "1",
        "trt_fp16_enable": "1",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache.directory),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache.directory),
    }
    assert recorder.asked == [[("TensorrtExecutionProvider", trt), ("CUDAExecutionProvider", cuda)]]
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(session.run({"x": x})["y"], x + x)


def test_the_models_content_is_hashed_where_its_digest_is_not_known(recorder: _Recorder, doubling: Path) -> None:
    """A bare .onnx file."""
    open_session(doubling, SessionConfig(provider="tensorrt"))
    options = dict(recorder.asked[0][0][1])
    assert options["trt_engine_cache_path"] == str(
        _cache(digest=model_digest(doubling), found=replace(ORIN, gpu="GPU 0")).directory
    )


def test_a_cache_of_ones_own_is_left_alone(recorder: _Recorder, doubling: Path, state_dir: Path) -> None:
    """Whoever names a path has a reason."""
    own = (("trt_engine_cache_enable", "1"), ("trt_engine_cache_path", "/mine"))
    open_session(doubling, SessionConfig(provider="tensorrt", provider_options=own))
    assert recorder.asked[0][0] == ("TensorrtExecutionProvider", dict(own))
    assert not (state_dir / "engines").exists()

"""TensorRT's compiled engines: kept in the state directory, and built by one process at a time.

TensorRT compiles a model for minutes, for one GPU and one set of versions. onnxruntime can keep the result but does not
notice when it no longer fits ("clean up any old engine ... if any of these change", onnxruntime.ai, TensorRT Execution
Provider, "TensorRT EP Caches"): hence a directory for each combination of everything that invalidates it. Engines for
inputs of free sizes are built at the first run of a size outside of what was seen; that run is guarded like loading.
Names of options: read from the libraries in onnxruntime-gpu 1.20.2 and 1.31.1. There was no GPU to run this on.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ortolan import state
from ortolan.engine.installation import onnxruntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Library = Callable[[str], Any]

_LIBRARIES = {
    "driver": ("libcuda.so.1",),
    "cuda": ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"),
    "tensorrt": ("libnvinfer.so.11", "libnvinfer.so.10", "libnvinfer.so.9", "libnvinfer.so.8"),
}
"""Names of the libraries, newest first: the one that onnxruntime has loaded, or will load, is found first."""
_CAPABILITY = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""

logger = logging.getLogger("ortolan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an engine is bound to, apart from the model and the options. None where it cannot be read.

    Args:
        onnxruntime: its version.
        tensorrt: ``getInferLibVersion()``, e.g. 101301.
        cuda: ``cudaRuntimeGetVersion()``, e.g. 12080.
        driver: ``cuDriverGetVersion()``: the newest CUDA that the driver knows.
        driver_release: e.g. ``"570.86.15"``; on a Jetson that of L4T, e.g. ``"36.4.3"``.
        gpu: name of the device.
        compute_capability: e.g. ``"8.7"``.
    """

    onnxruntime: str
    tensorrt: int | None = None
    cuda: int | None = None
    driver: int | None = None
    driver_release: str | None = None
    gpu: str | None = None
    compute_capability: str | None = None


def facts(device: int = 0, load: Library = ctypes.CDLL) -> Facts:
    """The facts of this machine.

    Args:
        device: number of the GPU, as in the provider option ``device_id``.
        load: opens a library by name, or raises OSError.
    """
    from ortolan.hardware.probe import probe

    hardware = probe()
    driver = _open(_LIBRARIES["driver"], load)
    inference = _open(_LIBRARIES["tensorrt"], load)
    name, capability = (None, None) if driver is None else _device(driver, device)
    return Facts(
        onnxruntime=str(onnxruntime().__version__),
        tensorrt=None if inference is None else int(inference.getInferLibVersion()),
        cuda=_version(_open(_LIBRARIES["cuda"], load), "cudaRuntimeGetVersion"),
        driver=_version(driver, "cuDriverGetVersion"),
        driver_release=next((version for _, version in sorted(hardware.drivers, reverse=True)), None),
        gpu=name or next(iter(hardware.accelerators), None),
        compute_capability=capability,
    )


class EngineCache:
    """Where the engines of one model are, for one set of options on one machine.

    Args:
        directory: of the engines, and of the timings that make building for another size faster. Models share no
            timings: onnxruntime writes them in place.
        model: what is built, for messages.
    """

    def __init__(self, directory: Path, model: str) -> None:
        self.directory = directory
        self._model = model

    @property
    def options(self) -> dict[str, str]:
        """Provider options that make onnxruntime use the directory."""
        return {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(self.directory),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(self.directory),
        }

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Load, or run a new size, inside: one process of all at a time, so that the others find what it built.

        onnxruntime writes an engine in place: reading one that another process is writing would fail, too.
        """
        with _locked(self.directory / "lock"):
            if not any(self.directory.glob("*.engine")):
                # A warning: nothing less is seen without configuration, and minutes of silence look like a hang.
                logger.warning(
                    "tensorrt: building an engine for %s, which can take minutes; it is kept in %s",
                    self._model,
                    self.directory,
                )
            yield

    def guarded(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """``run(names, feeds, options)`` that holds the lock for inputs of sizes this process has not run yet."""
        seen: set[tuple[tuple[str, tuple[int, ...]], ...]] = set()
        lock = threading.Lock()

        def call(names: object, feeds: Mapping[str, Any], options: object) -> Any:
            sizes = tuple((name, feeds[name].shape) for name in feeds)
            if sizes in seen:
                return run(names, feeds, options)
            with lock, self.building():
                result = run(names, feeds, options)
            seen.add(sizes)
            return result

        return call


def engine_cache(model: str, digest: str, options: Mapping[str, str], found: Facts) -> EngineCache | None:
    """The place of a model's engines; None, and said so, where there is no state directory.

    None, too, where TensorRT's version or the GPU cannot be read: what cannot be told apart must not be kept.

    Args:
        model: path, for messages; another path of the same content has the same engines.
        digest: of the model's content, external data included.
        options: all provider options that the session gets.
        found: what else an engine is bound to.
    """
    import json

    from ortolan.digest import sha256

    if found.tensorrt is None or found.compute_capability is None:
        return None
    root = state.state_directory()
    if root is None:
        logger.warning(
            "tensorrt: the engine of %s is built anew each time: there is no state directory to keep it in", model
        )
        return None
    content = {"model": digest, "options": dict(options), "facts": asdict(found)}
    key = sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
    cache = EngineCache(root / "engines" / key, model)
    try:
        cache.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        logger.warning("tensorrt: no engine can be kept in %s: %s", cache.directory, error.strerror or error)
        return None
    state.write_json(f"engines/{key}/made-for", content)
    return cache


def model_digest(path: Path) -> str:
    """sha256 of a model's content: of the file and of its external data."""
    from hashlib import sha256

    from ortolan.bundle.onnxfile import read_model

    digest = sha256()
    for file in (path, *(path.parent / name for name in sorted(read_model(path).external_files))):
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
        digest.update(f"\0{file.name}\0".encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """An exclusive lock that the system gives back when the process ends, however it ends."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.warning("tensorrt: another process is building or loading in %s; waiting for it", path.parent)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(names: tuple[str, ...], load: Library) -> Any:
    for name in names:
        with contextlib.suppress(OSError):
            return load(name)
    return None


def _version(library: Any, function: str) -> int | None:
    """What ``int function(int *version)`` writes; None if there is no library, or it fails."""
    if library is None:
        return None
    value = ctypes.c_int()
    return value.value if getattr(library, function)(ctypes.byref(value)) == 0 else None


def _device(driver: Any, number: int) -> tuple[str | None, str | None]:
    """Name and compute capability of a GPU; needs no context on it."""
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), number):
        return None, None
    if driver.cuDeviceGetName(name, len(name), device):
        return None, None
    numbers = []
    for attribute in _CAPABILITY:
        value = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device):
            return name.value.decode(errors="replace"), None
        numbers.append(str(value.value))
    return name.value.decode(errors="replace"), ".".join(numbers)

"""An ONNX file: what is found in it without running it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan.bundle.onnxfile import check_external_data
from ortolan_convert.networks.free_dims import free_dims
from ortolan_convert.networks.reference.oldest import from_operators
from ortolan_convert.networks.source import NetworkSource

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan_convert.request import Request
    from ortolan_convert.task_config import TaskConfig

_PRECISIONS = {
    "float64": "fp64",
    "float32": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "int8": "int8",
    "uint8": "int8",
    "int4": "int4",
    "uint4": "int4",
}


@dataclass(frozen=True, slots=True)
class OnnxSource:
    """An ONNX file and what was found in it without running it."""

    path: Path
    model: OnnxModel

    @property
    def opset(self) -> int:
        """Of ONNX's own operators."""
        return max(self.model.opsets.get("", 1), self.model.opsets.get("ai.onnx", 1))

    @property
    def min_onnxruntime(self) -> str:
        """Oldest onnxruntime that runs it, by its versions and operators."""
        return from_operators(self.model)

    @property
    def precision(self) -> str:
        """Of most bytes of its weights, e.g. ``"fp32"``."""
        sizes: dict[str, int] = {}
        packed = any(node.operator == "MatMulNBits" and node.numbers.get("bits") == 4 for node in self.model.nodes)
        for tensor in self.model.tensors:
            name = _PRECISIONS.get(tensor.dtype)
            if name is not None:
                name = "int4" if packed and name == "int8" else name
                sizes[name] = sizes.get(name, 0) + tensor.bytes
        return max(sizes, key=lambda name: sizes[name], default="fp32")

    @property
    def free_dims(self) -> tuple[str, ...]:
        """Names of the inputs' free dimensions, sorted; an axis without a name is called like ``x.1``."""
        return free_dims(self.model.inputs)


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:  # noqa: ARG001 - a reader's signature
    """Read a foreign ONNX file, which is its own source; see `ortolan_convert.networks.source.NetworkSource`.

    Raises:
        ModelFileError, StorageError: as :func:`read_onnx`.
    """
    path = request.only_path()
    source = read_onnx(path)
    # The description may be shared with the framework's own artifact of the same network.
    unused = f"{request.config}: source: an ONNX file says itself how it is read; {', '.join(settings.source)} not used"
    external = tuple(path.parent / name for name in source.model.external_files)
    return NetworkSource(
        framework="onnx",
        version=f"opset {source.opset}",
        files=(path, *external),
        model=path,
        notes=(unused,) if settings.source else (),
    )


def read_onnx(path: Path) -> OnnxSource:
    """The ONNX file, its external data checked.

    Raises:
        ModelFileError: it is damaged, or its external data is missing or lies outside its directory.
        StorageError: it cannot be read.
    """
    return OnnxSource(path, check_external_data(path, within=path.parent))

"""A Hugging Face directory of a classifier of images: its network, and its image processor as the task's input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ortolan.errors import ConversionError, InputError, MissingPackageError, TrustRequiredError, UnsupportedError
from ortolan.inputs.datafile import files_below
from ortolan.inputs.image import ImageEncoder
from ortolan.inputs.image_source import FORMATS
from ortolan_bench.workload import spaced
from ortolan_convert.messages import one_line, words
from ortolan_convert.networks.source import NetworkSource
from ortolan_convert.networks.weight_file import tidy, write_model
from ortolan_convert.provenance import installed
from ortolan_convert.sources.huggingface.directory import PROCESSOR, HuggingFaceSource, read_huggingface
from ortolan_convert.sources.huggingface.export import exported
from ortolan_convert.sources.huggingface.image_processor import check_pixels, image_input, made_up_images
from ortolan_convert.sources.huggingface.transformer import LOGITS, loaded_model, require_transformers
from ortolan_convert.sources.json_file import read_json
from ortolan_convert.sources.pytorch.quiet import quiet
from ortolan_convert.task_config import TaskConfig

if TYPE_CHECKING:
    from pathlib import Path

    from ortolan_convert.networks.source import Tensors
    from ortolan_convert.request import Request

PIXELS = "pixel_values"
LABELS = "labels.json"
CHECKED = 8
"""Of the user's images, how many are compared pixel by pixel; evenly spaced ones."""


def read_network(request: Request, settings: TaskConfig, room: Path) -> NetworkSource:  # noqa: ARG001 - a reader's signature
    """Read a directory; see `ortolan_convert.networks.source.NetworkSource`.

    Raises:
        StorageError, ConversionError: a file cannot be read, is damaged or missing.
        TrustRequiredError: reading it would run code, without trust.
        UnsupportedError: an architecture, image processor or option that cannot be converted.
        ParityError: the runtime would make other pixels of images than the image processor does.
        MissingPackageError: torch, transformers or Pillow is missing.
    """
    source = read_huggingface(request.only_path(), trust=request.trust)
    require_transformers()
    from transformers import AutoModelForImageClassification

    processor = _processor(source, trust=request.trust)
    where = source.path / PROCESSOR
    channels = source.config.get("num_channels", 3)
    task_input = image_input(processor, channels, where)
    request.progress("comparing pixels with the image processor's")
    check_pixels(processor, task_input, [*made_up_images(channels), *_given(request.samples, channels)], where)
    request.progress("exporting the model")
    model = loaded_model(source, AutoModelForImageClassification)
    height, width = ImageEncoder.open({"input": task_input}).config.size
    directory = room / "source"
    directory.mkdir()
    write_model(tidy(_exported(source, model, (channels, height, width))), directory)

    def ask(feeds: Tensors) -> Tensors:
        import torch

        with torch.inference_mode():
            return {LOGITS: model(torch.from_numpy(feeds[PIXELS])).logits.numpy()}

    return NetworkSource(
        framework="transformers",
        version=str(source.config.get("transformers_version") or installed("transformers") or "unknown"),
        files=source.files,
        below=request.only_path(),
        packages=("torch", "transformers", "pillow"),
        model=directory / "model.onnx",
        ask=ask,
        settings=_settings(source, task_input),
    )


def _settings(source: HuggingFaceSource, task_input: dict[str, object]) -> TaskConfig:
    config: dict[str, object] = {
        "input": task_input,
        "output": LOGITS,
        "activation": "sigmoid" if source.multi_label else "softmax",
        "labels": LABELS,
    }
    labels = json.dumps(source.labels, indent=0, ensure_ascii=False).encode() + b"\n"
    return TaskConfig(source.task, config=config, assets={LABELS: labels})


def _processor(source: HuggingFaceSource, *, trust: bool) -> Any:
    """The image processor of transformers, with Pillow."""
    from transformers import AutoImageProcessor

    file = source.path / PROCESSOR
    if not file.is_file():
        raise ConversionError(f"{source.path}: expected {PROCESSOR}, which says what becomes of an image, found none")
    if "auto_map" in read_json(file) and not trust:
        raise TrustRequiredError(
            f"{file}: the image processor is code of its own (auto_map), which would be run; "
            "if you trust where it comes from, add --trust"
        )
    try:
        import PIL
    except ImportError as error:
        raise MissingPackageError(
            f"an image classifier needs Pillow, which cannot be imported ({error}): pip install 'ortolan[image]'"
        ) from None
    del PIL
    try:
        with quiet():
            return AutoImageProcessor.from_pretrained(
                str(source.path), local_files_only=True, trust_remote_code=trust, backend="pil"
            )
    except Exception as error:
        raise ConversionError(f"{file}: transformers cannot load the image processor ({one_line(error)})") from error


def _given(samples: Path | None, channels: int) -> list[Any]:
    """Some of the user's images, as Pillow has them."""
    if samples is None or samples.suffix.lower() in {".npy", ".npz"}:
        return []
    return [_opened(path, "L" if channels == 1 else "RGB") for path in spaced(files_below(samples), CHECKED)]


def _opened(path: Path, mode: str) -> Any:
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as image:
            return ImageOps.exif_transpose(image).convert(mode)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: expected an image: {words(error)}") from None


def _exported(source: HuggingFaceSource, model: Any, shape: tuple[int, int | None, int | None]) -> Any:
    import torch

    class Traced(torch.nn.Module):  # type: ignore[misc]  # torch is optional, and so without types
        """The model with its scores alone."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, pixel_values: Any) -> Any:
            return self.model(pixel_values=pixel_values).logits

    pixels = torch.randn(2, *(side or 1 for side in shape), generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode(), quiet():
            numbers = model(pixel_values=pixels).logits.shape[-1]
    except Exception as error:
        raise UnsupportedError(
            f"{source.path}: the model does not take images of the size that {PROCESSOR} makes, "
            f"{shape[1]}x{shape[2]}: {one_line(error)}"
        ) from error
    if numbers != len(source.labels):
        raise ConversionError(f"{source.path}: the model gives {numbers} numbers, id2label names {len(source.labels)}")
    shapes = {PIXELS: {0: torch.export.Dim("batch", min=1)}}
    return exported(source.path, Traced().eval(), (pixels,), ((PIXELS,), (LOGITS,)), shapes)

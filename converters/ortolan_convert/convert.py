"""Training artifacts to a bundle: recognise, read, build, compare, write."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.bundle.atomic import check_target
from ortolan.errors import ConversionError, UnknownNameError, UsageError
from ortolan_convert.passes import LINEAR_PASSES
from ortolan_convert.sources.packages import require
from ortolan_convert.sources.recognise import recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan_convert.report import ConversionReport
    from ortolan_convert.sources.recognise import Kind

    Progress = Callable[[str], None]

DEFAULT_MAX_DROP = 0.01
"""Share of changed decisions that a variant may have."""


def convert(
    artifacts: Sequence[str | Path] | str | Path,
    output: str | Path,
    *,
    samples: str | Path | None = None,
    trust: bool = False,
    task: str | None = None,
    config: str | Path | None = None,
    quantize: Sequence[str] | None = None,
    max_drop: float = DEFAULT_MAX_DROP,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a trained model to a bundle.

    Args:
        artifacts: the files of one model, in any order: a joblib, pickle or skops file of a scikit-learn text pipeline,
            several if its vectorizer and model were saved apart, one ONNX file, or one directory of a Hugging Face or
            sentence-transformers model.
        output: the bundle directory to write.
        samples: inputs to compare the converted model with the source on; made up if there are none.
        trust: read files that run code when read (joblib, pickle, a model with code of its own).
        task: expected task; for an ONNX file the task that ``config`` describes.
        config: YAML file with the task's configuration, for an ONNX file.
        quantize: smaller variants to try; None for all there are (an ONNX file has none yet).
        max_drop: largest share of samples whose decision a variant may change, 0 to 1.
        overwrite: replace a bundle that is already there.
        progress: told in a few words what happens next.

    Returns:
        What was made, what was left out, and why.

    Raises:
        TrustRequiredError: reading an artifact would run code from it.
        UnsupportedError: an artifact, a step or an option outside what is supported.
        ParityError: the converted model disagrees with its source.
        ConversionError: the artifacts are damaged, incomplete, or do not fit each other.
        InputError: the samples are not what the model takes.
        StorageError: something could not be read or written.
        MissingPackageError: a package is needed; the message names the extra.
        UsageError: options that make no sense.
    """
    paths = [Path(path) for path in ([artifacts] if isinstance(artifacts, str | Path) else artifacts)]
    for name in quantize or ():
        if name not in LINEAR_PASSES:
            raise UnknownNameError("precision", name, LINEAR_PASSES)
    if not paths:
        raise UsageError("expected at least one artifact, found none")
    if not 0 <= max_drop <= 1:
        raise UsageError(f"max_drop: expected a share from 0 to 1, found {max_drop:g}")
    check_target(Path(output), overwrite=overwrite)
    request = Request(
        artifacts=tuple((path, recognise(path)) for path in paths),
        target=Path(output),
        samples=None if samples is None else Path(samples),
        trust=trust,
        task=task,
        config=None if config is None else Path(config),
        quantize=None if quantize is None else tuple(quantize),
        max_drop=max_drop,
        overwrite=overwrite,
        progress=progress or (lambda _: None),
    )
    kinds = {kind for _, kind in request.artifacts}
    return next(source for kind, source in _SOURCES.items() if kind in kinds)(request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What :func:`convert` was asked for, checked as far as it holds for every kind of artifact."""

    artifacts: tuple[tuple[Path, Kind], ...]
    target: Path
    samples: Path | None
    trust: bool
    task: str | None
    config: Path | None
    quantize: tuple[str, ...] | None
    max_drop: float
    overwrite: bool
    progress: Progress


def _from_onnx(request: Request) -> ConversionReport:
    require("onnxruntime", "onnxruntime", "convert")
    from ortolan_convert.onnx_bundle import OnnxOptions, convert_onnx

    if len(request.artifacts) > 1:
        path = next(path for path, kind in request.artifacts if kind == "onnx")
        raise ConversionError(f"{path}: an ONNX file is converted alone, found {len(request.artifacts)} files")
    options = OnnxOptions(
        samples=request.samples,
        task=request.task,
        config=request.config,
        quantize=request.quantize or (),
        overwrite=request.overwrite,
    )
    return convert_onnx(request.artifacts[0][0], request.target, options, request.progress)


def _from_scikit_learn(request: Request) -> ConversionReport:
    if request.config is not None:
        raise UsageError("--config describes an ONNX file's task; scikit-learn artifacts describe themselves")
    for module in ("onnx", "onnxruntime"):
        require(module, module, "sklearn")
    from ortolan_convert.text_bundle import TextOptions, convert_text

    options = TextOptions(
        samples=request.samples,
        trust=request.trust,
        task=request.task,
        quantize=tuple(name for name in LINEAR_PASSES if request.quantize is None or name in request.quantize),
        max_drop=request.max_drop,
        overwrite=request.overwrite,
    )
    return convert_text(request.artifacts, request.target, options, request.progress)


def _from_huggingface(request: Request) -> ConversionReport:
    if request.config is not None:
        raise UsageError("--config describes an ONNX file's task; a Hugging Face directory describes itself")
    if len(request.artifacts) > 1:
        count = len(request.artifacts)
        raise ConversionError(f"a directory of a Hugging Face model is converted alone, found {count} artifacts")
    for module in ("onnx", "onnxruntime", "tokenizers"):
        require(module, module, "transformers")
    from ortolan_convert.huggingface_bundle import HuggingFaceOptions, convert_huggingface
    from ortolan_convert.passes.transformer import TRANSFORMER_PASSES

    options = HuggingFaceOptions(
        samples=request.samples,
        trust=request.trust,
        task=request.task,
        quantize=tuple(name for name in TRANSFORMER_PASSES if request.quantize is None or name in request.quantize),
        max_drop=request.max_drop,
        overwrite=request.overwrite,
    )
    return convert_huggingface(request.artifacts[0][0], request.target, options, request.progress)


_SOURCES: dict[Kind, Callable[[Request], ConversionReport]] = {
    "onnx": _from_onnx,
    "huggingface": _from_huggingface,
    "skops": _from_scikit_learn,
    "pickle": _from_scikit_learn,
}
"""Who converts which kind of file; of several kinds given together, the first here decides."""

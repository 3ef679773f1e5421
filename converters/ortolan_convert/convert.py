"""Training artifacts to a bundle: recognise, read, build, compare, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.bundle.atomic import check_target
from ortolan.errors import ConversionError, UnknownNameError, UsageError
from ortolan_convert.passes import LINEAR_PASSES
from ortolan_convert.sources.artifact import require
from ortolan_convert.sources.recognise import recognise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ortolan_convert.report import ConversionReport

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
    target = Path(output)
    for name in quantize or ():
        if name not in LINEAR_PASSES:
            raise UnknownNameError("precision", name, LINEAR_PASSES)
    if not paths:
        raise UsageError("expected at least one artifact, found none")
    if not 0 <= max_drop <= 1:
        raise UsageError(f"max_drop: expected a share from 0 to 1, found {max_drop:g}")
    check_target(target, overwrite=overwrite)
    kinds = [recognise(path) for path in paths]
    say = progress or (lambda _: None)
    if "onnx" in kinds:
        from ortolan_convert.onnx_bundle import OnnxOptions, convert_onnx

        if len(paths) > 1:
            raise ConversionError(
                f"{paths[kinds.index('onnx')]}: an ONNX file is converted alone, found {len(paths)} files"
            )
        onnx_options = OnnxOptions(
            samples=None if samples is None else Path(samples),
            task=task,
            config=None if config is None else Path(config),
            quantize=tuple(quantize or ()),
            overwrite=overwrite,
        )
        return convert_onnx(paths[0], target, onnx_options, say)
    if config is not None:
        raise UsageError("--config describes an ONNX file's task; other artifacts describe themselves")
    if "huggingface" in kinds:
        return _convert_directory(
            paths,
            target,
            samples=samples,
            trust=trust,
            task=task,
            quantize=quantize,
            max_drop=max_drop,
            overwrite=overwrite,
            say=say,
        )
    require("onnx", "onnx")
    from ortolan_convert.text_bundle import TextOptions, convert_text

    options = TextOptions(
        samples=None if samples is None else Path(samples),
        trust=trust,
        task=task,
        quantize=tuple(name for name in LINEAR_PASSES if quantize is None or name in quantize),
        max_drop=max_drop,
        overwrite=overwrite,
    )
    return convert_text(list(zip(paths, kinds, strict=True)), target, options, say)


def _convert_directory(
    paths: Sequence[Path],
    target: Path,
    *,
    samples: str | Path | None,
    trust: bool,
    task: str | None,
    quantize: Sequence[str] | None,
    max_drop: float,
    overwrite: bool,
    say: Progress,
) -> ConversionReport:
    if len(paths) > 1:
        raise ConversionError(f"a directory of a Hugging Face model is converted alone, found {len(paths)} artifacts")
    for module in ("onnx", "tokenizers"):
        require(module, module, "transformers")
    from ortolan_convert.huggingface_bundle import HuggingFaceOptions, convert_huggingface
    from ortolan_convert.passes.transformer import TRANSFORMER_PASSES

    options = HuggingFaceOptions(
        samples=None if samples is None else Path(samples),
        trust=trust,
        task=task,
        quantize=tuple(name for name in TRANSFORMER_PASSES if quantize is None or name in quantize),
        max_drop=max_drop,
        overwrite=overwrite,
    )
    return convert_huggingface(paths[0], target, options, say)

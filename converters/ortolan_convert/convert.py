"""Training artifacts to a bundle: recognise them, and hand them to who converts their kind."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.bundle.atomic import check_target
from ortolan.errors import (
    ConversionError,
    OrtolanError,
    StorageError,
    TrustRequiredError,
    UnknownNameError,
    UsageError,
)
from ortolan_convert.messages import one_line, words
from ortolan_convert.request import DEFAULT_MAX_DROP, Request
from ortolan_convert.scratch import scratch
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.packages import is_installed, missing_package
from ortolan_convert.sources.recognise import recognise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ortolan_convert.report import ConversionReport
    from ortolan_convert.request import Progress

PRECISIONS = ("fp16", "int8")
"""Names of the smaller variants that can be asked for, largest first."""
LABELLED = ("text-classification", "tabular-classification")
"""Tasks whose samples can have labels in a table."""
WITH_FACTORY = ("torch-weights", "safetensors")
"""Kinds that hold weights of a network and not the network."""


def convert(
    artifacts: Sequence[str | Path] | str | Path,
    output: str | Path,
    *,
    samples: str | Path | None = None,
    trust: bool = False,
    task: str | None = None,
    config: str | Path | None = None,
    module: str | None = None,
    quantize: Sequence[str] | None = None,
    max_drop: float = DEFAULT_MAX_DROP,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert a trained model to a bundle.

    Args:
        artifacts: the files of one model, in any order; of most kinds (:data:`ortolan_convert.sources.kinds.KINDS`) one
            file or directory, of a scikit-learn text pipeline also its vectorizer and model as two.
        output: the bundle directory to write.
        samples: inputs to compare the converted model with the source on; made up if there are none.
        trust: let code in the artifacts run: pickles, a model with code of its own.
        task: expected task; for a network the task that ``config`` describes.
        config: YAML file with the task's configuration, for a network.
        module: ``package.module:factory``, what makes the PyTorch network whose weights are given.
        quantize: smaller variants to try; None for all there are.
        max_drop: largest share of samples whose decision a variant may change, 0 to 1.
        overwrite: replace a bundle that is already there.
        progress: told in a few words what happens next.

    Returns:
        What was made, what was left out, and why.

    While it runs, everything that this process makes with :mod:`tempfile` lies in a directory beside the bundle, which
    is removed at the end.

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
    precisions = wanted_precisions(quantize, max_drop)
    if not paths:
        raise UsageError("expected at least one artifact, found none")
    check_target(Path(output), overwrite=overwrite)
    request = Request(
        artifacts=tuple((path, recognise(path)) for path in paths),
        target=Path(output),
        samples=None if samples is None else Path(samples),
        trust=trust,
        task=task,
        config=None if config is None else Path(config),
        module=module,
        quantize=precisions,
        quantize_asked=bool(quantize),
        max_drop=max_drop,
        overwrite=overwrite,
        progress=progress or (lambda _: None),
    )
    _check_trust(request)
    row = KINDS[request.kind]
    if module is not None and request.kind not in WITH_FACTORY:
        raise UsageError(f"--module makes the network that PyTorch's weights are for; {row.title} needs none")
    for needed, package in row.modules.items():
        if not is_installed(needed):
            raise missing_package(package, row.extra, f"no module named {needed!r}")
    with _typed_errors(request), scratch(request.target):
        converter, _, function = row.converter.partition(":")
        report: ConversionReport = getattr(import_module(converter), function)(request)
    return _with_label_note(report, request.samples)


def wanted_precisions(quantize: Sequence[str] | None, max_drop: float) -> tuple[str, ...]:
    """Names of the smaller variants that are asked for, largest first; None asks for all there are.

    Raises:
        UnknownNameError: one that there is not.
        UsageError: ``max_drop`` is no share.
    """
    for name in quantize or ():
        if name not in PRECISIONS:
            raise UnknownNameError("precision", name, PRECISIONS)
    if not 0 <= max_drop <= 1:
        raise UsageError(f"max_drop: expected a share from 0 to 1, found {max_drop:g}")
    return tuple(name for name in PRECISIONS if quantize is None or name in quantize)


def _check_trust(request: Request) -> None:
    """Refuse what always runs code, before anything is imported. Other kinds' readers look into the file."""
    for path, kind in request.artifacts:
        row = KINDS[kind]
        if row.always_runs_code and not request.trust:
            raise TrustRequiredError(
                f"{path}: reading {row.title} runs code from it; if you trust where it comes from, add --trust"
            )


def _with_label_note(report: ConversionReport, samples: Path | None) -> ConversionReport:
    """The report, which says why it has no accuracy where there might be one: a misspelt column would go unnoticed."""
    tables = samples is not None and samples.suffix.lower() in {".csv", ".tsv", ".jsonl"}
    if not tables or report.accuracy is not None or report.task not in LABELLED:
        return report
    note = f"{samples}: not every row has a label (in a column 'label'), so accuracy is not reported"
    return replace(report, warnings=(*report.warnings, note))


@contextmanager
def _typed_errors(request: Request) -> Iterator[None]:
    """What no reader foresaw still ends in one line: errors of the frameworks become Ortolan's.

    Raises:
        StorageError: a file could not be read or written; ConversionError: anything else.
    """
    paths = ", ".join(str(path) for path, _ in request.artifacts)
    try:
        yield
    except OrtolanError:
        raise
    except MemoryError:
        raise ConversionError(f"{paths}: does not fit into memory, or is damaged") from None
    except ImportError as error:
        row = KINDS[request.kind]
        raise missing_package(error.name or "a package", row.extra, words(error)) from error
    except OSError as error:
        raise StorageError(f"{paths}: cannot be converted: {error.strerror or error}; nothing was written") from error
    except Exception as error:
        raise ConversionError(f"{paths}: damaged, or outside what is supported ({one_line(error)})") from error

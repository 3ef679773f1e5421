"""`load`: from a path to a model that is verified, planned and warmed."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, overload

from ortolan.errors import ProviderUnavailableError, StorageError, TaskMismatchError, UsageError
from ortolan.model import (
    Clusterer,
    Embedder,
    ImageClassifier,
    Model,
    ObjectDetector,
    Streamer,
    TabularClassifier,
    TabularRegressor,
    TextClassifier,
    TextRecognizer,
    TokenClassifier,
)
from ortolan.records import replace
from ortolan.types import Candidate, Plan, SessionConfig

if TYPE_CHECKING:
    from ortolan.bundle.directory import Bundle
    from ortolan.types import Session

ModelT = TypeVar("ModelT", bound=Model)

CLASSES: tuple[type[Model], ...] = (
    TextClassifier,
    TokenClassifier,
    Clusterer,
    Embedder,
    TabularClassifier,
    TabularRegressor,
    Streamer,
    ImageClassifier,
    ObjectDetector,
    TextRecognizer,
)
"""The class of each task; a task that none of them names is plain tensors, `Model`."""


@overload
def load(
    path: str | os.PathLike[str],
    as_: type[ModelT],
    *,
    variant: str | None = None,
    provider: str | None = None,
    threads: int | None = None,
    max_memory: int | str | None = None,
    low_memory: bool = False,
    verify: Literal["once", "full"] = "once",
) -> ModelT: ...


@overload
def load(
    path: str | os.PathLike[str],
    *,
    variant: str | None = None,
    provider: str | None = None,
    threads: int | None = None,
    max_memory: int | str | None = None,
    low_memory: bool = False,
    verify: Literal["once", "full"] = "once",
) -> Model: ...


def load(
    path: str | os.PathLike[str],
    as_: type[Model] = Model,
    *,
    variant: str | None = None,
    provider: str | None = None,
    threads: int | None = None,
    max_memory: int | str | None = None,
    low_memory: bool = False,
    verify: Literal["once", "full"] = "once",
) -> Model:
    """Load a bundle, or a bare ``.onnx`` file.

    A bundle is verified; the variant and how to run it are chosen from what was measured on this machine, or predicted
    (``plan`` of the model says why); a text model answers one empty text, so that the first real one is not slow.

    Args:
        path: a bundle directory or an ``.onnx`` file.
        as_: the class that is expected, e.g. `TextClassifier`; a bundle of another task is an error. `Model` takes
            any, and the result still is of the task's own class.
        variant: name of the variant to run, instead of choosing.
        provider: ``"cpu"``, ``"cuda"``, …: strictly that one; ``"cuda-or-cpu"`` lets the CPU take its place. Without,
            the CPU and every configuration that was measured here are considered.
        threads: threads that one run may use; without, all that the process may use, unless ``provider`` is open too
            and another number was measured to be faster.
        max_memory: bytes, or text such as ``"200MB"``, that the process may take at its peak; without, what is free.
        low_memory: run slower with less memory: no memory arena, no repacked weights.
        verify: ``"once"`` hashes what is not remembered as unchanged, ``"full"`` every file.

    Raises:
        StorageError: the path does not exist or cannot be read.
        BundleError: it is no bundle, or a damaged one.
        ModelFileError: an ONNX file is damaged or unsupported.
        TaskMismatchError: the bundle's task is not that of ``as_``.
        UnknownNameError: an unknown variant or provider.
        UsageError: an argument that makes no sense.
        MissingPackageError: no onnxruntime is installed.
        RuntimeTooOldError: it is older than the variant needs.
        ProviderUnavailableError: the provider cannot do the work here.
        NoCandidateError: nothing in the bundle can run here; the reason for each.
        MemoryBudgetError: the predicted peak is more than allowed or free.
        SessionError: onnxruntime failed.
    """
    _check_arguments(as_, verify)
    target = _path(path)
    config = _config(provider, threads, low_memory=low_memory)
    limit = _bytes(max_memory)
    if target.suffix == ".onnx" and not target.is_dir():
        if variant is not None:
            raise UsageError(f"{target} is a bare .onnx file and has no variants, got variant={variant!r}")
        return _load_file(target, as_, config, limit)
    return _load_bundle(target, as_, variant, provider, config, limit, verify)


_NOT_COMPARED = (
    "its answers on {} were not compared with the source's here: check() of the model does, or `ortolan bench`"
)


def _load_bundle(
    path: Path,
    as_: type[Model],
    variant: str | None,
    provider: str | None,
    config: SessionConfig,
    max_memory: int | None,
    verify: Literal["once", "full"],
) -> Model:
    from ortolan.bundle.directory import open_bundle
    from ortolan.planning import plan_for

    bundle = open_bundle(path, verify=verify)
    manifest = bundle.manifest
    kind = _class_for(path, manifest.task.name, as_)
    found = plan_for(manifest, variant, config, max_memory=max_memory, tuned=provider is None)
    try:
        return _open(bundle, kind, *found)
    except ProviderUnavailableError as error:
        measured = found[0].chosen.config.provider
        if provider is not None or measured == "cpu":
            raise
        # Nobody asked for that provider: it was measured to be the best one, and its driver has gone since.
        plan, peak, compared = plan_for(manifest, variant, config, max_memory=max_memory)
        note = f"{measured} was measured to be the best here and could not be used: {error}"
        return _open(bundle, kind, replace(plan, notes=(note, *plan.notes)), peak, compared)


def _open(bundle: Bundle, kind: type[Model], plan: Plan, predicted_peak: int | None, compared: frozenset[str]) -> Model:
    """The model that a plan describes; the last three arguments are what ``plan_for`` gives."""
    from ortolan.choose.cost import usual_threads
    from ortolan.engine import open_session
    from ortolan.engine.opening_ahead import OpeningSessions
    from ortolan.tasks import open_task

    manifest = bundle.manifest
    openers = {}
    for component, name in plan.chosen.variants:
        chosen = manifest.variant(name, component)
        openers[component] = partial(
            open_session,
            bundle.model_path(chosen),
            plan.chosen.config,
            min_onnxruntime=chosen.info.min_onnxruntime,
            digest=manifest.variant_digest(chosen),
            fixed_shapes=kind.fixed_shapes,
            usual_threads=usual_threads(manifest, chosen),
        )
    with ExitStack() as stack:
        opening = OpeningSessions(openers)
        stack.callback(opening.close)
        runner = open_task(bundle, opening)
        sessions: dict[str, Session] = dict(opening)
        for component, name in plan.chosen.variants:
            session = opening[component]
            plan = _with_notes(plan, session.config, session.notes)
            used = session.config.provider
            if used != "cpu" and used not in compared:  # the bundle was made on the CPU
                made_for = manifest.variant(name, component).info.providers
                unmade = "" if used in made_for else f"{name} was not made for {used}, and "
                plan = replace(plan, notes=(*plan.notes, unmade + _NOT_COMPARED.format(used)))
        model = kind(
            sessions,
            runner,
            plan=plan,
            task=manifest.task.name,
            predicted_peak=predicted_peak,
            bundle=bundle,
        )
        runner.warm_up()
        stack.pop_all()
    return model


def _load_file(path: Path, as_: type[Model], config: SessionConfig, max_memory: int | None) -> Model:
    from ortolan.bundle.onnxfile import check_external_data
    from ortolan.engine import open_session
    from ortolan.planning import plan_for_file

    if as_ is not Model:
        raise TaskMismatchError(
            f"{path} is a bare .onnx file and has no task; load it as ortolan.Model, not {as_.__name__}"
        )
    if not path.is_file():
        raise StorageError(f"cannot load {path}: there is no such file")
    # onnxruntime reads whatever file the model names, wherever it lies: this must come first.
    content = check_external_data(path, within=path.parent)
    expected = plan_for_file(path, content, config, max_memory=max_memory)
    session = open_session(path, config)
    chosen = Candidate((("model", path.stem),), session.config)
    notes = (*session.notes, *expected.notes)
    if session.config.provider != "cpu":
        notes += (f"its answers on {session.config.provider} were compared with nothing: it has no golden samples",)
    plan = Plan(chosen, reason="a bare .onnx file leaves no choice", notes=notes)
    return Model({"model": session}, None, plan=plan, predicted_peak=expected.predicted_peak)


def _with_notes(plan: Plan, config: SessionConfig, notes: tuple[str, ...]) -> Plan:
    """The plan with the provider that the session really has; what happened to it comes first."""
    chosen = replace(plan.chosen, config=config)
    assessments = tuple(
        replace(one, candidate=chosen) if one.candidate == plan.chosen else one for one in plan.assessments
    )
    return replace(plan, chosen=chosen, assessments=assessments, notes=(*notes, *plan.notes))


def _class_for(path: Path, task: str, as_: type[Model]) -> type[Model]:
    kind = next((one for one in CLASSES if task in one.tasks), Model)
    if issubclass(kind, as_):
        return kind
    if issubclass(as_, kind) and as_ not in CLASSES:
        return as_  # an application's own subclass
    raise TaskMismatchError(f"{path} is a {task} bundle; load it as ortolan.{kind.__name__}, not {as_.__name__}")


def _check_arguments(as_: object, verify: object) -> None:
    if not (isinstance(as_, type) and issubclass(as_, Model)):
        raise UsageError(f"expected as_ to be ortolan.Model or a class of its own kind, got {as_!r}")
    if verify not in ("once", "full"):
        raise UsageError(f"expected verify to be 'once' or 'full', got {verify!r}")


def _path(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"expected the path of a bundle or an .onnx file, got {type(path).__name__}")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise UsageError(f"expected the path of a bundle or an .onnx file, got {text!r}")
    return Path(text)


def _config(provider: str | None, threads: int | None, *, low_memory: bool) -> SessionConfig:
    """The configuration that is asked for.

    Raises:
        UnknownNameError: an unknown provider.
        ProviderUnavailableError: the installed onnxruntime does not have it, and the CPU may not take its place.
        UsageError: a number of threads that is none.
    """
    from ortolan.engine.allocator import stay_small
    from ortolan.engine.options import thread_count
    from ortolan.engine.providers import parse, require_built_in

    config = SessionConfig(provider=provider or "cpu", threads=threads, arena=not low_memory, prepack=not low_memory)
    if threads is not None:
        thread_count(config)
    if low_memory:
        stay_small()  # before a thread is started that loads the model
    row, best_effort = parse(config.provider)
    if not best_effort:
        require_built_in(row)
        config = replace(config, provider=row.name)
    return config


def _bytes(max_memory: object) -> int | None:
    if max_memory is None:
        return None
    if isinstance(max_memory, str):
        from ortolan.choose.units import parse_size

        return parse_size(max_memory)
    if isinstance(max_memory, bool) or not isinstance(max_memory, int) or max_memory <= 0:
        raise UsageError(f"expected max_memory in bytes or as text such as '200MB', got {max_memory!r}")
    return max_memory

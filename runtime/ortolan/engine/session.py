"""A model loaded by onnxruntime."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from ortolan.engine import allocator, placement, sharing
from ortolan.engine import feeds as inputs
from ortolan.engine.arena import Arena, creeps
from ortolan.engine.binding import CLOSED, Bound, closed
from ortolan.engine.control import begun
from ortolan.engine.failures import translated
from ortolan.engine.installation import onnxruntime, require
from ortolan.engine.opening import open_on
from ortolan.engine.options import thread_count
from ortolan.engine.providers import PROVIDERS, parse, resolve
from ortolan.errors import ClosedError, OrtolanError, UsageError
from ortolan.records import replace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ortolan import types
    from ortolan.engine.providers import Provider
    from ortolan.engine.tensorrt import EngineCache
    from ortolan.types import Array, SessionConfig, TensorSpec


def open_session(
    model_path: str | Path,
    config: SessionConfig,
    *,
    min_onnxruntime: str = "1.20.0",
    digest: str | None = None,
    fixed_shapes: bool = False,
    usual_threads: int | None = None,
) -> OrtSession:
    """Load an ONNX file.

    A provider is taken at its word: if any node that does real work would run elsewhere, this raises. Only
    ``"<provider>-or-cpu"`` lets the CPU do what is left or all of it, and ``notes`` of the session says so.

    Args:
        model_path: the ``.onnx`` file. The caller has checked where its external data lies.
        config: provider, threads and memory.
        min_onnxruntime: oldest onnxruntime that can run the file.
        digest: sha256 of the model's content if it is known, for compiled engines that are kept.
        fixed_shapes: whether all runs have inputs of the same shapes: memory is then laid out once for all of them.
        usual_threads: how many threads suit the model where ``config`` asks for no number; None for what the process
            may use.

    Raises:
        MissingPackageError: no onnxruntime is installed.
        RuntimeTooOldError: it is older than ``min_onnxruntime``.
        UnknownNameError: an unknown provider.
        UsageError: a configuration that makes no sense.
        ProviderUnavailableError: the provider cannot do the work here.
        ModelFileError: the file is missing, damaged or unsupported.
        SessionError: onnxruntime failed in any other way.
    """
    require(min_onnxruntime)
    provider, best_effort = parse(config.provider)
    path = os.fspath(model_path)
    asked = replace(config, provider=provider.name)
    opened = partial(_open, path, digest=digest, fixed_shapes=fixed_shapes, usual_threads=usual_threads)
    if not best_effort:
        return opened(asked, provider, strict=True)
    try:
        return opened(asked, provider, strict=False)
    except OrtolanError as error:
        if isinstance(error, UsageError):
            raise
        # If the fault is the model's, the CPU provider finds it too and its error is the one that counts.
        note = f"{provider.name} could not be used, the cpu is: {error}"
        on_cpu = replace(config, provider="cpu", provider_options=())
        cpu = PROVIDERS["cpu"]
        return opened(on_cpu, cpu, strict=True, notes=(note,))


class OrtSession:
    """Implements `ortolan.types.Session` with onnxruntime; made by `open_session`.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        config: what it was opened with; the provider is the one that is used.
        nodes: number of graph nodes per provider; empty if it cannot be known.
        notes: what a user should know about how it was opened.
        inner: the C++ session below, or None to use the public methods alone.
        engines: where its compiled engines are kept.
        share: its threads among those of the process.
    """

    __slots__ = (
        "_binding",
        "_bounds",
        "_call",
        "_dtypes",
        "_inner",
        "_names",
        "_options",
        "_session",
        "_share",
        "closed",
        "config",
        "inputs",
        "notes",
        "outputs",
        "placement",
    )

    def __init__(
        self,
        session: Any,
        config: SessionConfig,
        nodes: Mapping[str, int],
        notes: tuple[str, ...] = (),
        inner: Any = None,
        engines: EngineCache | None = None,
        share: sharing.Share | None = None,
    ) -> None:
        self.config = config
        self.placement = nodes
        self.notes = notes
        self.closed = False
        self.inputs: Sequence[TensorSpec] = tuple(map(inputs.tensor_spec, session.get_inputs()))
        self.outputs: Sequence[TensorSpec] = tuple(map(inputs.tensor_spec, session.get_outputs()))
        self._session = session
        self._binding = threading.Lock()
        self._bounds: WeakSet[Bound] = WeakSet()
        self._share = share
        self._inner = inner
        self._dtypes = tuple((spec.name, inputs.native_dtype(spec)) for spec in self.inputs)
        self._names = [spec.name for spec in self.outputs]
        # Shared by all calls of all threads: onnxruntime reads it and does not write to it.
        self._options = onnxruntime().RunOptions()
        # The public method looks up names and checks ownership at each call, for as long as a small model runs.
        run = session.run if inner is None else inner.run
        if creeps(config, self.inputs):
            run = Arena(run, self._options).run
        self._call = run if engines is None else engines.guarded(run)

    def run(self, feeds: Mapping[str, Array], control: types.RunControl | None = None) -> dict[str, Array]:
        """All outputs by name, as new arrays. Thread-safe.

        Raises:
            InputTypeError: a value that is no array of the right element type and byte order.
            InputError: a missing or unknown name, a wrong rank or size.
            SessionError: onnxruntime failed.
            DeadlineExceeded: it took longer than ``control`` allows.
            Cancelled: ``control`` was cancelled.
            ClosedError: after `close`.
        """
        if control is not None:
            return self._run_controlled(feeds, control)
        try:
            for name, dtype in self._dtypes:
                value = feeds[name]
                # Numpy has one object per native type, so identity is enough for nearly every array; the careful
                # check below decides about the others.
                if type(value) is not np.ndarray or value.dtype is not dtype:
                    break
            else:
                if type(feeds) is dict and len(feeds) == len(self._dtypes):
                    return dict(zip(self._names, self._call(self._names, feeds, self._options)))  # noqa: B905 - slower
            valid = inputs.checked(self.inputs, feeds)
            return dict(zip(self._names, self._call(self._names, valid, self._options), strict=True))
        except Exception as error:
            raise self._explained(error, feeds) from error

    def bind(self, feeds: Mapping[str, Array]) -> Bound:
        """Preallocate inputs and outputs for these shapes; the model runs once to learn the outputs' shapes.

        Raises:
            InputTypeError: as `run`, or an input or output of strings or of another kind that cannot be bound.
            InputError: as `run`.
            SessionError: onnxruntime failed.
            ClosedError: after `close`.
        """
        session, inner = self._session, self._inner
        self._require_open()
        valid = inputs.checked(self.inputs, feeds)
        own_memory = resolve(self.config.provider).own_memory
        bound = Bound(session, inner, valid, self.run(valid), own_memory=own_memory)
        with self._binding:
            self._require_open()
            self._bounds.add(bound)
        return bound

    def close(self) -> None:
        """Release the model, once the calls that are running have returned; further ones raise ClosedError."""
        with self._binding:
            self.closed = True
            bounds = list(self._bounds)
        self._call = closed
        # Bindings hold memory of the provider, which onnxruntime-webgpu frees with the session: they go first.
        for bound in bounds:
            bound.close()
        self._session = self._inner = None
        if self._share is not None:
            self._share.release()
        allocator.give_back()

    def _run_controlled(self, feeds: Mapping[str, Array], control: types.RunControl) -> dict[str, Array]:
        self._require_open()
        call = begun(control)
        valid = inputs.checked(self.inputs, feeds)
        with call.guard() as options:
            try:
                return dict(zip(self._names, self._call(self._names, valid, options), strict=True))
            except Exception as error:
                raise self._explained(error, feeds) from error

    def _explained(self, error: Exception, feeds: object) -> OrtolanError:
        """What went wrong in a run: the inputs if they are at fault, otherwise onnxruntime."""
        if self.closed:
            return ClosedError(CLOSED)
        if isinstance(error, OrtolanError):
            return error
        try:
            inputs.checked(self.inputs, feeds)
        except OrtolanError as fault:
            return fault
        return translated(error, "run", "the model")

    def _require_open(self) -> None:
        if self.closed:
            raise ClosedError(CLOSED)


def _open(
    path: str,
    config: SessionConfig,
    provider: Provider,
    *,
    strict: bool,
    digest: str | None,
    fixed_shapes: bool,
    usual_threads: int | None,
    notes: tuple[str, ...] = (),
) -> OrtSession:
    most = thread_count(config)
    usual = most if config.threads is not None or usual_threads is None else min(most, usual_threads)
    share = sharing.take(usual, asked=config.threads is not None)
    if share.threads < usual:
        notes += (
            f"it runs with {share.threads} of {usual} threads, since other loaded models have theirs; "
            f"if they do not run at the same time, threads={usual} is faster",
        )
    try:
        opened = open_on(
            path,
            replace(config, threads=share.threads),
            provider,
            strict=strict,
            digest=digest,
            fixed_shapes=fixed_shapes,
        )
    except BaseException:
        share.release()
        raise
    allocator.give_back()
    nodes = placement.totals(opened.nodes)
    inner = inner_session(opened.session)
    return OrtSession(opened.session, config, nodes, (*notes, *opened.notes), inner, opened.engines, share)


def inner_session(session: Any) -> Any:
    """The C++ session below an InferenceSession; None where a version of onnxruntime has it elsewhere.

    The only private name of onnxruntime in use: it halves the cost of a call, and everything works without it.
    """
    return getattr(session, "_sess", None)

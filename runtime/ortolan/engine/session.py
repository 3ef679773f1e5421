"""A model loaded by onnxruntime."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.engine import feeds as inputs
from ortolan.engine import placement
from ortolan.engine.binding import CLOSED, Bound
from ortolan.engine.control import RunControl
from ortolan.engine.failures import translated
from ortolan.engine.installation import onnxruntime, parse_version, require
from ortolan.engine.options import provider_options, session_options
from ortolan.engine.providers import PROVIDERS, parse, require_built_in
from ortolan.errors import ClosedError, OrtolanError, ProviderUnavailableError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ortolan import types
    from ortolan.engine.placement import Nodes
    from ortolan.engine.providers import Provider
    from ortolan.types import Array, SessionConfig, TensorSpec


def open_session(model_path: str | Path, config: SessionConfig, *, min_onnxruntime: str = "1.20.0") -> OrtSession:
    """Load an ONNX file.

    A provider is taken at its word: if any node that does real work would run elsewhere, this raises. Only
    ``"<provider>-or-cpu"`` lets the CPU do what is left or all of it, and ``notes`` of the session says so.

    Args:
        model_path: the ``.onnx`` file. The caller has checked where its external data lies.
        config: provider, threads and memory.
        min_onnxruntime: oldest onnxruntime that can run the file.

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
    if not best_effort:
        return _open(path, replace(config, provider=provider.name), provider, strict=True)
    try:
        return _open(path, replace(config, provider=provider.name), provider, strict=False)
    except OrtolanError as error:
        if isinstance(error, UsageError):
            raise
        # If the fault is the model's, the CPU provider finds it too and its error is the one that counts.
        note = f"{provider.name} could not be used, the cpu is: {error}"
        on_cpu = replace(config, provider="cpu", provider_options=())
        return _open(path, on_cpu, PROVIDERS["cpu"], strict=True, notes=(note,))


class OrtSession:
    """Implements `ortolan.types.Session` with onnxruntime; made by `open_session`.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        config: what it was opened with; the provider is the one that is used.
        nodes: number of graph nodes per provider; empty if it cannot be known.
        notes: what a user should know about how it was opened.
        inner: the C++ session below, or None to use the public methods alone.
    """

    __slots__ = (
        "_call",
        "_dtypes",
        "_inner",
        "_names",
        "_options",
        "_session",
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
    ) -> None:
        self.config = config
        self.placement = nodes
        self.notes = notes
        self.closed = False
        self.inputs: Sequence[TensorSpec] = tuple(map(inputs.tensor_spec, session.get_inputs()))
        self.outputs: Sequence[TensorSpec] = tuple(map(inputs.tensor_spec, session.get_outputs()))
        self._session = session
        self._inner = inner
        self._dtypes = tuple((spec.name, inputs.native_dtype(spec)) for spec in self.inputs)
        self._names = [spec.name for spec in self.outputs]
        # Shared by all calls of all threads: onnxruntime reads it and does not write to it.
        self._options = onnxruntime().RunOptions()
        # The public method looks up names and checks ownership at each call, for as long as a small model runs.
        self._call = session.run if inner is None else inner.run

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
        self._require_open()
        valid = inputs.checked(self.inputs, feeds)
        return Bound(self, self._session, self._inner, valid, self.run(valid))

    def close(self) -> None:
        """Release the model, once the calls that are running have returned; further ones raise ClosedError."""
        self.closed = True
        self._call = _closed
        self._session = self._inner = None

    def _run_controlled(self, feeds: Mapping[str, Array], control: types.RunControl) -> dict[str, Array]:
        if not isinstance(control, RunControl):
            raise UsageError(f"expected control to be an ortolan.RunControl, got {type(control).__name__}")
        options = onnxruntime().RunOptions()

        def stop() -> None:
            options.terminate = True

        self._require_open()
        valid = inputs.checked(self.inputs, feeds)
        with control.guard(stop):
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


def _closed(*_: object) -> Any:
    raise ClosedError(CLOSED)


def _open(
    path: str, config: SessionConfig, provider: Provider, *, strict: bool, notes: tuple[str, ...] = ()
) -> OrtSession:
    require_built_in(provider)
    on_cpu = provider.name == "cpu"
    # Versions that cannot tell where a node is can still refuse to leave any to the CPU.
    tells = hasattr(onnxruntime().InferenceSession, "get_provider_graph_assignment_info")
    options = session_options(config, record_placement=not on_cpu, forbid_cpu=not on_cpu and not tells)
    names: list[object] = [(provider.ort_name, provider_options(config, provider)), *provider.helpers]
    try:
        with contextlib.nullcontext() if on_cpu else _clean_stdout():
            session = onnxruntime().InferenceSession(path, options, providers=names, enable_fallback=0)
        nodes = None if on_cpu else placement.assignment(session)
    except Exception as error:
        fault = translated(error, "load", path)
        if "fallback to CPU EP has been explicitly disabled" in str(error):
            raise ProviderUnavailableError(
                f"{provider.name} cannot run every node of {path}, and this onnxruntime does not tell which; "
                "update onnxruntime, or use another provider"
            ) from error
        raise fault from error
    # onnxruntime drops a provider that fails to start, and goes on with the CPU.
    if provider.ort_name not in session.get_providers():
        raise ProviderUnavailableError(
            f"{provider.name} could not be started here, onnxruntime says on stderr why; it {provider.note}"
        )
    if nodes is not None:
        notes += _check_placement(nodes, provider, path, strict=strict)
    return OrtSession(session, config, placement.totals(nodes or {}), notes, inner_session(session))


def inner_session(session: Any) -> Any:
    """The C++ session below an InferenceSession; None where a version of onnxruntime has it elsewhere.

    The only private name of onnxruntime in use: it halves the cost of a call, and everything works without it.
    """
    return getattr(session, "_sess", None)


def _check_placement(nodes: Nodes, provider: Provider, path: str, *, strict: bool) -> tuple[str, ...]:
    """Notes on what runs elsewhere, which a strict request does not allow.

    Raises:
        ProviderUnavailableError: strict, and something does; or nothing at all runs on ``provider``.
    """
    strays = placement.strays(nodes, provider)
    if not placement.works(nodes, provider):
        raise ProviderUnavailableError(
            f"{provider.name} took none of the work of {path}: {strays or 'it supports none of its nodes'}; "
            "use another provider or variant"
        )
    if strays and strict:
        raise ProviderUnavailableError(
            f"{provider.name} cannot do all the work of {path}: {strays}; "
            f"ask for '{provider.name}-or-cpu' to allow that, or use another provider or variant"
        )
    return (f"{provider.name} does not do all the work: {strays}",) if strays else ()


@contextlib.contextmanager
def _clean_stdout() -> Iterator[None]:
    """Versions before 1.23 print to stdout when a provider fails, and cannot be told not to."""
    if parse_version(onnxruntime().__version__) >= (1, 23):
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield

"""Create an onnxruntime session on the provider that was asked for, and see what that provider really took."""

from __future__ import annotations

import contextlib
import ctypes
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.engine import placement, plugins
from ortolan.engine.failures import plain, translated
from ortolan.engine.installation import onnxruntime, parse_version
from ortolan.engine.options import provider_options, session_options
from ortolan.engine.providers import PROVIDERS, require_built_in
from ortolan.errors import Cancelled, OrtolanError, ProviderUnavailableError, SessionError
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ortolan.engine.placement import Nodes
    from ortolan.engine.providers import Provider
    from ortolan.engine.tensorrt import EngineCache
    from ortolan.types import SessionConfig

_LEFT_TO_CPU = "fallback to CPU EP has been explicitly disabled"


@dataclass(frozen=True, slots=True)
class Opened:
    """A session of onnxruntime.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        nodes: where the nodes are; empty if it cannot be known.
        notes: what a user should know.
        engines: where compiled engines are kept, for a provider that compiles.
    """

    session: Any
    nodes: Nodes
    notes: tuple[str, ...] = ()
    engines: EngineCache | None = None


def open_on(
    path: str,
    config: SessionConfig,
    provider: Provider,
    *,
    strict: bool,
    digest: str | None = None,
    fixed_shapes: bool = False,
) -> Opened:
    """Open a model on ``provider``.

    Args:
        path: of the ``.onnx`` file.
        config: its provider is the short name of ``provider``.
        provider: where it runs.
        strict: refuse if a node that does real work would run elsewhere.
        digest: of the model's content; None to compute it where it is needed.
        fixed_shapes: whether all runs have inputs of the same shapes.

    Raises:
        MissingPackageError: no onnxruntime is installed.
        ProviderUnavailableError: the provider is not installed, does not start here, or cannot do the work.
        ModelFileError, SessionError: the model cannot be loaded, by the CPU provider neither.
    """
    require_built_in(provider)
    if provider.name == "cpu":
        try:
            return Opened(_create(path, config, provider, fixed_shapes=fixed_shapes), {})
        except Exception as error:
            raise translated(error, "load", path) from error
    engines = _engines(path, config, provider, digest)
    try:
        with _clean_stdout(), contextlib.nullcontext() if engines is None else engines.building():
            session, nodes = _created(path, config, provider, engines)
    except Exception as error:
        raise _blamed(error, path, config, provider) from error
    notes: tuple[str, ...] = ()
    if nodes is not None:
        if provider.name not in nodes:
            nodes = placement.completed(nodes, provider, _operators(path))
        notes = _check_placement(nodes, provider, path, strict=strict)
    if engines is None:  # an engine would be built for sizes that nobody asked for
        _try_out(session, path, config, provider)
    return Opened(session, nodes or {}, notes, engines)


def open_profiled(path: str, config: SessionConfig, provider: Provider, prefix: str) -> Any:
    """An ``onnxruntime.InferenceSession`` that writes its profile to a file with that prefix; onnxruntime's errors."""
    require_built_in(provider)
    with _clean_stdout():
        return _started(_create(path, config, provider, profile=prefix), provider)


def _created(
    path: str, config: SessionConfig, provider: Provider, engines: EngineCache | None
) -> tuple[Any, Nodes | None]:
    """A session on ``provider``, and where its nodes are; None if all are there."""
    if hasattr(onnxruntime().InferenceSession, "get_provider_graph_assignment_info"):
        session = _started(_create(path, config, provider, engines), provider)
        return session, placement.assignment(session, provider)
    # Versions that cannot tell where a node is can refuse to leave any to the CPU, and can write a profile.
    try:
        return _started(_create(path, config, provider, engines, forbid_cpu=True), provider), None
    except Exception as error:
        if _LEFT_TO_CPU not in str(error):
            raise

    def profiling(prefix: str) -> Any:
        return _started(_create(path, config, provider, engines, profile=prefix), provider)

    from ortolan.engine.trial import executed_nodes

    try:
        nodes = executed_nodes(profiling)
    except SessionError as error:
        raise ProviderUnavailableError(
            f"{provider.name} cannot run every node of {path}, and onnxruntime {onnxruntime().__version__} does not "
            f"tell which ({error}); update onnxruntime, or use another provider"
        ) from error
    # What a provider compiles has a name of its own there: what it took is what ran nowhere else.
    return _create(path, config, provider, engines), {name: nodes[name] for name in nodes if name != provider.name}


def _started(session: Any, provider: Provider) -> Any:
    """The session, if it has the provider: onnxruntime drops one that fails to start, and goes on with the CPU."""
    if provider.ort_name not in session.get_providers():
        reason = _missing_library(provider) or "onnxruntime says on stderr why"
        raise ProviderUnavailableError(f"{provider.name} could not be started here: {reason}{provider.needs}")
    return session


def _missing_library(provider: Provider) -> str:
    """The system library without which the provider's own cannot be loaded; empty if there is none.

    onnxruntime writes it to stderr and nowhere else.
    """
    own = Path(onnxruntime().__file__).with_name("capi") / f"libonnxruntime_providers_{provider.name}.so"
    if not own.is_file():
        return ""
    try:
        ctypes.CDLL(str(own))
    except OSError as error:
        return plain(str(error))
    return ""


def _create(
    path: str,
    config: SessionConfig,
    provider: Provider,
    engines: EngineCache | None = None,
    *,
    forbid_cpu: bool = False,
    profile: str | None = None,
    fixed_shapes: bool = False,
) -> Any:
    options = session_options(config, record_placement=provider.name != "cpu", forbid_cpu=forbid_cpu)
    options.enable_mem_pattern = fixed_shapes
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, profile
    chosen = provider_options(config, provider)
    if engines is not None:
        chosen = {**chosen, **engines.options}
    if provider.preload:
        _preload()
    if provider.plugin is not None:
        options.add_provider_for_devices(plugins.devices(provider, provider.plugin), chosen)
        return onnxruntime().InferenceSession(path, options, enable_fallback=0)
    names = [(provider.ort_name, chosen)]
    for name in provider.helpers:
        helper = PROVIDERS[name]
        names.append((helper.ort_name, {**dict(helper.options), **_shared(chosen)}))
    return onnxruntime().InferenceSession(path, options, providers=names, enable_fallback=0)


def _shared(options: dict[str, str]) -> dict[str, str]:
    """What a helper must have from the provider it helps: the same GPU."""
    return {key: options[key] for key in ("device_id",) if key in options}


def _engines(path: str, config: SessionConfig, provider: Provider, digest: str | None) -> EngineCache | None:
    options = provider_options(config, provider)
    # Whoever sets the cache's options has a place of their own.
    if not provider.engine_cache or any(name.startswith("trt_engine_cache") for name in options):
        return None
    from ortolan.engine import tensorrt

    _preload()
    device = options.get("device_id", "0")
    found = tensorrt.facts(int(device) if device.isdecimal() else 0)
    return tensorrt.engine_cache(path, digest or tensorrt.model_digest(Path(path)), options, found)


def _blamed(error: Exception, path: str, config: SessionConfig, provider: Provider) -> OrtolanError:
    """Whose fault it is that a model did not load: the provider's if the CPU provider can load it, else the model's."""
    fault = translated(error, "load", path)
    if isinstance(fault, (ProviderUnavailableError, Cancelled)):
        return fault
    try:
        _create(path, config, PROVIDERS["cpu"])
    except Exception as other:  # noqa: BLE001 - it is returned as a typed error
        return translated(other, "load", path)
    reason = _missing_library(provider) or plain(str(error))
    return ProviderUnavailableError(
        f"{provider.name} could not load {path}: {reason}; the cpu loads it{provider.needs}"
    )


def _try_out(session: Any, path: str, config: SessionConfig, provider: Provider) -> None:
    """Check that the provider can do what it took: some find out at the first run that they cannot.

    Raises:
        ProviderUnavailableError: it fails on zeros of every size that the CPU provider can run, and there is one.
    """
    from ortolan.engine import trial

    failures: dict[int, Exception] = {}
    for size in trial.SIZES:
        failure = trial.failure(session, size)
        if failure is None:
            return
        failures[size] = failure
    on_cpu = _create(path, config, PROVIDERS["cpu"])
    for size, error in failures.items():
        if trial.failure(on_cpu, size) is None:
            raise ProviderUnavailableError(
                f"{provider.name} took {path} and cannot run it: {plain(str(error))}; the cpu can{provider.needs}"
            ) from error
    # Zeros are no inputs for this model, and tell nothing.


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


def _operators(path: str) -> dict[str, int]:
    """Number of nodes in a model's file, by operator without its domain."""
    from ortolan.bundle.onnxfile import read_model

    counts: dict[str, int] = {}
    for name, count in read_model(Path(path)).operators.items():
        operator = name.rpartition("::")[2]
        counts[operator] = counts.get(operator, 0) + count
    return counts


def _preload() -> None:
    """Load the CUDA and cuDNN libraries that pip installed; those of the system are found without (1.21 and newer).

    It prints what it does not find, which may be nothing that is needed.
    """
    load = getattr(onnxruntime(), "preload_dlls", None)
    if load is not None:
        with contextlib.redirect_stdout(io.StringIO()):
            load()


@contextlib.contextmanager
def _clean_stdout() -> Iterator[None]:
    """Versions before 1.23 print to stdout when a provider fails, and cannot be told not to."""
    if parse_version(onnxruntime().__version__) >= (1, 23):
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield

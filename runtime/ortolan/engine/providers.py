"""The execution providers Ortolan knows: one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan.engine.installation import JETSON_WHEELS, advice, is_jetson, onnxruntime
from ortolan.errors import ProviderUnavailableError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BEST_EFFORT = "-or-cpu"
"""Ending of a provider's name that allows the CPU instead: ``"cuda-or-cpu"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An execution provider.

    Args:
        name: short name, used everywhere in Ortolan.
        ort_name: onnxruntime's name.
        install: what brings it, as part of a sentence; it is compiled into the wheel.
        options: provider options that Ortolan sets unless the configuration says otherwise.
        helpers: onnxruntime's names of providers that take the nodes this one leaves, ahead of the CPU.
        threads_option: the provider option that takes the number of threads; None if it has none of its own.
        own_memory: whether tensors live in another memory than the CPU's, so that bound inputs are copied at each run.
        note: what else it needs, as the rest of a sentence that begins with "it".
    """

    name: str
    ort_name: str
    install: str
    options: tuple[tuple[str, str], ...] = ()
    helpers: tuple[str, ...] = ()
    threads_option: str | None = None
    own_memory: bool = False
    note: str = ""


PROVIDERS: Mapping[str, Provider] = {
    row.name: row
    for row in (
        Provider(name="cpu", ort_name="CPUExecutionProvider", install="pip install 'ortolan[cpu]'"),
        Provider(
            name="cuda",
            ort_name="CUDAExecutionProvider",
            install="pip install 'ortolan[cuda]'",
            own_memory=True,
            note="needs an NVIDIA GPU, its driver, and the CUDA and cuDNN libraries of that onnxruntime-gpu version",
        ),
        Provider(
            name="tensorrt",
            ort_name="TensorrtExecutionProvider",
            install="pip install 'ortolan[cuda]'",
            helpers=("CUDAExecutionProvider",),
            own_memory=True,
            note="needs TensorRT's libraries beside all that cuda needs",
        ),
        Provider(
            name="openvino",
            ort_name="OpenVINOExecutionProvider",
            install="pip install 'ortolan[openvino]'",
            options=(("device_type", "CPU"),),
            threads_option="num_of_threads",
            note="needs an x86-64 processor, and the device that its option device_type names",
        ),
    )
}
"""Rows by short name."""


def resolve(name: str) -> Provider:
    """The provider of a short name or of onnxruntime's name.

    Raises:
        UnknownNameError: there is none.
    """
    row = PROVIDERS.get(name)
    if row is None:
        row = next((row for row in PROVIDERS.values() if row.ort_name == name), None)
    if row is None:
        raise UnknownNameError(
            "provider", name, [*PROVIDERS, *(f"{row}{BEST_EFFORT}" for row in PROVIDERS if row != "cpu")]
        )
    return row


def short_name(ort_name: str) -> str:
    """Ortolan's name of a provider; onnxruntime's own if it is none of the known ones."""
    return next((row.name for row in PROVIDERS.values() if row.ort_name == ort_name), ort_name)


def parse(request: str) -> tuple[Provider, bool]:
    """The provider that is asked for, and whether the CPU may take its place (``"cuda-or-cpu"``).

    Raises:
        UnknownNameError: an unknown provider.
        UsageError: something that is not text.
    """
    if not isinstance(request, str):
        raise UsageError(f"expected the name of a provider, e.g. 'cpu', got {type(request).__name__}")
    best_effort = request.endswith(BEST_EFFORT)
    row = resolve(request.removesuffix(BEST_EFFORT) if best_effort else request)
    return row, best_effort and row.name != "cpu"


def available() -> tuple[str, ...]:
    """Short names of the known providers that the installed onnxruntime was built with.

    Whether the machine has what a provider needs shows only when a session is opened.

    Raises:
        MissingPackageError: no onnxruntime is installed.
    """
    built_in = frozenset(onnxruntime().get_available_providers())
    return tuple(row.name for row in PROVIDERS.values() if row.ort_name in built_in)


def require_built_in(provider: Provider) -> None:
    """Check that the installed onnxruntime was built with ``provider``.

    Raises:
        MissingPackageError: no onnxruntime is installed.
        ProviderUnavailableError: it was not; the message says what brings it.
    """
    names = available()
    if provider.name in names:
        return
    install = provider.install
    if provider.name in ("cuda", "tensorrt") and is_jetson():
        install = f"install onnxruntime-gpu from {JETSON_WHEELS}"
    note = f"; it {provider.note}" if provider.note else ""
    raise ProviderUnavailableError(
        f"the installed onnxruntime has {_listed(names)}, not {provider.name}; uninstall it and {install}{note}"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or f"no provider Ortolan knows ({advice()})"

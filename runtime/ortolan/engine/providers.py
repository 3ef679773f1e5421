"""The execution providers Ortolan knows: one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.engine import plugins
from ortolan.engine.installation import JETSON_WHEELS, advice, is_jetson, mixture, onnxruntime, replacing
from ortolan.engine.plugins import Plugin
from ortolan.errors import ProviderUnavailableError, UnknownNameError, UsageError
from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

BEST_EFFORT = "-or-cpu"
"""Ending of a provider's name that allows the CPU instead: ``"cuda-or-cpu"``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """An execution provider.

    Args:
        name: short name, used everywhere in Ortolan.
        ort_name: onnxruntime's name.
        install: what brings it, as part of a sentence.
        plugin: where its library is; None if it is compiled into an onnxruntime of its own.
        options: provider options that Ortolan sets unless the configuration says otherwise.
        helpers: short names of providers that take the nodes this one leaves, ahead of the CPU.
        threads_option: the provider option that takes the number of threads; None if it has none of its own.
        own_memory: whether tensors live in another memory than the CPU's, so that bound inputs are copied at each run.
        preload: whether the CUDA libraries that pip installed are to be loaded first.
        engine_cache: whether it compiles engines that are worth keeping; see ``tensorrt``.
        excludes: operators that it does not take, or not as Ortolan's converters write them.
        note: what else it needs, as the rest of a sentence that begins with its name.
    """

    name: str
    ort_name: str
    install: str
    plugin: Plugin | None = None
    options: tuple[tuple[str, str], ...] = ()
    helpers: tuple[str, ...] = ()
    threads_option: str | None = None
    own_memory: bool = False
    preload: bool = False
    engine_cache: bool = False
    excludes: frozenset[str] = frozenset()
    note: str = ""

    @property
    def needs(self) -> str:
        """The note as the end of a sentence."""
        return f"; {self.name} {self.note}" if self.note else ""


_INTEGER = frozenset(
    {
        *("ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger"),
        *("QLinearConv", "QLinearMatMul", "QGemm", "DynamicQuantizeLSTM", "MatMulIntegerToFloat"),
    }
)
"""Integer arithmetic as dynamic and static quantization write it."""
_CLASSICAL = frozenset(
    {
        "TfIdfVectorizer",
        "TreeEnsemble",
        "TreeEnsembleClassifier",
        "TreeEnsembleRegressor",
        "LinearClassifier",
        "SVMClassifier",
    }
)
"""Operators of classical machine learning, which only the CPU provider has."""

PROVIDERS: Mapping[str, Provider] = {
    row.name: row
    for row in (
        Provider(name="cpu", ort_name="CPUExecutionProvider", install="pip install 'ortolan[cpu]'"),
        Provider(
            name="cuda",
            ort_name="CUDAExecutionProvider",
            install="pip install 'ortolan[cuda]'",
            # By default it multiplies float32 with 10 bits of mantissa, tries every convolution at the first run of
            # each shape, and takes memory in powers of two.
            options=(
                ("use_tf32", "0"),
                ("cudnn_conv_algo_search", "HEURISTIC"),
                ("arena_extend_strategy", "kSameAsRequested"),
            ),
            own_memory=True,
            preload=True,
            # From the kernels in onnxruntime-gpu 1.23.2, and of the same names in 1.31.1; MatMulInteger takes signed
            # activations only. Not run: there was no GPU.
            excludes=_INTEGER | _CLASSICAL,
            note="needs an NVIDIA GPU, its driver, and the CUDA and cuDNN libraries of that onnxruntime-gpu version "
            "(on x86-64 pip install 'onnxruntime-gpu[cuda,cudnn]' brings them)",
        ),
        Provider(
            name="tensorrt",
            ort_name="TensorrtExecutionProvider",
            install="pip install 'ortolan[cuda]'",
            helpers=("cuda",),
            own_memory=True,
            preload=True,
            engine_cache=True,
            # onnx-tensorrt, docs/operators.md, and the operators of onnxruntime that it has never heard of.
            excludes=_INTEGER | _CLASSICAL | {"MatMulNBits", "NonZero"},
            note="needs TensorRT's libraries beside all that cuda needs",
        ),
        Provider(
            name="openvino",
            ort_name="OpenVINOExecutionProvider",
            install="pip install 'ortolan[openvino]'",
            options=(("device_type", "CPU"),),
            threads_option="num_of_threads",
            # Tried with onnxruntime-openvino 1.24.1 on its CPU device. It takes MatMulNBits, with activations rounded
            # to 8 bits: that is for the golden samples to judge.
            excludes=_CLASSICAL | {"QLinearConv", "QLinearMatMul", "Einsum", "LSTM"},
            note="needs an x86-64 processor, and the device that its option device_type names",
        ),
        Provider(
            name="webgpu",
            ort_name="WebGpuExecutionProvider",
            install="pip install 'ortolan[webgpu]'",
            own_memory=True,
            # Tried with onnxruntime-webgpu 1.27.0. Float16 depends on the device. Convolutions of some odd numbers of
            # channels are silently wrong (129; microsoft/onnxruntime#29651): that is for the golden samples to find.
            excludes=_INTEGER | _CLASSICAL | {"GRU", "RNN", "NonMaxSuppression", "NonZero"},
            note="needs a GPU with a Vulkan driver and its loader libvulkan.so.1",
        ),
        Provider(
            name="ggml",
            ort_name="ggml",
            install="pip install 'ortolan[ggml]'",
            plugin=Plugin(
                package="onnxruntime_ggml",
                locate="library_path",
                environment=(("ORT_GGML_LOG", "off"),),  # it reports every step on stderr otherwise
            ),
            # Left alone it rounds weights to float16, and takes all of a graph or nothing.
            options=(("weights", "f32"), ("partial", "1")),
            threads_option="threads",
            # Tried with onnxruntime-ggml 0.2.0: convolutions of one dimension only, recurrent layers LSTM only. It does
            # take dynamic int8 where quantizing and product stand together, and multiplies floats for it: the answers
            # are off by as much as int8 is from float32.
            excludes=_INTEGER
            | _CLASSICAL
            | {"Conv", "ConvTranspose", "Einsum", "GRU", "RNN", "MatMulNBits", "NonMaxSuppression", "NonZero"},
            note="needs the package onnxruntime-ggml and an onnxruntime it was made for (0.2.0: 1.29 or 1.30)",
        ),
    )
}
"""Rows by short name."""


def able(operators: Iterable[str]) -> tuple[str, ...]:
    """Short names of the providers that may run a graph of these operators, as far as it is known beforehand.

    Args:
        operators: names, with or without their domain (``"com.microsoft::MatMulNBits"``).
    """
    names = {operator.rpartition("::")[2] for operator in operators}
    return tuple(row.name for row in PROVIDERS.values() if row.excludes.isdisjoint(names))


def resolve(name: str) -> Provider:
    """The provider of a short name, of onnxruntime's name, or of a plug-in's name and library.

    ``"AcmeExecutionProvider@/opt/acme/libacme.so"`` is a plug-in that Ortolan has no row for.

    Raises:
        UnknownNameError: there is none.
    """
    row = PROVIDERS.get(name)
    if row is None:
        row = next((row for row in PROVIDERS.values() if row.ort_name == name), None)
    if row is not None:
        return row
    ort_name, at, library = name.partition("@")
    if ort_name and at and library:
        return Provider(
            name=name,
            ort_name=ort_name,
            install=f"put the plug-in's library at {library}",
            plugin=Plugin(library=library),
            own_memory=True,  # not known, and right either way
        )
    raise UnknownNameError(
        "provider", name, [*PROVIDERS, *(f"{row}{BEST_EFFORT}" for row in PROVIDERS if row != "cpu")]
    )


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
    """Short names of the known providers that are installed: in the onnxruntime itself, or as a plug-in it can load.

    Whether the machine has what a provider needs shows only when a session is opened.

    Raises:
        MissingPackageError: no onnxruntime is installed.
    """
    built_in = frozenset(onnxruntime().get_available_providers())
    return tuple(row.name for row in PROVIDERS.values() if _is_there(row, built_in))


def require_built_in(provider: Provider) -> None:
    """Check that ``provider`` is installed: in the onnxruntime itself, or as a plug-in it can load.

    Raises:
        MissingPackageError: no onnxruntime is installed.
        ProviderUnavailableError: it is not; the message says what brings it.
    """
    if _is_there(provider, frozenset(onnxruntime().get_available_providers())):
        return
    if provider.plugin is not None:
        if plugins.installed(provider.plugin):
            found = onnxruntime().__version__
            raise ProviderUnavailableError(
                f"{provider.name} is a plug-in and onnxruntime {found} cannot load any; update it{provider.needs}"
            )
        what = provider.plugin.package or provider.plugin.library
        raise ProviderUnavailableError(
            f"{provider.name} is a plug-in and {what} is not installed; {provider.install}{provider.needs}"
        )
    install = provider.install
    if provider.name in ("cuda", "tensorrt") and is_jetson():
        install = f"install onnxruntime-gpu from {JETSON_WHEELS}"
    mixed = mixture()
    raise ProviderUnavailableError(
        f"the installed onnxruntime has {_listed(available())}, not {provider.name}{mixed and f', and {mixed}'}; "
        f"{replacing(install)}{provider.needs}"
    )


def _is_there(provider: Provider, built_in: frozenset[str]) -> bool:
    if provider.plugin is None:
        return provider.ort_name in built_in
    return plugins.supported() and plugins.installed(provider.plugin)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or f"no provider Ortolan knows ({advice()})"

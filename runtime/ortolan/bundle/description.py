"""The types a bundle's manifest is made of. They hold facts and do no input or output."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING

from ortolan.bundle.names import is_below
from ortolan.errors import UnknownNameError
from ortolan.records import dataclass, replace
from ortolan.types import HALF_SLACK

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ortolan.types import Fidelity, Polynomial

EXECUTION_PROVIDER = "CPUExecutionProvider"
"""The ``ep`` of every variant: without one ONNX Runtime's own package loader selects nothing."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size and SHA-256 (lower-case hexadecimal) of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightMemory:
    """What a model's weights take while it loads and runs, by what onnxruntime does with them. All in bytes.

    Args:
        inside: stored in the .onnx file itself.
        largest: of those the largest tensor.
        mapped: stored beside it and mapped into memory.
        repacked: of all weights those that matrix products and recurrent layers repack.
        reordered: those of convolutions, which are stored anew in another layout.
        derived: results of nodes that have nothing but constant inputs, and so are computed at load.
        nested: in graphs within nodes, which are copied with each graph.
        gathered: of the mapped ones those of which nodes take single rows.
    """

    inside: int
    largest: int
    mapped: int
    repacked: int
    reordered: int
    derived: int
    nested: int
    gathered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantInfo:
    """What is known of a variant without opening its model.

    Args:
        precision: e.g. ``"fp32"``, ``"int8"``; ``"int8-weights"`` where weights alone are int8.
        providers: short names of the execution providers that may take it: none of its operators is known to be left
            out by them. Its fidelity was found on the CPU provider; on others it is for the golden samples to tell.
        min_onnxruntime: oldest version that runs it, e.g. ``"1.20.0"``.
        weight_bytes: bytes of all initializers.
        macs: multiply-accumulates of one run; None if unknown. A comparison of a decision tree counts as one.
        activation_bytes: peak bytes of intermediate tensors that are alive at once; None if unknown.
        cpu_features: flags the processor must have, as in ``/proc/cpuinfo``.
        fidelity: how far its answers are from the source's.
        weights: what its weights take in memory; None if unknown.
    """

    precision: str
    providers: tuple[str, ...]
    min_onnxruntime: str
    weight_bytes: int
    macs: Polynomial | None
    activation_bytes: Polynomial | None
    cpu_features: tuple[str, ...] = ()
    fidelity: Fidelity
    weights: WeightMemory | None = None

    def __post_init__(self) -> None:
        # Distances of embeddings are squares: what float16 adds to them is far below what float32 is granted.
        if self.precision == "fp16" and self.fidelity.metric != "embedding":
            object.__setattr__(self, "fidelity", replace(self.fidelity, slack=HALF_SLACK))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One form of a component's model.

    Args:
        name: e.g. ``"int8"``.
        component: name of the component it is a variant of.
        directory: POSIX path relative to the bundle, e.g. ``"model/int8"``.
        model_file: POSIX path relative to ``directory``.
        ep: the provider ONNX Runtime's own loader selects it for.
        info: its figures.
    """

    name: str
    component: str
    directory: str
    model_file: str
    ep: str = EXECUTION_PROVIDER
    info: VariantInfo

    @property
    def model_path(self) -> str:
        """POSIX path of the model relative to the bundle."""
        return f"{self.directory}/{self.model_file}"


@dataclass(frozen=True, slots=True)
class Component:
    """A model of the bundle, in its variants; the reference first, then by preference."""

    name: str
    directory: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """Name of the task and its raw configuration, which the task itself reads."""

    name: str
    config: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Source:
    """A training artifact the bundle was made from."""

    name: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where the bundle comes from: framework, versions of the packages that converted it, and its sources."""

    framework: str
    framework_version: str
    versions: Mapping[str, str]
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A bundle's description.

    Args:
        package_name: the bundle's name.
        version: the bundle's version.
        task: what it answers.
        provenance: where it comes from.
        dims: usual sizes of the free dimensions, by name.
        files: every file but ``manifest.json``, by POSIX path.
        components: its models.
        max_dims: of free dimensions the largest sizes that memory has to be there for; of others the usual ones.
        other_metadata: sections of ``additional_metadata`` that are not Ortolan's; kept as they are.
    """

    package_name: str
    version: str
    task: TaskSpec
    provenance: Provenance
    dims: Mapping[str, int]
    files: Mapping[str, FileEntry]
    components: tuple[Component, ...]
    max_dims: Mapping[str, int] = field(default_factory=dict)
    other_metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def largest(self) -> dict[str, int]:
        """Sizes of the free dimensions that memory has to be there for."""
        return {**self.dims, **self.max_dims}

    def component(self, name: str) -> Component:
        """The component of that name.

        Raises:
            UnknownNameError: there is none.
        """
        for component in self.components:
            if component.name == name:
                return component
        raise UnknownNameError("component", name, [component.name for component in self.components])

    def variant(self, name: str, component: str = "model") -> Variant:
        """The variant of that name.

        Raises:
            UnknownNameError: there is none; the nearest are suggested.
        """
        variants = self.component(component).variants
        for variant in variants:
            if variant.name == name:
                return variant
        raise UnknownNameError("variant", name, [variant.name for variant in variants])

    def variant_digest(self, variant: Variant) -> str:
        """SHA-256 over the variant's rows of ``files``: equal for equal variants, whatever else is in the bundle."""
        from ortolan.digest import sha256

        digest = sha256()
        for path in sorted(self.files):
            if is_below(path, variant.directory):
                entry = self.files[path]
                digest.update(f"{path}\0{entry.bytes}\0{entry.sha256}\n".encode())
        return digest.hexdigest()

    def subset(self, names: Collection[str]) -> Manifest:
        """The description of the bundle with only the variants of these names.

        A component that has none of them is kept whole.

        Raises:
            UnknownNameError: a name that no component has.
        """
        from ortolan.bundle.manifest import described

        known = {variant.name for component in self.components for variant in component.variants}
        for name in names:
            if name not in known:
                raise UnknownNameError("variant", name, known)
        components = tuple(
            replace(component, variants=tuple(v for v in component.variants if v.name in names) or component.variants)
            for component in self.components
        )
        kept = {variant.directory for component in components for variant in component.variants}
        dropped = {variant.directory for component in self.components for variant in component.variants} - kept
        files = {
            path: entry
            for path, entry in self.files.items()
            if not any(is_below(path, directory) for directory in dropped)
        }
        return described(replace(self, components=components, files=files))

    def variant_storage(self, name: str) -> int:
        """Bytes of the files of a bundle with that variant only, as ``ortolan subset`` writes it.

        Raises:
            UnknownNameError: no such variant.
        """
        from ortolan.bundle.manifest import MANIFEST, serialize

        smaller = self.subset([name])
        return sum(entry.bytes for entry in smaller.files.values()) + len(serialize(smaller)[MANIFEST])

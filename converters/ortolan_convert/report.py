"""What a conversion did."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ortolan.bundle.manifest import fidelity_json

if TYPE_CHECKING:
    from ortolan.bundle.directory import Bundle
    from ortolan.bundle.manifest import Provenance
    from ortolan.types import Fidelity


EXPERIMENTAL = "this kind of task is experimental: it was tried with small generated models only, not with a real one"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReport:
    """One variant that was made, or the reason that it was left out.

    Args:
        name: e.g. ``"int8"``.
        bytes: size of its model.
        bundle_bytes: size of a bundle with this variant alone; None if left out.
        fidelity: how far its answers are from the source's; None if it was not measured.
        accuracy: share of the samples with the right label, where the samples have labels.
        left_out: why it is not in the bundle; None if it is.
    """

    name: str
    bytes: int
    bundle_bytes: int | None
    fidelity: Fidelity | None
    accuracy: float | None = None
    left_out: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionReport:
    """What a conversion did.

    Args:
        bundle: what was written.
        task: name of the task.
        provenance: framework, versions and sources.
        variants: made and left out, the reference first.
        accuracy: of the source on the samples, where they have labels.
        warnings: what a user should know, one sentence each.
    """

    bundle: Bundle
    task: str
    provenance: Provenance
    variants: tuple[VariantReport, ...]
    accuracy: float | None
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The ``ortolan.convert/1`` document of ``ortolan convert --json``."""
        return {
            "schema": "ortolan.convert/1",
            "bundle": str(self.bundle.path),
            "digest": self.bundle.digest,
            "task": self.task,
            "framework": self.provenance.framework,
            "framework_version": self.provenance.framework_version,
            "sources": [asdict(source) for source in self.provenance.sources],
            "source_accuracy": self.accuracy,
            "variants": [_variant(variant) for variant in self.variants],
            "warnings": list(self.warnings),
        }


def _variant(variant: VariantReport) -> dict[str, Any]:
    return {
        "name": variant.name,
        "bytes": variant.bytes,
        "bundle_bytes": variant.bundle_bytes,
        "left_out": variant.left_out,
        "accuracy": variant.accuracy,
        "fidelity": None if variant.fidelity is None else fidelity_json(variant.fidelity),
    }

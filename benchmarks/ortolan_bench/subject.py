"""What is benchmarked: a bundle or a bare model on disk, its candidates, and the inputs it brings along."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ortolan.errors import BundleError, InputError, StorageError, UnknownNameError, UsageError
from ortolan.types import Candidate, SessionConfig
from ortolan_bench.findings import Target
from ortolan_bench.scenarios import Scenario
from ortolan_bench.workload import Workload, generated_workload, read_data, tensor_workload, text_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan.bundle.directory import Bundle

ALL = "all"
"""In place of names: every variant, or every provider that is there."""

GENERATED = "generated"
"""In place of a data file: tensors made from what the model declares."""


class Subject:
    """A bundle or a bare ``.onnx`` file, opened."""

    def __init__(self, path: str | Path) -> None:
        """Open it.

        Raises:
            BundleError, ModelFileError: it cannot be used.
            StorageError: it cannot be read.
        """
        self.path = Path(path)
        self.bundle: Bundle | None = None
        if self.path.suffix.lower() == ".onnx" and not self.path.is_dir():
            self.digest = _file_digest(self.path)
        else:
            from ortolan.bundle.directory import open_bundle

            self.bundle = open_bundle(self.path)
            self.digest = self.bundle.digest

    def targets(
        self,
        variants: Sequence[str] | None,
        providers: Sequence[str],
        threads: Sequence[int | None],
        scenarios: Sequence[Scenario] = (Scenario(),),
    ) -> tuple[Target, ...]:
        """Every combination of variant, provider, number of threads and scenario.

        Args:
            variants: names; None for all.
            providers: names; ``"all"`` alone for those that the installed onnxruntime has and the variant is made for.
            threads: numbers of intra-op threads, None for what the process may use.
            scenarios: how inputs arrive.

        Raises:
            UnknownNameError: an unknown variant or provider.
            UsageError: an empty list, a wrong number of threads, or variants of a bare model.
        """
        for what, given in (("variant", variants), ("provider", providers), ("number of threads", threads)):
            if given is not None and not given:
                raise UsageError(f"expected at least one {what}, got none")
        for count in threads:
            if count is not None and not 1 <= count <= 1024:
                raise UsageError(f"expected 1 to 1024 threads, got {count}")
        configs = [
            SessionConfig(provider=provider, threads=count)
            for provider in dict.fromkeys(_known_providers(providers))
            for count in dict.fromkeys(threads)
        ]
        wanted_all = list(providers) == [ALL]
        if self.bundle is None:
            found = self._bare_targets(variants, configs)
        else:
            found = self._bundle_targets(self.bundle, variants, configs, wanted_all)
        return tuple(replace(target, scenario=scenario) for target in found for scenario in dict.fromkeys(scenarios))

    def workload(self, inputs: str | Path | None) -> Workload:
        """The inputs: ``inputs`` if given, else a bundle's golden ones, else generated ones; also for `GENERATED`.

        Raises:
            InputError, UsageError, StorageError: see `read_data`.
        """
        if inputs is not None and str(inputs) != GENERATED:
            return read_data(Path(inputs), "tensor" if self.bundle is None else self.bundle.manifest.task.name)
        if self.bundle is None:
            return generated_workload({})
        return generated_workload(self.bundle.manifest.dims) if inputs else _golden_workload(self.bundle)

    def _bare_targets(self, variants: Sequence[str] | None, configs: Sequence[SessionConfig]) -> tuple[Target, ...]:
        if variants is not None:
            raise UsageError(f"{self.path}: a bare model has no variants; leave --variant out")
        named = (("model", self.path.stem),)
        size = _file_bytes(self.path)
        return tuple(
            Target(
                candidate=Candidate(named, config),
                path=str(self.path),
                variant=None,
                digest=self.digest,
                declared=None,
                scenario=Scenario(),
                disk_bytes=size,
            )
            for config in configs
        )

    def _bundle_targets(
        self, bundle: Bundle, variants: Sequence[str] | None, configs: Sequence[SessionConfig], fitting: bool
    ) -> tuple[Target, ...]:
        if len(bundle.manifest.components) != 1:
            count = len(bundle.manifest.components)
            raise UsageError(f"{self.path}: expected a bundle with one component, found {count}")
        component = bundle.manifest.components[0]
        known = [variant.name for variant in component.variants]
        for name in variants or ():
            if name not in known:
                raise UnknownNameError("variant", name, known)
        rows = [bundle.manifest.variant(name, component.name) for name in dict.fromkeys(variants or known)]
        sizes = {row.name: bundle.manifest.variant_storage(row.name) for row in rows}
        return tuple(
            Target(
                candidate=Candidate(((component.name, row.name),), config),
                path=str(self.path),
                variant=row.name,
                digest=bundle.manifest.variant_digest(row),
                declared=row.info.fidelity,
                scenario=Scenario(),
                disk_bytes=sizes[row.name],
            )
            for config in configs
            for row in rows
            if not fitting or config.provider in row.info.providers
        )


def _known_providers(names: Sequence[str]) -> Sequence[str]:
    """The names, checked against the table of providers; the available ones for ``"all"``."""
    from ortolan.engine import available_providers
    from ortolan.engine.providers import parse

    if list(names) == [ALL]:
        return available_providers()
    for name in names:
        parse(name)
    return names


def _golden_workload(bundle: Bundle) -> Workload:
    if "golden/inputs.json" not in bundle.manifest.files:
        return tensor_workload("golden", bundle.file_path("golden/inputs.npz"))
    try:
        texts = json.loads(bundle.read_file("golden/inputs.json"))
    except ValueError as error:
        raise BundleError(f"{bundle.path}: golden/inputs.json is not JSON: {error}") from error
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BundleError(f"{bundle.path}: golden/inputs.json: expected a list of strings")
    try:
        return text_workload("golden", texts)
    except InputError as error:
        raise BundleError(f"{bundle.path}: {error}") from error


def _file_bytes(path: Path) -> int:
    """Bytes of a model's file and of the files that hold its weights."""
    from ortolan.bundle.onnxfile import check_external_data

    tensors = check_external_data(path, within=path.parent).tensors
    beside = {path.parent / tensor.external.location for tensor in tensors if tensor.external is not None}
    return sum(file.stat().st_size for file in (path, *beside))


def _file_digest(path: Path) -> str:
    from hashlib import sha256

    digest = sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror or error}") from error
    return digest.hexdigest()

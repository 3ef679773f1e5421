"""What a conversion was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ortolan.errors import ConversionError, UsageError
from ortolan_convert.sources.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan_convert.sources.kinds import Kind

    Progress = Callable[[str], None]

DEFAULT_MAX_DROP = 0.01
"""Share of changed decisions that a variant may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of :func:`ortolan_convert.convert.convert`, checked as far as it holds for every kind of artifact.

    Args:
        artifacts: the files or directories, and what each is.
        target: the bundle to write.
        samples: inputs to compare on; None to make some up.
        trust: whether code in the artifacts may run.
        task: the task that is expected; None for any.
        config: YAML file that describes the task.
        module: ``package.module:factory`` that makes the network whose weights are given.
        quantize: names of smaller variants to try, largest first.
        quantize_asked: whether the user named them, rather than leaving it to Ortolan.
        max_drop: largest share of samples whose decision a variant may change.
        overwrite: replace a bundle that is already there.
        progress: told in a few words what happens next.
    """

    artifacts: tuple[tuple[Path, Kind], ...]
    target: Path
    samples: Path | None = None
    trust: bool = False
    task: str | None = None
    config: Path | None = None
    module: str | None = None
    quantize: tuple[str, ...] = ()
    quantize_asked: bool = False
    max_drop: float = DEFAULT_MAX_DROP
    overwrite: bool = False
    progress: Progress

    @property
    def kind(self) -> Kind:
        """Of several kinds given together, the one that decides who converts them all."""
        given = {kind for _, kind in self.artifacts}
        return next(kind for kind in KINDS if kind in given)

    def only_path(self) -> Path:
        """The artifact, where a kind is converted alone.

        Raises:
            ConversionError: there are several.
        """
        if len(self.artifacts) > 1:
            title = KINDS[self.kind].title
            raise ConversionError(f"{title} is converted alone, found {len(self.artifacts)} artifacts")
        return self.artifacts[0][0]

    def without_config(self) -> None:
        """Refuse a description where the artifact describes itself.

        Raises:
            UsageError: there is one.
        """
        if self.config is not None:
            raise UsageError(f"--config describes the task of a network; {KINDS[self.kind].title} describes itself")

"""Says what artifacts are, what they need, and what in them would run code: ``ortolan convert --explain``.

Nothing is run and no training framework imported, so damaged, hostile and unknown files can be asked about too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.choose.units import format_size
from ortolan.errors import OrtolanError
from ortolan_convert.sources.explaining import facts_of
from ortolan_convert.sources.explaining.facts import Facts
from ortolan_convert.sources.kinds import KINDS
from ortolan_convert.sources.packages import is_installed
from ortolan_convert.sources.recognise import recognise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ortolan_convert.sources.kinds import Kind

LONGEST = 300
"""Characters of a value that people are shown."""

_TENSORS = "--config TASK.yaml for what the tensors mean; --samples DATA.npz, or what that task takes"
_ROWS = "--samples ROWS.csv with a column for each feature, and 'label' if there are labels"
_TEXTS_OR_ROWS = "--samples TEXTS.csv with a column 'text', or ROWS.csv for a table; 'label' if there are labels"
_FACTORY = "--module PACKAGE.MODULE:FACTORY, which makes the network that the weights are for"
_OPTIONS: Mapping[Kind, tuple[str, ...]] = {
    "onnx": (_TENSORS,),
    "huggingface": ("--samples TEXTS.csv with a column 'text', or a directory of images",),
    "saved-model": (_TENSORS,),
    "keras": (_TENSORS,),
    "hdf5": (_TENSORS,),
    "tflite": (_TENSORS,),
    "torch-exported": (_TENSORS,),
    "torchscript": (_TENSORS,),
    "torch-weights": (_FACTORY, _TENSORS),
    "safetensors": (_FACTORY, _TENSORS),
    "xgboost-json": (_ROWS,),
    "xgboost-ubj": (_ROWS,),
    "lightgbm": (_ROWS,),
    "catboost": (_ROWS,),
    "skops": (_TEXTS_OR_ROWS,),
    "pickle": (_TEXTS_OR_ROWS,),
}
"""Which options of ``ortolan convert`` go with a kind."""
_TRUST = {
    True: "needed: reading it runs code; give it only if you trust where the file comes from",
    False: "not needed",
    None: "perhaps needed",
}
_BOOSTING = ("xgboost", "lightgbm", "catboost")
"""Modules that the extra ``boosting`` brings, where a pickle imports them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What can be said of an artifact.

    Args:
        path: the file or directory.
        bytes: its size; of a directory that of the files in it.
        kind: what it is; None if that is not known or cannot be converted.
        facts: what it says of itself.
        extra: of Ortolan, which brings what it needs.
        missing: modules that it needs and that are not installed here.
        problem: why it cannot be converted, or not be looked into; None if nothing is wrong as far as that is seen.
        needs_trust: whether ``--trust`` will be asked for; None if that could not be found out.
    """

    path: Path
    bytes: int | None
    kind: Kind | None = None
    facts: Facts = field(default_factory=Facts)
    extra: str | None = None
    missing: tuple[str, ...] = ()
    problem: str | None = None
    needs_trust: bool | None = False

    def to_json(self) -> dict[str, Any]:
        """One of the ``artifacts`` of an ``ortolan.explain/1`` document."""
        facts = self.facts
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "kind": self.kind,
            "title": KINDS[self.kind].title if self.kind else None,
            "made_by": facts.made_by,
            "inside": [{"name": name.strip(), "value": value} for name, value in facts.inside],
            "runs_code": list(facts.code),
            "needs_trust": self.needs_trust,
            "extra": self.extra,
            "missing": list(self.missing),
            "options": list(_OPTIONS[self.kind]) if self.kind else [],
            "notes": list(facts.notes),
            "problem": self.problem,
        }

    def lines(self) -> Iterator[str]:
        """For people."""
        facts = self.facts
        yield f"{self.path}: {KINDS[self.kind].title if self.kind else 'cannot be converted'}"
        rows = [("size", "" if self.bytes is None else format_size(self.bytes)), ("made by", facts.made_by or "")]
        rows += facts.inside
        if self.kind:
            code = facts.code or ("could not be found out" if self.needs_trust is None else "nothing, when it is read",)
            rows += [("runs code", line) for line in code]
            rows.append(("--trust", _TRUST[self.needs_trust]))
            here = f"not installed here: {', '.join(self.missing)}" if self.missing else "installed here"
            rows.append(("needs", f"ortolan[{self.extra}], {here}"))
            rows += [("give with it", option) for option in _OPTIONS[self.kind]]
        rows += [("note", note) for note in facts.notes]
        rows += [("problem", self.problem)] if self.problem else []
        wide = max(len(name) for name, _ in rows)
        before = None
        for name, value in rows:
            if value:
                yield f"  {'' if name == before else name:<{wide}}  {printable(value)}"
                before = name


def explain(paths: Sequence[str | Path]) -> list[Explanation]:
    """What each of some files and directories is; what is wrong with one is part of the answer."""
    return [_explained(Path(path)) for path in paths]


def _explained(path: Path) -> Explanation:
    size = _size(path)
    try:
        kind = recognise(path)
    except OrtolanError as error:
        return Explanation(path=path, bytes=size, problem=_without(path, error))
    row = KINDS[kind]
    problem, trust = None, True if row.always_runs_code else None
    try:
        facts = facts_of(path, kind)
        trust = row.always_runs_code or bool(facts.code)
    except OrtolanError as error:
        facts, problem = Facts(), _without(path, error)
        if row.runs_code is None:
            trust = False
    boosting = any(name in facts.packages for name in _BOOSTING)
    needed = dict.fromkeys([*row.modules, *facts.packages])
    return Explanation(
        path=path,
        bytes=size,
        kind=kind,
        facts=facts,
        extra="boosting" if boosting else row.extra,
        missing=tuple(module for module in needed if not is_installed(module)),
        problem=problem,
        needs_trust=trust,
    )


def _size(path: Path) -> int | None:
    try:
        if path.is_dir():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _without(path: Path, error: OrtolanError) -> str:
    """The message without the path, which stands above it."""
    message = str(error).removeprefix(f"{path}: ").removeprefix(f"{str(path)!r}: ")
    return message.removeprefix("cannot be converted: ")


def printable(text: str) -> str:
    """Text of a file nobody trusts: shortened, and with escapes for what could steer a terminal."""
    shown = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)

"""The reference of a network: its ONNX file as it came, or made sound, each step compared with what came before."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from ortolan.engine.session import open_session
from ortolan.errors import ModelFileError, SessionError
from ortolan.types import SessionConfig
from ortolan_convert.graph import OPSET
from ortolan_convert.messages import words
from ortolan_convert.networks.reference.declared import with_shapes_seen
from ortolan_convert.networks.reference.probes import ANOTHER_OPSET, SAME, probed
from ortolan_convert.networks.reference.quantized import already_smaller
from ortolan_convert.networks.reference.simplify import simplified
from ortolan_convert.networks.reference.soundness import check_ends, check_operators, check_weights, objections
from ortolan_convert.networks.reference.versions import at_supported_version, opset_of
from ortolan_convert.networks.weight_file import BESIDE, weight_bytes, write_files
from ortolan_convert.passes.quantizing import SMALLEST, graphs, is_large, lift_constants, nodes
from ortolan_convert.sources.onnx_file import read_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ortolan.types import Array
    from ortolan_convert.networks.reference.probes import Probes
    from ortolan_convert.request import Progress
    from ortolan_convert.sources.onnx_file import OnnxSource

    Tensors = Mapping[str, Array]
OLDEST_FOR_VARIANTS = 11
"""Dynamic quantization came with this opset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What variants are made of and compared with.

    Args:
        source: its file; the one given where nothing had to change.
        changed: whether it is another file.
        smaller: why it is not to be quantized; None if it may be.
        notes: what a user should know, one sentence each.
    """

    source: OnnxSource
    changed: bool
    smaller: str | None
    notes: Sequence[str]


def loaded(source: OnnxSource) -> onnx.ModelProto:
    """The model with its weights, whose external data has been checked.

    Raises:
        ModelFileError: it is damaged.
    """
    try:
        return onnx.load(source.path)
    except (DecodeError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelFileError(f"{str(source.path)!r}: not a valid ONNX model: {words(error)}") from None


def check(source: OnnxSource) -> onnx.ModelProto:
    """The model with its weights, before anything runs it.

    Raises:
        UnsupportedError: it has operators that no onnxruntime has, or gives what is no tensor.
        ConversionError: its weights are no numbers.
        ModelFileError: it is damaged.
    """
    model = loaded(source)
    check_ends(model, source.path)
    check_operators(model, source.path)
    check_weights(model, source.path)
    return model


def refined(
    source: OnnxSource, model: onnx.ModelProto, samples: Sequence[Tensors], room: Path, say: Progress
) -> Reference:
    """Bring a model to what Ortolan ships: supported versions, right shapes, no needless nodes, weights beside it.

    Every step is compared with the model before on the samples, and on the same with other sizes of free dimensions;
    what answers otherwise, or fails, is not taken.

    Args:
        source: the file.
        model: its content.
        samples: inputs that it takes.
        room: an existing directory for files that live as long as the reference.
        say: told what happens next.
    """
    with closing(open_session(source.path, SessionConfig(threads=1))) as session:
        probes = probed(session, source.model.inputs, samples)
    steps = _Steps(source, model, probes, room)
    if model.functions:
        steps.take(inliner.inline_local_functions(model))
    made, reason = at_supported_version(steps.model)
    if made is not None and not steps.take(made, tolerance=ANOTHER_OPSET):
        reason = "what ONNX's converter makes of it answers otherwise"
    if reason is not None:
        versions = f"opset {opset_of(model)}, IR version {model.ir_version}"
        steps.notes.append(f"the model stays at {versions}: {reason}")
    elif made is not None:
        now = f"opset {opset_of(made)}, IR version {made.ir_version}"
        steps.notes.append(
            f"converted from opset {opset_of(model)}, IR version {model.ir_version} to {now}; it answers the same"
        )
    shaped, wrong = with_shapes_seen(steps.model, source.model.inputs, probes)
    if shaped is not None and steps.take(shaped):
        steps.notes += wrong
    say("simplifying the graph")
    path, size = steps.file()
    simple = simplified(path, steps.model, size, room)
    if simple is not None:
        before = sum(1 for _ in nodes(steps.model.graph))
        if steps.take(simple, smaller=size):
            after = sum(1 for _ in nodes(simple.graph))
            steps.notes.append(f"simplified from {before} to {after} nodes; it answers the same")
    steps.move_weights()
    finished = read_onnx(steps.file()[0])
    objection = objections(finished.path)
    if objection is not None:
        steps.notes.append(f"onnxruntime runs the model, but ONNX's own checker objects: {objection[:300]}")
    return Reference(
        source=finished,
        changed=steps.changed,
        smaller=already_smaller(steps.model),
        notes=tuple(steps.notes),
    )


class _Steps:
    """A model, and the file that it is in."""

    def __init__(self, source: OnnxSource, model: onnx.ModelProto, probes: Probes, room: Path) -> None:
        self.model = model
        self.notes: list[str] = []
        self.changed = False
        self._probes = probes
        self._room = room
        self._count = 0
        self._files: Mapping[str, Path] = {source.path.name: source.path} | {
            name: source.path.parent / name for name in source.model.external_files
        }

    def file(self) -> tuple[Path, int]:
        """The ONNX file, and the bytes of it and its weights."""
        path = next(iter(self._files.values())) if not self.changed else self._files["model.onnx"]
        return path, sum(file.stat().st_size for file in self._files.values())

    def take(self, model: onnx.ModelProto, *, smaller: int | None = None, tolerance: float = SAME) -> bool:
        """Go on with another form of the model if it answers the same and, where asked, takes no more bytes.

        Files of the form before are removed; the file that was given stays.
        """
        self._count += 1
        directory = self._room / f"step-{self._count}"
        directory.mkdir()
        files = write_files(model, directory)
        size = sum(file.stat().st_size for file in files.values())
        if (smaller is not None and size > smaller) or not self._same(files["model.onnx"], tolerance):
            _remove(files)
            return False
        if self.changed:
            _remove(self._files)
        self.model, self._files, self.changed = model, files, True
        return True

    def move_weights(self) -> None:
        """Put large weights beside the graph, from where they are mapped into memory."""
        path, _ = self.file()
        if not self.changed and weight_bytes(self.model) >= BESIDE and path.stat().st_size >= BESIDE:
            self.take(self.model)

    def _same(self, path: Path, tolerance: float) -> bool:
        try:
            with closing(open_session(path, SessionConfig(threads=1))) as session:
                return self._probes.unlike(session) <= tolerance
        except (ModelFileError, SessionError):
            return False


def _remove(files: Mapping[str, Path]) -> None:
    for file in files.values():
        file.unlink()


def for_passes(reference: Reference) -> onnx.ModelProto:
    """The reference as passes take it: constants as initializers."""
    model = loaded(reference.source)
    lift_constants(model)
    return model


def no_variants(reference: Reference, model: onnx.ModelProto) -> str | None:
    """Why no smaller variants can be made of a reference; None if they can.

    Args:
        reference: what it is.
        model: its graph as passes take it.
    """
    if reference.smaller is not None:
        return reference.smaller
    opsets = reference.source.model.opsets
    opset = max(opsets.get("", 1), opsets.get("ai.onnx", 1))
    if not OLDEST_FOR_VARIANTS <= opset <= OPSET:
        return f"they would need a model of opset {OLDEST_FOR_VARIANTS} to {OPSET}, and it is of {opset}"
    if not any(is_large(tensor) for graph in graphs(model.graph) for tensor in graph.initializer):
        return f"the model has no weights of {SMALLEST} numbers of float32 or more"
    return None

"""The smaller variants of a network: made by passes over its graph, judged by their answers, kept if they pay."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from ortolan.bundle.manifest import VariantInfo
from ortolan.bundle.onnxfile import read_model
from ortolan.choose.weights import weight_memory
from ortolan.engine.providers import able
from ortolan.engine.session import open_session
from ortolan.errors import ModelFileError, SessionError
from ortolan.types import SessionConfig
from ortolan_convert.analysis.costs import costs_of
from ortolan_convert.gate import objection
from ortolan_convert.graph import FLOOR
from ortolan_convert.networks.weight_file import MODEL, write_files
from ortolan_convert.passes import NETWORK_PASSES
from ortolan_convert.passes.smoothing import inputs_of_products
from ortolan_convert.report import VariantReport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ortolan.bundle.directory import Bundle
    from ortolan.bundle.onnxfile import OnnxModel
    from ortolan.types import Array, Fidelity
    from ortolan_convert.passes import Pass
    from ortolan_convert.passes.network_int8 import Activations
    from ortolan_convert.request import Progress

    Judge = Callable[[Path], tuple[Fidelity, float | None]]
    """An ONNX file -> how far its answers are from the source's, and its accuracy where labels are known."""

ROWS = 2048
"""Sample rows of a tensor that int8 looks at,"""
ROWS_OF_ONE = 256
"""and at least how many of them may come from one sample."""
INTEGER_ARITHMETIC = frozenset(
    (
        "ConvInteger",
        "DynamicQuantizeLSTM",
        "DynamicQuantizeMatMul",
        "MatMulInteger",
        "MatMulIntegerToFloat",
        "QAttention",
        "QGemm",
        "QLinearConv",
        "QLinearMatMul",
    )
)
"""Operators that multiply integers."""
FLOAT_LAYERS = frozenset(("Conv", "ConvTranspose", "GRU", "LSTM", "RNN"))
"""Layers that the int8 pass leaves in float32, weights aside."""
INT8_WEIGHTS = "int8-weights"
"""Precision of a variant that has weights of int8 and does most of its arithmetic in float32, at float32's speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A variant on disk.

    Args:
        name: e.g. ``"int8"``.
        files: by their names in the bundle; the model is ``model.onnx``.
        fidelity: of its answers to the source's.
        accuracy: share of the samples with the right label; None if none are known.
        min_onnxruntime: the oldest one that runs it.
    """

    name: str
    files: Mapping[str, Path]
    fidelity: Fidelity
    accuracy: float | None = None
    min_onnxruntime: str = FLOOR

    @property
    def bytes(self) -> int:
        """Of its files."""
        return sum(path.stat().st_size for path in self.files.values())

    def info(self) -> VariantInfo:
        """Its figures for the bundle."""
        path = self.files[MODEL]
        model = read_model(path)
        costs = costs_of(path, model)
        return VariantInfo(
            precision=_precision(self.name, model),
            providers=able(model.operators),
            min_onnxruntime=self.min_onnxruntime,
            weight_bytes=model.weight_bytes,
            macs=costs.macs,
            activation_bytes=costs.activation_bytes,
            cpu_features=(),
            fidelity=self.fidelity,
            weights=weight_memory(model),
        )

    def report(self, bundle: Bundle) -> VariantReport:
        """Of a variant in a bundle."""
        alone = bundle.manifest.variant_storage(self.name)
        return VariantReport(
            name=self.name,
            bytes=self.bytes,
            bundle_bytes=alone,
            fidelity=self.fidelity,
            accuracy=self.accuracy,
        )


def _precision(name: str, model: OnnxModel) -> str:
    """A variant's name, unless its arithmetic is not what that says."""
    operators = {operator.rpartition("::")[2] for operator in model.operators}
    # Between quantized and dequantized tensors onnxruntime computes in integers, whatever the layer.
    if name != "int8" or "QuantizeLinear" in operators:
        return name
    return name if operators & INTEGER_ARITHMETIC and not operators & FLOAT_LAYERS else INT8_WEIGHTS


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of the variants asked for: those that passed, those left out, and what a user should know."""

    made: Sequence[Made]
    left_out: Sequence[VariantReport]
    notes: Sequence[str] = ()

    @property
    def warnings(self) -> list[str]:
        """One sentence each."""
        return [*self.notes, *(f"{one.name} was left out: {one.left_out}" for one in self.left_out)]


def try_variants(
    reference: Made,
    model: onnx.ModelProto,
    activations: Callable[[], Activations],
    judge: Judge,
    wanted: tuple[Sequence[str], float],
    room: Path,
    say: Progress,
) -> Tried:
    """The smaller variants of a reference, by the rule of `ortolan_convert.gate`.

    Args:
        reference: the variant that agrees with the source.
        model: its graph, in float32, constants as initializers.
        activations: sample rows of what its large weights are multiplied with, asked for if int8 is wanted.
        judge: compares a variant with the source.
        wanted: names of variants, largest first, and the largest share of samples whose decision one may change.
        room: an existing directory, for their files.
        say: told what happens next.
    """
    names, max_drop = wanted
    trial = _Trial(model, activations() if "int8" in names else {}, judge, max_drop, room)
    made, left_out, notes = [reference], [], []
    for name in names:
        say(f"trying {name}")
        found, note = trial.variant(name, made[-1])
        if isinstance(found, Made):
            made.append(found)
        else:
            left_out.append(found)
        if note is not None:
            notes.append(note)
    return Tried(made, left_out, notes)


@dataclass(frozen=True, slots=True)
class _Trial:
    """What all variants of a model are made of and judged by."""

    model: onnx.ModelProto
    activations: Activations
    judge: Judge
    max_drop: float
    room: Path

    def variant(self, name: str, larger: Made) -> tuple[Made | VariantReport, str | None]:
        """A variant in the first of its forms that passes, or why it is left out; and what a user should know of it."""
        first: VariantReport | None = None
        for number, form in enumerate(NETWORK_PASSES[name]):
            found = self._form(name, form, number, larger)
            if isinstance(found, Made):
                note = None if first is None else f"{name} computes in float32: in integers {first.left_out}"
                return found, note
            first = first or found
            if found.fidelity is not None and not found.fidelity.drop > self.max_drop:
                break
        return found, None

    def _form(self, name: str, form: Pass, number: int, larger: Made) -> Made | VariantReport:
        directory = self.room / f"{name}-{number}"
        directory.mkdir()
        files = write_files(form(self.model, self.activations), directory)
        size = sum(path.stat().st_size for path in files.values())
        try:
            fidelity, accuracy = self.judge(files[MODEL])
        except (ModelFileError, SessionError) as error:
            reason = f"onnxruntime cannot run it: {error}"
            return VariantReport(name=name, bytes=size, bundle_bytes=None, fidelity=None, left_out=reason)
        reason = objection(fidelity, self.max_drop, size, (larger.name, larger.bytes)) or ""
        if not reason:
            # Passes write operators of opset 11 and before: what runs the reference runs its variants.
            oldest = larger.min_onnxruntime
            return Made(name=name, files=files, fidelity=fidelity, accuracy=accuracy, min_onnxruntime=oldest)
        return VariantReport(
            name=name, bytes=size, bundle_bytes=None, fidelity=fidelity, accuracy=accuracy, left_out=reason
        )


def sample_rows(
    model: onnx.ModelProto, feeds: Iterable[Mapping[str, Array]], count: int, room: Path
) -> dict[str, NDArray[np.float32]]:
    """Sample rows [n, channels] of what large weights are multiplied with, of a model whose constants are initializers.

    Args:
        model: in float32.
        feeds: samples, looked at until there are `ROWS` of each.
        count: of the samples.
        room: an existing directory, for scratch files.
    """
    given = {value.name for value in model.graph.input}
    names = inputs_of_products(model)
    asked = [name for name in names if name not in given]
    if not names:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = {value.name for value in probe.graph.output}
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in asked if name not in known)
    directory = room / "calibration"
    directory.mkdir()
    files = write_files(probe, directory)
    del probe
    most = max(ROWS_OF_ONE, ROWS // max(count, 1))
    rows: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    seen = dict.fromkeys(names, 0)
    with closing(open_session(files[MODEL], SessionConfig())) as session:
        for sample in feeds:
            outputs = session.run(sample)
            for name in names:
                # A product with one of the model's own inputs: that is no output.
                values = sample[name] if name in given else outputs[name]
                flat = values.reshape(-1, values.shape[-1]).astype(np.float32)
                rows[name].append(flat[np.unique(np.linspace(0, len(flat) - 1, min(most, len(flat))).astype(int))])
                seen[name] += len(rows[name][-1])
            if min(seen.values()) >= ROWS:
                break
    for path in files.values():
        path.unlink()
    return {name: np.concatenate(parts) for name, parts in rows.items()}

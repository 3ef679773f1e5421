"""TensorFlow's files: SavedModel directories and TensorFlow Lite models, read from their bytes."""

from __future__ import annotations

import mmap
import struct
from collections import Counter
from typing import TYPE_CHECKING

from ortolan.bundle.files import read_bounded
from ortolan.bundle.wire import LENGTH, VARINT, Wire, signed
from ortolan.errors import BundleError, ConversionError, OrtolanError
from ortolan_convert.sources.explaining.facts import Facts, counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ortolan.bundle.wire import Span

LARGEST_GRAPH = 1 << 30
"""Bytes of a SavedModel's graph that are read."""
MOST_SIGNATURES = 64

_PYTHON = frozenset({"PyFunc", "PyFuncStateless", "EagerPyFunc"})
"""Operators that call Python functions of the process that made the model."""
_FILES = frozenset({"ReadFile", "WriteFile", "MatchingFiles", "DeleteRecursively", "SaveSlices", "ImmutableConst"})
"""Operators that read or write any file; ``SaveV2`` and ``RestoreV2`` belong to every SavedModel."""
_DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 9: "int64", 10: "bool",
    14: "bfloat16", 19: "float16", 22: "uint32", 23: "uint64",
}  # fmt: skip
"""Of ``tensorflow/core/framework/types.proto``."""
_LITE_DTYPES = (
    "float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
)  # fmt: skip
"""Of TensorFlow Lite's schema, by number."""


def saved_model_facts(path: Path) -> Facts:
    """Of a SavedModel directory."""
    file = path / "saved_model.pb"
    if not file.is_file():
        return Facts(notes=("its graph is stored as text (saved_model.pbtxt), which is not looked into",))
    try:
        content = read_bounded(file, LARGEST_GRAPH)
    except BundleError as error:
        raise ConversionError(str(error)) from None
    reader = _SavedModel(content)
    return reader.facts(path)


class _SavedModel:
    """The messages of ``saved_model.proto`` and ``meta_graph.proto``, by their field numbers."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.wire = Wire(content)

    def facts(self, path: Path) -> Facts:
        graphs = self.wire.message((0, len(self.content)), {1: VARINT, 2: LENGTH}).spans(2)
        if not graphs:
            raise ConversionError(f"{path}: a SavedModel without a graph")
        fields = self.wire.message(graphs[0], {1: LENGTH, 2: LENGTH, 5: LENGTH, 7: LENGTH})
        about = fields.span(1)
        meta = self.wire.message(about, {4: LENGTH, 5: LENGTH}) if about else None
        tags = [self.text(span) for span in meta.spans(4)] if meta else []
        version = self.text(span) if meta and (span := meta.span(5)) else None
        operators: Counter[str] = Counter()
        if graph := fields.span(2):
            operators = self.operators(graph)
        inside = [("tags", listed(tags) or "none")]
        inside += [line for entry in fields.spans(5)[:MOST_SIGNATURES] for line in self.signature(entry)]
        common = listed(f"{count} {name}" for name, count in operators.most_common())
        inside.append(("operators", f"{counted(sum(operators.values()), 'node')}: {common}"))
        keras = (path / "keras_metadata.pb").is_file()
        python = sorted(_PYTHON & operators.keys())
        files = sorted(_FILES & operators.keys())
        notes = []
        if python:
            notes.append(f"{listed(python)}: calls Python functions of the process that made it, which are not in it")
        if files:
            notes.append(f"{listed(files)}: reaches files when the model runs, and is refused")
        return Facts(
            made_by=" ".join(filter(None, ["TensorFlow", version, "and Keras" if keras else None])),
            inside=tuple(inside),
            notes=tuple(notes),
        )

    def text(self, span: Span) -> str:
        return bytes(self.content[span[0] : span[1]]).decode("utf-8", "replace")

    def operators(self, graph: Span) -> Counter[str]:
        """How often each occurs, in the graph and its functions."""
        found = self.wire.message(graph, {1: LENGTH, 2: LENGTH})
        nodes = list(found.spans(1))
        if library := found.span(2):
            for function in self.wire.message(library, {1: LENGTH}).spans(1):
                nodes += self.wire.message(function, {3: LENGTH}).spans(3)
        names = (self.wire.message(node, {2: LENGTH}).span(2) for node in nodes)
        return Counter(self.text(span) for span in names if span)

    def signature(self, entry: Span) -> Iterator[tuple[str, str]]:
        pair = self.wire.message(entry, {1: LENGTH, 2: LENGTH})
        key, value = pair.span(1), pair.span(2)
        name = self.text(key) if key else ""
        if name.startswith("__") or value is None:
            return
        found = self.wire.message(value, {1: LENGTH, 2: LENGTH})
        inputs, outputs = ([self.tensor(span) for span in found.spans(number)] for number in (1, 2))
        yield f"signature {name!r}", f"{listed(sorted(inputs)) or 'no inputs'} -> {listed(sorted(outputs))}"

    def tensor(self, entry: Span) -> str:
        pair = self.wire.message(entry, {1: LENGTH, 2: LENGTH})
        key, value = pair.span(1), pair.span(2)
        info = self.wire.message(value, {2: VARINT, 3: LENGTH}) if value else None
        dtype = _DTYPES.get(info.number(2), "?") if info else "?"
        shape = info.span(3) if info else None
        dims = self.wire.message(shape, {2: LENGTH}).spans(2) if shape else []
        sizes = [self.wire.message(dim, {1: VARINT}).number(1) for dim in dims]
        return f"{self.text(key) if key else '?'}[{', '.join('?' if n < 0 else str(n) for n in sizes)}] {dtype}"


def tflite_facts(path: Path) -> Facts:
    """Of a TensorFlow Lite model: a flatbuffer, see https://flatbuffers.dev/internals."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            return _lite(_Table(content, _unsigned(content, 0)))
        except OrtolanError:
            raise
        except (struct.error, IndexError, ValueError) as error:
            raise ConversionError(f"{path}: a TensorFlow Lite model that is damaged or cut short: {error}") from None


MOST_ROWS = 1_000_000
"""Entries of a list in a flatbuffer."""


def _unsigned(content: mmap.mmap, at: int, form: str = "<I") -> int:
    value: int = struct.unpack_from(form, content, at)[0]
    return value


class _Table:
    """A table of a flatbuffer: fields by number, absent ones as defaults."""

    def __init__(self, content: mmap.mmap, at: int) -> None:
        self.content, self.at = content, at
        self.fields = at - _unsigned(content, at, "<i")
        self.size = _unsigned(content, self.fields, "<H")

    def where(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = _unsigned(self.content, self.fields + entry, "<H") if entry < self.size else 0
        return self.at + offset if offset else None

    def number(self, field: int, form: str, default: int = 0) -> int:
        at = self.where(field)
        return default if at is None else _unsigned(self.content, at, form)

    def vector(self, field: int) -> tuple[int, int]:
        """Position of the first entry, and how many there are."""
        at = self.where(field)
        if at is None:
            return 0, 0
        start = at + _unsigned(self.content, at)
        count = _unsigned(self.content, start)
        if count > MOST_ROWS:
            raise ConversionError(f"a list of {count} entries in a flatbuffer, expected at most {MOST_ROWS}")
        return start + 4, count

    def text(self, field: int) -> str:
        start, count = self.vector(field)
        return self.content[start : start + count].decode("utf-8", "replace")

    def numbers(self, field: int) -> list[int]:
        start, count = self.vector(field)
        return [signed(_unsigned(self.content, start + 4 * index, "<i") % 2**64) for index in range(count)]

    def tables(self, field: int) -> list[_Table]:
        start, count = self.vector(field)
        places = [start + 4 * index for index in range(count)]
        return [_Table(self.content, place + _unsigned(self.content, place)) for place in places]


def _lite(model: _Table) -> Facts:
    codes = model.tables(1)
    custom = [code.text(1) for code in codes if code.text(1)]
    graphs = model.tables(2)
    nodes = sum(graph.vector(3)[1] for graph in graphs)
    inside = [("form", f"version {model.number(0, '<I')}"), ("description", model.text(3) or "none")]
    inside.append(("operators", f"{counted(nodes, 'node')} of {counted(len(codes), 'kind')}"))
    if custom:
        inside.append(("custom operators", listed(custom)))
    for graph in graphs[:1]:
        tensors = graph.tables(0)
        for title, field in (("input", 1), ("output", 2)):
            inside += [(title, _lite_tensor(tensors[index])) for index in graph.numbers(field)]
        quantized = sum(tensor.number(1, "<b") in {3, 7, 9} for tensor in tensors)
        inside.append(("tensors", f"{len(tensors):,}, of which {quantized:,} are 8- or 16-bit integers"))
    notes = [f"custom operators cannot be converted: {listed(custom)}"] if custom else []
    return Facts(made_by="TensorFlow Lite", inside=tuple(inside), notes=tuple(notes))


def _lite_tensor(tensor: _Table) -> str:
    number = tensor.number(1, "<b")
    dtype = _LITE_DTYPES[number] if 0 <= number < len(_LITE_DTYPES) else "?"
    return f"{tensor.text(3)}[{', '.join(map(str, tensor.numbers(0)))}] {dtype}"

"""Reading ONNX files from their wire format, compared with the onnx package."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ortolan.bundle.onnxfile import MAX_FILE_BYTES, check_external_data, parse_model, read_model
from ortolan.bundle.onnxgraph import MAX_NESTING
from ortolan.bundle.wire import LENGTH, VARINT, Wire
from ortolan.errors import ModelFileError, StorageError
from ortolan.types import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SUBGRAPHS = """
<ir_version: 9, opset_import: ["": 18, "local": 1], producer_name: "maker", producer_version: "2",
 metadata_props: ["key": "value"]>
main (bool c, float[n, 3] x, int64[2] old) => (float[n, 3] y, float[n, m] z)
<float[3] w = {1.0, 2.0, 3.0}, int64[2] old = {4, 5}>
{
  k = Constant <value = float[2] {1.0, 2.0}> ()
  y = If (c) <
    then_branch = then_graph () => (float[n, 3] t) <float[3] inner = {7.0, 8.0, 9.0}> { t = Mul(x, inner) },
    else_branch = else_graph () => (float[n, 3] e) { one = Constant <value = float {1.0}> ()  e = Add(x, one) }
  >
  z = local.twice (x)
}
<domain: "local", opset_import: ["": 18]>
twice (a) => (b) { two = Constant <value = float {2.0}> ()  b = Mul(a, two) }
"""


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of a model, found with the onnx package."""

    def of_nodes(nodes: Any) -> Iterator[TensorProto]:
        for node in nodes:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else []
                yield from attribute.tensors
                for graph in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                    yield from of_graph(graph)

    def of_graph(graph: onnx.GraphProto) -> Iterator[TensorProto]:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
        yield from of_nodes(graph.node)

    yield from of_graph(model.graph)
    for function in model.functions:
        yield from of_nodes(function.node)


def test_a_model_is_read_as_the_onnx_package_reads_it() -> None:
    """Versions, inputs and outputs, operators and tensors, in subgraphs and functions too."""
    proto = onnx.parser.parse_model(SUBGRAPHS)
    model = parse_model(proto.SerializeToString())
    assert (model.ir_version, model.opsets, model.producer) == (9, {"ai.onnx": 18, "local": 1}, "maker 2")
    assert model.metadata == {"key": "value"}
    assert model.inputs == (TensorSpec("c", "bool", ()), TensorSpec("x", "float32", ("n", 3)))
    assert model.outputs == (TensorSpec("y", "float32", ("n", 3)), TensorSpec("z", "float32", ("n", "m")))
    assert model.operators == Counter(
        {"ai.onnx::Constant": 3, "ai.onnx::If": 1, "ai.onnx::Mul": 2, "ai.onnx::Add": 1, "local::twice": 1}
    )
    expected = [(t.name, tuple(t.dims), numpy_helper.to_array(t).nbytes) for t in tensors_of(proto)]
    assert sorted((t.name, t.dims, t.bytes) for t in model.tensors) == sorted(expected)
    assert [t.name for t in model.initializers] == ["w", "old", "inner"]
    assert (model.parameters, model.weight_bytes) == (8, 12 + 16 + 12)


@pytest.mark.parametrize("number", [n for n in TensorProto.DataType.values() if n != TensorProto.UNDEFINED])
def test_every_element_type_has_its_name_and_size(number: int) -> None:
    """numpy's name where numpy has the type, ONNX's in lower case otherwise; sizes as onnx computes them."""
    name = TensorProto.DataType.Name(number)
    values = np.zeros(3, object if name == "STRING" else helper.tensor_dtype_to_np_dtype(number))
    tensor = TensorProto(name="t", data_type=number, dims=[3])
    if name != "STRING":
        tensor = numpy_helper.from_array(values, "t")
        assert tensor.data_type == number
        assert tensor.raw_data
    graph = helper.make_graph([], "g", [helper.make_tensor_value_info("x", number, [3])], [], [tensor])
    model = parse_model(helper.make_model(graph).SerializeToString())
    assert model.inputs[0].dtype == {"FLOAT": "float32", "DOUBLE": "float64", "STRING": "str"}.get(name, name.lower())
    assert model.tensors[0].bytes == len(tensor.raw_data)


def test_dimensions_may_be_sizes_names_or_unknown() -> None:
    """A missing, negative or unnamed dimension is None; an unknown rank is None as a whole."""
    values = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, "n", None, -1]),
        helper.make_tensor_value_info("b", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("c", TensorProto.FLOAT, []),
    ]
    model = parse_model(helper.make_model(helper.make_graph([], "g", values, [])).SerializeToString())
    assert [spec.shape for spec in model.inputs] == [(1, "n", None, None), None, ()]
    assert str(model.inputs[0]) == "a: float32[1, n, ?, ?]"


def test_containers_are_named() -> None:
    """Sequences, maps and optional values are no tensors."""
    tensor = helper.make_tensor_type_proto(TensorProto.INT64, [2])
    types = [
        helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, tensor)),
        helper.make_optional_type_proto(tensor),
        helper.make_sparse_tensor_type_proto(TensorProto.FLOAT, [2]),
    ]
    values = [helper.make_value_info(f"v{index}", type_proto) for index, type_proto in enumerate(types)]
    model = parse_model(helper.make_model(helper.make_graph([], "g", [], values)).SerializeToString())
    assert [spec.dtype for spec in model.outputs] == [
        "sequence(map(str, int64))",
        "optional(int64)",
        "sparse_tensor(float32)",
    ]
    assert {spec.shape for spec in model.outputs} == {None}


def test_weights_are_not_read(tmp_path: Path) -> None:
    """A file whose weights are a hole of 1.5 GB is read by its few other bytes."""
    raw = 1_500_000_000
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[raw]).SerializeToString()
    tensor += b"\x4a" + _varint(raw)
    graph = b"\x2a" + _varint(len(tensor) + raw) + tensor
    head = b"\x08\x08" + b"\x42\x04\x0a\x00\x10\x11" + b"\x3a" + _varint(len(graph) + raw) + graph
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + raw)
    assert read_model(path).weight_bytes == raw


def _varint(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


DAMAGED = [
    (b"\x08", "an integer is cut off (at byte 1)"),
    (b"\x08" + b"\xff" * 11, "an integer of more than 10 bytes (at byte 1)"),
    (b"\x08" + b"\xff" * 9 + b"\x7f", "an integer of more than 64 bits (at byte 1)"),
    (b"\x08\x08\x3a\x05ab", "field 7 has 5 bytes, but only 2 are left (at byte 2)"),
    (b"\x3a" + b"\xff" * 9 + b"\x01", "field 7 has 18446744073709551615 bytes, but only 0 are left (at byte 0)"),
    (b"\x00\x00", "field number 0 (at byte 0)"),
    (b"\x3b", "field 7 has wire type 3, which ONNX does not use (at byte 0)"),
    (b"\x38\x01", "field 7 has wire type 0, expected 2 (at byte 0)"),
    (b"\x0a\x00", "field 1 has wire type 2, expected 0 (at byte 0)"),
    (b"\x39\x00\x00", "field 7 is cut off (at byte 0)"),
    (b"\x3d\x00\x00\x00\x00", "field 7 has wire type 5, expected 2 (at byte 0)"),
    (b"\x3a\x00\x3a\x00", "field 7 occurs 2 times, expected once (at byte 4)"),
    (b"\x08\x08", "it has no graph"),
    (b"\x3a\x00", "it has no IR version or no operator set"),
    (b"\x08\x08\x3a\x00", "it has no IR version or no operator set"),
]


@pytest.mark.parametrize(("content", "message"), DAMAGED, ids=[case[1] for case in DAMAGED])
def test_damage_is_named_with_its_place(tmp_path: Path, content: bytes, message: str) -> None:
    """Each kind of damage gives one line with the byte where it lies."""
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    assert str(caught.value) == f"{str(path)!r}: not a valid ONNX model: {message}"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; fetch the real file with `git lfs pull`"),
        (b"PK\x03\x04 and more", "a zip archive, such as PyTorch and Keras write; convert the model to ONNX first"),
        (b"\x80\x04\x95 and more", "a pickle"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes"),
        (b"<!DOCTYPE html>", "HTML or XML, perhaps the error page of a download"),
        (b"\x1c\x00\x00\x00TFL3 more", "a TensorFlow Lite model"),
        (b"\x1c\x00\x00\x00ORTM more", "a model in onnxruntime's own ORT format"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00{", "a safetensors file"),
    ],
)
def test_another_kind_of_file_is_recognized(tmp_path: Path, content: bytes, what: str) -> None:
    """A mistaken file is called what it is."""
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    assert str(caught.value) == f"{str(path)!r}: expected an ONNX model, found what looks like {what}"


def test_empty_huge_and_missing_files_are_refused(tmp_path: Path) -> None:
    """Before anything is read."""
    path = tmp_path / "m.onnx"
    path.touch()
    with pytest.raises(ModelFileError, match="expected an ONNX model, found an empty file"):
        read_model(path)
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(ModelFileError, match="expected at most 2147483648 bytes, found 2147483649"):
        read_model(path)
    with pytest.raises(StorageError, match="No such file or directory"):
        read_model(tmp_path / "missing.onnx")
    with pytest.raises(StorageError, match="is not a regular file"):
        read_model(tmp_path)


def test_nesting_is_bounded() -> None:
    """Graphs within graphs, and types within types."""

    def nested(levels: int) -> bytes:
        graph = helper.make_graph([], "g", [], [])
        for _ in range(levels - 1):
            node = helper.make_node("If", [], [], then_branch=graph)
            graph = helper.make_graph([node], "g", [], [])
        return helper.make_model(graph).SerializeToString()

    assert parse_model(nested(MAX_NESTING)).operators == {"ai.onnx::If": MAX_NESTING - 1}
    with pytest.raises(ModelFileError, match=f"more than {MAX_NESTING} levels of nesting"):
        parse_model(nested(MAX_NESTING + 1))
    type_proto = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    for _ in range(MAX_NESTING):
        type_proto = helper.make_sequence_type_proto(type_proto)
    values = [helper.make_value_info("v", type_proto)]
    with pytest.raises(ModelFileError, match=f"more than {MAX_NESTING} levels of nesting"):
        parse_model(helper.make_model(helper.make_graph([], "g", values, [])).SerializeToString())


def test_the_number_of_fields_is_bounded() -> None:
    """A file of nothing but tiny fields ends in an error, not in hours."""
    content = b"\x48\x01" * 1000
    with pytest.raises(ModelFileError, match=r"more than 999 fields \(at byte 1998\)"):
        Wire(content, max_fields=999).message((0, len(content)), {1: VARINT, 7: LENGTH})


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (TensorProto(name="w", data_type=99, dims=[1]), "element type 99, which is unknown"),
        (TensorProto(name="w", data_type=1, dims=[-1]), 'tensor "w" has the shape "[-1]"'),
        (TensorProto(name="w", data_type=1, dims=[2**62, 2**62]), 'tensor "w" has the shape "[46116'),
        (TensorProto(name="w", data_type=1, dims=[1] * 65), 'tensor "w" has the shape "[1, 1,'),
        (
            TensorProto(name="w", data_type=1, dims=[2], raw_data=b"1234"),
            'tensor "w" has 4 bytes, expected 8 for float32[2]',
        ),
    ],
)
def test_an_impossible_tensor_is_refused(tensor: TensorProto, message: str) -> None:
    """Unknown types, negative and overflowing shapes, content of another size."""
    model = helper.make_model(helper.make_graph([], "g", [], [], [tensor]))
    with pytest.raises(ModelFileError) as caught:
        parse_model(model.SerializeToString())
    assert message in str(caught.value)


def test_packed_and_single_dimensions_are_the_same() -> None:
    """Protobuf allows both forms."""
    for dims in (b"\x08\x02\x08\x03", b"\x0a\x02\x02\x03"):
        tensor = dims + b"\x10\x01"
        graph = b"\x2a" + _varint(len(tensor)) + tensor
        model = parse_model(b"\x08\x08\x42\x02\x10\x11\x3a" + _varint(len(graph)) + graph)
        assert model.tensors[0].dims == (2, 3)


EXTERNAL: list[tuple[dict[str, str], str]] = [
    (
        {"location": "../w.bin"},
        "expected a location below the model's directory, got \"../w.bin\": it has the segment '..'",
    ),
    ({"location": "/etc/passwd"}, 'got "/etc/passwd": it is absolute'),
    ({"location": "a\\b"}, "it has a backslash"),
    ({"location": "*/_ORT_MEM_ADDR_/*"}, 'got "*/_ORT_MEM_ADDR_/*": an address'),
    ({"location": ""}, "it is empty"),
    ({"location": "none.bin"}, "none.bin' is missing"),
    ({"location": "sub"}, "sub' is missing"),
    ({"location": "link.bin"}, "link.bin' is a symbolic link"),
    ({"location": "linked/w.bin"}, "linked' is a symbolic link"),
    ({"location": "w.bin", "offset": "-1"}, 'has the offset "-1"'),
    ({"location": "w.bin", "offset": "0x4"}, 'has the offset "0x4"'),
    ({"location": "w.bin", "offset": "9" * 30}, 'has the offset "999999999999999999999999999999"'),
    ({"location": "w.bin", "length": "-12"}, 'has the length "-12"'),
    ({"location": "w.bin", "length": "8"}, "expected 12 bytes for float32[3], got length 8"),
    ({"location": "w.bin", "offset": "5"}, "bytes 5 to 17 of 'w.bin', which has only 16"),
    ({"location": "w.bin", "offset": "999999999999999999", "length": "12"}, "which has only 16"),
    ({"offset": "0"}, 'external data of tensor "w" has no location'),
    ({}, 'external data of tensor "w" has no location'),
]


@pytest.fixture
def variant(tmp_path: Path) -> Path:
    """A directory with weights beside the place of a model, and links out of it."""
    directory = tmp_path / "variant"
    (directory / "sub").mkdir(parents=True)
    (directory / "w.bin").write_bytes(bytes(16))
    (directory / "sub/w.bin").write_bytes(bytes(16))
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (directory / "link.bin").symlink_to(tmp_path / "w.bin")
    (directory / "linked").symlink_to(tmp_path)
    return directory


@pytest.mark.parametrize(("entries", "message"), EXTERNAL, ids=[case[1][:50] for case in EXTERNAL])
def test_external_data_must_lie_whole_below_the_model(
    variant: Path, external_model: Callable[..., bytes], entries: dict[str, str], message: str
) -> None:
    """No way out, by path, by link, or by numbers."""
    (variant / "m.onnx").write_bytes(external_model(**entries))
    with pytest.raises(ModelFileError) as caught:
        check_external_data(variant / "m.onnx", within=variant)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "entries",
    [
        {"location": "w.bin"},
        {"location": "./w.bin", "offset": "4"},
        {"location": "sub/w.bin", "offset": "4", "length": "12", "checksum": "x"},
    ],
)
def test_good_external_data_is_accepted(
    variant: Path, external_model: Callable[..., bytes], entries: dict[str, str]
) -> None:
    """Beside the model or below, whole or a part."""
    (variant / "m.onnx").write_bytes(external_model(**entries))
    model = check_external_data(variant / "m.onnx", within=variant)
    assert model.external_files == (entries["location"].removeprefix("./"),)


def test_a_second_location_cannot_hide_the_first(variant: Path, external_model: Callable[..., bytes]) -> None:
    """Readers differ in which of two they take."""
    proto = onnx.load_from_string(external_model(location="w.bin"))
    proto.graph.initializer[0].external_data.add(key="location", value="../w.bin")
    (variant / "m.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelFileError, match='external data of tensor "w" has "location" twice'):
        check_external_data(variant / "m.onnx", within=variant)


def _outside() -> TensorProto:
    tensor = TensorProto(name="hidden", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../w.bin")
    return tensor


def _hidden(place: str) -> onnx.ModelProto:
    """A model with a tensor outside its directory, in the given place."""
    tensor = _outside()
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    graph = helper.make_graph([constant], "g", [], [])
    indices = TensorProto(name="i", data_type=7, dims=[1], int64_data=[0])
    sparse = onnx.SparseTensorProto(values=tensor, indices=indices, dims=[1])
    model = helper.make_model(helper.make_graph([], "main", [], []))
    if place == "constant":
        model.graph.node.append(constant)
    elif place == "branch":
        model.graph.node.append(helper.make_node("If", ["x"], ["y"], then_branch=graph))
    elif place == "initializer of a branch":
        inner = helper.make_graph([], "g", [], [], [tensor])
        model.graph.node.append(helper.make_node("Loop", ["x"], ["y"], body=inner))
    elif place == "list of graphs":
        model.graph.node.append(helper.make_node("Custom", ["x"], ["y"], graphs=[graph]))
    elif place == "list of tensors":
        model.graph.node.append(helper.make_node("Custom", ["x"], ["y"], tensors=[tensor]))
    elif place == "sparse initializer":
        model.graph.sparse_initializer.append(sparse)
    elif place == "sparse constant":
        model.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))
    elif place == "function":
        model.functions.append(helper.make_function("d", "f", [], ["c"], [constant], [helper.make_opsetid("", 18)]))
    elif place == "function default":
        attribute = helper.make_attribute("t", tensor)
        function = helper.make_function("d", "f", [], [], [], [helper.make_opsetid("", 18)], [], [attribute])
        model.functions.append(function)
    else:
        model.training_info.add().algorithm.CopyFrom(graph)
    return model


@pytest.mark.parametrize(
    "place",
    [
        "constant",
        "branch",
        "initializer of a branch",
        "list of graphs",
        "list of tensors",
        "sparse initializer",
        "sparse constant",
        "function",
        "function default",
        "training",
    ],
)
def test_external_data_is_found_wherever_it_hides(variant: Path, place: str) -> None:
    """Every place of the format that holds a tensor."""
    (variant / "m.onnx").write_bytes(_hidden(place).SerializeToString())
    with pytest.raises(ModelFileError, match=r'external data of tensor "hidden": expected a location below'):
        check_external_data(variant / "m.onnx", within=variant)


def _models() -> list[bytes]:
    external = helper.make_model(helper.make_graph([], "g", [], [], [_outside()]))
    return [onnx.parser.parse_model(SUBGRAPHS).SerializeToString(), external.SerializeToString()]


def test_every_truncation_is_refused_or_read() -> None:
    """Nothing but ModelFileError comes of a model cut off at any byte."""
    content = _models()[0]

    def is_refused(size: int) -> bool:
        try:
            parse_model(content[:size])
        except ModelFileError:
            return True
        return False

    refused = sum(map(is_refused, range(len(content))))
    # Cut between two fields after the graph it is still a model.
    assert refused > 0.9 * len(content)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), flips=st.integers(1, 8), which=st.integers(0, 1))
def test_flipped_bits_are_refused_or_read(seed: int, flips: int, which: int) -> None:
    """Nothing but ModelFileError comes of a damaged model."""
    chance = random.Random(seed)
    content = bytearray(_models()[which])
    for _ in range(flips):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    try:
        model = parse_model(bytes(content))
    except ModelFileError as error:
        assert "\n" not in str(error)
    else:
        assert model.weight_bytes >= 0


@settings(max_examples=400, deadline=None)
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(content: bytes) -> None:
    """A graph, an IR version and an operator set do not come about by chance."""
    try:
        parse_model(content)
    except ModelFileError:
        return
    onnx.load_from_string(content)

"""Sessions: right answers, refused inputs, threads, closing; with and without onnxruntime's private session."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper

from ortolan.engine import session as engine_session
from ortolan.errors import (
    ClosedError,
    InputError,
    InputTypeError,
    ModelFileError,
    SessionError,
    UnknownNameError,
    UsageError,
)
from ortolan.types import SessionConfig, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ortolan.engine import OrtSession

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(params=["inner", "public"])
def session(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    doubling: Path,
    opened: Callable[..., OrtSession],
) -> OrtSession:
    """A session on the fast path, and one on the path that is left where the private attribute is gone."""
    if request.param == "public":
        monkeypatch.setattr(engine_session, "inner_session", lambda _: None)
    return opened(doubling)


def test_the_outputs_come_by_name(session: OrtSession) -> None:
    """A run gives a dict of new arrays."""
    outputs = session.run({"x": X})
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], X + X)


def test_the_specs_are_those_of_the_graph(session: OrtSession) -> None:
    """Inputs and outputs have numpy's dtype names, and names for free dimensions."""
    assert session.inputs == (TensorSpec("x", "float32", ("n", 4)),)
    assert session.outputs == (TensorSpec("y", "float32", ("n", 4)),)


@pytest.mark.parametrize(
    "value",
    [
        np.arange(16, dtype=np.float32).reshape(2, 8)[:, ::2],
        np.asfortranarray(X),
        X[::-1],
        np.broadcast_to(np.float32(3), (2, 4)),
        np.zeros((0, 4), np.float32),
        np.frombuffer(b"\1" * 33, np.uint8)[1:].view(np.float32).reshape(2, 4),
        X.view(np.memmap),
        X.view(np.recarray),
        np.frombuffer(X.tobytes(), np.float32).reshape(2, 4),
        X.astype(np.dtype("float32", copy=True)),
    ],
    ids=[
        "strided",
        "fortran",
        "reversed",
        "broadcast",
        "empty",
        "unaligned",
        "memmap",
        "recarray",
        "read-only",
        "another dtype object",
    ],
)
def test_any_memory_layout_gives_the_right_answer(session: OrtSession, value: np.ndarray) -> None:
    """Strides, alignment and subclasses do not change the answer."""
    np.testing.assert_array_equal(session.run({"x": value})["y"], value + value)


@pytest.mark.parametrize(
    ("feeds", "error", "message"),
    [
        ([X], InputTypeError, "expected a mapping of input names to numpy arrays, got list"),
        (None, InputTypeError, "expected a mapping of input names to numpy arrays, got None"),
        ({}, InputError, "input 'x' is missing; the model takes x: float32[n, 4]"),
        ({"z": X}, InputError, "input 'x' is missing; the model takes x: float32[n, 4]"),
        ({"x": X, "z": X}, InputError, "there is no input 'z'; the model takes x: float32[n, 4]"),
        (
            {"x": [[1.0, 2.0, 3.0, 4.0]]},
            InputTypeError,
            "input 'x': expected a numpy array of float32, got list; np.asarray(value, np.float32) makes one",
        ),
        (
            {"x": np.ma.masked_array(X)},
            InputTypeError,
            "input 'x': expected a numpy array of float32, got MaskedArray; np.asarray(value, np.float32) makes one",
        ),
        (
            {"x": None},
            InputTypeError,
            "input 'x': expected a numpy array of float32, got None; np.asarray(value, np.float32) makes one",
        ),
        (
            {"x": np.float16(3)},
            InputTypeError,
            f"input 'x': expected a numpy array of float32, got the scalar {np.float16(3)!r}; "
            "np.asarray(value, np.float32) makes one",
        ),
        ({"x": np.array(3, np.float32)}, InputError, "input 'x': expected the shape of x: float32[n, 4], got []"),
        (
            {"x": X.astype(object)},
            InputTypeError,
            "input 'x': expected float32, got object; convert it with .astype(np.float32)",
        ),
        (
            {"x": np.zeros(2, [("a", "f4")])},
            InputTypeError,
            "input 'x': expected float32, got [('a', '<f4')]; convert it with .astype(np.float32)",
        ),
        ({b"x": X}, InputError, "input 'x' is missing; the model takes x: float32[n, 4]"),
        (
            {"x": X.astype(np.float64)},
            InputTypeError,
            "input 'x': expected float32, got float64; convert it with .astype(np.float32)",
        ),
        (
            {"x": np.array([["a"] * 4])},
            InputTypeError,
            "input 'x': expected float32, got <U1; convert it with .astype(np.float32)",
        ),
        (
            {"x": X.astype(">f4")},
            InputTypeError,
            "input 'x': expected float32 in this machine's byte order, got dtype '>f4'; "
            "convert it with .astype(np.float32)",
        ),
        ({"x": X[0]}, InputError, "input 'x': expected the shape of x: float32[n, 4], got [4]"),
        ({"x": X.reshape(4, 2)}, InputError, "input 'x': expected the shape of x: float32[n, 4], got [4, 2]"),
    ],
)
def test_a_wrong_input_is_refused_with_what_to_do(
    session: OrtSession, feeds: object, error: type[Exception], message: str
) -> None:
    """Names, types, byte order, rank and sizes are checked; the session is usable afterwards."""
    with pytest.raises(error) as caught:
        session.run(feeds)  # type: ignore[arg-type]  # what the checks are for
    assert str(caught.value) == message
    np.testing.assert_array_equal(session.run({"x": X})["y"], X + X)


def test_any_mapping_may_hold_the_feeds(session: OrtSession) -> None:
    """Feeds need not be a dict."""
    np.testing.assert_array_equal(session.run(MappingProxyType({"x": X}))["y"], X + X)


def test_many_threads_share_a_session(session: OrtSession) -> None:
    """Each thread gets the answer to its own input."""

    def answers(number: int) -> bool:
        x = np.full((3, 4), number, np.float32)
        return all((session.run({"x": x})["y"] == 2 * number).all() for _ in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(answers, range(8)))


def test_a_closed_session_says_so(session: OrtSession) -> None:
    """Every use after close is a ClosedError, whatever is fed; closing again is fine."""
    bound = session.bind({"x": X})
    session.close()
    session.close()
    for use in (lambda: session.run({"x": X}), lambda: session.run({}), lambda: session.bind({"x": X}), bound):
        with pytest.raises(ClosedError, match="the model is closed; load it again to use it"):
            use()


def test_strings_are_passed_whole(write_model: Callable[..., Path], opened: Callable[..., OrtSession]) -> None:
    """NUL, other scripts, byte order and strides of string arrays survive the way through onnxruntime."""
    path = write_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["n"])],
    )
    session = opened(path)
    assert session.inputs[0] == TensorSpec("x", "str", ("n",))
    texts = ["a\0b", "好用", "", "🙂"]
    for value in (np.array(texts), np.array(texts, object), np.array(texts).astype(">U3"), np.array(texts)[::-1]):
        assert session.run({"x": value})["y"].tolist() == value.tolist()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.array(["a", None], object), InputTypeError, "input 'x': expected str in every place, got None"),
        (np.array([b"a"]), InputTypeError, "input 'x': expected an array of str, got |S1"),
        (
            np.array(["a\ud800"], object),
            InputError,
            "input 'x': a string holds a lone surrogate at 1; it has no UTF-8 form",
        ),
        (["a"], InputTypeError, "input 'x': expected a numpy array of str, got list"),
    ],
)
def test_what_is_no_text_is_refused(
    write_model: Callable[..., Path],
    opened: Callable[..., OrtSession],
    value: object,
    error: type[Exception],
    message: str,
) -> None:
    """onnxruntime would make "None" of None and garbage of bytes."""
    path = write_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, ["n"])],
        [("y", TensorProto.STRING, ["n"])],
    )
    with pytest.raises(error) as caught:
        opened(path).run({"x": value})
    assert str(caught.value) == message


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint64", "bool"])
def test_every_numeric_type_passes(
    write_model: Callable[..., Path], opened: Callable[..., OrtSession], dtype: str
) -> None:
    """run and bind take every element type that numpy and onnx share."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    path = write_model([helper.make_node("Identity", ["x"], ["y"])], [("x", kind, ["n"])], [("y", kind, ["n"])])
    session, x = opened(path), np.array([0, 1, 1], dtype)
    assert session.inputs[0].dtype == dtype
    bound = session.bind({"x": x})
    bound()
    for y in (session.run({"x": x})["y"], bound.outputs["y"]):
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("content", [b"", b"\xff\0junk" * 100, b"\x08\x07\x12"], ids=["empty", "junk", "cut off"])
def test_a_damaged_file_is_one_clear_line(
    tmp_path: Path, opened: Callable[..., OrtSession], content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that is no model is a ModelFileError, and onnxruntime prints nothing beside it."""
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(
        ModelFileError, match=r"onnxruntime could not load .*bad\.onnx: .*; the file is damaged"
    ) as caught:
        opened(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("operator", "domain", "opset", "message"),
    [
        ("Identity", "", 99, "Opset 99 is under development .*; the model may need a newer onnxruntime"),
        ("Frobnicate", "", 17, "No Op registered for Frobnicate .*; the model may need a newer onnxruntime"),
        ("Frobnicate", "acme", 1, "acme:Frobnicate.* is not a registered function/op .*; the model may need a newer"),
        (
            "Sqrt",
            "",
            17,
            r"Type 'tensor\(int64\)' .* of operator \(Sqrt\) .*; onnxruntime has no such operator",
        ),
    ],
    ids=["opset", "operator", "domain", "type"],
)
def test_what_onnxruntime_does_not_support(
    tmp_path: Path, opened: Callable[..., OrtSession], operator: str, domain: str, opset: int, message: str
) -> None:
    """An opset, an operator, a domain or a type that it lacks: what it is, and what would help."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], domain=domain)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
    )
    opsets = [helper.make_opsetid("", 17)] * bool(domain) + [helper.make_opsetid(domain, opset)]
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    with pytest.raises(ModelFileError, match=message):
        opened(path)


def test_an_output_beyond_all_memory_is_an_error(
    write_model: Callable[..., Path], opened: Callable[..., OrtSession]
) -> None:
    """Values that ask for 140 TB or for a negative size are refused; the session goes on."""
    path = write_model(
        [helper.make_node("ConstantOfShape", ["s"], ["y"])],
        [("s", TensorProto.INT64, [1])],
        [("y", TensorProto.FLOAT, ["n"])],
    )
    session = opened(path)
    with pytest.raises(SessionError, match=r"memory is short: try low_memory=True"):
        session.run({"s": np.array([2**45])})
    with pytest.raises(SessionError, match=r"must be >= 0"):
        session.run({"s": np.array([-5])})
    assert session.run({"s": np.array([3])})["y"].tolist() == [0, 0, 0]


def test_a_missing_file_is_named(tmp_path: Path, opened: Callable[..., OrtSession]) -> None:
    """The message has the path."""
    with pytest.raises(ModelFileError, match=r"absent\.onnx.*a file of the model is missing"):
        opened(tmp_path / "absent.onnx")


def test_a_failure_inside_the_graph_prints_nothing(
    write_model: Callable[..., Path], opened: Callable[..., OrtSession], capfd: pytest.CaptureFixture[str]
) -> None:
    """onnxruntime's own error log would repeat the exception on stderr."""
    path = write_model(
        [helper.make_node("Gather", ["w", "i"], ["y"])],
        [("i", TensorProto.INT64, ["n"])],
        [("y", TensorProto.FLOAT, ["n"])],
        {"w": np.zeros(3, np.float32)},
    )
    with pytest.raises(SessionError, match=r"^onnxruntime could not run the model: .*Gather.*out of data bounds"):
        opened(path).run({"i": np.array([7])})
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "2", 10**6])
def test_a_number_of_threads_that_is_none_is_refused(
    doubling: Path, opened: Callable[..., OrtSession], threads: object
) -> None:
    """Threads are a whole number from 1."""
    with pytest.raises(UsageError, match="expected a number of threads from 1 to 1024"):
        opened(doubling, threads=threads)


def test_an_unknown_provider_suggests_the_near_ones(doubling: Path, opened: Callable[..., OrtSession]) -> None:
    """A slip of the keyboard is answered with what was meant."""
    with pytest.raises(UnknownNameError, match="unknown provider 'cdua'; did you mean 'cuda'"):
        opened(doubling, provider="cdua")


@pytest.mark.parametrize("settings", [{"arena": False}, {"prepack": False}, {"spinning": True}, {"threads": None}])
def test_settings_do_not_change_answers(
    doubling: Path, opened: Callable[..., OrtSession], settings: dict[str, object]
) -> None:
    """Every setting of SessionConfig is taken, and the session remembers it."""
    session = opened(doubling, **settings)
    np.testing.assert_array_equal(session.run({"x": X})["y"], X + X)
    assert session.config == SessionConfig(**{"threads": 1, **settings})

"""Every exception of onnxruntime becomes one of ours."""

from __future__ import annotations

import sys

import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as native

from ortolan.engine.failures import FAILURES, plain, translated
from ortolan.errors import Cancelled, ModelFileError, OrtolanError, ProviderUnavailableError, SessionError

CLASSES = sorted(
    {
        value
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] == "onnxruntime"
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    },
    key=lambda kind: kind.__name__,
)
"""Those of the C++ library, and any that the Python layer around it has."""


def test_onnxruntime_has_the_exceptions_that_are_looked_for() -> None:
    """The walk below finds them; otherwise it would pass for lack of classes."""
    assert {"Fail", "InvalidArgument", "RuntimeException"} <= {one.__name__ for one in CLASSES}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_exception_class_is_mapped(kind: type[Exception]) -> None:
    """A class that a new version brings fails here until it has a row."""
    assert kind.__name__ in FAILURES
    for doing in ("load", "run", "bound"):
        error = translated(kind("text"), doing, "m.onnx")
        assert type(error) in {SessionError, ModelFileError, ProviderUnavailableError, Cancelled}
        assert f"text ({kind.__name__}); " in str(error)


@pytest.mark.parametrize(
    ("error", "doing", "expected"),
    [
        (native.EPFail("no device"), "run", ProviderUnavailableError),
        (native.InvalidGraph("bad"), "load", ModelFileError),
        (native.NotImplemented("Could not find an implementation"), "load", SessionError),
        (native.Fail("Load model from x failed: IR version 99 is not supported"), "load", ModelFileError),
        (native.RuntimeException("Failed to allocate memory for requested buffer of size 9"), "run", SessionError),
        (MemoryError("std::bad_alloc"), "load", SessionError),
        (RuntimeError("anything"), "run", SessionError),
        (ValueError("anything"), "run", SessionError),
        (KeyError("anything"), "run", SessionError),
        (UnicodeEncodeError("utf-8", "x", 0, 1, "no"), "load", SessionError),
        (Cancelled("ours"), "run", Cancelled),
    ],
)
def test_the_class_follows_the_cause(error: Exception, doing: str, expected: type[OrtolanError]) -> None:
    """Class and message decide together; ours pass unchanged."""
    assert type(translated(error, doing, "m.onnx")) is expected


def test_memory_that_ran_out_says_what_helps() -> None:
    """The advice is about memory, whatever the class."""
    text = "Failed to allocate memory for requested buffer of size 9"
    assert str(translated(native.RuntimeException(text), "run", "the model")) == (
        f"onnxruntime could not run the model: {text} (RuntimeException); "
        "memory is short: try low_memory=True, a smaller variant or a smaller batch"
    )


def test_a_message_is_one_line_without_source_positions() -> None:
    """onnxruntime's C++ positions and line breaks are of no use to the reader."""
    message = (
        "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Add node. Name:'' Status Message: "
        "/onnxruntime_src/include/onnxruntime/core/framework/op_kernel_context.h:45 const T* onnxruntime::Op::In(int)"
        " const [with T = onnxruntime::Tensor] Missing Input: x\n"
    )
    assert plain(message) == (
        "Non-zero status code returned while running Add node. Name:'' Status Message: Missing Input: x"
    )


def test_a_long_message_is_cut() -> None:
    """Some messages list every kernel."""
    assert len(plain("word " * 1000)) == 400

"""What onnxruntime raises, turned into Ortolan's errors: one line, and what to do next."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ortolan.errors import (
    Cancelled,
    ModelFileError,
    OrtolanError,
    ProviderUnavailableError,
    SessionError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_RETRY = "check the inputs, and that the model loads with the newest onnxruntime"
_DAMAGED = "the file is damaged or not an ONNX model; convert or copy it again"
_NEWER = "the model may need a newer onnxruntime or another provider"
_PROVIDER = "check its driver and libraries, or run on another provider"

FAILURES: Mapping[str, tuple[type[OrtolanError], str]] = {
    "DeviceReset": (SessionError, "the device was reset; load the model again"),
    "EPFail": (ProviderUnavailableError, _PROVIDER),
    "EngineError": (ProviderUnavailableError, _PROVIDER),
    "Fail": (SessionError, _RETRY),
    "InvalidArgument": (SessionError, _RETRY),
    "InvalidGraph": (ModelFileError, _NEWER),
    "InvalidProtobuf": (ModelFileError, _DAMAGED),
    "ModelLoadCanceled": (Cancelled, "loading was cancelled; load the model again"),
    "ModelLoaded": (SessionError, "the session is in use; open another one"),
    "ModelRequiresCompilation": (SessionError, "compile the model for this provider, or run on another one"),
    "NoModel": (SessionError, "the session holds no model; load the model again"),
    "NoSuchFile": (ModelFileError, "a file of the model is missing; copy the bundle again"),
    "NotFound": (SessionError, _NEWER),
    "NotImplemented": (SessionError, _NEWER),
    "RuntimeException": (SessionError, _RETRY),
    "MemoryError": (SessionError, "memory is short: try low_memory=True, a smaller variant or a smaller batch"),
    "RuntimeError": (SessionError, _RETRY),
    "ValueError": (SessionError, _RETRY),
    "TypeError": (SessionError, _RETRY),
    "OSError": (ModelFileError, "a file of the model cannot be read"),
}
"""Class name of onnxruntime's exceptions, and the built-in ones it raises -> our class and the advice.

All of onnxruntime's classes derive directly from Exception and only newer versions have all of them, hence names.
"""

# Messages that say more than their class: onnxruntime reports these with whatever class is at hand.
_BY_MESSAGE: tuple[tuple[re.Pattern[str], str | None, type[OrtolanError], str], ...] = (
    (
        re.compile(r"failed to allocate memory|bad_alloc|out of memory|bad allocation", re.IGNORECASE),
        None,
        *FAILURES["MemoryError"],
    ),
    (re.compile(r"IR version|opset|is under development", re.IGNORECASE), "load", ModelFileError, _NEWER),
    (re.compile(r"not a registered function/op|No Op registered|NOT_IMPLEMENTED"), "load", ModelFileError, _NEWER),
    (
        re.compile(r"Type Error: Type|MLDataType for: .* not currently registered"),
        "load",
        ModelFileError,
        "onnxruntime has no such operator for this type; export the model with another, e.g. float32",
    ),
    (re.compile(r"File doesn't exist"), "load", *FAILURES["NoSuchFile"]),
    (re.compile(r"^Load model .* failed|No graph was found", re.DOTALL), "load", ModelFileError, _DAMAGED),
    (
        re.compile(r"shape verification failed|pre-allocated output OrtValues", re.IGNORECASE),
        "bound",
        SessionError,
        "an output's shape depends on the values: use run, not bind",
    ),
)

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_REPEATED = re.compile(r"^Load model from .*? failed: ?(?:Load model .*? failed\. ?)?")
_CHECK = re.compile(r"^\S*onnxruntime\S* .* was false\. (?=\S)")
_SOURCE = re.compile(r"/\S*onnxruntime\S*\.(?:cc|h|cu):\d+ (?:[^\[\]]*?\[with [^\]]*\] |.*?\)(?: const)? )?")


def translated(error: Exception, doing: str, subject: str) -> OrtolanError:
    """The error of ours that stands for ``error``; one of ours is returned as it is.

    Args:
        error: raised by onnxruntime or its Python layer.
        doing: ``"load"``, ``"run"`` or ``"bound"``.
        subject: what it happened to, e.g. the path of the model.
    """
    if isinstance(error, OrtolanError):
        return error
    names = [kind.__name__ for kind in type(error).__mro__]
    kind, advice = next((FAILURES[name] for name in names if name in FAILURES), (SessionError, _RETRY))
    message = " ".join(str(error).split())
    for pattern, when, specific, hint in _BY_MESSAGE:
        if when in (None, doing) and pattern.search(_PREFIX.sub("", message)):
            kind, advice = specific, hint
            break
    if doing != "load" and kind is ModelFileError:
        kind = SessionError  # the file was fine; a provider that compiles at the first run found this
    verb = "load" if doing == "load" else "run"
    return kind(f"onnxruntime could not {verb} {subject}: {plain(message)} ({names[0]}); {advice}")


def plain(message: str, limit: int = 400) -> str:
    """One line of at most ``limit`` characters, without onnxruntime's numbers, C++ positions and repeated paths."""
    text = _CHECK.sub("", _REPEATED.sub("", _PREFIX.sub("", " ".join(message.split()))))
    text = _SOURCE.sub("", text).strip().rstrip(".")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"

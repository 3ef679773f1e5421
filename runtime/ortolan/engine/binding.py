"""Preallocated inputs and outputs: no allocation and no copy per call."""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from ortolan.engine.control import begun
from ortolan.engine.failures import translated
from ortolan.engine.installation import onnxruntime
from ortolan.errors import ClosedError, InputTypeError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ortolan import types
    from ortolan.types import Array

CLOSED = "the model is closed; load it again to use it"


def closed(*_: object) -> Any:
    """What is called instead of a model that was closed."""
    raise ClosedError(CLOSED)


class Bound:
    """A model's inputs and outputs at fixed places in memory; made by ``bind``. For one thread at a time.

    Write into ``inputs`` in place, call it, read ``outputs`` in place: ``bound.inputs["x"][...] = x; bound()``. The
    arrays stay the same ones for the life of the object, so an output that has to outlast the next call must be copied.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        inner: the C++ session below, or None to use the public methods alone.
        feeds: valid values of all inputs; they are copied.
        results: the outputs for these, which give the shapes.
        own_memory: whether the provider has memory of its own, into which inputs are copied when they are bound.

    Raises:
        InputTypeError: an input or output of strings, or one that is no plain tensor.
    """

    __slots__ = ("__weakref__", "_binding", "_call", "_device", "_lock", "_options", "_rebind", "inputs", "outputs")

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def __init__(
        self, session: Any, inner: Any, feeds: Mapping[str, Array], results: Mapping[str, Array], *, own_memory: bool
    ) -> None:
        self._lock = threading.Lock()
        self._options = onnxruntime().RunOptions()
        self.inputs = MappingProxyType({name: _own_copy("input", name, feeds[name]) for name in feeds})
        self.outputs = MappingProxyType({name: _own_copy("output", name, results[name]) for name in results})
        self._device: tuple[object, ...]
        device = None if inner is None else _cpu_device()
        if device is None:
            self._call, self._binding, self._device = session.run_with_iobinding, session.io_binding(), ("cpu", 0)
        else:
            self._call, self._binding = inner.run_with_iobinding, onnxruntime().SessionIOBinding(inner)
            self._device = (device,)
        self._bind_inputs()
        for name, array in self.outputs.items():
            self._binding.bind_output(name, *self._device, array.dtype.type, array.shape, array.ctypes.data)
        # Such a provider would not see what is written into the inputs later.
        self._rebind = own_memory

    def __call__(self, control: types.RunControl | None = None) -> None:
        """Run once on the present content of ``inputs``; ``outputs`` are overwritten.

        Args:
            control: deadline and cancellation of this call; when it was stopped, ``outputs`` mean nothing.

        Raises:
            SessionError: onnxruntime failed, e.g. because an output's shape depends on the values.
            DeadlineExceeded, Cancelled: by ``control``.
            UsageError: another thread is in this call.
            ClosedError: the model was closed.
        """
        if not self._lock.acquire(False):
            raise UsageError("two threads use one Bound at the same time; give each thread its own: model.bind(feeds)")
        try:
            if self._rebind:
                self._bind_inputs()
            if control is None:
                self._call(self._binding, self._options)
                return
            with begun(control).guard() as options:
                self._call(self._binding, options)
        except Exception as error:
            if self._call is closed:
                raise ClosedError(CLOSED) from error
            raise translated(error, "bound", "the bound model") from error
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of the model, once a call that is running has returned; further ones raise ClosedError."""
        self._rebind = False
        self._call = closed
        self._binding = None

    def _bind_inputs(self) -> None:
        for name, array in self.inputs.items():
            self._binding.bind_input(name, *self._device, array.dtype.type, array.shape, array.ctypes.data)


def _own_copy(role: str, name: str, value: object) -> Array:
    """A contiguous copy whose memory onnxruntime may be given.

    Raises:
        InputTypeError: strings, or anything that is not an array of numbers.
    """
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        kind = "strings" if isinstance(value, np.ndarray) else type(value).__name__
        raise InputTypeError(f"{role} {name!r}: {kind} cannot be bound; call run instead")
    return np.array(value, order="C")


def _cpu_device() -> Any:
    """The C++ object that the C++ session's binding takes; None where a version of onnxruntime has it elsewhere."""
    try:
        from onnxruntime.capi.onnxruntime_pybind11_state import OrtDevice
    except ImportError:
        return None
    return OrtDevice(OrtDevice.cpu(), OrtDevice.default_memory(), 0)

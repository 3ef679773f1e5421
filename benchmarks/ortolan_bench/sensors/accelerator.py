"""Memory a process has on an accelerator: NVIDIA's management library, or a Jetson's NvMap.

A Jetson's processor and GPU share one memory, and what CUDA takes of it is in no figure of the process in /proc: only
NvMap knows, and only root may ask it. NVML is loaded with ctypes from the driver; there is nothing to install.
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ortolan.hardware.sysfiles import read

if TYPE_CHECKING:
    from collections.abc import Callable

_CLIENTS = "/sys/kernel/debug/nvmap/iovmm/clients"
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SUCCESS, _TOO_SMALL = 0, 7  # NVML_SUCCESS, NVML_ERROR_INSUFFICIENT_SIZE
_NOT_AVAILABLE = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE, e.g. under Windows' driver model
_MOST_PROCESSES = 4096


@dataclass(frozen=True, slots=True)
class AcceleratorMemory:
    """Memory on accelerators, in bytes.

    Args:
        source: ``"NVML"`` or ``"NvMap"``.
        process: what the process has on all of them; None if it is not among those listed. In a container this is
            so although it uses one: NVML names processes by their number outside.
        used: what all processes have together.
    """

    source: str
    process: int | None
    used: int


def accelerator_memory(
    process: int, root: Path = Path("/"), load: Callable[[], Any] | None = None
) -> AcceleratorMemory | None:
    """What a process has on accelerators now.

    Args:
        process: its number.
        root: where ``/sys`` is found.
        load: gives NVML as ctypes does; None loads it from the driver if ``root`` is the real one.

    Returns:
        None without an accelerator that can be asked.
    """
    base = str(root).rstrip("/")
    nvmap = read(base, _CLIENTS)
    if nvmap:
        return nvmap_memory(nvmap, process)
    if load is None and base:
        return None
    try:
        library = (load or _load_nvml)()
    except OSError:  # no such driver
        return None
    return nvml_memory(library, process)


def nvmap_memory(clients: str, process: int) -> AcceleratorMemory | None:
    """Read NvMap's table of clients: rows ``user python3 4711 123456K``, and ``total 123456K``; None if it is none.

    Orin and older; on Thor the table is missing or all zeros, and NVML knows instead
    (https://github.com/rbonghi/jetson_stats/pull/849).
    """
    # The name of a process may hold spaces; its number and the size stand last.
    rows = re.findall(r"^\s*(?!total\b)\S.*\s(\d{1,10})\s+(\d{1,15})([KMG]?)B?\s*$", clients, re.MULTILINE)
    total = re.search(r"^\s*total\s+(\d{1,15})([KMG]?)B?\s*$", clients, re.MULTILINE)
    if total is None or int(total[1]) == 0:
        return None
    own = [int(size) * _UNITS[unit] for pid, size, unit in rows if int(pid) == process]
    return AcceleratorMemory("NvMap", sum(own) if own else None, int(total[1]) * _UNITS[total[2]])


class _ProcessInfo(ctypes.Structure):
    """``nvmlProcessInfo_t`` of nvml.h, versions 2 and 3."""

    _fields_ = (
        ("pid", ctypes.c_uint),
        ("used_bytes", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


class _Memory(ctypes.Structure):
    """``nvmlMemory_t`` of nvml.h, bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def nvml_memory(library: Any, process: int) -> AcceleratorMemory | None:
    """Ask NVML about all GPUs; None if it does not work here or has no GPU whose memory it knows."""
    try:
        if library.nvmlInit_v2() != _SUCCESS:
            return None
    except AttributeError:  # a library without the function
        return None
    try:
        count = ctypes.c_uint()
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
            return None
        devices = [device for index in range(count.value) if (device := _device(library, index)) is not None]
        used = [bytes_ for device in devices if (bytes_ := _used(library, device)) is not None]
        own = [bytes_ for device in devices for bytes_ in _own(library, device, process)]
        return AcceleratorMemory("NVML", sum(own) if own else None, sum(used)) if used else None
    except AttributeError:
        return None
    finally:
        library.nvmlShutdown()


def _load_nvml() -> Any:
    return ctypes.CDLL("libnvidia-ml.so.1")


def _device(library: Any, index: int) -> ctypes.c_void_p | None:
    device = ctypes.c_void_p()
    done = library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(device))
    return device if done == _SUCCESS else None


def _used(library: Any, device: ctypes.c_void_p) -> int | None:
    memory = _Memory()
    done = library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
    return int(memory.used) if done == _SUCCESS and 0 < memory.used <= memory.total else None


def _own(library: Any, device: ctypes.c_void_p, process: int) -> list[int]:
    """What the process has on one GPU: no figure or one."""
    ask = getattr(library, "nvmlDeviceGetComputeRunningProcesses_v3", None)  # since driver 510
    room = 64
    while ask is not None and room <= _MOST_PROCESSES:
        infos = (_ProcessInfo * room)()
        count = ctypes.c_uint(room)
        done = ask(device, ctypes.byref(count), infos)
        if done == _SUCCESS:
            own = {int(info.used_bytes) for info in infos[: count.value] if info.pid == process}
            return [max(own)] if own and max(own) != _NOT_AVAILABLE else []
        if done != _TOO_SMALL:
            return []
        room *= 4  # processes may have come meanwhile
    return []

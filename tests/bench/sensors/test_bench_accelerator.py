"""Memory on accelerators: NvMap's table, and NVML behind ctypes."""

# ruff: noqa: N802, N815 - the names are NVML's

import ctypes
import shutil
import subprocess

import pytest

from ortolan_bench.sensors.accelerator import AcceleratorMemory, accelerator_memory, nvmap_memory

MIB = 2**20
NOT_AVAILABLE = 2**64 - 1


class FakeNvml:
    """The functions of NVML that are called, as ctypes would offer them: status numbers, results by reference.

    Args:
        gpus: per GPU its used bytes and its processes, as (number, bytes); None for a GPU that answers nothing.
        fail: functions that fail, with their status.
    """

    def __init__(self, *gpus, fail=None):
        self.gpus = gpus
        self.fail = fail or {}
        self.open = 0

    def nvmlInit_v2(self):
        self.open += 1
        return self.fail.get("init", 0)

    def nvmlShutdown(self):
        self.open -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self.gpus)
        return self.fail.get("count", 0)

    def nvmlDeviceGetHandleByIndex_v2(self, index, device):
        device._obj.value = index.value + 1
        return self.fail.get("handle", 0)

    def nvmlDeviceGetMemoryInfo(self, device, memory):
        gpu = self.gpus[device.value - 1]
        if gpu is None:
            return 3  # NVML_ERROR_NOT_SUPPORTED
        memory._obj.total, memory._obj.used = 80 * 1024 * MIB, gpu[0]
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, device, count, infos):
        gpu = self.gpus[device.value - 1]
        if gpu is None:
            return 3
        room = count._obj.value
        count._obj.value = len(gpu[1])
        if len(gpu[1]) > room:
            return 7  # NVML_ERROR_INSUFFICIENT_SIZE
        for info, (process, used) in zip(infos, gpu[1], strict=False):
            info.pid, info.used_bytes = process, used
        return 0


def ask(library, tmp_path, process=4711):
    return accelerator_memory(process, tmp_path, load=lambda: library)


def test_memory_on_two_gpus(tmp_path):
    """Both count, of the process and of all; the library is closed again."""
    library = FakeNvml((900 * MIB, [(1, 5 * MIB), (4711, 300 * MIB)]), (400 * MIB, [(4711, 200 * MIB)]))
    assert ask(library, tmp_path) == AcceleratorMemory("NVML", 500 * MIB, 1300 * MIB)
    assert library.open == 0


def test_a_process_without_gpu_memory(tmp_path):
    """It is not among those listed: in a container it goes by another number."""
    assert ask(FakeNvml((900 * MIB, [(1, 5)])), tmp_path) == AcceleratorMemory("NVML", None, 900 * MIB)


def test_a_driver_that_does_not_say(tmp_path):
    """It lists the process with all bits set for its memory."""
    library = FakeNvml((900 * MIB, [(4711, NOT_AVAILABLE)]))
    assert ask(library, tmp_path) == AcceleratorMemory("NVML", None, 900 * MIB)


def test_more_processes_than_expected(tmp_path):
    """The list is asked for again with more room."""
    library = FakeNvml((900 * MIB, [(number, MIB) for number in range(4512, 4712)]))
    assert ask(library, tmp_path).process == MIB


def test_processes_without_end_are_given_up(tmp_path):
    """The memory of the whole GPU is still known."""
    library = FakeNvml((900 * MIB, [(number, MIB) for number in range(10_000)]))
    assert ask(library, tmp_path) == AcceleratorMemory("NVML", None, 900 * MIB)


@pytest.mark.parametrize(
    "library",
    [
        FakeNvml((1, []), fail={"init": 9}),  # NVML_ERROR_DRIVER_NOT_LOADED
        FakeNvml((1, []), fail={"count": 999}),
        FakeNvml((1, []), fail={"handle": 15}),
        FakeNvml(),
        FakeNvml(None),  # a Jetson: github.com/HazyResearch/intelligence-per-watt/issues/40
        FakeNvml((0, [])),
        FakeNvml((81 * 1024 * MIB, [])),  # more than there is
        object(),  # a library without the functions
    ],
)
def test_nvml_that_knows_nothing(tmp_path, library):
    """No driver, no GPU, unsupported or absurd figures."""
    assert ask(library, tmp_path) is None


def test_an_older_library_is_closed_too(tmp_path):
    """Version 3 of the list of processes came with driver 510; before, only the whole GPU is known."""

    class Old(FakeNvml):
        nvmlDeviceGetComputeRunningProcesses_v3 = property(lambda self: self.gone)  # raises AttributeError

    library = Old((900 * MIB, []))
    assert ask(library, tmp_path) == AcceleratorMemory("NVML", None, 900 * MIB)
    assert library.open == 0


def test_without_the_driver(tmp_path):
    """The library cannot be loaded."""

    def load():
        raise OSError("libnvidia-ml.so.1: cannot open shared object file: No such file or directory")

    assert accelerator_memory(1, tmp_path, load=load) is None
    assert accelerator_memory(1, tmp_path) is None


SOURCE = """
typedef struct { unsigned int pid; unsigned long long used; unsigned int gi, ci; } info;
typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *n) { *n = 1; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int i, void **device) { *device = (void *)0x7fff12345678; return i; }
int nvmlDeviceGetMemoryInfo(void *device, memory *m) {
    if (device != (void *)0x7fff12345678) return 2;
    m->total = 8ull << 33; m->free = 1; m->used = 5ull << 32; return 0;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned int *n, info *infos) {
    if (device != (void *)0x7fff12345678 || *n < 2) return 7;
    infos[0].pid = 1; infos[0].used = 7; infos[1].pid = 4711; infos[1].used = 3ull << 32; *n = 2; return 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_structures_and_pointers_are_those_of_c(tmp_path):
    """A library compiled from the declarations of nvml.h: 64-bit handles and sizes, padded structures."""
    source = tmp_path / "nvml.c"
    source.write_text(SOURCE)
    library = tmp_path / "libnvml.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    found = accelerator_memory(4711, tmp_path, load=lambda: ctypes.CDLL(str(library)))
    assert found == AcceleratorMemory("NVML", 3 << 32, 5 << 32)


def test_jetson_memory(computer, worker):
    """What the process has, and all clients together."""
    found = accelerator_memory(worker, computer("orin-nano"))
    assert found == AcceleratorMemory("NvMap", 512 * MIB, 538 * MIB)


def test_a_process_may_be_several_clients_and_have_a_name_with_spaces():
    """Its rows are added; the number stands before the size, whatever the name."""
    table = "CLIENT  PROCESS  PID  SIZE\nuser  my app 2  4711  10K\nuser  python3  4711  20K\ntotal    30K\n"
    assert nvmap_memory(table, 4711) == AcceleratorMemory("NvMap", 30 * 1024, 30 * 1024)
    assert nvmap_memory(table, 2) == AcceleratorMemory("NvMap", None, 30 * 1024)


@pytest.mark.parametrize("table", ["", "CLIENT PROCESS PID SIZE\n", "total 0K\n", "total -5K\n", "nonsense\x00\n"])
def test_nvmap_that_says_nothing(table):
    """Empty, cut off, all zeros as on Thor, or damaged."""
    assert nvmap_memory(table, 1) is None


def test_nvmap_that_only_root_may_read(computer, worker):
    """Then nothing is known, since NVML knows no memory on these boards."""
    files = {"sys/kernel/debug/nvmap/iovmm/clients": None}
    assert accelerator_memory(worker, computer("orin-nano", files), load=lambda: FakeNvml(None)) is None

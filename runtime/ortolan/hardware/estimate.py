"""Speeds of a machine nobody has measured, from what its processor is. Everything here is tagged ``estimated``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ortolan.hardware.profiles import Calibration, Figure, Rates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ortolan.hardware.facts import Cores, Hardware

_FLOPS_PER_CYCLE = {
    "Cortex-A7": 2,
    "Cortex-A53": 8,
    "Cortex-A55": 8,
    "Cortex-A35": 4,
    "Cortex-A57": 8,
    "Cortex-A72": 8,
    "Cortex-A73": 8,
}
"""Float32 operations per cycle of the narrower Arm cores: vector width times pipes times two, from Arm's software
optimization guides. Wider ones (from Cortex-A75 on) do 16."""

_PYTHON_PER_GHZ = {"Cortex-A53": 0.19, "Cortex-A55": 0.2, "Cortex-A72": 0.22, "Cortex-A76": 0.3, "Cortex-A78AE": 0.32}
"""Single-thread speed per GHz relative to the reference machine: ratios of published single-thread 7-zip ratings
(sbc-bench, Sorted-Results.md) to the 4500 assumed of the reference machine."""

_OTHER_PYTHON_PER_GHZ = 0.25
_USUAL_HZ = {"x86_64": 2_600_000_000, "aarch64": 1_500_000_000}
"""Where the clock is hidden, as in most virtual machines."""

EFFICIENCY = 0.4
"""Share of the peak rate that onnxruntime's matrix products reach on small shapes."""
CALL_OVERHEAD_S = 14e-6
"""Seconds of one run of a ten-node model with next to no work on the reference machine."""
BASE_MEMORY_BYTES = 60_000_000
"""Resident bytes with Python 3.11, numpy 2, onnxruntime 1.32, Ortolan and a tiny model, on x86-64."""


def estimate(hardware: Hardware, providers: Sequence[str]) -> Calibration:
    """Calibration of a machine from its facts; providers other than the CPU are given the CPU's rates."""
    cores = hardware.cores[0] if hardware.cores else None
    hz = (cores.hz if cores else None) or _USUAL_HZ.get(hardware.architecture, 1_000_000_000)
    speed = _python_speed(hardware, cores, hz)
    flops = _flops_per_cycle(hardware, cores) * hz * EFFICIENCY
    source = f"estimated from {cores.part if cores else hardware.architecture} at {hz / 1e9:.2g} GHz"

    def figure(value: float) -> Figure:
        return Figure(value, "estimated", source)

    rates = Rates(
        call_overhead_s=figure(CALL_OVERHEAD_S / speed),
        fp32_flops=figure(flops),
        int8_ops=figure(flops * (4 if _has_dot_products(hardware) else 1.5)),
        memory_bandwidth_bytes_s=figure(8e9 * speed),
        memory_bytes=figure(BASE_MEMORY_BYTES),
    )
    return Calibration(
        python_speed=figure(speed),
        storage_read_bytes_s=figure(40e6),
        providers=dict.fromkeys(providers, rates),
    )


def _python_speed(hardware: Hardware, cores: Cores | None, hz: int) -> float:
    if hardware.architecture == "x86_64" and (cores is None or cores.hz is None):
        return 0.8  # a virtual machine on a server
    return _PYTHON_PER_GHZ.get(cores.part if cores else "", _OTHER_PYTHON_PER_GHZ) * hz / 1e9


def _flops_per_cycle(hardware: Hardware, cores: Cores | None) -> int:
    if hardware.architecture == "x86_64":
        return 64 if "avx512f" in hardware.features else 32 if "avx2" in hardware.features else 8
    return _FLOPS_PER_CYCLE.get(cores.part if cores else "", 16 if hardware.architecture == "aarch64" else 2)


def _has_dot_products(hardware: Hardware) -> bool:
    return not {"asimddp", "avx512_vnni", "avx_vnni", "amx_int8"}.isdisjoint(hardware.features)

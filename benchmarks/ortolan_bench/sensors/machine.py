"""Reads all sensors of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from time import monotonic, process_time
from typing import TYPE_CHECKING

from ortolan.hardware.probe import probe_state
from ortolan_bench.sensors import counters, thermal
from ortolan_bench.sensors.energy import energy_advice, rapl
from ortolan_bench.sensors.power import PowerSampler, find_power_meter, find_vcgencmd
from ortolan_bench.sensors.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from ortolan_bench.sensors.power import Vcgencmd

_THROTTLED = re.compile(r"throttled=(0x[0-9a-fA-F]{1,8})\s*")


class Machine:
    """The sensors of the machine whose files lie under a root directory.

    As a context manager it also samples a meter that only shows watts, if the machine has one and nothing better; see
    `power`. Without, such a meter is not read.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        vcgencmd: Vcgencmd | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Nothing is read yet.

        Args:
            root: where ``/proc`` and ``/sys`` are found.
            vcgencmd: a Raspberry Pi's firmware command; None looks for it if ``root`` is the real one.
            clock: seconds of a monotonic clock.
        """
        self._root = root
        self._base = str(root).rstrip("/")
        self._vcgencmd = vcgencmd if vcgencmd is not None or self._base else find_vcgencmd()
        self._clock = clock
        self._sampler: PowerSampler | None = None

    def __enter__(self) -> Self:
        """Begin to sample power, where that is the only way to know it."""
        meter = None if rapl(self._base) else find_power_meter(self._base, self._vcgencmd)
        if meter is not None:
            self._sampler = PowerSampler(meter)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def read(self, process: int | None = None) -> Reading:
        """All sensors now; some tens of small files, and on a Raspberry Pi without the file a run of ``vcgencmd``.

        Args:
            process: number of the worker whose waits and page faults are read; None leaves them unknown.
        """
        base = self._base
        began_s = self._clock()
        energy = rapl(base)
        times = counters.cpu_times(base)
        faults = None if process is None else counters.page_faults(base, process)
        state = probe_state(self._root)
        bits = self._firmware_bits() if state.throttle_bits is None else state.throttle_bits
        throttling, latched = thermal.throttling(base, bits)
        # vcgencmd is a process of its own, here and where it samples power; workers end between blocks.
        children = getrusage(RUSAGE_CHILDREN)
        return Reading(
            total_s=None if times is None else times.total_s,
            busy_s=None if times is None else times.busy_s,
            stolen_s=None if times is None else times.stolen_s,
            swapped_pages=counters.swapped_pages(base),
            own_s=process_time() + children.ru_utime + children.ru_stime,
            began_s=began_s,
            waited_s=None if process is None else counters.waited_s(base, process),
            stopped_s=counters.stopped_s(base),
            major_faults=None if faults is None else faults[1],
            minor_faults=None if faults is None else faults[0],
            load=state.load,
            temperature_c=state.temperature_c,
            clocks_hz=thermal.clocks_hz(base),
            throttling=throttling,
            latched_throttling=latched,
            throttle_events=thermal.throttle_events(base),
            energy=energy,
            power=None if self._sampler is None else self._sampler.samples(),
            ended_s=self._clock(),
        )

    def advice(self) -> str | None:
        """One sentence on energy that could be measured if somebody allowed it; None if there is nothing to do."""
        return energy_advice(self._base)

    def _firmware_bits(self) -> int | None:
        """The throttle word of a Raspberry Pi whose kernel has no file for it, as on newer kernels of the Pi 5."""
        found = None if self._vcgencmd is None else _THROTTLED.fullmatch(self._vcgencmd("get_throttled"))
        return None if found is None else int(found[1], 16)


def read(root: Path = Path("/"), process: int | None = None) -> Reading:
    """One reading without sampled power; see `Machine.read`."""
    return Machine(root).read(process)

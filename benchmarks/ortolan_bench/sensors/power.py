"""Meters that show watts and keep no count: INA3221 monitors on a Jetson, the PMIC of a Raspberry Pi 5.

A reading between two blocks would show a machine that has just become idle. Hence they are sampled in the background
while blocks run: the mean of the samples that fell into the blocks is the power, without bias by the blocks' ends.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from ortolan.hardware.sysfiles import hwmon_chips, read, read_int
from ortolan_bench.sensors.energy import MAX_WATTS
from ortolan_bench.sensors.reading import PowerSamples

if TYPE_CHECKING:
    from collections.abc import Callable

    Vcgencmd = Callable[[str], str]

_VCGENCMD_S = 2.0

_INPUT_RAILS = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Labels of the rails that together feed a Jetson; the first complete set counts: the module's input (Orin Nano, Orin
NX, Xavier NX, Nano), else its parts (AGX Orin, AGX Xavier).

Sources: Jetson Linux Developer Guide, "Power Monitor"; https://github.com/energymon/energymon, JetsonPowerRails.md.
"""


@dataclass(frozen=True, slots=True)
class PowerMeter:
    """A meter that shows watts.

    Args:
        name: what it is and what it covers.
        watts: reads it; None if it shows nothing or nonsense.
        interval_s: seconds between samples.
    """

    name: str
    watts: Callable[[], float | None]
    interval_s: float


def find_power_meter(base: str, vcgencmd: Vcgencmd | None) -> PowerMeter | None:
    """The meter of this machine, None if it has none that shows anything now.

    The INA3221 is sampled every 0.1 s; the PMIC every 0.25 s, because each time is a process of its own (on a Pi 5
    there is no file to read instead: https://github.com/ml-energy/zeus/issues/273).
    """
    channels = _ina3221_channels(base)
    for rails in _INPUT_RAILS:
        if all(rail in channels for rail in rails):
            chosen = [channels[rail] for rail in rails]
            meter = PowerMeter(f"INA3221 {' + '.join(rails)}", partial(_ina3221_watts, base, chosen), 0.1)
            return meter if meter.watts() is not None else None
    if vcgencmd is not None and pmic_watts(vcgencmd("pmic_read_adc")) is not None:
        return PowerMeter(
            "PMIC rails, without the 5 V input itself", lambda: pmic_watts(vcgencmd("pmic_read_adc")), 0.25
        )
    return None


def pmic_watts(shown: str) -> float | None:
    """Watts of all rails of ``vcgencmd pmic_read_adc`` that have both a current and a voltage.

    Rows are like ``VDD_CORE_A current(7)=1.73340000A`` and ``VDD_CORE_V volt(15)=0.84375000V``. The 5 V input (EXT5V)
    and the battery have no current, so the losses of the converters and what hangs on USB are not in it.
    """
    rows = re.findall(r"^\s*(\w+)_([AV])(?:\s+\w+\(\d+\))?=(-?\d{1,6}(?:\.\d{1,12})?)[AV]\s*$", shown, re.MULTILINE)
    amperes = {name: float(value) for name, unit, value in rows if unit == "A"}
    volts = {name: float(value) for name, unit, value in rows if unit == "V"}
    both = amperes.keys() & volts.keys()
    return _plausible(sum(amperes[name] * volts[name] for name in sorted(both)))


def find_vcgencmd() -> Vcgencmd | None:
    """A Raspberry Pi's ``vcgencmd``, as a function from its argument to what it prints, empty if it fails."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None

    def run(argument: str) -> str:
        try:
            done = subprocess.run(
                [program, argument], capture_output=True, text=True, errors="replace", timeout=_VCGENCMD_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout if done.returncode == 0 else ""

    return run


class PowerSampler:
    """Samples a meter in a thread of this process until it is closed."""

    def __init__(self, meter: PowerMeter) -> None:
        """Start sampling."""
        self._meter = meter
        self._lock = Lock()
        self._sum_w = 0.0
        self._count = 0
        self._closed = Event()
        self._thread = Thread(target=self._run, name="power sampler", daemon=True)
        self._thread.start()

    def samples(self) -> PowerSamples:
        """All samples so far."""
        with self._lock:
            return PowerSamples(self._meter.name, self._sum_w, self._count)

    def close(self) -> None:
        """Stop. May be called again."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._meter.interval_s):
            watts = self._meter.watts()
            if watts is not None:
                with self._lock:
                    self._sum_w += watts
                    self._count += 1


def _ina3221_channels(base: str) -> dict[str, tuple[str, int]]:
    """Label -> (chip, channel) of every channel that is named (Linux Documentation/hwmon/ina3221.rst)."""
    found = {}
    for chip in hwmon_chips(base, "ina3221"):
        for channel in (1, 2, 3):
            label = read(base, f"{chip}/in{channel}_label").strip()
            if label:
                found[label] = (chip, channel)
    return found


def _ina3221_watts(base: str, channels: list[tuple[str, int]]) -> float | None:
    total = 0.0
    for chip, channel in channels:
        millivolts = read_int(base, f"{chip}/in{channel}_input")
        milliamperes = read_int(base, f"{chip}/curr{channel}_input")
        if millivolts is None or milliamperes is None or millivolts < 0 or milliamperes < 0:
            return None
        total += millivolts * milliamperes * 1e-6
    return _plausible(total)


def _plausible(watts: float) -> float | None:
    # A running machine takes some power: zero is a meter that is switched off.
    return watts if 0 < watts <= MAX_WATTS else None

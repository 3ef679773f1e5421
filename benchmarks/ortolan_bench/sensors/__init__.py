"""What the machine was doing while something was timed, read from /proc and /sys through a root directory.

`Machine.read` gives a `Reading`: counters, and what thermometers, clocks, throttle flags and energy meters show at that
moment. `usage` subtracts two readings, before and after a timed block, and usages of many blocks add up.

Readings happen between blocks, never while runs are timed, so what comes and goes within a block is seen only by
what counts: the counters of /proc, x86 throttle counts, energy counters and the Raspberry Pi's latched throttle bits. A
temperature, clock or cooling state is that of a block's two ends. The one exception are meters that show watts but keep
no energy count (INA3221, the Pi 5's PMIC): these are sampled in the background, in the instrument's process and never
in the timed one, at the rates given in `power`.

What a machine hides, or shows as nonsense, is None and never an error.
"""

from __future__ import annotations

from ortolan_bench.sensors.encoding import usage_from_json, usage_to_json
from ortolan_bench.sensors.machine import Machine, read
from ortolan_bench.sensors.reading import EnergyCounter, PowerSamples, Reading
from ortolan_bench.sensors.usage import Usage, usage

__all__ = [
    "EnergyCounter",
    "Machine",
    "PowerSamples",
    "Reading",
    "Usage",
    "read",
    "usage",
    "usage_from_json",
    "usage_to_json",
]

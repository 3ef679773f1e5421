"""A usage as JSON values: the key ``conditions`` of a result.

Times are seconds, energy is joules, power watts, clocks hertz; null is what the machine hides::

    {"seconds": 5.1,                          of the timed blocks
     "cpu_s": {"total": 20.4, "worker": 5.0, "others": 0.1, "stolen": 0.0, "waited": 0.01,
               "stopped": null},
     "swapped_pages": 0, "major_faults": 0, "minor_faults": 12, "load_highest": 1.2,
     "temperature_c": {"first": 48.3, "highest": 61.2, "last": 60.8},
     "clocks_hz": [1800000000, …],            of the fastest core, at the end of each block
     "throttling": ["clock capped"],          null if nothing could tell
     "energy": {"meter": "RAPL package-0",    null without one
                "joules": 31.5, "watts": 6.2,                null too if it cannot be believed or gave too few samples
                "counted_j": 31.5, "sampled_w": 0.0, "samples": 0}}           as metered
"""

from __future__ import annotations

from math import isclose

from ortolan.bundle.fields import Record, array, integer, number, optional
from ortolan.errors import ManifestError
from ortolan_bench.sensors.usage import Usage

_KEYS = ["seconds", "cpu_s", "swapped_pages", "major_faults", "minor_faults", "load_highest", "temperature_c"]
_KEYS += ["clocks_hz", "throttling", "energy"]
_CPU = ["total", "worker", "others", "stolen", "waited", "stopped"]
_TEMPERATURE = ["first", "highest", "last"]
_ENERGY = ["meter", "joules", "watts", "counted_j", "sampled_w", "samples"]
_MOST_BLOCKS = 10**6
_MOST = 1e12  # seconds, joules, watts: what is beyond is no measurement


def usage_to_json(usage: Usage) -> dict[str, object]:
    """Plain data of the form above."""
    energy = {
        "meter": usage.meter,
        "joules": usage.energy_j,
        "watts": usage.power_w,
        "counted_j": usage.counted_j,
        "sampled_w": usage.sampled_w,
        "samples": usage.power_samples,
    }
    return {
        "seconds": usage.seconds,
        "cpu_s": {key: getattr(usage, f"{key}_s") for key in _CPU},
        "swapped_pages": usage.swapped_pages,
        "major_faults": usage.major_faults,
        "minor_faults": usage.minor_faults,
        "load_highest": usage.load_highest,
        "temperature_c": {key: getattr(usage, f"temperature_{key}_c") for key in _TEMPERATURE},
        "clocks_hz": list(usage.clocks_hz),
        "throttling": None if usage.throttling is None else list(usage.throttling),
        "energy": energy,
    }


def usage_from_json(value: object, at: str) -> Usage:
    """The inverse of `usage_to_json`.

    Raises:
        ManifestError: anything else, or a figure of energy that does not follow from what was metered; the message has
            the dotted path, which begins with ``at``.
    """
    record = Record(value, at, _KEYS)
    cpu = Record(record.get("cpu_s", _any), f"{at}.cpu_s", _CPU)
    temperature = Record(record.get("temperature_c", _any), f"{at}.temperature_c", _TEMPERATURE)
    seconds, count, celsius = number(0, _MOST), optional(integer()), optional(number(-273.15, 1000))
    energy = Record(record.get("energy", _any), f"{at}.energy", _ENERGY)
    usage = Usage(
        seconds=record.get("seconds", seconds),
        total_s=cpu.get("total", optional(seconds)),
        worker_s=cpu.get("worker", seconds),
        others_s=cpu.get("others", optional(number(-_MOST, _MOST))),
        stolen_s=cpu.get("stolen", optional(seconds)),
        waited_s=cpu.get("waited", optional(seconds)),
        stopped_s=cpu.get("stopped", optional(seconds)),
        swapped_pages=record.get("swapped_pages", count),
        major_faults=record.get("major_faults", count),
        minor_faults=record.get("minor_faults", count),
        load_highest=record.get("load_highest", optional(seconds)),
        temperature_first_c=temperature.get("first", celsius),
        temperature_highest_c=temperature.get("highest", celsius),
        temperature_last_c=temperature.get("last", celsius),
        clocks_hz=record.get("clocks_hz", array(integer(1), most=_MOST_BLOCKS)),
        throttling=record.get("throttling", optional(array(_text))),
        counted_j=energy.get("counted_j", optional(seconds)),
        sampled_w=energy.get("sampled_w", seconds),
        power_samples=energy.get("samples", integer()),
        meter=energy.get("meter", optional(_text)),
    )
    _require_same(energy.get("joules", optional(seconds)), usage.energy_j, f"{at}.energy.joules")
    _require_same(energy.get("watts", optional(seconds)), usage.power_w, f"{at}.energy.watts")
    return usage


def _require_same(stored: float | None, expected: float | None, at: str) -> None:
    if stored is None or expected is None:
        same = stored is expected
    else:
        same = isclose(stored, expected, rel_tol=1e-9)
    if not same:
        raise ManifestError(at, f"expected {expected!r} as metered, got {stored!r}: changed by hand")


def _any(value: object, _at: str) -> object:
    return value


def _text(value: object, at: str) -> str:
    if not isinstance(value, str):
        raise ManifestError(at, f"expected str, got {type(value).__name__}")
    return value

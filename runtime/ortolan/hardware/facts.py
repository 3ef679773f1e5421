"""Facts about a machine: what does not change from run to run (Hardware), and what does (HardwareState)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from ortolan.records import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

RAM_STEP = 64 * 2**20
"""The memory the kernel reports shifts by some pages from boot to boot; an id must not. Hence this rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cores:
    """The cores of one kind.

    Args:
        part: the design, e.g. ``"Cortex-A53"``; on x86 the model name; ``"0x41:0xd99"`` for an unlisted Arm part.
        count: how many of them are online.
        max_hz: highest clock the hardware offers, None if unknown.
        cap_hz: highest clock the present settings allow if lower than ``max_hz``, else None.
        capacity: relative speed, 1024 for the fastest kind (the kernel's ``cpu_capacity``), None if unknown.
    """

    part: str
    count: int
    max_hz: int | None = None
    cap_hz: int | None = None
    capacity: int | None = None

    @property
    def hz(self) -> int | None:
        """Highest clock in force."""
        return self.cap_hz or self.max_hz


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """One level and kind (``"data"``, ``"instruction"``, ``"unified"``) of cache, as the first core sees it."""

    level: int
    kind: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The stable facts of a machine. What could not be found out is None or empty.

    Args:
        board: model name of the board, e.g. ``"Raspberry Pi 4 Model B Rev 1.1"``.
        processor: the system on chip (``"bcm2711"``) or the CPU's model name.
        architecture: ``"aarch64"``, ``"x86_64"``, ``"armv7l"``, …
        cores: one entry per kind, fastest first.
        features: those instruction-set extensions that matter for inference, sorted, in the kernel's spelling.
        ram_bytes: memory the kernel manages.
        caches: of the first core.
        accelerators: names, e.g. ``"NVIDIA Orin GPU"``.
        power_mode: e.g. ``"15W"`` (Jetson's nvpmodel).
        kernel: release of the kernel.
        drivers: (name, version) pairs, sorted.
    """

    board: str | None = None
    processor: str | None = None
    architecture: str
    cores: tuple[Cores, ...] = ()
    features: tuple[str, ...] = ()
    ram_bytes: int | None = None
    caches: tuple[Cache, ...] = ()
    accelerators: tuple[str, ...] = ()
    power_mode: str | None = None
    kernel: str | None = None
    drivers: tuple[tuple[str, str], ...] = ()

    @property
    def id(self) -> str:
        """16 hex digits that name this machine's kind: sha256 of the facts as canonical JSON.

        Board and system-on-chip names are left out: they come from the device tree, which containers hide, and a
        container must find what was measured outside it. Core parts, clocks, caches and memory say the same.
        """
        from ortolan.digest import sha256

        facts = self.to_json()
        del facts["board"], facts["processor"]
        if self.ram_bytes is not None:
            facts["ram_bytes"] = round(self.ram_bytes / RAM_STEP) * RAM_STEP
        return sha256(_canonical(facts)).hexdigest()[:16]

    @property
    def core_count(self) -> int | None:
        """Number of online cores, None if unknown."""
        return sum(kind.count for kind in self.cores) or None

    def to_json(self) -> dict[str, object]:
        """Plain data that ``from_json`` reads back."""
        facts = asdict(self)
        return {
            **facts,
            **{key: list(facts[key]) for key in ("cores", "features", "caches", "accelerators")},
            "drivers": dict(self.drivers),
        }

    @classmethod
    def from_json(cls, data: object) -> Hardware:
        """The inverse of ``to_json``.

        Raises:
            ManifestError: unknown keys or wrong types; the message has the dotted path.
        """
        from ortolan.hardware.description import parse_hardware

        return parse_hardware(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareState:
    """What changes from moment to moment. None means unknown.

    Args:
        available_bytes: memory a new process may take: the smaller of the kernel's estimate and what the control
            groups in force leave.
        resident_bytes: memory that this process has already.
        free_bytes: memory that is not used at all.
        memory_limit_bytes: lowest limit of the control groups the process is in.
        temperature_c: of the processor, degrees Celsius.
        throttle_bits: the Raspberry Pi firmware's word; ``throttling`` decodes it.
        load: runnable processes, average over one minute.
    """

    available_bytes: int | None = None
    resident_bytes: int | None = None
    free_bytes: int | None = None
    memory_limit_bytes: int | None = None
    temperature_c: float | None = None
    throttle_bits: int | None = None
    load: float | None = None

    @property
    def throttling(self) -> tuple[str, ...]:
        """What slows the machine down now or did since it was started, one phrase each."""
        bits = self.throttle_bits or 0
        return tuple(text for bit, text in _THROTTLE_BITS if bits & (1 << bit))

    def to_json(self) -> dict[str, object]:
        """Plain data, with units in the keys."""
        return {**asdict(self), "throttling": list(self.throttling)}


# Raspberry Pi documentation, "vcgencmd get_throttled".
_THROTTLE_BITS = (
    (0, "under-voltage now"),
    (1, "clock capped now"),
    (2, "throttled now"),
    (3, "soft temperature limit now"),
    (16, "under-voltage since start"),
    (17, "clock capped since start"),
    (18, "throttled since start"),
    (19, "soft temperature limit since start"),
)


def _canonical(facts: Mapping[str, object]) -> bytes:
    import json

    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")
